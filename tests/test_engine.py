"""The engine underneath: what it does not do, and what does not matter to it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import warnings
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import flowevents
from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchNode,
    Chunk,
    Clock,
    Event,
    Flow,
    FlowStart,
    ItemStart,
    Node,
    NodeStart,
    Paused,
    Run,
    StreamNode,
)
from flowevents.events import EVENT_TYPES
from flowevents.testing import check_events
from tests.driving import PATIENCE, Driver, Seen, driving, in_thread
from tests.graphs import Graph, Halt, build, graphs, new_shared


class Say(StreamNode):
    """Yields and emits its words."""

    words: tuple[Any, ...] = ("a", "b")

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        for word in self.words:
            self.emit(f"note {word}", kind="note")
            yield word


class Ask(AsyncNode):
    """Emits, and waits in between."""

    async def exec_async(self, prep_res: Any) -> None:
        self.emit("before")
        await asyncio.sleep(0)
        self.emit("after")


class Each(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 2, 3]

    def exec(self, item: int) -> int:
        self.emit(item)
        return item


class EachAtOnce(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2, 3]

    async def exec_async(self, item: int) -> int:
        self.emit(item)
        await asyncio.sleep(0)
        return item

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res


def signals_of(*kinds: type[Event]) -> Any:
    """An observer of these types only, which keeps the events."""
    kept: list[Event] = []
    methods = {f"on_{kind.signal}": lambda self, event: kept.append(event) for kind in kinds}
    return type("Observer", (), {**methods, "kept": kept})()


# -- what nobody hears ----------------------------------------------------------------------------


class CountingClock(Clock):
    """Counts how often it is asked what time it is."""

    def __init__(self) -> None:
        self.asked = 0
        self.time = self.monotonic = self._read

    def _read(self) -> float:
        self.asked += 1
        return float(self.asked)


def everything(driver: Driver) -> Any:
    """A flow of many kinds of nodes."""
    say = Say()
    say >> Each() >> Node() >> driver.flow(Say())
    return driver.flow(say)


def test_an_event_that_nobody_hears_is_not_made(driver: Driver) -> None:
    """No handler, no puller: nobody asks the clock for its time, or `redact` for its text."""
    clock = CountingClock()
    redacted: list[Any] = []

    def redact(value: Any) -> Any:
        redacted.append(value)
        return value

    def asked_by(*observers: Any) -> int:
        clock.asked = 0
        driver.run(everything(driver), {}, clock=clock, redact=redact, observers=observers)
        return clock.asked

    nobody = asked_by()
    assert redacted == []
    chunks = signals_of(Chunk)
    assert asked_by(chunks) - nobody <= len(chunks.kept) + 40  # and when the steps began
    assert redacted == [event.data for event in chunks.kept]
    assert nobody <= 10


def test_a_step_that_nobody_hears_asks_for_no_time(driver: Driver) -> None:
    """However often a node runs, and whatever it yields and emits."""

    class Again(Say):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["left"] -= 1
            return "again" if shared["left"] else "done"

    asked = []
    for count in (1, 100):
        clock, again = CountingClock(), Again()
        again - "again" >> again
        again - "done" >> Node()
        driver.run(driver.flow(again), {"left": count}, clock=clock)
        asked.append(clock.asked)
    assert asked[1] - asked[0] <= 99


@given(graphs(streams=True), st.sets(st.sampled_from(EVENT_TYPES), min_size=1), st.booleans())
def test_who_hears_less_hears_the_same(
    spec: Graph, kinds: set[type[Event]], in_a_loop: bool
) -> None:
    """An observer of some types gets those that one of all gets, but for their numbers."""
    with driving("async" if in_a_loop else "sync") as driver:
        whole, part = signals_of(*EVENT_TYPES), signals_of(*kinds)
        run_drawn(driver, spec, whole)
        run_drawn(driver, spec, part)
    expected = [event for event in whole.kept if type(event) in kinds]
    assert [without_numbers(event) for event in part.kept] == [
        without_numbers(event) for event in expected
    ]
    numbers = [event.seq for event in part.kept]
    assert numbers == sorted(set(numbers))
    spans = {(ours.span, theirs.span) for ours, theirs in zip(part.kept, expected, strict=True)}
    assert len({ours for ours, _ in spans}) == len({theirs for _, theirs in spans}) == len(spans)
    for event in part.kept:
        assert event.span <= event.seq
        is_start = isinstance(event, FlowStart | NodeStart | ItemStart)
        assert (event.span == event.seq) == is_start


def run_drawn(driver: Driver, spec: Graph, observer: Any) -> None:
    """Run a drawn graph with an observer; it may fail, as it was drawn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of flows that end without a successor
        shared = new_shared()
        try:
            driver.run(build(spec, flowevents, shared), shared, observers=[observer])
        except (ValueError, KeyError, Halt):
            pass


