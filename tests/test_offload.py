"""Plain nodes of an async run in worker threads: the loop stays live, and nothing is left."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pocketflow
import pytest

from flowevents import (
    Answer,
    Ask,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    BatchNode,
    Chunk,
    Event,
    Expired,
    Flow,
    Interrupt,
    ItemEnd,
    Node,
    Paused,
    Progress,
    Retry,
    Run,
    RunCancelled,
    RunStateError,
    StreamNode,
)
from flowevents.testing import ManualClock, check_events
from tests.driving import PATIENCE, Driver, Seen

HERE = threading.get_ident()


class Where(Node):
    """Notes in which thread its methods are called."""

    def prep(self, shared: Any) -> Any:
        shared["prep"] = threading.get_ident()
        return shared

    def exec(self, shared: Any) -> int:
        shared["exec"] = threading.get_ident()
        return 5

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["post"] = threading.get_ident()
        return exec_res


def test_exec_is_called_in_a_thread(loop: Driver) -> None:
    """`prep`, `post` and handlers stay on the loop's."""
    shared: dict[str, Any] = {}
    handled: list[int] = []
    here = threading.get_ident()
    observers = [lambda event: handled.append(threading.get_ident())]
    action = loop.run(AsyncFlow(Where()), shared, offload=True, observers=observers)
    assert action == 5
    assert (shared["prep"], shared["post"]) == (here, here)
    assert shared["exec"] != here
    assert set(handled) == {here}


class Ticks(StreamNode):
    """Goes on when a ticker on the loop has ticked."""

    ticked: threading.Semaphore
    to_tick: Callable[[], object]

    def exec_stream(self, prep_res: Any) -> Iterator[int]:
        for number in range(4):
            self.to_tick()
            assert self.ticked.acquire(timeout=PATIENCE)
            yield number


@pytest.mark.parametrize("how", ["pushed", "pulled", "streamed"])
def test_the_loop_stays_live(loop: Driver, how: str) -> None:
    """A node that waits in a thread between its chunks delivers each between two ticks."""
    node = Ticks()
    node.ticked = threading.Semaphore(0)
    seen: list[str] = []
    assert loop.loop is not None

    def tick() -> None:
        seen.append("tick")
        node.ticked.release()

    to_loop = loop.loop.call_soon_threadsafe
    node.to_tick = lambda: to_loop(tick)
    run = Run(AsyncFlow(node), {}, offload=True)

    def show(event: Event) -> None:
        if isinstance(event, Chunk):
            seen.append(str(event.data))

    if how == "pulled":
        loop.each(run, show)
    elif how == "streamed":
        stream = loop.stream(AsyncFlow(node), {}, offload=True)
        while (data := loop.next(stream)) is not None:
            seen.append(str(data))
    else:
        loop.run(AsyncFlow(node), {}, offload=True, observers=[show])
    assert seen == ["tick", "0", "tick", "1", "tick", "2", "tick", "3"]


class Publishes(StreamNode):
    """Publishes in every way."""

    def exec_stream(self, prep_res: Any) -> Generator[Any, None, str]:
        self.emit("a", kind="note")
        yield "b"
        self.progress(1, 2, "half")
        self.emit("c")
        yield "d"
        return "result"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["result"] = exec_res


@pytest.mark.parametrize("pulled", [True, False])
def test_what_a_worker_publishes_comes_in_order(loop: Driver, pulled: bool) -> None:
    """As it does without a worker: the events are the same."""
    told = []
    for offload in (True, False):
        shared: dict[str, Any] = {}
        seen = Seen()
        run = Run(AsyncFlow(Publishes()), shared, observers=[seen], offload=offload)
        if pulled:
            assert loop.pull(run) == seen.events
        else:
            loop.wait(run)
        seen.check()
        assert shared["result"] == "result"
        told.append(
            [
                (type(each), getattr(each, "data", None), getattr(each, "done", None))
                for each in seen.events
            ]
        )
    assert told[0] == told[1]
    assert (Progress, None, 1) in told[0]


