"""Both directions with PocketFlow: any graph gives what it gives there, and mixes with it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import types
from collections.abc import Callable, Generator, Iterable
from typing import Any

import pocketflow as released
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowevents
from flowevents import (
    AsyncNodeError,
    Chunk,
    Event,
    FlowEnd,
    FlowEventsError,
    GraphError,
    Run,
)
from flowevents.testing import check_events
from tests.graphs import (
    Graph,
    Leaf,
    Outcome,
    assert_same,
    build,
    graphs,
    in_loop,
    leaves,
    newest_pocketflow,
    outcome_of,
)

pocketflow: Any = released  # its stubs would have ours refused
NEWEST: Any = newest_pocketflow()

Use = Callable[[Any, dict[str, Any]], Any]
"""A way to run a made graph: it gets the graph and `shared`, and gives the action."""


def facts(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Events without what differs between two runs of the same graph."""
    return [
        {"type": type(event).__name__}
        | {
            name: getattr(event, name)
            for name in event.__struct_fields__
            if name not in ("run_id", "time", "duration")
        }
        for event in events
    ]


def is_last(event: Event) -> bool:
    """Whether it is the run's last event."""
    return isinstance(event, FlowEnd) and event.node == ""


# -- ways to run a graph --------------------------------------------------------------------------


def plainly(made: Any, shared: dict[str, Any]) -> Any:
    """As pocketflow's users do."""
    return made.run(shared)


def plainly_async(made: Any, shared: dict[str, Any]) -> Any:
    """As pocketflow's users do, in a loop."""
    return in_loop(lambda: made.run_async(shared))


class Watched:
    """Ways to run a graph that keep what was seen of it.

    Attributes:
        events: Every event.
        chunks: The data of its output chunks, where a way gives just them.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.chunks: list[Any] = []

    def pulled(self, made: Any, shared: dict[str, Any]) -> Any:
        run = Run(made, shared)
        for event in run:
            self.events.append(event)
        return run.action

    def pulled_by_many(self, made: Any, shared: dict[str, Any]) -> Any:
        run = Run(made, shared)
        while not (self.events and is_last(self.events[-1])):
            for event in run:
                self.events.append(event)
                if len(self.events) % 3 == 0 and not is_last(event):
                    break
        return run.wait()

    def observed(self, made: Any, shared: dict[str, Any]) -> Any:
        return Run(made, shared, observers=[self.events.append]).wait()

    def streamed(self, made: Any, shared: dict[str, Any]) -> Any:
        def outer() -> Generator[Any, None, Any]:
            return (yield from made.run_stream(shared, observers=[self.events.append]))

        stream = outer()
        while True:
            try:
                self.chunks.append(next(stream))
            except StopIteration as end:
                return end.value

    def streamed_alone(self, made: Any, shared: dict[str, Any]) -> Any:
        stream = made.run_stream(shared)
        self.chunks.extend(stream)
        return stream.run.action

    def called_back(self, made: Any, shared: dict[str, Any]) -> Any:
        def callback(chunk: Any, node: str) -> None:
            self.chunks.append(chunk)

        return made.run_stream(shared, callback=callback)

    def silent(self, made: Any, shared: dict[str, Any]) -> Any:
        return made.run_stream(shared, callback=None)

    async def pulled_async(self, made: Any, shared: dict[str, Any]) -> Any:
        run = Run(made, shared)
        async for event in run:
            self.events.append(event)
        return run.action

    async def pulled_by_many_async(self, made: Any, shared: dict[str, Any]) -> Any:
        run = Run(made, shared)
        while not (self.events and is_last(self.events[-1])):
            async for event in run:
                self.events.append(event)
                if len(self.events) % 3 == 0 and not is_last(event):
                    break
        return await run.wait_async()

    async def observed_async(self, made: Any, shared: dict[str, Any]) -> Any:
        return await Run(made, shared, observers=[self.events.append]).wait_async()

    async def observed_by_async(self, made: Any, shared: dict[str, Any]) -> Any:
        async def observer(event: Event) -> None:
            await asyncio.sleep(0)
            self.events.append(event)

        return await made.run_async(shared, observers=[observer])

    async def streamed_async(self, made: Any, shared: dict[str, Any]) -> Any:
        stream = made.run_stream_async(shared, observers=[self.events.append])
        async for chunk in stream:
            self.chunks.append(chunk)
        return stream.run.action

    async def streamed_alone_async(self, made: Any, shared: dict[str, Any]) -> Any:
        stream = made.run_stream_async(shared)
        async for chunk in stream:
            self.chunks.append(chunk)
        return stream.run.action

    async def called_back_async(self, made: Any, shared: dict[str, Any]) -> Any:
        async def callback(chunk: Any, node: str) -> None:
            self.chunks.append(chunk)

        return await made.run_stream_async(shared, callback=callback)

    async def silent_async(self, made: Any, shared: dict[str, Any]) -> Any:
        return await made.run_stream_async(shared, callback=None)


WATCHED = ("pulled", "pulled_by_many", "observed")
"""Ways that any library's graphs can be run in; each has an `_async` one."""
FORMS = (*WATCHED, "streamed", "streamed_alone", "called_back", "silent")