def without_numbers(event: Event) -> dict[str, Any]:
    """What an event says, but for its numbers and times."""
    left_out = ("run_id", "seq", "span", "parent", "time", "duration")
    return {"type": type(event)} | {
        name: getattr(event, name) for name in event.__struct_fields__ if name not in left_out
    }


# -- between pulls --------------------------------------------------------------------------------


def test_the_consumers_code_belongs_to_no_run(driver: Driver) -> None:
    """What a node object emits in the body of a loop is nobody's, also while its run stands."""
    other, seen = Ask(), Seen()

    def body(event: Event) -> None:
        other.emit("from the body")
        other.progress(1, 2)

    for node in (everything(driver), Say(), *([Ask(), EachAtOnce()] if driver.loop else [])):
        seen = Seen()
        driver.each(Run(node, {}, observers=[seen]), body)
        assert "from the body" not in {event.data for event in seen.of(Chunk)}
        seen.check()


def test_the_consumers_context_is_its_own() -> None:
    """A loop's body sets and finds its context variables as if there were no engine."""
    mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine", default=0)

    async def main() -> None:
        before = contextvars.copy_context()
        names = {var.name for var in before}
        number = 0
        async for _ in Run(AsyncFlow(EachAtOnce()), {}):
            assert mine.get() == number
            number += 1
            mine.set(number)
            found = contextvars.copy_context()
            assert {var.name for var in found if found[var] is not None} <= names | {"mine"}
        assert mine.get() == number

    asyncio.run(main())


@pytest.mark.parametrize("events", [True, False])
@pytest.mark.parametrize("a_task_each", [True, False])
def test_a_node_that_is_pulled_keeps_its_context(a_task_each: bool, events: bool) -> None:
    """What it sets is not seen by who pulls it, and is there when it goes on."""
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="unset")

    class Sets(AsyncStreamNode):
        async def prep_async(self, shared: Any) -> None:
            mine.set(f"{mine.get()}, prepared")

        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            for number in range(3):
                token = mine.set(f"{mine.get()}, {number}")
                await asyncio.sleep(0)
                yield mine.get()
                mine.reset(token)

    async def main() -> None:
        mine.set("the consumer's")
        flow = AsyncFlow(Sets())
        pulled: Any = aiter(Run(flow, {})) if events else flow.run_stream_async({})
        seen: list[Any] = []
        while True:
            step = anext(pulled)
            try:
                seen.append(await (asyncio.create_task(step) if a_task_each else step))
            except StopAsyncIteration:
                break
            assert mine.get() == "the consumer's"
        chunks = [each.data for each in seen if isinstance(each, Chunk)] if events else seen
        assert chunks == [f"the consumer's, prepared, {number}" for number in range(3)]

    asyncio.run(main())


