"""Cancelling: who may, and when."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    Chunk,
    Clock,
    Event,
    Flow,
    Node,
    NodeEnd,
    Retry,
    Run,
    RunCancelled,
)
from flowevents.testing import check_events
from tests.cancelling.nodes import Held, Talk, TalkAsync, TalkParallel, is_open
from tests.cancelling.ways import Make, cancel, cancel_in_a_thread, is_last
from tests.driving import PATIENCE, Driver, Seen, driving, in_thread, status_of
from tests.stock import Fail, chain


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
def test_plain_code_stops_at_the_next_safe_point(driver: Driver, by: str) -> None:
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

    class SlowClock(Clock):
        def sleep(self, seconds: float, woken: threading.Event) -> None:
            slept.set()
            super().sleep(seconds, woken)

        async def sleep_async(self, seconds: float) -> None:
            slept.set()
            await super().sleep_async(seconds)

    run = Run(
        *(driver.flow(Fail(max_retries=2, wait=3600)), {}),
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
    """It is left alone until its next safe point, where the run ends all the same."""
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
def test_a_run_whose_loop_is_gone(leave: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of it can go on: its code is closed, that is logged, and nobody hears its ends."""
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
    assert seen.ends() == []
    assert [each.getMessage() for each in caplog.records if "event loop" in each.getMessage()]


def test_the_rest_can_be_pulled_after_a_cancel(driver: Driver) -> None:
    """Who goes on iterating gets the ends, then is told."""
    run = Run(driver.flow(driver.flow(Talk())), {})
    taken = driver.pull(run, 5)
    run.cancel()
    with pytest.raises(RunCancelled):
        driver.each(run, taken.append)
    check_events(taken)
    assert is_last(taken[-1:])
