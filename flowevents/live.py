"""A run in a thread of its own, and its events as they come: for GUIs and notebooks."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from flowevents.events import Event

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LiveEvents", "close_live", "end_loop"]


class LiveEvents(Iterator[Event]):
    """Every event of a run that goes on in a background thread, the moment it happens.

    Made by `Run.in_thread`. At most `maxsize` events wait to be taken; then the run waits.
    Iterating blocks until there is one. It ends where the run ends or pauses, and raises what the
    run failed with. `close()`, or leaving a `with` block, cancels a run that still goes on,
    quietly, and returns when its thread has ended; dropping it cancels that as well. A paused run
    stays so.
    """

    def __init__(
        self,
        drive: Callable[[Callable[[Event], None]], None],
        cancel: Callable[[], None],
        maxsize: int,
    ) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize={maxsize!r}: how many events may wait; at least 1.")
        channel = self._channel = _Channel(maxsize)
        self._thread = threading.Thread(
            target=_run, args=(drive, channel), name="flowevents run", daemon=True
        )
        self._cancel = cancel
        weakref.finalize(self, _stop, channel, cancel).atexit = False  # `close_live` does more
        _live.add(self)
        self._thread.start()

    def __next__(self) -> Event:
        event = self._channel.take()
        if event is None:
            self._finish()
            raise StopIteration
        return event

    def ready(self) -> list[Event]:
        """The events that have come so far, without waiting; for a GUI's timer.

        Raises what the run failed with, once they have been taken.
        """
        events = self._channel.take_all()
        if not events and self._channel.ended:
            self._finish()
        return events

    @property
    def over(self) -> bool:
        """Whether the run has ended or paused, and every event was taken."""
        return self._channel.over()

    def _finish(self) -> None:
        self._thread.join()
        error, self._channel.error = self._channel.error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Cancel the run if it has not ended, and wait for the end of its thread."""
        _stop(self._channel, self._cancel)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Channel:
    """The bounded way of the events from the run's thread to who takes them."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._closed = False  # nobody takes them any more
        self.ended: bool = False  # nobody puts any more
        self.error: BaseException | None = None  # what the run ended with

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

    def end(self, error: BaseException | None) -> None:
        """The run has ended, or paused."""
        with self._changed:
            self.ended = True
            self.error = None if self._closed else error
            self._changed.notify_all()


def _run(drive: Callable[[Callable[[Event], None]], None], channel: _Channel) -> None:
    try:
        drive(channel.put)
    except BaseException as error:
        channel.end(error)
    else:
        channel.end(None)


def _stop(channel: _Channel, cancel: Callable[[], None]) -> None:
    channel.close()
    if not channel.ended:  # else it is over, or somebody else goes on with it
        cancel()


async def end_loop() -> None:
    """End what still goes on in a loop that is about to be closed, as `asyncio.run` does."""
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


_live: weakref.WeakSet[LiveEvents] = weakref.WeakSet()


def close_live() -> None:
    """At the end of the process, end the runs before their daemon threads are gone."""
    for each in list(_live):
        each.close()
