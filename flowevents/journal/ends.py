"""The ends of a run that nobody drives, because it is cancelled, or had failed: no code runs."""

from __future__ import annotations

from flowevents.events import Event, FlowEnd, ItemEnd, ItemStart, NodeEnd, Status
from flowevents.journal.standing import Scope, Standing
from flowevents.opened import End

__all__ = ["cancelled_ends"]


def cancelled_ends(standing: Standing, now: float, failed: End | None = None) -> list[Event]:
    """The `cancelled` ends of all that is open where a log stands, which come next.

    Args:
        standing: Where. Nothing of it is open afterwards.
        now: When they end, in seconds since the epoch.
        failed: What `standing.failed()` gives: all around it ends with the same status and error.
    """
    scopes = [] if standing.root is None else standing.open.close(standing.root)
    around = next((each for each in scopes if failed is not None and each.failed is failed), None)
    ends: list[Event] = []
    for number, each in enumerate(scopes, standing.seq + 1):
        if each is around:
            ends.append(_end(each, number, now, failed))
            around = each.parent
        else:
            ends.append(_end(each, number, now, None))
    return ends


def _end(of: Scope, seq: int, now: float, failed: End | None) -> Event:
    start = of.event
    attempt, duration = of.tried.attempt, max(0.0, now - start.time)
    common = (start.run_id, seq, now, start.span, start.node, start.items, start.step, attempt)
    status: Status = "cancelled" if failed is None else failed.status
    error = None if failed is None else failed.error
    if isinstance(start, ItemStart):
        of.parent.cursor.done += 1
        done, total = of.parent.cursor.done, start.total
        return ItemEnd(
            *common, status=status, duration=duration, error=error, done=done, total=total
        )
    kind = FlowEnd if of.kind == "flow" else NodeEnd
    return kind(*common, status=status, duration=duration, error=error)
