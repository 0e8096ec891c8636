"""How other threads come in: at once while plain code of a node runs, else through the inbox.

In a sync run another thread's events are delivered by that thread while plain code runs, and wait
in the inbox for the engine's next safe point otherwise, as while a node streams. No lock is taken
for it by the engine: a thread first counts itself in `inside`, then reads `open`; the engine first
clears `open`, then reads `inside`, and waits for `lock` if somebody is there. In an async run they
always wait in the inbox: for the engine's next safe point, or for a call on the loop if that comes
first.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import get_ident

__all__ = ["Door"]


class Door:
    """The way of other threads into a run.

    Only this file writes its fields, but for `open`, which the inlined steps of `walk.py` and
    `batches.py` set themselves.

    Attributes:
        open: Plain code of a node runs, in a sync run.
        inside: The other threads that deliver, or are about to.
        inbox: What they have left, to be called at the next safe point.
        lock: Held by whoever is inside.
        thread: The thread that drives the run.
        loop: The loop of an async run, else `None`.
    """

    __slots__ = ("inbox", "inside", "lock", "loop", "open", "thread")

    def __init__(self) -> None:
        self.open: bool = False
        self.inside: list[int] = []
        self.inbox: list[Callable[[], None]] = []  # a deque has room for 64 from the beginning
        self.lock: AbstractContextManager[bool] = threading.RLock()
        self.thread: int = 0
        self.loop: asyncio.AbstractEventLoop | None = None

    def belong_to(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Note, at the run's beginning, whose it is."""
        self.loop = loop
        self.thread = get_ident()

    def drive_here(self) -> None:
        """Note that this thread drives the run from here on."""
        self.thread = get_ident()

    def is_closed(self) -> bool:
        """Whether the loop of an async run is closed, so that nothing of it can go on."""
        return self.loop is not None and self.loop.is_closed()

    def shut(self) -> None:
        """Have other threads wait for a safe point again: the engine goes on after plain code."""
        self.open = False
        if self.inside:
            self.wait()

    def wait(self) -> None:
        """Wait until other threads have delivered what they began to."""
        with self.lock:
            pass

    def empty(self) -> None:
        """Do what other threads have left: before anything that comes after it."""
        while self.inbox:
            self.inbox.pop(0)()

    def leave(self, call: Callable[[], None]) -> None:
        """Leave a call for the next safe point."""
        self.inbox.append(call)

    def enter(self, call: Callable[[], None]) -> bool:
        """Call it from another thread of a sync run, or leave it; whether it was called."""
        here = get_ident()
        with self.lock:
            self.inside.append(here)
            try:
                if self.open:
                    call()
                    return True
                self.inbox.append(call)
                return False
            finally:
                self.inside.remove(here)
