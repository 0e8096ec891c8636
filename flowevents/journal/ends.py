"""The ends of a run that nobody drives, because it is cancelled, or had failed: no code runs."""

from __future__ import annotations

from collections.abc import Iterable

from flowevents.events import Event, FlowEnd, ItemEnd, ItemStart, NodeEnd, Retry, Status
from flowevents.opened import Opened, OpenStarts, starts

__all__ = ["cancelled_ends"]


class _Open(Opened):
    """An open start.

    Attributes:
        attempt: The one that it is in.
        done: How many of its items have ended.
        failed: What it ends with, where that is not as cancelled.
    """

    __slots__ = ("attempt", "done", "failed")

    def __init__(self, event: Event, parent: _Open | None) -> None:
        super().__init__(event, parent)
        self.attempt = event.attempt
        self.done = 0
        self.failed: FlowEnd | NodeEnd | ItemEnd | None = None


def cancelled_ends(events: Iterable[Event], now: float, failed: Event | None = None) -> list[Event]:
    """The `cancelled` ends of all that is open after these events of a run, which come next.

    Args:
        events: All of a log.
        now: When they end, in seconds since the epoch.
        failed: An end in it that is not ok: what is around it ends with the same status and error.
    """
    opened = OpenStarts(_Open)
    seq = 0
    for event in events:
        seq = event.seq
        _take(opened, event, failed)
    root = opened.root
    closed = [] if root is None else opened.close(root)
    return [_end(each, seq + number, now) for number, each in enumerate(closed, 1)]


def _take(opened: OpenStarts[_Open], event: Event, failed: Event | None) -> None:
    if starts(event):
        opened.begin(event)
        return
    of = opened.of(event)
    if of is None:
        return
    if isinstance(event, Retry):
        of.attempt += 1
        of.done = 0
    elif isinstance(event, (FlowEnd, NodeEnd, ItemEnd)):
        opened.close(of)
        above = of.parent if failed is not None and event.seq == failed.seq else None
        while above is not None:
            above.failed, above = event, above.parent
        if isinstance(event, ItemEnd) and of.parent is not None:
            of.parent.done = event.done


def _end(of: _Open, seq: int, now: float) -> Event:
    start = of.event
    duration = max(0.0, now - start.time)
    common = (start.run_id, seq, now, start.span, start.node, start.items, start.step, of.attempt)
    status: Status = "cancelled" if of.failed is None else of.failed.status
    error = None if of.failed is None else of.failed.error
    if isinstance(start, ItemStart):
        done = 0
        if of.parent is not None:
            done = of.parent.done = of.parent.done + 1
        return ItemEnd(
            *common, status=status, duration=duration, error=error, done=done, total=start.total
        )
    kind = FlowEnd if of.kind == "flow" else NodeEnd
    return kind(*common, status=status, duration=duration, error=error)
