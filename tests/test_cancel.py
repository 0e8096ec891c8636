"""Cancelling and abandoning, on every path: whatever stops a run, its stream ends well-formed."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import types
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowevents
from flowevents import (
    AsyncBatchFlow,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    Retry,
    Run,
    RunCancelled,
    RunStateError,
    StreamNode,
)
from flowevents.testing import ManualClock
from tests.driving import PATIENCE, Driver, Seen, connected, driving, in_thread, status_of
from tests.graphs import Graph, Halt, build, graphs, new_shared


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No test leaves a handler connected, or a node in its code."""
    yield
    assert connected() == []
    assert is_open.count == 0


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Both ways to drive a run."""
    with driving(request.param) as driver:
        yield driver


@pytest.fixture
def loop() -> Iterator[Driver]:
    """A loop to drive runs in."""
    with driving("async") as driver:
        yield driver


class Stop(Exception):
    """What a consumer raises."""


STOPPED = (RunCancelled, Stop, KeyboardInterrupt, SystemExit, asyncio.CancelledError)
"""What may come out of a run that was stopped."""


# -- what is run: every kind of flow, of nodes that know whether they are open --------------------


class Open:
    """How many nodes are in their code now."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *exc: object) -> None:
        self.count -= 1


is_open = Open()


class Talk(StreamNode):
    """Yields and emits; its first attempt may fail."""

    fails = False

    def exec_stream(self, prep_res: Any) -> Generator[str, None, str]:
        with is_open:
            for word in ("a", "b"):
                self.emit(f"saying {word}", kind="note")
                yield word
            if self.fails and self.cur_retry == 0:
                raise ValueError("try again")
        return "said"


