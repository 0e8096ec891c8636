"""A run that has ended goes at once, with all that it held: the garbage collector has no work."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Chunk,
    Journal,
    MemoryJournal,
    NodeEnd,
    Run,
)


class Talk(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"


class Wait(AsyncNode):
    async def exec_async(self, prep_res: Any) -> None:
        await asyncio.sleep(0)


class Three(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2, 3]

    async def exec_async(self, prep_res: int) -> int:
        await asyncio.sleep(0)
        return prep_res


class TalkThree(AsyncStreamNode, Three):
    async def exec_stream_async(self, prep_res: int) -> AsyncIterator[int]:
        yield prep_res
        await asyncio.sleep(0)


class TwoPasses(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, int]]:
        return [{"pass": 1}, {"pass": 2}]


FLOWS: dict[str, Callable[[], Any]] = {
    "stream": lambda: AsyncFlow(Talk()),
    "node": lambda: AsyncFlow(Wait()),
    "items": lambda: AsyncFlow(Three()),
    "items that stream": lambda: AsyncFlow(TalkThree()),
    "passes": lambda: TwoPasses(Talk()),
}


async def unheard(flow: Any, journal: Journal) -> None:
    """Nobody listens."""
    await flow.run_async({})


async def observed(flow: Any, journal: Journal) -> None:
    """By plain and async handlers."""

    class Both:
        def on_chunk(self, event: Chunk) -> None:
            pass

        async def on_node_end(self, event: NodeEnd) -> None:
            await asyncio.sleep(0)

    await flow.run_async({}, observers=[Both()])


async def pulled(flow: Any, journal: Journal) -> None:
    """Every event."""
    async for _ in Run(flow, {}):
        pass


async def streamed(flow: Any, journal: Journal) -> None:
    """Its output."""
    async for _ in flow.run_stream_async({}):
        pass


async def started(flow: Any, journal: Journal) -> None:
    """In the background."""
    await Run(flow, {}).start().wait_async()


async def in_thread(flow: Any, journal: Journal) -> None:
    """In a thread, with a loop of its own."""
    for _ in Run(flow, {}).in_thread():
        pass


async def stored(flow: Any, journal: Journal) -> None:
    """With a journal."""
    await flow.run_async({}, journal=journal)


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    """But those that are asked for."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("way", [unheard, observed, pulled, streamed, started, in_thread, stored])
def test_an_async_run(way: Callable[[Any, Journal], Awaitable[None]], flow: str) -> None:
    """Whatever runs at the same time in it, and whoever drives it."""

    async def main() -> int:
        with MemoryJournal() as journal:
            for _ in range(2):  # the first time imports something
                gc.collect()
                await way(FLOWS[flow](), journal)
                await asyncio.sleep(0)  # the loop has let go of the last task
            return gc.collect()

    assert asyncio.run(main()) == 0
