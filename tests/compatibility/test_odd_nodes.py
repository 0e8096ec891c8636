"""What pocketflow runs is run, although no class of a library is behind it."""

from __future__ import annotations

from typing import Any

import pytest

import flowevents
from flowevents import Chunk, Event, GraphError, NodeEnd, Run, observe, signals
from flowevents.testing import check_events
from tests.compatibility.libraries import Library, pocketflow
from tests.watching import in_loop


class Duck:
    """All that pocketflow's flow uses of a node."""

    __slots__ = ("action", "params", "successors")

    def __init__(self, action: str | None = None) -> None:
        self.params: dict[str, Any] = {}
        self.successors: dict[str, Any] = {}
        self.action = action

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def _run(self, shared: Any) -> str | None:
        shared.setdefault("ran", []).append(dict(self.params))
        return self.action


def ducks(library: Any, *, first: Any = None) -> Any:
    """A flow of nodes and ducks, one of them the start of a flow in it."""
    inner = library.Flow(start=Duck())
    start = library.Node()
    duck = Duck("on")
    start.next(duck)
    duck.successors["on"] = inner
    inner.next(Duck("end"))
    flow = library.Flow(start=first or start)
    flow.set_params({"p": 1})
    return flow


@pytest.fixture(params=["sync", "async", "pulled"])
def way(request: pytest.FixtureRequest) -> str:
    """How a run is driven."""
    return request.param  # type: ignore[no-any-return]


def events_of(flow: Any, shared: Any, way: str) -> list[Event]:
    """The events of a run, which are well-formed."""
    events: list[Event] = []
    if way == "pulled":
        events.extend(Run(flow, shared))
    else:
        run = Run(flow, shared, observers=[events.append])
        run.wait() if way == "sync" else in_loop(run.wait_async)
    check_events(events)
    return events


def test_a_node_need_only_run(library: Library) -> None:
    """It needs `_run`, `set_params` and `successors`."""
    shared: dict[str, Any] = {}
    flow = ducks(library.classes)
    assert library.run(flow, shared) == "end"
    assert shared == {"ran": [{"p": 1}] * 3}


def test_a_duck_is_one_opaque_step(way: str) -> None:
    """With a name and a path, in flows of both libraries and alone."""
    for library in (flowevents, pocketflow):
        events = events_of(ducks(library), {}, way)
        ended = [event.node for event in events if isinstance(event, NodeEnd)]
        assert ended == ["Node", "Duck", "Flow/Duck", "Duck#2"]
    events = events_of(Duck("alone"), {}, way)
    assert [event.node for event in events if isinstance(event, NodeEnd)] == ["Duck"]


def test_a_duck_may_be_listened_to() -> None:
    """Its class, and one of its objects where that can be referred to weakly."""

    class Weak(Duck):
        __slots__ = ("__weakref__",)

    heard: list[str] = []
    duck = Weak()
    for sender in (Duck, duck):
        with signals.node_end.connected_to(lambda event: heard.append(event.node), sender=sender):
            Run(flowevents.Flow(start=duck), {}).wait()
    assert heard == ["Weak", "Weak"]


def test_what_has_attributes_of_any_name_is_no_node_of_ours(way: str) -> None:
    """A class of pocketflow's whose objects answer to whatever they are asked."""

    class Answers(pocketflow.Node):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *args: None

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            assert not any("flowevents" in each for each in vars(self))
            return "posted"

    events = events_of(pocketflow.Flow(start=Answers()), {}, way)
    assert [event.node for event in events if isinstance(event, NodeEnd)] == ["Answers"]


def test_a_successor_that_is_never_reached_may_be_anything(library: Library) -> None:
    """Also in a flow that is itself never reached, and that one's start node."""
    classes = library.classes
    start, lost = classes.Node(), classes.Flow()
    lost.start_node = "no node"
    start.next(lost, "never")
    start.successors["default"] = last = classes.Node()
    last.successors["todo"] = "not written yet"
    last.post = lambda shared, prep_res, exec_res: "done"
    with pytest.warns(UserWarning, match="Flow ends: 'done' not found"):
        assert library.run(classes.Flow(start=start), {}) == "done"


def test_a_start_node_that_is_none_fails_where_it_is_reached() -> None:
    """The events say so."""
    inner = pocketflow.Flow(start=Duck)
    start = pocketflow.Node()
    start >> inner
    events: list[Event] = []
    run = Run(pocketflow.Flow(start=start), {}, observers=[events.append])
    with pytest.raises(GraphError, match="start node of flow 'Flow'"):
        run.wait()
    check_events(events)


def test_a_duck_that_emits_is_not_ours() -> None:
    """What it calls `emit` is its own."""

    class Emits(Duck):
        def emit(self, *args: Any) -> None:
            raise NotImplementedError

    seen: list[Event] = []
    with observe(seen.append):
        Run(flowevents.Flow(start=Emits()), {}).wait()
    assert not [event for event in seen if isinstance(event, Chunk)]
