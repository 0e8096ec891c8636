"""Who answers what the engine yields: a sync and an async driver, and one for parallel items.

The engine is a generator. It yields an event or `TAKE` for the puller and, in async runs, an
`Await`. The sync driver gives the first to whoever iterates and never sees the second. The async
driver runs what is to be awaited step by step, so that it can give control back to the puller as
soon as there is something for it, also while the node's code waits for the loop.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextvars import Context, copy_context
from inspect import GEN_CLOSED, getgeneratorstate
from threading import get_ident
from typing import Any, Final

from flowevents.engine.effects import TAKE, Await, Effects, wake
from flowevents.engine.sequencer import Sequencer, logger
from flowevents.engine.step import current_track, on_track
from flowevents.events import Event

__all__ = ["AsyncDriver", "Ended", "Group", "close_all", "drive", "give", "perform"]


@types.coroutine
def perform(effects: Effects) -> Generator[Any, Any, Any]:
    """Let an `async def` of the engine do what a generator of the engine does."""
    return (yield from effects)


@types.coroutine
def give(event: object) -> Generator[Any, Any, None]:
    """Let an `async def` of the engine yield to the driver."""
    yield event


def drive(
    sequencer: Sequencer,
    engine: Effects,
    settle: Callable[[BaseException | None], None],
    pauses: Callable[[], bool],
) -> Iterator[Any]:
    """The sync driver: iterate over what the puller gets; the rest of the run is done inside.

    Leaving it midway leaves the engine where it is. `settle` is told how the engine ended: by what
    it raised, or `None`; what is left in the outbox then still comes. `pauses` is asked where
    nothing of the run can go on, and ends it for now.
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
                if sequencer.pausing and pauses():
                    return
            else:
                yield out
            sequencer.thread = get_ident()  # another thread may have gone on
    except BaseException as error:
        if _leaves(error):
            if getgeneratorstate(engine) == GEN_CLOSED:
                settle(error)
            raise
        ended = error
    settle(ended)
    while outbox:
        yield outbox.popleft()


def _leaves(error: BaseException) -> bool:
    """Whether it closes the generator that caught it, and was not raised by what that called."""
    trace = error.__traceback__
    return isinstance(error, GeneratorExit) and trace is not None and trace.tb_next is None


