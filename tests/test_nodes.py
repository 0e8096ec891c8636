"""Nodes: streams in all their forms, retries, batches, `emit` and `progress`, copies."""

from __future__ import annotations

import asyncio
import copy
import itertools
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from flowevents import (
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BaseNode,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    GraphError,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    Progress,
    Result,
    Retry,
    Run,
    RunCancelled,
    StreamNode,
    signals,
)
from flowevents.testing import ManualClock, check_events
from tests.driving import PATIENCE, in_thread
from tests.graphs import Watched, Way, in_loop

Script = Callable[[Any], Iterator[Any]]
"""What a streaming node does with `prep_res`, written as a generator function."""


class Stop(Exception):
    """What the tests raise where they raise something of their own."""


# -- streaming nodes, sync and async --------------------------------------------------------------


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


@pytest.fixture(params=["sync", "async"])
def streams(request: pytest.FixtureRequest) -> Streams:
    """Streaming nodes of either kind, in a run of their kind."""
    return Streams(request.param)


@pytest.fixture(params=[WordsBatch, AsyncWordsBatch, ParallelWords])
def batch(request: pytest.FixtureRequest) -> Any:
    """A class of streaming nodes that are batches: sync, async and parallel."""
    return request.param


def of_batch(batch: Any) -> Way:
    """The run that such a node needs."""
    return Way("sync" if batch is WordsBatch else "async")


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


def test_without_a_generator_what_exec_returns_is_the_one_chunk(streams: Streams) -> None:
    """It is `exec_res` itself, not in a list, for handlers, pullers and streams."""
    node = (Whole if streams.name == "sync" else AsyncWhole)()
    shared: dict[str, Any] = {}
    assert streams.watch(node, shared).data() == [["the", "whole"]]
    assert shared == {"result": ["the", "whole"]}
    assert streams.streamed(node) == [["the", "whole"]]


def test_a_streaming_node_without_anything_has_the_chunk_none(streams: Streams) -> None:
    """`exec` returns `None`, which is the one chunk."""
    node = (StreamNode if streams.name == "sync" else AsyncStreamNode)()
    assert streams.watch(node).data() == [None]


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


# -- streams and batches --------------------------------------------------------------------------


def spell(word: str) -> Iterator[str]:
    """The letters of a word."""
    yield from word


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


# -- the forms of run_stream ----------------------------------------------------------------------


def plan_and_act(streams: Streams) -> Any:
    """A flow that loops over two streaming nodes with a plain one between: plan, act, plan …"""
    rounds = itertools.count(1)

    class Plan(streams.node):  # type: ignore[name-defined]
        pass

    class Act(streams.node):  # type: ignore[name-defined]
        pass

    class Check(Node):
        def exec(self, prep_res: Any) -> Any:
            return "not a chunk"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return "again" if next(rounds) < 2 else "enough"

    plan, act, check = Plan(lambda _: iter("pl")), Act(lambda _: iter("a")), Check()
    plan >> act >> check
    check - "again" >> plan
    return (Flow if streams.name == "sync" else AsyncFlow)(start=plan)


SEEN = [("p", "Plan"), ("l", "Plan"), ("a", "Act")]


def call_back(streams: Streams, node: Any, callback: Any, **options: Any) -> Any:
    """`run_stream` with a callback."""
    if streams.name == "sync":
        return node.run_stream({}, callback=callback, **options)
    return in_loop(lambda: node.run_stream_async({}, callback=callback, **options))


def test_a_node_streams_to_a_callback(streams: Streams) -> None:
    """`node.run_stream(shared, callback=f)` calls `f(chunk, node_name)` and gives the action."""
    seen: list[tuple[Any, str]] = []
    node = streams.node(spell, "ab")
    assert call_back(streams, node, lambda *chunk: seen.append(chunk)) is None
    assert seen == [("a", node.node_name), ("b", node.node_name)]


@pytest.mark.filterwarnings("ignore:Flow ends")
def test_a_flow_streams_to_a_callback(streams: Streams) -> None:
    """Regular and streaming nodes mixed, in a loop."""
    seen: list[tuple[Any, str]] = []
    action = call_back(streams, plan_and_act(streams), lambda *chunk: seen.append(chunk))
    assert action == "enough"
    assert seen == [*SEEN, *SEEN]


@pytest.mark.filterwarnings("ignore:Flow ends")
def test_without_a_callback_the_chunks_are_iterated_over(streams: Streams) -> None:
    """`for chunk in flow.run_stream(shared)`."""
    assert streams.streamed(plan_and_act(streams)) == ["p", "l", "a"] * 2


@pytest.mark.filterwarnings("ignore:Flow ends")
def test_the_action_is_the_generators_return_value() -> None:
    """`action = yield from flow.run_stream(shared)` inside another generator."""

    def outer() -> Generator[Any, None, str]:
        action = yield from plan_and_act(Streams("sync")).run_stream({})
        yield f"ended with {action}"
        return "done"

    assert list(outer()) == [*["p", "l", "a"] * 2, "ended with enough"]


@pytest.mark.filterwarnings("ignore:Flow ends")
def test_the_callback_none_runs_to_the_end(streams: Streams) -> None:
    """It gives the action, not a stream."""
    assert call_back(streams, plan_and_act(streams), None) == "enough"


