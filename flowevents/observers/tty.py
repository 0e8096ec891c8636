"""A terminal on which some observers draw and others read: who draws steps aside for who reads.

A display joins the terminal on which it draws, for as long as it does. Who reads an answer says so
by `asked`. The displays then show the question, if it is of a run that they show, take away what
they would draw again, and draw nothing until the line has been read.

One question is asked at a time in the whole process, in the order of the questions, until it has
its answer: who reads has a turn, for as many lines as that takes.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import IO, Any, Final
from weakref import WeakValueDictionary

from flowevents.events import Interrupt

__all__ = ["Tty", "lend", "tty_of", "write"]


class Tty:
    """What those that use a terminal know of one another.

    Attributes:
        drawers: What is called with a question before its answer is read, so that everybody who
            draws here steps aside.
        reads: The questions whose answers are being read; nothing is drawn meanwhile.
        last: The question that stands last on the screen, by run and id, as far as it is known.
    """

    def __init__(self) -> None:
        self.drawers: list[Callable[[Interrupt], object]] = []
        self.reads: list[Interrupt] = []
        self.last: tuple[str, str] | None = None

    @contextmanager
    def asked(self, question: Interrupt) -> Iterator[bool]:
        """Keep the screen for an answer while the block runs.

        Gives whether the question stands there; if not, it is for the block to show it.
        """
        self.reads.append(question)
        try:
            for step_aside in tuple(self.drawers):
                step_aside(question)
            key = question.run_id, question.id
            stands, self.last = self.last == key, key
            yield stands
        finally:
            self.reads.remove(question)

    @contextmanager
    def turn(self, question: Interrupt) -> Iterator[Future[None]]:
        """A future that is done when its answer may be read here; the turn ends with the block.

        First come, first served, of all threads and tasks of the process.
        """
        turn = self, (question.run_id, question.id), Future[None]()
        with _lock:
            _turns.append(turn)
            _next()
        try:
            yield turn[2]
        finally:
            with _lock:
                _turns.remove(turn)
                _next()

    def behind(self, key: tuple[str, str], known: Iterable[tuple[str, str]] = ()) -> int:
        """How many other questions wait: of those with a turn here, else of the known ones."""
        with _lock:
            here = [each for tty, each, _ in _turns if tty is self]
        return len({*(here or known)} - {key})


_lock: Final = threading.RLock()
_turns: Final[deque[tuple[Tty, tuple[str, str], Future[None]]]] = deque()  # the first has its turn
_ttys: Final[WeakValueDictionary[Hashable, Tty]] = WeakValueDictionary()
_lent: Final[dict[int, int]] = {}  # devices that stand for others


def _next() -> None:
    if _turns and not _turns[0][2].done():
        with suppress(InvalidStateError):  # it is being cancelled, and will leave
            _turns[0][2].set_result(None)


def lend(number: int, terminal: int) -> Callable[[], object]:
    """Let one terminal stand for another, both file descriptors, until the result is called."""
    device = os.fstat(number).st_rdev
    _lent[device] = os.fstat(terminal).st_rdev
    return lambda: _lent.pop(device, None)


def tty_of(file: Any) -> Tty:
    """The terminal of a file, as long as somebody uses it; a file on none is one of its own."""
    key = file
    try:
        number = file.fileno()
        if os.isatty(number):
            device = os.fstat(number).st_rdev
            key = _lent.get(device, device)
    except (AttributeError, OSError, ValueError):  # not a file of the system, or closed
        pass
    with _lock:
        return _ttys.setdefault(key, Tty())


def write(file: IO[str] | None, text: str) -> None:
    """Write a text at once, with escapes for what the file's encoding lacks."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    with suppress(OSError, ValueError):  # who reads it has left, or it is closed
        if file is not None:
            file.write(text.encode(encoding, "backslashreplace").decode(encoding))
            file.flush()