def run(spec: Leaf | Graph, library: Any, use: Use | None = None, **options: Any) -> Outcome:
    """Make a graph with a library's classes, and run it; by default as that library's users do."""

    def made_and_run(shared: dict[str, Any]) -> Any:
        made = build(spec, library, shared, **options)
        return (use or (plainly_async if spec.is_async else plainly))(made, shared)

    return outcome_of(made_and_run)


def watch(
    spec: Leaf | Graph, library: Any, form: str, *, in_a_loop: bool, **options: Any
) -> tuple[Outcome, Watched]:
    """Make a graph and run it in one of the `FORMS`; what was seen is well-formed."""
    watched = Watched()
    use: Use = getattr(watched, form if not in_a_loop else f"{form}_async")
    inner = use

    def awaited(made: Any, shared: dict[str, Any]) -> Any:
        return in_loop(lambda: inner(made, shared))

    outcome = run(spec, library, awaited if in_a_loop else use, **options)
    assert outcome.error is None or not issubclass(outcome.error[0], FlowEventsError), outcome.error
    if watched.events:
        check_events(watched.events)
    return outcome, watched


# -- ours instead of theirs -----------------------------------------------------------------------


@given(graphs(none_successors=False) | leaves())
def test_sync_graphs_give_what_the_released_pocketflow_gives(spec: Leaf | Graph) -> None:
    """Return value, `shared`, every call, warnings and errors are the same."""
    assert_same(spec, run(spec, flowevents), run(spec, pocketflow))


@given(
    graphs(none_successors=False, none_batches=False, asynchronous=True) | leaves(asynchronous=True)
)
def test_async_graphs_give_what_the_released_pocketflow_gives(spec: Leaf | Graph) -> None:
    """Also with async nodes and flows; of cancelled siblings nothing is compared."""
    theirs = run(spec, pocketflow, newest=False)
    assert_same(spec, run(spec, flowevents, newest=False), theirs)


@given(graphs() | leaves())
def test_sync_graphs_give_what_the_newest_pocketflow_gives(spec: Leaf | Graph) -> None:
    """`>> None` ends in silence."""
    assert_same(spec, run(spec, flowevents), run(spec, NEWEST))


@given(graphs(asynchronous=True) | leaves(asynchronous=True))
def test_async_graphs_give_what_the_newest_pocketflow_gives(spec: Leaf | Graph) -> None:
    """Async nodes have `cur_retry`, and async batches of `None` are empty."""
    assert_same(spec, run(spec, flowevents), run(spec, NEWEST))


# -- theirs, unmodified, in our Run ---------------------------------------------------------------


@given(graphs(no_attempts=True), st.sampled_from(WATCHED), st.booleans())
def test_run_of_a_released_sync_flow_changes_nothing(
    spec: Graph, form: str, in_a_loop: bool
) -> None:
    """`Run(flow, shared)`, sync and async, gives what `flow.run(shared)` gives, and events."""
    outcome, watched = watch(spec, pocketflow, form, in_a_loop=in_a_loop)
    assert_same(spec, outcome, run(spec, pocketflow))
    assert isinstance(watched.events[-1], FlowEnd)


