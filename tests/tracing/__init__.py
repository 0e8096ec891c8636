"""TraceObserver: spans and metrics as OpenTelemetry's own SDK exports them."""