def test_only_output_chunks_are_streamed(way: Way) -> None:
    """What is emitted as another kind is for handlers; any node's `emit` of output is streamed."""

    class Emits(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("shown")
            self.emit("not shown", kind="log")
            self.progress(1, 2)

    assert way.streamed(Emits()) == ["shown"]


def test_what_a_callback_raises_cancels_the_run_and_is_raised(streams: Streams) -> None:
    """No retry and no `except Exception` of the node sees it, and its generator is closed."""
    closed = []
    events: list[Event] = []

    def script(prep_res: Any) -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        except Exception:
            closed.append("caught")
        finally:
            closed.append("closed")

    def callback(chunk: str, node: str) -> None:
        raise Stop(chunk)

    node = streams.node(script, max_retries=3)
    with pytest.raises(Stop, match="a"):
        call_back(streams, node, callback, observers=[events.append])
    check_events(events)
    assert [event.status for event in events if isinstance(event, NodeEnd)] == ["cancelled"]
    assert closed == ["closed"]


def test_an_async_callback_gets_what_a_node_emitted_before_it_failed() -> None:
    """It waits for its turn, which comes although nobody hears of the failure."""
    seen: list[Any] = []

    class Fails(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("before")
            raise Stop("failed")

    async def callback(chunk: Any, node: str) -> None:
        await asyncio.sleep(0)
        seen.append(chunk)

    with pytest.raises(Stop, match="failed"):
        call_back(Streams("async"), Fails(), callback)
    assert seen == ["before"]


# -- retries --------------------------------------------------------------------------------------


def failing(times: int) -> Script:
    """A script that says its attempt and fails so many times."""
    attempts = itertools.count(1)

    def script(prep_res: Any) -> Iterator[str]:
        attempt = next(attempts)
        yield f"try {attempt}"
        if attempt <= times:
            raise ValueError(f"failed {attempt}")

    return script


def test_a_retry_voids_the_chunks_of_its_attempt(streams: Streams) -> None:
    """The chunks carry their attempt, a `Retry` ends one, and only the last one's are kept."""
    shared: dict[str, Any] = {}
    watched = streams.watch(streams.node(failing(2), max_retries=3), shared)
    assert shared == {"result": ["try 3"]}
    assert [(event.signal, event.attempt) for event in watched.events] == [
        ("flow_start", 0),
        ("node_start", 1),
        ("chunk", 1),
        ("retry", 1),
        ("chunk", 2),
        ("retry", 2),
        ("chunk", 3),
        ("node_end", 3),
        ("action", 3),
        ("flow_end", 0),
    ]
    assert [(event.error, event.fallback) for event in watched.of(Retry)] == [
        ("ValueError: failed 1", False),
        ("ValueError: failed 2", False),
    ]


def test_the_last_failure_is_the_runs_error(streams: Streams) -> None:
    """It is raised as it was, after the ends."""
    watched = streams.watch(streams.node(failing(2), max_retries=2))
    assert isinstance(watched.error, ValueError)
    assert str(watched.error) == "failed 2"
    assert watched.names()[-3:] == ["chunk", "node_end", "flow_end"]
    assert [(e.status, e.error) for e in watched.of(NodeEnd, FlowEnd)] == [
        ("error", "ValueError: failed 2"),
        ("error", "ValueError: failed 2"),
    ]


def test_waits_go_by_the_clock(streams: Streams) -> None:
    """Between two attempts, as the `Retry` says, and not after the last."""
    clock = ManualClock(1_000)
    watched = streams.watch(streams.node(failing(9), max_retries=3, wait=2.5), clock=clock)
    assert clock.sleeps == [2.5, 2.5]
    assert [event.wait for event in watched.of(Retry)] == [2.5, 2.5]
    (end,) = watched.of(NodeEnd)
    assert (end.time, end.duration) == (1_005, 5)


def test_a_fallback_of_its_own_is_an_attempt(way: Way) -> None:
    """What it emits belongs to it, its result is `exec_res`, and a `Retry` announces it."""

    class Careful(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit(f"try {self.cur_retry}")
            raise ValueError("no")

        def exec_fallback(self, prep_res: Any, exc: Exception) -> str:
            self.emit(f"instead of {exc}")
            return "fallback"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    watched = way.watch(Careful(max_retries=2, wait=1), shared, clock=ManualClock())
    assert shared == {"result": "fallback"}
    assert [(event.data, event.attempt) for event in watched.of(Chunk)] == [
        ("try 0", 1),
        ("try 1", 2),
        ("instead of no", 3),
    ]
    assert [(event.fallback, event.wait) for event in watched.of(Retry)] == [
        (False, 1),
        (True, 0),
    ]
    assert [(event.attempt, event.status) for event in watched.of(NodeEnd)] == [(3, "ok")]


def test_a_fallback_that_raises_ends_the_step(way: Way) -> None:
    """With what it raised, in the attempt that it is."""

    class Careless(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("no")

        def exec_fallback(self, prep_res: Any, exc: Exception) -> None:
            raise KeyError("worse") from exc

    watched = way.watch(Careless())
    assert isinstance(watched.error, KeyError)
    assert isinstance(watched.error.__cause__, ValueError)
    assert [(event.attempt, event.status) for event in watched.of(NodeEnd)] == [(2, "error")]


def test_the_inherited_fallback_is_no_attempt(way: Way) -> None:
    """Where a class does not define one, the last failure ends the step."""

    class Plain(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("no")

    watched = way.watch(Plain())
    assert watched.of(Retry) == []
    assert [event.attempt for event in watched.of(NodeEnd)] == [1]


def test_attempts_are_counted_per_item(batch: Any) -> None:
    """Each item begins at 1, has its own `Retry`, and its end carries its last."""
    tries: dict[str, int] = {}

    def script(word: str) -> Iterator[str]:
        tries[word] = tries.get(word, 0) + 1
        yield word
        if tries[word] < len(word):
            raise ValueError(word)

    shared: dict[str, Any] = {}
    watched = of_batch(batch).watch(batch(script, ["a", "bbb", "cc"], max_retries=3), shared)
    assert shared == {"result": [["a"], ["bbb"], ["cc"]]}
    for index, attempts in enumerate((1, 3, 2)):
        own = [event for event in watched.events if event.items == (index,)]
        chunks = [event.attempt for event in own if isinstance(event, Chunk)]
        assert chunks == list(range(1, attempts + 1))
        assert own[-1].attempt == attempts
    assert [event.attempt for event in watched.of(NodeEnd)] == [1]


def test_each_parallel_item_has_its_own_cur_retry() -> None:
    """Also where items fail at the same time and wait for each other."""
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}

    class Counts(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return [0, 1, 2]

        async def exec_async(self, prep_res: int) -> int:
            for _ in range(prep_res + 1):
                seen[prep_res].append(self.cur_retry)
                await asyncio.sleep(0)
            assert self.cur_retry == seen[prep_res][-1]
            if self.cur_retry < prep_res:
                raise ValueError("again")
            return self.cur_retry

        async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> str:
            seen[prep_res].append(self.cur_retry)
            return "fell back"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    Way("async").run(Counts(max_retries=2), shared)
    assert shared == {"result": [0, 1, "fell back"]}
    assert seen == {0: [0], 1: [0, 0, 1, 1], 2: [0, 0, 0, 1, 1, 1, 1]}


@pytest.mark.parametrize("kind", [Node, BatchNode, StreamNode, AsyncNode, AsyncParallelBatchNode])
def test_numbers_that_make_no_sense_are_refused(kind: type[Any]) -> None:
    """As pocketflow's repository does, with a text that says what to do."""
    with pytest.raises(ValueError, match=r"max_retries must be at least 1, not 0"):
        kind(max_retries=0)
    with pytest.raises(ValueError, match=r"wait must be non-negative, not -1"):
        kind(wait=-1)


def test_a_limit_of_no_items_is_refused() -> None:
    """`None` is no limit."""
    with pytest.raises(ValueError, match=r"max_concurrency must be at least 1, not 0.*None"):
        AsyncParallelBatchNode(max_concurrency=0)


# -- parallel batches -----------------------------------------------------------------------------


class Gate(AsyncParallelBatchNode):
    """Counts how many items run at once; items are drawn from a generator."""

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size
        self.log: dict[str, int] = {"drawn": 0, "running": 0, "most": 0, "ahead": 0}

    async def prep_async(self, shared: Any) -> Any:
        return self.draw()

    def draw(self) -> Iterator[int]:
        """The items, of which none is drawn before there is room for it."""
        for item in range(self.size):
            self.log["drawn"] += 1
            self.log["ahead"] = max(self.log["ahead"], self.log["running"])
            yield item

    async def exec_async(self, prep_res: int) -> int:
        log = self.log
        log["running"] += 1
        log["most"] = max(log["most"], log["running"])
        for _ in range(prep_res % 3 + 1):
            await asyncio.sleep(0)
        log["running"] -= 1
        return prep_res

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["result"] = exec_res


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_items_are_drawn_lazily_under_the_limit(limit: int) -> None:
    """Never more than `max_concurrency` run at once, and the results are in order."""
    node = Gate(20, max_concurrency=limit)
    shared: dict[str, Any] = {}
    watched = Way("async").watch(node, shared)
    assert shared["result"] == list(range(20))
    assert node.log["most"] == limit
    assert node.log["ahead"] < limit
    assert {event.total for event in watched.of(ItemStart)} == {None}


def test_without_a_limit_all_items_run_at_once() -> None:
    """As in pocketflow."""
    node = Gate(20)
    Way("async").run(node)
    assert node.log["most"] == 20


def test_a_limit_that_is_never_reached_changes_nothing() -> None:
    """An endless batch is drawn only as far as it is worked off."""

    class Endless(Gate):
        def draw(self) -> Iterator[int]:
            for item in itertools.count():
                self.log["drawn"] += 1
                if item == 50:
                    raise Stop("enough")
                yield item

    node = Endless(0, max_concurrency=3)
    watched = Way("async").watch(node)
    assert isinstance(watched.error, Stop)
    assert node.log["most"] == 3


class Siblings(AsyncParallelBatchNode):
    """One item fails while the others wait for something that never comes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.log: list[str] = []

    async def prep_async(self, shared: Any) -> Any:
        return ["first", "fails", "last"]

    async def exec_async(self, prep_res: str) -> None:
        if prep_res == "fails":
            await asyncio.sleep(0)
            raise ValueError("item failed")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.log.append(f"{prep_res} is cancelled")
            self.emit(f"last words of {prep_res}", kind="log")
            for _ in range(3):
                await asyncio.sleep(0)
            self.log.append(f"{prep_res} has cleaned up")
            raise


def test_siblings_are_cancelled_and_awaited_before_the_error_is_raised() -> None:
    """They can clean up, also where that takes a while; nothing comes after the run's end."""
    node = Siblings()
    watched = Way("async").watch(node)
    assert isinstance(watched.error, ValueError)
    assert sorted(node.log) == sorted(
        f"{name} {what}"
        for name in ("first", "last")
        for what in ("is cancelled", "has cleaned up")
    )
    assert {(e.items, e.status) for e in watched.of(ItemEnd)} == {
        ((0,), "cancelled"),
        ((1,), "error"),
        ((2,), "cancelled"),
    }
    assert watched.names()[-2:] == ["node_end", "flow_end"]


def test_no_item_begins_after_one_has_failed() -> None:
    """Those that were not drawn yet are never drawn."""
    begun = []

    class Some(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(10)

        async def exec_async(self, prep_res: int) -> None:
            begun.append(prep_res)
            await asyncio.sleep(0)
            if prep_res == 1:
                raise ValueError("failed")
            await asyncio.Event().wait()

    with pytest.raises(ValueError, match="failed"):
        Way("async").run(Some(max_concurrency=2))
    assert begun == [0, 1]


# -- emit and progress ----------------------------------------------------------------------------


def test_events_from_exec_belong_to_the_step(way: Way) -> None:
    """They come at once, between its start and its end, and never enter `exec_res`."""
    heard: list[Event] = []

    class Emits(Node):
        def prep(self, shared: Any) -> None:
            self.emit("from prep")
            assert len(heard) == 3

        def exec(self, prep_res: Any) -> str:
            self.emit("from exec", kind="log")
            self.progress(1)
            self.progress(2, 4, "half")
            assert len(heard) == 6
            return "result"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            self.emit("from post")
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    way.run(Emits(), shared, observers=[heard.append])
    check_events(heard)
    assert shared == {"result": "result"}
    inside = heard[2:-3]
    assert {(event.node, event.step, event.span, event.attempt) for event in inside} == {
        ("Emits", 1, heard[1].seq, 1)
    }
    assert [(e.data, e.kind) for e in inside if isinstance(e, Chunk)] == [
        ("from prep", "output"),
        ("from exec", "log"),
        ("from post", "output"),
    ]
    assert [(e.done, e.total, e.label) for e in inside if isinstance(e, Progress)] == [
        (1, None, ""),
        (2, 4, "half"),
    ]


def test_a_streaming_node_may_emit_between_its_chunks(streams: Streams) -> None:
    """What it emits stands where it was emitted, and is not kept."""

    class Emits(streams.node):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__(self.say)

        def say(self, prep_res: Any) -> Iterator[str]:
            yield "a"
            self.emit("note", kind="log")
            yield "b"

    shared: dict[str, Any] = {}
    watched = streams.watch(Emits(), shared)
    assert [event.data for event in watched.of(Chunk)] == ["a", "note", "b"]
    assert shared == {"result": ["a", "b"]}


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


@pytest.mark.parametrize("kind", [EmittingBatch, EmittingAsyncBatch, EmittingParallel])
def test_events_from_a_batch_belong_to_the_item(kind: type[Any]) -> None:
    """In sync, async and parallel batches."""
    way = Way("async" if issubclass(kind, AsyncNode) else "sync")
    watched = way.watch(kind())
    starts = {event.items: event.seq for event in watched.of(ItemStart)}
    assert [(e.data, e.items, e.span) for e in watched.of(Chunk)] == [
        ("item a", (0,), starts[0,]),
        ("item b", (1,), starts[1,]),
    ]


def test_events_from_prep_and_post_of_a_batch_belong_to_the_step(way: Way) -> None:
    """They stand outside the items."""

    class Around(EmittingBatch):
        def prep(self, shared: Any) -> Any:
            self.emit("prep")
            return "ab"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            self.emit("post")

    chunks = way.watch(Around()).of(Chunk)
    assert [(event.data, event.items) for event in chunks] == [
        ("prep", ()),
        ("item a", (0,)),
        ("item b", (1,)),
        ("post", ()),
    ]


def test_tasks_that_an_item_starts_emit_for_it() -> None:
    """Their context is the item's."""

    class Gathers(EmittingParallel):
        async def exec_async(self, prep_res: Any) -> Any:
            async def part(number: int) -> None:
                await asyncio.sleep(0)
                self.emit(f"{prep_res}{number}")

            await asyncio.gather(part(1), part(2))

    chunks = Way("async").watch(Gathers()).of(Chunk)
    assert sorted((event.data, event.items) for event in chunks) == [
        ("a1", (0,)),
        ("a2", (0,)),
        ("b1", (1,)),
        ("b2", (1,)),
    ]


@pytest.mark.parametrize("in_flow", [False, True])
def test_another_threads_events_come_at_once_while_plain_code_runs(in_flow: bool) -> None:
    """In a sync run of a node or a flow they are delivered in that thread, one by one."""
    heard: list[tuple[str, str]] = []

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            in_thread(lambda: self.emit("from a thread"))
            assert [data for data, _ in heard] == ["from a thread"]
            self.emit("from the run")

    def handler(event: Chunk) -> None:
        heard.append((event.data, threading.current_thread().name))

    node = Works()
    with signals.chunk.connected_to(handler, node):
        (Flow(start=node) if in_flow else node).run({})
    assert [data for data, _ in heard] == ["from a thread", "from the run"]
    assert heard[0][1] != heard[1][1] == threading.current_thread().name


@pytest.mark.parametrize("in_flow", [False, True])
def test_another_threads_events_come_at_the_next_chunk_of_a_stream(in_flow: bool) -> None:
    """While a node streams in a sync run they wait for its next chunk, before which they come."""
    heard: list[str] = []

    class Talks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "a"
            in_thread(lambda: self.emit("from a thread", kind="log"))
            assert heard == ["a"]
            yield "b"
            in_thread(lambda: self.emit("at the end", kind="log"))
            assert heard == ["a", "from a thread", "b"]

    watched = Watched()
    talks = Talks()
    (Flow(start=talks) if in_flow else talks).run(
        {}, observers=[watched.events.append, Hears(heard)]
    )
    check_events(watched.events)
    assert heard == ["a", "from a thread", "b", "at the end"]


class Hears:
    """Collects what chunks hold."""

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    def on_chunk(self, event: Chunk) -> None:
        """Note it."""
        self.heard.append(event.data)


def test_another_threads_events_come_on_the_loop() -> None:
    """In an async run, in order, in the loop's thread."""
    threads: set[int] = set()
    heard: list[str] = []

    class Works(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            def work() -> None:
                for number in range(3):
                    self.emit(f"{number} from a thread")

            await asyncio.to_thread(work)

    class Notes(Hears):
        def on_chunk(self, event: Chunk) -> None:
            super().on_chunk(event)
            threads.add(threading.get_ident())

    Way("async").run(Works(), observers=[Notes(heard)])
    assert heard == ["0 from a thread", "1 from a thread", "2 from a thread"]
    assert threads == {threading.get_ident()}


class FromAThread(AsyncNode):
    """Emits from a thread, whose end it waits for without giving the loop a turn."""

    def emit_there(self, data: Any) -> None:
        in_thread(lambda: self.emit(data, kind="there"))

    async def exec_async(self, prep_res: Any) -> Any:
        self.emit_there(prep_res)
        if self.cur_retry == 0 and self.max_retries > 1:
            raise ValueError("again")
        return prep_res


class EachFromAThread(FromAThread, AsyncBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "ab"


class AllFromAThread(FromAThread, AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "ab"


class ChunkFromAThread(FromAThread, AsyncStreamNode):
    """What it gives is a chunk as well."""


class ThenItself(FromAThread):
    async def exec_async(self, prep_res: Any) -> None:
        self.emit_there("thread")
        self.progress(1)


class PostFromAThread(FromAThread):
    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        self.emit_there("post")


@pytest.mark.parametrize(
    ("node", "kinds"),
    [
        (FromAThread(), "node_start chunk node_end"),
        (FromAThread(max_retries=2), "node_start chunk retry chunk node_end"),
        (ThenItself(), "node_start chunk progress node_end"),
        (PostFromAThread(), "node_start chunk chunk node_end"),
        (ChunkFromAThread(), "node_start chunk chunk node_end"),
        (EachFromAThread(), "node_start" + " item_start chunk item_end" * 2 + " node_end"),
        (
            AllFromAThread(max_retries=2),
            "node_start" + " item_start chunk retry chunk item_end" * 2 + " node_end",
        ),
    ],
    ids=["once", "retried", "itself", "post", "chunk", "batch", "parallel"],
)
def test_another_threads_events_come_before_what_comes_after_them(node: Any, kinds: str) -> None:
    """Where the loop had no turn in between; as where an executor's future was done at once."""
    watched = Way("async").watch(node)
    assert watched.names()[1:-2] == kinds.split()
    assert [event.kind for event in watched.of(Chunk)][:1] == ["there"]


@pytest.mark.parametrize("node", [FromAThread(), EachFromAThread(), AllFromAThread()])
def test_what_a_handler_of_them_raises_ends_what_is_open(node: Any) -> None:
    """Each with the error, once, and counted once."""
    seen: list[Event] = []

    def stop(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Chunk):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(Run(AsyncFlow(node), {}, observers=[stop]).wait_async())
    check_events(seen)


class WaitsForWhoHears(AsyncNode):
    """Waits until somebody who is awaited has heard what a thread of its own emits."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Event()

    async def exec_async(self, prep_res: Any) -> None:
        emitting = asyncio.create_task(asyncio.to_thread(self.emit, prep_res, "there"))
        await self.heard.wait()
        await emitting


class AllWaitForWhoHears(WaitsForWhoHears, AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "ab"


@pytest.mark.parametrize("pulled", [False, True])
@pytest.mark.parametrize("kind", [WaitsForWhoHears, AllWaitForWhoHears])
def test_a_handler_is_awaited_while_the_node_waits(kind: Any, pulled: bool) -> None:
    """Once for each, and before whatever comes next."""
    seen: list[Event] = []
    heard: list[Any] = []

    async def main() -> None:
        node = kind()

        async def hear(event: Chunk) -> None:
            await asyncio.sleep(0)
            heard.append(event.data)
            node.heard.set()

        run = Run(node, {}, observers=[seen.append, SimpleNamespace(on_chunk=hear)])
        if pulled:
            assert [event async for event in run] == seen
        else:
            await run.wait_async()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert sorted(map(str, heard)) == (["None"] if kind is WaitsForWhoHears else ["a", "b"])
    check_events(seen)


@pytest.mark.parametrize("kind", [WaitsForWhoHears, AllWaitForWhoHears])
def test_a_cancel_waits_for_a_handler_that_is_awaited_meanwhile(kind: Any) -> None:
    """And then ends the node that waits, too."""
    seen: list[Event] = []
    heard: list[Any] = []

    async def main() -> None:
        async def hear(event: Chunk) -> None:
            run.cancel()
            await asyncio.sleep(0)
            heard.append(event.data)

        run = Run(kind(), {}, observers=[seen.append, SimpleNamespace(on_chunk=hear)])
        with pytest.raises(RunCancelled):
            await run.wait_async()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert heard
    check_events(seen)
    assert [event.status for event in seen if isinstance(event, FlowEnd)] == ["cancelled"]


@pytest.mark.parametrize("how", ["cancel", "aclose", "in the handler"])
def test_a_run_that_is_left_is_cancelled_while_a_handler_is_awaited(how: str) -> None:
    """Of what a thread emits, while nobody drives the run: first the handler ends, then the run."""
    seen: list[Event] = []
    log: list[str] = []

    class Streams(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[int]:
            emitting = asyncio.create_task(asyncio.to_thread(self.emit, "x", "there"))
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                await emitting
                log.append("node")

    async def main() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def hear(event: Chunk) -> None:
            if event.kind == "there":
                begun.set()
                if how == "in the handler":
                    await run.aclose()
                await go_on.wait()
                log.append("handler")

        run = Run(Streams(), {}, observers=[seen.append, SimpleNamespace(on_chunk=hear)])
        async for event in run:
            if isinstance(event, Chunk):
                break
        await begun.wait()
        closing = asyncio.create_task(run.aclose()) if how == "aclose" else None
        if how == "cancel":
            run.cancel()
        await asyncio.sleep(0)
        assert log == []
        go_on.set()
        if closing is not None:
            await closing
        with pytest.raises(RunCancelled):
            await run.wait_async()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert log == ["handler", "node"]
    check_events(seen)


def test_an_item_that_works_in_a_thread_emits_for_itself() -> None:
    """`asyncio.to_thread` carries the context along, so that the event names the item."""

    class Works(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return "ab"

        async def exec_async(self, prep_res: Any) -> None:
            await asyncio.to_thread(self.emit, prep_res)
            await asyncio.sleep(0)

    chunks = Way("async").watch(Works()).of(Chunk)
    assert sorted((event.data, event.items) for event in chunks) == [("a", (0,)), ("b", (1,))]


def test_an_event_after_the_steps_end_is_dropped_with_one_warning(way: Way) -> None:
    """It is sent to no later step and to no other run."""
    kept: list[Node] = []

    class Keeps(Node):
        def exec(self, prep_res: Any) -> None:
            kept.append(self)

    class Later(Node):
        def exec(self, prep_res: Any) -> None:
            in_thread(lambda: kept[0].emit("too late"))

    keeps = Keeps()
    keeps >> Later()
    watched = Watched()
    with pytest.warns(RuntimeWarning, match="'Keeps' published an event after its step") as caught:
        watched = way.watch(Flow(start=keeps))
    assert len(caught) == 1
    assert watched.error is None
    assert watched.data() == []
    kept[0].emit("much too late")
    kept[0].progress(1)
    assert way.watch(Flow(start=Keeps())).data() == []


def test_an_event_outside_a_run_is_harmless() -> None:
    """A node that nothing runs, made or copied by hand, publishes nothing."""
    node = Words(spell)
    with signals.chunk.connected_to(lambda event: pytest.fail("heard")):
        node.emit("x")
        node.progress(1, 2, "x")
        copy.copy(node).emit("x")
        in_thread(lambda: node.emit("x"))
    assert list(node.exec_stream("ab")) == ["a", "b"]


def test_a_helper_node_emits_for_the_step_that_calls_it(way: Way) -> None:
    """An event belongs to the step of the calling context, whoever's method it is."""
    helper = Words(spell)

    class Calls(Node):
        def exec(self, prep_res: Any) -> None:
            helper.emit("from a helper")

    assert [(event.node, event.data) for event in way.watch(Calls()).of(Chunk)] == [
        ("Calls", "from a helper")
    ]


def test_a_run_inside_a_node_is_another_run(way: Way) -> None:
    """Its events are its own; afterwards the node's belong to its step again."""
    inner_events: list[Event] = []

    class Outer(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("before")
            EmittingBatch().run({}, observers=[inner_events.append])
            self.emit("after")

    watched = way.watch(Outer())
    assert watched.data() == ["before", "after"]
    check_events(inner_events)
    assert {event.run_id for event in inner_events}.isdisjoint(e.run_id for e in watched.events)


# -- overrides of pocketflow's private methods ----------------------------------------------------


def test_an_override_of_exec_is_one_opaque_step(way: Way) -> None:
    """It runs instead of `exec`, between `prep` and `post`."""

    class Own(Node):
        def prep(self, shared: Any) -> str:
            return "prep"

        def exec(self, prep_res: Any) -> Any:
            pytest.fail("not called")

        def _exec(self, prep_res: Any) -> str:
            return f"own of {prep_res}"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return f"{exec_res}!"

    watched = way.watch(Own())
    assert watched.returned == "own of prep!"
    assert watched.names() == ["flow_start", "node_start", "node_end", "action", "flow_end"]


def test_an_override_of_exec_may_call_super(way: Way) -> None:
    """The retries happen inside it; their events belong to the step."""
    tries = itertools.count()

    class Timed(Node):
        def exec(self, prep_res: Any) -> int:
            self.emit("trying")
            if next(tries) < 2:
                raise ValueError("again")
            return self.cur_retry

        def _exec(self, prep_res: Any) -> Any:
            return ["timed", super()._exec(prep_res)]

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    watched = way.watch(Timed(max_retries=3), shared)
    assert shared == {"result": ["timed", 2]}
    assert watched.data() == ["trying"] * 3
    assert watched.names()[1] == "node_start"
    assert watched.names()[-3:] == ["node_end", "action", "flow_end"]


@pytest.mark.parametrize("kind", ["events", "output"])
def test_an_override_of_exec_may_stream(way: Way, kind: str) -> None:
    """Whoever pulls gets all of it when the override returns."""

    class Timed(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield from "abc"

        def _exec(self, prep_res: Any) -> Any:
            return super()._exec(prep_res)

    flow = (Flow if way.name == "sync" else AsyncFlow)(Timed())
    if kind == "output":
        assert way.streamed(flow) == ["a", "b", "c"]
        return
    run = Run(flow, {})

    async def pulled() -> list[Event]:
        return [event async for event in run]

    check_events(list(run) if way.name == "sync" else in_loop(pulled))


def test_an_override_of_exec_of_a_batch_may_call_super(way: Way) -> None:
    """With the items that it chooses."""

    class Sorted(BatchNode):
        def prep(self, shared: Any) -> list[str]:
            return ["b", "a"]

        def exec(self, prep_res: str) -> str:
            return prep_res.upper()

        def _exec(self, prep_res: Any) -> Any:
            return super()._exec(sorted(prep_res))

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    assert way.watch(Sorted(), shared).error is None
    assert shared == {"result": ["A", "B"]}


def test_an_async_override_of_exec_may_call_super() -> None:
    """As the sync one."""
    tries = itertools.count()

    class Timed(AsyncNode):
        async def exec_async(self, prep_res: Any) -> int:
            await asyncio.sleep(0)
            self.emit("trying")
            if next(tries) < 1:
                raise ValueError("again")
            return self.cur_retry

        async def _exec(self, prep_res: Any) -> Any:
            return ["timed", await super()._exec(prep_res)]

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    watched = Way("async").watch(Timed(max_retries=2), shared)
    assert shared == {"result": ["timed", 1]}
    assert watched.data() == ["trying"] * 2


@pytest.mark.parametrize("kind", [AsyncBatchNode, AsyncParallelBatchNode])
def test_an_override_of_exec_of_an_async_batch_may_call_super(kind: type[Any]) -> None:
    """Sequential and parallel ones."""

    class Sorted(kind):
        async def prep_async(self, shared: Any) -> list[str]:
            return ["b", "a"]

        async def exec_async(self, prep_res: str) -> str:
            await asyncio.sleep(0)
            return prep_res.upper()

        async def _exec(self, prep_res: Any) -> Any:
            return await super()._exec(sorted(prep_res))

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    watched = Way("async").watch(Sorted(), shared)
    assert watched.error is None
    assert shared == {"result": ["A", "B"]}


def test_an_override_of_run_is_one_opaque_step(way: Way) -> None:
    """It runs instead of `prep`, `exec` and `post`, alone and in a flow."""

    class Own(Node):
        def prep(self, shared: Any) -> None:
            pytest.fail("not called")

        def _run(self, shared: Any) -> str:
            self.emit("own")
            shared["ran"] = True
            return "own action"

    for node in (Own(), Flow(start=Own())):
        shared: dict[str, Any] = {}
        watched = way.watch(node, shared)
        assert watched.returned == "own action"
        assert shared == {"ran": True}
        assert watched.names() == [
            "flow_start",
            "node_start",
            "chunk",
            "node_end",
            "action",
            "flow_end",
        ]


def test_an_override_of_run_may_call_super(way: Way) -> None:
    """What it calls is the whole step."""

    class Around(EmittingBatch):
        def _run(self, shared: Any) -> Any:
            shared["log"] = ["before"]
            action = super()._run(shared)
            shared["log"].append("after")
            return action

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["log"].append(exec_res)
            return "done"

    shared: dict[str, Any] = {}
    watched = way.watch(Flow(start=Around()), shared)
    assert watched.returned == "done"
    assert shared == {"log": ["before", ["a", "b"], "after"]}


def test_an_async_override_of_run_may_call_super() -> None:
    """As the sync one."""

    class Around(AsyncNode):
        async def exec_async(self, prep_res: Any) -> str:
            return "result"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["log"].append(exec_res)
            return "done"

        async def _run_async(self, shared: Any) -> Any:
            shared["log"] = ["before"]
            action = await super()._run_async(shared)
            shared["log"].append("after")
            return action

    shared: dict[str, Any] = {}
    watched = Way("async").watch(AsyncFlow(start=Around()), shared)
    assert watched.returned == "done"
    assert shared == {"log": ["before", "result", "after"]}


def test_what_an_override_raises_ends_the_step(way: Way) -> None:
    """It is not tried again: the retries are what it replaced."""

    class Own(Node):
        def _exec(self, prep_res: Any) -> None:
            raise ValueError("own error")

    watched = way.watch(Own(max_retries=3))
    assert isinstance(watched.error, ValueError)
    assert watched.of(Retry) == []
    assert [event.status for event in watched.of(NodeEnd)] == ["error"]


def test_pocketflows_private_methods_work_outside_a_run() -> None:
    """As in its own tests: `node._exec(prep_res)` tries, `node._run(shared)` runs."""
    tries = itertools.count()

    class Flaky(Node):
        def exec(self, prep_res: Any) -> Any:
            self.emit("nobody hears it")
            if next(tries) % 2 == 0:
                raise ValueError("again")
            return prep_res

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return "done"

    assert Flaky(max_retries=2)._exec("x") == "x"
    assert Flaky(max_retries=2)._run({}) == "done"
    assert EmittingBatch()._exec("xy") == ["x", "y"]
    assert EmittingBatch()._exec(None) == []

    async def main() -> list[Any]:
        return [
            await EmittingAsyncBatch()._exec("xy"),
            await EmittingParallel()._exec("xy"),
            await EmittingParallel()._exec(None),
            await EmittingParallel()._run_async({}),
        ]

    assert in_loop(main) == [["x", "y"], ["x", "y"], [], None]


# -- copies ---------------------------------------------------------------------------------------


def attributes(node: Any) -> dict[str, Any]:
    """What an object holds."""
    return dict(vars(node))


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


def test_the_nodes_of_a_flow_run_as_copies(way: Way) -> None:
    """What one step writes to `self` the next does not see, and the original stays as it was."""
    node = Counting(max_retries=2)
    again = Counting(max_retries=2)
    node >> again
    before = attributes(node), attributes(again)
    flow = Flow(start=node)
    flow_before = attributes(flow)
    shared: dict[str, Any] = {}
    for _ in range(2):
        assert way.watch(flow, shared).error is None
    assert shared["scratch"] == ["prep exec exec"] * 4
    assert (attributes(node), attributes(again)) == before
    assert attributes(flow) == flow_before


def test_a_node_that_is_run_by_itself_runs_itself(way: Way) -> None:
    """As in pocketflow: what it writes to `self` stays; the engine writes nothing."""

    class Writes(Node):
        def exec(self, prep_res: Any) -> None:
            self.written = True

    node = Writes()
    before = attributes(node)
    way.watch(node)
    way.run(node)
    assert attributes(node) == {**before, "written": True}


def test_the_engine_writes_nothing_to_a_node_that_retries_by_itself(way: Way) -> None:
    """`cur_retry` is right while it runs, and the object is as it was afterwards."""
    seen = []

    class Retries(Node):
        def exec(self, prep_res: Any) -> None:
            seen.append(self.cur_retry)
            if self.cur_retry < 2:
                raise ValueError("again")

    node = Retries(max_retries=3)
    before = attributes(node)
    way.run(node)
    assert seen == [0, 1, 2]
    assert attributes(node) == before


def test_concurrent_runs_of_one_node_count_their_own_retries() -> None:
    """Two threads run the same object at the same time, one of them an attempt ahead."""
    seen: dict[str, list[int]] = {"ahead": [], "behind": []}
    turns = {"ahead": threading.Semaphore(1), "behind": threading.Semaphore(0)}

    class Flaky(Node):
        def prep(self, shared: Any) -> Any:
            return shared["name"]

        def exec(self, prep_res: str) -> None:
            assert turns[prep_res].acquire(timeout=30)
            seen[prep_res].append(self.cur_retry)
            turns["behind" if prep_res == "ahead" else "ahead"].release()
            if len(seen[prep_res]) < 3:
                raise ValueError("again")

    node = Flaky(max_retries=3)
    thread = threading.Thread(target=node.run, args=({"name": "behind"},), daemon=True)
    thread.start()
    node.run({"name": "ahead"})
    thread.join()
    assert seen == {"ahead": [0, 1, 2], "behind": [0, 1, 2]}


def test_a_users_copy_method_is_used(way: Way) -> None:
    """A node decides what its copies have in common."""
    made = []

    class Own(Node):
        def __init__(self) -> None:
            super().__init__()
            self.cache: list[str] = []

        def __copy__(self) -> Own:
            new = Own()
            new.successors = self.successors
            made.append(new)
            return new

        def exec(self, prep_res: Any) -> None:
            self.cache.append("x")
            self.emit(len(self.cache))

    node = Own()
    node - "again" >> node
    watched = way.watch(Flow(start=node))
    assert watched.data() == [1]
    assert len(made) == 1
    assert node.cache == []


def test_a_node_with_slots_is_copied_whole(way: Way) -> None:
    """Its slots are copied as well as its attributes."""

    class Slotted(Node):
        __slots__ = ("limit",)

        def __init__(self, limit: int) -> None:
            super().__init__()
            self.limit = limit
            self.text = "text"

        def exec(self, prep_res: Any) -> None:
            self.emit((self.limit, self.text, self.params))
            self.limit = 0

    node = Slotted(7)
    flow = Flow(start=node)
    flow.set_params({"p": 1})
    assert way.watch(flow).data() == [(7, "text", {"p": 1})]
    assert (node.limit, node.params) == (7, {})


def test_a_users_state_methods_are_used(way: Way) -> None:
    """What `copy.copy` would do is done."""

    class Stateful(Node):
        def __getstate__(self) -> dict[str, Any]:
            return {**vars(self), "state": "as a copy"}

        def exec(self, prep_res: Any) -> None:
            self.emit(vars(self).get("state"))

    assert way.watch(Flow(start=Stateful())).data() == ["as a copy"]


def test_an_overridden_set_params_is_called_on_the_copy(way: Way) -> None:
    """With the flow's params, as pocketflow does; the original is left alone."""

    class Checked(Node):
        def set_params(self, params: dict[str, Any]) -> None:
            super().set_params({**params, "checked": True})

        def exec(self, prep_res: Any) -> None:
            self.emit(dict(self.params))

    node = Checked()
    flow = Flow(start=node)
    flow.set_params({"p": 1})
    assert way.watch(flow).data() == [{"p": 1, "checked": True}]
    assert node.params == {}


def test_params_of_a_flow_replace_those_of_its_nodes(way: Way) -> None:
    """As in pocketflow: the nodes of a flow without params have none."""

    class Says(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit(dict(self.params))

    node = Says()
    node.set_params({"own": 1})
    assert way.watch(node).data() == [{"own": 1}]
    assert way.watch(Flow(start=node)).data() == [{}]
    assert node.params == {"own": 1}


class Portable(StreamNode):
    """Can be pickled: it stands in a module."""

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield from self.params.get("words", ["a"])
        remade = pickle.loads(pickle.dumps(self))
        remade.emit("nobody hears a copy from another process")
        yield len(vars(copy.deepcopy(self).successors["default"]))

    def exec(self, prep_res: Any) -> Any:
        return None


class PortableAsync(AsyncStreamNode):
    """So can this."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        yield pickle.loads(pickle.dumps(self)).params
        yield copy.deepcopy(self).max_retries


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda node: pickle.loads(pickle.dumps(node))]
)
def test_nodes_can_be_copied_and_pickled(again: Callable[[Any], Any]) -> None:
    """What comes back runs as the original, and has its name, its options and its successors."""
    node = Portable(max_retries=2, wait=3)
    node.node_name = "named"
    node >> PortableAsync()
    made = again(node)
    assert type(made) is Portable
    assert (made.max_retries, made.wait, made.node_name) == (2, 3, "named")
    assert isinstance(made.successors["default"], PortableAsync)
    flow = again(AsyncFlow(start=node))
    assert [event.node for event in Way("async").watch(flow).of(NodeStart)] == [
        "named",
        "PortableAsync",
    ]


def test_a_node_can_be_copied_and_pickled_while_it_runs() -> None:
    """From inside `exec`, also where it is run by itself; what comes back runs no step."""
    node = Portable()
    node >> PortableAsync(max_retries=2)
    watched = Way("async").watch(AsyncFlow(start=node))
    assert watched.error is None
    assert watched.data()[0] == "a"
    assert watched.data()[-2:] == [{}, 2]
    alone = Way("async").watch(PortableAsync())
    assert alone.data() == [{}, 1]


def test_a_copy_made_by_hand_is_heard_as_the_original(way: Way) -> None:
    """A handler connected to a node hears its copies, and a deep copy is a node of its own."""
    node = EmittingBatch()
    heard: list[str] = []
    with signals.chunk.connected_to(lambda event: heard.append(event.data), node):
        way.run(copy.copy(node))
        assert heard == ["item a", "item b"]
        way.run(copy.deepcopy(node))
    assert heard[:2] == ["item a", "item b"]


# -- names ----------------------------------------------------------------------------------------


def test_a_nodes_name_is_that_of_its_class_or_its_own(way: Way) -> None:
    """`node_name` may be set on a class and on an instance."""

    class Named(Node):
        node_name = "of the class"

    own = Named()
    own.node_name = "of the instance"
    for node, name in (
        (Counting(), "Counting"),
        (Named(), "of the class"),
        (own, "of the instance"),
    ):
        (start,) = way.watch(node, {}).of(NodeStart) or [None]
        assert start is not None
        assert start.node == name
        assert node.node_name == name
    assert Counting.node_name == "Counting"


@pytest.mark.parametrize("name", ["a/b", "a#2", ""])
def test_a_bad_name_is_refused_when_a_run_begins(way: Way, name: str) -> None:
    """The error names it and the place; nothing has run."""
    ran = []

    class First(Node):
        def exec(self, prep_res: Any) -> None:
            ran.append(True)

    class Bad(Node):
        node_name = name

    first = First()
    first >> Bad()
    watched = way.watch(Flow(start=first))
    assert isinstance(watched.error, ValueError)
    assert repr(name) in str(watched.error)
    assert ran == []
    assert watched.events == []
    with pytest.raises(ValueError, match="name"):
        way.run(Bad())


# -- bad use --------------------------------------------------------------------------------------


def test_a_successor_that_is_no_node_is_an_error() -> None:
    """It names the node, the action and what stands there; a class gets a hint."""
    node = Counting()
    with pytest.raises(GraphError, match=r"'Counting' for action 'default' is 7"):
        node >> 7
    with pytest.raises(GraphError, match=r"for action 'go' .* instance"):
        node - "go" >> Counting
    assert node.successors == {}
    with pytest.raises(TypeError, match="string"):
        node - 7  # type: ignore[operator]


def test_connecting_gives_the_successor() -> None:
    """So that nodes can be chained; connecting twice warns as pocketflow does."""
    first, second, third = Counting(), Counting(), Counting()
    assert first >> second >> third is third
    assert (first - "go" >> third) is third
    assert first.next(third, "other") is third
    assert (first.next(None, "end")) is None
    assert list(first.successors) == ["default", "go", "other", "end"]
    with pytest.warns(UserWarning, match="Overwriting successor for action 'go'"):
        first - "go" >> second


def test_running_a_node_with_successors_warns(way: Way) -> None:
    """Only the node runs."""
    node = EmittingBatch()
    node >> EmittingBatch()
    text = "Use Flow" if way.name == "sync" else "Use AsyncFlow"
    with pytest.warns(UserWarning, match=f"Node won't run successors. {text}"):
        assert way.watch(node).data() == ["item a", "item b"]
    with pytest.warns(UserWarning, match="successors"):
        assert way.streamed(node) == ["item a", "item b"]


def test_an_async_method_that_is_plain_is_an_error() -> None:
    """The text says what the methods of an async node are."""

    class Plain(AsyncNode):
        def exec_async(self, prep_res: Any) -> str:  # type: ignore[override]
            return "not awaitable"

    with pytest.raises(TypeError, match=r"'not awaitable' cannot be awaited.*async def"):
        Way("async").run(Plain())


def test_stop_iteration_is_a_runtime_error(way: Way) -> None:
    """As in any generator, with the original as its cause; in `prep`, `exec` and `post`."""
    for method in ("prep", "exec", "post"):

        def stop(self: Any, *arguments: Any) -> None:
            raise StopIteration("stopped")

        node = type("Stops", (Node,), {method: stop})()
        watched = way.watch(node)
        assert isinstance(watched.error, RuntimeError)
        assert isinstance(watched.error.__cause__, StopIteration)


def test_a_bare_base_node_runs(way: Way) -> None:
    """It has no retries; what it raises is final."""

    class Bare(BaseNode):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("final")

    watched = way.watch(Bare())
    assert isinstance(watched.error, ValueError)
    assert watched.of(Retry) == []


def test_a_run_gives_the_same_whether_its_node_is_copied_or_not(way: Way) -> None:
    """`Run(node)`, `node.run` and a flow of one node send the same events, but for the path."""
    alone = way.watch(EmittingBatch())
    in_flow = way.watch(Flow(start=EmittingBatch()))
    assert alone.names() == in_flow.names()
    assert [event.node for event in alone.events] == [event.node for event in in_flow.events]
    assert next(iter(Run(EmittingBatch(), {}))).signal == "flow_start"