class Ended(Exception):
    """The engine came to its end; no `StopIteration`, which a node's code might raise too."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


def _resume(opened: list[Any], error: BaseException | None) -> Any:
    """Go on, or raise `error` there, until something is yielded for the puller or the loop.

    `opened` are an engine and what it awaits, each of which is resumed without passing through the
    others. Raises `Ended` with what the engine gave, or what it raised.
    """
    value: Any = None
    while True:
        try:
            out = opened[-1].send(value) if error is None else opened[-1].throw(error)
        except StopIteration as end:
            opened.pop()
            if not opened:
                raise Ended(end.value) from None
            value, error = end.value, None
        except BaseException as raised:
            opened.pop()
            if not opened:
                raise
            value, error = None, raised
        else:
            if out is None or type(out) is not Await:
                return out
            opened.append(out.steps)
            value, error = None, None


def close_all(sequencer: Sequencer, opened: list[Any]) -> None:
    """Close generators and coroutines that nothing will resume, the last one first.

    So it is where the garbage collector closes one of them, in an order of its own, and where the
    loop is closed. What a node's code raises meanwhile is logged.
    """
    while opened:
        try:
            opened.pop().close()
        except BaseException as error:  # the others are closed, and ends are told, all the same
            logger.error(
                "An error in run %s, which nothing can go on with, while it was closed",
                sequencer.run_id,
                exc_info=error,
            )


_READY: Final = object()  # the engine waits for nothing but its driver


class AsyncDriver:
    """The async driver of one engine: `advance` until there is something for the puller.

    It can be awaited again and again, from one task after the other, but not from two at once.

    Attributes:
        advancing: Whether somebody drives the engine now.
    """

    __slots__ = ("_cancelling", "_context", "_opened", "_sequencer", "_waiting", "advancing")

    def __init__(self, sequencer: Sequencer, engine: Effects) -> None:
        self._sequencer = sequencer
        self._opened: list[Any] = [engine]
        sequencer.main.opened = self._opened
        self._waiting: object = _READY  # what the engine yielded for the loop
        self._cancelling = False  # the engine knows, or what it waits for is being cancelled
        self._context: Context | None = None  # of the run's own, or that of who drives it
        self.advancing: bool = False

    def keep_context(self) -> None:
        """Run the engine, which has not begun, in a context of its own: a copy of this one.

        A puller goes on with other things where the engine stands in the middle of a node's code:
        what that has set must not be seen there, and has to be there when it goes on.
        """
        self._context = on_track(copy_context(), self._sequencer.main)

    @types.coroutine
    def advance(self) -> Generator[Any, Any, None]:
        """Run the engine until the outbox holds something, nothing can go on, or to its end.

        Raises `Ended` at the end, or what the engine raised.
        """
        sequencer, backlog, outbox = (
            self._sequencer,
            self._sequencer.backlog,
            self._sequencer.outbox,
        )
        opened, context = self._opened, self._context
        error: BaseException | None = None
        before = None
        restores = context is None
        if restores:
            before = current_track.get()
            current_track.set(sequencer.main)
        self.advancing = True
        try:
            while True:
                if self._waiting is _READY:
                    if sequencer.cancelled is not None and error is None and self._must_cancel():
                        self._cancelling = sequencer.cancel_seen = True
                        error = sequencer.cancelled
                    if context is None:
                        out = _resume(opened, error)
                    else:
                        out = context.run(_resume, opened, error)
                    error = None
                    if out is TAKE:
                        if outbox or sequencer.pausing:
                            return
                        continue
                    if out is not None and isinstance(out, Event):
                        outbox.append(out)
                        return
                    self._waiting = out
                try:
                    if backlog and sequencer.flushing is None:
                        yield from self._flush_handlers()
                    if (
                        sequencer.cancelled is not None
                        and self._must_cancel()
                        and not self._cancel_waiting()
                    ):
                        self._waiting = _READY
                        continue
                    yield self._waiting
                except GeneratorExit:
                    restores = False  # dropped, maybe in another context: leave that one alone
                    raise
                except BaseException as caught:
                    error = sequencer.cancelled or caught
                    if sequencer.stopped_by_task():
                        error = caught
                        sequencer.stop_flushing()
                self._waiting = _READY
        finally:
            self.advancing = False
            if restores:
                current_track.set(before)

    def _flush_handlers(self) -> Generator[Any, Any, None]:
        """Await async handlers before the engine's wait goes on; what ends them ends it too."""
        try:
            yield from Await(self._sequencer.flush_handlers(), self._context).__await__()
        except GeneratorExit:
            raise
        except BaseException:
            self._cancel_waiting()
            raise

    def is_closed(self) -> bool:
        """Whether the engine has ended otherwise: the garbage collector closes what nobody has."""
        return not self._opened or getgeneratorstate(self._opened[0]) == GEN_CLOSED

    def close(self) -> None:
        """End an engine whose loop is closed: nothing is awaited, but its ends are heard."""
        if self._context is None:
            self._opened[0].close()
        else:
            self._context.run(self._opened[0].close)

    def cancel(self) -> None:
        """Cancel what the engine waits for; called on its loop, while somebody drives it."""
        if self._waiting is not _READY and self._must_cancel():
            self._cancel_waiting()

    def _must_cancel(self) -> bool:
        """Whether the engine has yet to learn of a cancel; handlers that are awaited come first."""
        sequencer = self._sequencer
        return (
            sequencer.cancelled is not None and not self._cancelling and sequencer.flushing is None
        )

    def _cancel_waiting(self) -> bool:
        """Cancel the future that the engine waits for, as a task would; whether it will wake."""
        cancel = getattr(self._waiting, "cancel", None)
        self._cancelling = bool(callable(cancel) and cancel())
        return self._cancelling


Work = Callable[["Group", int, Any], Awaitable[Any]]
"""What a group does for each of its items: it gets the group, the item's index and the item."""

_NO_MORE: Final = object()


def _outranks(error: BaseException, first: BaseException) -> bool:
    """Whether it ends a group instead of the first error: an interrupt does, no failure."""
    stops = isinstance(error, (Exception, asyncio.CancelledError, GeneratorExit))
    return isinstance(first, Exception) and not stops