@given(graphs(no_attempts=True, asynchronous=True), st.sampled_from(WATCHED))
def test_run_of_a_released_async_flow_changes_nothing(spec: Graph, form: str) -> None:
    """So does that of an async flow, with parallel items in it."""
    outcome, watched = watch(spec, pocketflow, form, in_a_loop=True, newest=False)
    assert_same(spec, outcome, run(spec, pocketflow, plainly_or_in_loop(spec), newest=False))
    assert isinstance(watched.events[-1], FlowEnd)


@given(graphs(asynchronous=True), st.sampled_from(WATCHED))
def test_run_of_the_newest_flow_changes_nothing(spec: Graph, form: str) -> None:
    """The same of pocketflow as its repository now is."""
    outcome, watched = watch(spec, NEWEST, form, in_a_loop=True)
    assert_same(spec, outcome, run(spec, NEWEST, plainly_or_in_loop(spec)))
    assert isinstance(watched.events[-1], FlowEnd)


def plainly_or_in_loop(spec: Leaf | Graph) -> Use:
    """How pocketflow's users run it."""
    return plainly_async if spec.is_async else plainly


@given(graphs(none_successors=False, none_batches=False, asynchronous=True))
def test_their_graphs_send_the_events_that_ours_send(spec: Graph) -> None:
    """An observer cannot tell whose nodes run."""
    if spec.has_parallel:
        return
    _, theirs = watch(spec, pocketflow, "pulled", in_a_loop=True, newest=False, emits=False)
    _, ours = watch(spec, flowevents, "pulled", in_a_loop=True, newest=False, emits=False)
    assert facts(theirs.events) == facts(ours.events)


# -- theirs and ours in one graph -----------------------------------------------------------------


def mixture(ours: tuple[bool, ...], *, theirs_if: Callable[[Leaf | Graph], bool]) -> Any:
    """Whose classes each node is made with, by its number; some are theirs in any case."""

    def pick(spec: Leaf | Graph) -> Any:
        is_ours = ours[int(spec.label[1:]) % len(ours)]
        return flowevents if is_ours and not theirs_if(spec) else pocketflow

    return pick


_whose = st.lists(st.booleans(), min_size=1, max_size=4).map(tuple)


@given(
    graphs(none_successors=False, none_batches=False, asynchronous=True),
    _whose,
    st.sampled_from(WATCHED),
)
def test_a_mixed_graph_gives_in_our_run_what_either_gives(
    spec: Graph, ours: tuple[bool, ...], form: str
) -> None:
    """Their nodes and flows, async ones too, work in ours, and ours in theirs."""
    pick = mixture(ours, theirs_if=lambda spec: False)
    outcome, _ = watch(spec, pick, form, in_a_loop=True, newest=False)
    assert_same(spec, outcome, run(spec, pocketflow, plainly_or_in_loop(spec), newest=False))


@given(graphs(none_successors=False, none_batches=False, asynchronous=True), _whose)
def test_our_sync_nodes_and_flows_work_in_their_flows(spec: Graph, ours: tuple[bool, ...]) -> None:
    """A pocketflow flow that pocketflow itself runs takes our sync nodes and flows."""
    top = spec.label
    pick = mixture(ours, theirs_if=lambda spec: spec.is_async or spec.label == top)
    outcome = run(spec, pick, newest=False)
    assert_same(spec, outcome, run(spec, pocketflow, newest=False))


class Async(flowevents.AsyncNode):
    """One of our async nodes."""

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["ran"] = True


def test_our_async_node_in_their_async_flow_says_what_to_do() -> None:
    """pocketflow runs only its own async classes; the error names the node and both ways out."""
    flow = pocketflow.AsyncFlow(start=Async())
    with pytest.raises(AsyncNodeError, match=r"'Async'.*flowevents\.AsyncFlow.*flowevents\.Run"):
        asyncio.run(flow.run_async({}))


def test_our_async_flow_in_their_async_flow_says_what_to_do() -> None:
    """So it is with a flow."""

    class Inner(flowevents.AsyncFlow):
        pass

    flow = pocketflow.AsyncFlow(start=Inner(start=Async()))
    with pytest.raises(AsyncNodeError, match=r"'Inner'.*flowevents\.AsyncFlow.*flowevents\.Run"):
        asyncio.run(flow.run_async({}))


