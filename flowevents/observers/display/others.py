"""What others write to the terminal while the display draws there: it comes to the display instead.

The rules of this file:

* Whoever writes to the terminal does so by the file descriptors 1 and 2: `print`, log handlers, C
  code, subprocesses, which inherit them. While there is a region, these are a pseudo-terminal
  of ours. So everybody finds a terminal there, of the same size, as ever.
* A thread takes what is written, at once: nobody waits until it is drawn.
* `release` gives the descriptors back. What was written before is there when it returns. What a
  subprocess still writes then goes to the terminal as it comes, until the last one has ended.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import IO, Final

from flowevents.observers.tty import lend

if sys.platform != "win32":
    import termios
    import tty

__all__ = ["Others", "others_on"]

_STREAMS: Final = (1, 2)
_PATIENCE: Final = 2.0  # seconds for which what was written may be under way


def others_on(file: IO[str]) -> Others | None:
    """Whoever writes to the terminal of a file by the standard streams, if anybody can."""
    if sys.platform == "win32":  # which has no pseudo-terminals
        return None
    try:
        number = file.fileno()
        device = _device(number)
        streams = [each for each in _STREAMS if device is not None and _device(each) == device]
        return Others(number, streams, file) if streams else None
    except (AttributeError, OSError, ValueError, RuntimeError):  # no file, no more files, threads
        return None


class Others:
    """Those who write by some of the standard streams; not thread-safe.

    Attributes:
        terminal: The terminal itself, to draw on.
    """

    def __init__(self, number: int, streams: list[int], file: IO[str]) -> None:
        self._encoding: str = getattr(file, "encoding", None) or "utf-8"
        errors = getattr(file, "errors", None)
        self.terminal: IO[str] = os.fdopen(
            os.dup(number), "w", 1, encoding=self._encoding, errors=errors
        )
        self._kept = {each: os.dup(each) for each in streams}
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self._give_back = lend(self._theirs, number)
        self._written = b""
        self._is_held = False
        self._news = threading.Condition()  # of the two above
        self._thread = threading.Thread(target=self._take, name="flowevents output", daemon=True)
        self._thread.start()

    def hold(self) -> None:
        """Take what they write from now on."""
        self.resize()
        _flush()
        self._is_held = True
        for each in self._kept:
            os.dup2(self._theirs, each)

    def release(self) -> None:
        """Let them write to the terminal again."""
        if not self._is_held:
            return
        try:
            _flush()
            ours = _device(self._theirs)
            for each, kept in self._kept.items():
                if _device(each) == ours:  # nobody has put something else there
                    os.dup2(kept, each)
            self._await_all()
        finally:
            with self._news:
                self._is_held = False

    def written(self, *, to_the_end: bool) -> bytes:
        """The lines that they have written, until these are forgotten.

        Args:
            to_the_end: Also what has no end of line yet.
        """
        written = self._written  # it may grow meanwhile
        return written if to_the_end else written[: written.rfind(b"\n") + 1]

    def forget(self, shown: bytes) -> None:
        """What they had written is on the screen."""
        with self._news:
            rest = self._written[len(shown) :]  # with lines that have come meanwhile
            last = rest.rfind(b"\n") + 1
            self._written = rest[:last] + rest[last:][_seen(rest[last:]) :]

    def text(self, written: bytes) -> str:
        """What is seen of it: of a line that is written over, the end."""
        lines = written.removesuffix(b"\n").split(b"\n")
        seen = b"\n".join(each[_seen(each) :].rstrip(b"\r") for each in lines)
        return seen.decode(self._encoding, "replace")

    def rest(self) -> str:
        """The line that has no end yet."""
        return self.text(self._written[self._written.rfind(b"\n") + 1 :])

    def resize(self) -> None:
        """Give what they write to the size that the terminal has."""
        size = termios.tcgetwinsize(self.terminal)
        if termios.tcgetwinsize(self._theirs) != size:
            termios.tcsetwinsize(self._theirs, size)

    def close(self) -> None:
        """Let them write to the terminal for good; what was not taken goes there, too."""
        self.release()
        with contextlib.suppress(OSError):  # the terminal is gone
            self._pass_on(self._written)
        self._give_back()
        for each in (self._theirs, *self._kept.values()):
            os.close(each)

    def _await_all(self) -> None:
        """Wait until what is under way is here: until a mark that is written last has come."""
        mark = b"\x1b_%s\x1b\\" % os.urandom(8).hex().encode()
        os.write(self._theirs, mark)
        with self._news:
            self._news.wait_for(
                lambda: mark in self._written or not self._thread.is_alive(), _PATIENCE
            )
            self._written = self._written.replace(mark, b"")

    def _take(self) -> None:
        """The thread."""
        with contextlib.suppress(OSError), self.terminal:  # nobody has the other end any more
            while data := os.read(self._ours, 65_536):
                with self._news:
                    is_held = self._is_held
                    if is_held:
                        self._written += data
                        self._news.notify_all()
                if not is_held:
                    self._pass_on(data)
        os.close(self._ours)

    def _pass_on(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.terminal.fileno(), data) :]


def _seen(line: bytes) -> int:
    """Where that begins which is seen of a line: after the last carriage return but at its end."""
    return line.rstrip(b"\r").rfind(b"\r") + 1


def _device(number: int) -> int | None:
    """The terminal of a file descriptor, if it is one."""
    return os.fstat(number).st_rdev if os.isatty(number) else None


def _flush() -> None:
    for each in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # there is none, or it is somebody's own
            each.flush()
