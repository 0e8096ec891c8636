"""A run in a thread of its own, and its events as they come."""

from __future__ import annotations

import asyncio
import atexit
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from flowevents import (
    Answer,
    Ask,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    Interrupt,
    LiveEvents,
    Node,
    Reply,
    Run,
    RunCancelled,
    RunStateError,
    StreamNode,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, Seen, driving, in_thread, status_of
from tests.stock import Fail


class Say(StreamNode):
    """Streams, and asks as often as it is told to."""

    questions = 0

    def prep(self, shared: Any) -> Any:
        return shared

    def exec_stream(self, shared: Any) -> Generator[Any, Any, Any]:
        try:
            for number in range(3):
                yield number
            for number in range(self.questions):
                shared[number] = yield Ask(number)
        finally:
            shared["left"] = threading.current_thread().name
        return "said"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return exec_res


class SayAsync(AsyncStreamNode):
    """The same, async."""

    questions = 0

    async def prep_async(self, shared: Any) -> Any:
        return shared

    async def exec_stream_async(self, shared: Any) -> AsyncIterator[Any]:
        try:
            for number in range(3):
                await asyncio.sleep(0)
                yield number
            for number in range(self.questions):
                shared[number] = yield Ask(number)
        finally:
            shared["left"] = threading.current_thread().name

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return "said"


def flow_of(kind: Any, questions: int = 0) -> Any:
    """A flow of one such node."""
    node = kind()
    node.questions = questions
    return (AsyncFlow if kind is SayAsync else Flow)(node)


KINDS = [Say, SayAsync]


class Nth:
    """Hears the run, and says when so many events have come."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.reached = threading.Event()

    def __call__(self, event: Event) -> None:
        self.count -= 1
        if self.count == 0:
            self.reached.set()


def drop(live: list[LiveEvents], run: Run) -> None:
    """Forget the iterator, and the run as well, until it has ended."""
    (thread,) = [each for each in threading.enumerate() if each.name == "flowevents run"]
    live.clear()
    gc.collect()
    thread.join(PATIENCE)


def close(live: list[LiveEvents], run: Run) -> None:
    """Close the iterator."""
    live[0].close()


def leave_block(live: list[LiveEvents], run: Run) -> None:
    """Leave its `with` block by an error, which goes on."""
    with pytest.raises(LookupError), live[0]:
        raise LookupError


def cancel(live: list[LiveEvents], run: Run) -> None:
    """Cancel the run, and wait for its end."""
    run.cancel()
    with pytest.raises(RunCancelled):
        run.wait()


def cancel_and_take(live: list[LiveEvents], run: Run) -> None:
    """Cancel the run, and take what still comes, up to the last end."""
    run.cancel()
    rest = []
    with pytest.raises(RunCancelled):
        for event in live[0]:
            rest.append(event)
    assert [event.status for event in rest if isinstance(event, FlowEnd)] == ["cancelled"]
    assert list(live[0]) == []


def close_run(live: list[LiveEvents], run: Run) -> None:
    """Close the run, in another thread."""
    in_thread(run.close)


def leave_run(live: list[LiveEvents], run: Run) -> None:
    """Leave the `with` block of the run."""
    with run:
        pass


def close_in_loop(live: list[LiveEvents], run: Run) -> None:
    """Close the run in a loop that is not its own, which goes on meanwhile."""
    with driving("async") as driver:
        driver.close(run)


STOPS = [drop, close, leave_block, cancel, cancel_and_take, close_run, leave_run, close_in_loop]


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_comes(kind: Any) -> None:
    """As another loop would give them; the run is done, and its thread has ended."""
    seen = Seen()
    run = Run(flow_of(kind), {}, observers=[seen])
    live = run.in_thread()
    assert isinstance(live, LiveEvents)
    events = list(live)
    assert events == seen.events
    check_events(events)
    assert (run.status, run.action) == ("done", "said")
    assert list(live) == []
    assert live.over
    assert run.wait() == "said"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_events_come_the_moment_they_happen(asynchronous: bool) -> None:
    """Also what `exec` emits, while it is still at work."""
    may_go = threading.Event()

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("at work")
            assert may_go.wait(PATIENCE)

    live = Run((AsyncFlow if asynchronous else Flow)(Works()), {}).in_thread()
    for event in live:
        if isinstance(event, Chunk):
            may_go.set()
            break
    assert [type(each).__name__ for each in live] == ["NodeEnd", "Action", "FlowEnd"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_taker_slows_the_run(kind: Any) -> None:
    """At most so many events wait."""
    seen = Seen()
    live = Run(flow_of(kind), {}, observers=[seen]).in_thread(maxsize=2)
    taken = 0
    for _ in live:
        taken += 1
        assert len(seen.events) <= taken + 3
    assert taken == len(seen.events)
    with pytest.raises(ValueError, match="maxsize=0"):
        Run(flow_of(kind), {}).in_thread(0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_come_is_there_without_waiting(kind: Any) -> None:
    """`ready` gives it, for a timer; after the last event it gives nothing."""
    live = Run(flow_of(kind), {}).in_thread()
    events: list[Event] = []
    while not live.over:
        events += live.ready()
    check_events(events)
    assert live.ready() == []


@pytest.mark.parametrize("on_pause", ["return", "wait"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_in_a_thread_waits_for_replies(kind: Any, on_pause: Any) -> None:
    """It never pauses: who takes the events answers, and they go on coming."""
    shared: dict[Any, Any] = {}
    run = Run(flow_of(kind, 2), shared, on_pause=on_pause)
    events = []
    for event in run.in_thread():
        events.append(event)
        if isinstance(event, Interrupt):
            assert run.status == "running"
            run.reply(event.prompt * 10, event.id)
    check_events(events)
    assert (shared[0], shared[1]) == (0, 10)
    assert len([each for each in events if isinstance(each, Reply)]) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_handlers_answer_in_its_thread(kind: Any) -> None:
    """Then it never pauses."""
    threads: set[str] = set()

    class Answers:
        def on_interrupt(self, event: Interrupt) -> Answer[int]:
            threads.add(threading.current_thread().name)
            return Answer(1)

    run = Run(flow_of(kind, 2), {}, observers=[Answers()])
    check_events(list(run.in_thread()))
    assert threads == {"flowevents run"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", STOPS)
def test_it_is_stopped_while_the_queue_is_full(kind: Any, stop: Any) -> None:
    """The node's generator is closed, the ends are delivered, and its thread has ended."""
    shared: dict[Any, Any] = {}
    seen, third = Seen(), Nth(3)
    run = Run(flow_of(kind), shared, observers=[seen, third])
    live = [run.in_thread(maxsize=1)]
    next(live[0])
    assert third.reached.wait(PATIENCE)  # the second has filled the queue
    stop(live, run)
    assert run.status == "cancelled"
    assert shared.get("left", "flowevents run") == "flowevents run"
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", STOPS)
def test_it_is_stopped_while_it_waits_for_a_reply(kind: Any, stop: Any) -> None:
    """So it is there."""
    shared: dict[Any, Any] = {}
    seen = Seen()
    run = Run(flow_of(kind, 1), shared, observers=[seen])
    live = [run.in_thread()]
    while not isinstance(next(live[0]), Interrupt):
        pass
    stop(live, run)
    assert run.status == "cancelled"
    assert run.interrupts == ()
    assert shared["left"] == "flowevents run"
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", STOPS)
def test_what_has_ended_stays_as_it_is(kind: Any, stop: Any) -> None:
    """Also where nobody has taken the events."""
    seen = Seen()
    run = Run(flow_of(kind), {}, observers=[seen])
    live = [run.in_thread()]
    run.wait()
    if stop in (drop, cancel, cancel_and_take):
        run.cancel()
        live.clear()
    else:
        stop(live, run)
    assert (run.status, run.action) == ("done", "said")
    assert seen.ends() == ["ok", "ok"]


@pytest.mark.parametrize("kind", KINDS)
def test_closing_takes_the_events_away(kind: Any) -> None:
    """None comes afterwards, and nothing is raised, of a run that has ended neither."""
    live = Run(flow_of(kind), {}).in_thread(maxsize=1)
    assert isinstance(next(live), Event)
    live.close()
    assert (list(live), live.ready(), live.over) == ([], [], True)
    live.close()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_its_own_code_may_close_it(asynchronous: bool) -> None:
    """Which cannot wait for its end: it goes on to its next safe point."""
    log: list[str] = []

    class Closes(Node):
        def exec(self, prep_res: Any) -> None:
            assert made.wait(PATIENCE)
            run.close()
            live.close()
            log.append(run.status)
            self.emit("not any more")
            log.append("not reached")

    made = threading.Event()
    run = Run((AsyncFlow if asynchronous else Flow)(Closes()), {})
    live = run.in_thread()
    made.set()
    with pytest.raises(RunCancelled):
        run.wait()
    assert log == ["running"]


class EachSays(SayAsync, AsyncParallelBatchNode):
    """Three at once."""

    async def prep_async(self, shared: Any) -> Any:
        return [{} for _ in range(3)]


def test_the_events_of_parallel_items_come_in_order() -> None:
    """However they are published: yielded, or as a start or an end."""
    check_events(Run(AsyncFlow(EachSays()), {}).in_thread())


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_in_a_thread_has_no_other_driver(kind: Any) -> None:
    """Not a second thread, not a loop, neither while it goes on nor later; nothing is lost."""
    run = Run(flow_of(kind), {})
    live = run.in_thread(maxsize=1)
    events = [next(live)]
    for state in ("running and already driven", "done"):
        for _ in range(2):
            with pytest.raises(RunStateError, match=state):
                run.in_thread()
            with pytest.raises(RunStateError, match=state):
                run.start()
        with driving("async") as driver, pytest.raises(RunStateError, match=state):
            driver.pull(run)
        with pytest.raises(RunStateError, match=state):
            list(run)
        events += live
    check_events(events)


def test_a_run_of_a_loop_cannot_go_on_in_a_thread() -> None:
    """It loses nothing where that is tried."""
    with driving("async") as driver:
        run = Run(flow_of(SayAsync), {})
        events = driver.pull(run, 3)
        with pytest.raises(RunStateError, match="began async, in its loop"):
            list(run.in_thread())
        check_events(events + driver.pull(run))


def test_a_run_that_a_loop_has_left_goes_on_in_a_thread() -> None:
    """What the loop has not taken comes first, each event once."""

    class Emits(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[Any]:
            for number in range(5):
                self.emit(number)
            yield 5

    for count in range(1, 11):
        check_events(leave_and_take(Emits(), count))


def test_a_run_that_a_loop_has_left_at_the_end_of_a_node_goes_on_in_a_thread() -> None:
    """So it is there."""
    for count in range(1, 5):
        check_events(leave_and_take(Node(), count))


def leave_and_take(node: Any, count: int) -> list[Event]:
    """So many events in a loop, and the others in a thread."""
    run = Run(Flow(node), {})
    events = []
    for event in run:
        events.append(event)
        if len(events) == count:
            break
    return [*events, *run.in_thread(maxsize=1)]


def test_a_run_that_has_paused_goes_on_in_a_thread() -> None:
    """Where it stands; there it waits for the answer."""
    shared: dict[Any, Any] = {}
    run = Run(flow_of(Say, 2), shared)
    events = list(run)
    assert run.status == "paused"
    with run.in_thread() as live:
        run.reply("one")
        for event in live:
            events.append(event)
            if isinstance(event, Interrupt):
                run.reply("two")
    check_events(events)
    assert (shared[0], shared[1], status_of(run)) == ("one", "two", "done")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_error_is_raised_at_the_end(asynchronous: bool) -> None:
    """What the run failed with, once, after its last event; also where it could not begin."""
    flow: Any = (AsyncFlow if asynchronous else Flow)(Fail())
    live = Run(flow, {}).in_thread()
    events = []
    with pytest.raises(ValueError, match="broken"):
        for event in live:
            events.append(event)
    assert isinstance(events[-1], FlowEnd)
    check_events(events)
    assert list(live) == []
    live.close()
    with Run(Fail(), {}, id="taken") as other:
        next(iter(other))
        run = Run(flow, {}, id="taken")
        for _ in range(2):
            with pytest.raises(RunStateError, match="'taken'"):
                list(run.in_thread())
    assert run.status == "ready"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_error_is_raised_for_a_timer(asynchronous: bool) -> None:
    """Once, after the last events were taken."""
    flow: Any = (AsyncFlow if asynchronous else Flow)(Fail())
    live = Run(flow, {}).in_thread()
    events: list[Event] = []
    with pytest.raises(ValueError, match="broken"):
        while True:
            events += live.ready()
    check_events(events)
    assert live.over
    assert (live.ready(), list(live)) == ([], [])


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_error_that_nobody_gets_is_logged(
    asynchronous: bool, taken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """When the run is dropped, unless its events were taken to the end."""
    flow: Any = (AsyncFlow if asynchronous else Flow)(Fail())
    run = Run(flow, {})
    with run.in_thread() as live:
        while not isinstance(next(live), FlowEnd):
            pass
        if taken:
            with pytest.raises(ValueError, match="broken"):
                next(live)
    assert run.status == "failed"
    del run, live
    gc.collect()
    expected = [] if taken else ["failed, and nobody waited for it"]
    assert [each.getMessage().split(" ", 2)[2] for each in caplog.records] == expected


def test_a_loop_of_its_own_ends_as_that_of_asyncio_run() -> None:
    """Tasks that the code has left are cancelled, and the loop's worker threads are gone."""
    log: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cancelled")

    kept: list[Any] = []

    class Leaves(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            kept.append(asyncio.create_task(forever()))
            await asyncio.to_thread(log.append, "in a thread")

    check_events(list(Run(AsyncFlow(Leaves()), {}).in_thread()))
    assert log == ["in a thread", "cancelled"]


def test_what_its_code_has_left_in_a_loop_of_its_own_does_not_wait_for_it() -> None:
    """Its thread ends with that; when the run is over already there is nothing to wait for."""
    log: list[Any] = []

    async def waits() -> None:
        with pytest.raises(RunStateError, match="this is its own code"):
            await run.wait_async()
        log.append("refused")
        try:
            await asyncio.Event().wait()
        finally:
            log.extend([run.wait(), await run.wait_async()])
            run.close()
            await run.aclose()

    class Leaves(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            kept.append(asyncio.create_task(waits()))
            await asyncio.sleep(0)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return "left"

    kept: list[Any] = []
    run = Run(AsyncFlow(Leaves()), {})
    check_events(list(run.in_thread()))
    assert log == ["refused", "left", "left"]


class EachAsks(AsyncParallelBatchNode):
    """All items ask at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        return range(4)

    async def exec_async(self, item: Any) -> Any:
        return await self.ask(item)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res


def test_parallel_items_in_a_thread() -> None:
    """Are answered from this one, in any order."""
    shared: dict[str, Any] = {}
    run = Run(AsyncFlow(EachAsks()), shared)
    events: list[Event] = []
    asked: list[Interrupt] = []
    for event in run.in_thread():
        events.append(event)
        if isinstance(event, Interrupt):
            asked.append(event)
            if len(asked) == 4:
                for each in reversed(asked):
                    run.reply(each.prompt + 1, each.id)
    check_events(events)
    assert shared["results"] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_cancel_races_with_the_question(kind: Any) -> None:
    """Whether its thread waits yet or not, the run is over in the end, and nothing hangs."""
    for _ in range(60):
        seen = Seen()
        run = Run(flow_of(kind, 1), {}, observers=[seen])
        live = run.in_thread()
        with pytest.raises(RunCancelled):
            for event in live:
                if isinstance(event, Interrupt):
                    run.cancel()
        assert run.status == "cancelled"
        seen.check()
        assert seen.ends() == ["cancelled", "cancelled"]


def test_the_end_of_the_process() -> None:
    """A run that goes on in a thread is cancelled, and its clean-up is done."""
    code = (
        "from flowevents import Flow, Run, StreamNode\n"
        "class Forever(StreamNode):\n"
        "    def exec_stream(self, prep_res):\n"
        "        try:\n"
        "            while True:\n"
        "                yield 1\n"
        "        finally:\n"
        "            print('closed')\n"
        "live = Run(Flow(Forever()), {}).in_thread(maxsize=3)\n"
        "next(live), next(live), next(live)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("closed\n", "")


# -- the end of the process -----------------------------------------------------------------------

LEFT = """
import sys
from flowevents import Ask, AskNode, Flow, Run, queued
from flowevents.observers.display import TerminalDisplay
from rich.console import Console

class Asks(AskNode):
    def question(self, prep_res):
        return Ask("Now?")

class Slow:
    def on_node_end(self, event):
        print("the end is", event.status, flush=True)

screen = TerminalDisplay(console=Console(force_terminal=True, file=sys.stderr))
observers = [screen, queued(Slow())]
if sys.argv[1] == "raised":
    Flow(Asks()).run({}, observers=observers)  # nobody catches the Paused
run = Run(Flow(Asks()), {}, observers=observers)
for event in run:
    if sys.argv[1] == "left" and event.signal == "node_start":
        break
"""


@pytest.mark.parametrize("how", ["raised", "paused", "left"])
def test_a_run_that_is_left_ends_with_the_process(how: str) -> None:
    """Its ends are delivered, also by a queue and a display, and the process does not hang."""
    done = subprocess.run(
        [sys.executable, "-c", LEFT, how], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout == "the end is cancelled\n"
    assert done.returncode == (1 if how == "raised" else 0)
    assert ("Paused" in done.stderr) == (how == "raised")
    assert "shutdown" not in done.stderr


def test_runs_leave_nothing_registered_for_the_end_of_the_process() -> None:
    """What is registered costs a place for ever, which each run must not."""
    count: Any = getattr(atexit, "_ncallbacks")  # noqa: B009 - CPython's own

    def pull() -> None:
        for _ in Run(Flow(Say()), {}, observers=[lambda event: None]):
            pass
        events = iter(Run(Flow(Say()), {}, observers=[lambda event: None]))
        next(events)

    pull()
    before = count()
    for _ in range(20):
        pull()
    assert count() == before


def test_a_queue_is_closed_after_the_runs_in_threads() -> None:
    """Whose ends it is to hand on."""
    code = (
        "from flowevents import Flow, Run, StreamNode, queued\n"
        "class Forever(StreamNode):\n"
        "    def exec_stream(self, prep_res):\n"
        "        while True:\n"
        "            yield 1\n"
        "class Hears:\n"
        "    def on_flow_end(self, event):\n"
        "        print(event.status, flush=True)\n"
        "live = Run(Flow(Forever()), {}, observers=[queued(Hears())]).in_thread(maxsize=3)\n"
        "next(live)\n"
    )
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert (done.stdout, done.stderr) == ("cancelled\n", "")
