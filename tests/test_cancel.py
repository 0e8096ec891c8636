"""Cancelling and abandoning, on every path: whatever stops a run, its stream ends well-formed."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import types
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing
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
    Clock,
    Event,
    Flow,
    FlowEnd,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    Retry,
    Run,
    RunCancelled,
    Stream,
    StreamNode,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, Driver, Seen, connected, driving, in_thread, status_of
from tests.graphs import Graph, Halt, build, graphs, new_shared


@pytest.fixture(autouse=True)
def _no_node_is_in_its_code() -> Iterator[None]:
    """No test leaves one there."""
    yield
    assert is_open.count == 0


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
    "flow": lambda: Flow(chain(Flow(retried()), Node())),
    "batch node": lambda: Flow(TalkBatch()),
    "batch flow": lambda: Items(Items(Talk())),
}
ASYNC_SHAPES: dict[str, Callable[[], Any]] = {
    "flow in a loop": SYNC_SHAPES["flow"],
    "async flow": lambda: AsyncFlow(chain(AsyncFlow(TalkAsync()), Wait())),
    "async batch node": lambda: AsyncFlow(TalkAsyncBatch()),
    "async batch flow": lambda: AsyncItems(Wait()),
    "parallel node": lambda: AsyncFlow(TalkParallel(max_concurrency=2)),
    "parallel waits": lambda: AsyncFlow(chain(WaitParallel(), Node())),
    "parallel flow": lambda: ParallelItems(chain(TalkAsync(), Node())),
    "parallel in parallel": lambda: ParallelItems(AsyncFlow(WaitParallel())),
}
SHAPES = SYNC_SHAPES | ASYNC_SHAPES


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


def cancel(driver: Driver, run: Run) -> None:
    """Cancel it."""
    run.cancel()


def cancel_in_a_thread(driver: Driver, run: Run) -> None:
    """Let another thread cancel it, and wait for that."""
    in_thread(run.cancel)


def both(one: Act, other: Act) -> Act:
    """Do one after the other."""

    def act(driver: Driver, run: Run) -> None:
        one(driver, run)
        other(driver, run)

    return act


ACTS: dict[str, Act] = {
    "cancel": cancel,
    "cancel in a thread": cancel_in_a_thread,
    "close": close,
    "cancel twice": both(cancel, cancel),
    "cancel the task": cancel_task,
    "cancel soon": soon(cancel),
    "cancel the task soon": soon(cancel_task),
    "cancel both": both(cancel, cancel_task),
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
    """Close it."""
    case.driver.close_stream(stream)


def cancel_the_stream(case: Case, stream: Any) -> None:
    """Cancel its run, and take the rest of it."""
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
@pytest.mark.parametrize("shape", ASYNC_SHAPES)
def test_an_async_run_is_stopped_at_every_event(loop: Driver, shape: str, way: str) -> None:
    """Each kind of flow of async nodes, with parallel items, in each way."""
    _stop_everywhere(loop, ASYNC_SHAPES[shape], way)


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


# -- cancelling: who may, and when ----------------------------------------------------------------


class Held(StreamNode):
    """Yields once, and holds its thread until it may go on; then yields and notes what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.may_go = threading.Event(), threading.Event()

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        with is_open:
            yield "a"
            self.entered.set()
            assert self.may_go.wait(PATIENCE)
            yield "b"
            raise AssertionError("not reached")


class GoesOn(Run):
    """A run whose held node may go on once the run has been asked to cancel."""

    held: Held

    def cancel(self) -> None:
        super().cancel()
        self.held.may_go.set()


def test_a_sync_node_is_not_killed_but_stops_at_its_next_event(driver: Driver) -> None:
    """Cancelled by another thread while its code runs: what it yields then is its last."""
    held, seen = Held(), Seen()
    run = Run(driver.flow(held), {}, observers=[seen])

    def cancel() -> None:
        assert held.entered.wait(PATIENCE)
        run.cancel()
        assert run.status == "running"
        held.may_go.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(RunCancelled, match=run.id):
        driver.wait(run)
    thread.join(PATIENCE)
    assert [event.data for event in seen.of(Chunk)] == ["a"]
    assert seen.ends() == ["cancelled", "cancelled"]
    assert run.status == "cancelled"
    seen.check()


@pytest.mark.parametrize("by", ["exec", "post", "prep"])
def test_plain_code_stops_at_the_next_border(driver: Driver, by: str) -> None:
    """What a node does in a call is done; the next node does not begin."""
    seen, log = Seen(), list[Any]()

    class Busy(Node):
        def prep(self, shared: Any) -> None:
            self.stop_in("prep")

        def exec(self, prep_res: Any) -> None:
            self.stop_in("exec")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            self.stop_in("post")

        def stop_in(self, method: str) -> None:
            if by == method:
                run.cancel()
            log.append(method)

    run = Run(driver.flow(chain(Busy(), Busy())), {}, observers=[seen])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert by in log
    assert log.count(by) == 1
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_a_flow_stops_between_its_nodes_and_its_post(driver: Driver) -> None:
    """A cancel in the last node's action, and one in the flow's own `post`, are not too late."""
    seen: Seen

    class Own(Flow):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            if shared["in post"]:
                run.cancel()

    class Handler:
        def on_action(self, event: Event) -> None:
            if not in_post:
                run.cancel()

    for in_post in (False, True):
        seen = Seen()
        run = Run(Own(Node()), {"in post": in_post}, observers=[seen, Handler()])
        with pytest.raises(RunCancelled):
            driver.wait(run)
        assert seen.ends() == ["ok", "cancelled"]
        seen.check()


