"""The ends of a run that is cancelled though nobody drives it: no code runs for them."""

from __future__ import annotations

from collections.abc import Iterable

from flowevents.events import Event, FlowEnd, ItemEnd, ItemStart, NodeEnd, Retry
from flowevents.opened import Opened, OpenStarts, starts

__all__ = ["cancelled_ends"]


class _Open(Opened):
    """An open start.

    Attributes:
        attempt: The one that it is in.
        done: How many of its items have ended.
    """

    __slots__ = ("attempt", "done")

    def __init__(self, event: Event, parent: _Open | None) -> None:
        super().__init__(event, parent)
        self.attempt = event.attempt
        self.done = 0


def cancelled_ends(events: Iterable[Event], now: float) -> list[Event]:
    """The `cancelled` ends of all that is open after these events of a run, which come next.

    Args:
        events: All of a log.
        now: When they end, in seconds since the epoch.
    """
    opened = OpenStarts(_Open)
    seq = 0
    for event in events:
        seq = event.seq
        _take(opened, event)
    root = opened.root
    closed = [] if root is None else opened.close(root)
    return [_end(each, seq + number, now) for number, each in enumerate(closed, 1)]


def _take(opened: OpenStarts[_Open], event: Event) -> None:
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
        if isinstance(event, ItemEnd) and of.parent is not None:
            of.parent.done = event.done


def _end(of: _Open, seq: int, now: float) -> Event:
    start = of.event
    duration = max(0.0, now - start.time)
    common = (start.run_id, seq, now, start.span, start.node, start.items, start.step, of.attempt)
    if isinstance(start, ItemStart):
        done = 0
        if of.parent is not None:
            done = of.parent.done = of.parent.done + 1
        return ItemEnd(*common, status="cancelled", duration=duration, done=done, total=start.total)
    kind = FlowEnd if of.kind == "flow" else NodeEnd
    return kind(*common, status="cancelled", duration=duration)