class TalkAsync(AsyncStreamNode):
    """So does this one, and waits in between."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        with is_open:
            for word in ("a", "b"):
                self.progress(1, 2)
                await asyncio.sleep(0)
                yield word


class Wait(AsyncNode):
    """Emits, and waits."""

    async def exec_async(self, prep_res: Any) -> None:
        with is_open:
            self.emit("waiting")
            await asyncio.sleep(0)
            self.emit("waited")


class TalkBatch(Talk, BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 2]


class TalkAsyncBatch(TalkAsync, AsyncBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2]


class TalkParallel(TalkAsync, AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2, 3]


class WaitParallel(Wait, AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2, 3]


class Items(BatchFlow):
    def prep(self, shared: Any) -> list[dict[str, Any]]:
        return [{"n": 1}, {"n": 2}]


class AsyncItems(AsyncBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{"n": 1}, {"n": 2}]


class ParallelItems(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{"n": 1}, {"n": 2}]


def retried() -> Talk:
    """A node whose first attempt fails."""
    talk = Talk(max_retries=2)
    talk.fails = True
    return talk


def chain(*nodes: Any) -> Any:
    """The first of them, connected to the others."""
    for one, other in itertools.pairwise(nodes):
        one >> other
    return nodes[0]


SYNC_SHAPES: dict[str, Callable[[], Any]] = {
    "node": Talk,
    "flow": lambda: Flow(chain(Talk(), Node(), Talk())),
    "nested": lambda: Flow(Flow(Flow(chain(Talk(), Node())))),
    "retry": lambda: Flow(chain(retried(), Node())),
    "batch node": lambda: Flow(chain(TalkBatch(), Node())),
    "batch flow": lambda: Items(chain(Talk(), Items(Talk()))),
}
ASYNC_SHAPES: dict[str, Callable[[], Any]] = {
    "async node": TalkAsync,
    "async flow": lambda: AsyncFlow(chain(TalkAsync(), Wait(), Talk())),
    "async batch node": lambda: AsyncFlow(chain(TalkAsyncBatch(), Wait())),
    "async batch flow": lambda: AsyncItems(chain(Wait(), AsyncItems(TalkAsync()))),
    "parallel node": lambda: AsyncFlow(chain(TalkParallel(max_concurrency=2), Wait())),
    "parallel waits": lambda: AsyncFlow(chain(WaitParallel(), Wait())),
    "parallel flow": lambda: ParallelItems(chain(TalkAsync(), Talk())),
    "parallel in parallel": lambda: ParallelItems(AsyncFlow(chain(WaitParallel(), TalkParallel()))),
}


# -- how it is stopped ----------------------------------------------------------------------------

Make = Callable[[], Any]
"""Makes the flow."""

Act = Callable[[Driver, Run], object]
"""Does something that stops a run."""


def close(driver: Driver, run: Run) -> None:
    """Close it, where that is allowed: what calls this is no coroutine."""
    run.close() if driver.loop is None else run.cancel()


def cancel_task(driver: Driver, run: Run) -> None:
    """Cancel the task that drives it; a sync run, as whoever wants to be sure does."""
    driver.task.cancel() if driver.task is not None else run.cancel()


def raises(error: type[BaseException]) -> Act:
    """Raise it."""

    def act(driver: Driver, run: Run) -> object:
        raise error

    return act


def soon(act: Act) -> Act:
    """Do it when the loop has the next turn, in the midst of whatever awaits."""
    return lambda driver, run: (
        act(driver, run) if driver.loop is None else driver.loop.call_soon(act, driver, run)
    )


ACTS: dict[str, Act] = {
    "cancel": lambda driver, run: run.cancel(),
    "cancel in a thread": lambda driver, run: in_thread(run.cancel),
    "close": close,
    "cancel twice": lambda driver, run: (run.cancel(), run.cancel()),
    "cancel the task": cancel_task,
    "cancel soon": soon(lambda driver, run: run.cancel()),
    "cancel the task soon": soon(cancel_task),
    "cancel both": lambda driver, run: (run.cancel(), cancel_task(driver, run)),
}
INTERRUPTS: dict[str, Act] = {
    error.__name__: raises(error)
    for error in (KeyboardInterrupt, SystemExit, asyncio.CancelledError)
}


class Case:
    """One flow, to be run and stopped once.

    Attributes:
        driver: What drives it.
        seen: What its observers saw.
        at: The number of the event, or of the chunk, at which it is to be stopped.
    """

    def __init__(self, driver: Driver, flow: Any, shared: Any, at: int) -> None:
        self.driver = driver
        self.flow = flow
        self.shared = shared
        self.at = at
        self.seen = Seen()
        self.run: Run | None = None

    def new_run(self, **options: Any) -> Run:
        """A run of it that is seen."""
        self.run = Run(self.flow, self.shared, observers=[self.seen], **options)
        return self.run

    def is_now(self) -> bool:
        """Whether this is the event."""
        return len(self.seen.events) == self.at


def in_a_handler(act: Act) -> Callable[[Case], None]:
    """Stop it in a handler of the event."""

    def stop(case: Case) -> None:
        def observer(event: Event) -> None:
            case.seen(event)
            if case.is_now():
                act(case.driver, run)

        run = case.run = Run(case.flow, case.shared, observers=[observer])
        case.driver.wait(run)

    return stop


def in_an_async_handler(act: Act) -> Callable[[Case], None]:
    """Stop it in a handler that is awaited, in an async run; in a sync one, in a plain handler."""

    def stop(case: Case) -> None:
        async def observer(event: Event) -> None:
            case.seen(event)
            if case.is_now():
                act(case.driver, run)
            await asyncio.sleep(0)

        if case.driver.loop is None:
            in_a_handler(act)(case)
            return
        run = case.run = Run(case.flow, case.shared, observers=[observer])
        case.driver.wait(run)

    return stop


def in_the_body(act: Act) -> Callable[[Case], None]:
    """Stop it in the body of the loop that pulls it, and go on with the loop."""

    def stop(case: Case) -> None:
        taken = itertools.count(1)

        def body(event: Event) -> None:
            if next(taken) == case.at:
                act(case.driver, run)

        run = case.new_run()
        try:
            case.driver.each(run, body)
        except asyncio.CancelledError:  # the task's, which left the run where it was
            case.driver.close(run)
            raise

    return stop


def after_the_loop(act: Act) -> Callable[[Case], None]:
    """Leave the loop that pulls it, then stop it, then wait for it."""

    def stop(case: Case) -> None:
        run = case.new_run()
        case.driver.pull(run, case.at)
        act(case.driver, run)
        case.driver.wait(run)

    return stop


def leave_the_block(error: type[Exception] | None) -> Callable[[Case], None]:
    """Leave a `with` block, with or without an error."""

    def stop(case: Case) -> None:
        run = case.new_run()
        case.driver.pull(run, case.at)

        def body() -> None:
            if error is not None:
                raise error

        case.driver.inside(run, body)

    return stop


def raise_in_the_body(case: Case) -> None:
    """Raise in the body of the loop, within the block; the exception is the consumer's."""
    taken = itertools.count(1)

    def body(event: Event) -> None:
        if next(taken) == case.at:
            raise Stop

    run = case.new_run()

    async def block() -> None:
        async with run:
            async for event in run:
                body(event)

    if case.driver.loop is not None:
        case.driver.in_loop(block())
        return
    with run:
        for event in run:
            body(event)


