"""What is said of a run, as its events change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from flowevents.events import (
    Event,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    NodeEnd,
    Reply,
    Status,
    decode,
)
from flowevents.journal.records import Entry, RunSummary
from flowevents.status import RunStatus

__all__ = ["summary_after"]

_TOUCHING: Final = frozenset({FlowStart, FlowEnd, Interrupt, Reply})
_STATUS: Final[Mapping[Status, RunStatus]] = {
    "ok": "done",
    "error": "failed",
    "cancelled": "cancelled",
}


def summary_after(summary: RunSummary, entries: Sequence[Entry]) -> RunSummary | None:
    """The summary of a run after these events; `None` where they change nothing of it.

    Most do not, and cost next to nothing.

    Args:
        summary: What it was before.
        entries: The events, and how they are stored.
    """
    before = summary
    for event, record in entries:
        kind = type(event)
        if kind in _TOUCHING or (summary.interrupts and kind in (NodeEnd, ItemEnd)):
            summary = _after(summary, decode(record.event))  # as JSON holds it
    return None if summary is before else summary


def _after(summary: RunSummary, event: Event) -> RunSummary:
    """The summary of a run after an event that may change it."""
    asked = summary.interrupts
    if isinstance(event, FlowStart) and not event.node:
        return replace(
            summary,
            flow=event.flow,
            started=event.time,
            updated=event.time,
            metadata=event.metadata,
        )
    if isinstance(event, FlowEnd) and not event.node:
        return replace(
            summary,
            status=_STATUS[event.status],
            action=event.action,
            error=event.error,
            updated=event.time,
            interrupts=(),
        )
    if isinstance(event, Interrupt):  # a step, or an item, asks one question at a time
        asked = (*(each for each in asked if each.span != event.span), event)
    elif isinstance(event, Reply):
        asked = tuple(each for each in asked if each.id != event.id)
    elif isinstance(event, (NodeEnd, ItemEnd)):
        asked = tuple(each for each in asked if each.span != event.span)
    return summary if asked == summary.interrupts else replace(summary, interrupts=asked)
