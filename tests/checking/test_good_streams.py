"""Runs whose streams are good."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings

from flowevents import Event, FlowEnd, Run
from flowevents.testing import check_events
from tests.checking.runs import AWAITED, PLAIN, drive, in_time, recorded, run_of, status

WAYS = ("pushed", "pulled", "pushed async", "pulled async")
DRIVEN = [(name, way) for name in PLAIN for way in WAYS]
DRIVEN += [(name, way) for name in AWAITED for way in WAYS if "async" in way]


@pytest.mark.parametrize(("name", "way"), DRIVEN)
def test_the_streams_of_all_kinds_of_runs_are_good(name: str, way: str) -> None:
    """Pushed or pulled, sync or async, what comes is well-formed, and so is all before it."""
    pushed: list[Event] = []
    pulled = drive(run_of(name, observers=[pushed.append]), way)
    if "pulled" in way:
        assert pulled == pushed
    check_events(pushed)
    assert isinstance(pushed[-1], FlowEnd)
    assert (pushed[-1].status == "ok") == ("failing" not in name and "interrupted" not in name)
    for end in range(len(pushed)):
        check_events(pushed[:end], complete=False)


class Stopper:
    """An observer that stops its run at the event with that place, in one way or another."""

    run: Run

    def __init__(self, how: str, last: int) -> None:
        self.how = how
        self.last = last
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.heard.append(event)
        if len(self.heard) == self.last:
            if self.how == "cancelled":
                self.run.cancel()
            elif self.how == "failed by a handler":
                raise ValueError("of a handler")
            else:
                raise KeyboardInterrupt


class AwaitedStopper(Stopper):
    """The same as an async handler."""

    async def __call__(self, event: Event) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().__call__(event)


STOPPED = [(name, way, Stopper) for name, way in DRIVEN]
STOPPED += [(name, way, AwaitedStopper) for name, way in DRIVEN if "async" in way]
LEFT = [(name, way) for name, way in DRIVEN if "pulled" in way]


HOW = ("cancelled", "failed by a handler", "interrupted")


def places(name: str, way: str, how: str = HOW[0]) -> range:
    """Where to stop: at each event; of long streams at some, others in each way; less if quick."""
    count = len(recorded(name))
    apart = 1 if count < 30 else max(3, count // 30)
    if settings().max_examples < 100:
        apart = max(5, apart)
    return range(1 + (WAYS.index(way) * len(HOW) + HOW.index(how)) % apart, count + 1, apart)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("name", "way", "stopper"), STOPPED)
def test_a_run_that_is_stopped_at_any_event_has_a_good_stream(
    name: str, way: str, stopper: type[Stopper], how: str
) -> None:
    """Wherever a handler, plain or async, stops it, its stream is well-formed and complete."""
    for last in places(name, way, how):
        stops = stopper(how, last)
        stops.run = run_of(name, observers=[stops], on_handler_error="raise")
        drive(stops.run, way)
        check_events(stops.heard)
        end = stops.heard[-1]
        assert isinstance(end, FlowEnd)
        if last < len(stops.heard):
            stopped = "error" if how == "failed by a handler" else "cancelled"
            assert end.status in (stopped, status(name))


@pytest.mark.parametrize(("name", "way"), LEFT)
def test_a_run_that_is_left_at_any_event_has_a_good_stream(name: str, way: str) -> None:
    """Wherever its consumer leaves its `with` block, all ends are delivered to the others."""

    async def leave(run: Run, last: int) -> None:
        async with run:
            async for event in run:
                if event.seq == last:
                    return

    for last in places(name, way):
        heard: list[Event] = []
        run = run_of(name, observers=[heard.append])
        if way == "pulled":
            with run:
                for event in run:
                    if event.seq == last:
                        break
        else:
            asyncio.run(in_time(leave(run, last)))
        check_events(heard)
        assert isinstance(heard[-1], FlowEnd)
