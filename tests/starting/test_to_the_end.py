"""Runs that go on in the background, where nobody iterates over them, to their end."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from flowevents import (
    Ask,
    AsyncFlow,
    AsyncNode,
    Event,
    Flow,
    Interrupt,
    Node,
    ObserverError,
    ReplyError,
    Run,
    RunStateError,
    StreamNode,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, Driver, Seen, driving, in_thread
from tests.starting.places import Asked, Asks, EachAsks, Held, Place
from tests.stock import Fail, Talk, chain


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

    async def main(run: Run) -> None:
        run.start()
        await asyncio.Event().wait()

    assert loop.loop is not None
    task = loop.loop.create_task(main(run))
    with pytest.raises(kind):
        loop.loop.run_until_complete(task)
    assert run.status == "cancelled"
    task.cancel()
    loop.settle()
    with pytest.raises(kind):
        run.wait()
    del run, task
    gc.collect()  # nobody complains of an error that nobody has seen


def test_what_cannot_begin_is_not_started(place: Place) -> None:
    """The error is raised at once, and the run stays as it is."""
    with Run(Talk(), {}, id="taken") as other:
        next(iter(other))
        run = place.run(Talk(), id="taken")
        for _ in range(2):
            with pytest.raises(RunStateError, match="'taken'"):
                place.do(run.start)
            assert run.status == "ready"


def test_async_handlers(place: Place) -> None:
    """Are awaited where the flow is async; else they are refused at once, as `offload` is."""
    heard: list[Event] = []

    async def hears(event: Event) -> None:
        heard.append(event)

    run = place.run(Talk(), observers=[hears])
    if place.is_async:
        place.do(run.start).wait()
        check_events(heard)
        return
    with pytest.raises(ObserverError, match="is async, but the run is sync"):
        run.start()
    with pytest.raises(ValueError, match="offload=True is for async runs"):
        place.run(Talk(), offload=True).start()


# -- context variables -----------------------------------------------------------------------------


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


# -- asking and answering --------------------------------------------------------------------------


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
    asked: asyncio.Queue[Interrupt] = asyncio.Queue()

    class Hears:
        def on_interrupt(self, event: Interrupt) -> None:
            asked.put_nowait(event)

    async def main() -> Any:
        run = Run(AsyncFlow(Asks()), shared, observers=[Hears()]).start()
        waits = asyncio.create_task(run.wait_async())
        for answer in ("a", 1):
            run.reply(answer, (await asked.get()).id)
        return await waits

    assert loop.in_loop(main()) == "answered"
    assert shared["answers"] == ("a", 1)


@pytest.mark.parametrize("place", ["loop", "own loop"], indirect=True)
def test_parallel_items_are_answered(place: Place) -> None:
    """Each by its id, in any order."""
    asked = Asked()
    shared: dict[str, Any] = {}
    run = place.start(EachAsks(), shared, observers=[asked])
    for _ in range(3):
        asked.next()
    for each in reversed(run.interrupts):
        run.reply(each.prompt + 1, each.id)
    run.wait()
    assert shared["results"] == [1, 2, 3]


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
