"""Overrides of pocketflow's private methods."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import (
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    BatchNode,
    Event,
    Flow,
    Node,
    NodeEnd,
    Retry,
    Run,
    StreamNode,
)
from flowevents.testing import check_events
from tests.nodes.words import EmittingAsyncBatch, EmittingBatch, EmittingParallel
from tests.watching import Way, in_loop


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
