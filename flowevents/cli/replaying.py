"""Events with the pauses that were between them, faster or slower."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

from flowevents.events import Event, FlowEnd

__all__ = ["replay"]

_LONGEST: Final = 1e6  # seconds; a pause that the system is sure to take


def replay(
    events: Iterable[Event],
    handler: Callable[[Event], object],
    speed: float,
    *,
    get_time: Callable[[], float],
    sleep: Callable[[float], object],
) -> None:
    """Hand the events over, each when it is due; while no run is under way that is at once.

    Args:
        events: Of one run or several.
        handler: What gets them.
        speed: How many times as fast; 0 and infinity are without pauses.
        get_time, sleep: A clock in seconds that never goes back, and what waits for it.
    """
    due, last = get_time(), math.nan
    open_runs: set[str] = set()
    for event in events:
        pause = (event.time - last) / speed if open_runs and speed else 0.0
        if 0 < pause < math.inf:
            due += pause
            sleep(min(max(due - get_time(), 0.0), _LONGEST))
        handler(event)
        last = event.time
        if isinstance(event, FlowEnd) and not event.node:
            open_runs.discard(event.run_id)
        else:
            open_runs.add(event.run_id)