def test_what_a_cancelled_node_emits_stops_it(driver: Driver) -> None:
    """Neither `except Exception`, nor a retry, nor a fallback comes in between."""
    seen = Seen()

    class Stubborn(Node):
        def exec(self, prep_res: Any) -> None:
            run.cancel()
            for _ in range(3):
                try:
                    self.emit("more")
                except Exception:
                    pass
            raise AssertionError("not reached")

        def exec_fallback(self, prep_res: Any, exc: Exception) -> None:
            raise AssertionError("not reached")

    run = Run(driver.flow(Stubborn(max_retries=3)), {}, observers=[seen])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert seen.kinds() == ["FlowStart", "NodeStart", "NodeEnd", "FlowEnd"]
    seen.check()


def test_an_error_of_a_cancelled_node_is_logged(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancellation wins: it is neither retried nor raised."""
    seen = Seen()

    class Breaks(Node):
        def exec(self, prep_res: Any) -> None:
            run.cancel()
            raise ValueError("broken")

    run = Run(driver.flow(Breaks(max_retries=3)), {}, observers=[seen])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert seen.of(Retry) == []
    assert seen.ends() == ["cancelled", "cancelled"]
    assert [record.exc_text for record in caplog.records if "ValueError: broken" in caplog.text]
    seen.check()


def test_a_wait_before_a_retry_is_cut_short(driver: Driver) -> None:
    """By a cancel from another thread: nobody waits for the hour to pass."""
    seen, slept = Seen(), threading.Event()

    class Fails(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("broken")

    class SlowClock(Clock):
        def sleep(self, seconds: float, woken: threading.Event) -> None:
            slept.set()
            super().sleep(seconds, woken)

        async def sleep_async(self, seconds: float) -> None:
            slept.set()
            await super().sleep_async(seconds)

    run = Run(
        *(driver.flow(Fails(max_retries=2, wait=3600)), {}),
        clock=SlowClock(),
        observers=[seen],
    )

    def cancel() -> None:
        assert slept.wait(PATIENCE)
        run.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(RunCancelled):
        driver.wait(run)
    thread.join(PATIENCE)
    assert len(seen.of(Retry)) == 1
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


@pytest.mark.parametrize("by", ["another thread", "another task", "the node", "a handler"])
def test_async_code_gets_a_cancelled_error(loop: Driver, by: str) -> None:
    """Wherever it waits; the run is over when its loop has closed it."""
    seen, log = Seen(), list[Any]()

    class Waits(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            if by == "another task":
                asyncio.get_running_loop().call_soon(run.cancel)
            elif by == "another thread":
                in_thread(run.cancel)
                assert run.status == "running"
            elif by == "the node":
                run.cancel()
            try:
                with is_open:
                    self.emit("waiting") if by == "a handler" else None
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            run.cancel()

    for start in (Waits(), AsyncFlow(AsyncFlow(Waits()))):
        seen = Seen()
        run = Run(start, {}, observers=[seen, Handler()])
        with pytest.raises(RunCancelled, match=run.id):
            loop.wait(run)
        assert set(seen.ends()) == {"cancelled"}
        assert status_of(run) == "cancelled"
        seen.check()
    assert log == ["cancelled", "cancelled"]


def test_an_async_node_that_swallows_its_cancellation(loop: Driver) -> None:
    """It is left alone until its next border, where the run ends all the same."""
    seen = Seen()

    class Swallows(AsyncNode):
        async def exec_async(self, prep_res: Any) -> str:
            run.cancel()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
            return "swallowed"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            raise AssertionError("not reached")

    run = Run(AsyncFlow(Swallows()), {}, observers=[seen])
    with pytest.raises(RunCancelled):
        loop.wait(run)
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_a_second_cancel_lets_a_finally_end(loop: Driver) -> None:
    """The node is told once; what it awaits in its `finally` is not cut off by asking again."""
    log: list[str] = []

    class Tidy(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            run.cancel()
            try:
                await asyncio.Event().wait()
            finally:
                run.cancel()
                await asyncio.sleep(0)
                run.cancel()
                await asyncio.sleep(0)
                log.append("tidy")

    run = Run(AsyncFlow(Tidy()), {})
    with pytest.raises(RunCancelled):
        loop.wait(run)
    assert log == ["tidy"]


@pytest.mark.parametrize("make", [Talk, TalkAsync, TalkParallel])
def test_an_async_handler_that_is_awaited_comes_first(loop: Driver, make: Make) -> None:
    """A cancel meanwhile lets it end: the event is delivered, then come the ends."""
    heard: list[str] = []

    class Handler:
        async def on_chunk(self, event: Chunk) -> None:
            heard.append("begins")
            run.cancel()
            await asyncio.sleep(0)
            heard.append("ends")

        def on_node_end(self, event: NodeEnd) -> None:
            heard.append(event.status)

    run = Run(AsyncFlow(make()), {}, observers=[Handler()])
    with pytest.raises(RunCancelled):
        loop.wait(run)
    pairs = (len(heard) - 1) // 2
    assert pairs
    assert heard == ["begins", "ends"] * pairs + ["cancelled"]


def test_a_handler_waits_for_a_thread_that_cancels(driver: Driver) -> None:
    """As one that asks a window in another thread; also while the node's own code emits."""
    seen = Seen()

    class Emits(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("may I?")

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            in_thread(run.cancel)

    run = Run(driver.flow(Emits()), {}, observers=[seen, Handler()])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_many_threads_cancel_at_once(driver: Driver) -> None:
    """The run ends once."""
    held, seen = Held(), Seen()
    run = Run(driver.flow(held), {}, observers=[seen])
    together = threading.Barrier(8)

    def cancel() -> None:
        assert held.entered.wait(PATIENCE)
        together.wait(PATIENCE)
        run.cancel()
        held.may_go.set()

    threads = [threading.Thread(target=cancel) for _ in range(8)]
    for thread in threads:
        thread.start()
    with pytest.raises(RunCancelled):
        driver.wait(run)
    for thread in threads:
        thread.join(PATIENCE)
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_an_idle_sync_run_is_unwound_inside_cancel() -> None:
    """Its ends are there when `cancel` returns, whichever thread called it."""
    for call in (cancel, cancel_in_a_thread):
        seen = Seen()
        run = Run(Flow(Flow(Talk())), {}, observers=[seen])
        Driver(None).pull(run, 5)
        assert is_open.count == 1
        call(Driver(None), run)
        assert is_open.count == 0
        assert run.status == "cancelled"
        assert seen.ends() == ["cancelled", "cancelled", "cancelled"]
        seen.check()


def test_an_idle_async_run_is_over_when_its_loop_has_closed_it(loop: Driver) -> None:
    """Cancelled from another thread, or from this one while the loop stands still."""
    for call in (cancel, cancel_in_a_thread):
        seen = Seen()
        run = Run(AsyncFlow(AsyncFlow(TalkAsync())), {}, observers=[seen])
        loop.pull(run, 5)
        call(loop, run)
        assert status_of(run) == "running"
        loop.settle()
        assert status_of(run) == "cancelled"
        assert seen.ends() == ["cancelled", "cancelled", "cancelled"]
        seen.check()
        with pytest.raises(RunCancelled):
            loop.wait(run)


@pytest.mark.parametrize("leave", ["cancelled", "dropped"])
def test_a_run_whose_loop_is_gone(leave: str) -> None:
    """Nothing of it can go on, but its code is closed and its ends are heard, quietly."""
    seen = Seen()
    with driving("async") as driver:
        run = Run(AsyncFlow(Talk()), {}, observers=[seen])
        driver.pull(run, 4)
    if leave == "cancelled":
        run.cancel()
        assert status_of(run) == "cancelled"
        with pytest.raises(RunCancelled):
            asyncio.run(run.wait_async())
    del run
    gc.collect()
    assert is_open.count == 0
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_the_rest_can_be_pulled_after_a_cancel(driver: Driver) -> None:
    """Who goes on iterating gets the ends, then is told."""
    run = Run(driver.flow(driver.flow(Talk())), {})
    taken = driver.pull(run, 5)
    run.cancel()
    with pytest.raises(RunCancelled):
        driver.each(run, taken.append)
    check_events(taken)
    assert is_last(taken[-1:])


# -- abandoning -----------------------------------------------------------------------------------


def test_a_block_ends_the_run_before_it_is_left(driver: Driver) -> None:
    """`with` guarantees the ends, and lets the consumer's own exception through."""
    seen = Seen()
    run = Run(driver.flow(Talk()), {}, observers=[seen])
    driver.pull(run, 4)

    def body() -> None:
        raise Stop("mine")

    with pytest.raises(Stop, match="mine"):
        driver.inside(run, body)
    assert (run.status, is_open.count) == ("cancelled", 0)
    assert isinstance(run.error, RunCancelled)
    seen.check()


def test_close_waits_for_the_run_that_another_thread_drives() -> None:
    """It returns when the ends have been delivered."""
    held, log = Held(), list[str]()

    class Handler:
        def on_flow_end(self, event: FlowEnd) -> None:
            log.append(event.status)

    run = GoesOn(Flow(held), {}, observers=[Handler()])
    run.held = held

    def close() -> None:
        assert held.entered.wait(PATIENCE)
        run.close()
        log.append("closed")

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(RunCancelled):
        run.wait()
    thread.join(PATIENCE)
    assert log == ["cancelled", "closed"]


def test_aclose_waits_for_the_run_that_another_task_drives(loop: Driver) -> None:
    """So does `aclose`, of several tasks at once."""
    log: list[str] = []

    class Tidy(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                log.append("tidy")

    async def close(run: Run) -> None:
        await run.aclose()
        log.append("closed")

    async def main() -> None:
        run = Run(AsyncFlow(Tidy()), {})
        task = asyncio.create_task(run.wait_async())
        await entered.wait()
        await asyncio.gather(close(run), close(run))
        with pytest.raises(RunCancelled):
            await task

    entered = asyncio.Event()
    loop.in_loop(main())
    assert log == ["tidy", "closed", "closed"]


def test_a_stream_is_closed_by_another_thread_while_it_runs() -> None:
    """The consumer is told, after the ends."""
    held, seen = Held(), Seen()
    run = GoesOn(Flow(held), {}, observers=[seen])
    run.held = held
    stream = Stream(run)

    def close() -> None:
        assert held.entered.wait(PATIENCE)
        stream.close()
        assert seen.ends() == ["cancelled", "cancelled"]

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(RunCancelled):
        list(stream)
    thread.join(PATIENCE)
    assert stream.run.status == "cancelled"
    seen.check()


def test_a_stream_is_closed_by_another_task_while_it_runs(loop: Driver) -> None:
    """So it is with tasks."""
    seen = Seen()

    class Waits(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            with is_open:
                yield "a"
                entered.set()
                await asyncio.Event().wait()

    async def main() -> None:
        stream = AsyncFlow(Waits()).run_stream_async({}, observers=[seen])

        async def consume() -> list[str]:
            return [text async for text in stream]

        task = asyncio.create_task(consume())
        await entered.wait()
        await stream.aclose()
        assert seen.ends() == ["cancelled", "cancelled"]
        with pytest.raises(RunCancelled):
            await task

    entered = asyncio.Event()
    loop.in_loop(main())
    seen.check()


def test_a_stream_is_closed_by_a_handler(driver: Driver) -> None:
    """Called from within, it only asks for that: the consumer is told after the ends."""
    if driver.loop is not None:
        return  # its close is awaited, and a handler that awaits it would wait for itself
    seen = Seen()

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            stream.close()

    stream = Flow(Talk()).run_stream({}, observers=[seen, Handler()])
    with pytest.raises(RunCancelled):
        list(stream)
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


@pytest.mark.parametrize("through", ["shared", "observer"])
def test_an_abandoned_run_delivers_its_ends_when_it_is_collected(through: str) -> None:
    """A run that nobody can go on with is no leak: its node is closed, its observers hear that."""

    class Knows(Seen):
        run: Run

    seen, knows = Seen(), Knows()
    shared: dict[str, Any] = {}
    run = Run(Flow(Talk()), shared, observers=[seen, knows])
    if through == "shared":
        shared["run"] = run  # a cycle
    else:
        knows.run = run
    Driver(None).pull(run, 4)
    del run, shared, knows
    gc.collect()
    assert is_open.count == 0
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


# -- a node's own cleaning up ---------------------------------------------------------------------


def test_a_finally_runs_and_may_publish(driver: Driver) -> None:
    """To its end, whatever it emits; what it emits comes before the ends or not at all."""
    seen, log = Seen(), list[Any]()

    class Tidy(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
            finally:
                self.emit("closing")
                self.progress(1)
                log.append("closed")

    for stop in (driver.close, driver.inside):
        seen = Seen()
        run = Run(driver.flow(Tidy()), {}, observers=[seen])
        driver.pull(run, 3)
        stop(run)
        assert log.pop() == "closed"
        seen.check()


@pytest.mark.parametrize("what", ["raises", "yields"])
def test_what_a_finally_does_is_no_error_of_the_run(
    driver: Driver, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An error is logged, not raised; so is a generator that yields again."""
    seen = Seen()

    class Untidy(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
            finally:
                if what == "raises":
                    raise ValueError("in the finally")
                yield "more"

    run = Run(driver.flow(Untidy()), {}, observers=[seen])
    driver.pull(run, 3)
    driver.close(run)
    assert run.status == "cancelled"
    assert seen.ends() == ["cancelled", "cancelled"]
    assert len(seen.of(Chunk)) == 1
    seen.check()
    said = {"raises": "in the finally", "yields": "ignored GeneratorExit"}
    assert said[what] in caplog.text
    assert len(caplog.records) == 1


def test_what_an_async_finally_raises_is_logged(
    loop: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancellation wins over it, in a node and in a stream."""

    class Untidy(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            try:
                run.cancel()
                await asyncio.Event().wait()
            finally:
                raise ValueError("in the finally")

    class UntidyStream(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            try:
                yield "a"
                run.cancel()
                await asyncio.Event().wait()
            finally:
                raise ValueError("in the finally")

    for make in (Untidy, UntidyStream):
        seen = Seen()
        run = Run(AsyncFlow(make()), {}, observers=[seen])
        with pytest.raises(RunCancelled):
            loop.wait(run)
        assert seen.ends() == ["cancelled", "cancelled"]
        seen.check()
        assert "in the finally" in caplog.text
        caplog.clear()


def test_a_stream_that_fails_is_closed_once(driver: Driver) -> None:
    """What its handlers raise ends it there, and its `finally` has run before the end is sent."""
    log: list[str] = []

    class Logs(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
            finally:
                log.append("closed")

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            raise Stop

        def on_node_end(self, event: NodeEnd) -> None:
            log.append(event.status)

    with pytest.raises(Stop):
        driver.run(driver.flow(Logs()), {}, observers=[Handler()], on_handler_error="raise")
    assert log == ["closed", "error"]


# -- interrupts -----------------------------------------------------------------------------------

INTERRUPT = (KeyboardInterrupt, SystemExit)


@pytest.mark.parametrize("error", INTERRUPT)
@pytest.mark.parametrize("where", ["prep", "exec", "post", "exec_stream", "batch", "fallback"])
def test_an_interrupt_in_a_node(driver: Driver, where: str, error: type[BaseException]) -> None:
    """It delivers `cancelled` ends that name it, is not retried, and propagates unchanged."""
    raised: list[BaseException] = []

    def interrupt(*args: Any) -> Any:
        raised.append(error("now"))
        raise raised[-1]

    def fail(*args: Any) -> Any:
        raise ValueError("broken")

    def items(*args: Any) -> list[int]:
        return [1, 2]

    bases = {"exec_stream": StreamNode, "batch": BatchNode}
    methods: dict[str, Any] = {where: interrupt}
    if where == "batch":
        methods = {"prep": items, "exec": interrupt}
    elif where == "fallback":
        methods = {"exec": fail, "exec_fallback": interrupt}
    node = type("Interrupted", (bases.get(where, Node),), methods)(max_retries=2)
    for flow in (node, driver.flow(driver.flow(node))):
        seen = Seen()
        run = Run(flow, {}, observers=[seen])
        with pytest.raises(error) as caught:
            driver.wait(run)
        assert caught.value is raised.pop()
        assert raised == []
        assert set(seen.ends()) == {"cancelled"}
        assert {end.error for end in seen.of(NodeEnd)} == {f"{error.__name__}: now"}
        assert run.status == "cancelled"
        assert run.error is caught.value
        seen.check()


@pytest.mark.parametrize("error", INTERRUPT)
@pytest.mark.parametrize("observed", [True, False])
def test_an_interrupt_in_a_parallel_item(
    loop: Driver, error: type[BaseException], observed: bool
) -> None:
    """Its siblings are cancelled and awaited, and the ends delivered, before it propagates."""
    seen, log = Seen(), list[Any]()

    class Items(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2, 3]

        async def exec_async(self, prep_res: Any) -> None:
            if prep_res == 2:
                await asyncio.sleep(0)
                raise error("now")
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                log.append(prep_res)

    with pytest.raises(error):
        loop.run(AsyncFlow(Items()), {}, observers=[seen] if observed else [])
    assert sorted(log) == [1, 3]
    assert set(seen.ends()) <= {"cancelled"}
    assert [event.items for event in seen.of(ItemEnd) if event.error] == [(1,)] * observed
    seen.check()


@pytest.mark.parametrize("error", [*INTERRUPT, asyncio.CancelledError])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_interrupt_in_a_handler_of_each_event(
    loop: Driver, shape: str, error: type[BaseException]
) -> None:
    """The other handlers still get the event; every start has one end, and it propagates."""
    make = SHAPES[shape]
    for at in range(1, len(loop.pull(Run(make(), {}))) + 1):
        for first in (True, False):
            seen = Seen()

            def handler(event: Event, at: int = at) -> None:
                if event.seq == at:
                    raise error

            observers = [handler, seen] if first else [seen, handler]
            with pytest.raises(error):
                loop.run(make(), {}, observers=observers)
            seen.check()
            assert is_last(seen.events[-1:])


def test_a_cancelled_error_of_a_nodes_own(driver: Driver) -> None:
    """A node that raises it is cancelled: no error, no retry, `cancelled` ends."""
    seen = Seen()

    class Gives(Node):
        def exec(self, prep_res: Any) -> None:
            raise asyncio.CancelledError

    run = Run(driver.flow(Gives(max_retries=3)), {}, observers=[seen])
    with pytest.raises(asyncio.CancelledError):
        driver.wait(run)
    assert run.status == "cancelled"
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


# -- tasks ----------------------------------------------------------------------------------------


class Forever(AsyncNode):
    """Says that it is there, and waits for what never comes."""

    def __init__(self, max_retries: int = 1) -> None:
        super().__init__(max_retries)
        self.entered = asyncio.Event()

    async def exec_async(self, prep_res: Any) -> None:
        self.entered.set()
        with is_open:
            await asyncio.Event().wait()


def test_a_cancelled_task_gets_its_own_cancelled_error(loop: Driver) -> None:
    """However it drives the run, which ends well-formed before that."""
    forms: list[Callable[[Any, Seen], Any]] = [
        lambda flow, seen: flow.run_async({}, observers=[seen]),
        lambda flow, seen: Run(flow, {}, observers=[seen]).wait_async(),
        lambda flow, seen: flow.run_stream_async({}, None, observers=[seen]),
        lambda flow, seen: pull(Run(flow, {}, observers=[seen])),
        lambda flow, seen: pull(flow.run_stream_async({}, observers=[seen])),
    ]

    async def pull(source: Any) -> None:
        async for _ in source:
            pass

    async def main(form: Callable[[Any, Seen], Any]) -> None:
        seen, forever = Seen(), Forever(max_retries=3)
        task = asyncio.ensure_future(form(AsyncFlow(AsyncFlow(forever)), seen))
        await forever.entered.wait()
        task.cancel("mine")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert seen.ends() == ["cancelled", "cancelled", "cancelled"]
        seen.check()

    for form in forms:
        loop.in_loop(main(form))


def test_a_task_that_is_cancelled_in_the_loops_body_leaves_the_run(loop: Driver) -> None:
    """There it is the consumer's code that is cancelled; the run is still there."""

    async def main() -> None:
        run = Run(AsyncFlow(Talk()), {})

        async def consume() -> None:
            async for _ in run:
                inside.set()
                await asyncio.Event().wait()

        inside = asyncio.Event()
        task = asyncio.create_task(consume())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert run.status == "running"
        await run.wait_async()
        assert status_of(run) == "done"

    loop.in_loop(main())


def test_a_task_is_cancelled_while_its_run_is(loop: Driver) -> None:
    """Whichever came first, a cancelled task ends cancelled, and the run's `finally` is cut."""

    class Slow(Forever):
        async def exec_async(self, prep_res: Any) -> None:
            try:
                await super().exec_async(prep_res)
            finally:
                closing.set()
                await asyncio.Event().wait()

    async def wait(run: Run) -> None:
        await run.wait_async()

    async def leave(run: Run) -> None:
        async with run:
            async for event in run:
                if isinstance(event, Chunk):
                    break

    class SlowStream(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            try:
                yield "a"
            finally:
                closing.set()
                await asyncio.Event().wait()

    async def main(drive: Callable[[Run], Any], node: Any) -> None:
        seen = Seen()
        run = Run(AsyncFlow(node), {}, observers=[seen])
        task = asyncio.create_task(drive(run))
        if isinstance(node, Slow):
            await node.entered.wait()
            run.cancel()
        await closing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert run.status == "cancelled"
        assert seen.ends() == ["cancelled", "cancelled"]
        seen.check()

    for drive, node in ((wait, Slow()), (leave, SlowStream())):
        closing = asyncio.Event()
        loop.in_loop(main(drive, node))


def test_a_time_limit_around_a_run(loop: Driver) -> None:
    """`wait_for` cancels it: the ends come before the `TimeoutError`."""
    for forever in (Forever(), Forever(max_retries=3)):
        seen = Seen()
        run = Run(AsyncFlow(forever), {}, observers=[seen])

        async def main(run: Run = run) -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(run.wait_async(), 1e-6)

        loop.in_loop(main())
        assert status_of(run) == "cancelled"
        assert isinstance(run.error, asyncio.CancelledError)
        assert seen.ends() == ["cancelled", "cancelled"]
        seen.check()


def test_a_timeout_around_a_run(loop: Driver) -> None:
    """So does `asyncio.timeout`, which cancels the task that drives."""
    seen, forever = Seen(), Forever()

    async def expire(limit: asyncio.Timeout) -> None:
        await forever.entered.wait()
        limit.reschedule(0)

    async def main() -> None:
        expiring: list[asyncio.Task[None]] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                expiring.append(asyncio.create_task(expire(limit)))
                await AsyncFlow(forever).run_async({}, observers=[seen])
        await asyncio.gather(*expiring)

    loop.in_loop(main())
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


class TimesOut(AsyncNode):
    """Waits with a time limit, which has passed at once the first so many times."""

    times = 1

    def __init__(self, how: str, max_retries: int = 1) -> None:
        super().__init__(max_retries)
        self.how = how
        self.tries: list[str] = []

    async def exec_async(self, prep_res: Any) -> str:
        self.tries.append("try")
        if len(self.tries) > self.times:
            return "in time"
        self.emit("waiting")
        if self.how == "wait_for":
            await asyncio.wait_for(asyncio.Event().wait(), 1e-6)
        else:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        raise AssertionError("not reached")

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        return str(exec_res)


class TimesOutParallel(TimesOut, AsyncParallelBatchNode):
    times = 2

    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2]


HOW = ["wait_for", "timeout"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("form", ["wait", "pull", "stream"])
@pytest.mark.parametrize("kind", [TimesOut, TimesOutParallel])
def test_a_timeout_inside_a_node_is_an_error_of_the_node(
    loop: Driver, kind: type[TimesOut], form: str, how: str
) -> None:
    """It is no cancellation: the run fails with it."""
    seen = Seen()
    run = Run(AsyncFlow(kind(how)), {}, observers=[seen])
    with pytest.raises(asyncio.TimeoutError):
        if form == "stream":
            loop.rest(loop.stream(AsyncFlow(kind(how)), {}, observers=[seen]))
        else:
            loop.wait(run) if form == "wait" else slowly(loop, run)
    assert seen.ends() == ["error", "error"]
    seen.check()
    if form != "stream":
        assert run.status == "failed"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("form", ["wait", "pull"])
@pytest.mark.parametrize("kind", [TimesOut, TimesOutParallel])
def test_a_timeout_inside_a_node_is_retried(
    loop: Driver, kind: type[TimesOut], form: str, how: str
) -> None:
    """As any other error, and never hits the consumer, who takes its time."""
    seen = Seen()
    run = Run(AsyncFlow(kind(how, max_retries=2)), {}, observers=[seen])
    loop.wait(run) if form == "wait" else slowly(loop, run)
    assert "in time" in run.action
    assert {event.error for event in seen.of(Retry)} == {"TimeoutError"}
    assert set(seen.ends()) == {"ok"}
    seen.check()


def slowly(loop: Driver, run: Run) -> None:
    """Take every event, and let the loop turn some times after each."""

    async def main() -> None:
        async for _ in run:
            for _ in range(10):
                await asyncio.sleep(0)

    loop.in_loop(main())


def test_a_task_that_has_been_cancelled_can_run_a_flow(loop: Driver) -> None:
    """Cleaning up with a flow works as ever: an error is retried and raised, not hidden."""
    seen = Seen()

    class Flaky(AsyncNode):
        async def exec_async(self, prep_res: Any) -> str:
            if self.cur_retry == 0:
                raise ValueError("once")
            return "clean"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return str(exec_res)

    class Breaks(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await asyncio.sleep(0)
            raise ValueError("always")

    async def cleaning() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(ValueError, match="always"):
                await AsyncFlow(Breaks()).run_async({})
            return str(await AsyncFlow(Flaky(max_retries=2)).run_async({}, observers=[seen]))
        raise AssertionError("not reached")

    async def main() -> str:
        task = asyncio.create_task(cleaning())
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert loop.in_loop(main()) == "clean"
    assert len(seen.of(Retry)) == 1
    seen.check()


def test_a_task_group_inside_a_node(loop: Driver) -> None:
    """It cancels the task it is in; that is the node's own affair, and what it raises an error."""
    seen = Seen()

    class Groups(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.Event().wait()

    async def fail() -> None:
        raise ValueError("in a task")

    for drive in (loop.wait, lambda run: slowly(loop, run)):
        seen = Seen()
        run = Run(AsyncFlow(Groups()), {}, observers=[seen])
        with pytest.raises(ExceptionGroup, match="unhandled errors") as caught:
            drive(run)
        assert type(caught.value) is ExceptionGroup
        assert seen.ends() == ["error", "error"]
        seen.check()


# -- parallel items and other runs ----------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("form", ["wait", "pull", "stream"])
def test_all_parallel_items_are_cancelled_and_awaited(
    loop: Driver, form: str, limit: int | None
) -> None:
    """Whoever is told that the run was cancelled finds that all of it has ended."""
    seen, log = Seen(), list[Any]()

    class Many(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2, 3]

        async def exec_async(self, prep_res: Any) -> None:
            log.append(prep_res)
            self.emit("begun")
            try:
                await asyncio.sleep(0)
                run.cancel()
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                log.remove(prep_res)

    stream = AsyncFlow(Many(max_concurrency=limit)).run_stream_async({}, observers=[seen])
    run = stream.run
    if form != "stream":
        loop.close_stream(stream)
        run = Run(AsyncFlow(Many(max_concurrency=limit)), {}, observers=[seen])
    with pytest.raises(RunCancelled):
        if form == "stream":
            loop.rest(stream)
        else:
            loop.wait(run) if form == "wait" else slowly(loop, run)
    assert log == []
    assert {event.status for event in seen.of(ItemEnd)} == {"cancelled"}
    assert len(seen.of(ItemStart)) == (limit or 3)
    seen.check()


@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("form", ["wait", "pull", "stream"])
@pytest.mark.parametrize("fails", [1, 2, 3])
def test_an_item_that_fails_is_never_lost(
    loop: Driver, form: str, limit: int | None, fails: int
) -> None:
    """Also while the consumer takes its time: siblings are awaited, then its error is raised."""
    log: list[int] = []

    class Many(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2, 3]

        async def exec_async(self, prep_res: Any) -> None:
            log.append(prep_res)
            self.emit("begun")
            try:
                await asyncio.sleep(0)
                self.emit("goes on")
                if prep_res == fails:
                    raise ValueError(f"item {fails}")
                if limit is None:
                    await asyncio.Event().wait()
            finally:
                log.remove(prep_res)

    async def stream() -> None:
        async for _ in AsyncFlow(Many(max_concurrency=limit)).run_stream_async({}):
            for _ in range(10):
                await asyncio.sleep(0)

    seen = Seen()
    run = Run(AsyncFlow(Many(max_concurrency=limit)), {}, observers=[seen])
    with pytest.raises(ValueError, match=f"item {fails}"):
        if form == "stream":
            loop.in_loop(stream())
        else:
            loop.wait(run) if form == "wait" else slowly(loop, run)
    assert log == []
    if form != "stream":
        assert run.status == "failed"
        assert [event.error for event in seen.of(ItemEnd) if event.status == "error"] == [
            f"ValueError: item {fails}"
        ]
        seen.check()
    run.cancel()


@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("form", ["pull", "stream"])
def test_no_item_is_left_out(loop: Driver, form: str, limit: int | None) -> None:
    """However slow the consumer and whatever ends meanwhile, every item is drawn and runs."""

    class Many(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return iter(range(6))

        async def exec_async(self, prep_res: Any) -> int:
            self.emit(prep_res)
            await asyncio.sleep(0)
            return int(prep_res)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["results"] = exec_res

    shared: dict[str, Any] = {}
    flow = AsyncFlow(Many(max_concurrency=limit))

    async def stream() -> None:
        async for _ in flow.run_stream_async(shared):
            for _ in range(10):
                await asyncio.sleep(0)

    loop.in_loop(stream()) if form == "stream" else slowly(loop, Run(flow, shared))
    assert shared["results"] == [0, 1, 2, 3, 4, 5]


def test_a_run_inside_a_node_is_cancelled_by_itself(driver: Driver) -> None:
    """Its `RunCancelled` is an ordinary error of the node that ran it; the outer run fails."""
    seen = Seen()

    class Outer(Node):
        def exec(self, prep_res: Any) -> None:
            inner = Run(Flow(Talk()), {})
            inner.cancel()
            inner.wait()

    run = Run(driver.flow(Outer(max_retries=2)), {}, observers=[seen])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert len(seen.of(Retry)) == 1
    assert seen.ends() == ["error", "error"]
    assert run.status == "failed"
    seen.check()


def test_a_run_around_another_is_cancelled(driver: Driver) -> None:
    """A cancel of the outer one stops it when the inner one has ended, which goes on till then."""
    outer, inner = Seen(), Seen()

    class Outer(Node):
        def exec(self, prep_res: Any) -> None:
            Flow(Talk()).run({}, observers=[inner, lambda event: run.cancel()])

    run = Run(driver.flow(chain(Outer(), Node())), {}, observers=[outer])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert inner.ends() == ["ok", "ok"]
    assert outer.ends() == ["cancelled", "cancelled"]
    inner.check()
    outer.check()


def test_an_async_run_inside_a_node_is_cancelled_with_it(loop: Driver) -> None:
    """It is awaited by the outer node, so it gets the same `CancelledError`."""
    outer, inner, forever = Seen(), Seen(), Forever()

    class Outer(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await AsyncFlow(forever).run_async({}, observers=[inner])

    async def main() -> None:
        run = Run(AsyncFlow(Outer()), {}, observers=[outer])
        task = asyncio.create_task(run.wait_async())
        await forever.entered.wait()
        run.cancel()
        with pytest.raises(RunCancelled):
            await task

    loop.in_loop(main())
    for seen in (inner, outer):
        assert seen.ends() == ["cancelled", "cancelled"]
        seen.check()


# -- what ends a parallel batch, and a run from its own code ---------------------------------------


class Two(AsyncParallelBatchNode):
    """Two items, each of which does what `work` does."""

    def __init__(self, work: Callable[[Any, int], Any]) -> None:
        super().__init__()
        self.work = work

    async def prep_async(self, shared: Any) -> Any:
        return range(2)

    async def exec_async(self, prep_res: int) -> Any:
        return await self.work(self, prep_res)


def test_a_task_is_cancelled_before_a_handler_is_awaited(loop: Driver) -> None:
    """The task that was to await it never begins, which nothing may wait for."""
    seen = Seen()
    tasks: list[asyncio.Task[Any]] = []

    async def work(node: Two, item: int) -> None:
        if item == 0:
            tasks[0].cancel()
            node.emit("x")
        await asyncio.Event().wait()

    async def hear(event: Event) -> None:
        await asyncio.sleep(0)
        seen(event)

    async def main() -> None:
        tasks.append(asyncio.create_task(Two(work).run_async({}, observers=[hear])))
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()

    loop.in_loop(main())
    seen.check()
    assert set(seen.ends()) == {"cancelled"}


@pytest.mark.parametrize("who", ["handler", "item"])
def test_a_parallel_batch_closes_its_run(loop: Driver, who: str) -> None:
    """Its code cannot wait for the end of what it is part of: it only asks for it."""
    seen = Seen()

    async def work(node: Two, item: int) -> None:
        node.emit(item)
        if who == "item":
            await run.aclose()
        await asyncio.Event().wait()

    async def hear(event: Event) -> None:
        if isinstance(event, Chunk) and who == "handler":
            await run.aclose()

    run = Run(Two(work), {}, observers=[seen, hear])
    with pytest.raises(RunCancelled):
        loop.wait(run)
    seen.check()
    assert set(seen.ends()) == {"cancelled"}


def test_a_handler_closes_the_run_in_another_thread() -> None:
    """In which the node emits: the run's own thread waits for that one, and it for nothing."""
    seen = Seen()

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            in_thread(lambda: self.emit("x"))

    def close(event: Event) -> None:
        if isinstance(event, Chunk):
            run.close()

    run = Run(Works(), {}, observers=[seen, close])
    with pytest.raises(RunCancelled):
        run.wait()
    seen.check()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["handler", "item"])
def test_an_interrupt_while_siblings_are_cancelled(
    loop: Driver, error: type[BaseException], where: str
) -> None:
    """It wins over the failure that they are cancelled for, and is what ends the run."""
    seen = Seen()

    async def work(node: Two, item: int) -> None:
        if item == 0:
            await asyncio.sleep(0)
            raise ValueError("first")
        try:
            await asyncio.Event().wait()
        finally:
            if where == "item":
                raise error

    def interrupt(event: Event) -> None:
        if where == "handler" and isinstance(event, ItemEnd) and event.items == (1,):
            raise error

    run = Run(Two(work), {}, observers=[seen, interrupt])
    with pytest.raises(error):
        loop.wait(run)
    seen.check()
    assert run.status == "cancelled"
    assert seen.ends()[-2:] == ["cancelled", "cancelled"]


def test_an_interrupt_while_a_failure_is_told(driver: Driver) -> None:
    """The ends that follow say what the run ends with."""
    seen = Seen()

    class Fails(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("first")

    def interrupt(event: Event) -> None:
        if isinstance(event, NodeEnd):
            raise SystemExit(3)

    run = Run(driver.flow(Fails()), {}, observers=[seen, interrupt])
    with pytest.raises(SystemExit):
        driver.wait(run)
    seen.check()
    assert (run.status, seen.ends()) == ("cancelled", ["error", "cancelled"])


def test_a_task_is_cancelled_while_the_last_event_is_heard(loop: Driver) -> None:
    """It came too late for the run, which is done; the task hears of it all the same."""
    seen = Seen()
    tasks: list[asyncio.Task[Any]] = []

    async def hear(event: Event) -> None:
        if isinstance(event, FlowEnd):
            tasks[0].cancel()
            await asyncio.sleep(0)

    class Says(AsyncNode):
        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return "bye"

    run = Run(Says(), {}, observers=[seen, hear])

    async def main() -> None:
        tasks.append(asyncio.create_task(run.wait_async()))
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()

    loop.in_loop(main())
    seen.check()
    assert (run.status, run.action, seen.ends()) == ("done", "bye", ["ok", "ok"])


def test_an_interrupt_while_an_error_is_worded(driver: Driver) -> None:
    """By `redact`, or by the error itself: the end is there, without the text."""
    seen = Seen()

    class Fails(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("secret")

    def redact(text: Any) -> Any:
        raise KeyboardInterrupt

    run = Run(driver.flow(Fails()), {}, observers=[seen], redact=redact)
    with pytest.raises(KeyboardInterrupt):
        driver.wait(run)
    seen.check()
    assert (run.status, seen.ends()) == ("cancelled", ["cancelled", "cancelled"])


def test_a_node_raises_what_closes_generators(driver: Driver) -> None:
    """A `GeneratorExit` of its own ends the run as any interrupt does."""
    seen = Seen()

    class Exits(Node):
        def exec(self, prep_res: Any) -> None:
            raise GeneratorExit

    run = Run(driver.flow(Exits()), {}, observers=[seen])
    with pytest.raises(GeneratorExit):
        driver.wait(run)
    seen.check()
    assert (run.status, seen.ends()) == ("cancelled", ["cancelled", "cancelled"])
    events: list[Event] = []
    with pytest.raises(GeneratorExit):
        driver.each(Run(driver.flow(Exits()), {}), events.append)
    check_events(events)  # the puller gets them, too


async def _also(event: Event) -> None:
    """An async handler, which cannot be awaited where nothing can be any more."""


@pytest.mark.parametrize("kind", [AsyncNode, AsyncParallelBatchNode, Node])
def test_plain_handlers_hear_the_ends_beside_async_ones(loop: Driver, kind: Any) -> None:
    """Where code raises a `GeneratorExit`, after which nothing is awaited."""
    seen = Seen()

    class Exits(kind):
        def exec(self, prep_res: Any) -> None:
            raise GeneratorExit

        async def prep_async(self, shared: Any) -> Any:
            return range(1)

        async def exec_async(self, prep_res: Any) -> None:
            raise GeneratorExit

    run = Run(AsyncFlow(Exits()), {}, observers=[seen, _also])
    with pytest.raises(GeneratorExit):
        loop.wait(run)
    seen.check()
    assert set(seen.ends()) == {"cancelled"}


def test_a_run_in_a_cycle_tells_plain_handlers_beside_async_ones(loop: Driver) -> None:
    """The collector closes it; what would have to be awaited is left out."""
    seen = Seen()
    shared: dict[str, Any] = {}
    run = Run(AsyncFlow(TalkAsync()), shared, observers=[seen, _also])
    shared["run"] = run
    loop.pull(run, 4)
    loop.task = None
    del run, shared
    gc.collect()
    loop.settle()
    seen.check()
    assert set(seen.ends()) == {"cancelled"}


def test_siblings_of_an_item_that_raises_what_closes_generators(
    loop: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """They are cancelled, and may await, as beside any other error."""
    seen = Seen()
    tidied: list[str] = []

    async def work(node: Two, item: int) -> None:
        if item == 0:
            await asyncio.sleep(0)
            raise GeneratorExit
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidied.append("sibling")

    with pytest.raises(GeneratorExit):
        loop.run(AsyncFlow(Two(work)), {}, observers=[seen])
    seen.check()
    assert tidied == ["sibling"]
    assert caplog.records == []


def test_a_cancelled_task_does_not_wait_for_a_handler_beside_it(loop: Driver) -> None:
    """Of another thread's event, which is awaited while the node waits for something else."""
    seen = Seen()
    begun = asyncio.Event()

    class Works(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            emitting = asyncio.create_task(asyncio.to_thread(self.emit, "x"))
            try:
                await asyncio.Event().wait()
            finally:
                await emitting

    async def hear(event: Event) -> None:
        if isinstance(event, Chunk):
            begun.set()
            await asyncio.Event().wait()

    async def main() -> None:
        run = Run(Works(), {}, observers=[seen, hear])
        task = asyncio.create_task(run.wait_async())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.in_loop(main())
    seen.check()
    assert set(seen.ends()) == {"cancelled"}


@pytest.mark.parametrize("how", ["close", "drop", "with"])
def test_an_iterator_that_is_closed_after_its_run(how: str) -> None:
    """It says nothing more."""
    seen = Seen()
    run = Run(Flow(Talk()), {}, observers=[seen])
    events = iter(run)
    next(events)
    next(events)
    if how == "with":
        with run:
            pass
    else:
        run.cancel()
    if how == "close":
        assert isinstance(events, Generator)
        events.close()
    del events
    gc.collect()
    seen.check()
    assert seen.ends() == ["cancelled"] * 2
