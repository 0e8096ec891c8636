"""Items that run at the same time, each in a task of its own, and what drives each of them."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator, Iterator
from functools import partial
from typing import Any, Final

from flowevents.engine.delivery import Delivery
from flowevents.engine.effects import TAKE, Effects, perform, to_driver, wake
from flowevents.engine.flushing import cut_short, flush_beside
from flowevents.engine.outcome import outranks
from flowevents.engine.state import State, safe_point
from flowevents.engine.step import Track, current_track
from flowevents.engine.tasks import start
from flowevents.engine.trampoline import Ended, close_all, resume
from flowevents.events import Event

__all__ = ["Group", "drive", "in_own_task"]

Work = Callable[["Group", int, Any], Awaitable[None]]
"""What a group does for each of its items: it gets the group, the item's index and the item."""

_NO_MORE: Final = object()


class Group:
    """Items that run at the same time.

    When one fails the others are cancelled and awaited before its error is raised. While they run,
    what they have for the consumer is handed on. When all of them wait for answers, so does what
    the group is a part of: the item of another one, or the run.
    """

    __slots__ = (
        "_all_blocked",
        "_begun",
        "_blocked",
        "_context",
        "_error",
        "_limit",
        "_more",
        "_parent",
        "_starts_at_once",
        "_tasks",
        "_waiting",
        "state",
    )

    def __init__(self, state: State, *, starts_at_once: bool = False) -> None:
        self.state: State = state
        self._starts_at_once = starts_at_once  # an item makes its first step in `run` itself
        self._begun = 0
        self._tasks: dict[int, asyncio.Task[None] | None] = {}
        self._error: BaseException | None = None
        self._more = True  # there may be items that have not begun
        self._limit: int | None = None
        self._waiting: asyncio.Future[None] | None = None
        track = current_track.get()
        self._parent = None if track is None else track.blocked
        self._context = None if track is None else track.context
        self._blocked = 0  # items that wait for answers
        self._all_blocked = False

    async def run(self, work: Work, arguments: Iterator[Any], limit: int | None) -> None:
        """Do the work for each argument, at most `limit` at once, taken as there is room."""
        self._limit = limit
        try:
            if self._parent is None:
                await self._run_outermost(work, arguments)
            else:
                await self._run(work, arguments)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and error is not self._error:
                # It is closed: nothing can be awaited any more.
                close_all(
                    self.state.options.run_id,
                    [each.get_coro() for each in self._tasks.values() if each is not None],
                )
                raise
            await self._cancel()
            if self._error is not None and outranks(self._error, error):
                raise self._error from None
            raise

    async def _run(self, work: Work, arguments: Iterator[Any]) -> None:
        while self._begin_items(work, arguments):
            await self._wait()

    async def _run_outermost(self, work: Work, arguments: Iterator[Any]) -> None:
        """The same, and hand to the consumer what the items have, because no other group does."""
        state, delivery, stop = self.state, self.state.delivery, self.state.stop
        try:
            while True:
                if stop.failure is not None or stop.asked is not None:
                    await perform(safe_point(state))
                if not self._begin_items(work, arguments):
                    return
                if delivery.outbox:
                    await to_driver(TAKE)
                    continue
                delivery.release_items()
                if self._all_blocked and not state.questions.ready():
                    state.questions.want_pause()
                    await to_driver(TAKE)
                    continue
                delivery.wait_with(self._waiting)
                await self._wait()
        finally:
            delivery.wait_with(None)

    def _begin_items(self, work: Work, arguments: Iterator[Any]) -> bool:
        """Begin the items for which there is room; whether there is something to wait for."""
        if self._waiting is None or self._waiting.done():  # before looking at what it stands for
            loop = self.state.door.loop
            assert loop is not None
            self._waiting = loop.create_future()
        tasks, limit = self._tasks, self._limit
        while self._more and self._error is None and (limit is None or len(tasks) < limit):
            argument = next(arguments, _NO_MORE)
            if argument is _NO_MORE:
                self._more = False
                break
            self._begin(work, argument)
        self._look_whether_blocked()
        if self._error is not None:
            raise self._error
        return bool(tasks)

    def _begin(self, work: Work, argument: Any) -> None:
        loop, index = self.state.door.loop, self._begun
        assert loop is not None
        self._begun = index + 1
        self._tasks[index] = None
        item = self._item(work, index, argument)
        if self._starts_at_once:
            start(item, loop, partial(self._made, index), self._context)
        else:
            self._made(index, loop.create_task(item))

    def _made(self, index: int, task: asyncio.Task[None]) -> None:
        if index in self._tasks:  # an eager task may have ended already
            # One whose run is dropped is closed with it, which is no mistake to be logged.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            self._tasks[index] = task

    async def _item(self, work: Work, index: int, argument: Any) -> None:
        try:
            await work(self, index, argument)
        except BaseException as error:
            if self._error is None or outranks(error, self._error):
                self._error = error
        finally:
            tasks = self._tasks
            tasks.pop(index, None)
            if self._blocked:
                self._look_whether_blocked()
            if self._more or not tasks or self._error is not None:
                wake(self._waiting)

    async def _wait(self) -> None:
        assert self._waiting is not None
        await self._waiting

    # -- items that wait for answers ------------------------------------------------------------

    def blocked(self, more: int) -> None:
        """So many more of its items, or fewer, wait for an answer."""
        self._blocked += more
        self._look_whether_blocked()

    def _look_whether_blocked(self) -> None:
        if not self._blocked and not self._all_blocked:
            return
        has_room = self._more and (self._limit is None or len(self._tasks) < self._limit)
        all_blocked = 0 < self._blocked == len(self._tasks) and not has_room and self._error is None
        if all_blocked == self._all_blocked:
            return
        self._all_blocked = all_blocked
        if self._parent is not None:
            self._parent(1 if all_blocked else -1)
        elif all_blocked:
            wake(self._waiting)

    # -- the end --------------------------------------------------------------------------------

    async def _cancel(self) -> None:
        """Cancel the items that still run, and wait until they have ended."""
        state = self.state
        if self._parent is None and state.stop.asked is None and state.stop.by_task():
            cut_short(state.delivery)
        tasks = [each for each in self._tasks.values() if each is not None]
        for task in tasks:
            task.cancel()
        while any(not task.done() for task in tasks):
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError:  # asked again: they are being cancelled already
                continue


