"""A connection to the SQLite file of a journal.

The rules of this file:

* A connection is used by one thread at a time, which has its lock. So none is closed, and no
  process forked, while a thread is in it.
* A forked process closes what it has inherited before it uses the file: SQLite would think that
  it has the locks of its parent.
* A file that is no journal is left as it is.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flowevents.errors import JournalError
from flowevents.journal.keeper import closed

__all__ = ["Connection"]

APPLICATION: Final = 0x666C6576  # "flev"
VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE runs (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT UNIQUE,  -- none of one that is deleted
    status TEXT NOT NULL,
    started REAL NOT NULL,
    updated REAL NOT NULL,
    summary BLOB NOT NULL,
    owner TEXT NOT NULL,
    holder TEXT NOT NULL,
    until REAL NOT NULL,
    losses INTEGER NOT NULL,
    lost_at INTEGER NOT NULL,
    mails INTEGER NOT NULL
);
CREATE INDEX runs_by_start ON runs (started, key);
CREATE INDEX runs_by_status ON runs (status, started, key);
CREATE TABLE inbox (
    run INTEGER NOT NULL,
    id TEXT NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (run, id)
) WITHOUT ROWID;
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    events BLOB NOT NULL,
    kept BLOB
);
"""


class Connection:
    """A connection, used by one thread at a time; opened when it is first needed."""

    def __init__(self, path: str, durable: str, patience: float) -> None:
        self.path: Final = path
        self._lock = threading.RLock()
        self._durable = durable
        self._patience = patience
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] = (0, 0)
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for as long as the block runs; errors of SQLite are `JournalError`s."""
        with self._lock:
            try:
                yield self._checked()
            except (sqlite3.Error, OSError) as error:
                raise JournalError(f"The journal {self.path} failed: {error}.") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The same, in a transaction that writes."""
        with self.use() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _checked(self) -> sqlite3.Connection:
        if self._closed:
            raise closed()
        if self._db is None:
            self._db = self._open()
            self._file = _identity(self.path)
        elif self._file != _identity(self.path):
            raise JournalError(f"The journal {self.path} was deleted, or another put in its place.")
        return self._db

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(
            self.path, self._patience, isolation_level=None, check_same_thread=False
        )
        try:
            _migrate(db, self.path)
            db.execute(f"PRAGMA synchronous = {self._durable}")
        except BaseException:
            db.close()
            raise
        return db

    def close(self) -> None:
        """Close it for good, when nobody uses it."""
        with self._lock:
            self._closed = True
            self._close()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def before_fork(self) -> None:
        """Wait until nobody uses it."""
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Go on; the child, which has this thread alone, opens its own when it needs one."""
        if in_child:
            self._close()
            self._lock = threading.RLock()
        else:
            self._lock.release()


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _migrate(db: sqlite3.Connection, path: str) -> None:
    """Make the tables in a new file. Raises `JournalError` where it is not ours, or is newer."""
    if _version(db, path) == VERSION:
        return
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    try:
        if _version(db, path) == 0:  # nobody else was faster
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _version(db: sqlite3.Connection, path: str) -> int:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and (application or version or tables):
        raise JournalError(f"{path} is a database of something else, and no journal of runs.")
    if version > VERSION:
        raise JournalError(
            f"{path} is a journal of version {version}, and this flowevents knows {VERSION}. "
            "Install a newer one."
        )
    return int(version)
