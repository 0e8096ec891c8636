"""Lines that a person types, or a pipe brings: read in plain code, or while an event loop goes on.

The rules of this file:

* Whoever reads has a turn on the terminal (`Tty.turn`).
* Plain code reads where it is, as by `input`. For an event loop a thread reads. At a terminal it
  waits until a line is there, and leaves it there if nobody wants it any more. Elsewhere it has to
  begin to read (Windows' terminal, a pipe); what comes after a cancel goes to whoever reads next.
"""

from __future__ import annotations

import asyncio
import builtins
import select
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, TextIO
from weakref import WeakKeyDictionary

from flowevents.escape import escape_controls
from flowevents.observers.tty import Tty, tty_of, write

__all__ = ["Keyboard"]

_PROMPT: Final = "> "
_LOOK: Final = 0.1  # seconds after which a thread that waits looks whether somebody still does


class Keyboard:
    """Where lines are read and prompts are written.

    Args:
        source, target: Files; by default what `sys.stdin` and `sys.stdout` are when it reads.
    """

    def __init__(self, source: TextIO | None = None, target: TextIO | None = None) -> None:
        self._source = source
        self._target = target
        self._tty: Tty | None = None  # that of the last line: it is known as long as it is used

    @property
    def is_terminal(self) -> bool:
        """Whether somebody types, and sees what is typed."""
        return _is_terminal(self._source or sys.stdin)

    @property
    def tty(self) -> Tty:
        """Where it is typed, or else where the prompt is written."""
        source, target = self._source or sys.stdin, self._target or sys.stdout
        self._tty = tty_of(source if self.is_terminal else target)
        return self._tty

    @property
    def must_block(self) -> bool:
        """Whether only a blocking call reads: a notebook puts one in place of `input`."""
        return self._is_standard() and _is_replaced()

    def write(self, text: str) -> None:
        """Write a text at once, with escapes for what the target's encoding lacks."""
        write(self._target or sys.stdout, text)

    def read(self, introduction: str) -> str | None:
        """The next line, without its end; `None` at the end of input. It is read in a turn.

        The calling thread waits. On the process's terminal the line is read as by `input`, with
        line editing. Raises `KeyboardInterrupt` for Ctrl-C.

        Args:
            introduction: Is written before the prompt.
        """
        try:
            self.write(introduction)
            if self._is_standard() and (self.is_terminal or _is_replaced()):
                with suppress(ImportError):  # gives `input` line editing, where there is one
                    import readline  # noqa: F401
                return input(_PROMPT)
            self.write(_PROMPT)
            return self._finish(_readline(self._source or sys.stdin))
        except EOFError:
            self.write("\n")
            return None
        except KeyboardInterrupt:
            self.write("\n")
            raise

    async def read_async(self, introduction: str) -> str | None:
        """`read` while the event loop goes on; it may be cancelled."""
        try:
            self.write(introduction + _PROMPT)
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


def _is_terminal(source: TextIO | None) -> bool:
    try:
        return source is not None and source.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def _is_replaced() -> bool:
    return getattr(builtins.input, "__module__", "builtins") not in ("builtins", None)


# -- a line ------------------------------------------------------------------------------------

_left: Final[WeakKeyDictionary[TextIO, Future[str]]] = WeakKeyDictionary()  # nobody took it


def _readline(source: TextIO | None) -> str:
    """A line with its end, `""` at the end of input."""
    if source is None:
        return ""
    left = _left.pop(source, None)
    return _line_of(source) if left is None else left.result()


async def _readline_async(source: TextIO | None) -> str:
    if source is None:
        return ""
    line = _left.pop(source, None)
    if line is None:
        line = Future()
        threading.Thread(
            target=_read, args=(line, source), name="flowevents keyboard", daemon=True
        ).start()
    try:
        return await asyncio.wrap_future(line)
    except (asyncio.CancelledError, GeneratorExit):
        if not line.cancel():  # it is read already, or will be
            _left[source] = line
        raise


def _read(line: Future[str], source: TextIO) -> None:
    """The thread."""
    while not _is_there(source):
        if line.cancelled():
            return
    if line.set_running_or_notify_cancel():
        try:
            line.set_result(_line_of(source))
        except BaseException as error:
            line.set_exception(error)


def _is_there(source: TextIO) -> bool:
    """Whether a terminal's line can be taken, after a moment at most; elsewhere always."""
    if not _is_terminal(source):
        return True
    try:
        return bool(select.select([source], [], [], _LOOK)[0])
    except (OSError, ValueError):  # Windows can only ask that of a socket
        return True


def _line_of(source: TextIO) -> str:
    try:
        return source.readline()
    except (OSError, ValueError):  # the terminal is gone, or the file is closed
        return ""
