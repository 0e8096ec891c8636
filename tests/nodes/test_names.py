"""Names of nodes, and their bad use."""

from __future__ import annotations

from typing import Any

import pytest

from flowevents import AsyncNode, BaseNode, Flow, GraphError, Node, NodeStart, Retry, Run
from tests.nodes.words import Counting, EmittingBatch
from tests.watching import Way

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


@pytest.mark.parametrize(
    ("name", "shown"), [("a/b", "a∕b"), ("a#2", "a♯2"), ("", "Odd"), (None, "Odd"), (7, "Odd")]
)
def test_a_path_shows_a_name_that_it_cannot_hold(way: Way, name: Any, shown: str) -> None:
    """Alone and in a flow; the node's own name stays as it is."""

    class Odd(Node):
        node_name = name

    class Around(Flow):
        node_name = name

    first, node = Odd(), Odd()
    first >> node
    assert [start.node for start in way.watch(Odd()).of(NodeStart)] == [shown]
    flow = Flow(start=Around(start=first))
    around = shown if shown != "Odd" else "Around"
    paths = [start.node for start in way.watch(flow).of(NodeStart)]
    assert paths == [f"{around}/{shown}", f"{around}/{shown}#2"]
    assert node.node_name == name


def test_a_name_that_cannot_be_read_is_none(way: Way) -> None:
    """As one that is made of params, before there are any."""

    class Named(Node):
        @property
        def node_name(self) -> str:
            return f"node {self.params['i']}"

    assert [start.node for start in way.watch(Flow(start=Named())).of(NodeStart)] == ["Named"]


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
