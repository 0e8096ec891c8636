"""Streaming nodes that are batches."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from flowevents import (
    AsyncBatchNode,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchNode,
    Chunk,
    ItemEnd,
    ItemStart,
    NodeEnd,
    StreamNode,
)
from tests.nodes.words import AsyncWhole, ParallelWords, Whole, of_batch, spell
from tests.stock import Stop
from tests.watching import Way, in_loop


def test_streaming_composes_with_batches(batch: Any) -> None:
    """Each item streams, between its start and its end, and `exec_res` holds each one's own."""
    shared: dict[str, Any] = {}
    watched = of_batch(batch).watch(batch(spell, ["ab", "", "cde"]), shared)
    assert shared == {"result": [["a", "b"], [], ["c", "d", "e"]]}
    assert [event.total for event in watched.of(ItemStart)] == [3, 3, 3]
    assert sorted(event.done for event in watched.of(ItemEnd)) == [1, 2, 3]
    for index, word in enumerate(["ab", "", "cde"]):
        own = [event for event in watched.events if event.items == (index,)]
        assert [event.signal for event in own] == ["item_start", *["chunk"] * len(word), "item_end"]
        assert [event.data for event in own if isinstance(event, Chunk)] == list(word)
        assert {event.span for event in own} == {own[0].seq}


def test_items_of_a_stream_return_values(batch: Any) -> None:
    """Each item's generator may return its own."""

    def script(word: str) -> Generator[str, None, str]:
        yield from word
        return word.upper()

    shared: dict[str, Any] = {}
    of_batch(batch).run(batch(script, ["a", "b"]), shared)
    assert shared == {"result": ["A", "B"]}


@pytest.mark.parametrize("good", [0, 2])
def test_a_batch_whose_items_fail_to_come_ends_well(batch: Any, good: int) -> None:
    """What the generator of items raises is the step's error; no item ends that did not begin."""

    def items() -> Iterator[str]:
        yield from "abcdef"[:good]
        raise Stop("no more")

    watched = of_batch(batch).watch(batch(spell, items()))
    assert isinstance(watched.error, Stop)
    assert [event.status for event in watched.of(NodeEnd)] == ["error"]
    assert len(watched.of(ItemStart)) == len(watched.of(ItemEnd)) <= good


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_a_streaming_batch_may_be_empty(batch: Any, nothing: Any) -> None:
    """No items are no chunks, and an empty list."""
    shared: dict[str, Any] = {}
    watched = of_batch(batch).watch(batch(spell, nothing), shared)
    assert shared == {"result": []}
    assert watched.names() == ["flow_start", "node_start", "node_end", "action", "flow_end"]


def test_a_streaming_batch_without_a_generator(batch: Any) -> None:
    """What `exec` returns is the one chunk of each item, in either order of the base classes."""

    class Upper(StreamNode, BatchNode):
        def prep(self, shared: Any) -> Any:
            return "ab"

        def exec(self, prep_res: Any) -> Any:
            return prep_res.upper()

        post = Whole.post

    class UpperToo(BatchNode, StreamNode):
        prep, exec, post = Upper.prep, Upper.exec, Upper.post

    class AsyncUpper(AsyncStreamNode, AsyncBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return "ab"

        async def exec_async(self, prep_res: Any) -> Any:
            return prep_res.upper()

        post_async = AsyncWhole.post_async

    class ParallelUpper(AsyncParallelBatchNode, AsyncStreamNode):
        async def prep_async(self, shared: Any) -> Any:
            return "ab"

        async def exec_async(self, prep_res: Any) -> Any:
            return prep_res.upper()

        post_async: Any = AsyncWhole.post_async

    for kind in (Upper, UpperToo, AsyncUpper, ParallelUpper):
        shared: dict[str, Any] = {}
        way = Way("async" if issubclass(kind, AsyncNode) else "sync")
        assert way.watch(kind(), shared).data() == ["A", "B"]
        assert shared == {"result": ["A", "B"]}


def test_a_parallel_stream_takes_its_options() -> None:
    """Retries, waits and `max_concurrency` go through the base classes."""
    node = ParallelWords(spell, ["a"], max_retries=3, wait=2, max_concurrency=4)
    assert (node.max_retries, node.wait, node.max_concurrency) == (3, 2, 4)


def test_parallel_streams_interleave() -> None:
    """Chunks of two items come in turns, each item's own in order."""
    chunks = Way("async").watch(ParallelWords(spell, ["abc", "def"])).of(Chunk)
    assert [event.data for event in chunks if event.items == (0,)] == ["a", "b", "c"]
    assert [event.data for event in chunks if event.items == (1,)] == ["d", "e", "f"]
    assert [event.items[0] for event in chunks] != [0, 0, 0, 1, 1, 1]


def test_a_pulled_parallel_batch_runs_no_further_than_it_is_pulled() -> None:
    """Each item holds at most one yielded chunk that nobody took yet."""
    yielded = []

    def script(item: int) -> Iterator[int]:
        for number in range(100):
            yielded.append(item)
            yield number

    async def main() -> None:
        stream = ParallelWords(script, [0, 1, 2]).run_stream_async({})
        taken = 0
        async for _ in stream:
            taken += 1
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(yielded) <= taken + 3
            if taken == 10:
                break
        await stream.aclose()

    in_loop(main)