@types.coroutine
def drive(delivery: Delivery, effects: Any) -> Generator[Any, Any, Any]:
    """Drive a part of the engine in a task of its own.

    What it has for the consumer is put into the outbox; it goes on when that was taken.
    """
    outbox, loop = delivery.outbox, delivery.door.loop
    assert loop is not None
    opened: list[Any] = [effects]
    track = current_track.get()
    if track is not None and track.opened is None:
        track.opened = opened
    error: BaseException | None = None
    while True:
        try:
            out = resume(opened, error)
        except Ended as end:
            return end.value
        error = None
        try:
            if out is not None and (out is TAKE or isinstance(out, Event)):
                if out is not TAKE:
                    outbox.append(out)
                if outbox and not _is_being_cancelled():
                    taken = loop.create_future()
                    delivery.hand_over(taken)
                    yield from taken
                continue
            flush_beside(delivery)
            yield out
        except GeneratorExit:
            close_all(delivery.options.run_id, opened)
            raise
        except BaseException as caught:
            error = caught


def _is_being_cancelled() -> bool:
    """Whether the task that runs is to end: nobody takes what it has while that is so."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def in_own_task(state: State, track: Track, effects: Effects) -> Any:
    """Drive code of the run's own track in a task of its own; return what it returns.

    So it is done where the run is pulled: the consumer gets control while the code awaits, and in
    the consumer's task a timeout that the code has set would hit the consumer. The code's first
    step is made at once: where it awaits nothing, no control is given away.
    """
    result: Any = None

    async def work(group: Group, index: int, argument: Any) -> None:
        nonlocal result
        track.blocked, track.task = group.blocked, asyncio.current_task()
        try:
            result = await drive(state.delivery, argument)
        finally:
            track.blocked = track.task = None

    await Group(state, starts_at_once=True).run(work, iter((effects,)), 1)
    return result
