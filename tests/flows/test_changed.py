"""A graph that changes between two runs of it, or while one goes on, or is dropped."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from flowevents import Flow, Node, NodeStart, signals
from tests.flows.steps import Step, paths
from tests.watching import Way


def line() -> Any:
    """A flow of a step and a flow of two steps."""
    first, second = Step(), Step()
    first >> Flow(start=second)
    second >> Step()
    return Flow(start=first)


def replace_a_successor(flow: Any) -> None:
    """Lead from the first step to another node."""
    flow.start_node.successors["default"] = Step(name="Other")


def add_a_successor(flow: Any) -> None:
    """Put another step of the same name before the way that is taken."""
    nested = flow.start_node.successors.pop("default")
    flow.start_node - "never" >> Flow()
    flow.start_node - "default" >> nested


def begin_elsewhere(flow: Any) -> None:
    """Have the nested flow begin with another node."""
    flow.start_node.successors["default"].start(Step(name="Elsewhere"))


def rename(flow: Any) -> None:
    """Give the first step a name."""
    flow.start_node.node_name = "Renamed"


def rename_deep(flow: Any) -> None:
    """Give the last step in the nested flow a name."""
    flow.start_node.successors["default"].start_node.successors["default"].node_name = "Last"


def change_class(flow: Any) -> None:
    """Make the first step one of another class."""

    class Changed(Step):
        pass

    flow.start_node.__class__ = Changed


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (replace_a_successor, ["Step", "Other"]),
        (add_a_successor, ["Step", "Flow#2/Step", "Flow#2/Step#2"]),
        (begin_elsewhere, ["Step", "Flow/Elsewhere"]),
        (rename, ["Renamed", "Flow/Step", "Flow/Step#2"]),
        (rename_deep, ["Step", "Flow/Step", "Flow/Last"]),
        (change_class, ["Changed", "Flow/Step", "Flow/Step#2"]),
    ],
)
def test_a_change_between_two_runs_is_seen(
    change: Callable[[Any], None], after: list[str], way: Way
) -> None:
    """Whatever it is, and also where it is taken back."""
    flow, other = line(), line()
    assert paths(way.watch(flow)) == ["Step", "Flow/Step", "Flow/Step#2"]
    change(flow)
    assert paths(way.watch(flow)) == after
    assert paths(way.watch(flow)) == after
    assert paths(way.watch(other)) == ["Step", "Flow/Step", "Flow/Step#2"]


def test_methods_of_a_node_may_change_between_two_runs(way: Way) -> None:
    """Those of the class, and its own."""

    class Plain(Node):
        pass

    node = Plain()
    flow = Flow(start=node)
    assert way.run(flow) is None
    Plain.post = lambda self, shared, prep_res, exec_res: "class"  # type: ignore[method-assign]
    assert way.run(flow) == "class"
    node.post = lambda shared, prep_res, exec_res: "own"  # type: ignore[method-assign]
    assert way.run(flow) == "own"


def test_a_handler_that_is_connected_between_two_runs_hears_the_node(way: Way) -> None:
    """Of the second one."""
    flow = line()
    way.run(flow)
    heard: list[str] = []
    with signals.node_start.connected_to(
        lambda event: heard.append(event.node), sender=flow.start_node
    ):
        way.run(flow)
    assert heard == ["Step"]


def test_nodes_that_come_while_a_run_goes_on_have_names_of_their_own(way: Way) -> None:
    """Also where one has the place in memory of another that has gone."""

    class Growing(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["left"] -= 1
            self.successors.clear()
            if shared["left"]:
                self.successors["default"] = Growing()

    start = Growing()
    start >> Growing()
    flow = Flow(start=start)
    for _ in range(2):
        watched = way.watch(flow, {"left": 20})
        names = [event.node for event in watched.of(NodeStart)]
        assert len(set(names)) == 20
        assert {name.partition("#")[0] for name in names} == {"Growing"}


def test_a_graph_that_nobody_has_goes_at_once(way: Way) -> None:
    """What is known of it after a run keeps none of its nodes."""
    flow = line()
    way.run(flow)
    gone: list[Any] = [weakref.ref(flow), weakref.ref(flow.start_node)]
    gc.disable()
    try:
        del flow
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()
