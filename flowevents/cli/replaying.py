"""Events with the pauses that were between them, faster or slower."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from flowevents.events import Event, FlowEnd

__all__ = ["pauses", "replay"]

_LONGEST: Final = 1e6  # seconds; a pause that the system is sure to take


def replay(
    events: Iterable[Event],
    handler: Callable[[Event], object],
    speed: float,
    *,
    get_time: Callable[[], float],
    sleep: Callable[[float], object],
) -> None:
    """Hand the events over, each when it is due.

    Args:
        events: Of one run or several.
        handler: What gets them.
        speed: How many times as fast; 0 and infinity are without pauses.
        get_time, sleep: A clock in seconds that never goes back, and what waits for it.
    """
    due = get_time()
    for event, pause in pauses(events):
        if 0 < speed < math.inf:
            due += pause / speed
            if (left := due - get_time()) > 0:
                sleep(min(left, _LONGEST))
        handler(event)


def pauses(events: Iterable[Event]) -> Iterator[tuple[Event, float]]:
    """Each event, and the seconds that passed before it while a run was under way."""
    open_runs: set[str] = set()
    last = math.nan
    for event in events:
        pause = event.time - last if open_runs else 0.0
        yield event, pause if 0 < pause < math.inf else 0.0
        last = event.time
        if isinstance(event, FlowEnd) and not event.node:
            open_runs.discard(event.run_id)
        else:
            open_runs.add(event.run_id)
