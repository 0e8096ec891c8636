"""A journal in an SQLite file, for the threads, loops and processes of one machine.

The rules of this file:

* A row of `log` is what was stored in one commit: its events, one JSON a line, and beside them what
  is kept, a line for each. Its id is the run's key and the number of its last event, so that a log
  lies in one piece, in order, and its end is found at once.
* One connection writes and one reads.
* A run that is deleted loses its id at once, and its log bit by bit: others can write in between.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from flowevents.journal.connection import Connection
from flowevents.journal.journal import Journal
from flowevents.journal.records import ENDED, Message, Record
from flowevents.journal.rows import as_stored, encode, inbox_changes, inbox_of, summary_of
from flowevents.journal.store import Batch, Held, Polled, Row, Store
from flowevents.status import RunStatus

__all__ = ["SQLiteJournal"]

T = TypeVar("T")

_BITS: Final = 32  # of an id in `log` that are the number of an event
_ASKED: Final = 500  # runs that are looked at in one statement
_SWEPT: Final = 200  # rows that are deleted at once

_COLUMNS: Final = "status, started, updated, summary, owner, holder, until, losses, lost_at, mails"
_LAST: Final = f"""(SELECT log.id & {(1 << _BITS) - 1} FROM log
    WHERE log.id BETWEEN runs.key << {_BITS} AND (runs.key + 1 << {_BITS}) - 1
    ORDER BY log.id DESC LIMIT 1)"""
_LAST_EVENTS: Final = _LAST.replace(f"log.id & {(1 << _BITS) - 1}", "log.events", 1)
_INBOX: Final = "(SELECT group_concat(message, char(10)) FROM inbox WHERE run = runs.key)"
_ROW: Final = f"SELECT key, {_COLUMNS}, {_LAST}, {_LAST_EVENTS}, {_INBOX} FROM runs"
# Who has not the lease, or thinks that the log ends elsewhere, gets a text for an id, which SQLite
# refuses. An INSERT … SELECT that reads `log` itself would go through a temporary table.
_APPEND: Final = f"""INSERT INTO log VALUES (coalesce((
    SELECT runs.key << {_BITS} | ? FROM runs
    WHERE id = ? AND owner = ? AND coalesce({_LAST}, 0) = ?), 'none'), ?, ?)"""
_BEGIN: Final = f"INSERT INTO runs ({_COLUMNS}, id) VALUES ({', '.join('?' * 11)})"


class SQLiteJournal(Journal):
    """Holds runs in an SQLite file, made with mode 0600 where it is not there.

    Args:
        path: The file.
        lease: For how many seconds a run counts as driven that nobody renews.
        durable: `"normal"` outlives every end of a process; `"full"` also a power failure, and
            waits for the disk at each commit.

    Raises `JournalError` where the file is no journal, or one of a newer version of flowevents.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lease: float = 15.0,
        durable: Literal["normal", "full"] = "normal",
    ) -> None:
        if durable not in ("normal", "full"):
            raise ValueError(f"durable={durable!r}; give 'normal' or 'full'.")
        super().__init__(_Store(os.path.abspath(path), durable, self.patience), lease)

    patience: float = 10.0
    """For how many seconds a call waits for another process that has locked the file."""


