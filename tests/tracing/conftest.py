"""Observers, and where their spans and metrics go."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from flowevents.observers.traces import TraceObserver
from tests.tracing.spans import Balance, _Begun


@pytest.fixture
def spans() -> Balance:
    """Where the spans of these tests go."""
    return Balance()


@pytest.fixture
def provider(spans: Balance) -> TracerProvider:
    """The SDK's provider, whose spans go there."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Begun(spans))
    return provider


@pytest.fixture
def reader() -> InMemoryMetricReader:
    """Where the metrics of these tests are read."""
    return InMemoryMetricReader()


@pytest.fixture
def tracing(provider: TracerProvider, reader: InMemoryMetricReader) -> TraceObserver:
    """An observer that tells no texts."""
    meters = MeterProvider([reader], shutdown_on_exit=False)
    return TraceObserver(tracer_provider=provider, meter_provider=meters)


@pytest.fixture
def telling(provider: TracerProvider) -> TraceObserver:
    """An observer that tells texts too."""
    return TraceObserver(content=True, tracer_provider=provider)


@pytest.fixture(autouse=True)
def _nothing_is_complained_of(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Neither OpenTelemetry, as of a span that is ended twice, nor the engine has a complaint."""
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []
