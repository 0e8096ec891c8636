"""Runs that go on in the background, where nobody iterates over them."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from flowevents import (
    Ask,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    Interrupt,
    Node,
    NodeEnd,
    NodeStart,
    ReplyError,
    Run,
    RunCancelled,
    RunStateError,
    StreamNode,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, Driver, Seen, driving, in_thread, status_of
from tests.stock import Fail, Talk, chain


class Place:
    """Where runs are started, by this thread: they go on beside it."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None, *, is_async: bool) -> None:
        self.loop = loop  # in which it is done; without one, here
        self.is_async = is_async

    def run(self, node: Any, shared: Any = None, **options: Any) -> Run:
        """A run of a flow that begins there."""
        return Run((AsyncFlow if self.is_async else Flow)(node), shared, **options)

    def do(self, call: Callable[[], Any]) -> Any:
        """What a call there gives."""
        if self.loop is None:
            return call()

        given: Future[Any] = Future()

        def calling() -> None:
            try:
                given.set_result(call())
            except BaseException as error:
                given.set_exception(error)

        self.loop.call_soon_threadsafe(calling)
        return given.result(PATIENCE)

    def start(self, node: Any, shared: Any = None, **options: Any) -> Run:
        """A run that was started there."""
        run = self.run(node, shared, **options)
        assert self.do(run.start) is run
        return run


@contextmanager
def loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in another thread; at the end it has no task left."""
    with driving("async") as driver:
        loop = driver.loop
        assert loop is not None
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(PATIENCE)


@pytest.fixture(params=["thread", "loop", "own loop"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A sync flow, an async one in a loop, and an async one where there is none."""
    if request.param == "loop":
        with loop_in_thread() as loop:
            yield Place(loop, is_async=True)
    else:
        yield Place(None, is_async=request.param == "own loop")


