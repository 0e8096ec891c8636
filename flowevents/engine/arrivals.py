"""What other threads leave for a step, and how its run waits for it, in a thread or a loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from flowevents.engine.effects import Await, Effects, wake
from flowevents.engine.state import State, hand_over, safe_point
from flowevents.engine.step import current_track

__all__ = ["Arrivals", "aside"]

T = TypeVar("T")


class Arrivals:
    """What has come in, in order, and wakes the run.

    Attributes:
        waiting: What has come, and was not taken.
    """

    __slots__ = ("_asleep", "_state", "waiting")

    def __init__(self, state: State) -> None:
        self.waiting: deque[tuple[int, Any]] = deque()
        self._state = state
        self._asleep: threading.Event | asyncio.Future[None] | None = None

    def leave(self, ticket: int, what: Any) -> None:
        """Leave what has come; from any thread."""
        self.waiting.append((ticket, what))
        asleep = self._asleep
        if isinstance(asleep, threading.Event):
            asleep.set()
        elif asleep is not None:
            try:
                asleep.get_loop().call_soon_threadsafe(wake, asleep)
            except RuntimeError:  # the loop is closed: nothing waits any more
                return

    def wait(self, seconds: float | None = None) -> Effects:
        """Wait until something has come, or for so many seconds.

        The consumer takes what waits for it before, other threads' events are delivered meanwhile.
        Raises what the run is to stop by.
        """
        state = self._state
        if state.is_disturbed():
            yield from safe_point(state)
            if state.delivery.outbox or state.delivery.backlog:
                yield from hand_over(state)
        yield from self.sleep(seconds)
        if not state.is_async:
            state.stop.check()

    def sleep(self, seconds: float | None) -> Effects:
        """Wait, and do no more."""
        if self._state.is_async:
            yield from self._await(seconds)
        else:
            self._block(seconds)

    def _block(self, seconds: float | None) -> None:
        door = self._state.door
        self._asleep = woken = self._state.stop.waker()  # first this, then the look
        try:
            if not self.waiting:
                door.open = True
                woken.wait(seconds)
        finally:
            door.shut()
            self._asleep = None

    def _await(self, seconds: float | None) -> Effects:
        delivery, loop = self._state.delivery, self._state.door.loop
        assert loop is not None
        track = current_track()
        alone = track is None or track.blocked is None  # else its group looks after the consumer
        self._asleep = woken = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, wake, woken)
        if alone:
            delivery.wait_with(woken)
        try:
            yield Await(asyncio.sleep(0) if self.waiting else woken)  # the loop has a turn
        finally:
            self._asleep = None
            if alone:
                delivery.wait_with(None)
            if timer is not None:
                timer.cancel()


def aside(state: State, call: Callable[[], T]) -> Effects:
    """Return what a call gives that may wait: in an async run it is made in a thread.

    It is waited for whatever happens, so that nothing comes at the same time; but not where nothing
    can be awaited any more.
    """
    loop = state.door.loop
    if loop is None:
        return call()
    called = loop.run_in_executor(None, call)
    cancelled: asyncio.CancelledError | None = None
    while not called.done():
        try:
            yield Await(asyncio.wait([called]))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return called.result()