def drop_the_run(case: Case) -> None:
    """Leave the loop, and keep nothing of the run."""
    case.driver.pull(case.new_run(), case.at)
    case.run = None
    gc.collect(0)


def streamed(leave: Callable[[Case, Any], None]) -> Callable[[Case], None]:
    """Take chunks of its stream, and then leave that."""

    def stop(case: Case) -> None:
        stream = case.driver.stream(case.flow, case.shared, observers=[case.seen])
        for _ in range(case.at):
            if case.driver.next(stream) is None:
                break
        leave(case, stream)

    return stop


def drop_the_stream(case: Case) -> None:
    """Take chunks of its stream, and keep nothing of that."""
    streamed(lambda case, stream: None)(case)


def raise_in_a_stream(case: Case) -> None:
    """Raise in the body of the loop over its stream; the stream goes with the loop."""
    taken = itertools.count(1)
    options: dict[str, Any] = {"observers": [case.seen]}

    async def loop() -> None:
        async with aclosing(case.flow.run_stream_async(case.shared, **options)) as stream:
            async for _ in stream:
                if next(taken) == case.at:
                    raise Stop

    if case.driver.loop is not None:
        case.driver.in_loop(loop())
        return
    for _ in case.flow.run_stream(case.shared, **options):
        if next(taken) == case.at:
            raise Stop


def raise_in_a_callback(case: Case) -> None:
    """Raise in the callback of its stream."""
    taken = itertools.count(1)

    def callback(chunk: Any, node: str) -> None:
        if next(taken) == case.at:
            raise Stop

    case.driver.call_back(case.flow, case.shared, callback, observers=[case.seen])


def close_the_stream(case: Case, stream: Any) -> None:
    case.driver.close_stream(stream)


def cancel_the_stream(case: Case, stream: Any) -> None:
    stream.run.cancel()
    case.driver.rest(stream)


AWAITED = ("cancel", "cancel soon", "cancel the task", "cancel the task soon")
BETWEEN = ("cancel", "cancel in a thread", "close")
PUSHED: dict[str, Callable[[Case], None]] = {
    **{f"{name} in a handler": in_a_handler(act) for name, act in ACTS.items()},
    **{f"{name} in a handler": in_a_handler(act) for name, act in INTERRUPTS.items()},
    **{f"{name} in an async handler": in_an_async_handler(ACTS[name]) for name in AWAITED},
    **{f"{name} in an async handler": in_an_async_handler(INTERRUPTS[name]) for name in INTERRUPTS},
}
PULLED: dict[str, Callable[[Case], None]] = {
    **{f"{name} in the body": in_the_body(act) for name, act in ACTS.items()},
    **{f"{name} after the loop": after_the_loop(ACTS[name]) for name in BETWEEN},
    "leave the block": leave_the_block(None),
    "raise in the block": leave_the_block(Stop),
    "raise in the body": raise_in_the_body,
    "drop the run": drop_the_run,
}
STREAMED: dict[str, Callable[[Case], None]] = {
    "close the stream": streamed(close_the_stream),
    "drop the stream": drop_the_stream,
    "cancel the stream": streamed(cancel_the_stream),
    "raise in a stream": raise_in_a_stream,
    "raise in a callback": raise_in_a_callback,
}
WAYS = {**PUSHED, **PULLED, **STREAMED}


