"""Nodes that do what a script says, and ways to run them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from flowevents import (
    AsyncBatchNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchNode,
    Node,
    Result,
    StreamNode,
)
from tests.watching import Way

Script = Callable[[Any], Iterator[Any]]
"""What a streaming node does with `prep_res`, written as a generator function."""


class Words(StreamNode):
    """Does what a script says, and keeps what comes of it in `shared["result"]`."""

    def __init__(self, script: Script, items: Any = "prep", **options: Any) -> None:
        super().__init__(**options)
        self.script = script
        self.items = items

    def prep(self, shared: Any) -> Any:
        return self.items

    def exec_stream(self, prep_res: Any) -> Iterable[Any]:
        return self.script(prep_res)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["result"] = exec_res


class AsyncWords(AsyncStreamNode):
    """The same, where each chunk has to be waited for."""

    def __init__(self, script: Script, items: Any = "prep", **options: Any) -> None:
        super().__init__(**options)
        self.script = script
        self.items = items

    async def prep_async(self, shared: Any) -> Any:
        return self.items

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        script = iter(self.script(prep_res))
        while True:
            await asyncio.sleep(0)
            try:
                chunk = next(script)
            except StopIteration as end:
                if end.value is not None:
                    yield Result(end.value)
                return
            yield chunk

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["result"] = exec_res


class WordsBatch(Words, BatchNode):
    pass


class AsyncWordsBatch(AsyncWords, AsyncBatchNode):
    pass


class ParallelWords(AsyncWords, AsyncParallelBatchNode):
    pass


class Streams(Way):
    """A way to run streaming nodes, and the classes of nodes for it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.node: type[Any] = Words if name == "sync" else AsyncWords
        self.batch: type[Any] = WordsBatch if name == "sync" else AsyncWordsBatch


def of_batch(batch: Any) -> Way:
    """The run that such a node needs."""
    return Way("sync" if batch is WordsBatch else "async")


class Whole(StreamNode):
    """Has no generator."""

    def exec(self, prep_res: Any) -> Any:
        return ["the", "whole"]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["result"] = exec_res


class AsyncWhole(AsyncStreamNode):
    """Has none either."""

    async def exec_async(self, prep_res: Any) -> Any:
        await asyncio.sleep(0)
        return ["the", "whole"]

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["result"] = exec_res


def spell(word: str) -> Iterator[str]:
    """The letters of a word."""
    yield from word


class Emitting:
    """What the batches below do with an item."""

    emit: Any
    progress: Any

    def work(self, item: Any) -> Any:
        self.emit(f"item {item}")
        self.progress(1, 1)
        return item


class EmittingBatch(Emitting, BatchNode):
    def prep(self, shared: Any) -> Any:
        return "ab"

    def exec(self, prep_res: Any) -> Any:
        return self.work(prep_res)


class EmittingAsyncBatch(Emitting, AsyncBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "ab"

    async def exec_async(self, prep_res: Any) -> Any:
        await asyncio.sleep(0)
        return self.work(prep_res)


class EmittingParallel(Emitting, AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "ab"

    async def exec_async(self, prep_res: Any) -> Any:
        await asyncio.sleep(0)
        return self.work(prep_res)


class Counting(Node):
    """Writes to itself in every method."""

    def prep(self, shared: Any) -> None:
        assert "scratch" not in vars(self)
        self.scratch = "prep"

    def exec(self, prep_res: Any) -> None:
        self.scratch += " exec"
        if self.cur_retry == 0:
            raise ValueError("once")

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.setdefault("scratch", []).append(self.scratch)
