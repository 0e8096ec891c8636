"""Where traces and metrics are sent: as the environment says, by OTLP over HTTP.

Where the program has set up OpenTelemetry itself, or is run by `opentelemetry-instrument`, that is
left as it is. Otherwise the SDK's exporters are, which read `OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_SERVICE_NAME` and the other variables of OpenTelemetry's specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import metrics, trace

from flowevents.cli.loading import WrongInput

__all__ = ["exporting"]


@contextmanager
def exporting() -> Iterator[None]:
    """Send what is traced and measured in the `with` block, all of it before it is left.

    Raises `WrongInput` where nothing would be sent because the SDK or its exporter is missing.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise WrongInput(
            "--otel: nothing would be sent. "
            "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        ) from None
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    try:
        yield
    finally:
        tracers.shutdown()
        meters.shutdown()
