"""Items that run at the same time, each in a task of its own, and what drives each of them."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextvars import Context, copy_context
from functools import partial
from typing import Any, NoReturn

from flowevents.engine.delivery import Delivery
from flowevents.engine.effects import TAKE, Await, Effects, again, perform, to_driver, wake
from flowevents.engine.flushing import cut_short, flush_beside
from flowevents.engine.outcome import outranks
from flowevents.engine.plan import Plan
from flowevents.engine.state import State, release_by, safe_point
from flowevents.engine.step import Track, current_track
from flowevents.engine.tasks import start
from flowevents.engine.trampoline import Ended, close_all, resume
from flowevents.events import Event

__all__ = ["Blocked", "Group", "drive", "in_own_task", "limit_of"]

Blocked = Callable[[int], None]
"""Tells a group that one more of its items waits for an answer (1), or one less (-1)."""

Work = Callable[[Blocked, int, Any], Awaitable[None]]
"""What a group does for each of its items, of which it gets the index and the item."""


class Group:
    """Items that run at the same time.

    When one fails the others are cancelled and awaited before its error is raised. While they run,
    what they have for the consumer is handed on. When all of them wait for answers, so does what
    the group is a part of: the item of another one, or the run.

    An item's end is noticed by the loop, a turn later, as `asyncio.gather` does it: so what runs
    beside runs as in PocketFlow, and that others begin does not wait for a consumer.
    """

    __slots__ = (
        "_all_blocked",
        "_blocked",
        "_context",
        "_error",
        "_items",
        "_limit",
        "_over",
        "_parent",
        "_tasks",
        "_waiting",
        "_work",
        "state",
    )

    _work: Work

    def __init__(self, state: State) -> None:
        self.state: State = state
        self._items: Iterator[tuple[int, Any]] | None = None  # that may still begin
        self._limit: int | None = None
        self._tasks: dict[int, asyncio.Task[None] | None] = {}
        self._error: BaseException | None = None
        self._over = False  # all have ended, or the others are being cancelled
        self._waiting: asyncio.Future[None] | None = None
        track = current_track()
        self._parent = None if track is None else track.blocked
        self._context: Context | None = None  # of items that begin later
        self._blocked = 0  # items that wait for answers
        self._all_blocked = False

    async def run(self, work: Work, arguments: Iterable[Any], limit: int | None) -> None:
        """Do the work for each argument, at most `limit` at once, taken as there is room."""
        self._work, self._items, self._limit = work, enumerate(arguments), limit
        if limit is not None:
            self._context = copy_context()
        try:
            self._begin_items()
            await self._run()
        except BaseException as error:
            await self._end_by(error)

    def begin_at_once(self, work: Work, argument: Any) -> bool:
        """Do the work for one argument, up to what it awaits; whether it has ended."""
        loop, track = self.state.door.loop, current_track()
        assert loop is not None
        self._work, self._items = work, None
        self._tasks[0] = None
        context = None if track is None else track.context
        start(self._only_item(self.blocked, argument, track), loop, partial(self._made, 0), context)
        self._over = not self._tasks
        return self._over

    async def end(self) -> None:
        """Wait for the end of what was begun at once."""
        try:
            if not self._over:
                self._look_whether_blocked()
                await self._run()
            elif self._error is not None:
                again(self._error)
        except BaseException as error:
            await self._end_by(error)

    async def _run(self) -> None:
        if self._parent is None and not self._over:
            await self._look_after_run()
            if self._waiting is None:
                await asyncio.sleep(0)
        while not self._over:
            await self._wait()
        if self._error is not None:
            again(self._error)

    async def _look_after_run(self) -> None:
        """Wait for the end, and hand to the consumer what comes, because no other group does."""
        state, delivery, stop = self.state, self.state.delivery, self.state.stop
        try:
            while not self._over:
                if stop.failure is not None or stop.asked is not None:
                    await perform(safe_point(state))
                if delivery.outbox:
                    await to_driver(TAKE)
                    continue
                delivery.release_items()
                questions = state.questions
                if self._all_blocked and not (questions.waits or questions.ready()):
                    state.questions.want_pause()
                    await to_driver(TAKE)
                    continue
                await self._wait()
        finally:
            delivery.wait_with(None)

    async def _wait(self) -> None:
        loop = self.state.door.loop
        assert loop is not None
        self._waiting = loop.create_future()
        if self._parent is None:
            self.state.delivery.wait_with(self._waiting)
        await self._waiting

    # -- beginning and ending items -------------------------------------------------------------

    def _begin_items(self) -> None:
        """Begin the items for which there is room."""
        loop, tasks, limit = self.state.door.loop, self._tasks, self._limit
        blocked = self.blocked  # one for all: each would be one more object for the collector
        assert loop is not None
        while self._items is not None and (limit is None or len(tasks) < limit):
            following = next(self._items, None)
            if following is None:
                self._items = None
                break
            index, argument = following
            tasks[index] = None
            self._made(index, loop.create_task(self._item(blocked, index, argument)))
        self._over = not tasks
        self._look_whether_blocked()

    def _made(self, index: int, task: asyncio.Task[None]) -> None:
        if index in self._tasks:  # an eager task may have ended already
            # One whose run is dropped is closed with it, which is no mistake to be logged.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            self._tasks[index] = task

    async def _item(self, blocked: Blocked, index: int, argument: Any) -> None:
        tasks = self._tasks
        try:
            await self._work(blocked, index, argument)
        except BaseException as error:
            if self._error is None or outranks(error, self._error):
                self._error = error
        finally:
            tasks.pop(index, None)
            if self._blocked:
                self._look_whether_blocked()
            if self._items is not None or not tasks or self._error is not None:
                loop = self.state.door.loop
                if loop is not None and not loop.is_closed():
                    loop.call_soon(self._go_on, context=self._context)

    async def _only_item(self, blocked: Blocked, argument: Any, track: Track | None) -> None:
        try:
            await self._work(blocked, 0, argument)
        except BaseException as error:
            self._error = error
        del self._tasks[0]
        self._over = True
        if self._waiting is not None:
            wake(self._waiting)
            if track is not None and track.carry_on is not None:
                track.carry_on()

    def failed(self) -> bool:
        """Whether an item has failed."""
        return self._error is not None

    def _go_on(self) -> None:
        """Begin others, or come to the end: items have ended a turn ago."""
        if self._over:
            return
        if self._error is None:
            try:
                self._begin_items()
            except BaseException as error:
                self._error = error
        if self._error is not None:
            self._over = True
            self._cancel_items()
        if self._over:
            if self._waiting is not None and self._waiting.done():
                self._waiting = None  # it was woken for something else, and is a turn too early
            wake(self._waiting)

    def _cancel_items(self) -> None:
        for task in self._tasks.values():
            if task is not None:
                task.cancel()

    # -- items that wait for answers ------------------------------------------------------------

    def blocked(self, more: int) -> None:
        """So many more of its items, or fewer, wait for an answer."""
        self._blocked += more
        self._look_whether_blocked()

    def _look_whether_blocked(self) -> None:
        if not self._blocked and not self._all_blocked:
            return
        has_room = self._items is not None and (
            self._limit is None or len(self._tasks) < self._limit
        )
        all_blocked = 0 < self._blocked == len(self._tasks) and not has_room and self._error is None
        if all_blocked == self._all_blocked:
            return
        self._all_blocked = all_blocked
        if self._parent is not None:
            self._parent(1 if all_blocked else -1)
        elif all_blocked:
            wake(self._waiting)

    # -- the end --------------------------------------------------------------------------------

    async def _end_by(self, error: BaseException) -> NoReturn:
        """Cancel the items that still run, wait until they have ended, and raise what counts."""
        was_over, self._over = self._over, True
        if isinstance(error, GeneratorExit) and error is not self._error:
            # It is closed: nothing can be awaited any more.
            close_all(
                self.state.options.run_id,
                [each.get_coro() for each in self._tasks.values() if each is not None],
            )
            raise error
        state = self.state
        if self._parent is None and state.stop.asked is None and state.stop.by_task():
            cut_short(state.delivery)
        recorder = state.options.recorder
        if recorder is not None:  # before the items end
            release_by(state, recorder, error)
        if not was_over:
            self._cancel_items()
        tasks = [each for each in self._tasks.values() if each is not None]
        while any(not task.done() for task in tasks):
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError:  # they are told each time, as by `asyncio.gather`
                self._cancel_items()
        if self._error is not None and outranks(self._error, error):
            raise self._error from None
        raise error


@types.coroutine
def drive(delivery: Delivery, effects: Any) -> Generator[Any, Any, Any]:
    """Drive a part of the engine in a task of its own.

    What it has for the consumer is put into the outbox; it goes on when that was taken.
    """
    outbox, loop = delivery.outbox, delivery.door.loop
    assert loop is not None
    opened: list[Any] = [effects]
    track = current_track()
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


def limit_of(plan: Plan, node: Any) -> int | None:
    """Return how many items of a node may run at once; a program may call its own so."""
    limit = node.max_concurrency if plan.shape.ours else None
    return limit if type(limit) is int and limit > 0 else None


def in_own_task(state: State, track: Track, effects: Effects) -> Effects:
    """Drive code of the run's own track in a task of its own; return what it returns.

    So it is done where the run is pulled: the consumer gets control while the code awaits, and in
    the consumer's task a timeout that the code has set would hit the consumer. The code's first
    step is made at once: where it awaits nothing, no control is given away.
    """
    result: Any = None

    async def work(blocked: Blocked, index: int, argument: Any) -> None:
        nonlocal result
        track.blocked, track.task = blocked, asyncio.current_task()
        try:
            result = await drive(state.delivery, argument)
        finally:
            track.blocked = track.task = None

    group = Group(state)
    if not group.begin_at_once(work, effects) or group.failed():
        yield Await(group.end())
    return result
