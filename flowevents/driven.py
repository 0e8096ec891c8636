"""How a run is driven for its users: in the foreground or the background, and left to itself."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any, Final, NoReturn

from flowevents.at_exit import close_at_exit
from flowevents.engine.course import Course
from flowevents.engine.drivers import AsyncDriver, Consumer, SyncDriver, pull
from flowevents.engine.whose import after_delivery
from flowevents.errors import Paused
from flowevents.events import Event
from flowevents.live import Background, Channel
from flowevents.status import Lifecycle

__all__ = ["AsyncEvents", "Driven"]

logger: Final = logging.getLogger("flowevents")


class Driven:
    """What `Run` is made of that its users do not see."""

    def __init__(self, course: Course) -> None:
        self._course: Course = course
        self._life, self._state = course.life, course.state
        self._background: Background | None = None  # what drives it, after `start`

    # -- in the foreground ----------------------------------------------------------------------

    def _wait_here(self) -> Any:
        __tracebackhide__ = True
        waiting = pull(self._drive_sync, None, self._close_at_exit)
        try:
            while True:
                next(waiting)
        except StopIteration as end:
            return end.value

    def _pull(
        self, what: str, consumer: Consumer, left: Callable[[], None] | None = None
    ) -> Generator[Any, None, Any]:
        """What a loop over it gets; `left` is called where that is left before the end."""
        self._course.check_drivable(what)
        self._close_at_exit()  # an iterator may be left, anywhere
        return pull(self._drive_sync, consumer, left or self._close_at_exit)

    def _drive_sync(self) -> SyncDriver:
        self._check_foreground("run it")
        return self._course.drive_sync()

    def _next(self, consumer: Consumer) -> Coroutine[Any, Any, Any]:
        """The next thing that the consumer gets; `StopAsyncIteration` at the end, or at a pause."""
        try:
            return self._drive_async("iterate over it", consumer).pull(consumer)
        except BaseException as error:  # CPython 3.11 crashes in `anext(run, None)` otherwise
            return _raising(error)

    def _drive_async(self, what: str, consumer: Consumer) -> AsyncDriver:
        if self._background is not None:
            self._check_foreground(what)
        driver = self._course.driver
        if type(driver) is AsyncDriver:
            return driver
        if consumer is not None and driver is None:
            self._close_at_exit()
        return self._course.drive_async(what, pulled=consumer is not None)

    # -- in the background ----------------------------------------------------------------------

    def _start_thread(self, what: str, channel: Channel | None) -> None:
        loop = asyncio.new_event_loop() if self._course.is_async() else None
        try:
            self._begin_background(what, loop, channel).drive_in_thread(loop)
        except BaseException:
            if loop is not None:
                loop.close()
            raise

    def _begin_background(
        self, what: str, loop: asyncio.AbstractEventLoop | None, channel: Channel | None
    ) -> Background:
        with self._life.lock:
            self._check_foreground(what)
            driver = self._course.drive_later(what, loop)
            self._background = Background(self, driver, channel, what)
        self._close_at_exit()
        return self._background

    def _check_foreground(self, what: str) -> None:
        if self._background is not None and not self._life.is_over:
            raise self._life.driven(what)

    # -- left to itself -------------------------------------------------------------------------

    def _cancel(self) -> None:
        (self._background or self._course).cancel()

    def _leave(self) -> None:
        """Stop it, because nobody has it any more: one with a journal is let go."""
        self._state.stop.leave()
        self._cancel()

    def _close_at_exit(self) -> None:
        """Have it ended with the process: it may be left for ever."""
        close_at_exit("runs", self, Driven._end_at_exit)

    def _end_at_exit(self) -> None:
        self._state.stop.leave()
        if self._background is not None:
            self._background.finish()
            self._background.tell_of_failure()
        elif self._life.status in ("running", "paused"):
            self._cancel()

    def _drop(self) -> None:
        """Close it, because nobody has it any more: not in the middle of what a handler does."""
        if not after_delivery(self._leave):
            self._leave()

    def __del__(self) -> None:
        life: Lifecycle | None = getattr(self, "_life", None)
        if life is None or sys.is_finalizing():  # nothing can be delivered any more
            return
        journaled = self._state.options.recorder is not None
        if life.status == "paused" and not self._state.outcome.reported and not journaled:
            questions = self._state.questions.describe(life.run_id)
            logger.warning("%s Nobody has it any more: it is cancelled.", questions)
        if life.status in ("running", "paused") or self._course.frames is not None:
            self._drop()  # nobody can go on with it any more
        if self._background is not None:
            self._background.tell_of_failure()

    # -- its end ------------------------------------------------------------------------------

    def _result(self) -> Any:
        __tracebackhide__ = True
        if self._life.status == "paused":
            raise self._paused()
        return self._state.outcome.result()

    def _paused(self) -> Paused:
        self._state.outcome.report()
        self._close_at_exit()  # who gets it may never look at it
        wait = (
            ".run.wait()" if type(self._course.driver) is SyncDriver else "await .run.wait_async()"
        )
        asked = self._state.questions.describe(self._life.run_id)
        return Paused(
            f"{asked} Answer with .run.reply(…), then go on with {wait} or another loop over .run.",
            self,
        )


async def _raising(error: BaseException) -> NoReturn:
    raise error


class AsyncEvents(AsyncIterator[Event]):
    """Every event of an async run; it can be left and another one go on."""

    def __init__(self, run: Driven) -> None:
        self._run = run

    def __anext__(self) -> Coroutine[Any, Any, Event]:
        return self._run._next("events")
