"""The routes of a flow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import (
    Action,
    BatchFlow,
    Event,
    Flow,
    FlowEnd,
    ItemEnd,
    ItemStart,
    NodeStart,
    signals,
)
from tests.flows.steps import Files, Step, paths
from tests.watching import Way


def test_a_flow_goes_where_its_actions_lead(way: Way) -> None:
    """Each step's `Action` says what was taken and where it led."""
    first, left, right = Step("right"), Step("end", name="Left"), Step("end", name="Right")
    first - "left" >> left
    first - "right" >> right
    shared: dict[str, Any] = {}
    watched = way.watch(Flow(start=first), shared)
    assert watched.returned == "end"
    assert shared["ran"] == ["Step", "Right"]
    assert [(e.node, e.action, e.target) for e in watched.of(Action)] == [
        ("Step", "right", "Right"),
        ("Right", "end", None),
    ]
    assert [event.action for event in watched.of(FlowEnd)] == ["end"]


@pytest.mark.parametrize("action", [None, "", "default"])
def test_no_action_is_the_default_one(way: Way, action: str | None) -> None:
    """As in pocketflow."""
    first = Step(action)
    first >> Step(name="Next")
    watched = way.watch(Flow(start=first))
    assert paths(watched) == ["Step", "Next"]
    assert watched.of(Action)[0].action == action


def test_an_action_without_a_successor_warns_and_ends(way: Way) -> None:
    """With pocketflow's text, and not where the node has no successors at all."""
    first = Step("lost")
    first - "found" >> Step("unknown", name="Next")
    with pytest.warns(UserWarning, match=r"Flow ends: 'lost' not found in \['found'\]"):
        assert way.watch(Flow(start=first)).returned == "lost"
    assert way.watch(Flow(start=Step("unknown"))).returned == "unknown"


def test_a_successor_of_none_ends_without_a_warning(way: Way) -> None:
    """`node - "done" >> None`."""
    first = Step("done")
    first - "done" >> None
    watched = way.watch(Flow(start=first))
    assert watched.returned == "done"
    assert watched.of(Action)[0].target is None


def test_a_loop_counts_its_steps(way: Way) -> None:
    """`plan >> act`, `act >> plan`: the same node again is the next step of the same name."""
    plan, act = Step(None, None, "answer", name="Plan"), Step(name="Act")
    plan >> act
    act >> plan
    plan - "answer" >> Step("done", name="Answer")
    watched = way.watch(Flow(start=plan))
    assert watched.returned == "done"
    assert [(event.node, event.step) for event in watched.of(NodeStart)] == [
        ("Plan", 1),
        ("Act", 1),
        ("Plan", 2),
        ("Act", 2),
        ("Plan", 3),
        ("Answer", 1),
    ]


def test_a_route_of_ones_own(way: Way) -> None:
    """An overridden `get_next_node` decides, with the node that ran and what it gave."""
    asked = []

    class Routed(Flow):
        def get_next_node(self, curr: Any, action: Any) -> Any:
            asked.append((curr.node_name, action))
            return super().get_next_node(curr, "b" if action == "a" else action)

    first = Step("a")
    first - "b" >> Step("end", name="Next")
    watched = way.watch(Routed(start=first))
    assert paths(watched) == ["Step", "Next"]
    assert asked == [("Step", "a"), ("Next", "end")]
    assert [event.target for event in watched.of(Action)] == ["Next", None]


def test_the_route_that_an_override_asks_for_is_the_flows_own(way: Way) -> None:
    """Called by hand it warns as a run does, and knows a successor of `None`."""
    node = Step("done")
    node - "done" >> None
    node - "go" >> Step()
    flow = Flow(start=node)
    assert flow.get_next_node(node, "done") is None
    assert flow.get_next_node(node, "go") is node.successors["go"]
    assert flow.get_next_node(Step(), "anything") is None
    with pytest.warns(UserWarning, match=r"Flow ends: 'None' not found in \['done', 'go'\]"):
        assert flow.get_next_node(node, None) is None

    class Routed(Flow):
        def get_next_node(self, curr: Any, action: Any) -> Any:
            return super().get_next_node(curr, action)

    assert way.watch(Routed(start=node)).returned == "done"


