"""Nodes that know whether they are open, and every kind of flow of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

from flowevents import (
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchNode,
    Flow,
    Node,
    Run,
    StreamNode,
)
from tests.driving import PATIENCE, Driver
from tests.stock import AsyncItems, Items, ParallelItems, chain


class Open:
    """How many nodes are in their code now."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *exc: object) -> None:
        self.count -= 1


is_open = Open()


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


def retried() -> Talk:
    """A node whose first attempt fails."""
    talk = Talk(max_retries=2)
    talk.fails = True
    return talk


SYNC_SHAPES: dict[str, Callable[[], Any]] = {
    "node": Talk,
    "flow": lambda: Flow(chain(Flow(retried()), Node())),
    "batch node": lambda: Flow(TalkBatch()),
    "batch flow": lambda: Items(Items(Talk())),
}
ASYNC_SHAPES: dict[str, Callable[[], Any]] = {
    "flow in a loop": SYNC_SHAPES["flow"],
    "async flow": lambda: AsyncFlow(chain(AsyncFlow(TalkAsync()), Wait())),
    "async batch node": lambda: AsyncFlow(TalkAsyncBatch()),
    "async batch flow": lambda: AsyncItems(Wait()),
    "parallel node": lambda: AsyncFlow(TalkParallel(max_concurrency=2)),
    "parallel waits": lambda: AsyncFlow(chain(WaitParallel(), Node())),
    "parallel flow": lambda: ParallelItems(chain(TalkAsync(), Node())),
    "parallel in parallel": lambda: ParallelItems(AsyncFlow(WaitParallel())),
}


class Held(StreamNode):
    """Yields once, and holds its thread until it may go on; then yields and notes what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.may_go = threading.Event(), threading.Event()

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        with is_open:
            yield "a"
            self.entered.set()
            assert self.may_go.wait(PATIENCE)
            yield "b"
            raise AssertionError("not reached")


class Forever(AsyncNode):
    """Says that it is there, and waits for what never comes."""

    def __init__(self, max_retries: int = 1) -> None:
        super().__init__(max_retries)
        self.entered = asyncio.Event()

    async def exec_async(self, prep_res: Any) -> None:
        self.entered.set()
        with is_open:
            await asyncio.Event().wait()


def slowly(loop: Driver, run: Run) -> None:
    """Take every event, and let the loop turn some times after each."""

    async def main() -> None:
        async for _ in run:
            for _ in range(10):
                await asyncio.sleep(0)

    loop.in_loop(main())
