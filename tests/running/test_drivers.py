"""Who may drive a run."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    Event,
    Flow,
    FlowStart,
    Node,
    NodeStart,
    Run,
    RunStateError,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, Driver, Seen, status_of
from tests.running.writers import Write, awaited, two_nodes
from tests.stock import Fail


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


def test_a_run_begins_where_it_is_first_driven(driver: Driver) -> None:
    """Making it, and an iterator of it, runs nothing and binds it to no loop."""
    shared: dict[str, Any] = {}
    run = Run(driver.flow(Write()), shared)
    iter(run)
    run.__aiter__()
    assert shared == {}
    assert run.status == "ready"
    assert driver.wait(run) == "written"
