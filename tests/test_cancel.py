"""Cancelling and abandoning, on every path: whatever stops a run, its stream ends well-formed."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import sys
import threading
import types
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowevents
from flowevents import (
    AsyncBatchFlow,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    FlowStart,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    Retry,
    Run,
    RunCancelled,
    RunStateError,
    StreamNode,
)
from flowevents.testing import ManualClock
from tests.driving import PATIENCE, Driver, Seen, connected, driving, in_thread, status_of
from tests.graphs import Graph, Halt, build, graphs, new_shared


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No test leaves a handler connected."""
    yield
    assert connected() == []


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Both ways to drive a run."""
    with driving(request.param) as driver:
        yield driver


@pytest.fixture
def loop() -> Iterator[Driver]:
    """A loop to drive runs in."""
    with driving("async") as driver:
        yield driver


class Stop(Exception):
    """What a consumer raises."""


# -- what is run: every kind of flow, of nodes that know whether they are open -------------------


class Open:
    """How many of a test's nodes are in their code, and in what order they left it."""

    def __init__(self) -> None:
        self.count = 0
        self.left: list[str] = []

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.count -= 1
        self.left.append(kind.__name__ if kind is not None else "end")


class Talk(StreamNode):
    """Yields and emits; its first attempt may fail."""

    fails = False

    def exec_stream(self, prep_res: Any) -> Generator[str, None, str]:
        with is_open:
            for word in ("a", "b"):
                self.emit(f"saying {word}", kind="note")
                yield word
            if self.fails and self.cur_retry == 0:
                raise ValueError("try again")
        return "said"


class TalkAsync(AsyncStreamNode):
    """So does this one, and waits in between."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        with is_open:
            for word in ("a", "b"):
                self.progress(1, 2)
                await asyncio.sleep(0)
                yield word


class Wait(AsyncNode):
    """Emits, and waits."""

    async def exec_async(self, prep_res: Any) -> None:
        with is_open:
            self.emit("waiting")
            await asyncio.sleep(0)
            self.emit("waited")


class TalkBatch(Talk, BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 2]


class TalkAsyncBatch(TalkAsync, AsyncBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2]


class TalkParallel(TalkAsync, AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2, 3]


class WaitParallel(Wait, AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2, 3]


class Items(BatchFlow):
    def prep(self, shared: Any) -> list[dict[str, Any]]:
        return [{"n": 1}, {"n": 2}]


class AsyncItems(AsyncBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{"n": 1}, {"n": 2}]


class ParallelItems(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{"n": 1}, {"n": 2}]


is_open = Open()


def retried() -> Talk:
    """A node whose first attempt fails."""
    talk = Talk(max_retries=2)
    talk.fails = True
    return talk


def chain(*nodes: Any) -> Any:
    """The first of them, connected to the others."""
    for one, other in itertools.pairwise(nodes):
        one >> other
    return nodes[0]


SYNC_SHAPES: dict[str, Callable[[], Any]] = {
    "node": Talk,
    "flow": lambda: Flow(chain(Talk(), Node(), Talk())),
    "nested": lambda: Flow(Flow(Flow(chain(Talk(), Node())))),
    "retry": lambda: Flow(chain(retried(), Node())),
    "batch node": lambda: Flow(chain(TalkBatch(), Node())),
    "batch flow": lambda: Items(chain(Talk(), Items(Talk()))),
}
ASYNC_SHAPES: dict[str, Callable[[], Any]] = {
    "async node": TalkAsync,
    "async flow": lambda: AsyncFlow(chain(TalkAsync(), Wait(), Talk())),
    "async batch node": lambda: AsyncFlow(chain(TalkAsyncBatch(), Wait())),
    "async batch flow": lambda: AsyncItems(chain(Wait(), AsyncItems(TalkAsync()))),
    "parallel node": lambda: AsyncFlow(chain(TalkParallel(max_concurrency=2), Wait())),
    "parallel waits": lambda: AsyncFlow(chain(WaitParallel(), Wait())),
    "parallel flow": lambda: ParallelItems(chain(TalkAsync(), Talk())),
    "parallel in parallel": lambda: ParallelItems(AsyncFlow(chain(WaitParallel(), TalkParallel()))),
}


# -- how it is stopped ----------------------------------------------------------------------------

Way = Callable[[Driver, Any, Any, Seen, int], "Run | None"]
"""Runs a flow over `shared`, stops it at some event, and gives the run, where it is still there."""


def pushed(driver: Driver, flow: Any, shared: Any, seen: Seen, do: Callable[[Run], object]) -> Run:
    """Run with an observer that does something to the run in each event that it keeps."""

    def observer(event: Event) -> None:
        seen(event)
        do(run)

    run = Run(flow, shared, observers=[observer])
    driver.wait(run)
    return run


def at_event(number: int, seen: Seen, do: Callable[[Run], object]) -> Callable[[Run], object]:
    """Do it in that event only."""
    return lambda run: do(run) if len(seen.events) == number else None


def raises(error: BaseException) -> Callable[[Run], object]:
    """What a handler does that raises."""

    def do(run: Run) -> object:
        raise error

    return do


def cancel_in_handler(driver: Driver, flow: Any, shared: Any, seen: Seen, at: int) -> Run:
    return pushed(driver, flow, shared, seen, at_event(at, seen, Run.cancel))


def cancel_in_thread(driver: Driver, flow: Any, shared: Any, seen: Seen, at: int) -> Run:
    return pushed(
        *(driver, flow, shared, seen),
        at_event(at, seen, lambda run: in_thread(run.cancel)),
    )


def close_in_handler(driver: Driver, flow: Any, shared: Any, seen: Seen, at: int) -> Run:
    close = Run.close if driver.loop is None else Run.cancel
    return pushed(driver, flow, shared, seen, at_event(at, seen, close))


def interrupt_in_handler(driver: Driver, flow: Any, shared: Any, seen: Seen, at: int) -> Run | None:
    do = at_event(at, seen, raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt) if at <= size(driver, flow) else nothing():
        pushed(driver, flow, shared, seen, do)
    return None


def cancelled_error_in_handler(
    driver: Driver, flow: Any, shared: Any, seen: Seen, at: int
) -> Run | None:
    do = at_event(at, seen, raises(asyncio.CancelledError()))
    pushed(driver, flow, shared, seen, do)
    return None


def cancel_in_body(driver: Driver, flow: Any, shared: Any, seen: Seen, at: int) -> Run:
    run = Run(flow, shared, observers=[seen])
    body = itertools.count(1)

    def do() -> None:
        if next(body) == at:
            run.cancel()

    each_event(driver, run, do)
    return run
