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
_BLOCK: Final = 65_536
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_process = object()  # another one in a forked child


class _Place:
    """A file that this process writes to, by one object or by several.

    Attributes:
        lock: Who has it opens, writes and closes.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._files: set[io.FileIO] = set()
        self._held: int | None = None  # a descriptor of the file, by which others are kept out

    def open(self, path: Path) -> io.FileIO:
        """Open the file to append to, without the torn line that it may end with.

        Raises `RecordError` where somebody else writes to it, and for a file that ends with
        anything else that is not a whole line.
        """
        file = io.FileIO(path, "a+")
        self._files.add(file)
        try:
            if self._held is None and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                self._held = os.dup(file.fileno())
                if not _flock(self._held, "LOCK_EX", "LOCK_NB"):
                    raise RecordError(
                        f"Somebody else writes to {path} now: give the path of another file."
                    )
            _mend(file, path)
        except BaseException:
            self.close(file)
            raise
        return file

    def close(self, file: io.FileIO) -> None:
        """Close it; the last one lets others in."""
        file.close()
        self._files.discard(file)
        if not self._files and self._held is not None:
            _flock(self._held, "LOCK_UN")  # a child that is just begun may have it too
            self._let_go()

    def forget(self) -> None:
        """Be as new in a forked child, whose parent goes on."""
        self.lock = threading.RLock()
        for file in self._files:
            file.close()
        self._files.clear()
        self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            os.close(held)


def _flock(descriptor: int, *how: str) -> bool:
    """Lock an open file, or unlock it; `False` where somebody else has locked it."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(descriptor, sum(getattr(fcntl, each) for each in how))
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


def _place_of(path: Path) -> _Place:
    with _places_lock:
        return _places.setdefault(path, _Place())


def _forked() -> None:
    global _process
    _process = object()
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
        self._path: Path | None = None
        self._file: Any = None
        self._process: object = None  # in which the file of a path was opened
        if isinstance(path_or_file, (str, os.PathLike)):
            self._path = _whole_path(path_or_file)
            self._place = _place_of(self._path)
            with self._place.lock:
                self._place.close(self._place.open(self._path))  # or say at once what is wrong
        else:
            self._place = _Place()
            self._file = path_or_file

    def __call__(self, event: Event) -> None:
        """Write one event. Raises `OSError` where that fails; then nothing of it stays.

        Raises `RecordError` where another process has begun to write to the file.
        """
        line = encode(event) + b"\n"
        with self._place.lock:
            if self._path is None:
                _write_to_file(self._file, line)
                return
            if self._process is not _process:  # it is a copy of the parent's
                self.close()
            if self._file is None:
                self._file, self._process = self._place.open(self._path), _process
            _write(self._file, line)
            if isinstance(event, FlowEnd) and not event.node:
                self._runs.discard(event.run_id)
                if not self._runs:
                    self.close()
            else:
                self._runs.add(event.run_id)

    def close(self) -> None:
        """Close the file of a path; a later event opens it again."""
        with self._place.lock:
            self._runs.clear()
            if self._path is not None and self._file is not None:
                file, self._file = self._file, None
                if self._process is _process:
                    self._place.close(file)
                else:
                    file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_place"):
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


def _may_be_torn(line: bytes, error: Exception | None = None) -> bool:
    """Whether it is what is left of a line: its beginning, or nothing but what a disk fills in."""
    if isinstance(error, msgspec.ValidationError):  # it is whole, but no event
        return False
    return line.startswith(b"{") or not line.strip(b"\x00")


def _broken(name: str, number: int, error: Exception) -> RecordError:
    return RecordError(f"{name}, line {number} is no event: {error}.")


# -- writing ----------------------------------------------------------------------------------


def _mend(file: io.FileIO, path: Path) -> None:
    if not file.seekable():  # a pipe or a terminal
        return
    end = file.seek(0, os.SEEK_END)
    last = _last_line(file, end)
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
        file.truncate(end - len(last))
        _logger.warning("%s ended with a torn line, which was removed: %r", path, last[:80])
    else:
        _write(file, b"\n")


def _last_line(file: io.FileIO, end: int) -> bytes:
    """What follows the last newline."""
    blocks: list[bytes] = []
    newline = b""
    while end > 0 and not newline:
        begin = max(0, end - _BLOCK)
        file.seek(begin)
        _, newline, last = file.read(end - begin).rpartition(b"\n")
        blocks.append(last)
        end = begin
    file.seek(0, os.SEEK_END)
    return b"".join(reversed(blocks))


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


def _write_to_file(file: Any, line: bytes) -> None:
    """To somebody else's file: it says by an `encoding` that it takes text."""
    file.write(line.decode() if hasattr(file, "encoding") else line)
    file.flush()
