"""Retries and fallbacks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import (
    AsyncNode,
    AsyncParallelBatchNode,
    BatchNode,
    Chunk,
    FlowEnd,
    Node,
    NodeEnd,
    Retry,
    StreamNode,
)
from flowevents.testing import ManualClock
from tests.nodes.words import Script, Streams, of_batch
from tests.watching import Way


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