class Held(StreamNode):
    """Streams, and holds its thread until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.may_go = threading.Event(), threading.Event()

    def prep(self, shared: Any) -> Any:
        return shared

    def exec_stream(self, shared: Any) -> Iterator[Any]:
        try:
            yield "entered"
            self.entered.set()
            assert self.may_go.wait(PATIENCE)
            yield "going"
        finally:
            if shared is not None:
                shared["left"] = threading.current_thread().name

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return "gone"


class Asks(StreamNode):
    """Asks twice."""

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        first = yield Ask("first?", choices=["a", "b"])
        second = yield Ask("second?", type=int)
        yield first, second

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["answers"] = exec_res[-1]
        return "answered"


class Asked:
    """Hears the questions of a run, and lets a test wait for each."""

    def __init__(self) -> None:
        self.events: list[Interrupt] = []
        self.open = threading.Semaphore(0)

    def on_interrupt(self, event: Interrupt) -> None:
        self.events.append(event)
        self.open.release()

    def next(self) -> Interrupt:
        """The next question."""
        assert self.open.acquire(timeout=PATIENCE)
        return self.events[-1]


# -- to its end -----------------------------------------------------------------------------------


def test_it_goes_on_by_itself(place: Place) -> None:
    """To its end, for which anybody waits, as often as they like."""
    held, seen = Held(), Seen()
    run = place.start(held, observers=[seen])
    assert held.entered.wait(PATIENCE)
    assert (run.status, run.action) == ("running", None)
    held.may_go.set()
    assert run.wait() == "gone"
    assert (run.status, run.action, run.error) == ("done", "gone", None)
    assert run.wait() == in_thread(run.wait) == place.do(run.wait) == "gone"
    with driving("async") as driver:
        assert driver.wait(run) == "gone"
    seen.check()
    assert seen.ends() == ["ok", "ok"]


def test_where_it_goes_on(place: Place) -> None:
    """In a thread of its own, unless its flow is async and a loop runs."""
    threads = []

    class Says(Node):
        def exec(self, prep_res: Any) -> None:
            threads.append(threading.current_thread())

    run = place.start(Says())
    run.wait()
    assert threads[0] is not threading.current_thread()
    assert (threads[0].name == "flowevents run") == (place.loop is None)
    assert threads[0].is_alive() == (place.loop is not None)


def test_a_sync_flow_has_a_thread_also_in_a_loop(loop: Driver) -> None:
    """It would hold the loop otherwise."""
    held = Held()

    async def main() -> Any:
        run = Run(Flow(held), None).start()
        waits = asyncio.create_task(run.wait_async())
        await asyncio.sleep(0)
        held.may_go.set()
        return await waits

    assert loop.in_loop(main()) == "gone"


def test_what_it_fails_with_is_raised(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """By each who waits, after its ends."""
    seen = Seen()
    run = place.start(Fail(), observers=[seen])
    for _ in range(2):
        with pytest.raises(ValueError, match="broken") as caught:
            run.wait()
        assert caught.value is run.error
    with driving("async") as driver, pytest.raises(ValueError, match="broken"):
        driver.wait(run)
    assert run.status == "failed"
    assert seen.ends() == ["error", "error"]
    del run, caught
    gc.collect()
    assert caplog.records == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_of_a_node_is_raised(kind: Any) -> None:
    """By who waits; in a thread it ends nothing but the run."""

    class Interrupts(Node):
        def exec(self, prep_res: Any) -> None:
            raise kind

    for flow in (Flow(Interrupts()), AsyncFlow(Interrupts())):
        run = Run(flow, None).start()
        with pytest.raises(kind):
            run.wait()
        assert run.status == "cancelled"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_of_a_node_ends_the_loop(loop: Driver, kind: Any) -> None:
    """As one of any task does: it may be a Ctrl-C."""

    class Interrupts(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            raise kind

    run = Run(AsyncFlow(Interrupts()), None)

    async def main() -> None:
        run.start()
        await asyncio.Event().wait()

    assert loop.loop is not None
    task = loop.loop.create_task(main())
    with pytest.raises(kind):
        loop.loop.run_until_complete(task)
    assert run.status == "cancelled"
    task.cancel()
    loop.settle()
    with pytest.raises(kind):
        run.wait()


@pytest.mark.parametrize("wrong", ["a graph", "a name", "an observer"])
def test_what_cannot_begin_is_not_started(place: Place, wrong: str) -> None:
    """The error is raised at once, and the run stays as it is."""

    async def hears(event: Event) -> None:
        pass

    node = Talk()
    if wrong == "a graph":
        node.successors["default"] = 1
    if wrong == "a name":
        node.node_name = "a/b"
    run = place.run(node, observers=[hears])
    if wrong == "an observer" and place.is_async:
        assert place.do(run.start).wait() is None
        return
    for _ in range(2):
        with pytest.raises((TypeError, ValueError)):
            place.do(run.start)
        assert status_of(run) == "ready"


# -- context variables ----------------------------------------------------------------------------

user: ContextVar[str] = ContextVar("user", default="nobody")


def test_nodes_find_the_callers_context_variables(place: Place) -> None:
    """As they were when it was started; what a node sets is not seen by the caller."""
    found = []

    class Looks(Node):
        def exec(self, prep_res: Any) -> None:
            found.append(user.get())
            user.set("a node")

    def start() -> Run:
        token = user.set("caller")
        try:
            return run.start()
        finally:
            user.reset(token)

    run = place.run(chain(Looks(), Looks()))
    place.do(start).wait()
    assert found == ["caller", "a node"]
    assert (user.get(), place.do(user.get)) == ("nobody", "nobody")


# -- asking and answering -------------------------------------------------------------------------


@pytest.mark.parametrize("on_pause", ["return", "wait"])
def test_it_waits_at_questions(place: Place, on_pause: Any) -> None:
    """It never pauses; answers come from another thread, and a wrong one leaves it open."""
    shared: dict[str, Any] = {}
    seen, asked = Seen(), Asked()
    run = place.start(Asks(), shared, observers=[seen, asked], on_pause=on_pause)
    first = asked.next()
    assert (run.status, run.interrupts) == ("running", (first,))
    with pytest.raises(ReplyError):
        run.reply("c")
    run.reply("b")
    asked.next()
    run.reply(2)
    assert run.wait() == "answered"
    assert shared["answers"] == ("b", 2)
    seen.check()


def test_it_is_answered_by_a_task(loop: Driver) -> None:
    """Of its loop, while another one waits for the end."""
    shared: dict[str, Any] = {}

    async def main() -> Any:
        run = Run(AsyncFlow(Asks()), shared).start()
        waits = asyncio.create_task(run.wait_async())
        for answer in ("a", 1):
            while not run.interrupts:
                await asyncio.sleep(0)
            run.reply(answer)
        return await waits

    assert loop.in_loop(main()) == "answered"
    assert shared["answers"] == ("a", 1)


def test_parallel_items_are_answered(place: Place) -> None:
    """Each by its id, in any order."""
    if not place.is_async:
        return

    asked = Asked()
    shared: dict[str, Any] = {}
    run = place.start(EachAsks(), shared, observers=[asked])
    for _ in range(3):
        asked.next()
    for each in reversed(run.interrupts):
        run.reply(each.prompt + 1, each.id)
    run.wait()
    assert shared["results"] == [1, 2, 3]


class EachAsks(AsyncParallelBatchNode):
    """All items ask at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        return range(3)

    async def exec_async(self, item: Any) -> Any:
        return await self.ask(item)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res


