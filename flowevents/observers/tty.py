"""A terminal on which some observers draw and others read: who draws steps aside for who reads.

A display joins the terminal on which it draws, for as long as it does. Who reads an answer says so
by `asked`. The displays then show the question, if it is of a run that they show, take away what
they would draw again, and draw nothing until the line has been read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

from flowevents.events import Interrupt

__all__ = ["Tty", "lend", "tty_of"]


class Tty:
    """What those that use a terminal know of one another.

    Attributes:
        drawers: What is called with a question before its answer is read, so that everybody who
            draws here steps aside.
        queue: The questions, by run and id, that somebody is going to answer here, or does.
        reads: The questions whose answers are being read; nothing is drawn meanwhile.
        last: The question that stands last on the screen, by run and id, as far as it is known.
    """

    def __init__(self) -> None:
        self.drawers: list[Callable[[Interrupt], object]] = []
        self.queue: list[tuple[str, str]] = []
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
    def queued(self, question: Interrupt) -> Iterator[None]:
        """Let it be known that the question is to be answered here, until the block ends."""
        key = question.run_id, question.id
        self.queue.append(key)
        try:
            yield
        finally:
            self.queue.remove(key)

    def behind(self, key: tuple[str, str], known: Iterable[tuple[str, str]] = ()) -> int:
        """How many other questions wait: of those that are queued here, else of the known ones."""
        return len({*(self.queue or known)} - {key})


_lock: Final = threading.RLock()
_ttys: Final[WeakValueDictionary[Hashable, Tty]] = WeakValueDictionary()
_lent: Final[dict[int, int]] = {}  # devices that stand for others


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
