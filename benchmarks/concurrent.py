"""1,000 async runs of one flow at once, against as many tasks that iterate bare async generators.

Each run streams 100 chunks and awaits once per chunk, so that all of them interleave. Every run has
a text of its own and keeps what it hears: a chunk of another run would be found there.

Two more lines tell where the time of these goes: 10 runs of 10,000 chunks, which fit into a core's
cache and hardly ever begin, and runs of one chunk, which do nothing else than begin and end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from flowevents import AsyncFlow, AsyncStreamNode, signals
from flowevents.events import Chunk

from .measure import Comparison, expect

SIZE = 100_000


class Talk(AsyncStreamNode):
    """Yields `shared["text"]`, and before each time lets the other runs have their turn."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["text"], shared["chunks"]

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        text, chunks = prep_res
        for _ in range(chunks):
            await asyncio.sleep(0)
            yield text


async def bare(text: str, chunks: int) -> AsyncIterator[str]:
    """The bare async generator of the same chunks."""
    for _ in range(chunks):
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


Stream = Callable[[AsyncFlow, str, int, Listener], Coroutine[Any, Any, None]]


async def pushed(flow: AsyncFlow, text: str, chunks: int, listener: Listener) -> None:
    """A run with an observer of its own."""
    await flow.run_async({"text": text, "chunks": chunks}, observers=[listener])


async def pulled(flow: AsyncFlow, text: str, chunks: int, listener: Listener) -> None:
    """A run that is pulled."""
    hear = listener.hear
    async for chunk in flow.run_stream_async({"text": text, "chunks": chunks}):
        hear(chunk)


async def iterated(flow: AsyncFlow, text: str, chunks: int, listener: Listener) -> None:
    """A bare async generator in a task; it knows of no flow."""
    hear = listener.hear
    async for chunk in bare(text, chunks):
        hear(chunk)


def all_at_once(stream: Stream, runs: int, chunks: int) -> None:
    """Stream so many chunks in each of so many concurrent tasks, and check that each heard its own
    and no other."""
    flow = AsyncFlow(start=Talk())
    listeners = {f"text of run {i}": Listener() for i in range(runs)}

    async def gather() -> None:
        await asyncio.gather(
            *(stream(flow, text, chunks, listener) for text, listener in listeners.items())
        )

    _check_what_is_left(gather)
    for text, listener in listeners.items():
        expect(listener.texts == [text] * chunks, True, f"what was heard of {text!r} to be its own")


def one_after_the_other(stream: Stream, runs: int) -> None:
    """Stream one chunk in each of so many tasks, of which one runs at a time."""
    flow = AsyncFlow(start=Talk())
    listener = Listener()

    async def repeat() -> None:
        for _ in range(runs):
            await stream(flow, "text", 1, listener)

    _check_what_is_left(repeat)
    expect(listener.texts == ["text"] * runs, True, "what was heard")


def _check_what_is_left(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    receivers = len(signals.chunk.receivers)
    asyncio.run(work())
    expect(len(signals.chunk.receivers), receivers, "the receivers left behind")


def _comparisons(way: str, stream: Stream, many: float, one: float | None) -> Iterator[Comparison]:
    """With the targets for 1,000 runs and for one."""

    def at_most(chunks: int) -> Callable[[Stream, int], None]:
        """So many chunks a run, in as many runs as there have to be."""
        return lambda stream, units: all_at_once(stream, -(-units // chunks), min(units, chunks))

    for work, target, size, measured in (
        ("1,000 concurrent async runs of 100 chunks, {}, per chunk", many, SIZE, at_most(100)),
        ("10 concurrent async runs of 10,000 chunks, {}, per chunk", None, SIZE, at_most(10_000)),
        ("an async run of one chunk, {}", one, SIZE // 50, one_after_the_other),
    ):
        yield Comparison(
            work.format(way),
            target,
            size,
            partial(measured, stream),
            partial(measured, iterated),
        )


WORKS = (
    *_comparisons("with an observer", pushed, 2.1, 12),
    *_comparisons("pulled", pulled, 2.6, None),
)
