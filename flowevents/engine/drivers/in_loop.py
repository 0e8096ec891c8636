"""The async driver: the run goes on in the task of whoever iterates over it or waits for it.

It runs what the engine awaits step by step, so that it can give control back to the consumer as
soon as there is something to take, also while the node's code waits for the loop. It can be driven
by one task after the other, but not by two at once.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Awaitable, Generator
from contextvars import Context, copy_context
from functools import partial
from inspect import GEN_CLOSED, getgeneratorstate
from threading import get_ident
from typing import Any, Final

from flowevents.engine.drivers.driver import Consumer, Driver
from flowevents.engine.effects import TAKE, Effects, again, wake
from flowevents.engine.flushing import cut_short, flush_beside
from flowevents.engine.here import current_here
from flowevents.engine.state import State
from flowevents.engine.step import Here, Track, current_track, on_track
from flowevents.engine.trampoline import Ended, close_all, resume
from flowevents.engine.whose import Root
from flowevents.errors import RunCancelled
from flowevents.events import Event
from flowevents.status import Lifecycle

__all__ = ["AsyncDriver"]

logger: Final = logging.getLogger("flowevents")

_READY: Final = object()  # the engine waits for nothing but its driver


class _Raised:
    """What the engine has raised where it was carried on, for who drives it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class AsyncDriver(Driver):
    """Drives an async run.

    Attributes:
        track: The run's own track.
        advancing: Whether somebody drives the engine now.
        closing: The task that lets a run come to its end that nobody drives, while it does.
    """

    __slots__ = ("_cancelling", "_context", "_opened", "_waiting", "advancing", "closing", "track")

    def __init__(
        self, life: Lifecycle, state: State, root: Root, engine: Effects, track: Track
    ) -> None:
        super().__init__(life, state, root)
        self.track: Track = track
        self._opened: list[Any] = [engine]
        track.opened = self._opened
        track.here = Here(track)
        self._waiting: object = _READY  # what the engine yielded for the loop
        self._cancelling = False  # the engine knows, or what it waits for is being cancelled
        self._context: Context | None = None  # of the run's own, or that of who drives it
        self.advancing: bool = False
        self.closing: asyncio.Task[None] | None = None

    def keep_context(self) -> None:
        """Run the engine, which has not begun, in a context of its own: a copy of this one.

        A consumer goes on with other things where the engine stands in the middle of a node's
        code: what that has set must not be seen there, and has to be there when it goes on.
        """
        self._context = self.track.context = on_track(copy_context(), self.track)
        self.track.carry_on = self.carry_on

    def settle(self, error: BaseException | None) -> None:
        """Note how the engine ended; nothing of the run refers to itself any more."""
        super().settle(error)
        self.track.context = self.track.carry_on = self.track.here = None
        self._waiting = _READY  # an error would keep its frames, and they this

    # -- pull and wait --------------------------------------------------------------------------

    async def pull(self, consumer: Consumer) -> Any:
        """Return the next thing that the consumer gets.

        Raises `StopAsyncIteration` at the end or at a pause, or what the run failed with.
        """
        __tracebackhide__ = True
        state, life = self.state, self.life
        outbox, outcome = state.delivery.outbox, state.outcome
        while not outbox:
            if life.is_over:
                if not outcome.reported:
                    outcome.result()
                raise StopAsyncIteration
            await self._drive("iterate over it", consumer)
            if life.status == "paused" and not outbox:
                raise StopAsyncIteration
        return outbox.popleft()

    async def wait(self) -> None:
        """Run to the end, or until it pauses, in this task."""
        outbox = self.state.delivery.outbox
        while not self.life.is_over:
            outbox.clear()
            await self._drive("wait for it", None)
            if self.life.status == "paused":
                return

    def _take_up(self, what: str, consumer: Consumer) -> None:
        """Become the one who drives; that is looked at closely only where something changed."""
        state = self.state
        stop, door = state.stop, state.door
        task = asyncio.current_task(door.loop)
        if (
            stop.driving is None
            or stop.driving() is not task
            or self.life.status != "running"
            or self.driven_by is not None
            or door.thread != get_ident()  # asking for the running loop takes longer
            or state.audience.consumer != consumer
        ):
            if task is None or door.thread != get_ident():
                self.check(what, asyncio.get_running_loop())
            if not self.claim(what, task, consumer):
                return
            stop.drive_by(task)
            door.drive_here()
        self.hand_to(task)

    def claim(self, what: str, who: object, consumer: Consumer) -> bool:
        """Become the one who drives the run, as long as that is not its own code."""
        if self.is_own_code():
            raise self.life.own(what)
        return super().claim(what, who, consumer)

    def check(self, what: str, loop: asyncio.AbstractEventLoop | None) -> None:
        """Raise `RunStateError` where that is not the run's loop, or the run's is closed."""
        if loop is not self.state.door.loop:
            if self.has_lost_its_loop():
                raise self.life.without_loop(what)
            if self.driven_by is not None:
                raise self.life.driven(what)
            raise self.life.began_async(what)

    def is_elsewhere(self) -> bool:
        """Whether its loop is another than that of the caller."""
        return self.state.door.loop is not asyncio._get_running_loop()

    def has_lost_its_loop(self) -> bool:
        """Whether it cannot go on, because the loop in which it began is closed."""
        return self.state.door.is_closed() and not self.life.is_over

    def _left_by(self, error: BaseException) -> None:
        """Note how the engine ended; one whose driver was dropped has not."""
        if isinstance(error, GeneratorExit) and not self.is_closed():
            raise error
        if isinstance(error, Ended):
            self.settle(None)
            return
        stop, outcome = self.state.stop, self.state.outcome
        stopped = stop.by_task()
        late = stopped and outcome.over and isinstance(error, asyncio.CancelledError)
        self.settle(None if late else error)
        if stopped and (late or isinstance(outcome.error, (RunCancelled, asyncio.CancelledError))):
            outcome.tell_task()
            raise asyncio.CancelledError  # the task was cancelled as well, which it must see

    def _drive(self, what: str, consumer: Consumer) -> Awaitable[object]:
        """Drive until there is something for the consumer, the run pauses, or to its end."""
        if self.closing is not None:
            return asyncio.wait([self.closing])
        self._take_up(what, consumer)
        return self._advance()

    @types.coroutine
    def _advance(self) -> Generator[Any, Any, None]:
        """Run the engine until the outbox holds something, nothing can go on, or to its end."""
        state = self.state
        stop, delivery = state.stop, state.delivery
        backlog, outbox = delivery.backlog, delivery.outbox
        opened, context = self._opened, self._context
        thrown: BaseException | None = None
        before = None
        if context is None:
            before = current_here.get()
            current_here.set(self.track.here)
        self.advancing = True
        try:
            while True:
                if self._waiting is _READY:
                    if stop.asked is not None and not self._cancelling and thrown is None:
                        self._cancelling = True
                        thrown = stop.see()
                    if context is None:
                        out = resume(opened, thrown)
                    else:
                        out = context.run(resume, opened, thrown)
                    thrown = None
                    if out is TAKE:
                        if outbox or state.questions.pausing:
                            break
                        continue
                    if out is not None and isinstance(out, Event):
                        outbox.append(out)
                        break
                    self._waiting = out
                try:
                    if backlog:
                        flush_beside(delivery)
                    if stop.asked is not None and not self._cancelling and not self._interrupt():
                        self._waiting = _READY
                        continue
                    waiting = self._waiting
                    yield waiting
                except GeneratorExit:
                    context = self._context or Context()  # maybe elsewhere: leave that one alone
                    raise
                except BaseException as caught:
                    if type(self._waiting) is _Raised:  # the engine has ended at the same time
                        self._left_by(self._waiting.error)
                        raise
                    thrown = caught if stop.asked is None else stop.see()
                    if stop.by_task():
                        thrown = caught
                        cut_short(delivery)
                    self._waiting = _READY
                    continue
                if self._waiting is waiting:
                    self._waiting = _READY
                    continue
                if type(self._waiting) is _Raised:  # it was carried on meanwhile
                    again(self._waiting.error)
                if self._waiting is _READY and (outbox or state.questions.pausing):
                    break
        except BaseException as error:
            self._left_by(error)
        finally:
            self.advancing = False
            if context is None:
                current_here.set(before)
            self.hand_to(None)
        if state.questions.pausing:
            self.pauses()

    def carry_on(self) -> None:
        """Go on where code of the run's own has ended in a task of its own, in that task.

        So that no turn of the loop comes between two pieces of code, where the consumer waits. Who
        drives finds it where the engine waits next.
        """
        if not self.advancing or self._waiting is _READY or self.state.stop.asked is not None:
            return
        stop = self.state.stop
        stop.carry_by(asyncio.current_task())
        try:
            out = resume(self._opened, None)
        except BaseException as error:
            self._waiting = _Raised(error)
            return
        finally:
            stop.carry_by(None)
        if out is not None and isinstance(out, Event):
            self.state.delivery.outbox.append(out)
            out = TAKE
        self._waiting = _READY if out is TAKE else out

    def is_closed(self) -> bool:
        """Whether the engine has ended otherwise: the garbage collector closes what nobody has."""
        return not self._opened or getgeneratorstate(self._opened[0]) == GEN_CLOSED

    # -- cancel and close -----------------------------------------------------------------------

    def cancel(self) -> None:
        """Ask the run to stop; it is over when its loop has closed it."""
        with self.life.lock:
            if self.life.is_over:
                return
            self.state.cancel()
        loop = self.state.door.loop
        assert loop is not None
        if asyncio._get_running_loop() is loop:
            self._cancel_on_loop()
            return
        try:
            loop.call_soon_threadsafe(self._cancel_on_loop)
        except RuntimeError:  # the loop is closed: nothing of the run can go on
            self._lose()

    def _cancel_on_loop(self) -> None:
        if self.life.is_over:
            return
        if self.advancing:
            if self._waiting is not _READY and not self._cancelling:
                self._interrupt()
        elif self.closing is None:
            loop = asyncio.get_running_loop()
            self.closing = loop.create_task(self._finish())
            if self.closing.done():  # an eager task may have ended already
                self.closing = None

    def _interrupt(self) -> bool:
        """Cancel the future that the engine waits for, as a task would; whether it will wake."""
        cancel = getattr(self._waiting, "cancel", None)
        self._cancelling = bool(callable(cancel) and cancel())
        return self._cancelling

    async def _finish(self) -> None:
        """Let a cancelled run that nobody drives come to its end."""
        outbox = self.state.delivery.outbox
        left = list(outbox)
        outbox.clear()
        try:
            if self.is_closed():
                self.settle(self.state.stop.asked)
            while not self.life.is_over:
                await self._advance()
                left.extend(outbox)
                outbox.clear()
        except BaseException as error:
            self._left_by(error)
        finally:
            self.closing = None
            if self.state.audience.consumer is not None:
                outbox.extendleft(reversed(left))

    def _lose(self) -> None:
        """End a run whose loop is closed: its code is closed, and nothing more is delivered."""
        with self.life.lock:
            opened, self._opened = self._opened, []
        if opened:  # else another thread does it
            run_id = self.life.run_id
            logger.warning(
                "Run %s is cancelled: its event loop is closed, so that it cannot go on, and its "
                "last events reach nobody",
                run_id,
            )
            self.state.door.drive_here()
            try:
                if self._context is None:
                    close_all(run_id, opened)
                else:
                    self._context.run(close_all, run_id, opened)
            finally:
                self.settle(self.state.stop.see())

    async def close(self) -> None:
        """Cancel the run, and return when it has ended; called by its own code it only cancels."""
        if self.life.is_over:
            return
        own = self.is_own_code()
        if not (own or self.advancing or self.closing):
            self.state.stop.drive_by(asyncio.current_task())
            self.state.cancel()
            await self._finish()
            return
        self.cancel()
        if own:
            return
        if self.closing is not None:
            await asyncio.wait([self.closing])
        elif not self.life.is_over:
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.call_at_end(partial(wake, over))
            await over

    def is_own_code(self) -> bool:
        """Whether the code that runs is the run's, or in a task or `to_thread` that this has made.

        The run's end cannot be awaited there: it may wait for that.
        """
        track = current_track()
        if track is not None and track.step is not None and track.step.state is self.state:
            return True
        own = self.driven_by, self.closing, self.state.delivery.flushing
        if own == (None, None, None) or self.is_elsewhere():
            return False
        task = asyncio.current_task()
        return task is not None and task in own
