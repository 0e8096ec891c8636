"""Which runs can be started, and who else may drive those that were."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowevents import AsyncFlow, Event, Flow, Node, Run, RunStateError
from tests.driving import PATIENCE, Driver, Seen, driving, in_thread, status_of
from tests.starting.places import Asks, EachAsks, Held, Place
from tests.stock import Fail, Talk


def test_it_is_started_once(place: Place) -> None:
    """Nothing else drives it while it goes on, nor later; the error names the state."""
    held = Held()
    run = place.run(held)

    def start() -> None:
        run.start()
        for call in (run.start, run.in_thread, lambda: next(iter(run))):  # nobody drives it yet
            with pytest.raises(RunStateError, match="running and already driven"):
                call()

    place.do(start)
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
