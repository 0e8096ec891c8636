"""Where runs are started, and nodes for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from flowevents import (
    Ask,
    AsyncFlow,
    AsyncParallelBatchNode,
    Flow,
    Interrupt,
    Run,
    StreamNode,
)
from tests.driving import PATIENCE, driving

__all__ = ["Asked", "Asks", "EachAsks", "Held", "Place", "Tidies", "loop_in_thread"]


class Place:
    """Where runs are started, by this thread: they go on beside it."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None, *, is_async: bool) -> None:
        self.loop = loop  # in which it is done; without one, here
        self.is_async = is_async

    def run(self, node: Any, shared: Any = None, **options: Any) -> Run:
        """A run of a flow that begins there."""
        flow: Any = AsyncFlow if self.is_async else Flow
        return Run(flow(node), shared, **options)

    def do(self, call: Callable[[], Any]) -> Any:
        """What a call there gives."""
        if self.loop is None:
            return call()

        given: Future[Any] = Future()

        def calling() -> None:
            try:
                given.set_result(call())
            except BaseException as error:
                given.set_exception(error)

        self.loop.call_soon_threadsafe(calling)
        return given.result(PATIENCE)

    def start(self, node: Any, shared: Any = None, **options: Any) -> Run:
        """A run that was started there."""
        run = self.run(node, shared, **options)
        started: Run = self.do(run.start)
        assert started is run
        return started


@contextmanager
def loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in another thread; at the end it has no task left."""
    with driving("async") as driver:
        loop = driver.loop
        assert loop is not None
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(PATIENCE)


class Held(StreamNode):
    """Streams, and holds its thread until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.may_go = threading.Event(), threading.Event()

    def prep(self, shared: Any) -> Any:
        return shared

    def exec_stream(self, shared: Any) -> Iterator[Any]:
        try:
            yield "entered"
            self.entered.set()
            assert self.may_go.wait(PATIENCE)
            yield "going"
        finally:
            if shared is not None:
                shared["left"] = threading.current_thread().name

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return "gone"


class Asks(StreamNode):
    """Asks twice."""

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        first = yield Ask("first?", choices=["a", "b"])
        second = yield Ask("second?", type=int)
        yield first, second

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["answers"] = exec_res[-1]
        return "answered"


class Asked:
    """Hears the questions of a run, and lets a test wait for each."""

    def __init__(self) -> None:
        self.events: list[Interrupt] = []
        self.open = threading.Semaphore(0)

    def on_interrupt(self, event: Interrupt) -> None:
        self.events.append(event)
        self.open.release()

    def next(self) -> Interrupt:
        """The next question."""
        assert self.open.acquire(timeout=PATIENCE)
        return self.events[-1]


class EachAsks(AsyncParallelBatchNode):
    """All items ask at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        return range(3)

    async def exec_async(self, item: Any) -> Any:
        return await self.ask(item)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res


class Tidies(StreamNode):
    """Asks, and cleans up."""

    def prep(self, shared: Any) -> Any:
        return shared

    def exec_stream(self, shared: Any) -> Iterator[Any]:
        try:
            yield Ask("Now?")
        finally:
            shared["tidy"] = True
