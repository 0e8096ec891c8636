"""A connection to the SQLite file of a journal.

The rules of this file:

* A connection is used by one thread at a time, which has its lock. So none is closed, and no
  process forked, while a thread is in it.
* A forked process closes what it has inherited before it uses the file: SQLite would think that
  it has the locks of its parent.
* Only SQLite opens a file that is there: a process that closes any descriptor of a file loses all
  of its locks on it.
* A file that is no journal is left as it is.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from flowevents.errors import FlowEventsError, JournalError
from flowevents.journal.keeper import closed

__all__ = ["Connection"]

APPLICATION: Final = 0x666C6576  # "flev"
VERSION: Final = 1

_creating: Final = threading.Lock()

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


Identity = tuple[int, int]
"""Which file it is, whatever its name: its device and inode."""


class Connection:
    """A connection, used by one thread at a time; opened when it is first needed.

    Args:
        path: Where the file is.
        durable: What `PRAGMA synchronous` is set to.
        patience: For how many seconds it waits for who has locked the file.
        file: The file that has to be there; without, it is made where there is none.
    """

    def __init__(
        self, path: str, durable: str, patience: float, file: Identity | None = None
    ) -> None:
        self.path: Final = path
        self._lock = threading.RLock()
        self._durable = durable
        self._patience = patience
        self._db: sqlite3.Connection | None = None
        self._file = file
        self._closed = False

    @contextmanager
    def use(self, *, writes: bool = False, looks: bool = True) -> Iterator[sqlite3.Connection]:
        """The connection, for as long as the block runs.

        Args:
            writes: In a transaction that writes, which what the block raises undoes.
            looks: Make sure first that the file is still in its place.

        What SQLite raises, or what reading its rows does, becomes a `JournalError`.
        """
        with self._lock:
            try:
                db = self._checked(looks)
                if not writes:
                    yield db
                    return
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.execute("COMMIT")
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
            except FlowEventsError:
                raise
            except (sqlite3.Error, OSError, ValueError, msgspec.MsgspecError) as error:
                raise JournalError(f"The journal {self.path} failed: {error}.") from error

    def _checked(self, looks: bool) -> sqlite3.Connection:
        if self._closed:
            raise closed()
        if self._file is None:
            _create(self.path)
            self._file = self.identity()
        elif looks and self._file != self.identity():
            raise JournalError(f"Another file was put in the place of the journal {self.path}.")
        if self._db is None:
            self._db = self._open()
        return self._db

    def identity(self) -> Identity:
        """Which file is there now."""
        found = os.stat(self.path)
        return found.st_dev, found.st_ino

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=self._patience, isolation_level=None, check_same_thread=False
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


def _create(path: str) -> None:
    """Make a private file where there is none; one that is there is not opened, nor closed."""
    with _creating:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass


def _migrate(db: sqlite3.Connection, path: str) -> None:
    """Make the tables in a new file. Raises `JournalError` where it is not ours, or is newer."""
    if _version(db, path) == VERSION:
        return
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    with db:
        if _version(db, path) == 0:  # nobody else was faster
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")


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
