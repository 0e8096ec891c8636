"""Flows: routes, names, nesting, batches, overrides, and runs at the same time."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pocketflow as released
import pytest

import flowevents
from flowevents import (
    Action,
    AsyncBatchFlow,
    AsyncFlow,
    AsyncNode,
    AsyncNodeError,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    FlowStart,
    GraphError,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    Progress,
    Run,
    StreamFlow,
    StreamNode,
    signals,
)
from flowevents.testing import check_events
from tests.graphs import Watched, Way, in_loop

pocketflow: Any = released  # its stubs would have ours refused


class Step(Node):
    """Says its name and params, and gives the next of its actions."""

    def __init__(self, *actions: str | None, name: str | None = None) -> None:
        super().__init__()
        self.actions: list[Any] = list(actions)
        if name is not None:
            self.node_name = name

    def exec(self, prep_res: Any) -> None:
        self.emit(dict(self.params))

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str | None:
        shared.setdefault("ran", []).append(self.node_name)
        return self.actions.pop(0) if self.actions else None  # copies have the list in common


class AsyncStep(AsyncNode):
    """The same, awaited."""

    async def exec_async(self, prep_res: Any) -> None:
        await asyncio.sleep(0)
        self.emit(dict(self.params))

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.setdefault("ran", []).append(self.node_name)


def paths(watched: Watched) -> list[str]:
    """The paths of the nodes that ran, in order."""
    return [event.node for event in watched.of(NodeStart)]


# -- routes ---------------------------------------------------------------------------------------


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


# -- names ----------------------------------------------------------------------------------------


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


def test_a_bad_name_in_a_nested_flow_is_refused_before_anything_runs(way: Way) -> None:
    """The error says where it is."""
    first = Step()
    first >> Flow(start=Step(name="a/b"))
    shared: dict[str, Any] = {}
    watched = way.watch(Flow(start=first), shared)
    assert isinstance(watched.error, ValueError)
    assert "'a/b'" in str(watched.error)
    assert "'Flow'" in str(watched.error)
    assert shared == {}
    assert watched.events == []


# -- nested flows ---------------------------------------------------------------------------------


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


# -- batch flows ----------------------------------------------------------------------------------


class Files(BatchFlow):
    """Runs its graph for each file."""

    files: Any = ("a", "b")

    def prep(self, shared: Any) -> Any:
        return None if self.files is None else [{"file": name} for name in self.files]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["post"] = (prep_res, exec_res)
        return "all done"


class AsyncFiles(AsyncBatchFlow):
    """The same, one after the other, in an async run."""

    files: Any = ("a", "b")

    async def prep_async(self, shared: Any) -> Any:
        return None if self.files is None else [{"file": name} for name in self.files]

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["post"] = (prep_res, exec_res)
        return "all done"


class ParallelFiles(AsyncParallelBatchFlow):
    """The same, at the same time."""

    files = AsyncFiles.files
    prep_async: Any = AsyncFiles.prep_async
    post_async: Any = AsyncFiles.post_async


@pytest.fixture(params=[Files, AsyncFiles, ParallelFiles])
def batch(request: pytest.FixtureRequest) -> Any:
    """A class of batch flows: sync, async and parallel."""
    return request.param


def of_batch(batch: Any) -> Way:
    """The run that such a flow needs."""
    return Way("sync" if batch is Files else "async")


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


# -- overrides of pocketflow's private methods ----------------------------------------------------


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


# -- runs at the same time ------------------------------------------------------------------------


def agent() -> Any:
    """A flow with a loop, a nested flow and a stream, whose nodes use `shared` and `params`."""

    class Plan(Node):
        def prep(self, shared: Any) -> Any:
            self.run_name = shared["name"]
            return shared["name"]

        def exec(self, prep_res: Any) -> Any:
            self.emit(prep_res)
            return self.run_name

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str | None:
            assert self.run_name == shared["name"] == prep_res == exec_res
            shared["rounds"] = shared.get("rounds", 0) + 1
            return "done" if shared["rounds"] == 3 else None

    class Act(StreamNode):
        def prep(self, shared: Any) -> Any:
            return shared["name"]

        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield prep_res
            yield prep_res

    plan, act = Plan(), Flow(start=Act())
    plan >> act >> plan
    plan - "done" >> None
    return Flow(start=plan)


def rounds(name: str) -> list[str]:
    """The chunks of one run of it."""
    return [name, name, name] * 2 + [name]


def test_concurrent_runs_of_one_flow_are_independent_in_threads() -> None:
    """Fifty threads, one object: each run's observers hear that run only."""
    flow = agent()
    begin = threading.Barrier(50, timeout=60)
    heard: dict[str, list[Event]] = {f"run {number}": [] for number in range(50)}
    before = dict(vars(flow)), dict(vars(flow.start_node))

    def run(name: str) -> None:
        begin.wait()
        assert flow.run({"name": name}, observers=[heard[name].append]) == "done"

    threads = [threading.Thread(target=run, args=(name,)) for name in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, events in heard.items():
        check_events(events)
        assert [event.data for event in events if isinstance(event, Chunk)] == rounds(name)
    assert (dict(vars(flow)), dict(vars(flow.start_node))) == before
    assert all(not signal.receivers for signal in (signals.chunk, signals.flow_end))


def test_concurrent_runs_of_one_flow_are_independent_in_tasks() -> None:
    """A hundred tasks whose steps take turns."""

    class Turn(AsyncNode):
        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            await asyncio.sleep(0)
            self.emit(shared["name"])

    turn = Turn()
    turn >> agent()
    flow = AsyncFlow(start=turn)

    async def run(name: str) -> list[Event]:
        events: list[Event] = []
        await flow.run_async({"name": name}, observers=[events.append])
        return events

    async def main() -> list[list[Event]]:
        return await asyncio.gather(*(run(f"run {number}") for number in range(100)))

    for number, events in enumerate(in_loop(main)):
        check_events(events)
        name = f"run {number}"
        assert [e.data for e in events if isinstance(e, Chunk)] == [name, *rounds(name)]


def test_a_flow_inside_its_own_run_is_another_run(way: Way) -> None:
    """A node may run the flow it is in."""
    heard: list[Event] = []

    class Again(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            if shared["depth"]:
                flow.run({"depth": shared["depth"] - 1}, observers=[heard.append])

    flow = Flow(start=Again())
    watched = way.watch(flow, {"depth": 1})
    assert watched.error is None
    check_events(heard)
    assert len(heard) == len(watched.events)


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
def test_a_successor_that_is_no_node_is_found_before_anything_runs(way: Way, library: Any) -> None:
    """Also in graphs that were made by hand or with pocketflow; the place is named."""
    ran: list[bool] = []

    class Ran(library.Node):
        def exec(self, prep_res: Any) -> None:
            ran.append(True)

    first, second = Ran(), Ran()
    first.next(second)
    second.successors["go"] = Ran
    flow = library.Flow(start=first)

    def run() -> Any:
        if way.name == "sync":
            return Run(flow, {}).wait()
        return in_loop(Run(flow, {}).wait_async)

    with pytest.raises(GraphError, match=r"successor of 'Ran' for 'go'"):
        run()
    flow.start_node = "no node"
    with pytest.raises(GraphError, match=r"'no node' is not a node.*start node of flow 'Flow'"):
        run()
    assert ran == []


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
