"""A run in the background, and its events as they come: for GUIs, notebooks and servers.

The rules of this file:

* A run in the background is driven to its end by one thread, or by one task of a loop; nobody else
  drives it.
* Who waits for a run in a thread waits for the thread, which ends after all that it notes.
* Where the run is asked to stop its thread is let go that waits until there is room for an event:
  not before, or the run would go on, and not after what ends it here, which has events, too.
* The thread or the task holds the run until its end, so that it goes on when nobody else does. It
  does not hold the `LiveEvents`, which can be dropped.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextvars import Context, copy_context
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from flowevents.engine.drivers import AsyncDriver, SyncDriver, pull
from flowevents.events import Event
from flowevents.signals import handlers_of

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Background", "Channel", "LiveEvents"]

logger: Final = logging.getLogger("flowevents")


class Background:
    """Drives a run in the background, and knows who may wait for it.

    Raises `RunStateError`, which names `what` was tried, where somebody drives it already.
    """

    __slots__ = ("_channel", "_driver", "_ended", "_loop", "_run", "_task", "_thread")

    def __init__(
        self, run: object, driver: SyncDriver | AsyncDriver, channel: Channel | None, what: str
    ) -> None:
        audience, outbox = driver.state.audience, driver.state.delivery.outbox
        left = list(outbox) if audience.consumer == "events" else []  # where a loop was left
        driver.claim(what, None, None)  # it is paused no more; who drives it is said later
        self._run: object = run
        self._driver = driver
        self._channel = channel
        self._loop: asyncio.AbstractEventLoop | None = None  # of a task
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._ended: Future[None] = Future()
        self._ended.set_running_or_notify_cancel()  # who waits for it no more does not cancel it
        if channel is not None:
            channel.fill(left)
            audience.add_observer(channel.put, handlers_of(channel.put))
        driver.state.questions.wait_inside()

    # -- driving --------------------------------------------------------------------------------

    def drive_in_task(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drive it in a task of the running loop."""
        self._loop = loop
        self._driver.call_at_end(self._end)
        self._task = loop.create_task(self._drive_in_loop())
        self._task.add_done_callback(self._task_ended)

    def drive_in_thread(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Drive it in a thread, with the caller's context variables; there in that loop."""
        self._thread = threading.Thread(
            target=self._drive, args=(copy_context(), loop), name="flowevents run", daemon=True
        )
        try:
            self._thread.start()
        except BaseException:  # there can be no more threads
            self._thread = None
            if loop is not None:
                loop.close()
            self._driver.cancel()
            self._end()
            raise

    def _drive(self, context: Context, loop: asyncio.AbstractEventLoop | None) -> None:
        try:
            if loop is None:
                context.run(self._drive_here)
            else:
                with asyncio.Runner(loop_factory=lambda: loop) as runner:
                    runner.run(self._drive_in_loop(), context=context)
        except BaseException:
            pass  # it is the run's, which whoever waits for it gets
        finally:
            self._end()

    def _drive_here(self) -> None:
        driver = self._driver
        assert isinstance(driver, SyncDriver)
        try:
            for _ in pull(lambda: driver, None, lambda: None):
                pass
        finally:
            driver.close()  # another thread may be about to end it
            driver.state.outcome.report(False)  # to nobody yet

    async def _drive_in_loop(self) -> None:
        driver = self._driver
        assert isinstance(driver, AsyncDriver)
        await driver.wait()
        error = driver.state.outcome.error
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error  # it ends the loop, as that of any task does

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._driver.cancel()  # where the task was cancelled before it had begun
        if not task.cancelled():
            task.exception()  # whoever waits for the run gets it

    def _end(self) -> None:
        self._run = None
        self._ended.set_result(None)
        if self._channel is not None:
            self._channel.end()

    # -- waiting for it -------------------------------------------------------------------------

    def wait(self) -> Any:
        """Wait for the end, and return the last action, or raise what the run failed with.

        Raises `RunStateError` in the run's own code, and where its loop cannot go on meanwhile.
        """
        __tracebackhide__ = True
        self._may_wait(blocks=True)
        self._join()
        return self._result()

    async def wait_async(self) -> Any:
        """`wait` in a loop, also that of the run."""
        __tracebackhide__ = True
        self._may_wait(blocks=False)
        await self._join_async()
        return self._result()

    def _may_wait(self, *, blocks: bool) -> None:
        """Raise where the run would wait for who waits for it here; nor does it for its events."""
        life, hindered = self._driver.life, self._hindered(blocks=blocks)
        if hindered == "code":
            raise life.own("wait for it")
        if hindered == "loop":
            lost = self._has_lost_its_loop()
            raise (life.without_loop if lost else life.began_async)("wait for it")
        if self._channel is not None:  # who takes its events may be who waits
            self._channel.widen()

    def _result(self) -> Any:
        __tracebackhide__ = True
        outcome = self._driver.state.outcome
        outcome.tell_task()  # where it was cancelled, it is not that of whoever waits for it
        return outcome.result()

    def _hindered(self, *, blocks: bool) -> Literal["code", "loop"] | None:
        """What would wait for who waits here: code of the run, or its loop; `blocks`: that, too."""
        driver, here = self._driver, get_ident()
        if driver.life.is_over:
            return None
        if isinstance(driver, SyncDriver):
            own = here == driver.driven_by or here in driver.state.door.inside
        elif self._loop is not None and (
            not self._loop.is_running() or (blocks and not driver.is_elsewhere())
        ):
            return "loop"
        else:
            in_its_loop = self._loop is None and not driver.is_elsewhere()
            own = in_its_loop or here in driver.state.stop.workers or driver.is_own_code()
        return "code" if own else None

    def _has_lost_its_loop(self) -> bool:
        return isinstance(self._driver, AsyncDriver) and self._driver.has_lost_its_loop()

    def _join(self) -> None:
        if self._thread is not threading.current_thread():  # that has noted all
            self._ended.result()
            if self._thread is not None:
                self._thread.join()

    async def _join_async(self) -> None:
        if self._thread is not threading.current_thread():
            await asyncio.wrap_future(self._ended)
            self._join()

    # -- stopping it ----------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ask the run to stop."""
        if self._channel is not None:
            self._driver.state.cancel()
            self._channel.widen()
        self._driver.cancel()

    def finish(self) -> None:
        """Cancel the run, and wait for the end where that can come meanwhile."""
        hindered = self._hindered(blocks=True)  # before it is over
        self.cancel()
        if hindered is None:
            self._join()

    def close(self) -> None:
        """`finish`, or raise `RunStateError` where its loop cannot go on meanwhile."""
        if self._hindered(blocks=True) == "loop" and not self._has_lost_its_loop():
            raise self._driver.life.refusal("close it like this", " and async. Use aclose.")
        self.finish()

    async def aclose(self) -> None:
        """`close` in a loop, also that of the run."""
        hindered = self._hindered(blocks=False)
        self.cancel()
        if hindered is None:
            await self._join_async()

    def tell_of_failure(self) -> None:
        """Log what the run failed with, if nobody has waited for it."""
        life, outcome = self._driver.life, self._driver.state.outcome
        if life.status == "failed" and not outcome.reported:
            logger.error(
                "Run %s failed, and nobody waited for it", life.run_id, exc_info=outcome.error
            )


class Channel:
    """The bounded way of the events from the run to who takes them; from any thread."""

    def __init__(self, maxsize: int) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize={maxsize!r}: how many events may wait; at least 1.")
        self._room: float = maxsize
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._ended = False

    def put(self, event: Event) -> None:
        """Add an event, when there is room."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) < self._room)
            self._events.append(event)
            self._changed.notify_all()

    def fill(self, events: Iterable[Event]) -> None:
        """Begin with these, whether there is room or not."""
        self._events.extend(events)

    def take(self) -> Event | None:
        """Return the next event, when there is one; `None` after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._ended)
            if not self._events:
                return None
            self._changed.notify_all()
            return self._events.popleft()

    def take_all(self) -> list[Event]:
        """Return those that are there."""
        with self._changed:
            events = list(self._events)
            self._events.clear()
            self._changed.notify_all()
            return events

    def over(self) -> bool:
        """Whether no event is there, and none will come."""
        with self._changed:
            return self._ended and not self._events

    def end(self) -> None:
        """No more events will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def widen(self) -> None:
        """Have room for all that come from here on."""
        with self._changed:
            self._room = math.inf
            self._changed.notify_all()

    def close(self) -> None:
        """Keep none from here on: nobody takes them any more."""
        with self._changed:
            self._events = deque(maxlen=0)
            self._changed.notify_all()


class _Run(Protocol):
    def wait(self) -> object: ...
    def _leave(self) -> None: ...
    def close(self) -> None: ...


class LiveEvents(Iterator[Event]):
    """Every event of a run that goes on in a background thread, the moment it happens.

    Made by `Run.in_thread`. At most `maxsize` events wait to be taken; then the run waits, until it
    is cancelled. Iterating blocks until there is one. It ends where the run ends, and raises, once,
    what the run failed with. `close()`, or leaving a `with` block, cancels a run that still goes
    on, quietly, and returns when its thread has ended; dropping it cancels that as well.
    """

    def __init__(self, channel: Channel, run: _Run) -> None:
        self._channel = channel
        self._run = run
        self._told = False  # how the run ended

    def __next__(self) -> Event:
        __tracebackhide__ = True
        event = self._channel.take()
        if event is None:
            self._tell()
            raise StopIteration
        return event

    def ready(self) -> list[Event]:
        """Return the events that have come so far, without waiting; for a GUI's timer.

        Raises, once, what the run failed with, when they have been taken.
        """
        __tracebackhide__ = True
        events = self._channel.take_all()
        if not events and self._channel.over():
            self._tell()
        return events

    @property
    def over(self) -> bool:
        """Whether the run has ended, and every event was taken."""
        return self._channel.over()

    def close(self) -> None:
        """Cancel the run if it has not ended, and wait for the end of its thread."""
        self._told = True
        self._run._leave()
        self._channel.close()
        self._run.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._run._leave()
        self._channel.close()

    def _tell(self) -> None:
        __tracebackhide__ = True
        if not self._told:
            self._told = True
            self._run.wait()
