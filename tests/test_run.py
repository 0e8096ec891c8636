"""A run: its states, who may drive it, what it gives to whom, and its options."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from flowevents import (
    Action,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncNodeError,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStream,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    FlowEventsError,
    FlowStart,
    GraphError,
    ItemEnd,
    Node,
    NodeEnd,
    NodeStart,
    ObserverError,
    Result,
    Retry,
    Run,
    RunCancelled,
    RunStateError,
    Stream,
    StreamNode,
    TooManySteps,
    signals,
)
from flowevents.testing import ManualClock, check_events
from tests.driving import PATIENCE, Driver, Seen, in_thread, status_of

# -- what is run ----------------------------------------------------------------------------------


class Write(StreamNode):
    """Streams its words, and notes in `shared` how far it came."""

    words = ("a", "b", "c")

    def prep(self, shared: Any) -> Any:
        shared.setdefault("log", []).append("prep")
        return shared["log"]

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        try:
            for word in self.words:
                prep_res.append(word)
                yield word
        finally:
            prep_res.append("closed")

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["written"] = exec_res
        return "written"


class Fail(Node):
    def exec(self, prep_res: Any) -> None:
        raise ValueError("broken")


class Step(Node):
    def exec(self, prep_res: Any) -> str:
        return "stepped"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["steps"] = shared.get("steps", 0) + 1
        return "next"


class Again(Node):
    """Runs for ever, where it is its own successor."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["count"] = shared.get("count", 0) + 1


def two_nodes() -> tuple[Node, Node]:
    """A node that streams, and one that is next."""
    write, step = Write(), Step()
    write - "written" >> step
    return write, step


def endless() -> Again:
    """A node in a loop without an end."""
    again = Again()
    again >> again
    return again


# -- states ---------------------------------------------------------------------------------------


def test_a_run_that_goes_well(driver: Driver) -> None:
    """It is ready, then running, then done, with the action of its last node."""
    run = Run(driver.flow(two_nodes()[0]), {})
    assert (run.status, run.action, run.error) == ("ready", None, None)
    assert driver.pull(run, 1)
    assert (run.status, run.action, run.error) == ("running", None, None)
    assert driver.wait(run) == "next"
    assert (run.status, run.action, run.error) == ("done", "next", None)


def test_a_run_that_fails(driver: Driver) -> None:
    """It is failed, and keeps the node's own exception."""
    run = Run(driver.flow(Fail()), {})
    with pytest.raises(ValueError, match="broken") as caught:
        driver.wait(run)
    assert (run.status, run.action) == ("failed", None)
    assert run.error is caught.value


def test_a_run_that_is_cancelled(driver: Driver) -> None:
    """It is cancelled, and says so to whoever drives it."""
    run = Run(driver.flow(Write()), {})
    driver.pull(run, 3)
    run.cancel()
    with pytest.raises(RunCancelled, match=run.id):
        driver.wait(run)
    assert run.status == "cancelled"
    assert isinstance(run.error, RunCancelled)


def test_the_status_during_a_run(driver: Driver) -> None:
    """Handlers see a run that is running, also in its last event."""
    seen: list[str] = []

    def look(event: Event) -> None:
        seen.append(run.status)

    run = Run(driver.flow(Step()), {}, observers=[look])
    assert isinstance(driver.pull(run)[-1], FlowEnd)
    assert set(seen) == {"running"}
    assert status_of(run) == "done"


def test_a_loop_that_is_left_at_the_last_event_has_ended_the_run(driver: Driver) -> None:
    """Nothing follows the flow's end, so there is nothing left to cancel."""
    for stop in (Run.cancel, driver.close, driver.inside):
        seen = Seen()
        run = Run(driver.flow(Step()), {}, observers=[seen])
        assert isinstance(driver.pull(run, 5)[-1], FlowEnd)
        stop(run)
        driver.settle()
        assert (run.status, run.action, seen.ends()[-1]) == ("done", "next", "ok")
        assert driver.wait(run) == "next"


def in_state(driver: Driver, status: str) -> Run:
    """A run in that state, with a node still to run where there is one."""
    run = Run(driver.flow(Fail() if status == "failed" else two_nodes()[0]), {})
    if status == "running":
        driver.pull(run, 4)
    elif status == "done":
        driver.wait(run)
    elif status == "failed":
        with pytest.raises(ValueError, match="broken"):
            driver.wait(run)
    elif status == "cancelled":
        run.cancel()
        with pytest.raises(RunCancelled):
            driver.wait(run)
    assert run.status == status
    return run


STATES = ("ready", "running", "done", "failed", "cancelled")
AFTER = {
    "wait": ("done", "done", "done", "failed", "cancelled"),
    "iterate": ("done", "done", "done", "failed", "cancelled"),
    "cancel": ("cancelled", "cancelled", "done", "failed", "cancelled"),
    "close": ("cancelled", "cancelled", "done", "failed", "cancelled"),
    "with": ("cancelled", "cancelled", "done", "failed", "cancelled"),
    "drop a loop": ("running", "running", "done", "failed", "cancelled"),
}
"""What each call makes of a run in each of the `STATES`."""


@pytest.mark.parametrize("status", STATES)
@pytest.mark.parametrize("call", AFTER)
def test_every_call_in_every_state(driver: Driver, call: str, status: str) -> None:
    """The table: what is legal moves the run on, what is not names the call and the state."""
    run = in_state(driver, status)
    error = run.error
    calls: dict[str, Callable[[], object]] = {
        "wait": lambda: driver.wait(run),
        "iterate": lambda: driver.pull(run),
        "cancel": run.cancel,
        "close": lambda: driver.close(run),
        "with": lambda: driver.inside(run),
        "drop a loop": lambda: driver.pull(run, 1),
    }
    ended = status in ("done", "failed", "cancelled")
    if ended and call in ("iterate", "drop a loop"):
        said = f"Cannot iterate over it: run {run.id} is {status}"
        with pytest.raises(RunStateError, match=said):
            calls[call]()
    elif call == "wait" and error is not None:
        with pytest.raises(type(error)) as caught:
            calls[call]()
        assert caught.value is error
    else:
        calls[call]()
    driver.settle()
    assert run.status == AFTER[call][STATES.index(status)]
    driver.close(run)


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
def test_nobody_can_listen_to_a_run_that_has_ended(driver: Driver, status: str) -> None:
    """There is nothing left to hear; the error names the state."""
    run = in_state(driver, status)
    with pytest.raises(RunStateError, match=f"Cannot listen to.*{status}"):
        signals.chunk.connect(print, sender=run)


@pytest.mark.parametrize("status", ["ready", "running"])
def test_a_run_that_goes_on_can_be_listened_to(driver: Driver, status: str) -> None:
    """What is connected hears the rest, and is disconnected at the end."""
    run = in_state(driver, status)
    heard: list[Event] = []
    signals.flow_end.connect(heard.append, sender=run)
    driver.wait(run)
    assert [type(event) for event in heard] == [FlowEnd]