class _Store(Store):
    """Runs in the tables of a file."""

    def __init__(self, path: str, durable: str, patience: float) -> None:
        self._writer = Connection(path, durable, patience)
        with self._writer.use():  # or say at once what is wrong with the file
            self._reader = Connection(path, durable, patience, self._writer.identity())
        self._seen: tuple[object, ...] = ()  # of the last poll: version, leases, runs
        self._polled = Polled(set(), {}, {})

    # -- a run ----------------------------------------------------------------------------------

    def update(self, run_id: str, change: Callable[[Row | None, float], tuple[Row | None, T]]) -> T:
        with self._writer.use(writes=True) as db:
            key, row = _find(db, run_id)
            stored = {} if row is None else as_stored(row)
            inbox = [] if row is None else list(row.inbox)
            row, result = change(row, self.now())
            if row is not None:
                _put(db, key, row, stored, inbox)
            elif key is not None:
                db.execute("UPDATE runs SET id = NULL, owner = '' WHERE key = ?", (key,))
        return result

    def find(self, run_id: str) -> Row | None:
        with self._reader.use() as db:
            return _find(db, run_id)[1]

    def append(self, batch: Batch) -> bool:
        """In a statement, or a transaction where more than the log changes.

        Whether the file is there is not looked at: who has a lease does so with each poll.
        """
        told, taken = batch.summary, batch.taken
        with self._writer.use(writes=bool(told or taken), looks=False) as db:
            found = batch.records[-1].seq, batch.run_id, batch.owner, batch.after
            try:
                added = db.execute(_APPEND, (*found, *_packed(batch.records)))
            except sqlite3.IntegrityError:
                return False
            key = (added.lastrowid or 0) >> _BITS
            changed: dict[str, object] = {}
            if told is not None:
                changed = {"updated": told.updated, "summary": encode(told)}
                if batch.after == 0:
                    changed["started"] = told.started
                if told.status in ENDED:
                    changed |= {"status": told.status, "owner": ""}
                    db.execute("DELETE FROM inbox WHERE run = ?", (key,))
            if taken is not None:
                db.execute("DELETE FROM inbox WHERE run = ? AND id = ?", (key, taken))
            _set(db, key, changed)
        return True

    def renew(self, leases: Sequence[Held], seconds: float) -> None:
        until = self.now() + seconds
        with self._writer.use(writes=True) as db:
            db.executemany(
                "UPDATE runs SET until = ? WHERE id = ? AND owner = ?",
                [(until, *held) for held in leases],
            )

    # -- many runs ------------------------------------------------------------------------------

    def poll(self, leases: Sequence[Held], runs: Iterable[str]) -> Polled:
        """Looks only where the file was written since the last time."""
        names = list(runs)
        with self._reader.use() as db:
            (version,) = db.execute("PRAGMA data_version").fetchone()
            seen = (version, list(leases), names)
            if seen != self._seen:
                self._polled, self._seen = _poll(db, leases, names), seen
            return self._polled

    def records(self, run_id: str, after: int, limit: int) -> list[Record]:
        found: list[Record] = []
        with self._reader.use() as db:
            rows = db.execute(
                f"""SELECT log.id & {(1 << _BITS) - 1}, events, kept FROM runs, log
                    WHERE runs.id = ? AND log.id > runs.key << {_BITS} | ?
                    AND log.id < runs.key + 1 << {_BITS} ORDER BY log.id LIMIT ?""",
                (run_id, after, limit),
            )
            for last, events, kept in rows:
                found += _unpacked(last, events, kept, after)
                if len(found) >= limit:
                    break
            rows.close()
        return found

    def rows(self, status: RunStatus | None, limit: int) -> list[Row]:
        where = "id IS NOT NULL" + ("" if status is None else " AND status = ?")
        query = f"{_ROW} WHERE {where} ORDER BY started DESC, key DESC LIMIT ?"
        with self._reader.use() as db:
            found = db.execute(query, (limit,) if status is None else (status, limit)).fetchall()
            return [_row(each) for each in found]

    def due(self) -> list[Row]:
        now = self.now()
        where = "id IS NOT NULL AND status IN ('running', 'paused') AND (owner = '' OR until <= ?)"
        with self._reader.use() as db:
            found = db.execute(f"{_ROW} WHERE {where} ORDER BY started, key", (now,)).fetchall()
        return [row for each in found if (row := _row(each)).is_due(now)]

    def ended(self, before: float, limit: int) -> list[str]:
        statuses = ", ".join(f"'{each}'" for each in sorted(ENDED))
        where = f"id IS NOT NULL AND status IN ({statuses}) AND updated < ?"
        with self._reader.use() as db:
            query = f"SELECT id FROM runs WHERE {where} LIMIT ?"
            return [each for (each,) in db.execute(query, (before, limit)).fetchall()]

    def sweep(self) -> bool:
        """Some rows of the log of a run without an id; when none is left, the run."""
        with self._writer.use(writes=True) as db:
            found = db.execute("SELECT key FROM runs WHERE id IS NULL LIMIT 1").fetchone()
            if found is None:
                return False
            key = found[0]
            swept = db.execute(
                """DELETE FROM log WHERE id IN
                   (SELECT id FROM log WHERE id BETWEEN ? AND ? LIMIT ?)""",
                (key << _BITS, (key + 1 << _BITS) - 1, _SWEPT),
            ).rowcount
            if swept < _SWEPT:
                db.execute("DELETE FROM inbox WHERE run = ?", (key,))
                db.execute("DELETE FROM runs WHERE key = ?", (key,))
        return True

    # -- its end --------------------------------------------------------------------------------

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def __del__(self) -> None:
        if hasattr(self, "_reader"):
            self.close()

    def before_fork(self) -> None:
        self._writer.before_fork()
        self._reader.before_fork()

    def after_fork(self, *, in_child: bool) -> None:
        """The child, which has this thread alone, opens its own when it needs them."""
        self._reader.after_fork(in_child=in_child)
        self._writer.after_fork(in_child=in_child)
        self._seen = ()


