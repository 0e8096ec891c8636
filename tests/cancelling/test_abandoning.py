"""Abandoning a run: a block that is left, a stream or an iterator that is dropped."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Chunk,
    Flow,
    FlowEnd,
    Run,
    RunCancelled,
    StreamNode,
)
from tests.cancelling.nodes import Talk, is_open
from tests.driving import PATIENCE, Driver, Seen, driving
from tests.stock import Stop


class GoesOn(StreamNode):
    """Yields until it is closed, which takes another thread."""

    keep_chunks = False

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        with is_open:
            while True:
                yield "a"
                self.entered.set()


def test_a_block_ends_the_run_before_it_is_left(driver: Driver) -> None:
    """`with` guarantees the ends, and lets the consumer's own exception through."""
    seen = Seen()
    run = Run(driver.flow(Talk()), {}, observers=[seen])
    driver.pull(run, 4)

    def body() -> None:
        raise Stop("mine")

    with pytest.raises(Stop, match="mine"):
        driver.inside(run, body)
    assert (run.status, is_open.count) == ("cancelled", 0)
    assert isinstance(run.error, RunCancelled)
    seen.check()


def test_close_waits_for_the_run_that_another_thread_drives() -> None:
    """It returns when the ends have been delivered."""
    node, log = GoesOn(), list[str]()

    class Handler:
        def on_flow_end(self, event: FlowEnd) -> None:
            log.append(event.status)

    run = Run(Flow(node), {}, observers=[Handler()])

    def close() -> None:
        assert node.entered.wait(PATIENCE)
        run.close()
        log.append("closed")

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(RunCancelled):
        run.wait()
    thread.join(PATIENCE)
    assert log == ["cancelled", "closed"]


def test_aclose_waits_for_the_run_that_another_task_drives(loop: Driver) -> None:
    """So does `aclose`, of several tasks at once."""
    log: list[str] = []

    class Tidy(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                log.append("tidy")

    async def close(run: Run) -> None:
        await run.aclose()
        log.append("closed")

    async def main() -> None:
        run = Run(AsyncFlow(Tidy()), {})
        task = asyncio.create_task(run.wait_async())
        await entered.wait()
        await asyncio.gather(close(run), close(run))
        with pytest.raises(RunCancelled):
            await task

    entered = asyncio.Event()
    loop.in_loop(main())
    assert log == ["tidy", "closed", "closed"]


def test_a_stream_is_closed_by_another_thread_while_it_runs() -> None:
    """The consumer is told, after the ends."""
    node, seen = GoesOn(), Seen()
    stream = Flow(node).run_stream({}, observers=[seen])

    def close() -> None:
        assert node.entered.wait(PATIENCE)
        stream.close()
        assert seen.ends() == ["cancelled", "cancelled"]

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(RunCancelled):
        list(stream)
    thread.join(PATIENCE)
    assert stream.run.status == "cancelled"
    seen.check()


def test_a_stream_is_closed_by_another_task_while_it_runs(loop: Driver) -> None:
    """So it is with tasks."""
    seen = Seen()

    class Waits(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            with is_open:
                yield "a"
                entered.set()
                await asyncio.Event().wait()

    async def main() -> None:
        stream = AsyncFlow(Waits()).run_stream_async({}, observers=[seen])

        async def consume() -> list[str]:
            return [text async for text in stream]

        task = asyncio.create_task(consume())
        await entered.wait()
        await stream.aclose()
        assert seen.ends() == ["cancelled", "cancelled"]
        with pytest.raises(RunCancelled):
            await task

    entered = asyncio.Event()
    loop.in_loop(main())
    seen.check()


def test_a_stream_is_closed_by_a_handler(driver: Driver) -> None:
    """Called from within, it only asks for that: the consumer is told after the ends."""
    if driver.loop is not None:
        return  # its close is awaited, and a handler that awaits it would wait for itself
    seen = Seen()

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            stream.close()

    stream = Flow(Talk()).run_stream({}, observers=[seen, Handler()])
    with pytest.raises(RunCancelled):
        list(stream)
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


@pytest.mark.parametrize("through", ["shared", "observer"])
def test_an_abandoned_run_delivers_its_ends_when_it_is_collected(through: str) -> None:
    """A run that nobody can go on with is no leak: its node is closed, its observers hear that."""

    class Knows(Seen):
        run: Run

    seen, knows = Seen(), Knows()
    shared: dict[str, Any] = {}
    run = Run(Flow(Talk()), shared, observers=[seen, knows])
    if through == "shared":
        shared["run"] = run  # a cycle
    else:
        knows.run = run
    Driver(None).pull(run, 4)
    del run, shared, knows
    gc.collect()
    assert is_open.count == 0
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


@pytest.mark.parametrize("count", range(1, 8))
def test_a_run_that_is_dropped_in_a_loop_of_eager_tasks(count: int) -> None:
    """Nothing follows its last event, although the task that ends it begins at once."""
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        pytest.skip("eager tasks are of CPython 3.12")

    class Closes(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            try:
                for word in "abc":
                    self.emit(word)
                    await asyncio.sleep(0)
            finally:
                self.emit("closing")
                await asyncio.sleep(0)
                self.emit("closed")

    class EachCloses(Closes, AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2, 3]

    for node in (Closes, EachCloses):
        with driving("async") as driver:
            assert driver.loop is not None
            driver.loop.set_task_factory(factory)
            seen = Seen()
            run = Run(AsyncFlow(node()), {}, observers=[seen])
            driver.pull(run, count)
            driver.task = None
            del run
            gc.collect()
            driver.settle()
            seen.check()
            assert isinstance(seen.events[-1], FlowEnd)
