"""A run in the background, and its events as they come: for GUIs, notebooks and servers."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from typing import TYPE_CHECKING

from flowevents.events import Event
from flowevents.status import Lifecycle

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Background", "Channel", "LiveEvents"]


class Background:
    """What drives a run that nobody waits for: a thread, or a task of a loop."""

    __slots__ = ("_ended", "_task", "_thread")

    def __init__(self) -> None:
        self._ended: Future[None] = Future()
        self._ended.set_running_or_notify_cancel()  # who waits for it does not cancel it
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None

    def drive_in(self, task: asyncio.Task[None]) -> None:
        """Hold the task that drives it; what it ends with is the run's."""
        self._task = task
        task.add_done_callback(_take_error)

    def drive_in_thread(self, target: Callable[[], None]) -> None:
        """Drive it in a thread, with the caller's context variables."""
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(_quietly, target), name="flowevents run", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """The run has ended."""
        if not self._ended.done():
            self._ended.set_result(None)

    def join(self, life: Lifecycle) -> None:
        """Wait for the end. Raises `RunStateError` where that is waited for by the run itself."""
        if not self._ended.done():
            if self._is_here():
                raise life.driven("wait for it")
            self._ended.result()
        if self._thread is not None and not self._is_here():
            self._thread.join()

    async def join_async(self, life: Lifecycle) -> None:
        """`join` in a loop."""
        if self._ended.done():
            return
        if asyncio.current_task() is self._task or self._thread is threading.current_thread():
            raise life.driven("wait for it")
        await asyncio.wrap_future(self._ended)

    def join_outside(self) -> None:
        """Wait for the end, unless it is the run's own code that does."""
        if not self._is_here():
            self._ended.result()
            if self._thread is not None:
                self._thread.join()

    def _is_here(self) -> bool:
        """Whether the end cannot come while this thread waits for it."""
        if self._task is not None:
            return self._task.get_loop() is asyncio._get_running_loop()
        return self._thread is threading.current_thread()


def _quietly(target: Callable[[], None]) -> None:
    try:
        target()
    except BaseException:
        return  # it is the run's error, which whoever waits for it gets


def _take_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()


class LiveEvents(Iterator[Event]):
    """Every event of a run that goes on in a background thread, the moment it happens.

    Made by `Run.in_thread`. At most `maxsize` events wait to be taken; then the run waits.
    Iterating blocks until there is one. It ends where the run ends, and raises what the run failed
    with. `close()`, or leaving a `with` block, cancels a run that still goes on, quietly, and
    returns when its thread has ended; dropping it cancels that as well.
    """

    def __init__(self, channel: Channel, cancel: Callable[[], None]) -> None:
        self._channel = channel
        self._cancel = cancel
        weakref.finalize(self, _stop, channel, cancel).atexit = False

    def __next__(self) -> Event:
        event = self._channel.take()
        if event is None:
            self._channel.raise_error()
            raise StopIteration
        return event

    def ready(self) -> list[Event]:
        """The events that have come so far, without waiting; for a GUI's timer.

        Raises what the run failed with, once they have been taken.
        """
        events = self._channel.take_all()
        if not events and self._channel.ended:
            self._channel.raise_error()
        return events

    @property
    def over(self) -> bool:
        """Whether the run has ended, and every event was taken."""
        return self._channel.over()

    def close(self) -> None:
        """Cancel the run if it has not ended, and wait for the end of its thread."""
        _stop(self._channel, self._cancel)
        self._channel.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _stop(channel: Channel, cancel: Callable[[], None]) -> None:
    channel.close()
    cancel()


class Channel:
    """The bounded way of the events from the run's thread to who takes them."""

    def __init__(self, maxsize: int) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize={maxsize!r}: how many events may wait; at least 1.")
        self._maxsize = maxsize
        self._thread: threading.Thread | None = None
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._closed = False  # nobody takes them any more
        self.ended: bool = False  # nobody puts any more
        self._error: BaseException | None = None  # what the run ended with

    def put(self, event: Event) -> None:
        """Add an event, when there is room; after `close` it goes nowhere."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._events) < self._maxsize)
            if not self._closed:
                self._events.append(event)
                self._changed.notify_all()

    def take(self) -> Event | None:
        """The next event, when there is one; `None` after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or self._events)
            if not self._events:
                return None
            self._changed.notify_all()
            return self._events.popleft()

    def take_all(self) -> list[Event]:
        """Those that are there."""
        with self._changed:
            events = list(self._events)
            self._events.clear()
            self._changed.notify_all()
            return events

    def over(self) -> bool:
        """Whether no event is there, and none will come."""
        with self._changed:
            return self.ended and not self._events

    def close(self) -> None:
        """Nobody takes events any more."""
        with self._changed:
            self._closed = True
            self._events.clear()
            self._changed.notify_all()

    def feed(self, drive: Callable[[], None]) -> None:
        """Drive the run in this thread, and note how that ended."""
        self._thread = threading.current_thread()
        error: BaseException | None = None
        try:
            drive()
        except BaseException as raised:
            error = raised
        with self._changed:
            self.ended = True
            self._error = None if self._closed else error
            self._changed.notify_all()

    def raise_error(self) -> None:
        """Raise, once, what the run ended with."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def join(self) -> None:
        """Wait for the end of the thread, in another one."""
        if threading.current_thread() is not self._thread:
            with self._changed:
                self._changed.wait_for(lambda: self.ended)
            if self._thread is not None:
                self._thread.join()
