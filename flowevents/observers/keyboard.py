"""Lines that a person types, or a pipe brings: read in plain code, or while an event loop goes on.

The rules of this file:

* One line is read at a time in the whole process, in the order in which it was asked for.
* In an event loop no thread reads: the loop watches the input, and a line is taken when it is
  there, byte by byte. So a read that is cancelled has taken nothing, and the next line that is
  typed goes to whoever asks next. Only where a loop cannot watch it (Windows' own) a thread reads
  it, and what it gets after a cancel goes to the next read in a loop.
* Nothing beyond the line is taken from a pipe.
"""

from __future__ import annotations

import asyncio
import builtins
import os
import select
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, TextIO
from weakref import WeakKeyDictionary

from flowevents.escape import escape_controls

__all__ = ["Keyboard"]


class Keyboard:
    """Where lines are read and prompts are written.

    Args:
        source, target: Files; by default what `sys.stdin` and `sys.stdout` are when it reads.
    """

    def __init__(self, source: TextIO | None = None, target: TextIO | None = None) -> None:
        self._source = source
        self._target = target

    @property
    def is_terminal(self) -> bool:
        """Whether somebody types, and sees what is typed."""
        source = self._source or sys.stdin
        try:
            return source.isatty()
        except (AttributeError, ValueError):  # there is none, or it is closed
            return False

    @property
    def must_block(self) -> bool:
        """Whether only a blocking call reads: a notebook puts one in place of `input`."""
        return self._is_standard() and _is_replaced()

    def write(self, text: str) -> None:
        """Write a text at once, with escapes for what the target's encoding lacks."""
        target = self._target or sys.stdout
        if target is None:
            return
        encoding = getattr(target, "encoding", None) or "utf-8"
        target.write(text.encode(encoding, "backslashreplace").decode(encoding))
        target.flush()

    def read(self, prompt: str, introduce: Callable[[], str]) -> str | None:
        """The next line, without its end; `None` at the end of input. The calling thread waits.

        What `introduce` gives when it is this read's turn is written before the prompt. On the
        process's terminal the line is read as by `input`, with line editing. Raises
        `KeyboardInterrupt` for Ctrl-C.
        """
        with _reading.taken():
            try:
                self.write(introduce())
                if self._is_standard() and (self.is_terminal or _is_replaced()):
                    with suppress(ImportError):  # gives `input` line editing, where there is one
                        import readline  # noqa: F401
                    return input(prompt)
                self.write(prompt)
                return self._finish(_readline(self._source or sys.stdin))
            except EOFError:
                self.write("\n")
                return None
            except KeyboardInterrupt:
                self.write("\n")
                raise

    async def read_async(self, prompt: str, introduce: Callable[[], str]) -> str | None:
        """`read` while the event loop goes on; it may be cancelled."""
        async with _reading.taken_async():
            try:
                self.write(introduce() + prompt)
                return self._finish(await _readline_async(self._source or sys.stdin))
            except (asyncio.CancelledError, KeyboardInterrupt):
                self.write("\n")
                raise

    def _is_standard(self) -> bool:
        return self._source in (None, sys.stdin) and self._target in (None, sys.stdout)

    def _finish(self, line: str) -> str | None:
        """The line; nobody has seen one of a pipe, or that a terminal's input has ended."""
        if not line or not self.is_terminal:
            self.write(escape_controls(line.rstrip("\r\n")) + "\n")
        return line.rstrip("\r\n") if line else None


def _is_replaced() -> bool:
    return getattr(builtins.input, "__module__", "builtins") not in ("builtins", None)


def _readline(source: TextIO | None) -> str:
    try:
        return "" if source is None else source.readline()
    except ValueError:  # it is closed
        return ""


async def _readline_async(source: TextIO | None) -> str:
    """A line with its end, `""` at the end of input."""
    try:
        number = os.dup(source.fileno()) if source is not None else -1
    except (AttributeError, OSError, ValueError):  # not a file of the system
        number = -1
    if source is None or number < 0:
        return _readline(source)
    try:
        raw = await _watch(number)
    except NotImplementedError:
        return await _read_in_thread(source)
    except PermissionError:  # epoll does not take a file on a disk, which never lets one wait
        return _readline(source)
    finally:
        os.close(number)
    if not raw:  # what somebody else's `input` has read ahead of a pipe is in its buffer
        return "" if source.isatty() else _readline(source)
    return raw.decode(source.encoding or "utf-8", "replace")


async def _watch(number: int) -> bytes:
    """The bytes of a line, as soon as it is there; of a descriptor that nobody else watches."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[bytes] = loop.create_future()
    begun = bytearray()

    def take() -> None:
        while not line.done() and select.select([number], [], [], 0)[0]:
            try:
                byte = os.read(number, 1)
            except OSError:  # the terminal is gone
                byte = b""
            begun.extend(byte)
            if byte in (b"\n", b""):
                line.set_result(bytes(begun))

    loop.add_reader(number, take)
    try:
        return await line
    finally:
        loop.remove_reader(number)


# -- where a loop cannot watch the input ------------------------------------------------------

_lock: Final = threading.Lock()
_begun: Final[WeakKeyDictionary[TextIO, Future[str]]] = WeakKeyDictionary()


async def _read_in_thread(source: TextIO) -> str:
    with _lock:
        line = _begun.get(source)
        if line is None:  # no read is left over from one that was cancelled
            line = _begun[source] = Future()
            threading.Thread(target=_fill, args=(line, source), daemon=True).start()
    loop = asyncio.get_running_loop()
    there = asyncio.Event()

    def wake(_: Future[str]) -> None:
        with suppress(RuntimeError):  # the loop has closed since
            loop.call_soon_threadsafe(there.set)

    line.add_done_callback(wake)
    await there.wait()
    with _lock:
        del _begun[source]
    return line.result()


def _fill(line: Future[str], source: TextIO) -> None:
    line.set_result(_readline(source))


# -- one after the other ----------------------------------------------------------------------


class _FairLock:
    """A lock that threads and tasks wait for in one line, first come, first served."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Future[None]] = deque()  # the first has its turn

    @contextmanager
    def taken(self) -> Iterator[None]:
        turn = self._queue()
        try:
            turn.result()
            yield
        finally:
            self._leave(turn)

    @asynccontextmanager
    async def taken_async(self) -> AsyncIterator[None]:
        turn = self._queue()
        try:
            await asyncio.wrap_future(turn)
            yield
        finally:
            self._leave(turn)

    def _queue(self) -> Future[None]:
        turn: Future[None] = Future()
        with self._lock:
            self._waiting.append(turn)
            self._next()
        return turn

    def _leave(self, turn: Future[None]) -> None:
        with self._lock:
            self._waiting.remove(turn)
            self._next()

    def _next(self) -> None:
        if self._waiting and not self._waiting[0].done():
            self._waiting[0].set_result(None)


_reading: Final = _FairLock()
