"""Events as a file of JSON lines, and back: one event a line, in the form of `events.encode`.

The rules of this file:

* A line is written as a whole and handed to the system at once. What a process that dies leaves
  is all of its lines, and of one that it was writing perhaps the beginning: a torn line, the last.
* A torn line is reported on the logger `flowevents` and never merged: a reader skips it, a writer
  that appends to the file first removes it.
* Anything else that is no event is a `RecordError`, for reader and writer.
* One process writes to a file at a time. It holds a lock of the open file (flock), which the system
  takes back when the process dies. A forked child holds nothing.
"""

from __future__ import annotations

import io
import logging
import mmap
import os
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Self
from weakref import WeakValueDictionary

import msgspec

from flowevents.errors import RecordError
from flowevents.events import Event, FlowEnd, decode, encode

__all__ = ["JsonLines", "read_events"]

_logger: Final = logging.getLogger("flowevents")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Place:
    """A file that this process appends to, for everybody here who does.

    Attributes:
        lock: Who has it opens, writes and closes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._users = 0
        self._file: io.FileIO | None = None
        self.lock = threading.RLock()

    def open(self) -> io.FileIO:
        """The file, open for one more who writes, without the torn line that it may end with.

        Raises `RecordError` where somebody else writes to it, and for a file that ends with
        anything else that is not a whole line.
        """
        if self._file is None:
            file = io.FileIO(self._path, "a+")
            try:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and not _flock(file, "LOCK_EX"):
                    raise RecordError(
                        f"Somebody else writes to {self._path} now: give the path of another file."
                    )
                _mend(file, self._path)
            except BaseException:
                file.close()
                raise
            self._file = file
        self._users += 1
        return self._file

    def close(self) -> None:
        """One of them is done; the last one closes it, and lets others in."""
        self._users -= 1
        if not self._users and self._file is not None:
            _flock(self._file, "LOCK_UN")  # a child that is just begun may have it too
            self._file.close()
            self._file = None

    def forget(self) -> None:
        """Be as new in a forked child, whose parent goes on."""
        if self._file is not None:
            self._file.close()
        self._users, self._file, self.lock = 0, None, threading.RLock()


def _flock(file: io.FileIO, how: str) -> bool:
    """Lock an open file, or unlock it; `False` where somebody else has locked it."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, getattr(fcntl, how) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
    return True


def _whole_path(path: str | os.PathLike[str]) -> Path:
    """A path that stays what it is; a pipe behind `/dev/stdout` has no other."""
    absolute = Path(path).absolute()
    is_special = absolute.exists() and not absolute.is_file()
    return absolute if is_special else absolute.resolve()


_places: Final[WeakValueDictionary[Path, _Place]] = WeakValueDictionary()
_places_lock: Final = threading.RLock()


def _forked() -> None:
    for place in list(_places.values()):
        place.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)


