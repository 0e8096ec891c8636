"""Runs driven sync and in a loop, by the same calls; what a test sees of them and what is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from flowevents import AsyncFlow, Event, Flow, FlowEnd, NodeEnd, Run, signals
from flowevents.events import EVENT_TYPES
from flowevents.signals import EventSignal
from flowevents.testing import check_events

__all__ = ["PATIENCE", "Driver", "Seen", "connected", "driving", "in_thread", "status_of"]

T = TypeVar("T")

PATIENCE = 30
"""Seconds after which a test that waits has failed; nothing is expected to take that long."""

SIGNALS: list[EventSignal[Any]] = [getattr(signals, kind.signal) for kind in EVENT_TYPES]


def connected() -> list[str]:
    """The signals that have a handler."""
    return [signal.name for signal in SIGNALS if signal.receivers]


def status_of(run: Run) -> str:
    """Its status now, whatever a type checker thinks it still is."""
    return run.status


def in_thread(call: Callable[[], T]) -> T:
    """What a call gives, or raises, in a thread of its own."""
    given: list[T] = []
    raised: list[BaseException] = []

    def target() -> None:
        try:
            given.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), f"{call} did not return"
    if raised:
        raise raised[0]
    return given[0]


class Driver:
    """Runs things to where a test wants them, sync, or in one loop that lasts for the test."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.task: asyncio.Task[Any] | None = None  # that drives, or did last

    def flow(self, start: Any) -> Any:
        """A flow that begins there."""
        return Flow(start) if self.loop is None else AsyncFlow(start)

    def in_loop(self, coroutine: Any) -> Any:
        """What a coroutine gives."""
        assert self.loop is not None
        task = self.task = self.loop.create_task(coroutine)
        patience = self.loop.call_later(PATIENCE, task.cancel)
        try:
            return self.loop.run_until_complete(task)
        finally:
            patience.cancel()

    def wait(self, run: Run) -> Any:
        """Run to the end."""
        return run.wait() if self.loop is None else self.in_loop(run.wait_async())

    def each(self, run: Run, body: Callable[[Event], object]) -> None:
        """Iterate over it, with this body; leave the loop where the body gives something true."""
        if self.loop is None:
            for event in run:
                if body(event):
                    break
            return

        async def iterating() -> None:
            async for event in run:
                if body(event):
                    break

        self.in_loop(iterating())

    def pull(self, run: Run, count: int | None = None) -> list[Event]:
        """Take all events, or so many, and leave the loop."""
        taken: list[Event] = []

        def take(event: Event) -> bool:
            taken.append(event)
            return len(taken) == count

        self.each(run, take)
        return taken

    def close(self, run: Run) -> None:
        """Close it."""
        run.close() if self.loop is None else self.in_loop(run.aclose())

    def inside(self, run: Run, body: Callable[[], object] = lambda: None) -> None:
        """Enter it, call the body, and leave it, as a context manager."""

        async def block() -> None:
            async with run as entered:
                assert entered is run
                body()

        if self.loop is not None:
            self.in_loop(block())
            return
        with run as entered:
            assert entered is run
            body()

    def run(self, node: Any, shared: Any, **options: Any) -> Any:
        """`run` or `run_async`."""
        if self.loop is None:
            return node.run(shared, **options)
        return self.in_loop(node.run_async(shared, **options))

    def call_back(self, node: Any, shared: Any, callback: Any, **options: Any) -> Any:
        """`run_stream` or `run_stream_async` with a callback."""
        if self.loop is None:
            return node.run_stream(shared, callback, **options)
        return self.in_loop(node.run_stream_async(shared, callback, **options))

    def stream(self, node: Any, shared: Any, **options: Any) -> Any:
        """A stream that has not begun."""
        if self.loop is None:
            return node.run_stream(shared, **options)
        return node.run_stream_async(shared, **options)

    def next(self, stream: Any) -> Any:
        """The next thing of a stream or of an iteration; at the end, `None`."""
        if self.loop is None:
            return next(stream, None)

        async def following() -> Any:
            try:
                return await stream.__anext__()
            except StopAsyncIteration:
                return None

        return self.in_loop(following())

    def rest(self, stream: Any) -> list[Any]:
        """What is still to come of a stream."""
        if self.loop is None:
            return list(stream)

        async def listed() -> list[Any]:
            return [each async for each in stream]

        result: list[Any] = self.in_loop(listed())
        return result

    def close_stream(self, stream: Any) -> None:
        """Close a stream."""
        stream.close() if self.loop is None else self.in_loop(stream.aclose())

    def settle(self) -> None:
        """Let the loop do what it has been asked to, until it has no task left."""
        if self.loop is not None:
            for _ in range(100):
                self.loop.run_until_complete(asyncio.sleep(0))
                if not asyncio.all_tasks(self.loop):
                    break


@contextmanager
def driving(how: str) -> Iterator[Driver]:
    """A driver, `"sync"` or `"async"`; at the end its loop has no task and no generator left."""
    if how == "sync":
        yield Driver(None)
        return
    unseen: list[dict[str, Any]] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: unseen.append(context))
    try:
        yield Driver(loop)
        assert asyncio.all_tasks(loop) == set()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())  # threads of `to_thread`
    finally:
        loop.close()
    assert unseen == []


class Seen:
    """An observer that keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[T]) -> list[T]:
        """Those of a type."""
        return [event for event in self.events if isinstance(event, kind)]

    def ends(self) -> list[str]:
        """The status of each end, in order."""
        return [event.status for event in self.events if isinstance(event, NodeEnd | FlowEnd)]

    def kinds(self) -> list[str]:
        """The types in order."""
        return [type(event).__name__ for event in self.events]

    def check(self) -> None:
        """They are well-formed."""
        check_events(self.events)