def test_both_ways_out_work() -> None:
    """Our async node runs in our AsyncFlow, and in their flow where our Run runs it."""
    shared: dict[str, Any] = {}
    asyncio.run(flowevents.AsyncFlow(start=Async()).run_async(shared))
    assert shared.pop("ran")
    asyncio.run(Run(pocketflow.AsyncFlow(start=Async()), shared).wait_async())
    assert shared.pop("ran")


@pytest.mark.parametrize("library", [pocketflow, flowevents])
def test_an_async_node_in_a_sync_run_is_an_error(library: Any) -> None:
    """Theirs and ours, in theirs and in ours, raise the `RuntimeError` that pocketflow raises."""

    class Late(library.AsyncNode):
        pass

    for flow in (pocketflow.Flow(start=Late()), flowevents.Flow(start=Late())):
        with pytest.raises(RuntimeError, match=r"run_async"):
            flow.run({})
        with pytest.raises(AsyncNodeError, match=r"'Late'.*run_async"):
            Run(flow, {}).wait()
    with pytest.raises(RuntimeError, match="run_async"):
        Late().run({})
    with pytest.raises(RuntimeError, match="run_async"):
        library.AsyncFlow(start=Late()).run({})


# -- however it is run ----------------------------------------------------------------------------


@given(graphs(streams=True) | leaves(streams=True), st.sampled_from(FORMS), st.booleans())
def test_every_form_of_a_sync_run_gives_the_same(
    spec: Leaf | Graph, form: str, in_a_loop: bool
) -> None:
    """Pushed, pulled, streamed, observed and unobserved, sync and async: one result."""
    outcome, _ = watch(spec, flowevents, form, in_a_loop=in_a_loop)
    assert_same(spec, outcome, run(spec, flowevents))


@given(
    graphs(streams=True, asynchronous=True) | leaves(streams=True, asynchronous=True),
    st.sampled_from((*FORMS, "observed_by")),
)
def test_every_form_of_an_async_run_gives_the_same(spec: Leaf | Graph, form: str) -> None:
    """So it is with async nodes and parallel items, and with observers that are awaited."""
    outcome, _ = watch(spec, flowevents, form, in_a_loop=True)
    assert_same(spec, outcome, run(spec, flowevents, plainly_async))


@given(graphs(streams=True, asynchronous=True) | leaves(streams=True, asynchronous=True))
def test_pullers_observers_and_streams_get_the_same(spec: Leaf | Graph) -> None:
    """Whoever asks gets the same events with the same numbers, and of chunks the data."""
    if spec.has_parallel:
        return
    _, pulled = watch(spec, flowevents, "pulled", in_a_loop=True)
    expected = facts(pulled.events)
    for form in ("pulled_by_many", "observed", "observed_by", "streamed"):
        assert facts(watch(spec, flowevents, form, in_a_loop=True)[1].events) == expected
    output = [e.data for e in pulled.events if isinstance(e, Chunk) and e.kind == "output"]
    for form in ("streamed", "streamed_alone", "called_back"):
        assert watch(spec, flowevents, form, in_a_loop=True)[1].chunks == output


@given(graphs(streams=True) | leaves(streams=True))
def test_sync_and_async_runs_give_the_same_events(spec: Leaf | Graph) -> None:
    """The same sync graph sends the same events in either, whoever gets them."""
    for form in FORMS:
        _, in_sync = watch(spec, flowevents, form, in_a_loop=False)
        _, in_async = watch(spec, flowevents, form, in_a_loop=True)
        assert facts(in_sync.events) == facts(in_async.events)
        assert in_sync.chunks == in_async.chunks


# -- what programs do with pocketflow that a graph does not show ----------------------------------


