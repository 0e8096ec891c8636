"""How long the first chunk of an attempt took: the same in the display, in pictures and traces."""

from __future__ import annotations

import math

from flowevents.events import Chunk, Event, Interrupt, Reply, Retry

__all__ = ["FirstChunk"]


class FirstChunk:
    """From the beginning of a step, or of one attempt of it, to its first `"output"` chunk.

    A retry's wait does not count, nor does the time in which a person was asked.

    Args:
        begins: The event that it begins with: a start, the `Retry` before an attempt, or the first
            that is known.

    Attributes:
        seconds: So long it took; `None` until a chunk has come that is not void.
    """

    __slots__ = ("_asked", "_began", "seconds")

    def __init__(self, begins: Event) -> None:
        self._began = begins.time + _wait_of(begins)
        self._asked: Interrupt | None = None
        self.seconds: float | None = None

    def take(self, event: Event) -> None:
        """Take an event of it; those of no concern are ignored."""
        if isinstance(event, Interrupt):
            self._asked = self._asked or event
        elif isinstance(event, Reply):
            self._go_on(event.time)
        elif isinstance(event, Retry):
            self._give_up(event.time)
            self._began += _wait_of(event)
            self.seconds = None
        elif isinstance(event, Chunk) and event.kind == "output" and self.seconds is None:
            self._give_up(event.time)
            self.seconds = max(0.0, event.time - self._began)

    def _give_up(self, time: float) -> None:
        """What was asked has expired by then, if it can."""
        if self._asked is not None and self._asked.expires is not None:
            self._go_on(min(time, self._asked.expires))

    def _go_on(self, time: float) -> None:
        """The person has answered, or had time until then."""
        if self._asked is not None:
            self._began += max(0.0, time - self._asked.time)
        self._asked = None


def _wait_of(event: Event) -> float:
    """Seconds; of a record that says nonsense, none."""
    return event.wait if isinstance(event, Retry) and 0 < event.wait < math.inf else 0.0