class JsonLines:
    """Records events: `flow.run(shared, observers=[JsonLines("run.jsonl")])`.

    Args:
        path_or_file: A path, to whose file is appended, made if need be. Or an open file, binary
            or text, which is written to where it stands, flushed after each line, and not closed.

    The file of a path is open while a run that it hears is under way: it is closed with the last
    run's end, and opened again by the next event. `close`, or leaving the `with` block, closes it
    also where runs have not ended, or only some of their events are heard. Several runs, in any
    threads, may be recorded into one file, by one object or by several, but of one process: while
    it is open no other process can write to it, a forked child included. What is no regular file,
    such as a pipe or `/dev/stdout`, is open to all.

    Raises `OSError` where the file cannot be opened, and `RecordError` where it ends with
    something else than events, or another process writes to it.
    """

    def __init__(self, path_or_file: str | os.PathLike[str] | IO[bytes] | IO[str]) -> None:
        self._runs: set[str] = set()  # those that have not ended
        self._file: Any = None  # of a path: while it is open
        self._place: _Place | None = None
        if isinstance(path_or_file, (str, os.PathLike)):
            path = _whole_path(path_or_file)
            with _places_lock:
                self._place = _places.setdefault(path, _Place(path))
            with self._place.lock:
                self._place.open()  # or say at once what is wrong
                self._place.close()
        else:
            self._file, self._lock = path_or_file, threading.RLock()

    def __call__(self, event: Event) -> None:
        """Write one event. Raises `OSError` where that fails; then nothing of it stays.

        Raises `RecordError` where another process has begun to write to the file.
        """
        line = encode(event) + b"\n"
        if self._place is None:
            with self._lock:  # it says by an `encoding` that it takes text
                self._file.write(line.decode() if hasattr(self._file, "encoding") else line)
                self._file.flush()
            return
        with self._place.lock:
            if self._file is None or self._file.closed:  # as in a child that was forked
                self._runs.clear()
                self._file = self._place.open()
            _write(self._file, line)
            if isinstance(event, FlowEnd) and not event.node:
                self._runs.discard(event.run_id)
                if not self._runs:
                    self.close()
            else:
                self._runs.add(event.run_id)

    def close(self) -> None:
        """Close the file of a path; a later event opens it again."""
        if self._place is not None:
            with self._place.lock:
                self._runs.clear()
                file, self._file = self._file, None
                if file is not None and not file.closed:
                    self._place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def read_events(path_or_file: str | os.PathLike[str] | IO[bytes] | IO[str]) -> Iterator[Event]:
    """Give the events of a file that `JsonLines` wrote, lazily, in order, of all its runs.

    An event of a type that this version does not know is an `UnknownEvent`; empty lines are
    skipped. A torn last line is reported as a warning on the logger `flowevents`, and skipped.

    Raises `OSError` where the file cannot be read, and `RecordError`, which names the file and
    the line, for a line that is no event.
    """
    if isinstance(path_or_file, (str, os.PathLike)):
        with open(path_or_file, "rb") as file:
            yield from _read(file, os.fspath(path_or_file))
    else:
        yield from _read(path_or_file, str(getattr(path_or_file, "name", path_or_file)))


# -- reading ----------------------------------------------------------------------------------


def _read(lines: Iterable[bytes | str], name: str) -> Iterator[Event]:
    torn: tuple[int, bytes, Exception] | None = None
    for number, each in enumerate(lines, 1):
        line = (each.encode("utf-8", "replace") if isinstance(each, str) else each).strip()
        if not line:
            continue
        if torn is not None:  # it is not the last
            raise _broken(name, torn[0], torn[2])
        try:
            event = decode(line)
        except _UNREADABLE as error:
            if not _may_be_torn(line, error):
                raise _broken(name, number, error) from None
            torn = number, line, error
        else:
            yield event
    if torn is not None:
        _logger.warning("%s, line %d is torn and was skipped: %r", name, torn[0], torn[1][:80])


def _may_be_torn(line: bytes, error: Exception) -> bool:
    """Whether it is what is left of a line: its beginning, or nothing but what a disk fills in."""
    if isinstance(error, msgspec.ValidationError):  # it is whole, but no event
        return False
    return line.startswith(b"{") or not line.strip(b"\x00")


def _broken(name: str, number: int, error: Exception) -> RecordError:
    return RecordError(f"{name}, line {number} is no event: {error}.")


# -- writing ----------------------------------------------------------------------------------


def _mend(file: io.FileIO, path: Path) -> None:
    if not file.seekable() or not file.seek(0, os.SEEK_END):  # a pipe or a terminal, or empty
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        size = len(whole)
        last = whole[whole.rfind(b"\n") + 1 :]
    if not last:
        return
    try:
        decode(last)
    except _UNREADABLE as error:
        if not _may_be_torn(last, error):
            raise RecordError(
                f"{path} ends with {last[:80]!r}, which is no event: nothing is appended to it. "
                "Give the path of a new file, or of a record."
            ) from None
        file.truncate(size - len(last))
        _logger.warning("%s ended with a torn line, which was removed: %r", path, last[:80])
    else:
        _write(file, b"\n")


def _write(file: io.FileIO, line: bytes) -> None:
    """Write all of it, or nothing."""
    written = 0
    try:
        while written < len(line):
            written += file.write(line[written:] if written else line) or 0
    except BaseException:
        if written:
            with suppress(OSError):  # of what cannot be made shorter, as a pipe
                file.truncate(os.fstat(file.fileno()).st_size - written)
        raise