def test_it_can_be_asked_to_pause(place: Place) -> None:
    """A node then asks, and the run waits for the answer."""
    held, asked = Held(), Asked()

    class Looks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[Any]:
            assert self.pause_requested
            assert (yield Ask("What now?")) == "go on"
            assert not self.pause_requested

    held - "gone" >> Looks()
    run = place.start(held, observers=[asked])
    assert held.entered.wait(PATIENCE)
    run.pause()
    held.may_go.set()
    asked.next()
    run.reply("go on")
    run.wait()


# -- stopping it ----------------------------------------------------------------------------------


def cancel(place: Place, run: Run) -> None:
    """Cancel it in this thread."""
    run.cancel()


def cancel_there(place: Place, run: Run) -> None:
    """Cancel it where it was started."""
    place.do(run.cancel)


def close(place: Place, run: Run) -> None:
    """Close it in another thread."""
    in_thread(run.close)
    assert run.status == "cancelled"


def leave(place: Place, run: Run) -> None:
    """Leave its block by an error, which goes on."""
    with pytest.raises(LookupError), run:
        raise LookupError
    assert run.status == "cancelled"


def close_in_loop(place: Place, run: Run) -> None:
    """Close it in a loop of another thread."""
    with driving("async") as driver:
        driver.close(run)
    assert run.status == "cancelled"


def close_in_its_loop(place: Place, run: Run) -> None:
    """Close it in its loop, where that is not its own; a plain `close` could not wait there."""
    if place.loop is None:
        return close(place, run)
    with pytest.raises(RunStateError, match=r"Cannot close it like this: run .* is running and as"):
        place.do(run.close)
    asyncio.run_coroutine_threadsafe(run.aclose(), place.loop).result(PATIENCE)
    assert run.status == "cancelled"


STOPS = [cancel, cancel_there, close, leave, close_in_loop, close_in_its_loop]


@pytest.mark.parametrize("stop", STOPS)
def test_it_is_stopped_while_it_asks(place: Place, stop: Any) -> None:
    """Its ends are delivered, and whoever waits is told."""
    seen, asked = Seen(), Asked()
    run = place.start(Asks(), {}, observers=[seen, asked])
    asked.next()
    stop(place, run)
    for _ in range(2):
        with pytest.raises(RunCancelled):
            run.wait()
    assert (run.status, run.interrupts) == ("cancelled", ())
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


@pytest.mark.parametrize("stop", [cancel, close, close_in_loop])
def test_it_is_stopped_while_it_works(place: Place, stop: Any) -> None:
    """Code that runs goes on to its next event; its clean-up is done where it ran."""
    held, seen = Held(), Seen()
    shared: dict[str, Any] = {}
    run = place.start(held, shared, observers=[seen])
    assert held.entered.wait(PATIENCE)
    stopping = threading.Thread(target=stop, args=(place, run))
    stopping.start()
    run.cancel()  # so that it is asked for when the code goes on
    held.may_go.set()
    stopping.join(PATIENCE)
    with pytest.raises(RunCancelled):
        run.wait()
    assert seen.ends() == ["cancelled", "cancelled"]
    assert [event.data for event in seen.of(Chunk)] == ["entered"]
    assert (shared["left"] == "flowevents run") == (place.loop is None)


