"""PocketFlow has no events: its users put a callback, a generator or a queue into `shared`."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pocketflow
from pocketflow import AsyncFlow, AsyncNode, Flow, Node

from ..batches import batch_node, parallel_node
from ..chunks import TEXT
from ..measure import Counter, expect
from ..steps import reference
from .concurrent import Hear, at_once
from .peer import Peer
from .works import (
    ASYNC_CHUNK,
    AWAITED_CHUNK,
    CHUNK,
    CONCURRENT,
    ITEM,
    PARALLEL_ITEM,
    QUESTION,
    STEP,
)

PEER = Peer("PocketFlow", "pocketflow", "pocketflow")
CALLBACK, GENERATOR = "a callback in `shared`", "a generator in `shared`"
QUEUE = "an `asyncio.Queue` in `shared`"


class CallsBack(Node):
    """Hands each text to the callback in `shared`."""

    def prep(self, shared: Any) -> Any:
        return shared["callback"], shared["number"]

    def exec(self, prep_res: Any) -> None:
        callback, number = prep_res
        for _ in range(number):
            callback(TEXT)


@PEER.does(CHUNK, units=2_000_000, way=CALLBACK)
def called_back_chunks(number: int) -> None:
    counter = Counter()
    Flow(start=CallsBack()).run({"callback": counter.handler, "number": number})
    expect(counter.count(), number, "the chunks handled")


class Generates(Node):
    """Leaves a generator of the texts in `shared`."""

    def prep(self, shared: Any) -> Any:
        return shared["number"]

    def exec(self, prep_res: Any) -> Iterator[str]:
        return (TEXT for _ in range(prep_res))

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["texts"] = exec_res


@PEER.does(CHUNK, units=2_000_000, way=GENERATOR)
def generated_chunks(number: int) -> None:
    counter, shared = Counter(), {"number": number}
    handler = counter.handler
    Flow(start=Generates()).run(shared)
    for text in shared["texts"]:  # type: ignore[attr-defined]
        handler(text)
    expect(counter.count(), number, "the chunks generated")


class AsyncGenerates(AsyncNode):
    """Leaves an async generator of the texts in `shared`."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["number"], shared["wait"]

    async def exec_async(self, prep_res: Any) -> AsyncIterator[str]:
        number, wait = prep_res

        async def texts() -> AsyncIterator[str]:
            for _ in range(number):
                if wait:
                    await asyncio.sleep(0)
                yield TEXT

        return texts()

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["texts"] = exec_res


class Queues(AsyncNode):
    """Puts the texts into the queue in `shared`, and `None` at the end."""

    async def prep_async(self, shared: Any) -> Any:
        return shared

    async def exec_async(self, prep_res: Any) -> None:
        texts, text = prep_res["queue"], prep_res["text"]
        for _ in range(prep_res["number"]):
            if prep_res["wait"]:
                await asyncio.sleep(0)
            await texts.put(text)
        await texts.put(None)


async def from_generator(shared: Any, hear: Hear) -> None:
    """Run the flow, then iterate over what it has left."""
    await AsyncFlow(start=AsyncGenerates()).run_async(shared)
    async for text in shared["texts"]:
        hear(text)


async def from_queue(shared: Any, hear: Hear) -> None:
    """Run the flow in a task, and take from its queue until `None` comes."""
    shared["queue"] = asyncio.Queue()
    run = asyncio.create_task(AsyncFlow(start=Queues()).run_async(shared))
    while (text := await shared["queue"].get()) is not None:
        hear(text)
    await run


def _async_chunks(way: Any, number: int, wait: bool) -> None:
    counter = Counter()
    asyncio.run(way({"number": number, "wait": wait, "text": TEXT}, counter.handler))
    expect(counter.count(), number, "the chunks handled")


@PEER.does(ASYNC_CHUNK, units=2_000_000, way=GENERATOR)
def generated_async_chunks(number: int) -> None:
    _async_chunks(from_generator, number, wait=False)


@PEER.does(ASYNC_CHUNK, units=200_000, way=QUEUE)
def queued_async_chunks(number: int) -> None:
    _async_chunks(from_queue, number, wait=False)


@PEER.does(AWAITED_CHUNK, units=100_000, way=GENERATOR)
def generated_awaited_chunks(number: int) -> None:
    _async_chunks(from_generator, number, wait=True)


@PEER.does(AWAITED_CHUNK, units=100_000, way=QUEUE)
def queued_awaited_chunks(number: int) -> None:
    _async_chunks(from_queue, number, wait=True)


PEER.does(STEP, units=100_000)(reference)


@PEER.does(ITEM, units=100_000, way="`BatchNode`")
def items(number: int) -> None:
    batch_node(pocketflow, number)


@PEER.does(PARALLEL_ITEM, units=100_000, way="`AsyncParallelBatchNode`")
def parallel_items(number: int) -> None:
    parallel_node(pocketflow, number)


class AsksByQueues(AsyncNode):
    """Asks by one queue and gets the answers by another, both in `shared`."""

    async def prep_async(self, shared: Any) -> Any:
        return shared

    async def exec_async(self, prep_res: Any) -> int:
        total = 0
        for _ in range(prep_res["number"]):
            await prep_res["questions"].put("How many?")
            total += await prep_res["answers"].get()
        await prep_res["questions"].put(None)
        return total

    async def post_async(self, shared: Any, prep_res: Any, exec_res: int) -> None:
        shared["total"] = exec_res


@PEER.does(QUESTION, units=50_000, way="two `asyncio.Queue`s")
def questions(number: int) -> None:
    shared: dict[str, Any] = {"number": number}

    async def answered() -> None:
        shared["questions"], shared["answers"] = asyncio.Queue(), asyncio.Queue()
        run = asyncio.create_task(AsyncFlow(start=AsksByQueues()).run_async(shared))
        while await shared["questions"].get() is not None:
            await shared["answers"].put(1)
        await run

    asyncio.run(answered())
    expect(shared["total"], number, "the answers added up")


class AsksThread(Node):
    """The same in plain code, with queues of threads."""

    def prep(self, shared: Any) -> Any:
        return shared

    def exec(self, prep_res: Any) -> int:
        total = 0
        for _ in range(prep_res["number"]):
            prep_res["questions"].put("How many?")
            total += prep_res["answers"].get()
        prep_res["questions"].put(None)
        return total

    def post(self, shared: Any, prep_res: Any, exec_res: int) -> None:
        shared["total"] = exec_res


@PEER.does(QUESTION, units=20_000, way="two `queue.Queue`s and a thread")
def thread_questions(number: int) -> None:
    shared: dict[str, Any] = {
        "number": number,
        "questions": queue.Queue(),
        "answers": queue.Queue(),
    }
    run = threading.Thread(target=Flow(start=AsksThread()).run, args=(shared,))
    run.start()
    while shared["questions"].get() is not None:
        shared["answers"].put(1)
    run.join()
    expect(shared["total"], number, "the answers added up")


@PEER.does(CONCURRENT, units=100_000, way=QUEUE)
def concurrent(number: int) -> None:
    async def run(text: str, chunks: int, hear: Hear) -> None:
        await from_queue({"number": chunks, "wait": True, "text": text}, hear)

    at_once(run, number)
