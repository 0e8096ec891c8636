"""Who answers what the engine yields: a sync and an async driver, and one for parallel items.

The engine is a generator. It yields an event or `TAKE` for the puller, and, in async runs, what
an awaitable yields for the loop. The sync driver gives the first to whoever iterates and never
sees the second. The async driver passes the second up to the loop, and gives control back to the
puller as soon as there is something for it, also while the node's code waits for the loop.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from flowevents.engine.sequencer import (
    TAKE,
    Effects,
    Sequencer,
    Track,
    current_track,
    wake,
)
from flowevents.events import Event

__all__ = ["AsyncDriver", "drive", "give", "perform", "run_items"]


@types.coroutine
def perform(effects: Effects) -> Generator[Any, Any, Any]:
    """Let an `async def` of the engine do what a generator of the engine does."""
    return (yield from effects)


@types.coroutine
def give(event: object) -> Generator[Any, Any, None]:
    """Let an `async def` of the engine yield to the driver."""
    yield event


def drive(
    sequencer: Sequencer, engine: Effects, settle: Callable[[BaseException | None], Any]
) -> Generator[Any, None, Any]:
    """The sync driver: iterate over what the puller gets; the rest of the run is done inside.

    Leaving it midway leaves the engine where it is. At the end, after all that is left in the
    outbox, it gives what `settle` makes of the end: of the error that the engine raised, or
    `None`.
    """
    outbox = sequencer.outbox
    ended: BaseException | None = None
    while outbox:
        yield outbox.popleft()
    try:
        for out in engine:
            if out is TAKE:
                while outbox:
                    yield outbox.popleft()
            else:
                yield out
    except GeneratorExit:
        raise
    except BaseException as error:
        ended = error
    while outbox:
        yield outbox.popleft()
    return settle(ended)


_READY: Final = object()  # the engine waits for nothing but its driver


class AsyncDriver:
    """The async driver of one engine: `advance` until there is something for the puller.

    It can be awaited again and again, from one task after the other, but not from two at once.
    """

    def __init__(self, sequencer: Sequencer, engine: Effects) -> None:
        self._sequencer = sequencer
        self._engine = engine
        self._waiting: object = _READY  # what the engine yielded for the loop
        self._suspended = False  # that is with the loop now
        self.advancing = False  # somebody drives the engine now
        self._cancelling = False  # the engine knows, or what it waits for is being cancelled

    @types.coroutine
    def advance(self) -> Generator[Any, Any, None]:
        """Run the engine until the outbox holds something, or to its end.

        Raises `StopAsyncIteration` at the end, or what the engine raised.
        """
        before = current_track.get()
        current_track.set(self._sequencer.main)
        self.advancing = True
        try:
            yield from self._advance()
        except GeneratorExit:  # dropped, maybe in another context: leave that one alone
            self.advancing = False
            raise
        except BaseException:
            self.advancing = False
            current_track.set(before)
            raise
        self.advancing = False
        current_track.set(before)

    def _advance(self) -> Generator[Any, Any, None]:
        sequencer, outbox = self._sequencer, self._sequencer.outbox
        error: BaseException | None = None
        while True:
            if self._waiting is _READY:
                if error is None and sequencer.cancelled is not None and not self._cancelling:
                    self._cancelling = True
                    error = sequencer.cancelled
                try:
                    out = self._engine.send(None) if error is None else self._engine.throw(error)
                except StopIteration as end:
                    raise StopAsyncIteration(end.value) from None
                error = None
                if out is TAKE or isinstance(out, Event):
                    if out is not TAKE:
                        outbox.append(out)
                    if outbox:
                        return
                    continue
                self._waiting = out
            try:
                if sequencer.backlog:
                    yield from sequencer.flush_handlers().__await__()
                if outbox and sequencer.cancelled is None:
                    return
                if sequencer.cancelled is None or self._cancelling or self._cancel_waiting():
                    self._suspended = True
                    yield self._waiting
            except GeneratorExit:
                raise
            except BaseException as caught:
                if not self._suspended:  # while handlers were awaited
                    self._cancel_waiting()
                error = sequencer.cancelled or caught
            finally:
                self._suspended = False
            self._waiting = _READY

    def cancel(self) -> None:
        """Cancel what the engine waits for; called on its loop, while somebody drives it."""
        if self._suspended:
            self._cancel_waiting()

    def _cancel_waiting(self) -> bool:
        """Cancel the future that the engine waits for, as a task would; whether it will wake."""
        cancel = getattr(self._waiting, "cancel", None)
        self._cancelling = bool(callable(cancel) and cancel())
        return self._cancelling


async def run_items(
    sequencer: Sequencer, items: Iterator[tuple[Track, Effects]], limit: int | None
) -> list[Any]:
    """Run items in tasks, at most `limit` at once, drawn as there is room; their results in order.

    When one fails its siblings are cancelled and awaited before its error is raised. While it
    waits, what the items have for the puller is handed on.
    """
    group = _Group(sequencer)
    try:
        return await group.run(items, limit)
    except GeneratorExit:
        raise
    except BaseException:
        await group.cancel()
        raise


class _Group:
    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[Any] = []
        self._error: BaseException | None = None
        self._wake: asyncio.Future[None] = self._loop.create_future()
        self._hands_on = current_track.get() in (sequencer.main, None)

    async def run(self, items: Iterator[tuple[Track, Effects]], limit: int | None) -> list[Any]:
        sequencer = self._sequencer
        more = True
        while True:
            while more and self._error is None and (limit is None or len(self._tasks) < limit):
                item = next(items, None)
                if item is None:
                    more = False
                    break
                index = len(self._results)
                self._results.append(None)
                task = self._loop.create_task(self._item(index, *item))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
            if self._error is not None:
                raise self._error
            if self._hands_on:
                if sequencer.failure is not None or sequencer.cancelled is not None:
                    await perform(sequencer.border())
                if sequencer.outbox:
                    await give(TAKE)
                taken, sequencer.taken = sequencer.taken, []
                for waiting in taken:
                    wake(waiting)
            if not self._tasks:
                return self._results
            if self._wake.done():
                self._wake = self._loop.create_future()
                if sequencer.outbox:
                    continue
            if self._hands_on:
                sequencer.taking = self._wake
            await self._wake

    async def _item(self, index: int, track: Track, effects: Effects) -> None:
        current_track.set(track)
        self._results[index] = await self._drive(effects)

    @types.coroutine
    def _drive(self, effects: Effects) -> Generator[Any, Any, Any]:
        """The driver of one item: what is for the puller goes through the group."""
        sequencer, outbox = self._sequencer, self._sequencer.outbox
        error: BaseException | None = None
        while True:
            try:
                out = effects.send(None) if error is None else effects.throw(error)
            except StopIteration as end:
                return end.value
            error = None
            try:
                if out is TAKE or isinstance(out, Event):
                    if out is not TAKE:
                        outbox.append(out)
                    if outbox:
                        taken = self._loop.create_future()
                        sequencer.taken.append(taken)
                        wake(sequencer.taking)
                        yield from taken
                    continue
                if sequencer.backlog:
                    yield from sequencer.flush_handlers().__await__()
                if outbox:
                    wake(sequencer.taking)
                yield out
            except GeneratorExit:
                effects.close()
                raise
            except BaseException as caught:
                error = caught

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None and self._error is None:
            self._error = error
        if not self._wake.done():
            self._wake.set_result(None)

    async def cancel(self) -> None:
        """Cancel the items that still run, and wait until they have ended."""
        self._error = self._error or asyncio.CancelledError()
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError:  # asked again: they are being cancelled already
                continue