@pytest.mark.parametrize("stop", STOPS)
def test_it_is_stopped_before_it_has_begun(place: Place, stop: Any) -> None:
    """However far its thread has come, nothing hangs and all that began has ended."""
    for _ in range(20):
        seen = Seen()
        run = place.start(Asks(), {}, observers=[seen])
        stop(place, run)
        with pytest.raises(RunCancelled):
            run.wait()
        assert run.status == "cancelled"
        assert set(seen.ends()) <= {"cancelled"}
        if seen.events:
            seen.check()


def test_its_own_code_stops_it(place: Place) -> None:
    """It cannot wait for the end, and goes on to the next safe point."""
    log = []

    class Stops(Node):
        def exec(self, prep_res: Any) -> None:
            if place.loop is None:
                run.close()
            else:
                run.cancel()
            log.append(run.status)
            self.emit("not any more")
            log.append("not reached")

    run = place.run(Stops())
    place.do(run.start)
    with pytest.raises(RunCancelled):
        run.wait()
    assert log == ["running"]


def test_its_own_task_closes_it(loop: Driver) -> None:
    """So it is with `aclose`, in the task that drives it and in that of an item."""

    class Closes(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await run.aclose()
            log.append("closed")

    class EachCloses(Closes, AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(2)

    for kind in (Closes, EachCloses):
        log: list[str] = []
        run = Run(AsyncFlow(kind()), None)

        async def main() -> None:
            with pytest.raises(RunCancelled):
                await run.start().wait_async()

        loop.in_loop(main())
        assert log[0] == "closed"


def test_its_task_is_cancelled(loop: Driver) -> None:
    """As where its loop ends; whoever waits is not cancelled with it, but told."""
    seen = Seen()
    runs = []

    async def main(turns: int) -> None:
        before = asyncio.all_tasks()
        run = Run(AsyncFlow(Asks()), {}, observers=[seen]).start()
        runs.append(run)
        (task,) = asyncio.all_tasks() - before
        waits = asyncio.create_task(run.wait_async())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(RunCancelled):
            await waits

    for turns in range(4):
        loop.in_loop(main(turns))
        with pytest.raises(RunCancelled):
            runs[-1].wait()
        assert runs[-1].status == "cancelled"
    assert seen.ends() == ["cancelled"] * 6  # but for that which had not begun


def test_its_loop_ends_with_asyncio_run() -> None:
    """The run is cancelled, as any task that is left, whether it has begun or not."""
    for turns in range(3):
        seen = Seen()
        run = Run(AsyncFlow(Asks()), {}, observers=[seen])

        async def main(run: Run = run, turns: int = turns) -> None:
            run.start()
            for _ in range(turns):
                await asyncio.sleep(0)

        asyncio.run(main())
        with pytest.raises(RunCancelled):
            run.wait()
        assert set(seen.ends()) <= {"cancelled"}


def test_its_loop_stands_still(loop: Driver) -> None:
    """Nothing waits for ever for a run whose loop does not run, or is closed."""

    async def main() -> Run:
        return Run(AsyncFlow(Asks()), {}).start()

    run = loop.in_loop(main())
    for _ in range(2):
        with pytest.raises(RunStateError, match="wait_async"):
            run.wait()
        with pytest.raises(RunStateError, match="wait_async"):
            asyncio.run(run.wait_async())
        with pytest.raises(RunStateError, match="aclose"):
            run.close()
    assert status_of(run) == "running"
    asyncio.run(run.aclose())  # it asks for that
    loop.settle()
    assert status_of(run) == "cancelled"
    with pytest.raises(RunCancelled):
        run.wait()


def test_its_loop_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """While it goes on: then it can be closed only."""
    shared: dict[str, Any] = {}
    loop = asyncio.new_event_loop()

    async def main() -> Run:
        run = Run(AsyncFlow(Tidies()), shared).start()
        await asyncio.sleep(0)
        return run

    run = loop.run_until_complete(main())
    loop.close()
    with pytest.raises(RunStateError, match="its event loop is closed"):
        run.wait()
    with pytest.raises(RunStateError, match="its event loop is closed"):
        asyncio.run(run.wait_async())
    run.close()
    assert run.status == "cancelled"
    with pytest.raises(RunCancelled):
        run.wait()
    assert shared == {"tidy": True}
    assert "its event loop is closed" in caplog.text


class Tidies(StreamNode):
    """Asks, and cleans up."""

    def prep(self, shared: Any) -> Any:
        return shared

    def exec_stream(self, shared: Any) -> Iterator[Any]:
        try:
            yield Ask("Now?")
        finally:
            shared["tidy"] = True


# -- waiting for it -------------------------------------------------------------------------------


def test_many_wait_for_it(place: Place) -> None:
    """Threads, tasks of a loop of their own and tasks of the run's loop."""
    held = Held()
    run = place.start(held)
    given: list[Any] = []

    async def wait_twice() -> None:
        given.extend(await asyncio.gather(run.wait_async(), run.wait_async()))

    threads = [
        *(threading.Thread(target=lambda: given.append(run.wait())) for _ in range(3)),
        *(threading.Thread(target=lambda: asyncio.run(wait_twice())) for _ in range(2)),
    ]
    for each in threads:
        each.start()
    there = None
    if place.loop is not None:
        there = asyncio.run_coroutine_threadsafe(wait_twice(), place.loop)
    assert held.entered.wait(PATIENCE)
    held.may_go.set()
    for each in threads:
        each.join(PATIENCE)
    if there is not None:
        there.result(PATIENCE)
    assert given == ["gone"] * (7 if there is None else 9)


def test_who_stops_to_wait_leaves_it_going(place: Place) -> None:
    """A task that waits may be cancelled."""
    held = Held()
    run = place.start(held)

    async def give_up() -> None:
        waits = asyncio.create_task(run.wait_async())
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits

    asyncio.run(give_up())
    assert run.status == "running"
    held.may_go.set()
    assert run.wait() == "gone"


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread")
def test_an_interrupt_of_who_waits_leaves_it_going(place: Place) -> None:
    """Ctrl-C ends the waiting; the run goes on, and can be waited for again."""
    here = threading.get_ident()
    waiting, caught = threading.Event(), threading.Event()

    def handle(number: int, frame: object) -> None:
        if not caught.is_set():
            caught.set()
            raise KeyboardInterrupt

    def interrupt() -> None:
        assert waiting.wait(PATIENCE)
        while not caught.is_set():  # one that comes just before it waits does not wake it
            signal.pthread_kill(here, signal.SIGINT)

    held = Held()
    run = place.start(held)
    assert held.entered.wait(PATIENCE)
    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, handle)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            waiting.set()
            run.wait()
        thread.join(PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.status == "running"
    held.may_go.set()
    assert run.wait() == "gone"


OWN = r"Cannot wait for it: run .* is running, and this is its own code"
IN_LOOP = r"Cannot wait for it like this: run .* began async, in its loop: use wait_async"


class Refusals:
    """Waits for a run where that is refused, as a handler, a node or a function."""

    def __init__(self) -> None:
        self.run: Any = None
        self.errors: list[str] = []

    def wait(self, event: Event | None = None) -> None:
        """Wait in a thread."""
        with pytest.raises(RunStateError) as caught:
            self.run.wait()
        self.errors.append(str(caught.value))

    async def wait_async(self, event: Event | None = None) -> None:
        """Wait in a loop."""
        with pytest.raises(RunStateError) as caught:
            await self.run.wait_async()
        self.errors.append(str(caught.value))

    def check(self, count: int, expected: str) -> None:
        """So often it was refused, with this."""
        assert len(self.errors) == count
        for each in self.errors:
            assert re.match(expected, each)


def test_its_plain_code_does_not_wait_for_it(place: Place) -> None:
    """Not a node's, not a handler's: it would wait for itself."""
    refusals = Refusals()

    class Waits(Node):
        def exec(self, prep_res: Any) -> None:
            refusals.wait()

    class Hears:
        on_node_end = on_flow_end = staticmethod(refusals.wait)

    refusals.run = place.run(Waits(), observers=[Hears()])
    place.do(refusals.run.start).wait()
    refusals.check(3, OWN if place.loop is None else IN_LOOP)


def test_its_async_code_does_not_wait_for_it(place: Place) -> None:
    """Nor that of an item, nor an async handler."""
    if not place.is_async:
        return
    refusals = Refusals()

    class Waits(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await refusals.wait_async()

    class EachWaits(Waits, AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(2)

    class Hears:
        on_node_end = staticmethod(refusals.wait_async)

    refusals.run = place.run(chain(Waits(), EachWaits()), observers=[Hears()])
    place.do(refusals.run.start).wait()
    refusals.check(5, OWN)


def test_its_code_in_other_threads_does_not_wait_for_it(place: Place) -> None:
    """Not in a worker thread of its own, nor in a handler of what another thread emits."""
    refusals = Refusals()

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            if place.is_async:
                refusals.wait()
            else:
                in_thread(lambda: self.emit(1))

    class Hears:
        def on_chunk(self, event: Chunk) -> None:
            refusals.wait()

    options = {"offload": True} if place.is_async else {"observers": [Hears()]}
    refusals.run = place.run(Works(), **options)
    place.do(refusals.run.start).wait()
    refusals.check(1, OWN)


def test_a_task_that_its_code_has_left_waits_for_it(loop: Driver) -> None:
    """That is no code of the run any more: it may wait, and cancel."""

    class Leaves(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            tasks.append(asyncio.create_task(run.wait_async()))

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return "left"

    async def main() -> None:
        run.start()
        assert await run.wait_async() == await tasks[0] == "left"

    tasks: list[asyncio.Task[Any]] = []
    run = Run(AsyncFlow(Leaves()), None)
    loop.in_loop(main())


def test_a_node_waits_for_another_run(place: Place) -> None:
    """Which it has started; both find their own events."""
    seen, inner = Seen(), Seen()

    class Starts(Node):
        def exec(self, prep_res: Any) -> Any:
            return Run(Flow(Talk()), None, observers=[inner]).start().wait()

    class StartsAsync(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            return await Run(AsyncFlow(Talk()), None, observers=[inner]).start().wait_async()

    node = StartsAsync() if place.is_async else Starts()
    place.start(node, observers=[seen]).wait()
    seen.check()
    inner.check()
    assert (len(seen.of(Chunk)), len(inner.of(Chunk))) == (0, 2)


# -- who drives it --------------------------------------------------------------------------------


def test_it_is_started_once(place: Place) -> None:
    """Nothing else drives it while it goes on, nor later; the error names the state."""
    held = Held()
    run = place.start(held)
    assert held.entered.wait(PATIENCE)
    for state in ("running and already driven", "done. Make another Run"):
        for call in (run.start, run.in_thread, lambda: list(run), lambda: pull_in_loop(run)):
            with pytest.raises(RunStateError, match=rf"Cannot .*: run {run.id} is {state}"):
                call()
        held.may_go.set()
        run.wait()


def pull_in_loop(run: Run) -> list[Event]:
    """Iterate over it in a loop."""
    with driving("async") as driver:
        return driver.pull(run)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_run_that_has_ended_is_not_started(place: Place, state: str) -> None:
    """However it has ended."""
    run = place.run(Fail())
    if state == "cancelled":
        run.cancel()
    else:
        with pytest.raises(ValueError, match="broken"):
            place.do(run.start).wait()
    with pytest.raises(RunStateError, match=f"Cannot start it: run {run.id} is {state}"):
        place.do(run.start)


def test_a_run_that_a_loop_has_left_is_started(driver: Driver) -> None:
    """It goes on where it stands, as it began."""
    for count in range(1, 6):
        seen = Seen()
        run = Run(driver.flow(Talk()), None, observers=[seen])
        driver.pull(run, count)
        if driver.loop is None:
            assert run.start().wait() is None
        else:
            with pytest.raises(RunStateError, match="began async, in its loop"):
                run.start()
            driver.in_loop(start_and_wait(run))
        seen.check()
        assert seen.ends() == ["ok", "ok"]


async def start_and_wait(run: Run) -> Any:
    """Start it in this loop, and wait for it."""
    return await run.start().wait_async()


def test_it_goes_on_as_it_began(loop: Driver) -> None:
    """A sync flow in the loop in which it was pulled, or in a thread, if it was pulled there."""
    seen = Seen()
    run = Run(Flow(Talk()), None, observers=[seen])
    loop.pull(run, 2)
    with pytest.raises(RunStateError, match="began async, in its loop"):
        run.start()
    loop.in_loop(start_and_wait(run))
    seen.check()
    seen = Seen()
    run = Run(Flow(Talk()), None, observers=[seen])
    for _ in run:
        break
    loop.in_loop(start_and_wait(run))
    seen.check()


def test_a_run_that_has_paused_is_started(driver: Driver) -> None:
    """It waits for the answer then, whenever that comes."""
    for answered in (False, True):
        shared: dict[str, Any] = {}
        seen = Seen()
        run = Run(driver.flow(Asks()), shared, observers=[seen])
        driver.pull(run)
        assert run.status == "paused"
        if answered:
            run.reply("a")
        if driver.loop is None:
            answer(run.start(), answered)
            run.wait()
        else:
            driver.in_loop(start_and_answer(run, answered))
        assert (status_of(run), shared["answers"]) == ("done", ("a", 1))
        seen.check()


def answer(run: Run, answered: bool) -> None:
    """Answer the questions that are still to come."""
    if not answered:
        run.reply("a", "1")
    while not any(each.id == "2" for each in run.interrupts):
        assert status_of(run) == "running"
    run.reply(1)


async def start_and_answer(run: Run, answered: bool) -> None:
    """Start it, answer it in a thread, and wait for its end."""
    run.start()
    await asyncio.to_thread(answer, run, answered)
    await run.wait_async()


def test_parallel_items_that_have_paused_are_started(loop: Driver) -> None:
    """They wait inside, too, although all of them do already."""
    shared: dict[str, Any] = {}
    run = Run(AsyncFlow(EachAsks()), shared)
    loop.pull(run)
    assert run.status == "paused"

    async def main() -> None:
        run.start()
        for _ in range(5):
            assert status_of(run) == "running"
            await asyncio.sleep(0)
        for each in run.interrupts:
            run.reply(each.prompt + 1, each.id)
        await run.wait_async()

    loop.in_loop(main())
    assert shared["results"] == [1, 2, 3]


def test_a_run_that_is_driven_is_not_started(driver: Driver) -> None:
    """By its own code, or by another thread; it goes on."""

    class Starts(Node):
        def exec(self, prep_res: Any) -> None:
            for call in (run.start, lambda: in_thread(run.start)):
                with pytest.raises(RunStateError, match="running and already driven"):
                    call()

    run = Run(driver.flow(Starts()), None)
    driver.wait(run)


# -- left and forgotten ---------------------------------------------------------------------------


def test_a_run_that_nobody_has_goes_on(place: Place) -> None:
    """To its end; then nothing is left of it."""
    held, seen = Held(), Seen()
    gone = threading.Event()
    run = place.start(held, observers=[seen])
    weakref.finalize(run, gone.set)
    assert held.entered.wait(PATIENCE)
    threads = [each for each in threading.enumerate() if each.name == "flowevents run"]
    del run
    gc.collect()
    assert not gone.is_set()
    held.may_go.set()
    for each in threads:
        each.join(PATIENCE)
    assert gone.wait(PATIENCE)
    assert seen.ends() == ["ok", "ok"]


def test_a_failure_that_nobody_gets_is_logged(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with its traceback, when the run is forgotten."""
    gone = threading.Event()
    held = Held()
    held - "gone" >> Fail()
    run = place.start(held)
    weakref.finalize(run, gone.set)
    threads = [each for each in threading.enumerate() if each.name == "flowevents run"]
    run_id = run.id
    del run
    held.may_go.set()
    for each in threads:
        each.join(PATIENCE)
    assert gone.wait(PATIENCE)
    (record,) = caplog.records
    assert record.getMessage() == f"Run {run_id} failed, and nobody waited for it"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "broken"


@pytest.mark.parametrize("told", ["wait", "iterate"])
def test_a_failure_that_somebody_got_is_not_logged(
    place: Place, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By waiting, or in a loop over what is left of it."""
    run = place.start(Fail())
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            run.wait()
    with pytest.raises((ValueError, RunStateError)):
        list(run)
    del run
    gc.collect()
    assert caplog.records == []


# -- the end of the process -----------------------------------------------------------------------

PROGRAM = """
import asyncio, sys, threading
from flowevents import Ask, AsyncFlow, Flow, Node, Run, StreamNode, queued

class Asks(StreamNode):
    def exec_stream(self, prep_res):
        try:
            yield Ask("Now?")
        finally:
            print("closed", flush=True)

class Forever(StreamNode):
    def exec_stream(self, prep_res):
        try:
            while True:
                yield 1
        finally:
            print("closed", flush=True)

class Fails(Node):
    def exec(self, prep_res):
        raise ValueError("broken")

class Hears:
    def __init__(self):
        self.begun, self.over = threading.Event(), threading.Event()
    def on_node_start(self, event):
        self.begun.set()
    def on_flow_end(self, event):
        print(event.status, flush=True)
        self.over.set()

hears = Hears()
kind = {"asks": Asks, "forever": Forever, "fails": Fails}[sys.argv[1]]
flow = (Flow if sys.argv[2] == "thread" else AsyncFlow)(kind())
run = Run(flow, {}, observers=[hears, queued(Hears())], id="r")

async def main(turns):
    run.start()
    for _ in range(turns):
        await asyncio.sleep(0)

if sys.argv[2] == "asyncio.run":
    asyncio.run(main(5))
elif sys.argv[2] == "stopped loop":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main(5))
elif sys.argv[2] == "loop":
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    loop.call_soon_threadsafe(run.start)
else:
    run.start()
(hears.over if sys.argv[1] == "fails" else hears.begun).wait()
"""


def at_the_end(node: str, place: str) -> tuple[list[str], str]:
    """What a process prints that starts such a run and ends, and what it complains of."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, node, place],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("node", ["asks", "forever"])
@pytest.mark.parametrize("where", ["thread", "own loop", "loop", "asyncio.run"])
def test_the_end_of_the_process(node: str, where: str) -> None:
    """A run that goes on is cancelled: its clean-up is done, its ends are delivered."""
    if (node, where) == ("forever", "asyncio.run"):
        return  # it would give its loop no turn
    said, complaints = at_the_end(node, where)
    assert said == ["closed", "cancelled", "cancelled"]
    assert complaints == ""


@pytest.mark.parametrize("where", ["thread", "own loop", "loop", "asyncio.run"])
def test_a_failure_is_logged_at_the_end_of_the_process(where: str) -> None:
    """Where nobody has waited for the run, which is still there."""
    said, complaints = at_the_end("fails", where)
    assert said == ["error", "error"]
    assert "Run r failed, and nobody waited for it" in complaints
    assert complaints.count("ValueError: broken") == 1


def test_a_loop_that_stands_still_does_not_hold_up_the_end_of_the_process() -> None:
    """Nobody can run it any more."""
    at_the_end("asks", "stopped loop")


def test_where_there_can_be_no_more_threads() -> None:
    """The run is cancelled, and nothing of it is left."""
    program = """
import gc, threading
from flowevents import AsyncFlow, Flow, Node, Run
threading.stack_size(1 << 46)
for flow in (Flow(Node()), AsyncFlow(Node())):
    for start in (Run.start, Run.in_thread):
        run = Run(flow, {})
        try:
            start(run)
        except RuntimeError as error:
            print(error, run.status)
        run.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == "can't start new thread cancelled\n" * 4
