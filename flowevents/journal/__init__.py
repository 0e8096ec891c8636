"""Journals: the durable, ordered logs of runs.

    records.py    what is in a log, and what is said of a run
    codec.py      values as JSON, which come back as they were
    kept.py       what a record keeps beside its event, for a run that goes on
    shared.py     what of `shared` is kept
    standing.py   where a log stands, for a run that goes on
    store.py      what a store must be able to do
    rows.py       what stores write of a run beside its log
    summary.py    what is said of a run, as its events change it
    lease.py      the right to write a run's log
    keeper.py     the one thread of a journal
    reading.py    a log, portion by portion
    follower.py   the events of a run as they are stored
    mail.py       what is put into the inbox of a run
    ends.py       the ends of a run that nobody drives
    journal.py    Journal: what every journal is
    memory.py     MemoryJournal
    sqlite.py     SQLiteJournal; in connection.py a connection to its file
    redis.py      RedisJournal; in scripts.py what the server does in one step, in watched.py
                  how the rest of a run is changed

Each name is imported when it is first used: most runs have no journal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from flowevents.later import imported_later

if TYPE_CHECKING:
    from flowevents.journal.journal import Journal
    from flowevents.journal.lease import Lease
    from flowevents.journal.memory import MemoryJournal
    from flowevents.journal.records import Message, Record, RunSummary
    from flowevents.journal.redis import RedisJournal
    from flowevents.journal.sqlite import SQLiteJournal

_LATER: Final = {
    "Journal": "journal",
    "Lease": "lease",
    "MemoryJournal": "memory",
    "Message": "records",
    "Record": "records",
    "RedisJournal": "redis",
    "RunSummary": "records",
    "SQLiteJournal": "sqlite",
}

__getattr__: Callable[[str], Any] = imported_later(__name__, _LATER)


__all__ = [
    "Journal",
    "Lease",
    "MemoryJournal",
    "Message",
    "Record",
    "RedisJournal",
    "RunSummary",
    "SQLiteJournal",
]
