"""1,000 async runs of one flow at once, against as many tasks that iterate bare async generators.

Each run streams 100 chunks and awaits once per chunk, so that all of them interleave. Every run has
a text of its own and keeps what it hears: a chunk of another run would be found there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from flowevents import AsyncFlow, AsyncStreamNode, signals
from flowevents.events import Chunk

from .measure import Comparison, expect

RUNS = 1_000
CHUNKS = 100


class Talk(AsyncStreamNode):
    """Yields `shared["text"]` 100 times, and before each lets the other runs have their turn."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["text"]

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        for _ in range(CHUNKS):
            await asyncio.sleep(0)
            yield prep_res


async def bare(text: str) -> AsyncIterator[str]:
    """The bare async generator of the same chunks."""
    for _ in range(CHUNKS):
        await asyncio.sleep(0)
        yield text


class Listener:
    """What one run or task heard: `on_chunk` takes events, `hear` the texts themselves."""

    def __init__(self) -> None:
        self.texts: list[object] = []

    def on_chunk(self, event: Chunk) -> None:
        """Keep the chunk of an event."""
        self.texts.append(event.data)

    def hear(self, text: object) -> None:
        """Keep a text."""
        self.texts.append(text)


Stream = Callable[[AsyncFlow, str, Listener], Coroutine[Any, Any, None]]


async def pushed(flow: AsyncFlow, text: str, listener: Listener) -> None:
    """A run with an observer of its own."""
    await flow.run_async({"text": text}, observers=[listener])


async def pulled(flow: AsyncFlow, text: str, listener: Listener) -> None:
    """A run that is pulled."""
    hear = listener.hear
    async for chunk in flow.run_stream_async({"text": text}):
        hear(chunk)


async def iterated(flow: AsyncFlow, text: str, listener: Listener) -> None:
    """A bare async generator in a task; it knows of no flow."""
    hear = listener.hear
    async for chunk in bare(text):
        hear(chunk)


def all_at_once(stream: Stream, chunks: int) -> None:
    """Stream `chunks` chunks, 100 in each of concurrent tasks, and check that each heard its own
    and no other."""
    flow = AsyncFlow(start=Talk())
    listeners = {f"text of run {i}": Listener() for i in range(-(-chunks // CHUNKS))}

    async def gather() -> None:
        await asyncio.gather(
            *(stream(flow, text, listener) for text, listener in listeners.items())
        )

    receivers = len(signals.chunk.receivers)
    asyncio.run(gather())
    for text, listener in listeners.items():
        expect(listener.texts == [text] * CHUNKS, True, f"what was heard of {text!r} to be its own")
    expect(len(signals.chunk.receivers), receivers, "the receivers left behind")


def _comparison(way: str, stream: Stream) -> Comparison:
    return Comparison(
        f"1,000 concurrent async runs of 100 chunks, {way}, per chunk",
        2.1,
        RUNS * CHUNKS,
        lambda chunks: all_at_once(stream, chunks),
        lambda chunks: all_at_once(iterated, chunks),
    )


WORKS = (
    _comparison("each with an observer", pushed),
    _comparison("each pulled", pulled),
)
