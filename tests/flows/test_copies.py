"""Copies of flows, and their bad use."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import flowevents
from flowevents import (
    AsyncFlow,
    AsyncNodeError,
    AsyncStreamNode,
    Event,
    Flow,
    GraphError,
    ItemEnd,
    Node,
    Run,
    StreamNode,
    signals,
)
from flowevents.testing import check_events
from tests.flows.steps import AsyncStep, ParallelFiles, Step, pocketflow
from tests.watching import Way, in_loop

# -- copies ---------------------------------------------------------------------------------------


class Portable(Flow):
    """Can be pickled: it stands in a module."""


class Saves(Node):
    """Pickles and copies the graph it is in while it runs."""

    def prep(self, shared: Any) -> Any:
        shared["pickled"] = pickle.dumps(self)
        shared["copied"] = copy.deepcopy(self)
        shared["flow"] = pickle.dumps(self.successors["default"])

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        self.emit("saved")


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda flow: pickle.loads(pickle.dumps(flow))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_flows_can_be_copied_and_pickled(way: Way, again: Callable[[Any], Any]) -> None:
    """What comes back runs as the original, before and after a run."""
    flow = Portable(start=Step("end"))
    flow.set_params({"p": 1})
    for made in (again(flow), again(again(flow))):
        watched = way.watch(made)
        assert type(made) is Portable
        assert watched.data() == [{"p": 1}]


def test_a_flow_can_be_copied_and_pickled_while_it_runs(way: Way) -> None:
    """From inside a node; what comes back runs no step, and can be run."""
    saves = Saves()
    saves >> Portable(start=Step("end"))
    shared: dict[str, Any] = {}
    watched = way.watch(Portable(start=saves), shared)
    assert watched.error is None
    for made in (pickle.loads(shared["pickled"]), shared["copied"]):
        made.emit("nobody hears it")
        assert way.watch(Portable(start=made), {}).data() == ["saved", {}]
    assert way.run(pickle.loads(shared["flow"])) == "end"


def test_an_async_parallel_flow_can_be_copied_and_pickled() -> None:
    """With its limit."""
    flow = ParallelFiles(start=AsyncStep(), max_concurrency=2)
    for made in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        assert made.max_concurrency == 2
        assert len(Way("async").watch(made).of(ItemEnd)) == 2


# -- bad use --------------------------------------------------------------------------------------


def test_an_async_node_in_a_sync_run_is_named(way: Way) -> None:
    """Its path, its class and the way out; the steps before it have run."""
    first = Step()
    first >> Flow(start=AsyncStep())
    shared: dict[str, Any] = {}
    watched = way.watch(Flow(start=first), shared)
    if way.name == "async":
        assert shared["ran"] == ["Step", "AsyncStep"]
        return
    assert isinstance(watched.error, AsyncNodeError)
    assert "'Flow/AsyncStep' (AsyncStep)" in str(watched.error)
    assert "run_async" in str(watched.error)
    assert shared["ran"] == ["Step"]


def test_an_async_flow_in_a_sync_run_is_named() -> None:
    """Also where it is the run's own."""
    for flow in (AsyncFlow(start=Step()), Flow(start=AsyncFlow(start=Step()))):
        with pytest.raises(AsyncNodeError, match=r"'AsyncFlow'.*run_async"):
            flow.run({})
        with pytest.raises(AsyncNodeError, match=r"'AsyncFlow'.*run_async"):
            list(flow.run_stream({}))


def test_a_start_that_is_no_node_is_an_error() -> None:
    """When it is given; a class gets a hint."""
    with pytest.raises(GraphError, match=r"start of flow 'Flow' is 7, which is not a node"):
        Flow(start=7)
    with pytest.raises(GraphError, match="instance"):
        Flow().start(Step)
    with pytest.raises(GraphError, match="instance"):
        Run(Step, {})


@pytest.mark.parametrize("library", [pocketflow, flowevents])
def test_a_successor_that_is_no_node_is_an_error_where_it_is_reached(
    way: Way, library: Any
) -> None:
    """Also in graphs that were made by hand or with pocketflow; the place is named."""
    ran: list[bool] = []
    events: list[Event] = []

    class Ran(library.Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            ran.append(True)
            return "go" if len(ran) == 2 else "default"

    first, second = Ran(), Ran()
    first.next(second)
    second.successors["go"] = Ran
    flow = library.Flow(start=first)

    def run() -> Any:
        made = Run(flow, {}, observers=[events.append])
        return made.wait() if way.name == "sync" else in_loop(made.wait_async)

    with pytest.raises(GraphError, match=r"successor of 'Ran#2' for 'go'"):
        run()
    assert ran == [True, True]
    check_events(events)
    flow.start_node = "no node"
    with pytest.raises(GraphError, match=r"'no node' is not a node.*start node of flow 'Flow'"):
        run()
    assert ran == [True, True]


def test_running_a_flow_with_successors_warns(way: Way) -> None:
    """Only that flow runs."""
    flow = Flow(start=Step("end"))
    flow >> Step()
    with pytest.warns(UserWarning, match="Node won't run successors"):
        assert way.watch(flow).returned == "end"


def test_handlers_of_a_flow_hear_what_is_nested_in_it(way: Way) -> None:
    """An object covers its nodes, also as a copy in another flow; a class its own events."""
    inner = Portable(start=Step())
    start = Step(name="Outside")
    start >> inner
    heard: list[tuple[str, str]] = []

    def note(event: Event) -> None:
        heard.append((event.signal, event.node))

    with signals.chunk.connected_to(note, inner), signals.flow_start.connected_to(note, Portable):
        way.run(Flow(start=start))
    assert heard == [("flow_start", "Portable"), ("chunk", "Portable/Step")]


def test_an_async_stream_in_a_flow_streams_in_its_turn() -> None:
    """Sync and async nodes mixed, plain ones between."""

    class Words(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            for letter in "ab":
                await asyncio.sleep(0)
                yield letter

    class Letters(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield from "cd"

    words = Words()
    words >> AsyncStep() >> Letters() >> Flow(start=Letters())
    assert Way("async").streamed(AsyncFlow(start=words)) == ["a", "b", {}, *"cdcd"]
