"""What the garbage collector finds in the middle of an event: a run that nobody has any more."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowevents import AsyncFlow, AsyncStreamNode, Event, Run, StreamNode, signals
from flowevents.testing import check_events
from tests.driving import in_thread


class Talk(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield from "abc"


class TalkAsync(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        for letter in "abc":
            await asyncio.sleep(0)
            yield letter


class Observer:
    """Notes events one by one, and collects garbage in the middle of one of them."""

    def __init__(self) -> None:
        self.events: dict[str, list[Event]] = {}
        self.busy = False
        self.collects = False

    def __call__(self, event: Event) -> None:
        assert not self.busy, "an event came in the middle of another"
        self.busy = True
        if self.collects:
            self.collects = False
            gc.collect()
        self.events.setdefault(event.run_id, []).append(event)
        self.busy = False


def leave(observer: Observer, count: int) -> None:
    """Leave so many runs midway, each in a cycle, which only the collector can find."""
    for _ in range(count):
        run = Run(Talk(), {}, observers=[observer])
        events = iter(run)
        for _ in range(3):
            next(events)
        cycle: list[Any] = [run, events]
        cycle.append(cycle)


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    """But those that are asked for."""
    gc.disable()
    yield
    gc.enable()


def check(observer: Observer, runs: int) -> None:
    """All runs have ended, and no observer was disturbed."""
    assert len(observer.events) == runs
    for events in observer.events.values():
        check_events(events)


@pytest.mark.parametrize("count", [1, 50])
@pytest.mark.parametrize("how", ["own", "global"])
def test_ends_of_a_left_run_come_after_the_event(count: int, how: str) -> None:
    """None comes in the middle, none is lost, in a sync run."""
    observer = Observer()
    leave(observer, count)

    def collect(event: Event) -> None:
        observer.collects = True

    with signals.chunk.connected_to(collect):  # it is called before the run's own
        in_thread(lambda: Talk().run({}, observers=[observer]))
    gc.collect()
    check(observer, count + 1)


def test_ends_of_a_left_run_come_after_the_event_of_an_async_run() -> None:
    """The same in a loop, on whose next turns they come."""
    observer = Observer()
    leave(observer, 3)
    observer.collects = True
    asyncio.run(Run(AsyncFlow(TalkAsync()), {}, observers=[observer]).wait_async())
    check(observer, 4)


def test_ends_of_a_left_run_come_at_the_end_of_the_last_event() -> None:
    """Where no event follows, they come before the run is over."""
    observer = Observer()
    leave(observer, 1)

    class Last:
        def on_flow_end(self, event: Event) -> None:
            observer.collects = True

    Talk().run({}, observers=[Last(), observer])
    check(observer, 2)


def test_a_left_iterator_while_the_run_is_cancelled() -> None:
    """It is garbage, found in the code that the cancel unwinds: that ends as cancelled."""

    class Collects(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
            finally:
                gc.collect()

    run = Run(Collects(), {})
    events = iter(run)
    while next(events).signal != "chunk":
        pass
    cycle: list[Any] = [events]
    cycle.append(cycle)
    del events, cycle
    run.cancel()
    assert run.status == "cancelled"
