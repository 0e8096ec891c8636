"""Where a request ends though its run has not: where nothing goes on without an answer.

The rules of this file:

* It is said by the events alone, so that the request that brings the answers finds the same place.
* What has begun may all be asking while a batch is about to begin more items. Then the request ends
  where nothing has come for a while: by the times of the events, which is known with the next one,
  or when that long enough has not come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from flowevents.events import Event
from flowevents.web.telling import Telling

__all__ = ["PATIENCE", "Waiting", "told_before"]

_PAUSE: Final = 0.2  # seconds between two events
PATIENCE: Final = 0.5  # seconds after which the next is taken to come later than that


class Waiting:
    """Whether a run waits for answers, after each of its events.

    Args:
        telling: Into which each event is folded between the two questions.
        answered: The ids of questions that have their answers, though these have not come yet.

    Attributes:
        since: When it perhaps began to wait, in seconds since the epoch.
    """

    def __init__(self, telling: Telling, answered: Collection[str] = ()) -> None:
        self._telling = telling
        self._answered = answered
        self.since: float | None = None

    def ended_before(self, event: Event) -> bool:
        """Whether the request has ended before this event, which comes next."""
        return self.since is not None and event.time - self.since >= _PAUSE

    def ends_with(self, event: Event) -> bool:
        """Whether it ends with this one."""
        waits = self._telling.waits(self._answered)
        perhaps = waits and self._telling.may_begin()
        self.since = event.time if perhaps else None
        return waits and not perhaps


def told_before(log: Iterable[Event], asked: Collection[str]) -> list[Event]:
    """What of a run was told when a request ended with these questions; nothing, if none did."""
    telling = Telling()
    waiting = Waiting(telling)
    told: list[Event] = []
    perhaps, first = False, 0
    for event in log:
        if perhaps and waiting.ended_before(event):
            return told
        told.append(event)
        telling.fold(event)
        ends = waiting.ends_with(event)
        these = telling.questions.keys() == set(asked)
        if ends and these:
            return told
        perhaps = these and waiting.since is not None
        if perhaps:
            first = first or len(told)
    return told if perhaps else told[:first]
