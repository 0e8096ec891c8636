"""Streaming nodes, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from typing import Any

import pytest

from flowevents import AsyncStreamNode, Chunk, GraphError, Result, Retry, StreamNode
from tests.nodes.words import AsyncWhole, Streams, Whole
from tests.watching import Way


def test_each_yielded_object_is_a_chunk(streams: Streams) -> None:
    """Any object will do, `None` included, and each is sent once, with the first attempt."""
    given = ["a", b"b", 3, None, ["c"], {"d": 1}]
    watched = streams.watch(streams.node(lambda _: iter(given)))
    assert watched.data() == given
    assert {event.attempt for event in watched.of(Chunk)} == {1}


def test_a_generators_return_value_is_exec_res(streams: Streams) -> None:
    """What it returns reaches `post`, and is no chunk."""

    def script(prep_res: Any) -> Generator[str, None, str]:
        yield "a"
        yield "b"
        return f"all of {prep_res}"

    shared: dict[str, Any] = {}
    assert streams.watch(streams.node(script), shared).data() == ["a", "b"]
    assert shared == {"result": "all of prep"}


@pytest.mark.parametrize("value", [0, "", [], False])
def test_a_return_value_may_be_falsy(streams: Streams, value: object) -> None:
    """Only `None` means that nothing was returned."""

    def script(prep_res: Any) -> Generator[str, None, object]:
        yield "a"
        return value

    shared: dict[str, Any] = {}
    streams.run(streams.node(script), shared)
    assert shared["result"] == value
    assert type(shared["result"]) is type(value)


def test_without_a_return_value_exec_res_is_the_list_of_chunks(streams: Streams) -> None:
    """So it is observed and unobserved, also where there is no chunk at all."""
    for chunks in ([1, 2, 3], []):
        shared: dict[str, Any] = {}
        streams.run(streams.node(lambda _, chunks=chunks: iter(chunks)), shared)
        assert shared == {"result": chunks}
        assert streams.watch(streams.node(lambda _, chunks=chunks: iter(chunks))).data() == chunks


def test_no_list_is_kept_where_the_class_says_so(streams: Streams) -> None:
    """With `keep_chunks = False` what reaches `post` is what was returned, or `None`."""

    class Endless(streams.node):  # type: ignore[name-defined]
        keep_chunks = False

    def script(prep_res: Any) -> Generator[int, None, Any]:
        yield from (1, 2)
        return prep_res

    for items, expected in ((None, None), ("end", "end")):
        shared: dict[str, Any] = {}
        assert streams.watch(Endless(script, items), shared).data() == [1, 2]
        assert shared == {"result": expected}


def test_without_a_generator_what_exec_returns_is_the_one_chunk(streams: Streams) -> None:
    """It is `exec_res` itself, not in a list, for handlers, consumers and streams."""
    node = (Whole if streams.name == "sync" else AsyncWhole)()
    shared: dict[str, Any] = {}
    assert streams.watch(node, shared).data() == [["the", "whole"]]
    assert shared == {"result": ["the", "whole"]}
    assert streams.streamed(node) == [["the", "whole"]]


def test_a_streaming_node_without_anything_is_refused(streams: Streams) -> None:
    """Before anything runs; one that an instance has of its own will do."""
    node: Any = (StreamNode if streams.name == "sync" else AsyncStreamNode)()
    watched = streams.watch(node)
    assert isinstance(watched.error, GraphError)
    assert "StreamNode has no exec_stream" in str(watched.error)
    assert watched.events == []

    async def exec_async(prep_res: Any) -> str:
        return "own"

    node.exec, node.exec_async = (lambda prep_res: "own"), exec_async
    assert streams.watch(node).data() == ["own"]


def test_calling_the_inherited_generator_by_hand_gives_what_exec_gives(streams: Streams) -> None:
    """So an override that calls `super()` streams that one chunk."""

    class Around(Whole):
        def exec_stream(self, prep_res: Any) -> Iterable[Any]:
            yield "before"
            yield from super().exec_stream(prep_res)

    class AsyncAround(AsyncWhole):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
            yield "before"
            async for chunk in super().exec_stream_async(prep_res):
                yield chunk

    node = (Around if streams.name == "sync" else AsyncAround)()
    assert streams.watch(node).data() == ["before", ["the", "whole"]]


class Letters:
    """An iterable of letters, and an async one."""

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    async def __aiter__(self) -> AsyncIterator[str]:
        for letter in "ab":
            yield letter


@pytest.mark.parametrize("iterable", [["a", "b"], ("a", "b"), "ab", Letters()])
def test_any_iterable_will_do(streams: Streams, iterable: Any) -> None:
    """What `exec_stream` returns need not be a generator."""

    class Sync(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterable[Any]:
            return iterable  # type: ignore[no-any-return]

        post = Whole.post

    class Async(AsyncStreamNode):
        def exec_stream_async(self, prep_res: Any) -> Any:
            return iterable

        post_async = AsyncWhole.post_async

    shared: dict[str, Any] = {}
    node = (Sync if streams.name == "sync" else Async)()
    assert streams.watch(node, shared).data() == ["a", "b"]
    assert shared == {"result": ["a", "b"]}


@pytest.mark.parametrize("iterable", [["a", "b"], Letters()])
def test_an_async_stream_may_be_a_coroutine_that_returns_an_iterable(iterable: Any) -> None:
    """As `stream = await client.create(stream=True)` gives one."""

    class Created(AsyncStreamNode):
        async def exec_stream_async(  # type: ignore[override]
            self, prep_res: Any
        ) -> Any:
            await asyncio.sleep(0)
            return iterable

    assert Way("async").watch(Created()).data() == ["a", "b"]


def test_something_that_is_no_iterable_is_an_error(streams: Streams) -> None:
    """It fails as an attempt does: it can be tried again, and the run ends well-formed."""

    class Sync(StreamNode):
        def exec_stream(self, prep_res: Any) -> Any:
            return 7

    class Async(AsyncStreamNode):
        def exec_stream_async(self, prep_res: Any) -> Any:
            return 7

    watched = streams.watch((Sync if streams.name == "sync" else Async)(max_retries=2))
    assert isinstance(watched.error, TypeError)
    assert len(watched.of(Retry)) == 1


def test_a_result_may_hold_anything() -> None:
    """`yield Result(None)` gives `None`, not the list of chunks; nothing of it is a chunk."""

    class Said(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
            yield "a"
            yield Result(None)

        post_async = AsyncWhole.post_async

    shared: dict[str, Any] = {}
    assert Way("async").watch(Said(), shared).data() == ["a"]
    assert shared == {"result": None}
    assert repr(Result("x")) == "Result('x')"


def test_a_chunk_after_the_result_is_an_error() -> None:
    """The Result is the last; the error names the node, and the generator is closed."""
    closed = []

    class Late(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
            try:
                yield Result("done")
                yield "too late"
            finally:
                closed.append(True)

    watched = Way("async").watch(Late())
    assert isinstance(watched.error, RuntimeError)
    assert "'Late'" in str(watched.error)
    assert "'too late'" in str(watched.error)
    assert watched.data() == []
    assert closed == [True]


def test_a_second_result_is_an_error_too() -> None:
    """There is one."""

    class Twice(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
            yield Result(1)
            yield Result(2)

    with pytest.raises(RuntimeError, match=r"'Twice'.*Result"):
        Way("async").run(Twice())


def test_a_generator_gets_what_prep_gave(streams: Streams) -> None:
    """Any object, as it is."""
    node = streams.node(lambda prep_res: iter([prep_res]), items=["the", "messages"])
    assert streams.watch(node).data() == [["the", "messages"]]
