"""What nobody hears is not made."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowevents import Chunk, Clock, Event, FlowStart, ItemStart, Node, NodeStart
from flowevents.events import EVENT_TYPES
from tests.driving import Driver, driving
from tests.engine.nodes import Say, everything, run_drawn, signals_of, without_numbers
from tests.graphs import Graph, graphs


class CountingClock(Clock):
    """Counts how often it is asked what time it is."""

    def __init__(self) -> None:
        self.asked = 0
        self.time = self.monotonic = self._read

    def _read(self) -> float:
        self.asked += 1
        return float(self.asked)


def test_an_event_that_nobody_hears_is_not_made(driver: Driver) -> None:
    """No handler, no consumer: nobody asks the clock for its time, or `redact` for its text."""
    clock = CountingClock()
    redacted: list[Any] = []

    def redact(value: Any) -> Any:
        redacted.append(value)
        return value

    def asked_by(*observers: Any) -> int:
        clock.asked = 0
        driver.run(everything(driver), {}, clock=clock, redact=redact, observers=observers)
        return clock.asked

    nobody = asked_by()
    assert redacted == []
    chunks = signals_of(Chunk)
    assert asked_by(chunks) - nobody <= len(chunks.kept) + 40  # and when the steps began
    assert redacted == [event.data for event in chunks.kept]
    assert nobody <= 10


def test_a_step_that_nobody_hears_asks_for_no_time(driver: Driver) -> None:
    """However often a node runs, and whatever it yields and emits."""

    class Again(Say):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["left"] -= 1
            return "again" if shared["left"] else "done"

    asked = []
    for count in (1, 100):
        clock, again = CountingClock(), Again()
        again - "again" >> again
        again - "done" >> Node()
        driver.run(driver.flow(again), {"left": count}, clock=clock)
        asked.append(clock.asked)
    assert asked[1] - asked[0] <= 99


@given(graphs(streams=True), st.sets(st.sampled_from(EVENT_TYPES), min_size=1), st.booleans())
def test_who_hears_less_hears_the_same(
    spec: Graph, kinds: set[type[Event]], in_a_loop: bool
) -> None:
    """An observer of some types gets those that one of all gets, but for their numbers."""
    with driving("async" if in_a_loop else "sync") as driver:
        whole, part = signals_of(*EVENT_TYPES), signals_of(*kinds)
        run_drawn(driver, spec, whole)
        run_drawn(driver, spec, part)
    expected = [event for event in whole.kept if type(event) in kinds]
    assert [without_numbers(event) for event in part.kept] == [
        without_numbers(event) for event in expected
    ]
    numbers = [event.seq for event in part.kept]
    assert numbers == sorted(set(numbers))
    spans = {(ours.span, theirs.span) for ours, theirs in zip(part.kept, expected, strict=True)}
    assert len({ours for ours, _ in spans}) == len({theirs for _, theirs in spans}) == len(spans)
    for event in part.kept:
        assert event.span <= event.seq
        is_start = isinstance(event, FlowStart | NodeStart | ItemStart)
        assert (event.span == event.seq) == is_start
