"""Any graph gives with flowevents what it gives with pocketflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowevents
from flowevents import AsyncNodeError, Chunk, Event, FlowEnd, FlowEventsError, Run
from flowevents.testing import check_events
from tests.compatibility.libraries import NEWEST, pocketflow
from tests.graphs import Graph, Leaf, graphs, leaves
from tests.made_graphs import Outcome, assert_same, build, outcome_of
from tests.watching import in_loop

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
def test_consumers_observers_and_streams_get_the_same(spec: Leaf | Graph) -> None:
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
