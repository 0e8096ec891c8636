"""flowevents: nodes that emit events, heard by handlers or pulled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import flowevents
from flowevents import AsyncFlow, AsyncStreamNode, signals

from ..batches import batch_node, parallel_node
from ..chunks import (
    TEXT,
    AsyncForgetfulTalk,
    ForgetfulTalk,
    by_run_stream,
    to_handler,
    to_handler_async,
)
from ..journals import questions_in_sqlite
from ..measure import Counter, expect
from ..questions import answered_by_handler, answered_by_reply
from ..signals import EVENT
from ..steps import observed, unobserved
from .concurrent import Hear, at_once
from .peer import Handler, Peer
from .works import (
    ASYNC_CHUNK,
    AWAITED_CHUNK,
    CHUNK,
    CONCURRENT,
    ITEM,
    KEPT_QUESTION,
    PARALLEL_ITEM,
    QUESTION,
    STEP,
)

PEER = Peer("flowevents", "flowevents", "flowevents")
HANDLER, PULLED = "a handler", "`run_stream`"


@PEER.dispatches(units=1_000_000)
def send(handlers: Sequence[Handler], times: int) -> None:
    for handler in handlers:
        signals.chunk.connect(handler)
    try:
        for _ in range(times):
            signals.chunk.send(EVENT)
    finally:
        for handler in handlers:
            signals.chunk.disconnect(handler)


@PEER.does(CHUNK, units=500_000, way=HANDLER)
def handled_chunks(number: int) -> None:
    to_handler(ForgetfulTalk, number)


@PEER.does(CHUNK, units=500_000, way=PULLED)
def pulled_chunks(number: int) -> None:
    by_run_stream(ForgetfulTalk, number)


@PEER.does(ASYNC_CHUNK, units=500_000, way=HANDLER)
def handled_async_chunks(number: int) -> None:
    to_handler_async(AsyncForgetfulTalk, number)


@PEER.does(ASYNC_CHUNK, units=500_000, way=PULLED)
def pulled_async_chunks(number: int) -> None:
    pull(AsyncForgetfulTalk(), number)


class WaitingTalk(AsyncForgetfulTalk):
    """Before each chunk it lets others have their turn."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        for _ in range(prep_res):
            await asyncio.sleep(0)
            yield TEXT


@PEER.does(AWAITED_CHUNK, units=100_000, way=HANDLER)
def handled_awaited_chunks(number: int) -> None:
    to_handler_async(WaitingTalk, number)


@PEER.does(AWAITED_CHUNK, units=100_000, way=PULLED)
def pulled_awaited_chunks(number: int) -> None:
    pull(WaitingTalk(), number)


def pull(node: AsyncStreamNode, number: int) -> None:
    """The chunks pulled out of `run_stream_async`."""
    counter = Counter()

    async def loop() -> None:
        handler = counter.handler
        async for text in AsyncFlow(start=node).run_stream_async({"size": number}):
            handler(text)

    asyncio.run(loop())
    expect(counter.count(), number, "the chunks pulled")


PEER.does(STEP, units=100_000, way="nobody listening")(unobserved)
PEER.does(STEP, units=100_000, way="an observer of every event")(observed)


@PEER.does(ITEM, units=100_000, way="`BatchNode`")
def items(number: int) -> None:
    batch_node(flowevents, number)


@PEER.does(PARALLEL_ITEM, units=100_000, way="`AsyncParallelBatchNode`")
def parallel_items(number: int) -> None:
    parallel_node(flowevents, number)


PEER.does(QUESTION, units=50_000, way="answered by a handler")(answered_by_handler)
PEER.does(QUESTION, units=50_000, way="`run.reply`, a pause at each")(answered_by_reply)
PEER.does(KEPT_QUESTION, units=2_000, way="`journal.reply`, `SQLiteJournal`")(questions_in_sqlite)


class Talk(AsyncStreamNode):
    """Gives a text so many times, each after the other runs had their turn."""

    async def prep_async(self, shared: Any) -> Any:
        return shared

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        for _ in range(prep_res["chunks"]):
            await asyncio.sleep(0)
            yield prep_res["text"]


class Listener:
    """Hands on what the chunks of its run hold."""

    def __init__(self, hear: Hear) -> None:
        self.hear = hear

    def on_chunk(self, event: flowevents.Chunk) -> None:
        """Hand on a chunk."""
        self.hear(event.data)


@PEER.does(CONCURRENT, units=100_000, way="an observer each")
def observed_runs(number: int) -> None:
    flow = AsyncFlow(start=Talk())

    async def run(text: str, chunks: int, hear: Hear) -> None:
        await flow.run_async({"text": text, "chunks": chunks}, observers=[Listener(hear)])

    at_once(run, number)


@PEER.does(CONCURRENT, units=100_000, way=PULLED)
def pulled_runs(number: int) -> None:
    flow = AsyncFlow(start=Talk())

    async def run(text: str, chunks: int, hear: Hear) -> None:
        async for each in flow.run_stream_async({"text": text, "chunks": chunks}):
            hear(each)

    at_once(run, number)
