"""Nested flows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import (
    Action,
    AsyncFlow,
    Chunk,
    Flow,
    FlowEnd,
    FlowStart,
    Node,
    NodeEnd,
    NodeStart,
    Progress,
    StreamFlow,
    StreamNode,
)
from tests.flows.steps import Step
from tests.watching import Way


def test_a_nested_flow_is_a_step(way: Way) -> None:
    """Its action is the last node's; its own `prep` and `post` run around its nodes."""

    class Inner(Flow):
        def prep(self, shared: Any) -> str:
            shared["log"] = ["prep"]
            return "prepared"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["log"].append((prep_res, exec_res))
            return "from the flow"

    inner = Inner(start=Step("from the node"))
    inner - "from the flow" >> Step("end", name="Next")
    shared: dict[str, Any] = {}
    watched = way.watch(Flow(start=inner), shared)
    assert shared["log"] == ["prep", ("prepared", "from the node")]
    assert watched.returned == "end"
    assert [(event.signal, event.node) for event in watched.events] == [
        ("flow_start", ""),
        ("flow_start", "Inner"),
        ("node_start", "Inner/Step"),
        ("chunk", "Inner/Step"),
        ("node_end", "Inner/Step"),
        ("action", "Inner/Step"),
        ("flow_end", "Inner"),
        ("action", "Inner"),
        ("node_start", "Next"),
        ("chunk", "Next"),
        ("node_end", "Next"),
        ("action", "Next"),
        ("flow_end", ""),
    ]


def test_steps_are_counted_within_each_execution_of_their_flow(way: Way) -> None:
    """A nested flow that runs again is step 2; what is in it begins at 1."""
    inner = Flow(start=Step("again", "again", "stop"))
    inner.node_name = "Inner"
    inner - "again" >> inner
    inner - "stop" >> None
    watched = way.watch(Flow(start=inner))
    assert [(event.node, event.step) for event in watched.of(FlowStart, NodeStart)] == [
        ("", 0),
        ("Inner", 1),
        ("Inner/Step", 1),
        ("Inner", 2),
        ("Inner/Step", 1),
        ("Inner", 3),
        ("Inner/Step", 1),
    ]


def test_params_go_down(way: Way) -> None:
    """A flow's params are its nodes', nested ones' too, whatever those were set to."""
    first = Step()
    first.set_params({"own": 1})
    inner = Flow(start=Step())
    inner.set_params({"inner": 1})
    first >> inner
    outer = Flow(start=first)
    outer.set_params({"p": 1})
    assert way.watch(outer).data() == [{"p": 1}, {"p": 1}]
    assert (first.params, inner.params) == ({"own": 1}, {"inner": 1})
    outer.set_params({})
    assert way.watch(outer).data() == [{}, {}]


def test_what_fails_in_a_nested_flow_ends_all_of_them(way: Way) -> None:
    """Innermost first, each with the error; no action was taken."""

    class Fails(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("failed")

    watched = way.watch(Flow(start=Flow(start=Flow(start=Fails()))))
    assert isinstance(watched.error, ValueError)
    assert [(event.node, event.status, event.error) for event in watched.of(NodeEnd, FlowEnd)] == [
        ("Flow/Flow/Fails", "error", "ValueError: failed"),
        ("Flow/Flow", "error", "ValueError: failed"),
        ("Flow", "error", "ValueError: failed"),
        ("", "error", "ValueError: failed"),
    ]
    assert watched.of(Action) == []


@pytest.mark.parametrize("method", ["prep", "post"])
def test_what_fails_in_a_flows_own_method_ends_it(way: Way, method: str) -> None:
    """Without an action."""

    def fail(self: Any, *arguments: Any) -> None:
        raise ValueError("failed")

    broken = type("Broken", (Flow,), {method: fail})
    watched = way.watch(Flow(start=broken(start=Step())))
    assert isinstance(watched.error, ValueError)
    assert [(event.node, event.status) for event in watched.of(FlowEnd)] == [
        ("Broken", "error"),
        ("", "error"),
    ]


def test_a_flow_may_publish_from_its_own_methods(way: Way) -> None:
    """The events belong to the flow: attempt 0, its span, and outside any node of it."""

    class Says(Flow):
        def prep(self, shared: Any) -> None:
            self.emit("prep")
            self.progress(0, 1)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            self.emit("post")

    for flow, path in ((Says(start=Step()), ""), (Flow(start=Says(start=Step())), "Says")):
        watched = way.watch(flow)
        (start,) = [event for event in watched.of(FlowStart) if event.node == path]
        own = [e for e in watched.of(Chunk, Progress) if e.node == path]
        assert [event.signal for event in own] == ["chunk", "progress", "chunk"]
        assert {(event.span, event.attempt, event.items) for event in own} == {(start.seq, 0, ())}


def test_deep_nesting_needs_no_deep_stack(way: Way) -> None:
    """A thousand flows in flows."""
    flow: Any = Step("bottom")
    for _ in range(1_000):
        flow = Flow(start=flow)
    assert way.run(flow) == "bottom"


def test_a_stream_flow_is_a_flow(way: Way) -> None:
    """Every flow can stream; this one's name says so."""

    class Words(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield from "ab"

    for kind in (StreamFlow, Flow, AsyncFlow):
        if not (kind is AsyncFlow and way.name == "sync"):
            assert way.streamed(kind(start=Words())) == ["a", "b"]
    assert issubclass(StreamFlow, Flow)


def test_a_callback_gets_the_path_of_a_nested_node() -> None:
    """Its second argument is the node's path in the run."""

    class Words(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield from "ab"

    seen: list[Any] = []
    inner = Flow(start=Words())
    inner.node_name = "Inner"
    inner >> Words()
    Flow(start=inner).run_stream({}, callback=lambda chunk, node: seen.append((chunk, node)))
    assert seen == [("a", "Inner/Words"), ("b", "Inner/Words"), ("a", "Words"), ("b", "Words")]