def test_a_ready_run_is_cancelled_without_events(driver: Driver) -> None:
    """Nothing began, so nothing ends; who drives it after that is told."""
    seen = Seen()
    for drive in (driver.wait, driver.pull):
        run = Run(driver.flow(Write()), {}, observers=[seen])
        run.cancel()
        assert run.status == "cancelled"
        with pytest.raises(RunCancelled, match=run.id):
            drive(run)
    assert seen.events == []


def test_a_run_says_what_it_is() -> None:
    """Its `repr` names the id, the flow and the state."""
    run = Run(Flow(Step()), {}, id="r1")
    assert repr(run) == "<Run r1 of 'Flow', ready>"
    run.wait()
    assert repr(run) == "<Run r1 of 'Flow', done>"


class RunMachine(RuleBasedStateMachine):
    """One run, with any calls in any order, against the table of its states."""

    in_a_loop = False

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(asyncio.new_event_loop() if self.in_a_loop else None)
        self.seen = Seen()
        self.expected = "ready"
        self.told = False
        self.over = False  # the last event was taken, so that nothing is left to cancel
        self.taken: list[Event] = []
        self.pulled_only = True
        self.run = Run(self.driver.flow(two_nodes()[0]), {}, observers=[self.seen])

    @property
    def ended(self) -> bool:
        return self.over or self.expected in ("done", "cancelled")

    @rule(count=st.integers(1, 4))
    def pull(self, count: int) -> None:
        """Some events, by a loop of their own."""
        if self.told:
            with pytest.raises(RunStateError, match=f"Cannot iterate.*{self.expected}"):
                self.driver.pull(self.run, count)
            return
        before = len(self.taken)
        try:
            self.taken += self.driver.pull(self.run, count)
        except RunCancelled:
            assert self.expected == "cancelled"
            self.told = True
            return
        if self.expected == "cancelled":
            return
        self.over = bool(self.taken) and isinstance(self.taken[-1], FlowEnd)
        self.told = len(self.taken) - before < count
        self.expected = "done" if self.told else "running"

    @rule()
    def wait(self) -> None:
        """To the end."""
        self.pulled_only = False
        if self.expected == "cancelled":
            with pytest.raises(RunCancelled):
                self.driver.wait(self.run)
        else:
            assert self.driver.wait(self.run) == "next"
            self.expected = "done"
        self.told = True

    @rule(how=st.sampled_from(["cancel", "close", "inside"]))
    def stop(self, how: str) -> None:
        """Cancelled, in one of the ways."""
        if how == "cancel":
            self.run.cancel()
            self.driver.settle()
        elif how == "close":
            self.driver.close(self.run)
        else:
            self.driver.inside(self.run)
        if not self.ended:
            self.expected = "cancelled"
        elif self.over:
            self.expected = "done"

    @precondition(lambda self: self.expected == "running" and not self.over)
    @rule()
    def mix(self) -> None:
        """The other way of driving is refused, and changes nothing."""
        with pytest.raises(RunStateError, match=r"running and began (sync|async)"):
            Driver(None).pull(self.run) if self.in_a_loop else asyncio.run(self.run.wait_async())

    def teardown(self) -> None:
        assert self.run.status == self.expected or self.over
        self.driver.close(self.run)
        if self.over:
            assert (self.run.status, self.run.action) == ("done", "next")
        self.seen.check()
        if self.pulled_only and self.over:
            assert self.taken == self.seen.events
        if self.driver.loop is not None:
            assert asyncio.all_tasks(self.driver.loop) == set()
            self.driver.loop.close()


class AsyncRunMachine(RunMachine):
    in_a_loop = True


TestSyncRun = RunMachine.TestCase
TestAsyncRun = AsyncRunMachine.TestCase
TestSyncRun.settings = TestAsyncRun.settings = settings(stateful_step_count=12)


# -- who may drive --------------------------------------------------------------------------------


def test_an_iteration_is_gone_on_with_by_another_loop(driver: Driver) -> None:
    """Breaking out leaves the run where it is, at every event; the next loop goes on."""
    whole = driver.pull(Run(driver.flow(two_nodes()[0]), {}, id="r"))
    for count in range(1, len(whole)):
        run = Run(driver.flow(two_nodes()[0]), {}, id="r")
        taken = driver.pull(run, count)
        assert status_of(run) == "running"
        taken += driver.pull(run)
        assert [(type(each), each.seq) for each in taken] == [
            (type(each), each.seq) for each in whole
        ]


def test_an_iteration_is_gone_on_with_by_wait(driver: Driver) -> None:
    """Whatever was taken before, `wait` finishes the run, and its observers hear it all."""
    for count in range(1, 11):
        seen = Seen()
        run = Run(driver.flow(two_nodes()[0]), {}, observers=[seen])
        driver.pull(run, count)
        assert driver.wait(run) == "next"
        seen.check()
        assert seen.ends() == ["ok", "ok", "ok"]


def test_one_event_at_a_time_by_a_loop_each(driver: Driver) -> None:
    """A run may be taken apart into as many loops as it has events."""
    run = Run(driver.flow(two_nodes()[0]), {})
    taken: list[Event] = []
    while run.status in ("ready", "running"):
        taken += driver.pull(run, 1)
    check_events(taken)


def test_an_error_is_raised_at_the_end_of_a_later_loop(driver: Driver) -> None:
    """It is not lost where the loop was left before."""
    run = Run(driver.flow(Fail()), {})
    assert len(driver.pull(run, 2)) == 2
    taken: list[Event] = []
    with pytest.raises(ValueError, match="broken"):
        taken += driver.pull(run, 2)
        driver.pull(run, 1)
    assert run.status == "failed"


def test_a_run_that_another_thread_drives(driver: Driver) -> None:
    """Whoever else wants to drive it is refused: the call and the state are named."""
    entered, may_go = threading.Event(), threading.Event()

    class Held(Node):
        def exec(self, prep_res: Any) -> None:
            entered.set()
            assert may_go.wait(PATIENCE)

    run = Run(driver.flow(Held()), {})
    thread = threading.Thread(target=driver.wait, args=(run,))
    thread.start()
    assert entered.wait(PATIENCE)
    other = Driver(None) if driver.loop is None else Driver(asyncio.new_event_loop())
    try:
        for drive in (other.wait, other.pull):
            with pytest.raises(RunStateError, match=f"{run.id} is running and already driven"):
                drive(run)
        assert status_of(run) == "running"
    finally:
        may_go.set()
        thread.join(PATIENCE)
        if other.loop is not None:
            other.loop.close()
    assert status_of(run) == "done"


