"""The metrics of runs: what a meter of OpenTelemetry is told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flowevents.events import FlowEnd, NodeEnd
from flowevents.observers import semconv

if TYPE_CHECKING:
    from opentelemetry import metrics

__all__ = ["Metrics"]

Labels = dict[str, Any]


class Metrics:
    """Durations of flows and steps, times to the first chunk, and errors; of any number of runs.

    Attributes:
        first_chunk: From the start of a step or item to its first chunk, in seconds.
    """

    def __init__(self, meter: metrics.Meter) -> None:
        self._flow_seconds = _histogram(
            meter, semconv.INVOKE_AGENT_DURATION, "Duration of runs and nested flows."
        )
        self._step_seconds = _histogram(meter, "flowevents.step.duration", "Duration of steps.")
        self.first_chunk: metrics.Histogram = _histogram(
            meter,
            "flowevents.step.time_to_first_chunk",
            "From the start of a step or item to its first chunk.",
        )
        self._errors = meter.create_counter(
            "flowevents.step.errors", "{error}", "Attempts, steps, items and flows that failed."
        )

    def flow_ended(self, event: FlowEnd, name: str) -> None:
        """A flow of that name has ended."""
        labels = {semconv.OPERATION_NAME: semconv.INVOKE_WORKFLOW, semconv.AGENT_NAME: name}
        _record(self._flow_seconds, event, labels)

    def step_ended(self, event: NodeEnd, labels: Labels) -> None:
        """A step has ended."""
        _record(self._step_seconds, event, labels | {"flowevents.status": event.status})

    def failed(self, kind: str, labels: Labels) -> None:
        """An error of this kind arose."""
        self._errors.add(1, labels | {semconv.ERROR_TYPE: kind})


def _histogram(meter: metrics.Meter, name: str, description: str) -> metrics.Histogram:
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=semconv.SECONDS
    )


def _record(histogram: metrics.Histogram, event: FlowEnd | NodeEnd, labels: Labels) -> None:
    seconds = event.duration if 0 <= event.duration < math.inf else 0.0
    if event.error is not None:
        labels = labels | {semconv.ERROR_TYPE: semconv.error_type(event.error)}
    histogram.record(seconds, labels)