@pytest.mark.parametrize("pulled_first", [True, False])
def test_a_node_keeps_its_context_where_it_is_driven_in_two_ways(pulled_first: bool) -> None:
    """It sets a variable, asks, and takes it back when it was answered."""
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="unset")

    class Asks(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            token = mine.set("set")
            assert await self.ask("?") == mine.get() == "set"
            mine.reset(token)

    async def drive(run: Run, pulled: bool) -> None:
        if pulled:
            async for _ in run:
                pass
        else:
            with suppress(Paused):
                await run.wait_async()

    async def main() -> None:
        run = Run(AsyncFlow(Asks()), {})
        await drive(run, pulled_first)
        run.reply("set")
        await drive(run, not pulled_first)
        assert run.status == "done"

    asyncio.run(main())


def test_runs_take_turns_in_one_thread() -> None:
    """Two that are pulled by turns, and one inside the other: each emits into its own."""
    nodes = [Say(), Say(), Say()]
    seen = [Seen() for _ in nodes]
    for number, node in enumerate(nodes):
        node.words = tuple(f"{number}{letter}" for letter in "abc")
    flow = Flow(nodes[2])
    streams = [
        nodes[0].run_stream({}, observers=[seen[0]]),
        nodes[1].run_stream({}, observers=[seen[1]]),
        flow.run_stream({}, observers=[seen[2]]),
    ]
    for taken in zip(*streams, strict=True):
        assert len(set(taken)) == 3
    for number, each in enumerate(seen):
        each.check()
        assert {str(event.data)[-2] for event in each.of(Chunk)} == {str(number)}
        assert len(each.of(Chunk)) == 6


@pytest.mark.parametrize("alone", [True, False])
def test_a_node_streams_another_run(alone: bool) -> None:
    """While the inner one stands, what the outer node emits is its own."""
    inner, outer = Seen(), Seen()

    class Relay(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            self.emit("outer", kind="note")
            for word in Flow(Say()).run_stream({}, observers=[inner]):
                self.emit("outer", kind="note")
                yield f"outer {word}"
            self.emit("outer", kind="note")

    relay = Relay() if alone else Flow(Relay())
    assert list(relay.run_stream({}, observers=[outer])) == ["outer a", "outer b"]
    inner.check()
    outer.check()
    assert [event.data for event in inner.of(Chunk)] == ["note a", "a", "note b", "b"]
    assert {event.data.split()[0] for event in outer.of(Chunk)} == {"outer"}
    assert len(outer.of(Chunk)) == 6


def test_an_async_node_streams_another_run() -> None:
    """So it is with async runs, in the same task and in others."""
    inner, outer = Seen(), Seen()

    class Relay(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            async for item in EachAtOnce().run_stream_async({}, observers=[inner]):
                self.emit("outer", kind="note")
                yield f"outer {item}"

    with driving("async") as driver:
        assert sorted(driver.rest(driver.stream(Relay(), {}, observers=[outer]))) == [
            *("outer 1", "outer 2", "outer 3")
        ]
    inner.check()
    outer.check()
    assert sorted(event.data for event in inner.of(Chunk)) == [1, 2, 3]
    assert {event.data.split()[0] for event in outer.of(Chunk)} == {"outer"}


def test_a_handler_runs_another_flow(driver: Driver) -> None:
    """In the midst of the delivery of an event; neither hears the other's."""
    inner, outer = Seen(), Seen()

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            Flow(Say()).run({}, observers=[inner])

    driver.run(everything(driver), {}, observers=[Handler(), outer])
    outer.check()
    runs = {event.run_id for event in inner.events}
    assert len(runs) == len(outer.of(Chunk))
    for run_id in runs:
        check_events([event for event in inner.events if event.run_id == run_id])
    assert not runs & {event.run_id for event in outer.events}


def test_every_event_is_pulled_by_another_task() -> None:
    """A run is bound to its loop, not to a task: each next one goes on where the last one stood."""

    class Limits(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            self.emit("before")
            await asyncio.wait_for(asyncio.sleep(0), PATIENCE)
            self.emit("after")

    async def main(node: Any) -> list[Event]:
        run = Run(node, {})
        taken: list[Event] = []

        async def take() -> None:
            async for event in run:
                taken.append(event)
                break

        while run.status != "done":
            await asyncio.create_task(take())
        return taken

    at_once = EachAtOnce(max_concurrency=2)
    at_once >> Limits() >> Say()
    for node in (AsyncFlow(at_once), Limits(), AsyncFlow(AsyncFlow(Ask()))):
        check_events(asyncio.run(main(node)))


# -- parallel items -------------------------------------------------------------------------------


class Nested(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, int]]:
        return [{"n": 1}, {"n": 2}, {"n": 3}]


@pytest.mark.parametrize("outer", [None, 1, 2])
@pytest.mark.parametrize("inner", [None, 1, 2])
@pytest.mark.parametrize("turns", [0, 7])
def test_parallel_in_parallel_in_parallel(outer: int | None, inner: int | None, turns: int) -> None:
    """However many at once, and however slow the consumer: all 27 items run, none is lost."""
    at_once = EachAtOnce(max_concurrency=inner)
    at_once >> Say()
    flow = Nested(Nested(at_once, max_concurrency=inner), max_concurrency=outer)
    seen = Seen()

    async def main() -> None:
        async for event in Run(flow, {}):
            seen(event)
            for _ in range(turns):
                await asyncio.sleep(0)

    with driving("async") as driver:
        driver.in_loop(main())
    seen.check()
    at = [event.items for event in seen.of(Chunk) if event.node.endswith("EachAtOnce")]
    assert sorted(at) == [(a, b, c) for a in range(3) for b in range(3) for c in range(3)]


def test_an_error_in_the_depth_cancels_everything_around_it() -> None:
    """All siblings at every level have ended before it is raised."""
    running: list[Any] = []

    class Deep(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            running.append(self)
            try:
                await asyncio.sleep(0)
                if len(running) == 9 and self is running[4]:
                    raise ValueError("in the depth")
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(self)

    ended: list[Any] = []
    for pulled in (False, True):
        running.clear()
        ended.clear()
        seen = Seen()
        run = Run(Nested(Nested(Deep())), {}, observers=[seen])
        with driving("async") as driver, pytest.raises(ValueError, match="in the depth"):
            driver.pull(run) if pulled else driver.wait(run)
        assert len(ended) == len(running) == 9
        assert seen.ends().count("error") == 3  # the node and the two flows around it
        seen.check()


def test_results_come_in_the_order_of_the_items() -> None:
    """Not in that of their ends."""

    class Backwards(EachAtOnce):
        async def exec_async(self, item: int) -> int:
            for _ in range(9 - item * 3):
                await asyncio.sleep(0)
            return item

    for observers in ([], [Seen()]):
        shared: dict[str, Any] = {}
        asyncio.run(Backwards().run_async(shared, observers=observers))
        assert shared["results"] == [1, 2, 3]


eager_task_factory: Any = getattr(asyncio, "eager_task_factory", None)


@pytest.mark.skipif(eager_task_factory is None, reason="it came with Python 3.12")
@pytest.mark.parametrize("limit", [None, 1, 2])
def test_tasks_may_begin_at_once(limit: int | None) -> None:
    """A loop with eager tasks runs the items, async handlers and cancels as any other."""

    class Quick(EachAtOnce):
        async def exec_async(self, item: int) -> int:
            self.emit(item)
            return item

    async def awaited(event: Event) -> None:
        if event.seq % 2:
            await asyncio.sleep(0)

    for node in (Quick(max_concurrency=limit), EachAtOnce(max_concurrency=limit), Ask()):
        for observers in ([], [Seen()], [awaited]):
            with driving("async") as driver:
                assert driver.loop is not None
                driver.loop.set_task_factory(eager_task_factory)
                shared: dict[str, Any] = {}
                driver.run(AsyncFlow(node), shared, observers=observers)
                assert shared.get("results", [1, 2, 3]) == [1, 2, 3]
                check_events(driver.pull(Run(AsyncFlow(node), {}, observers=observers)))
                driver.rest(driver.stream(node, {}, observers=observers))
                run = Run(AsyncFlow(node), {}, observers=observers)
                driver.pull(run, 3)
                run.cancel()
                driver.close(run)
                assert run.status == "cancelled"


@pytest.mark.skipif(eager_task_factory is None, reason="it came with Python 3.12")
@given(graphs(streams=True, asynchronous=True))
def test_eager_tasks_give_the_same(spec: Graph) -> None:
    """Any graph does the same in a loop with eager tasks."""
    assume(not spec.has_parallel)
    seen = []
    for factory in (None, eager_task_factory):
        observer = signals_of(*EVENT_TYPES)
        with driving("async") as driver:
            assert driver.loop is not None
            driver.loop.set_task_factory(factory)
            run_drawn(driver, spec, observer)
        seen.append([without_numbers(event) for event in observer.kept])
    assert seen[0] == seen[1]


# -- what it is given -----------------------------------------------------------------------------


def test_an_engine_is_let_go_of_at_the_end(driver: Driver) -> None:
    """Of a run that is kept, only what can be asked of it is left, not its flow's copies."""
    made: list[Any] = []

    class Heavy(Node):
        def exec(self, prep_res: Any) -> None:
            made.append(weakref.ref(self))

    run = Run(driver.flow(Heavy()), {})
    driver.wait(run)
    gc.collect()
    assert made[0]() is None
    assert run.status == "done"


def test_a_graph_may_change_while_it_runs(driver: Driver) -> None:
    """As in PocketFlow: a successor that a node connects meanwhile is gone to, under its name."""

    class Late(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            first.successors["default"] = Say()

    class First(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["visits"] = shared.get("visits", 0) + 1

    first = First()
    first >> Late() >> first
    seen = Seen()
    driver.run(driver.flow(first), {}, observers=[seen])
    assert [event.node for event in seen.of(NodeStart)] == ["First", "Late", "First", "Say"]
    seen.check()


def test_shared_may_be_anything(driver: Driver) -> None:
    """The engine never looks into it."""
    for shared in (None, 5, [], object()):
        assert driver.run(driver.flow(Say()), shared) is None


def test_nodes_may_be_equal_unhashable_and_false(driver: Driver) -> None:
    """They are told apart by what they are, not by what they say they equal."""

    class Odd(Say):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

        def __bool__(self) -> bool:
            return False

    first = Odd()
    first >> Odd() >> driver.flow(Odd())
    seen = Seen()
    driver.run(driver.flow(first), {}, observers=[seen])
    assert [event.node.rpartition("/")[2] for event in seen.of(NodeStart)] == [
        *("Odd", "Odd#2", "Odd")
    ]
    seen.check()


@pytest.mark.parametrize("odd", [None, 0, "", [], StopIteration("value"), ...], ids=repr)
def test_any_value_may_be_yielded_and_returned(driver: Driver, odd: Any) -> None:
    """None of them means anything to the engine."""

    class Odd(StreamNode):
        def prep(self, shared: Any) -> Any:
            return odd

        def exec_stream(self, prep_res: Any) -> Iterator[Any]:
            assert prep_res is odd
            yield odd
            yield odd

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            assert [*exec_res] == [odd, odd]

    chunks = [e.data for e in driver.pull(Run(driver.flow(Odd()), {})) if isinstance(e, Chunk)]
    assert chunks == [odd, odd]
    assert driver.rest(driver.stream(driver.flow(Odd()), {})) == [odd, odd]


def test_a_future_may_be_yielded_by_a_plain_generator() -> None:
    """In an async run too it is a chunk, which nobody awaits."""

    async def main() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        class Odd(StreamNode):
            def exec_stream(self, prep_res: Any) -> Iterator[Any]:
                yield future

        for node in (Odd(), AsyncFlow(Odd())):
            assert [chunk async for chunk in node.run_stream_async({})] == [future]
            chunks = [e.data async for e in Run(node, {}) if isinstance(e, Chunk)]
            assert chunks == [future]

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_events_may_be_yielded_as_chunks(driver: Driver) -> None:
    """An event of another run is data like any other."""
    other = Run(Flow(Node()), {})

    class Relay(StreamNode):
        def exec_stream(self, prep_res: Any) -> Any:
            return other

    relay = driver.flow(Relay())
    taken = driver.pull(Run(relay, {}))
    check_events(taken)
    assert next(type(e.data) for e in taken if isinstance(e, Chunk)) is FlowStart
    other = Run(Flow(Node()), {})
    assert isinstance(driver.rest(driver.stream(relay, {}))[0], FlowStart)


def test_a_run_in_a_thread_of_a_loop() -> None:
    """A sync run in a worker thread, awaited by a loop, is a sync run."""

    async def main() -> list[Event]:
        return await asyncio.to_thread(lambda: list(Run(Flow(Say()), {})))

    check_events(asyncio.run(main()))
    check_events(in_thread(lambda: list(Run(Flow(Say()), {}))))