def stop_and_check(case: Case, way: str) -> None:
    """Stop it that way: it ends well-formed, says nothing after that, and leaves nothing."""
    loop = case.driver.loop
    try:
        WAYS[way](case)
    except (*STOPPED, ValueError, KeyError, Halt) as error:
        error.__traceback__ = None  # which would keep what is to be dropped
    seen = list(case.seen.events)
    if "drop" in way or "soon" in way:
        case.driver.settle()
    elif loop is not None:
        assert is_last(seen[-1:])
    case.driver.settle()
    if "drop" not in way and "soon" not in way:
        assert case.seen.events == seen, "events came after the end"
    case.seen.check()
    assert is_last(case.seen.events[-1:])
    if case.run is not None:
        assert case.run.status in ("done", "failed", "cancelled")
    if loop is not None:
        assert asyncio.all_tasks(loop) == set()
    assert connected() == []
    case.shared.clear()


def is_last(events: list[Event]) -> bool:
    """Whether there is none, or just the last of a run."""
    return not events or (isinstance(events[0], FlowEnd) and events[0].node == "")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SYNC_SHAPES)
def test_a_sync_run_is_stopped_at_every_event(shape: str, way: str) -> None:
    """Each kind of flow of sync nodes, in each way."""
    with driving("sync") as driver:
        _stop_everywhere(driver, SYNC_SHAPES[shape], way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", ["flow", "batch flow", *ASYNC_SHAPES])
def test_an_async_run_is_stopped_at_every_event(loop: Driver, shape: str, way: str) -> None:
    """Each kind of flow of async nodes, with parallel items, in each way."""
    _stop_everywhere(loop, {**SYNC_SHAPES, **ASYNC_SHAPES}[shape], way)


def _stop_everywhere(driver: Driver, make: Make, way: str) -> None:
    whole = len(driver.pull(Run(make(), {})))
    for at in range(1, whole + 1):
        case = Case(driver, make(), {}, at)
        stop_and_check(case, way)
        assert is_open.count == 0
        early = at < (whole if way not in STREAMED else 2)
        if early and "soon" not in way and "task" not in way:
            assert case.seen.ends()[-1] == "cancelled"
            assert case.run is None or case.run.status == "cancelled"
        if way in STREAMED and case.seen.ends()[-1] == "ok":
            break


def open_generators() -> list[Any]:
    """The streams of nodes of drawn graphs that have begun and not ended."""
    kinds = (types.GeneratorType, types.AsyncGeneratorType)
    found = []
    for each in gc.get_objects():
        if isinstance(each, kinds) and each.__name__ in ("exec_stream", "exec_stream_async"):
            frame = each.gi_frame if isinstance(each, types.GeneratorType) else each.ag_frame
            if frame is not None:
                found.append(each)
    return found


def _stop_a_graph(spec: Graph, way: str, at: int, how: str) -> None:
    with warnings.catch_warnings(), driving(how) as driver:
        warnings.simplefilter("ignore", UserWarning)  # of flows that end without a successor
        shared = new_shared()
        case = Case(driver, build(spec, flowevents, shared), shared, at)
        stop_and_check(case, way)
        assert open_generators() == []


@given(graphs(streams=True), st.sampled_from(sorted(WAYS)), st.integers(1, 40))
def test_any_sync_run_can_be_stopped_anywhere(spec: Graph, way: str, at: int) -> None:
    """Whatever the graph, the way and the event."""
    _stop_a_graph(spec, way, at, "sync")


@given(graphs(streams=True, asynchronous=True), st.sampled_from(sorted(WAYS)), st.integers(1, 40))
def test_any_async_run_can_be_stopped_anywhere(spec: Graph, way: str, at: int) -> None:
    """With async nodes, parallel items, and errors and retries of their own."""
    _stop_a_graph(spec, way, at, "async")
