"""The events of a run as they are stored: those of the past, then the live ones, each once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Self

from flowevents.events import Event, FlowEnd
from flowevents.journal.keeper import Keeper, Wake, Watch
from flowevents.journal.reading import PORTION, check_after, event_of, in_order, unknown
from flowevents.journal.store import Row

__all__ = ["Follower"]


class Follower(Iterator[Event], AsyncIterator[Event]):
    """Made by `Journal.follow`, for `for` and `async for`, in one thread or task at a time."""

    def __init__(self, keeper: Keeper, row: Row, after: int, timeout: float | None) -> None:
        self._keeper = keeper
        self._run_id = row.summary.id
        self._timeout = timeout
        self._ready: deque[Event] = deque()
        self._done = row.is_over() and after >= row.summary.seq
        self._watch = Watch(after) if self._done else keeper.watch(self._run_id, after)

    def close(self) -> None:
        """End it, from any thread: who waits for an event gets none."""
        self._done = True
        self._ready.clear()
        self._watch.is_over = True
        self._watch.notify()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_watch"):
            self._watch.is_over = True

    def ready(self) -> list[Event]:
        """Return the events that were read with the last one, without waiting."""
        return [self._pop(StopIteration) for _ in range(len(self._ready))]

    # -- for ------------------------------------------------------------------------------------

    def __next__(self) -> Event:
        if not self._ready:
            self._wait()
        return self._pop(StopIteration)

    def _wait(self) -> None:
        woken = threading.Event()
        until = None if self._timeout is None else time.monotonic() + self._timeout
        self._listen(woken.set)
        while not self._read():
            left = None if until is None else max(0.0, until - time.monotonic())
            if not woken.wait(left):
                raise self._too_late()
            woken.clear()

    # -- async for ------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if not self._ready:
            await self._wait_async()
        return self._pop(StopAsyncIteration)

    async def _wait_async(self) -> None:
        woken = asyncio.Event()
        self._listen(_waking(asyncio.get_running_loop(), woken))
        try:
            async with asyncio.timeout(self._timeout):
                while not await self._read_async():
                    await woken.wait()
                    woken.clear()
        except TimeoutError:
            raise self._too_late() from None

    async def _read_async(self) -> bool:
        if self._keeper.store.remote and self._watch.changed:
            return await asyncio.to_thread(self._read)
        return self._read()

    # -- both -----------------------------------------------------------------------------------

    def _listen(self, wake: Wake) -> None:
        if self._watch.is_over and not self._done:  # in a forked process
            self._watch = self._keeper.watch(self._run_id, self._watch.seq)
        self._watch.wake = wake

    def _read(self) -> bool:
        """Read on, if there may be something. Gives whether there is no need to wait."""
        watch = self._watch
        if self._done or not watch.changed:
            return self._done
        watch.changed = False
        try:
            count = self._read_portion(watch)
        except BaseException:  # who goes on all the same tries again
            watch.changed = True
            raise
        watch.changed = watch.changed or count >= PORTION
        return count > 0

    def _read_portion(self, watch: Watch) -> int:
        store = self._keeper.store
        records = store.records(self._run_id, watch.seq, PORTION)
        if not records:
            row = store.find(self._run_id)
            if row is None:
                raise unknown(self._run_id)
            check_after(row, watch.seq)
        for record in in_order(records, self._run_id, watch.seq):
            self._ready.append(event_of(record, self._run_id))
            watch.seq = record.seq
        return len(records)

    def _pop(self, end: type[Exception]) -> Event:
        if not self._ready:
            raise end
        event = self._ready.popleft()
        if isinstance(event, FlowEnd) and not event.node:
            self._done = self._watch.is_over = True
        return event

    def _too_late(self) -> TimeoutError:
        return TimeoutError(
            f"Run {self._run_id} had no event after {self._watch.seq} for {self._timeout} s."
        )


def _waking(loop: asyncio.AbstractEventLoop, woken: asyncio.Event) -> Wake:
    """What wakes who waits in a loop, from any thread."""

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(woken.set)
        except RuntimeError:  # the loop is closed, and nobody waits any more
            pass

    return wake