def test_a_route_may_lead_out_of_the_graph(way: Way) -> None:
    """A node that only `get_next_node` knows has a path too, its own step, and the params."""
    hidden = Step("end", name="Hidden")

    class Routed(Flow):
        def get_next_node(self, curr: Any, action: Any) -> Any:
            return hidden if curr.node_name == "Step" else None

    flow = Routed(start=Step())
    flow.set_params({"p": 1})
    watched = way.watch(flow)
    assert paths(watched) == ["Step", "Hidden"]
    assert watched.data() == [{"p": 1}, {"p": 1}]


@pytest.mark.parametrize("action", [["list"], {"a": 1}])
def test_an_action_that_cannot_be_one_is_an_error(way: Way, action: Any) -> None:
    """It names the node and says what an action is."""
    first = Step(action)
    first >> Step()
    watched = way.watch(Flow(start=first))
    assert isinstance(watched.error, TypeError)
    assert "'Step'" in str(watched.error)
    assert "str or None" in str(watched.error)


def test_an_action_may_be_any_object_that_can_be_looked_up(way: Way) -> None:
    """As in pocketflow; in events it is a text."""
    first = Step(7)  # type: ignore[arg-type]
    first - "7" >> Step()
    with pytest.warns(UserWarning, match=r"Flow ends: '7' not found in \['7'\]"):
        watched = way.watch(Flow(start=first))
    assert watched.returned == 7
    assert watched.of(Action)[0].action == "7"


def test_the_start_can_be_given_later(way: Way) -> None:
    """`flow.start(node)` gives the node."""
    flow, first = Flow(), Step("done")
    assert flow.start(first) is first
    assert flow.start_node is first
    assert way.watch(flow).returned == "done"


def test_a_flow_without_a_start_node_warns(way: Way) -> None:
    """It returns `None`, as in pocketflow, which says nothing; its `post` is asked."""

    class Empty(Flow):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return f"got {exec_res}"

    with pytest.warns(UserWarning, match=r"Flow 'Flow' has no start node.*flow\.start"):
        watched = way.watch(Flow())
    assert watched.returned is None
    assert watched.names() == ["flow_start", "flow_end"]
    with pytest.warns(UserWarning, match="Flow 'Empty' has no start node"):
        assert way.watch(Flow(start=Empty())).returned == "got None"


def test_a_batch_flow_with_an_item_that_is_no_params_fails(way: Way) -> None:
    """The items before it have run; of it nothing is seen, as nothing of it began."""

    class Wrong(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"file": "a"}, 5]

    watched = way.watch(Wrong(start=Step()))
    assert isinstance(watched.error, TypeError)
    assert [(event.items, event.status) for event in watched.of(ItemEnd)] == [((0,), "ok")]
    assert [event.status for event in watched.of(FlowEnd)] == ["error"]


def test_an_item_that_nobody_heard_has_no_end_where_the_next_cannot_be_drawn(way: Way) -> None:
    """It has ended, although somebody listens by then."""
    heard: list[Event] = []

    class Wrong(BatchFlow):
        def prep(self, shared: Any) -> Iterator[dict[str, str]]:
            yield {"file": "a"}
            signals.item_end.connect(heard.append, sender=self)
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        way.run(Wrong(start=Step()))
    signals.item_end.disconnect(heard.append)
    assert heard == []


def test_a_batch_flow_begins_each_item_where_it_starts_then(way: Way) -> None:
    """A node may set another start node, as in PocketFlow."""

    class Turns(Step):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            super().post(shared, prep_res, exec_res)
            flow.start_node = other

    other = Step(name="Other")
    flow = Files(start=Turns(name="Turns"))
    assert flow_runs(way, flow) == ["Turns", "Other"]


def flow_runs(way: Way, flow: Any) -> list[str]:
    """The names of the nodes that ran."""
    shared: dict[str, Any] = {}
    way.run(flow, shared)
    return list(shared["ran"])


def test_a_batch_flow_without_a_start_node_warns(way: Way) -> None:
    """So does a batch, where it has items, once."""

    class Empty(BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"i": 0}, {"i": 1}]

    with pytest.warns(UserWarning, match="Flow 'Empty' has no start node") as caught:
        watched = way.watch(Empty())
    assert len(caught) == 1
    assert watched.returned is None
    assert len(watched.of(ItemStart)) == 2
