"""Consumers of events: each file is one. They know events and signals, never the engine."""