def test_a_run_that_another_task_drives() -> None:
    """So it is with tasks of one loop."""

    async def main() -> None:
        entered, may_go = asyncio.Event(), asyncio.Event()

        class Held(AsyncNode):
            async def exec_async(self, prep_res: Any) -> None:
                entered.set()
                await may_go.wait()

        run = Run(AsyncFlow(Held()), {})
        task = asyncio.create_task(run.wait_async())
        await entered.wait()
        with pytest.raises(RunStateError, match="already driven"):
            await run.wait_async()
        with pytest.raises(RunStateError, match="already driven"):
            async for _ in run:
                pass
        with pytest.raises(RunStateError, match="Use aclose"):
            run.close()
        may_go.set()
        await task
        assert status_of(run) == "done"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_two_iterators_of_one_run() -> None:
    """The one that is asked first drives; the other is refused as long as that one is there."""
    run = Run(Flow(Write()), {})
    first, second = iter(run), iter(run)
    assert isinstance(next(first), FlowStart)
    with pytest.raises(RunStateError, match="already driven"):
        next(second)
    with pytest.raises(RunStateError, match="already driven"):
        run.wait()
    del first
    gc.collect()
    assert isinstance(next(iter(run)), NodeStart)
    run.close()


@pytest.mark.parametrize("by", ["node", "handler"])
def test_a_run_cannot_drive_itself(driver: Driver, by: str) -> None:
    """Neither its nodes nor its handlers can wait for the run that they belong to."""
    errors: list[str] = []

    def wait() -> None:
        try:
            run.wait()
        except RunStateError as error:
            errors.append(str(error))

    class Eager(Node):
        def exec(self, prep_res: Any) -> None:
            if by == "node":
                wait()

    class Handler:
        def on_node_start(self, event: NodeStart) -> None:
            if by == "handler":
                wait()

    run = Run(driver.flow(Eager()), {}, observers=[Handler()])
    driver.wait(run)
    assert len(errors) == 1
    assert "is running" in errors[0]


def test_a_sync_run_goes_on_sync() -> None:
    """The error says how it began."""
    run = Run(Flow(Write()), {})
    Driver(None).pull(run, 1)
    for drive in (run.wait_async, run.__aiter__().__anext__):
        with pytest.raises(RunStateError, match="running and began sync"):
            asyncio.run(awaited(drive))
    assert run.wait() == "written"


def test_an_async_run_goes_on_in_its_loop() -> None:
    """Neither a sync loop nor another event loop can go on with it."""
    loop, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    run = Run(AsyncFlow(Write()), {})
    Driver(loop).pull(run, 1)
    with pytest.raises(RunStateError, match="running and began async"):
        run.wait()
    with pytest.raises(RunStateError, match="running and began async"):
        next(iter(run))
    with pytest.raises(RunStateError, match="running and began async"):
        other.run_until_complete(run.wait_async())
    with pytest.raises(RunStateError, match="Use aclose"), run:
        pass
    assert loop.run_until_complete(run.wait_async()) == "written"
    loop.close()
    other.close()


async def awaited(call: Callable[[], Any]) -> Any:
    """What an async method gives."""
    return await call()


def test_a_run_begins_where_it_is_first_driven(driver: Driver) -> None:
    """Making it, and an iterator of it, runs nothing and binds it to no loop."""
    shared: dict[str, Any] = {}
    run = Run(driver.flow(Write()), shared)
    iter(run)
    run.__aiter__()
    assert shared == {}
    assert run.status == "ready"
    assert driver.wait(run) == "written"


# -- lazy -----------------------------------------------------------------------------------------


def test_nothing_is_computed_before_it_is_asked_for(driver: Driver) -> None:
    """Who takes one chunk has made the node yield one."""
    shared: dict[str, Any] = {}
    stream = driver.stream(driver.flow(Write()), shared)
    assert shared == {}
    for count in range(1, 4):
        assert driver.next(stream) == Write.words[count - 1]
        assert shared["log"] == ["prep", *Write.words[:count]]
    assert driver.next(stream) is None
    assert shared["log"][-1] == "closed"


def test_events_are_made_one_by_one(driver: Driver) -> None:
    """Who takes the node's start has run none of it."""
    shared: dict[str, Any] = {}
    run = Run(driver.flow(Write()), shared)
    driver.pull(run, 2)
    assert shared == {}
    driver.pull(run, 1)
    assert shared["log"] == ["prep", "a"]
    driver.close(run)


def test_pulling_makes_no_thread_and_no_task(driver: Driver) -> None:
    """A sync stream lives in its caller, an async one in its caller's task."""
    threads = threading.active_count()
    tasks: list[set[Any]] = []
    if driver.loop is None:
        for _ in driver.flow(two_nodes()[0]).run_stream({}):
            assert threading.active_count() == threads
        return

    async def main() -> None:
        async for _ in AsyncFlow(two_nodes()[0]).run_stream_async({}):
            tasks.append(asyncio.all_tasks() - {asyncio.current_task()})

    driver.loop.run_until_complete(main())
    assert tasks == [set(), set(), set()]