class EachItem(BatchNode):
    """Works on its items, one of which needs a second try."""

    failed = False

    def prep(self, shared: Any) -> Any:
        return [1, 2, 3]

    def exec(self, item: int) -> int:
        self.emit(item)
        if item == 2 and self.cur_retry == 0:
            raise ValueError("again")
        return item * 10

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res


def test_a_batch_in_workers(loop: Driver) -> None:
    """Item by item, with retries of its own."""
    shared: dict[str, Any] = {}
    seen = Seen()
    flow = AsyncFlow(EachItem(max_retries=2))
    loop.run(flow, shared, offload=True, observers=[seen])
    assert shared["results"] == [10, 20, 30]
    assert [(each.data, each.items, each.attempt) for each in seen.of(Chunk)] == [
        *((1, (0,), 1), (2, (1,), 1), (2, (1,), 2), (3, (2,), 1)),
    ]
    assert len(seen.of(Retry)) == 1
    seen.check()


class Meets(Node):
    """Waits until the code of all items runs at the same time."""

    barrier: threading.Barrier

    def exec(self, prep_res: Any) -> None:
        self.emit(self.params["index"])
        self.barrier.wait(PATIENCE)


class AtOnce(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return [{"index": index} for index in range(3)]


def test_items_of_a_parallel_flow_have_a_worker_each(loop: Driver) -> None:
    """Their plain nodes run at the same time."""
    node = Meets()
    node.barrier = threading.Barrier(3)
    seen = Seen()
    loop.run(AtOnce(node), {}, offload=True, observers=[seen])
    assert {(each.data, each.items) for each in seen.of(Chunk)} == {
        *((0, (0,)), (1, (1,)), (2, (2,))),
    }
    seen.check()


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.parametrize("traced", [True, False])
def test_a_worker_sees_the_context(loop: Driver, traced: bool) -> None:
    """That of the run, or of an observer; each call of an attempt sees what the last has set."""

    class Reads(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield variable.get()
            variable.set("by the node")
            yield variable.get()

    class Traces(Seen):
        def context(self, event: Event) -> contextvars.Context | None:
            if not traced:
                return None
            context = contextvars.copy_context()
            context.run(variable.set, "by the tracer")
            return context

    async def main() -> None:
        variable.set("by the caller")
        await AsyncFlow(Reads()).run_async({}, offload=True, observers=[traces])
        assert variable.get() == "by the caller"

    traces = Traces()
    loop.in_loop(main())
    first = "by the tracer" if traced else "by the caller"
    assert [each.data for each in traces.of(Chunk)] == [first, "by the node"]


# -- asking ---------------------------------------------------------------------------------------


class AsksInWorker(StreamNode):
    """Asks from its worker."""

    def prep(self, shared: Any) -> Any:
        return shared.setdefault("log", [])

    def exec_stream(self, log: Any) -> Generator[Any, Any, Any]:
        log.append("begun")
        try:
            answer = yield Ask("a", expires=60)
        except Expired:
            answer = yield Ask("b")
        finally:
            log.append("asked")
        return answer

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return exec_res


@pytest.mark.parametrize("pulled", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_a_generator_asks_from_its_worker(loop: Driver, pulled: bool, late: bool) -> None:
    """It pauses there and goes on, with the answer or with `Expired`."""
    clock = ManualClock()
    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(AsyncFlow(AsksInWorker()), shared, observers=[seen], clock=clock, offload=True)

    def drive() -> None:
        if pulled:
            loop.pull(run)
        else:
            try:
                loop.wait(run)
            except Paused:
                pass

    drive()
    if late:
        clock.advance(60)
        drive()
    (asked,) = run.interrupts
    assert asked.prompt == ("b" if late else "a")
    run.reply("answer")
    drive()
    assert run.action == "answer"
    assert shared["log"] == ["begun", "asked"]
    seen.check()


def test_a_handler_answers_a_worker(loop: Driver) -> None:
    """At once."""

    class Answers:
        async def on_interrupt(self, event: Interrupt) -> Answer[str]:
            return Answer("yes")

    assert loop.run(AsyncFlow(AsksInWorker()), {}, observers=[Answers()], offload=True) == "yes"


def test_a_list_cannot_ask_from_a_worker(loop: Driver) -> None:
    """Nothing is asked then."""

    class Lists(StreamNode):
        def exec_stream(self, prep_res: Any) -> Any:
            return [Ask("a")]

    seen = Seen()
    with pytest.raises(TypeError, match="only a generator can"):
        loop.run(AsyncFlow(Lists()), {}, observers=[seen], offload=True)
    assert seen.of(Interrupt) == []


@pytest.mark.parametrize("stop", ["cancel", "close", "drop"])
def test_a_paused_worker_is_cancelled(loop: Driver, stop: str) -> None:
    """Its generator is closed in its thread, which ends."""
    closed: list[int] = []

    class Notes(StreamNode):
        def exec_stream(self, prep_res: Any) -> Any:
            here = threading.get_ident()
            try:
                yield Ask("a")
            finally:
                self.emit("in the clean-up")
                closed.append(threading.get_ident() - here)

    seen = Seen()
    runs = [Run(AsyncFlow(Notes()), {}, observers=[seen], offload=True)]
    loop.pull(runs[0])
    if stop == "cancel":
        runs[0].cancel()
    elif stop == "close":
        loop.close(runs[0])
    else:
        del runs[:]

    async def until_closed() -> None:
        while not closed:  # noqa: ASYNC110 - a thread does it
            await asyncio.sleep(0)

    loop.in_loop(until_closed())
    while seen.ends() != ["cancelled", "cancelled"]:
        loop.settle()
    assert closed == [0]
    assert [each.data for each in seen.of(Chunk)] == ["in the clean-up"]
    seen.check()


# -- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("fallback", [True, False])
def test_an_error_in_a_worker(loop: Driver, streams: bool, fallback: bool) -> None:
    """It is the node's: it is tried again, falls back, or leaves the run as it was raised."""
    tries = []

    class Fails(StreamNode if streams else Node):  # type: ignore[misc]
        def exec(self, prep_res: Any) -> None:
            tries.append(1)
            raise KeyError("broken")

        def exec_fallback(self, prep_res: Any, exc: Exception) -> str:
            if fallback:
                return "fell back"
            raise exc

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    flow = AsyncFlow(Fails(max_retries=3))
    if fallback:
        assert loop.run(flow, {}, offload=True) == "fell back"
    else:
        with pytest.raises(KeyError, match="broken"):
            loop.run(flow, {}, offload=True)
    assert len(tries) == 3


def test_a_stop_iteration_in_a_worker(loop: Driver) -> None:
    """Becomes a `RuntimeError`, as in any generator; the run does not hang."""

    class Stops(Node):
        def exec(self, prep_res: Any) -> Any:
            return next(iter(()))

    with pytest.raises(RuntimeError) as caught:
        loop.run(AsyncFlow(Stops()), {}, offload=True)
    assert isinstance(caught.value.__cause__, StopIteration)


def test_an_override_of_exec_stays_on_the_loop(loop: Driver) -> None:
    """It is one opaque step, and what it calls is called where it is."""

    class Overrides(Where):
        def _exec(self, prep_res: Any) -> Any:
            return super()._exec(prep_res)

    shared: dict[str, Any] = {}
    assert loop.run(AsyncFlow(Overrides()), shared, offload=True) == 5
    assert shared["exec"] == threading.get_ident()


@pytest.mark.parametrize("by", ["run", "task"])
@pytest.mark.parametrize("streams", [True, False])
def test_a_worker_is_not_killed_but_stops_at_its_next_event(
    loop: Driver, by: str, streams: bool
) -> None:
    """A cancel waits for it; what it publishes in its clean-up is heard."""
    log: list[str] = []
    entered, may_go = threading.Event(), threading.Event()

    class Holds(StreamNode if streams else Node):  # type: ignore[misc]
        def work(self) -> None:
            entered.set()
            assert may_go.wait(PATIENCE)
            try:
                log.append("before")
                self.emit("an event")
                log.append("after")
            finally:
                self.emit("in the clean-up")

        def exec(self, prep_res: Any) -> None:
            self.work()

    seen = Seen()

    async def main() -> None:
        run = Run(AsyncFlow(Holds()), {}, observers=[seen], offload=True)
        task = asyncio.create_task(run.wait_async())
        while not entered.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0)
        if by == "run":
            run.cancel()
        else:
            task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        may_go.set()
        with pytest.raises(RunCancelled if by == "run" else asyncio.CancelledError):
            await task

    loop.in_loop(main())
    assert log == ["before"]
    assert [each.data for each in seen.of(Chunk)] == ["in the clean-up"]
    seen.check()


def test_an_item_that_fails_stops_the_workers_of_the_others(loop: Driver) -> None:
    """At their next event; the error comes when they have ended."""
    log: list[str] = []
    stopping = threading.Event()

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            index = self.params["index"]
            if index == 1:
                raise ValueError("broken")
            if index == 0:
                assert stopping.wait(PATIENCE)
                self.emit("an event")
                log.append("went on")

    def ended(event: Event) -> None:
        if isinstance(event, ItemEnd) and event.status == "error":
            assert loop.loop is not None
            loop.loop.call_later(0, lambda: loop.loop.call_soon(stopping.set))  # type: ignore[union-attr]

    seen = Seen()
    with pytest.raises(ValueError, match="broken"):
        loop.run(AtOnce(Works()), {}, offload=True, observers=[seen, ended])
    assert log == []
    seen.check()


@pytest.mark.parametrize("how", ["error", "break", "closed"])
def test_what_a_worker_streams_from_is_closed(loop: Driver, how: str) -> None:
    """A generator, and an iterable with a `close` of its own, as without a worker."""
    closed: list[str] = []

    class Response:
        def __iter__(self) -> Iterator[int]:
            try:
                yield 1
                yield 2
            finally:
                closed.append("generator")

        def close(self) -> None:
            closed.append("response")

    class Streams(StreamNode):
        def exec_stream(self, prep_res: Any) -> Any:
            return Response()

    def breaks(event: Event) -> None:
        if isinstance(event, Chunk):
            raise ValueError("broken")

    if how == "error":
        with pytest.raises(ValueError, match="broken"):
            loop.run(
                AsyncFlow(Streams()),
                {},
                offload=True,
                observers=[breaks],
                on_handler_error="raise",
            )
    else:
        run = Run(AsyncFlow(Streams()), {}, offload=True)
        loop.each(run, lambda event: isinstance(event, Chunk))
        loop.close(run)
    assert closed == ["generator", "response"]


def test_a_sync_run_cannot_offload() -> None:
    """The error says what can; nothing has begun."""
    for call in (
        lambda: Flow(Where()).run({}, offload=True),
        lambda: list(Run(Flow(Where()), {}, offload=True)),
        lambda: list(Flow(Where()).run_stream({}, offload=True)),
    ):
        with pytest.raises(ValueError, match="offload=True is for async runs: use run_async"):
            call()


def test_pocketflows_nodes_are_offloaded(loop: Driver) -> None:
    """As ours are, in flows of either library."""
    ran: list[bool] = []
    here = threading.get_ident()

    class Theirs(pocketflow.Node):
        def exec(self, prep_res: Any) -> None:
            ran.append(threading.get_ident() == here)
            if self.cur_retry == 0:
                raise ValueError("again")

    class TheirBatch(pocketflow.BatchNode):
        def prep(self, shared: Any) -> Any:
            return [1, 2]

        def exec(self, item: Any) -> None:
            ran.append(threading.get_ident() == here)

    for flow_class in (AsyncFlow, pocketflow.AsyncFlow):
        node = Theirs(max_retries=2)
        node >> TheirBatch()
        run = Run(flow_class(node), {}, offload=True)
        check_events(loop.pull(run))
    assert ran == [False] * 8


def test_async_nodes_stay_on_the_loop(loop: Driver) -> None:
    """Only plain code is moved."""
    ran: list[int] = []

    class Awaited(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            ran.append(threading.get_ident())

    loop.run(AsyncFlow(Awaited()), {}, offload=True)
    assert ran == [threading.get_ident()]


def test_a_run_in_a_worker_is_a_run_of_its_own(loop: Driver) -> None:
    """A node that runs another flow there has it done there, with events of its own."""
    inner = Seen()

    class Outer(Node):
        def exec(self, prep_res: Any) -> Any:
            return Flow(Where()).run({}, observers=[inner])

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    outer = Seen()
    assert loop.run(AsyncFlow(Outer()), {}, offload=True, observers=[outer]) == 5
    outer.check()
    inner.check()
    assert inner.events[0].run_id != outer.events[0].run_id


def test_close_is_refused_where_it_cannot_wait(loop: Driver) -> None:
    """`close` of an async run that has begun names `aclose`."""
    run = Run(AsyncFlow(Publishes()), {}, offload=True)
    loop.pull(run, 3)
    with pytest.raises(RunStateError, match="aclose"):
        run.close()
    loop.close(run)


# -- what a thread raises -------------------------------------------------------------------------


class OwnCancelledError(concurrent.futures.CancelledError):
    """A subclass, which futures do not know."""


class Raises(Node):
    """Raises what it is given, and keeps what its fallback gets."""

    def prep(self, shared: Any) -> Any:
        return shared

    def exec(self, shared: Any) -> Any:
        raise self.error(shared)

    def error(self, shared: Any) -> BaseException:
        error: BaseException = shared["kind"]("why")
        error.add_note("a note")
        shared.setdefault("raised", []).append(error)
        return error

    def exec_fallback(self, shared: Any, exc: Exception) -> Any:
        shared["to the fallback"] = exc
        raise exc


class RaisesFirst(Raises, StreamNode):
    def exec_stream(self, shared: Any) -> Any:
        raise self.error(shared)


class RaisesMidway(Raises, StreamNode):
    def exec_stream(self, shared: Any) -> Iterator[str]:
        yield "a"
        raise self.error(shared)


@pytest.mark.parametrize("node", [Raises, RaisesFirst, RaisesMidway])
@pytest.mark.parametrize(
    "kind",
    [
        concurrent.futures.CancelledError,
        OwnCancelledError,
        TimeoutError,
        concurrent.futures.InvalidStateError,
        asyncio.InvalidStateError,
        ValueError,
    ],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_what_a_thread_raises_is_what_the_node_raised(loop: Driver, node: Any, kind: Any) -> None:
    """The very error, with its traceback and notes, to the retries, the fallback and the caller."""
    shared: dict[str, Any] = {"kind": kind}
    seen = Seen()
    with pytest.raises(kind) as caught:
        loop.run(AsyncFlow(node(max_retries=2)), shared, offload=True, observers=[seen])
    seen.check()
    assert len(shared["raised"]) == 2
    assert caught.value is shared["to the fallback"] is shared["raised"][-1]
    assert "a note" in caught.value.__notes__
    names = {each.name for each in traceback.extract_tb(caught.value.__traceback__)}
    assert names & {"exec", "exec_stream"}
    assert [event.fallback for event in seen.of(Retry)] == [False, True]


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_is_raised_from_a_thread_as_it_is(loop: Driver, kind: Any) -> None:
    """Past retries and fallback."""
    shared: dict[str, Any] = {"kind": kind}
    with pytest.raises(kind) as caught:
        loop.run(AsyncFlow(Raises(max_retries=2)), shared, offload=True)
    assert shared["raised"] == [caught.value]
    assert "to the fallback" not in shared
