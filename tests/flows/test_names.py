"""Names of nodes in a flow."""

from __future__ import annotations

from flowevents import Flow, FlowStart
from tests.flows.steps import Step, paths
from tests.watching import Way


def test_equal_names_are_numbered_breadth_first(way: Way) -> None:
    """From the start node, successors in insertion order, whatever the order they run in."""
    start, near, far, other = (Step() for _ in range(4))
    start - "near" >> near
    start - "other" >> other
    near >> far
    start.actions = ["other"]
    other.actions = ["near"]
    other - "near" >> near
    watched = way.watch(Flow(start=start))
    assert paths(watched) == ["Step", "Step#3", "Step#2", "Step#4"]


def test_numbers_are_those_of_one_flow(way: Way) -> None:
    """A nested flow begins anew; its path holds its own name with its number."""

    def nested() -> Flow:
        first = Step()
        first >> Step()
        return Flow(start=first)

    outer, again = nested(), nested()
    outer >> Step() >> again
    watched = way.watch(Flow(start=outer))
    assert paths(watched) == ["Flow/Step", "Flow/Step#2", "Step", "Flow#2/Step", "Flow#2/Step#2"]
    assert [event.flow for event in watched.of(FlowStart)] == ["Flow", "Flow", "Flow#2"]


def test_names_are_the_same_in_every_run(way: Way) -> None:
    """Also where another way was taken."""
    start = Step("b", "a")
    start - "a" >> Step()
    start - "b" >> Step()
    flow = Flow(start=start)
    assert paths(way.watch(flow)) == ["Step", "Step#3"]
    assert paths(way.watch(flow)) == ["Step", "Step#2"]


def test_one_object_at_two_places_has_one_name(way: Way) -> None:
    """It is one node, which runs twice."""
    shared_node, start = Step(name="Shared"), Step("a")
    start - "a" >> Step(name="Between") >> shared_node
    start - "b" >> shared_node
    watched = way.watch(Flow(start=start))
    assert paths(watched) == ["Step", "Between", "Shared"]


def test_a_flow_has_a_name_of_its_own(way: Way) -> None:
    """`node_name` works on flows; the run's own has the path `""`."""

    class Research(Flow):
        pass

    inner = Research(start=Step(name="Search"))
    outer = Flow(start=inner)
    outer.node_name = "Agent"
    watched = way.watch(outer)
    assert paths(watched) == ["Research/Search"]
    assert [(event.node, event.flow) for event in watched.of(FlowStart)] == [
        ("", "Agent"),
        ("Research", "Research"),
    ]


def test_a_name_with_a_separator_is_one_part_of_a_path(way: Way) -> None:
    """Nested, and beside one that is written as it is shown."""
    first = Step(name="a/b")
    first >> Step(name="a∕b") >> Step(name="a#2")
    watched = way.watch(Flow(start=Flow(start=first)))
    assert paths(watched) == ["Flow/a∕b", "Flow/a∕b#2", "Flow/a♯2"]
