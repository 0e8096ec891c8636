"""What is left after a consumer that failed or was cancelled: its task, the run, later calls."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from flowevents import AsyncFlow, AsyncNode, AsyncStreamNode, Chunk, Event, Node, Run, RunCancelled
from tests.driving import Driver, Seen


class Streams(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        yield "a"
        await asyncio.Event().wait()


class Emits(AsyncNode):
    async def exec_async(self, prep_res: Any) -> None:
        self.emit("a")
        await asyncio.Event().wait()


NODES = [Streams, Emits]


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """References alone decide."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def fail() -> None:
    """A body that fails."""
    raise ValueError("no")


async def wait() -> None:
    """A body that waits until its task is cancelled."""
    await asyncio.Event().wait()


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("body", [fail, wait])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_consumer_is_not_kept(
    loop: Driver,
    no_garbage_collection: None,
    streamed: bool,
    kept: bool,
    body: Callable[[], Any],
    node: type[Any],
) -> None:
    """Its task goes, and with it what it has iterated over: a stream is closed then."""
    seen = Seen()
    runs: list[Run] = []

    async def consume() -> None:
        if streamed:
            stream = AsyncFlow(node()).run_stream_async({}, observers=[seen])
            if kept:
                runs.append(stream.run)
            async for _ in stream:
                await body()
            return
        run = Run(AsyncFlow(node()), {}, observers=[seen])
        if kept:
            runs.append(run)
        async for event in run:
            if isinstance(event, Chunk):
                await body()

    async def main() -> weakref.ref[Any]:
        task = asyncio.create_task(consume())
        for _ in range(20):
            await asyncio.sleep(0)
        assert seen.of(Chunk)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or isinstance(task.exception(), ValueError)
        return weakref.ref(task)

    ref = loop.in_loop(main())
    loop.settle()
    assert ref() is None
    left = kept and not streamed  # as by any other way out of the loop
    assert seen.ends() == ([] if left else ["cancelled", "cancelled"])
    for run in runs:
        loop.close(run)
    seen.check()


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("pulled", [True, False])
@pytest.mark.parametrize("by", ["time limit", "cancel"])
def test_later_calls_after_a_cancelled_one(
    loop: Driver, by: str, pulled: bool, node: type[Any]
) -> None:
    """They say that the run was cancelled, not their own task."""
    run = Run(AsyncFlow(node()), {})
    events = aiter(run)

    async def drive() -> None:
        if not pulled:
            await run.wait_async()
        async for _ in events:
            pass

    async def main() -> None:
        if by == "time limit":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await drive()
        else:
            task = asyncio.create_task(drive())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert run.status == "cancelled"
        assert isinstance(run.error, asyncio.CancelledError)
        taken: list[Event] = []
        with pytest.raises(RunCancelled, match=run.id) as caught:
            async for event in events:
                taken.append(event)
        assert caught.value.__cause__ is run.error
        for _ in range(2):
            with pytest.raises(RunCancelled):
                await run.wait_async()

    loop.in_loop(main())


def test_a_second_call_after_a_nodes_own_cancelled_error(driver: Driver) -> None:
    """The first gets what the node has raised, unchanged; it says nothing of a later one's task."""

    class Gives(Node):
        def exec(self, prep_res: Any) -> None:
            raise asyncio.CancelledError("mine")

    run = Run(driver.flow(Gives()), {})
    with pytest.raises(asyncio.CancelledError, match="mine"):
        driver.wait(run)
    with pytest.raises(RunCancelled):
        driver.wait(run)
