"""The metrics of runs: what a meter of OpenTelemetry is told. The names are in `semconv`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flowevents.events import FlowEnd, ItemEnd, NodeEnd
from flowevents.observers import semconv

if TYPE_CHECKING:
    from opentelemetry import metrics

__all__ = ["Metrics", "error_label"]

Labels = dict[str, Any]


class Metrics:
    """Durations of flows and steps, times to the first chunk, and errors; of any number of runs."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._flow_seconds = _histogram(
            meter, semconv.INVOKE_AGENT_DURATION, "Duration of runs and nested flows."
        )
        self._step_seconds = _histogram(meter, semconv.STEP_DURATION, "Duration of steps.")
        self._first_chunk_seconds = _histogram(
            meter, semconv.STEP_FIRST_CHUNK, "From the start of a step or item to its first chunk."
        )
        self._errors = meter.create_counter(
            semconv.STEP_ERRORS, "{error}", "Attempts, steps, items and flows that failed."
        )

    def flow_ended(self, event: FlowEnd, name: str) -> None:
        """A flow of that name has ended."""
        labels = {semconv.OPERATION_NAME: semconv.INVOKE_WORKFLOW, semconv.AGENT_NAME: name}
        self._flow_seconds.record(_seconds(event.duration), labels | error_label(event))

    def step_ended(self, event: NodeEnd, labels: Labels) -> None:
        """A step has ended."""
        labels = labels | {semconv.STATUS: event.status} | error_label(event)
        self._step_seconds.record(_seconds(event.duration), labels)

    def first_chunk(self, seconds: float, labels: Labels) -> None:
        """So long a step or item took to its first chunk."""
        self._first_chunk_seconds.record(seconds, labels)

    def failed(self, kind: str, labels: Labels) -> None:
        """An error of this kind arose."""
        self._errors.add(1, labels | {semconv.ERROR_TYPE: kind})


def error_label(event: FlowEnd | NodeEnd | ItemEnd) -> Labels:
    """The `error.type` of an end that tells of an error."""
    return {} if event.error is None else {semconv.ERROR_TYPE: semconv.error_type(event.error)}


def _histogram(meter: metrics.Meter, name: str, description: str) -> metrics.Histogram:
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=semconv.SECONDS
    )


def _seconds(duration: float) -> float:
    return duration if 0 <= duration < math.inf else 0.0
