"""`ManualClock`."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from flowevents import Ask, AskNode, Clock, Event, Flow, FlowEnd, Node, NodeEnd, Run
from flowevents.testing import ManualClock
from tests.checking.runs import Stumble, drive, together
from tests.driving import Seen, in_thread
from tests.stock import chain


def test_a_manual_clock_stands_still_until_it_is_advanced() -> None:
    """Both of its times go on together, by what they are told."""
    clock = ManualClock(100.0)
    before = clock.monotonic()
    assert clock.time() == clock.time() == 100.0
    clock.advance(2.5)
    assert clock.time() == 102.5
    assert clock.monotonic() - before == 2.5
    assert isinstance(clock, Clock)
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="time does not go back"):
            clock.advance(seconds)


@pytest.mark.parametrize("start", [0.0, 1_700_000_000.0])
@pytest.mark.parametrize("way", ["pushed", "pushed async"])
def test_a_run_goes_by_its_clock(way: str, start: float) -> None:
    """Events, durations and waits between attempts are of the manual clock, and take no time."""
    clock = ManualClock(start)
    caught: list[Event] = []

    class Slow(Node):
        def prep(self, shared: Any) -> None:
            clock.advance(10)

    flow = Flow(chain(Slow(), Stumble(3, 60)))
    drive(Run(flow, {}, clock=clock, observers=[caught.append]), way)
    assert clock.sleeps == [60, 60]
    assert caught[0].time == start
    assert caught[-1].time == start + 130
    durations = [event.duration for event in caught if isinstance(event, (NodeEnd, FlowEnd))]
    assert durations == [10, 120, 130]


def test_a_wait_that_is_cancelled_already_takes_no_time() -> None:
    """A clock whose sleeper was woken before does not advance."""
    clock, woken = ManualClock(), threading.Event()
    woken.set()
    clock.sleep(1, woken)
    assert clock.sleeps == []


@pytest.mark.parametrize("by", ["woken", "time", "time before"])
def test_a_wait_of_a_manual_clock(by: str) -> None:
    """Goes on when it is woken, or when the clock was advanced far enough, in one go or in many."""
    clock, woken = ManualClock(0), threading.Event()
    until = None if by == "woken" else 60.0
    waiting = threading.Thread(target=clock.wait, args=(woken, until), daemon=True)
    if by == "time before":
        clock.advance(60)
    waiting.start()
    if by == "woken":
        clock.advance(1_000)
        assert waiting.is_alive()
        woken.set()
    elif by == "time":
        clock.advance(59)
        assert waiting.is_alive()
        clock.advance(1)
    waiting.join(30)
    assert not waiting.is_alive()
    assert clock.sleeps == []


@pytest.mark.parametrize("by", ["woken", "time", "time before"])
def test_an_async_wait_of_a_manual_clock(by: str) -> None:
    """The same, in a loop; the clock may be advanced in another thread."""

    async def main() -> None:
        clock, woken = ManualClock(0), asyncio.get_running_loop().create_future()
        until = None if by == "woken" else 60.0
        if by == "time before":
            clock.advance(60)
        waiting = asyncio.create_task(clock.wait_async(woken, until))
        await asyncio.sleep(0)
        if by == "woken":
            clock.advance(1_000)
            await asyncio.sleep(0)
            assert not waiting.done()
            woken.set_result(None)
        elif by == "time":
            await asyncio.to_thread(clock.advance, 59)
            await asyncio.sleep(0)
            assert not waiting.done()
            await asyncio.to_thread(clock.advance, 1)
        await asyncio.wait_for(waiting, 30)
        assert clock.sleeps == []

    asyncio.run(main())


def test_a_manual_clock_can_be_advanced_from_many_threads() -> None:
    """No second is lost."""
    clock = ManualClock(0)

    def advance() -> None:
        for _ in range(500):
            clock.advance(1)

    together(8, advance)
    assert clock.time() == 4_000


def test_the_garbage_collector_ends_a_run_while_the_clock_is_advanced() -> None:
    """The run's last events have the time that it is, and nothing waits for itself."""

    class Collects(float):
        """So many seconds; adding them is when the garbage collector comes."""

        def __radd__(self, other: float) -> float:
            gc.collect()
            return other + float(self)

    class Asks(AskNode):
        def question(self, prep_res: Any) -> Ask:
            return Ask("?", expires=60)

    clock, seen = ManualClock(), Seen()

    def leave_one() -> None:
        run = Run(Flow(Asks()), {}, clock=clock, observers=[seen])
        cycle: list[object] = [run, *run]
        cycle.append(cycle)

    leave_one()
    in_thread(lambda: clock.advance(Collects(1)))
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()