@pytest.mark.parametrize("limit", [None, 1, 3])
@pytest.mark.parametrize("form", ["events", "stream"])
def test_a_slow_consumer_slows_parallel_items(form: str, limit: int | None) -> None:
    """Each of the items holds at most one chunk that nobody has taken."""
    ahead: list[int] = []

    class Many(AsyncStreamNode, AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Iterable[int]:
            return range(5)

        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            for index in range(4):
                made[prep_res] = made.get(prep_res, 0) + 1
                yield f"{prep_res}.{index}"

    many = Many(max_concurrency=limit)
    made: dict[int, int] = {}
    taken: dict[int, int] = {}

    def take(text: str) -> None:
        item = int(text[0])
        taken[item] = taken.get(item, 0) + 1
        ahead.append(max(made[each] - taken.get(each, 0) for each in made))

    async def main() -> None:
        if form == "stream":
            async for text in AsyncFlow(many).run_stream_async({}):
                for _ in range(20):
                    await asyncio.sleep(0)
                take(text)
        else:
            async for event in Run(AsyncFlow(many), {}):
                for _ in range(20):
                    await asyncio.sleep(0)
                if isinstance(event, Chunk):
                    take(event.data)

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert sum(taken.values()) == 20
    assert max(ahead) <= 1


def test_what_exec_emits_reaches_the_puller_when_it_returns(driver: Driver) -> None:
    """Handlers hear it at once; a loop gets it, in order, before the node's end."""
    heard: list[str] = []

    class Emit(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("a")
            heard.append("exec goes on")
            self.emit("b")

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            heard.append(event.data)

    taken = driver.pull(Run(driver.flow(Emit()), {}, observers=[Handler()]))
    assert heard == ["a", "exec goes on", "b"]
    assert [type(event).__name__ for event in taken] == [
        *("FlowStart", "NodeStart", "Chunk", "Chunk", "NodeEnd", "Action", "FlowEnd")
    ]


def test_what_async_code_emits_reaches_the_puller_while_it_waits() -> None:
    """At its next await, so that a node that waits for an answer can say what it asks."""

    async def main() -> None:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        class Asks(AsyncNode):
            async def exec_async(self, prep_res: Any) -> str:
                self.emit("what now?")
                return await answer

            async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
                return str(exec_res)

        for flow in (AsyncFlow(Asks()), Asks()):
            answer = asyncio.get_running_loop().create_future()
            run = Run(flow, {})
            async for event in run:
                if isinstance(event, Chunk):
                    assert event.data == "what now?"
                    answer.set_result("go on")
            assert run.action == "go on"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


# -- streams --------------------------------------------------------------------------------------


def test_a_stream_gives_the_output(driver: Driver) -> None:
    """The data of its output chunks, and in `run` everything else."""
    for node in (driver.flow(two_nodes()[0]), Write()):
        stream = driver.stream(node, {})
        assert isinstance(stream, Stream | AsyncStream)
        assert status_of(stream.run) == "ready"
        assert driver.rest(stream) == ["a", "b", "c"]
        assert status_of(stream.run) == "done"
        assert stream.run.action in ("next", "written")
        assert driver.rest(stream) == []


def test_a_stream_gives_only_output(driver: Driver) -> None:
    """Chunks of another kind are for handlers; what a node emits is output like what it yields."""

    class Talk(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            self.emit("thinking", kind="thought")
            yield "a"
            self.emit("b")
            self.progress(1, 2)
            yield "c"

    seen = Seen()
    stream = driver.stream(driver.flow(Talk()), {}, observers=[seen])
    assert driver.rest(stream) == ["a", "b", "c"]
    assert [event.kind for event in seen.of(Chunk)] == ["thought", "output", "output", "output"]
    seen.check()


def test_the_action_is_the_return_value_of_a_stream() -> None:
    """`yield from` in another generator gives it, and so on upward."""

    def inner() -> Generator[Any, None, Any]:
        return (yield from Flow(two_nodes()[0]).run_stream({}))

    def outer() -> Generator[Any, None, Any]:
        yield "before"
        action = yield from inner()
        yield action

    assert list(outer()) == ["before", "a", "b", "c", "next"]
    stream = iter(Flow(two_nodes()[0]).run_stream({}))
    with pytest.raises(StopIteration) as end:
        while True:
            next(stream)
    assert end.value.value == "next"


def test_a_stream_is_taken_by_next(driver: Driver) -> None:
    """Before, between and after loops."""
    stream = driver.stream(driver.flow(Write()), {})
    assert driver.next(stream) == "a"
    assert driver.rest(stream) == ["b", "c"]
    assert driver.next(stream) is None
    assert driver.next(stream) is None
    assert stream.run.action == "written"


def test_a_stream_that_is_never_iterated_warns(driver: Driver) -> None:
    """Nothing ran, which is hardly what was meant: the warning says what to do."""
    shared: dict[str, Any] = {}
    how = "for … in" if driver.loop is None else "async for … in"
    with pytest.warns(RuntimeWarning, match=f"never iterated.*`{how}`.*callback"):
        driver.stream(driver.flow(Write()), shared)  # dropped at once
    assert shared == {}


def test_a_stream_that_is_closed_unused_does_not_warn(driver: Driver) -> None:
    """It was dealt with; its run is cancelled, without events."""
    seen = Seen()
    stream = driver.stream(driver.flow(Write()), {}, observers=[seen])
    driver.close_stream(stream)
    assert status_of(stream.run) == "cancelled"
    assert driver.rest(stream) == []
    del stream
    gc.collect()
    assert seen.events == []


def test_a_stream_is_closed_midway(driver: Driver) -> None:
    """The node's generator is closed and the ends are delivered before `close` returns."""
    shared: dict[str, Any] = {}
    seen = Seen()
    stream = driver.stream(driver.flow(two_nodes()[0]), shared, observers=[seen])
    assert driver.next(stream) == "a"
    driver.close_stream(stream)
    assert shared["log"] == ["prep", "a", "closed"]
    assert status_of(stream.run) == "cancelled"
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()
    assert driver.next(stream) is None
    driver.close_stream(stream)


def test_a_stream_is_a_context_manager(driver: Driver) -> None:
    """Leaving the block closes it, with or without an error."""
    stream = driver.stream(driver.flow(Write()), {})

    async def block() -> None:
        async with stream as entered:
            assert entered is stream
            assert await entered.__anext__() == "a"
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        if driver.loop is not None:
            driver.in_loop(block())
        else:
            with stream as entered:
                assert entered is stream
                assert next(entered) == "a"
                raise KeyError("mine")
    assert status_of(stream.run) == "cancelled"


def test_a_stream_that_is_dropped_is_cancelled(driver: Driver) -> None:
    """A sync one with its last reference, an async one on the loop's next turns."""
    shared: dict[str, Any] = {}
    seen = Seen()
    stream = driver.stream(driver.flow(Write()), shared, observers=[seen])
    run = stream.run
    assert driver.next(stream) == "a"
    del stream
    driver.settle()
    assert shared["log"] == ["prep", "a", "closed"]
    assert (run.status, seen.ends()) == ("cancelled", ["cancelled", "cancelled"])
    seen.check()


def test_breaking_out_of_a_stream_cancels_it(driver: Driver) -> None:
    """As with any generator, nobody else can go on with it."""
    shared: dict[str, Any] = {}
    seen = Seen()
    if driver.loop is None:
        for _ in driver.flow(Write()).run_stream(shared, observers=[seen]):
            break
    else:

        async def main() -> None:
            async for _ in AsyncFlow(Write()).run_stream_async(shared, observers=[seen]):
                break
            for _ in range(5):
                await asyncio.sleep(0)

        driver.in_loop(main())
    assert shared["log"] == ["prep", "a", "closed"]
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_a_stream_raises_what_its_run_failed_with(driver: Driver) -> None:
    """After the output so far; a stream never just stops."""

    class Breaks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "a"
            raise ValueError("broken")

    stream = driver.stream(driver.flow(Breaks()), {})
    assert driver.next(stream) == "a"
    with pytest.raises(ValueError, match="broken"):
        driver.next(stream)
    assert status_of(stream.run) == "failed"
    assert driver.next(stream) is None


def test_a_stream_whose_run_is_cancelled_says_so(driver: Driver) -> None:
    """Its consumer did not ask for that, so it is told."""
    stream = driver.stream(driver.flow(Write()), {})
    assert driver.next(stream) == "a"
    stream.run.cancel()
    with pytest.raises(RunCancelled):
        driver.next(stream)


def test_every_flow_and_node_streams(driver: Driver) -> None:
    """Also what does not yield: a node's `emit` is output, and without it there is none."""
    assert driver.rest(driver.stream(driver.flow(Step()), {})) == []
    assert driver.rest(driver.stream(Step(), {})) == []


def test_a_stream_can_be_moved_between_threads() -> None:
    """As web servers do it: each `next` in whichever worker is free, the close in another."""

    class Talk(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            for word in "abc":
                self.emit(f"about to say {word}", kind="note")
                yield word

    seen = Seen()
    stream = Talk().run_stream({}, observers=[seen])
    taken = [in_thread(lambda: next(stream)) for _ in range(2)]
    assert taken == ["a", "b"]
    in_thread(stream.close)
    assert status_of(stream.run) == "cancelled"
    assert [event.data for event in seen.of(Chunk)] == [
        *("about to say a", "a", "about to say b", "b")
    ]
    seen.check()


# -- callbacks ------------------------------------------------------------------------------------


def test_a_callback_gets_each_chunk_and_its_node(driver: Driver) -> None:
    """It runs to the end and gives the action, of a flow and of one node."""
    heard: list[tuple[str, str]] = []

    def show(chunk: str, node: str) -> None:
        heard.append((chunk, node))

    assert driver.call_back(driver.flow(two_nodes()[0]), {}, show) == "next"
    assert driver.call_back(driver.flow(driver.flow(Write())), {}, show) == "written"
    assert driver.call_back(Write(), {}, show) == "written"
    nested = "Flow/Write" if driver.loop is None else "AsyncFlow/Write"
    assert heard == [
        (word, node) for node in ("Write", nested, "Write") for word in ("a", "b", "c")
    ]


def test_a_callback_of_none_runs_to_the_end(driver: Driver) -> None:
    """It is a callback all the same: no stream."""
    assert driver.call_back(driver.flow(Write()), {}, None) == "written"


def test_a_callback_that_is_none_is_refused(driver: Driver) -> None:
    """Before anything runs."""
    shared: dict[str, Any] = {}
    with pytest.raises(ObserverError, match="callback='show' is not callable"):
        driver.call_back(driver.flow(Write()), shared, "show")
    assert shared == {}


def test_a_callback_that_raises_cancels_the_run(driver: Driver) -> None:
    """Its own exception propagates, after ends that are `cancelled` and name it."""
    shared: dict[str, Any] = {}
    seen = Seen()

    def show(chunk: str, node: str) -> None:
        if chunk == "b":
            raise LookupError("no more")

    with pytest.raises(LookupError, match="no more") as caught:
        driver.call_back(driver.flow(two_nodes()[0]), shared, show, observers=[seen])
    assert caught.value.__cause__ is None
    assert shared["log"] == ["prep", "a", "b", "closed"]
    assert seen.ends() == ["cancelled", "cancelled"]
    assert {end.error for end in seen.of(NodeEnd)} == {"LookupError: no more"}
    seen.check()


@pytest.mark.parametrize("handling", ["log", "raise"])
def test_no_node_and_no_option_swallows_what_a_callback_raises(
    driver: Driver, handling: str
) -> None:
    """It is no handler error: neither `except Exception`, nor a retry, nor the log gets it."""

    class Stubborn(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
                self.emit("b")
            except Exception:
                pass
            yield "c"

        def exec_fallback(self, prep_res: Any, exc: Exception) -> None:
            raise AssertionError("not reached")

    for stop in ("a", "b", "c"):

        def show(chunk: str, node: str, stop: str = stop) -> None:
            if chunk == stop:
                raise LookupError(chunk)

        with pytest.raises(LookupError, match=stop):
            driver.call_back(
                driver.flow(Stubborn(max_retries=3)), {}, show, on_handler_error=handling
            )


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_callback_that_interrupts(driver: Driver, error: type[BaseException]) -> None:
    """That propagates unchanged."""
    seen = Seen()

    def show(chunk: str, node: str) -> None:
        raise error

    with pytest.raises(error):
        driver.call_back(driver.flow(Write()), {}, show, observers=[seen])
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_an_async_callback_is_awaited(driver: Driver) -> None:
    """Before the next chunk is made; in a sync run nothing could, which is said first."""
    heard: list[str] = []
    shared: dict[str, Any] = {}

    async def show(chunk: str, node: str) -> None:
        await asyncio.sleep(0)
        heard.append(f"{chunk} after {shared['log'][-1]}")

    if driver.loop is None:
        with pytest.raises(TypeError, match=r"show.*is async"):
            driver.call_back(driver.flow(Write()), shared, show)
        assert shared == {}
        return
    assert driver.call_back(driver.flow(Write()), shared, show) == "written"
    assert heard == ["a after a", "b after b", "c after c"]


def test_an_async_callback_that_raises_cancels_the_run() -> None:
    """As a plain one."""
    seen = Seen()

    async def show(chunk: str, node: str) -> None:
        await asyncio.sleep(0)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        asyncio.run(awaited(lambda: Write().run_stream_async({}, show, observers=[seen])))
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_a_callback_and_observers(driver: Driver) -> None:
    """The callback comes after the observers that were given."""
    heard: list[str] = []

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            heard.append(f"observer {event.data}")

    def show(chunk: str, node: str) -> None:
        heard.append(f"callback {chunk}")

    driver.call_back(driver.flow(Write()), {}, show, observers=[Handler()])
    assert heard[:2] == ["observer a", "callback a"]


# -- options --------------------------------------------------------------------------------------


def test_an_id_is_in_every_event(driver: Driver) -> None:
    """The one that was given, or 128 random bits."""
    run = Run(driver.flow(Step()), {}, id="mine")
    assert run.id == "mine"
    assert {event.run_id for event in driver.pull(run)} == {"mine"}
    ids = {Run(driver.flow(Step()), {}).id for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)


def test_metadata_is_in_the_first_event_only(driver: Driver) -> None:
    """A copy of it: what is changed later is not in it."""
    metadata = {"user": "ada", "tags": ["x"]}
    run = Run(driver.flow(driver.flow(Step())), {}, metadata=metadata)
    metadata["user"] = "eve"
    starts = [event for event in driver.pull(run) if isinstance(event, FlowStart)]
    assert [start.metadata for start in starts] == [{"user": "ada", "tags": ["x"]}, {}]


@pytest.mark.parametrize("capture", [False, True])
def test_capture_puts_results_into_ends(driver: Driver, capture: bool) -> None:
    """Each step's `exec_res`, of streams too."""
    seen = Seen()
    driver.run(driver.flow(two_nodes()[0]), {}, capture=capture, observers=[seen])
    results = [["a", "b", "c"], "stepped"] if capture else [None, None]
    assert [end.result for end in seen.of(NodeEnd)] == results


def test_a_step_that_failed_has_no_result(driver: Driver) -> None:
    """There is none to capture."""
    seen = Seen()
    with pytest.raises(ValueError, match="broken"):
        driver.run(driver.flow(Fail()), {}, capture=True, observers=[seen])
    assert [end.result for end in seen.of(NodeEnd)] == [None]


def test_max_steps_bounds_a_loop(driver: Driver) -> None:
    """It fails with `TooManySteps`, which names the run, the limit and the node."""
    shared: dict[str, Any] = {}
    seen = Seen()
    said = r"Run r1 took its max_steps=7 steps.*'Again'.*loop without an end"
    with pytest.raises(TooManySteps, match=said):
        driver.run(driver.flow(endless()), shared, max_steps=7, id="r1", observers=[seen])
    assert shared == {"count": 7}
    assert seen.ends() == ["ok"] * 7 + ["error"]
    seen.check()


def test_max_steps_is_the_most_that_is_allowed(driver: Driver) -> None:
    """A run that needs no more goes well."""
    assert driver.run(driver.flow(two_nodes()[0]), {}, max_steps=2) == "next"
    assert driver.run(Step(), {}, max_steps=1) == "next"
    with pytest.raises(TooManySteps):
        driver.run(driver.flow(two_nodes()[0]), {}, max_steps=1)


def test_max_steps_counts_nested_flows_and_their_nodes(driver: Driver) -> None:
    """A nested flow is a step, and so is each node in it."""
    nested = driver.flow(driver.flow(Step()))
    assert driver.run(nested, {}, max_steps=2) == "next"
    seen = Seen()
    with pytest.raises(TooManySteps, match="Flow/Step"):
        driver.run(nested, {}, max_steps=1, observers=[seen])
    assert seen.ends() == ["error", "error"]
    seen.check()


@pytest.mark.parametrize("kind", ["sequential", "parallel"])
def test_max_steps_counts_in_all_items(driver: Driver, kind: str) -> None:
    """The items of a batch flow share one count; items of a node are no steps."""
    if kind == "parallel" and driver.loop is None:
        kind = "sequential"

    class Items(BatchFlow):
        def prep(self, shared: Any) -> list[dict[str, Any]]:
            return [{"n": 1}, {"n": 2}, {"n": 3}]

    class Parallel(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
            return [{"n": 1}, {"n": 2}, {"n": 3}]

    class Many(BatchNode):
        def prep(self, shared: Any) -> list[int]:
            return [1, 2, 3, 4]

    flow = Parallel if kind == "parallel" else Items
    driver.run(flow(Many()), {}, max_steps=3)
    for observers in ([], [seen := Seen()]):
        with pytest.raises(TooManySteps, match="max_steps=2"):
            driver.run(flow(Many()), {}, max_steps=2, observers=observers)
    seen.check()
    assert [end.status for end in seen.of(ItemEnd)].count("error") == 5 - 4 + (
        kind != "parallel"
    ) * 0


def test_a_handlers_error_is_logged(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """By default, with its traceback; the run and the other handlers go on."""
    seen = Seen()

    class Broken:
        def on_chunk(self, event: Chunk) -> None:
            raise ValueError("in a handler")

    driver.run(driver.flow(Write()), {}, observers=[Broken(), seen])
    assert [event.data for event in seen.of(Chunk)] == ["a", "b", "c"]
    assert [record.name for record in caplog.records] == ["flowevents"] * 3
    assert caplog.records[0].exc_info is not None


def test_a_handlers_error_fails_the_run(driver: Driver) -> None:
    """With `on_handler_error="raise"`; the rest still hears the event, and the ends."""
    seen = Seen()

    class Broken:
        def on_chunk(self, event: Chunk) -> None:
            raise ValueError("in a handler")

    run = Run(driver.flow(Write()), {}, observers=[Broken(), seen], on_handler_error="raise")
    with pytest.raises(ValueError, match="in a handler"):
        driver.wait(run)
    assert run.status == "failed"
    assert seen.kinds() == ["FlowStart", "NodeStart", "Chunk", "NodeEnd", "FlowEnd"]
    assert seen.ends() == ["error", "error"]
    seen.check()


SECRET = "sk-12345"


def hide(value: Any) -> Any:
    """A `redact` that knows one secret."""
    return value.replace(SECRET, "***") if isinstance(value, str) else value


class Leaky(StreamNode):
    """Puts a secret everywhere it can."""

    def exec_stream(self, prep_res: Any) -> Generator[str, None, str]:
        yield f"yielded {SECRET}"
        self.emit(f"emitted {SECRET}")
        if self.cur_retry == 0:
            raise ValueError(f"raised {SECRET}")
        return f"returned {SECRET}"


def test_redact_rewrites_what_is_seen(driver: Driver) -> None:
    """`data`, `error` and `result`, for handlers, pullers and streams; not what `post` gets."""

    class Careful(Leaky):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(
        *(driver.flow(Careful(max_retries=2)), shared),
        capture=True,
        redact=hide,
        observers=[seen],
    )
    assert driver.pull(run) == seen.events
    assert SECRET not in repr(seen.events)
    assert [event.error for event in seen.of(Retry)] == ["ValueError: raised ***"]
    assert {event.data for event in seen.of(Chunk)} == {"yielded ***", "emitted ***"}
    assert [event.result for event in seen.of(NodeEnd)] == ["returned ***"]
    assert shared["result"] == f"returned {SECRET}"
    stream = driver.stream(driver.flow(Leaky(max_retries=2)), {}, redact=hide)
    assert set(driver.rest(stream)) == {"yielded ***", "emitted ***"}
    heard: list[str] = []
    driver.call_back(
        *(driver.flow(Leaky(max_retries=2)), {}, lambda chunk, node: heard.append(chunk)),
        redact=hide,
    )
    assert set(heard) == {"yielded ***", "emitted ***"}


def test_redact_rewrites_the_errors_of_ends(driver: Driver) -> None:
    """What is raised is the node's own exception, unchanged."""
    seen = Seen()
    with pytest.raises(ValueError, match=SECRET):
        driver.run(driver.flow(Leaky()), {}, redact=hide, observers=[seen])
    assert SECRET not in repr(seen.events)
    assert [end.error for end in seen.of(NodeEnd)] == ["ValueError: raised ***"]


def test_redact_sees_an_error_as_a_whole(driver: Driver) -> None:
    """Before it is cut, so that no part of a secret is left at the cut."""

    class Long(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("x" * (2000 - len("ValueError: ") - 4) + SECRET)

    seen = Seen()
    with pytest.raises(ValueError, match=SECRET):
        driver.run(driver.flow(Long()), {}, redact=hide, observers=[seen])
    assert SECRET[:4] not in repr(seen.events)
    with pytest.raises(ValueError, match=SECRET):
        driver.run(
            driver.flow(Long()), {}, redact=lambda text: text * 3, observers=[again := Seen()]
        )
    again.check()


@pytest.mark.parametrize("given", ["", None, 5, b"bytes"], ids=repr)
def test_whatever_redact_makes_of_an_error_is_a_text(driver: Driver, given: Any) -> None:
    """The stream stays well-formed."""
    seen = Seen()
    with pytest.raises(ValueError, match="broken"):
        driver.run(driver.flow(Fail()), {}, redact=lambda value: given, observers=[seen])
    seen.check()


def test_a_redact_that_fails_leaks_nothing(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """The value is left out and the failure logged; the run goes on."""

    def broken(value: Any) -> Any:
        raise RuntimeError("cannot redact")

    seen = Seen()
    run = Run(
        *(driver.flow(Leaky(max_retries=2)), {}),
        capture=True,
        redact=broken,
        observers=[seen],
    )
    taken = driver.pull(run)
    assert status_of(run) == "done"
    assert SECRET not in repr(taken)
    assert taken == seen.events
    seen.check()
    assert "redact failed" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 6
    assert (
        driver.rest(driver.stream(driver.flow(Leaky(max_retries=2)), {}, redact=broken))
        == ["[redact failed]"] * 4
    )


def test_the_clock_is_what_a_run_goes_by(driver: Driver) -> None:
    """Times, durations, and the waits before a retry."""
    clock = ManualClock(100.0)

    class Slow(Node):
        def exec(self, prep_res: Any) -> None:
            clock.advance(5)
            if self.cur_retry < 2:
                raise ValueError("again")

    taken = driver.pull(Run(driver.flow(Slow(max_retries=3, wait=60)), {}, clock=clock))
    assert clock.sleeps == [60, 60]
    assert taken[0].time == 100
    assert [event.time for event in taken if isinstance(event, Retry)] == [105, 170]
    assert [event.duration for event in taken if isinstance(event, NodeEnd | FlowEnd)] == [135, 135]
    assert taken[-1].time == 235


def test_observers_hear_their_run_only(driver: Driver) -> None:
    """In the order in which they were given, and not a later run of the same flow."""
    heard: list[str] = []
    flow = driver.flow(Write())

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def on_chunk(self, event: Chunk) -> None:
            heard.append(self.name + event.data)

    driver.run(flow, {}, observers=[Named("1"), Named("2")])
    driver.run(flow, {}, observers=iter([Named("3")]))
    driver.run(flow, {})
    assert heard == ["1a", "2a", "1b", "2b", "1c", "2c", "3a", "3b", "3c"]


def test_every_form_takes_the_options(driver: Driver) -> None:
    """`run`, `run_stream` with and without a callback, of flows and of nodes."""
    for make in (lambda: driver.flow(two_nodes()[0]), Write):
        forms: list[Callable[..., Any]] = [
            driver.run,
            functools.partial(driver.call_back, callback=None),
            lambda node, shared, **options: driver.rest(driver.stream(node, shared, **options)),
        ]
        for form in forms:
            seen = Seen()
            form(make(), {}, id="mine", metadata={"a": 1}, capture=True, observers=[seen])
            assert seen.of(FlowStart)[0].metadata == {"a": 1}
            assert seen.of(NodeEnd)[0].result == ["a", "b", "c"]
            assert seen.events[0].run_id == "mine"


NOT_YET = ("journal",)


@pytest.mark.parametrize("option", [*NOT_YET, "observer", "timeout"])
def test_an_option_that_does_not_exist_is_a_type_error(driver: Driver, option: str) -> None:
    """Those of later versions too: none is ignored."""
    options: dict[str, Any] = {option: None}
    flow = driver.flow(Write())
    calls: list[Callable[[], Any]] = [
        lambda: Run(flow, {}, **options),
        lambda: driver.run(flow, {}, **options),
        lambda: driver.run(Write(), {}, **options),
        lambda: driver.stream(flow, {}, **options),
        lambda: driver.call_back(flow, {}, None, **options),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=option):
            call()


def test_options_are_keywords_only() -> None:
    """Nothing but the flow and `shared` has a place."""
    with pytest.raises(TypeError):
        Run(Flow(Step()), {}, [])  # type: ignore[call-arg]
    parameters = inspect.signature(Run).parameters.values()
    assert [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD] == [
        *("flow", "shared")
    ]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"id": ""}, ValueError, "id=''"),
        ({"id": 5}, ValueError, "id=5"),
        ({"max_steps": 0}, ValueError, "max_steps=0"),
        ({"max_steps": -1}, ValueError, "max_steps=-1"),
        ({"max_steps": True}, ValueError, "max_steps=True"),
        ({"on_handler_error": "ignore"}, ValueError, "on_handler_error='ignore'"),
        ({"on_pause": "stop"}, ValueError, "on_pause='stop'"),
        ({"on_pause": None}, ValueError, "on_pause=None"),
        ({"redact": "secrets"}, ValueError, "redact='secrets'"),
        ({"observers": print}, TypeError, "observers="),
        ({"observers": "show"}, TypeError, "observers='show'"),
        ({"observers": None}, TypeError, "observers=None"),
        ({"observers": [None]}, TypeError, "None is no observer"),
        ({"observers": [5]}, TypeError, "5 is no observer"),
    ],
)
def test_an_option_that_makes_no_sense(options: Any, error: type[Exception], said: str) -> None:
    """The error names it and its value, before anything runs."""
    with pytest.raises(error, match=said):
        Run(Flow(Step()), {}, **options)


@pytest.mark.parametrize("flow", [None, 5, "flow", Step, Flow, object()], ids=repr)
def test_what_is_no_flow_cannot_be_run(flow: Any) -> None:
    """A class is the most likely mistake, so the error asks about that."""
    hint = "instance" if isinstance(flow, type) else "needs a flow or a node"
    with pytest.raises(GraphError, match=hint):
        Run(flow, {})


# -- errors ---------------------------------------------------------------------------------------


def test_an_error_comes_after_the_ends_in_every_form(driver: Driver) -> None:
    """A node's own exception, out of each way of driving, after its `node_end` and `flow_end`."""
    nested = driver.flow(driver.flow(Fail()))
    seen: Seen
    forms: list[Callable[[], Any]] = [
        lambda: driver.run(nested, {}, observers=[seen]),
        lambda: driver.wait(Run(nested, {}, observers=[seen])),
        lambda: driver.pull(Run(nested, {}, observers=[seen])),
        lambda: driver.rest(driver.stream(nested, {}, observers=[seen])),
        lambda: driver.call_back(nested, {}, None, observers=[seen]),
        lambda: driver.call_back(nested, {}, print, observers=[seen]),
        lambda: driver.run(Fail(), {}, observers=[seen]),
        lambda: driver.rest(driver.stream(Fail(), {}, observers=[seen])),
    ]
    for form in forms:
        seen = Seen()
        with pytest.raises(ValueError, match="broken") as caught:
            form()
        assert caught.value.__cause__ is None
        assert set(seen.ends()) == {"error"}
        assert [end.error for end in seen.of(FlowEnd)][-1] == "ValueError: broken"
        assert isinstance(seen.events[-1], FlowEnd)
        seen.check()


def test_an_error_is_raised_after_the_puller_has_the_ends(driver: Driver) -> None:
    """The loop's body sees all of them before the exception leaves the loop."""
    run = Run(driver.flow(Fail()), {})
    iterator: Any = iter(run) if driver.loop is None else run.__aiter__()
    taken = [type(driver.next(iterator)).__name__ for _ in range(4)]
    assert taken == ["FlowStart", "NodeStart", "NodeEnd", "FlowEnd"]
    with pytest.raises(ValueError, match="broken"):
        driver.next(iterator)
    assert driver.next(iterator) is None


@pytest.mark.parametrize("method", ["prep", "exec", "post", "exec_stream"])
@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
def test_a_stop_iteration_does_not_look_like_an_end(
    driver: Driver, method: str, error: type[Exception]
) -> None:
    """It becomes a `RuntimeError` with it as the cause, as in any generator."""

    def raises(self: Any, *args: Any) -> Any:
        raise error("stop")

    class Base(StreamNode if method == "exec_stream" else Node):  # type: ignore[misc]
        pass

    node: Any = type("Stops", (Base,), {method: raises})()
    forms: list[Callable[[Any], Any]] = [
        lambda flow: driver.run(flow, {}, observers=[seen]),
        lambda flow: driver.pull(Run(flow, {}, observers=[seen])),
        lambda flow: driver.rest(driver.stream(flow, {}, observers=[seen])),
    ]
    for form in forms:
        for flow in (driver.flow(node), node):
            seen = Seen()
            with pytest.raises(RuntimeError) as caught:
                form(flow)
            assert isinstance(caught.value.__cause__, error)
            assert set(seen.ends()) == {"error"}
            seen.check()


@pytest.mark.parametrize("kind", [AsyncNode, AsyncBatchNode, AsyncParallelBatchNode])
@pytest.mark.parametrize("method", ["prep_async", "exec_async", "post_async"])
@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
def test_a_stop_iteration_of_async_code(
    kind: type[AsyncNode], method: str, error: type[Exception]
) -> None:
    """In parallel items too: an exhausted `await anext(…)` is no result."""

    async def raises(self: Any, *args: Any) -> Any:
        await asyncio.sleep(0)
        raise error("stop")

    async def items(self: Any, shared: Any) -> list[int]:
        return [1, 2]

    methods = {"prep_async": items, method: raises}
    for flow in (AsyncFlow(type("Stops", (kind,), methods)()), type("Stops", (kind,), methods)()):
        for observed in (True, False):
            seen = Seen()
            with pytest.raises(RuntimeError) as caught:
                asyncio.run(flow.run_async({}, observers=[seen] if observed else []))
            assert isinstance(caught.value.__cause__, error)
            assert set(seen.ends()) <= {"error"}
            seen.check()


def test_an_async_node_in_a_sync_run() -> None:
    """The error names the node and says what to do, after the ends, in every form."""

    class Late(AsyncNode):
        pass

    step = Step()
    step - "next" >> Flow(Late())
    forms: list[Callable[[], Any]] = [
        lambda: Flow(step).run({}, observers=[seen]),
        lambda: list(Run(Flow(step), {}, observers=[seen])),
        lambda: list(Flow(step).run_stream({}, observers=[seen])),
        lambda: Flow(step).run_stream({}, None, observers=[seen]),
    ]
    for form in forms:
        seen = Seen()
        with pytest.raises(AsyncNodeError, match=r"'Flow/Late'.*run_async"):
            form()
        assert seen.ends() == ["ok", "error", "error", "error"]
        seen.check()
    for alone in (Late(), AsyncFlow(Step())):
        with pytest.raises(AsyncNodeError, match=r"'(Late|AsyncFlow)'.*run_async"):
            alone.run({})


def test_an_async_observer_of_a_sync_run() -> None:
    """It is refused by name before the first node runs; the run can still be run async."""
    shared: dict[str, Any] = {}

    class Watcher:
        async def on_chunk(self, event: Chunk) -> None:
            heard.append(event.data)

    heard: list[str] = []
    forms: list[Callable[[], Any]] = [
        lambda: Flow(Write()).run(shared, observers=[Watcher()]),
        lambda: next(iter(Run(Flow(Write()), shared, observers=[Watcher()]))),
        lambda: next(Flow(Write()).run_stream(shared, observers=[Watcher()])),
    ]
    for form in forms:
        with pytest.raises(TypeError, match=r"Watcher\.on_chunk.*is async.*run_async"):
            form()
    run = Run(Flow(Write()), shared, observers=[Watcher()])
    with pytest.raises(TypeError, match="is async"):
        run.wait()
    assert (run.status, shared) == ("ready", {})
    assert asyncio.run(run.wait_async()) == "written"
    assert heard == ["a", "b", "c"]


def test_a_graph_that_cannot_run_is_refused_before_it_begins(driver: Driver) -> None:
    """No event is sent, and the run is still ready."""
    step = Step()
    step.successors["next"] = "no node"
    seen = Seen()
    run = Run(driver.flow(step), {}, observers=[seen])
    for drive in (driver.wait, driver.pull):
        with pytest.raises(GraphError, match=r"'no node'.*'Step'.*'next'"):
            drive(run)
    named = Step()
    named.node_name = "a/b"
    with pytest.raises(ValueError, match="'a/b'"):
        driver.run(driver.flow(named), {}, observers=[seen])
    assert (run.status, seen.events) == ("ready", [])


def test_all_errors_have_one_root() -> None:
    """Whoever wants to tell them from a node's errors can."""
    for error in (RunStateError, RunCancelled, TooManySteps, AsyncNodeError, GraphError):
        assert issubclass(error, FlowEventsError)
    assert issubclass(RunStateError, RuntimeError)
    assert issubclass(GraphError, TypeError)


def test_a_result_is_the_last_thing_that_is_yielded() -> None:
    """What comes after it is an error that names the node."""

    class Late(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
            yield "a"
            yield Result("b")
            yield "c"

    with pytest.raises(RuntimeError, match=r"'Late' yielded 'c' after its Result"):
        asyncio.run(AsyncFlow(Late()).run_async({}))


def test_no_action_follows_a_step_that_failed(driver: Driver) -> None:
    """The next node does not begin, and nothing says that it would."""
    fail = Fail()
    fail >> Step()
    seen = Seen()
    with pytest.raises(ValueError, match="broken"):
        driver.run(driver.flow(fail), {}, observers=[seen])
    assert seen.of(Action) == []
    assert [event.node for event in seen.of(NodeStart)] == ["Fail"]
