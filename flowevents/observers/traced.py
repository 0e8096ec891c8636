"""What of a run has a span of OpenTelemetry that has not ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowevents.events import Event
from flowevents.observers.first_chunk import FirstChunk
from flowevents.opened import Opened, OpenStarts

if TYPE_CHECKING:
    from opentelemetry import trace

__all__ = ["Attempt", "Traced", "TracedRun", "nanoseconds"]


@dataclass(slots=True, eq=False)
class Attempt:
    """What a try of a step or item said: how late its first chunk came, how many, and the texts."""

    first: FirstChunk
    chunks: int = 0
    size: int = 0
    text: list[str] = field(default_factory=list)


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
        return {"flowevents.flow": self.run.flow, "flowevents.node": self.name}

    def end(self, time: int | None) -> None:
        """End the span, not before it began, and when its own end came, if that has come."""
        time = time if self.ended is None else self.ended
        start = nanoseconds(self.event.time)
        if time is not None and start is not None:
            time = max(time, start)
        self.otel.end(time)


@dataclass(slots=True, eq=False)
class TracedRun:
    """What is open of a run.

    Attributes:
        flow: The name of its own flow.
        whose: Attributes of all of its spans: its session and its user.
        open, late: What is open, and what waits for its `Action`, by span.
    """

    flow: str = ""
    whose: dict[str, str] = field(default_factory=dict)
    open: OpenStarts[Traced] = field(default_factory=lambda: OpenStarts(Traced))
    late: dict[int, Traced] = field(default_factory=dict)


def nanoseconds(time: float) -> int | None:
    """Seconds since the epoch in nanoseconds; `None`, which is now, for what is no time."""
    return int(time * 1e9) if 0 <= time < 2**63 / 1e9 else None
