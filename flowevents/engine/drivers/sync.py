"""The sync driver: the run goes on in the thread of whoever iterates over it or waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from inspect import GEN_CLOSED, getgeneratorstate
from threading import get_ident
from typing import Any, Final

from flowevents.engine.drivers.driver import Consumer, Driver
from flowevents.engine.effects import TAKE, Effects, Failed
from flowevents.engine.here import current_here, nowhere
from flowevents.engine.state import State
from flowevents.engine.whose import Root
from flowevents.status import Lifecycle

__all__ = ["PAUSED", "SyncDriver", "pull"]

PAUSED: Final = object()
"""What `pull` returns to who waits for a run that pauses."""

_TAKEN: Final = "generator already executing"  # CPython's words
_LOOKS_AGAIN: Final = 0.02
"""Seconds after which who closes a run looks again whether its code has given control away."""


class SyncDriver(Driver):
    """Drives a sync run.

    Attributes:
        engine: The run's engine.
    """

    __slots__ = ("engine",)

    def __init__(self, life: Lifecycle, state: State, root: Root, engine: Effects) -> None:
        super().__init__(life, state, root)
        self.engine: Effects = engine

    def check(self, what: str, loop: asyncio.AbstractEventLoop | None) -> None:
        """Raise `RunStateError` where it is to be driven in a loop."""
        if loop is not None:
            raise self.life.began_sync(what)

    def release(self) -> None:
        """Nobody drives it now; where it was cancelled meanwhile it is unwound."""
        if self._engine_runs():  # a left iterator is garbage, which was found in the run's code
            return
        with self.life.lock:
            cancelled = self.state.stop.asked is not None and not self.life.is_over
            self.hand_to(get_ident() if cancelled else None)
        if cancelled:
            self._unwind()
        self.state.door.empty()

    def cancel(self) -> None:
        """Ask the run to stop; where nobody drives it, it is unwound before this returns."""
        with self.life.lock:
            if self.life.is_over:
                return
            self.state.cancel()
            if self._engine_runs() or self.driven_by not in (None, get_ident()):
                return
            self.hand_to(get_ident())
        self._unwind()

    def close(self) -> None:
        """Cancel the run, and return when it has ended; called by its own code it only cancels.

        Where who iterates over it, in another thread, is busy with something else, it is unwound
        here: they may wait for just that.
        """
        self.cancel()
        here = get_ident()
        if self.driven_by == here or here in self.state.door.inside:
            return
        ended = self._ended()
        while not ended.is_set():
            if not self._engine_runs():
                self._unwind()
            ended.wait(_LOOKS_AGAIN)

    def _ended(self) -> threading.Event:
        """Return an event that is set when the run has ended."""
        ended = threading.Event()
        with self.life.lock:
            if self.life.is_over:
                ended.set()
            else:
                self.call_at_end(ended.set)
        return ended

    def end_by(self, error: BaseException) -> None:
        """End the run: the engine has raised this, or a Ctrl-C came in its driver.

        Raises it where the run has ended already.
        """
        if isinstance(error, ValueError) and str(error) == _TAKEN:  # another thread closes the run
            self._ended().wait()
            return
        if self.life.is_over:
            raise error
        if getgeneratorstate(self.engine) != GEN_CLOSED:
            try:
                self.engine.throw(Failed(error) if isinstance(error, Exception) else error)
            except BaseException as raised:
                error = raised
        self.settle(error)

    def _engine_runs(self) -> bool:
        return bool(getattr(self.engine, "gi_running", False))

    def _unwind(self) -> None:
        try:
            self.state.door.drive_here()
            with nowhere():
                self.engine.throw(self.state.stop.see())
        except BaseException as error:
            if isinstance(error, ValueError) and str(error) == _TAKEN:
                return  # who drives it was faster, and sees the cancel
            self.settle(error)
            self.hand_to(None)


def pull(
    begin: Callable[[], SyncDriver],
    consumer: Consumer,
    left: Callable[[], None],
) -> Generator[Any, None, Any]:
    """Iterate over what the consumer gets, and return the last action; the run is done inside.

    Leaving it midway leaves the engine where it is, and calls `left`. It ends where the run pauses,
    and returns `PAUSED` then where there is no consumer: another thread may have gone on already.

    Args:
        begin: Gives the driver; the run begins with that.
        consumer: What whoever iterates gets.
        left: Called where somebody stops to iterate before the end.
    """
    __tracebackhide__ = True
    driver = begin()
    here = get_ident()
    state, life = driver.state, driver.life
    outbox, door, questions = state.delivery.outbox, state.door, state.questions
    if not driver.claim("run it", here, consumer):
        while outbox:  # the last events, and what it failed with, are still to come
            yield outbox.popleft()
        return state.outcome.result()
    paused = False  # from then on another thread may drive it
    out: Any = None  # for the consumer, and what that was given last
    given: Any = None
    try:
        try:
            if consumer is None:
                outbox.clear()
            door.drive_here()
            while outbox:
                yield outbox.popleft()
            for out in driver.engine if current_here.get() is None else _apart(driver.engine):
                if out is TAKE:
                    while outbox:
                        yield outbox.popleft()
                    if questions.pausing and driver.pauses():
                        paused = True
                        return PAUSED if consumer is None else None
                else:
                    yield (given := out)
                if get_ident() != here:  # another thread goes on
                    here = get_ident()
                    driver.hand_to(here)
                    door.drive_here()
            driver.settle(None)
        except BaseException as error:
            if _is_left(error, driver.engine):
                raise
            if out is not given and out is not TAKE:
                outbox.append(out)
            driver.end_by(error)
        while outbox:
            yield outbox.popleft()
    except BaseException as error:
        if not _is_left(error, driver.engine):
            driver.end_by(error)  # a Ctrl-C came in the middle of that
        raise
    finally:
        if not paused:
            driver.release()
            if life.status == "running":
                left()
    return state.outcome.result()


def _apart(engine: Effects) -> Effects:
    """The engine in the code of an async run, for which the code that it calls does not speak."""
    while True:
        with nowhere():
            try:
                out = next(engine)
            except StopIteration:
                return
        yield out


def _is_left(error: BaseException, engine: Effects) -> bool:
    """Whether it closes the generator that caught it, and was not raised by the engine."""
    return isinstance(error, GeneratorExit) and getgeneratorstate(engine) != GEN_CLOSED
