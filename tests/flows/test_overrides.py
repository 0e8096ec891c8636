"""Overrides of pocketflow's private methods in flows."""

from __future__ import annotations

from typing import Any

from flowevents import AsyncFlow, Flow, FlowEnd, Node, NodeEnd, Run
from tests.flows.steps import AsyncStep, Step, of_batch, pocketflow
from tests.watching import Way, in_loop


def test_an_override_of_orch_is_one_opaque_step(way: Way) -> None:
    """It runs between the flow's `prep` and `post`, alone and nested."""

    class Own(Flow):
        def prep(self, shared: Any) -> str:
            return "prep"

        def _orch(self, shared: Any, params: Any = None) -> str:
            self.emit("own")
            return "own action"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return f"{prep_res}, {exec_res}"

    for flow in (Own(start=Step()), Flow(start=Own(start=Step()))):
        shared: dict[str, Any] = {}
        watched = way.watch(flow, shared)
        assert watched.returned == "prep, own action"
        assert shared == {}
        assert watched.names() == [
            "flow_start",
            "node_start",
            "chunk",
            "node_end",
            "action",
            "flow_end",
        ]


def test_an_override_of_orch_may_call_super(way: Way) -> None:
    """The nodes run, with the params that it gives."""

    class Timed(Flow):
        def _orch(self, shared: Any, params: Any = None) -> Any:
            shared["log"] = ["before"]
            action = super()._orch(shared, {"p": 1})
            shared["log"].append("after")
            return action

    class Notes(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["log"].append(dict(self.params))
            return "end"

    for flow in (Timed(start=Notes()), Flow(start=Timed(start=Notes()))):
        shared: dict[str, Any] = {}
        assert way.watch(flow, shared).returned == "end"
        assert shared == {"log": ["before", {"p": 1}, "after"]}


def test_an_async_override_of_orch_may_call_super() -> None:
    """As the sync one."""

    class Timed(AsyncFlow):
        async def _orch_async(self, shared: Any, params: Any = None) -> Any:
            shared["log"] = ["before"]
            action = await super()._orch_async(shared, params)
            shared["log"].append("after")
            return action

    for flow in (Timed(start=AsyncStep()), AsyncFlow(start=Timed(start=AsyncStep()))):
        shared: dict[str, Any] = {}
        assert Way("async").watch(flow, shared).error is None
        assert shared == {"log": ["before", "after"], "ran": ["AsyncStep"]}


def test_an_override_of_orch_of_a_batch_is_called_for_each_item(batch: Any) -> None:
    """With the item's params, which it may hand on."""
    calls: list[Any] = []

    class Own(batch):
        def _orch(self, shared: Any, params: Any = None) -> Any:
            calls.append(params)
            return super()._orch(shared, params)

        async def _orch_async(self, shared: Any, params: Any = None) -> Any:
            calls.append(params)
            return await super()._orch_async(shared, params)

    shared: dict[str, Any] = {}
    watched = of_batch(batch).watch(Own(start=Step()), shared)
    assert watched.returned == "all done"
    assert calls == [{"file": "a"}, {"file": "b"}]
    assert shared["ran"] == ["Step", "Step"]


def test_an_override_of_run_of_a_flow_may_call_super(way: Way) -> None:
    """What it calls is the whole flow."""

    class Around(Flow):
        def _run(self, shared: Any) -> Any:
            shared["log"] = ["before"]
            action = super()._run(shared)
            shared["log"].append("after")
            return action

    for flow in (Around(start=Step("end")), Flow(start=Around(start=Step("end")))):
        shared: dict[str, Any] = {}
        assert way.watch(flow, shared).returned == "end"
        assert shared == {"log": ["before", "after"], "ran": ["Step"]}


def test_an_async_override_of_run_of_a_flow_may_call_super() -> None:
    """As the sync one."""

    class Around(AsyncFlow):
        async def _run_async(self, shared: Any) -> Any:
            shared["log"] = ["before"]
            action = await super()._run_async(shared)
            shared["log"].append("after")
            return action

    for flow in (Around(start=AsyncStep()), AsyncFlow(start=Around(start=AsyncStep()))):
        shared: dict[str, Any] = {}
        assert Way("async").watch(flow, shared).error is None
        assert shared == {"log": ["before", "after"], "ran": ["AsyncStep"]}


def test_what_an_override_raises_ends_the_flow(way: Way) -> None:
    """As any error."""

    class Own(Flow):
        def _orch(self, shared: Any, params: Any = None) -> None:
            raise ValueError("own error")

    watched = way.watch(Flow(start=Own(start=Step())))
    assert isinstance(watched.error, ValueError)
    assert [event.status for event in watched.of(NodeEnd, FlowEnd)] == ["error", "error"]


def test_an_override_in_theirs_is_run_through_too(way: Way) -> None:
    """A pocketflow flow or node with private methods of its own runs as it does without us."""

    class Own(pocketflow.Flow):
        def _orch(self, shared: Any, params: Any = None) -> Any:
            shared["log"] = ["before"]
            action = super()._orch(shared, params)
            shared["log"].append("after")
            return action

    class Timed(pocketflow.Node):
        def _run(self, shared: Any) -> Any:
            shared["log"].append("node")
            return super()._run(shared)

        def exec(self, prep_res: Any) -> str:
            return "result"

        def _exec(self, prep_res: Any) -> Any:
            return [super()._exec(prep_res)]

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["log"].append(exec_res)
            return "end"

    def run(flow: Any, shared: dict[str, Any]) -> Any:
        if way.name == "sync":
            return Run(flow, shared).wait()
        return in_loop(Run(flow, shared).wait_async)

    for make in (lambda: Own(start=Timed()), lambda: pocketflow.Flow(start=Own(start=Timed()))):
        ours: dict[str, Any] = {}
        theirs: dict[str, Any] = {}
        assert run(make(), ours) == make().run(theirs) == "end"
        assert ours == theirs == {"log": ["before", "node", ["result"], "after"]}