# -- rows as they are stored ----------------------------------------------------------------------


def _find(db: sqlite3.Connection, run_id: str) -> tuple[int | None, Row | None]:
    found = db.execute(f"{_ROW} WHERE id = ?", (run_id,)).fetchone()
    return (None, None) if found is None else (found[0], _row(found))


def _row(found: tuple[Any, ...]) -> Row:
    *_, summary, owner, holder, until, losses, lost_at, mails, seq, events, inbox = found
    last = None if events is None else events.rpartition(b"\n")[2]
    told = summary_of(summary, seq or 0, last)
    return Row(told, owner, holder, until, losses, lost_at, mails, _messages(inbox))


def _messages(inbox: str | None) -> list[Message]:
    return inbox_of(inbox.split("\n")) if inbox else []


def _put(
    db: sqlite3.Connection,
    key: int | None,
    row: Row,
    stored: Mapping[str, object],
    inbox: Sequence[Message],
) -> None:
    """Store a new run, or what of the one with this key is not as it is stored."""
    values = as_stored(row)
    if key is None:
        key = db.execute(_BEGIN, (*values.values(), row.summary.id)).lastrowid
    else:
        _set(db, key, {name: value for name, value in values.items() if value != stored[name]})
    gone, new = inbox_changes(inbox, row.inbox)
    for id in gone:
        db.execute("DELETE FROM inbox WHERE run = ? AND id = ?", (key, id))
    for each in new:
        db.execute("INSERT INTO inbox VALUES (?, ?, ?)", (key, each.id, encode(each)))


def _set(db: sqlite3.Connection, key: int, values: Mapping[str, object]) -> None:
    """Change some columns of a run: each that has an index costs a page of the file."""
    if values:
        names = ", ".join(f"{name} = ?" for name in values)
        db.execute(f"UPDATE runs SET {names} WHERE key = ?", (*values.values(), key))


def _packed(records: Sequence[Record]) -> tuple[bytes, bytes | None]:
    """The row of `log` that holds these, without its id."""
    events = b"\n".join([each.event for each in records])
    kept = b"\n".join([each.kept or b"" for each in records])
    is_empty = len(kept) < len(records)  # but for the ends of its lines
    return events, None if is_empty else kept


def _unpacked(last: int, events: bytes, kept: bytes | None, after: int) -> Iterator[Record]:
    """The records in a row of `log`, from the one that follows `after`."""
    lines = events.split(b"\n")
    beside: Sequence[bytes | None] = [None] * len(lines) if kept is None else kept.split(b"\n")
    for seq, (event, each) in enumerate(zip(lines, beside, strict=True), last - len(lines) + 1):
        if seq > after:
            yield Record(seq, event, each or None)


def _poll(db: sqlite3.Connection, leases: Sequence[Held], runs: Sequence[str]) -> Polled:
    polled = Polled(set(), {}, {})
    for held in leases:
        found = db.execute(f"SELECT {_INBOX} FROM runs WHERE id = ? AND owner = ?", held).fetchone()
        if found is None:
            polled.lost.add(held)
        elif found[0]:
            polled.mail[held[0]] = _messages(found[0])
    polled.tips = dict.fromkeys(runs)
    for first in range(0, len(runs), _ASKED):
        some = runs[first : first + _ASKED]
        marks = ", ".join("?" * len(some))
        tips = db.execute(f"SELECT id, coalesce({_LAST}, 0) FROM runs WHERE id IN ({marks})", some)
        polled.tips.update(tips.fetchall())
    return polled
