"""Time that passes when a test says so."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flowevents.clock import Clock
from flowevents.engine.effects import wake

__all__ = ["ManualClock"]


class ManualClock(Clock):
    """A clock that stands still until it is advanced: `flow.run(shared, clock=ManualClock())`.

    A wait before a retry advances it at once and returns; a wait for an answer goes on until there
    is one, or until it was advanced to when the question expires. It may be used from any thread.

    Args:
        start: The first time, in seconds since the epoch.

    Attributes:
        sleeps: The waits so far, in seconds, in order.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        super().__init__()
        self._now = start
        self._lock = threading.RLock()  # the garbage collector may end a run in the middle
        self._alarms: list[tuple[float, Callable[[], object]]] = []
        self.sleeps: list[float] = []

    def time(self) -> float:
        """The time that it was advanced to."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """The same."""
        return self.time()

    def advance(self, seconds: float) -> None:
        """Let this many seconds pass. Raises `ValueError` for less than 0."""
        if not seconds >= 0:
            raise ValueError(f"Cannot advance the clock by {seconds!r} s: time does not go back.")
        with self._lock:
            self._now += seconds
            due = [ring for until, ring in tuple(self._alarms) if until <= self._now]
        for ring in due:
            ring()

    @contextmanager
    def _alarm(self, until: float, ring: Callable[[], object]) -> Iterator[None]:
        """Have `ring` called when it is `until`; at once if it is already."""
        alarm = (until, ring)
        with self._lock:
            self._alarms.append(alarm)
            due = until <= self._now
        if due:
            ring()
        try:
            yield
        finally:
            with self._lock:
                self._alarms.remove(alarm)

    def sleep(self, seconds: float, woken: threading.Event) -> None:
        """Note the wait and let it pass; where `woken` is set already, do nothing."""
        if not woken.is_set():
            self.sleeps.append(seconds)
            self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Note the wait and let it pass; other tasks get a turn."""
        self.sleeps.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def wait(self, woken: threading.Event, until: float | None) -> None:
        """Wait until `woken` is set, or the clock has been advanced to `until`."""
        with self._alarm(math.inf if until is None else until, woken.set):
            woken.wait()

    async def wait_async(self, woken: asyncio.Future[None], until: float | None) -> None:
        """Wait until `woken` is done, or the clock has been advanced to `until`."""
        loop = asyncio.get_running_loop()
        rung = loop.create_future()

        def ring() -> None:
            loop.call_soon_threadsafe(wake, rung)

        with self._alarm(math.inf if until is None else until, ring):
            await asyncio.wait([woken, rung], return_when=asyncio.FIRST_COMPLETED)
