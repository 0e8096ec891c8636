"""The time that a run goes by; another clock can be given to `Run(clock=…)`."""

from __future__ import annotations

import asyncio
import threading
import time

__all__ = ["Clock"]


class Clock:
    """The system's time. Subclass it to let a test decide what time it is."""

    def time(self) -> float:
        """Seconds since the epoch, UTC: the `time` of events."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back: what durations are measured with."""
        return time.perf_counter()

    def sleep(self, seconds: float, woken: threading.Event) -> None:
        """Wait before the next attempt in a sync run, or until `woken` is set by a cancel."""
        woken.wait(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Wait before the next attempt in an async run."""
        await asyncio.sleep(seconds)


SYSTEM = Clock()