class Group:
    """Items that run at the same time, each in a task of its own; their results in order.

    When one fails the others are cancelled and awaited before its error is raised. While they
    run, what they have for the puller is handed on. When all of them wait for answers, so does
    what the group is a part of: the item of another one, or the run.
    """

    def __init__(self, sequencer: Sequencer, *, keep: bool = True) -> None:
        self.sequencer: Sequencer = sequencer
        self._keep = keep  # the results
        self._begun = 0
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._results: list[Any] = []
        self._error: BaseException | None = None
        self._more = True  # there may be items that have not begun
        self._limit: int | None = None
        self._wake: asyncio.Future[None] = self._loop.create_future()
        track = current_track.get()
        self._hands_on = track is None or track is sequencer.main
        self._around = None if track is None else track.group
        self._stuck = 0  # items that wait for answers
        self._is_stuck = False  # all of them do

    async def run(self, work: Work, arguments: Iterator[Any], limit: int | None) -> list[Any]:
        """Do the work for each argument, at most `limit` at once, drawn as there is room."""
        self._limit = limit
        try:
            return await self._run(work, arguments)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and error is not self._error:
                # It is closed: nothing can be awaited any more.
                close_all(self.sequencer, [each.get_coro() for each in self._tasks.values()])
                raise
            if (
                self._hands_on
                and self._error is None
                and self.sequencer.cancelled is None
                and type(error) is asyncio.CancelledError
            ):
                self.sequencer.stop_flushing()
            await self._cancel()
            if self._error is not None and _outranks(self._error, error):
                raise self._error from None
            raise

    async def _run(self, work: Work, arguments: Iterator[Any]) -> list[Any]:
        sequencer, tasks, limit = self.sequencer, self._tasks, self._limit
        keep, results, create_task = self._keep, self._results, self._loop.create_task
        while True:
            if self._hands_on:  # first, because items go on while the puller has control
                if sequencer.failure is not None or sequencer.cancelled is not None:
                    await perform(sequencer.border())
                if sequencer.outbox:
                    await give(TAKE)
                taken, sequencer.taken = sequencer.taken, []
                for waiting in taken:
                    wake(waiting)
            if self._wake.done():  # before looking at what it stands for
                self._wake = self._loop.create_future()
            while self._more and self._error is None and (limit is None or len(tasks) < limit):
                argument = next(arguments, _NO_MORE)
                if argument is _NO_MORE:
                    self._more = False
                    break
                index = self._begun
                self._begun = index + 1
                if keep:
                    results.append(None)
                task = create_task(self._item(work, index, argument))
                # One whose run is dropped is closed with it, which is no mistake to be logged.
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                if not task.done():  # an eager task may have ended already
                    tasks[index] = task
            self._look_if_stuck()
            if self._error is not None:
                raise self._error
            if self._hands_on:
                if sequencer.outbox:
                    continue
                if self._is_stuck and self._around is None and not self._answered():
                    sequencer.pausing = True
                    await give(TAKE)
                    continue
                sequencer.taking = self._wake
            if not tasks:
                return self._results
            await self._wake

    async def _item(self, work: Work, index: int, argument: Any) -> None:
        try:
            result = await work(self, index, argument)
            if self._keep:
                self._results[index] = result
        except BaseException as error:
            if self._error is None or _outranks(error, self._error):
                self._error = error
        finally:
            tasks = self._tasks
            tasks.pop(index, None)
            if self._stuck:
                self._look_if_stuck()
            if self._more or not tasks or self._error is not None:
                wake(self._wake)

    def stuck(self, more: int) -> None:
        """So many more of its items, or fewer, wait for an answer."""
        self._stuck += more
        self._look_if_stuck()

    def _look_if_stuck(self) -> None:
        if not self._stuck and not self._is_stuck:
            return
        has_room = self._more and (self._limit is None or len(self._tasks) < self._limit)
        is_stuck = 0 < self._stuck == len(self._tasks) and not has_room and self._error is None
        if is_stuck == self._is_stuck:
            return
        self._is_stuck = is_stuck
        if self._around is not None:
            self._around.stuck(1 if is_stuck else -1)
        elif is_stuck:
            wake(self._wake)

    def _answered(self) -> bool:
        """Whether an item is about to go on."""
        questions = self.sequencer.questions
        return questions is not None and questions.ready()

    async def _cancel(self) -> None:
        """Cancel the items that still run, and wait until they have ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        while any(not task.done() for task in tasks):
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError:  # asked again: they are being cancelled already
                continue

    @types.coroutine
    def drive(self, effects: Effects) -> Generator[Any, Any, Any]:
        """The driver of an item: what it has for the puller goes through the group."""
        sequencer, outbox = self.sequencer, self.sequencer.outbox
        opened: list[Any] = [effects]
        track = current_track.get()
        if track is not None and track.opened is None:
            track.opened = opened
        error: BaseException | None = None
        while True:
            try:
                out = _resume(opened, error)
            except Ended as end:
                return end.value
            error = None
            try:
                if out is not None and (out is TAKE or isinstance(out, Event)):
                    if out is not TAKE:
                        outbox.append(out)
                    if outbox:
                        taken = self._loop.create_future()
                        sequencer.taken.append(taken)
                        wake(sequencer.taking)
                        yield from taken
                    continue
                if sequencer.backlog and sequencer.flushing is None:
                    yield from sequencer.flush_handlers().__await__()
                if outbox:
                    wake(sequencer.taking)
                yield out
            except GeneratorExit:
                close_all(sequencer, opened)
                raise
            except BaseException as caught:
                error = caught
