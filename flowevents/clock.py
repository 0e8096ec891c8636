"""The time that a run goes by; another clock can be given to `Run(clock=…)`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from time import perf_counter
from time import time as epoch

__all__ = ["Clock"]


class Clock:
    """The system's time. Subclass it to let a test decide what time it is."""

    time: Callable[[], float] = staticmethod(epoch)
    """Seconds since the epoch, UTC: the `time` of events."""

    monotonic: Callable[[], float] = staticmethod(perf_counter)
    """Seconds of a clock that never goes back: what durations are measured with."""

    def sleep(self, seconds: float, woken: threading.Event) -> None:
        """Wait before the next attempt in a sync run, or until `woken` is set by a cancel."""
        woken.wait(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Wait before the next attempt in an async run."""
        await asyncio.sleep(seconds)

    def wait(self, woken: threading.Event, until: float | None) -> None:
        """Wait in a sync run until `woken` is set, or `time` is `until` (seconds, epoch)."""
        woken.wait(None if until is None else self._left(until))

    async def wait_async(self, woken: asyncio.Future[None], until: float | None) -> None:
        """Wait in an async run until `woken` is done, or `time` is `until` (seconds, epoch)."""
        await asyncio.wait([woken], timeout=None if until is None else self._left(until))

    def _left(self, until: float) -> float:
        return min(max(0.0, until - self.time()), threading.TIMEOUT_MAX)


SYSTEM = Clock()