class Library:
    """A library's classes, and how its users run what they make of them.

    Attributes:
        classes: Its namespace.
        name: `"theirs"`, `"ours"` in its place, or `"theirs in our Run"`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.classes: Any = flowevents if name == "ours" else pocketflow

    def run(self, flow: Any, shared: Any) -> Any:
        """Run a flow or a node."""
        return Run(flow, shared).wait() if self.name == "theirs in our Run" else flow.run(shared)

    async def run_async(self, flow: Any, shared: Any) -> Any:
        """The same in a loop."""
        if self.name == "theirs in our Run":
            return await Run(flow, shared).wait_async()
        return await flow.run_async(shared)


@pytest.fixture(params=["theirs", "ours", "theirs in our Run"])
def library(request: pytest.FixtureRequest) -> Library:
    """pocketflow, flowevents in its place, and pocketflow's flows in our `Run`."""
    return Library(request.param)


def test_shared_and_what_post_gives_may_be_any_object(library: Any) -> None:
    """`shared` is handed through, and a run gives what the last `post` gave."""
    shared, result = object(), {"an": "object"}

    class Gives(library.classes.Node):
        def post(self, given: Any, prep_res: Any, exec_res: Any) -> Any:
            assert given is shared
            return result

    class Keeps(library.classes.Flow):
        def post(self, given: Any, prep_res: Any, exec_res: Any) -> Any:
            assert given is shared
            return [exec_res]

    class Ends(library.classes.Node):
        pass

    assert library.run(Gives(), shared) is result
    assert library.run(Keeps(start=Ends()), shared) == [None]


def test_methods_of_an_instance_replace_those_of_its_class(library: Any) -> None:
    """As a test or a tracer patches them, on one node or flow."""
    calls: list[str] = []

    def fail(prep_res: Any) -> None:
        calls.append("exec")
        raise ValueError("failed")

    def fall_back(prep_res: Any, exc: Exception) -> str:
        calls.append(f"fallback {exc}")
        return "result"

    def post(shared: Any, prep_res: Any, exec_res: Any) -> str:
        calls.append(f"post {exec_res}")
        return "anything"

    node = library.classes.Node(max_retries=2)
    node.exec, node.exec_fallback, node.post = fail, fall_back, post
    other = library.classes.Node()
    other._exec = lambda prep_res: calls.append("other's _exec")
    flow = library.classes.Flow(start=node)
    flow.get_next_node = lambda curr, action: other if action == "anything" else None
    library.run(flow, {})
    assert calls == ["exec", "exec", "fallback failed", "post result", "other's _exec"]


