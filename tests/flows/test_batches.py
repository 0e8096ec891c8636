"""Batch flows, sync, async and parallel."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BatchNode,
    Chunk,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
)
from tests.flows.steps import Files, ParallelFiles, Step, of_batch
from tests.watching import Way


def test_a_batch_flow_runs_its_graph_for_each_item(batch: Any) -> None:
    """Each with its params over the flow's, between its start and its end."""
    first = Step()
    first >> Step()
    flow = batch(start=first)
    flow.set_params({"p": 1, "file": "overridden"})
    shared: dict[str, Any] = {}
    watched = of_batch(batch).watch(flow, shared)
    assert watched.returned == "all done"
    assert shared["post"] == ([{"file": "a"}, {"file": "b"}], None)
    for index, name in enumerate("ab"):
        own = [event for event in watched.events if event.items == (index,)]
        node = ["node_start", "chunk", "node_end", "action"]
        assert [event.signal for event in own] == ["item_start", *node, *node, "item_end"]
        assert [e.data for e in own if isinstance(e, Chunk)] == [{"p": 1, "file": name}] * 2
        assert [(e.node, e.step) for e in own if isinstance(e, NodeStart)] == [
            ("Step", 1),
            ("Step#2", 1),
        ]
        assert isinstance(own[0], ItemStart)
        assert (own[0].node, own[0].attempt, own[0].total) == ("", 0, 2)
    assert sorted(event.done for event in watched.of(ItemEnd)) == [1, 2]


@pytest.mark.parametrize("nothing", [None, ()])
def test_a_batch_flow_may_be_empty(batch: Any, nothing: Any) -> None:
    """`post` gets an empty list for `None`, as in pocketflow."""
    flow = batch(start=Step())
    flow.files = nothing
    shared: dict[str, Any] = {}
    watched = of_batch(batch).watch(flow, shared)
    assert shared == {"post": ([], None)}
    assert watched.names() == ["flow_start", "flow_end"]


def test_batch_flows_nest(batch: Any) -> None:
    """Items of items carry all indexes, outermost first, and all params."""

    lines = [{"line": "1"}, {"line": "2"}]

    def prep(self: Any, shared: Any) -> Any:
        return lines

    async def prep_async(self: Any, shared: Any) -> Any:
        return lines

    own = {"prep": prep} if batch is Files else {"prep_async": prep_async}
    nested = type("Lines", (batch,), own)
    watched = of_batch(batch).watch(batch(start=nested(start=Step())))
    assert {(e.items, e.node, tuple(e.data.items())) for e in watched.of(Chunk)} == {
        ((file, line), "Lines/Step", (("file", "ab"[file]), ("line", "12"[line])))
        for file in (0, 1)
        for line in (0, 1)
    }


def test_a_batch_node_in_a_batch_flow_carries_both_indexes(batch: Any) -> None:
    """The flow's item, then the node's."""

    class Words(BatchNode):
        def prep(self, shared: Any) -> Any:
            return self.params["file"] * 2

        def exec(self, prep_res: str) -> None:
            self.emit(prep_res)

    chunks = of_batch(batch).watch(batch(start=Words())).of(Chunk)
    assert sorted((event.items, event.data) for event in chunks) == [
        ((0, 0), "a"),
        ((0, 1), "a"),
        ((1, 0), "b"),
        ((1, 1), "b"),
    ]


def test_an_item_that_fails_ends_a_sequential_batch(way: Way) -> None:
    """The items after it do not begin."""

    class Fails(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError(self.params["file"])

    watched = way.watch(Files(start=Fails()))
    assert str(watched.error) == "a"
    assert [(e.items, e.status, e.error) for e in watched.of(ItemEnd)] == [
        ((0,), "error", "ValueError: a")
    ]


def test_a_loop_in_an_item_counts_for_itself(batch: Any) -> None:
    """Each item is an execution of its own."""

    class Twice(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str | None:
            shared[self.params["file"]] = count = shared.get(self.params["file"], 0) + 1
            return "again" if count < 2 else None

    node = Twice()
    node - "again" >> node
    node >> None
    watched = of_batch(batch).watch(batch(start=node))
    assert sorted((event.items, event.step) for event in watched.of(NodeStart)) == [
        ((0,), 1),
        ((0,), 2),
        ((1,), 1),
        ((1,), 2),
    ]


class Drawn(AsyncParallelBatchFlow):
    """Items from a generator, which counts how far it was drawn."""

    log: Counter[str]

    async def prep_async(self, shared: Any) -> Any:
        return self.draw()

    def draw(self) -> Iterator[dict[str, int]]:
        """Its items."""
        for index in range(20):
            self.log["ahead"] = max(self.log["ahead"], self.log["running"])
            yield {"index": index}


class Gate(AsyncNode):
    """Counts how many run at once."""

    log: Counter[str]

    async def exec_async(self, prep_res: Any) -> None:
        self.log["running"] += 1
        self.log["most"] = max(self.log["most"], self.log["running"])
        for _ in range(self.params["index"] % 3 + 1):
            await asyncio.sleep(0)
        self.log["running"] -= 1


@pytest.mark.parametrize("limit", [1, 3])
def test_items_of_a_flow_are_drawn_lazily_under_the_limit(limit: int) -> None:
    """Never more than `max_concurrency` at once."""
    log: Counter[str] = Counter()
    gate = Gate()
    flow = Drawn(start=gate, max_concurrency=limit)
    flow.log = gate.log = log
    watched = Way("async").watch(flow)
    assert log["most"] == limit
    assert log["ahead"] < limit
    assert len(watched.of(ItemEnd)) == 20
    with pytest.raises(ValueError, match="max_concurrency must be at least 1, not 0"):
        Drawn(max_concurrency=0)


def test_siblings_of_a_flows_item_are_cancelled_and_awaited() -> None:
    """Whatever they are in, before the error is raised; nothing comes after the run's end."""
    log: list[str] = []

    class Waits(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            if self.params["file"] == "b":
                await asyncio.sleep(0)
                raise ValueError("item failed")
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(3):
                    await asyncio.sleep(0)
                log.append("cleaned up")

    flow = ParallelFiles(start=AsyncFlow(start=Waits()))
    watched = Way("async").watch(AsyncFlow(start=flow))
    assert isinstance(watched.error, ValueError)
    assert log == ["cleaned up"]
    assert {(e.items, e.status) for e in watched.of(NodeEnd, ItemEnd)} == {
        ((0,), "cancelled"),
        ((1,), "error"),
    }


def test_siblings_at_every_depth_are_cancelled() -> None:
    """A failing item of a batch in an item of a batch cancels the other items' items too."""
    log: list[Any] = []

    class Items(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return "12"

        async def exec_async(self, prep_res: str) -> None:
            where = self.params["file"] + prep_res
            await asyncio.sleep(0)
            if where == "b2":
                raise ValueError(where)
            try:
                await asyncio.Event().wait()
            finally:
                log.append(where)

    watched = Way("async").watch(ParallelFiles(start=Items()))
    assert str(watched.error) == "b2"
    assert sorted(log) == ["a1", "a2", "b1"]
    assert {(e.items, e.status) for e in watched.of(ItemEnd)} == {
        ((0, 0), "cancelled"),
        ((0, 1), "cancelled"),
        ((1, 0), "cancelled"),
        ((1, 1), "error"),
        ((0,), "cancelled"),
        ((1,), "error"),
    }
