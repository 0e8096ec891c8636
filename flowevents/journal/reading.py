"""A log as it is read, portion by portion and without a hole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from flowevents.errors import EventsLost, JournalError, UnknownRun
from flowevents.events import Event, FlowEnd, NodeEnd, decode
from flowevents.journal.records import Record
from flowevents.journal.store import Row, Store

__all__ = ["PORTION", "check_after", "event_of", "in_order", "read_on", "step_ends", "unknown"]

PORTION: Final = 256
"""How many records are read at once: a fraction of a millisecond."""


def read_on(store: Store, run_id: str, after: int) -> Iterator[Record]:
    """The records that there are after this one, those that are added meanwhile, too."""
    while records := store.records(run_id, after, PORTION):
        yield from in_order(records, run_id, after)
        after = records[-1].seq


def in_order(records: Iterable[Record], run_id: str, after: int) -> Iterator[Record]:
    """The same. Raises `EventsLost` before the first that is not the next."""
    for record in records:
        if record.seq != after + 1:
            raise EventsLost(
                f"The log of run {run_id} has no event {after + 1}: after {after} comes "
                f"{record.seq}. The store has lost what was between them."
            )
        after = record.seq
        yield record


def event_of(record: Record, run_id: str) -> Event:
    """The event in a record. Raises `JournalError` where it is none."""
    try:
        return decode(record.event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        which = f"Event {record.seq} of run {run_id}"
        raise JournalError(f"{which} cannot be read: {error}.") from error


def step_ends(records: Iterable[Record], run_id: str) -> Iterator[NodeEnd | FlowEnd]:
    """The ends of steps, and of the run's own flow, among them."""
    for record in records:
        if record.event.startswith(_ENDS):
            event = event_of(record, run_id)
            if isinstance(event, (NodeEnd, FlowEnd)):
                yield event


_ENDS: Final = (b'{"type":"NodeEnd"', b'{"type":"FlowEnd"')


def check_after(row: Row, after: int) -> None:
    """Raise `EventsLost` where a reader names an event that the log does not have."""
    if not 0 <= after <= row.summary.seq:
        raise EventsLost(
            f"The log of run {row.summary.id} ends with event {row.summary.seq}, and has no "
            f"event {after}."
        )


def unknown(run_id: str) -> UnknownRun:
    """The error for a run that is not there."""
    return UnknownRun(f"The journal has no run {run_id!r}.")