def test_methods_of_a_class_may_be_replaced_between_runs(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learned of a class in an earlier run is not held on to."""

    class Fails(library.classes.Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("failed")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    with pytest.raises(ValueError, match="failed"):
        library.run(library.classes.Flow(start=Fails()), {})
    monkeypatch.setattr(Fails, "exec_fallback", lambda self, prep_res, exc: "fell back")
    assert library.run(library.classes.Flow(start=Fails()), {}) == "fell back"


@pytest.mark.parametrize("name", ["_step", "step", "run_id", "_run_id", "context", "attempt"])
def test_a_nodes_attributes_are_its_own(library: Any, name: str) -> None:
    """What a program calls its attributes never meets what the engine knows of a node."""

    class Counts(library.classes.Node):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, name, 41)

        def exec(self, prep_res: Any) -> int:
            setattr(self, name, getattr(self, name) + 1)
            if hasattr(self, "emit"):
                self.emit("still works")
            return getattr(self, name)  # type: ignore[no-any-return]

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    library.run(library.classes.Flow(start=Counts()), shared)
    assert shared == {"result": 42}


def test_nodes_need_not_be_hashable(library: Any) -> None:
    """Nor equal to themselves only."""

    class Same(library.classes.Node):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["runs"] = shared.get("runs", 0) + 1

    first = Same()
    first >> Same() >> library.classes.Flow(start=Same())
    shared: dict[str, Any] = {}
    library.run(library.classes.Flow(start=first), shared)
    assert shared == {"runs": 3}


def test_a_graph_may_grow_while_it_runs(library: Any) -> None:
    """A node may give itself a successor that nobody knew before."""

    class Grows(library.classes.Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["nodes"] = shared.get("nodes", 0) + 1
            if shared["nodes"] < 5:
                self - "grown" >> Grows()
            return "grown"

    shared: dict[str, Any] = {}
    assert library.run(library.classes.Flow(start=Grows()), shared) == "grown"
    assert shared == {"nodes": 5}


def test_what_a_node_copies_shallowly_its_steps_have_in_common(library: Any) -> None:
    """A list that a node was made with is the same in all its steps, and in the original."""

    class Remembers(library.classes.Node):
        def __init__(self) -> None:
            super().__init__()
            self.memory: list[int] = []

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str | None:
            self.memory.append(len(self.memory))
            return "again" if len(self.memory) < 3 else None

    node = Remembers()
    node - "again" >> node
    node >> library.classes.Node()
    library.run(library.classes.Flow(start=node), {})
    assert node.memory == [0, 1, 2]


def test_all_nodes_of_a_pass_have_one_dict_of_params(library: Any) -> None:
    """What one writes into its params the next finds there; the flow's own stay as they were."""

    class Writes(library.classes.Node):
        def prep(self, shared: Any) -> None:
            self.params["written"] = self.params.get("written", 0) + 1
            shared["seen"] = dict(self.params)

    first = Writes()
    first >> Writes()
    flow = library.classes.Flow(start=first)
    flow.set_params({"p": 1})
    shared: dict[str, Any] = {}
    library.run(flow, shared)
    assert shared == {"seen": {"p": 1, "written": 2}}
    assert flow.params == {"p": 1}


def test_context_variables_go_from_node_to_node(library: Any) -> None:
    """And out of the run, in sync runs and in async ones."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    class Sets(library.classes.Node):
        def prep(self, shared: Any) -> None:
            variable.set(variable.get() + " set")

    class Adds(library.classes.AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await asyncio.sleep(0)
            variable.set(variable.get() + " added")

    def in_sync() -> str:
        first = Sets()
        first >> Sets()
        library.run(library.classes.Flow(start=first), {})
        return variable.get()

    async def in_async() -> str:
        first = Sets()
        first >> Adds() >> Sets()
        flow = library.classes.AsyncFlow(start=first)
        await library.run_async(flow, {})
        return variable.get()

    assert contextvars.copy_context().run(in_sync) == "unset set set"
    assert contextvars.copy_context().run(in_loop, in_async) == "unset set added set"


def test_timeouts_and_tasks_work_in_an_async_node(library: Any) -> None:
    """A timeout is an error like others: it can be tried again; the node's task is the caller's."""
    tries: list[str] = []

    class Slow(library.classes.AsyncNode):
        async def exec_async(self, prep_res: Any) -> str:
            tries.append("timeout")
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
            return "not reached"

        async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> list[Any]:
            tries.append(type(exc).__name__)
            return [*await asyncio.gather(asyncio.sleep(0, "a"), asyncio.sleep(0, "b"))]

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res
            shared["task"] = asyncio.current_task()

    async def main() -> dict[str, Any]:
        shared: dict[str, Any] = {}
        flow = library.classes.AsyncFlow(start=Slow(max_retries=2))
        await library.run_async(flow, shared)
        assert shared.pop("task") is asyncio.current_task()
        return shared

    assert in_loop(main) == {"result": ["a", "b"]}
    assert tries == ["timeout", "timeout", "TimeoutError"]


def test_a_timeout_of_a_block_is_an_error_like_others(library: Any) -> None:
    """It cancels the task and takes that back: no cancellation of the run."""
    tries: list[str] = []

    class Slow(library.classes.AsyncNode):
        async def exec_async(self, prep_res: Any) -> str:
            tries.append("try")
            if len(tries) == 3:
                return "result"
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
            return "not reached"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    in_loop(lambda: library.run_async(library.classes.AsyncFlow(start=Slow(max_retries=3)), shared))
    assert shared == {"result": "result"}


def test_an_error_in_a_task_that_was_once_cancelled_is_still_an_error(library: Any) -> None:
    """A cancellation that somebody swallowed before the run is none of the run's."""

    class Fails(library.classes.AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            raise ValueError("failed")

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        flow = library.classes.AsyncFlow(start=Fails(max_retries=2))
        with pytest.raises(ValueError, match="failed"):
            await library.run_async(flow, {})

    in_loop(main)


class Array(list[int]):
    """As numpy's: whether it is empty cannot be asked like this."""

    def __bool__(self) -> bool:
        raise ValueError("The truth value of an array is ambiguous.")


@pytest.mark.parametrize("kind", ["AsyncBatchNode", "AsyncParallelBatchNode"])
def test_the_items_of_an_async_batch_may_be_an_array(library: Any, kind: str) -> None:
    """Which is not asked whether it is true."""

    class Doubles(getattr(library.classes, kind)):  # type: ignore[misc]
        async def prep_async(self, shared: Any) -> Any:
            return Array([1, 2])

        async def exec_async(self, prep_res: int) -> int:
            return prep_res * 2

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    in_loop(lambda: library.run_async(library.classes.AsyncFlow(start=Doubles()), shared))
    assert shared == {"result": [2, 4]}


@pytest.mark.parametrize("falsy", [0, False, "", {}, ()])
def test_a_batch_of_something_falsy_is_empty(library: Any, falsy: Any) -> None:
    """`prep` may have found nothing, however it says so; `post` gets what it said."""

    class Items(library.classes.BatchNode):
        def prep(self, shared: Any) -> Any:
            return falsy

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["post"] = (prep_res, exec_res)

    class Passes(library.classes.BatchFlow):
        def prep(self, shared: Any) -> Any:
            return falsy

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["flow"] = (prep_res, exec_res)

    shared: dict[str, Any] = {}
    library.run(Items(), shared)
    library.run(Passes(start=Items()), shared)
    assert shared == {"post": (falsy, []), "flow": ([], None)}


def test_a_parallel_node_may_have_a_limit_of_its_own(library: Any) -> None:
    """pocketflow knows no `max_concurrency`: what a program calls so there is its own."""
    if library.name == "ours":
        return

    class Limited(library.classes.AsyncParallelBatchNode):
        max_concurrency = "2 at once"

        async def prep_async(self, shared: Any) -> Any:
            return [1, 2]

        async def exec_async(self, prep_res: int) -> int:
            return prep_res * 2

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    in_loop(lambda: library.run_async(library.classes.AsyncFlow(start=Limited()), shared))
    assert shared == {"result": [2, 4]}


def test_a_sync_node_may_have_methods_with_async_names(library: Any) -> None:
    """Async is what descends from the async classes, whatever else a class can do."""

    class Both(library.classes.Node):
        async def prep_async(self, shared: Any) -> None:
            pytest.fail("not called")

        def prep(self, shared: Any) -> None:
            shared["prep"] = "sync"

    shared: dict[str, Any] = {}
    library.run(library.classes.Flow(start=Both()), shared)
    assert shared == {"prep": "sync"}


def test_anything_that_can_be_awaited_will_do(library: Any) -> None:
    """A future, a task, and a generator that is marked as a coroutine."""

    class Awaits(library.classes.AsyncNode):
        def prep_async(self, shared: Any) -> Any:
            future = asyncio.get_running_loop().create_future()
            future.get_loop().call_soon(future.set_result, "prep")
            return future

        @types.coroutine
        def exec_async(self, prep_res: Any) -> Generator[Any, Any, Any]:
            yield
            return f"{prep_res} exec"

        def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            async def post() -> str:
                return f"{exec_res} post"

            return asyncio.ensure_future(post())

    flow = library.classes.AsyncFlow(start=Awaits())
    assert in_loop(lambda: library.run_async(flow, {})) == "prep exec post"


def test_private_methods_can_be_called_by_hand(library: Any) -> None:
    """As programs do that drive nodes themselves."""
    if library.name == "theirs in our Run":
        return

    class Says(library.classes.Node):
        def exec(self, prep_res: Any) -> Any:
            return dict(self.params)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared.setdefault("seen", []).append(exec_res)
            return "said"

    class Twice(library.classes.BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"i": 1}, {"i": 2}]

    shared: dict[str, Any] = {}
    flow = library.classes.Flow(start=Says())
    flow.set_params({"p": 1})
    assert flow._run(shared) == "said"
    assert flow._orch(shared) == "said"
    assert flow._orch(shared, {"q": 2}) == "said"
    assert Twice(start=Says())._run(shared) is None
    assert shared["seen"] == [{"p": 1}, {"p": 1}, {"q": 2}, {"i": 1}, {"i": 2}]

    async def main() -> list[Any]:
        async_flow = library.classes.AsyncFlow(start=Says())
        return [await async_flow._run_async(shared), await async_flow._orch_async(shared, {"r": 3})]

    assert in_loop(main) == ["said", "said"]
    assert shared["seen"][-2:] == [{}, {"r": 3}]


# -- where flowevents differs, by design ----------------------------------------------------------


def test_a_successor_that_is_no_node_is_an_error_at_once() -> None:
    """pocketflow fails when the run gets there, with an error that names nothing."""
    theirs = pocketflow.Node()
    theirs >> "no node"
    with pytest.raises(AttributeError):
        pocketflow.Flow(start=theirs).run({})
    with pytest.raises(GraphError, match=r"'Node' for action 'default' is 'no node'"):
        flowevents.Node() >> "no node"
    with pytest.raises(GraphError, match=r"'no node' is not a node .*'Node' for 'default'"):
        Run(pocketflow.Flow(start=theirs), {}).wait()


def test_a_flow_without_a_start_node_warns_and_gives_none() -> None:
    """pocketflow gives `None` and says nothing."""
    assert pocketflow.Flow().run({}) is None
    with pytest.warns(UserWarning, match="has no start node"):
        assert flowevents.Flow().run({}) is None
    with pytest.warns(UserWarning, match="has no start node"):
        assert Run(pocketflow.Flow(), {}).wait() is None


@pytest.mark.parametrize("library", [pocketflow, flowevents])
def test_siblings_of_an_item_that_fails_are_cancelled(library: Any) -> None:
    """pocketflow lets them run on after the error was raised; our `Run` does not, with either."""
    log: list[str] = []

    class Items(library.AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return ["waits", "fails"]

        async def exec_async(self, prep_res: str) -> None:
            if prep_res == "fails":
                raise ValueError("failed")
            try:
                await asyncio.Event().wait()
            finally:
                log.append("cancelled")

    async def main() -> list[str]:
        with pytest.raises(ValueError, match="failed"):
            await Run(library.AsyncFlow(start=Items()), {}).wait_async()
        return list(log)

    async def without_us() -> list[str]:
        with pytest.raises(ValueError, match="failed"):
            await pocketflow.AsyncFlow(start=Items()).run_async({})
        return list(log)

    if library is pocketflow:
        assert in_loop(without_us) == []
        log.clear()
    assert in_loop(main) == ["cancelled"]


def test_stop_iteration_is_a_runtime_error() -> None:
    """In pocketflow it leaves the run as it is, and may end somebody's loop in silence."""

    def stop(self: Any, prep_res: Any) -> None:
        raise StopIteration("stopped")

    with pytest.raises(StopIteration):
        type("Stops", (pocketflow.Node,), {"exec": stop})().run({})
    for node in (
        type("Stops", (flowevents.Node,), {"exec": stop})(),
        type("Stops", (pocketflow.Node,), {"exec": stop})(),
    ):
        with pytest.raises(RuntimeError) as raised:
            Run(node, {}).wait()
        assert isinstance(raised.value.__cause__, StopIteration)


@pytest.mark.parametrize("kind", ["Node", "BatchNode", "AsyncNode", "AsyncParallelBatchNode"])
@pytest.mark.parametrize("options", [{"max_retries": 0}, {"wait": -0.5}])
def test_numbers_that_make_no_sense_are_refused_as_in_the_newest(
    kind: str, options: dict[str, Any]
) -> None:
    """The released pocketflow then runs nothing, and gives `None`."""
    getattr(pocketflow, kind)(**options)
    for library in (NEWEST, flowevents):
        with pytest.raises(ValueError, match=next(iter(options))):
            getattr(library, kind)(**options)


def test_our_classes_are_theirs_by_name_and_order() -> None:
    """What descends from what is the same, so that `isinstance` is."""
    names = [name for name, value in vars(pocketflow).items() if isinstance(value, type)]
    public = {name for name in names if not name.startswith("_")}
    for name in public:
        theirs, ours = getattr(pocketflow, name), getattr(flowevents, name)
        known = [each.__name__ for each in ours.__mro__ if each.__name__ in public]
        assert known == [each.__name__ for each in theirs.__mro__ if each.__name__ in public]
