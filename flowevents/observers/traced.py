"""What of a run has a span of OpenTelemetry that has not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowevents.events import Event
from flowevents.observers import semconv
from flowevents.observers.first_chunk import FirstChunk
from flowevents.opened import Opened, OpenStarts

if TYPE_CHECKING:
    from opentelemetry import trace

__all__ = ["Attempt", "Traced", "TracedRun", "nanoseconds"]


class Attempt:
    """What a try of a step or item said: how many chunks, how late the first of its step, texts."""

    __slots__ = ("chunks", "first", "size", "text")

    def __init__(self, first: FirstChunk) -> None:
        self.chunks: int = 0
        self.first: FirstChunk = first
        self.size: int = 0
        self.text: list[str] = []


class Traced(Opened):
    """A start whose span has not ended.

    Attributes:
        run: The run that it belongs to.
        name: Of the node, or of the flow.
        otel: Its span, as OpenTelemetry has it.
        attempt: The try that is under way.
        told: The attributes of a model's call that the node told.
        blamed: An error in it is counted already.
        ended: When its end came, in ns, while it waits for its `Action`.
    """

    __slots__ = ("attempt", "blamed", "ended", "name", "otel", "run", "told")

    parent: Traced | None
    run: TracedRun
    name: str
    otel: trace.Span

    def __init__(self, event: Event, parent: Traced | None) -> None:
        super().__init__(event, parent)
        self.attempt: Attempt = Attempt(FirstChunk(event))
        self.told: set[str] = set()
        self.blamed: bool = False
        self.ended: int | None = None

    @property
    def labels(self) -> dict[str, Any]:
        """What the metrics of it have in common."""
        return {semconv.FLOW: self.run.flow, semconv.NODE: self.name}

    def end(self, time: int | None) -> None:
        """End the span, not before it began, and when its own end came, if that has come."""
        time = time if self.ended is None else self.ended
        start = nanoseconds(self.event.time)
        if time is not None and start is not None:
            time = max(time, start)
        self.otel.end(time)


class TracedRun:
    """What is open of a run, and what waits for its `Action`, by span; the name of its own flow."""

    __slots__ = ("flow", "late", "open")

    def __init__(self) -> None:
        self.flow: str = ""
        self.open: OpenStarts[Traced] = OpenStarts(Traced)
        self.late: dict[int, Traced] = {}


def nanoseconds(time: float) -> int | None:
    """Seconds since the epoch in nanoseconds; `None`, which is now, for what is no time."""
    return int(time * 1e9) if 0 <= time < 2**63 / 1e9 else None
