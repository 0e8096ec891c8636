"""A chunk of one streaming node, against a bare generator in a loop that calls the same handler.

Each way to hear the chunks is measured with the class attribute `keep_chunks` as it comes (a list
of the chunks is kept for `post`) and with `keep_chunks = False`. All chunks are one short
string, so that making it costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

from flowevents import AsyncFlow, AsyncStreamNode, Flow, Run, StreamNode, signals

from .measure import Comparison, Counter, expect

SIZE = 100_000
TEXT = "token "


class Talk(StreamNode):
    """Yields `shared["size"]` chunks; they are kept for `post`, as by default."""

    def prep(self, shared: Any) -> Any:
        return shared["size"]

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        for _ in range(prep_res):
            yield TEXT

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["kept"] = len(exec_res or ())
        return "said"


class ForgetfulTalk(Talk):
    """The same, and keeps none."""

    keep_chunks = False


class AsyncTalk(AsyncStreamNode):
    """The same as an async generator; they are kept for `post_async`, as by default."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["size"]

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        for _ in range(prep_res):
            yield TEXT

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["kept"] = len(exec_res or ())
        return "said"


class AsyncForgetfulTalk(AsyncTalk):
    """The same, and keeps none."""

    keep_chunks = False


def to_handler(node_class: type[Talk], size: int) -> None:
    """A handler of one node's chunks."""
    counter, node, shared = Counter(), node_class(), {"size": size}
    signals.chunk.connect(counter.handler, sender=node)
    try:
        expect(Flow(start=node).run(shared), "said", "the last action")
    finally:
        signals.chunk.disconnect(counter.handler, sender=node)
    expect(counter.count(), size, "the chunks handled")
    check_kept(node, shared)


def by_run_stream(node_class: type[Talk], size: int) -> None:
    """The chunks pulled out of `run_stream`."""
    counter, node, shared = Counter(), node_class(), {"size": size}
    handler = counter.handler
    for text in Flow(start=node).run_stream(shared):
        handler(text)
    expect(counter.count(), size, "the chunks pulled")
    check_kept(node, shared)


def by_events(node_class: type[Talk], size: int) -> None:
    """Every event pulled out of a `Run`."""
    counter, node, shared = Counter(), node_class(), {"size": size}
    handler = counter.handler
    for event in Run(Flow(start=node), shared):
        handler(event)
    # The start and the end of the flow and of the node, and the action.
    expect(counter.count(), size + 5, "the events pulled")
    check_kept(node, shared)


def unheard(node_class: type[Talk], size: int) -> None:
    """Nobody listens: the generator runs to its end."""
    node, shared = node_class(), {"size": size}
    expect(Flow(start=node).run(shared), "said", "the last action")
    check_kept(node, shared)


def to_handler_async(node_class: type[AsyncTalk], size: int) -> None:
    """A handler of one node's chunks, in an async flow."""
    counter, node, shared = Counter(), node_class(), {"size": size}
    signals.chunk.connect(counter.handler, sender=node)
    try:
        expect(asyncio.run(AsyncFlow(start=node).run_async(shared)), "said", "the last action")
    finally:
        signals.chunk.disconnect(counter.handler, sender=node)
    expect(counter.count(), size, "the chunks handled")
    check_kept(node, shared)


def check_kept(node: Talk | AsyncTalk, shared: dict[str, int]) -> None:
    """The chunks that reached `post`: all of them, or none where the class keeps none."""
    expect(shared["kept"], shared["size"] if node.keep_chunks else 0, "the chunks kept")


def tokens(size: int) -> Iterator[str]:
    """The bare generator."""
    for _ in range(size):
        yield TEXT


async def tokens_async(size: int) -> AsyncIterator[str]:
    """The bare async generator."""
    for _ in range(size):
        yield TEXT


def bare_loop(size: int) -> None:
    """The reference: a handler called in a loop over a generator."""
    counter = Counter()
    handler = counter.handler
    for text in tokens(size):
        handler(text)
    expect(counter.count(), size, "the chunks handled")


def bare_async_loop(size: int) -> None:
    """The async reference."""
    counter = Counter()

    async def loop() -> None:
        handler = counter.handler
        async for text in tokens_async(size):
            handler(text)

    asyncio.run(loop())
    expect(counter.count(), size, "the chunks handled")


def _both(
    work: str, target: float, way: Callable[[type[Talk], int], None]
) -> tuple[Comparison, Comparison]:
    return (
        Comparison(work, target, SIZE, partial(way, Talk), bare_loop),
        Comparison(f"{work}, none kept", target, SIZE, partial(way, ForgetfulTalk), bare_loop),
    )


WORKS = (
    *_both("a chunk to one per-node handler, sync", 6, to_handler),
    *_both("a chunk pulled by `run_stream`, sync", 4.5, by_run_stream),
    *_both("a chunk pulled by `for event in Run(...)`", 8, by_events),
    *_both("a chunk, nobody listening", 1.5, unheard),
    Comparison(
        "a chunk to one handler, async",
        4,
        SIZE,
        partial(to_handler_async, AsyncTalk),
        bare_async_loop,
    ),
    Comparison(
        "a chunk to one handler, async, none kept",
        4,
        SIZE,
        partial(to_handler_async, AsyncForgetfulTalk),
        bare_async_loop,
    ),
)
