"""Any graph whose nodes ask."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import flowevents
from flowevents import Answer, Interrupt, Paused, Run
from tests.driving import Seen, driving, status_of
from tests.graphs import Graph, graphs
from tests.made_graphs import assert_same, build, outcome_of


def reply_to(event: Interrupt) -> Any:
    """The answer that says what was asked."""
    return ["answer", *event.prompt]


def run_answered(how: str, spec: Graph, seen: Seen, shared: Any) -> Any:
    """Run a drawn graph whose questions a handler answers."""

    class Answers:
        def on_interrupt(self, event: Interrupt) -> Answer[Any]:
            return Answer(reply_to(event))

    with driving(how) as driver:
        node = build(spec, flowevents, shared)
        return driver.run(node, shared, observers=[Answers(), seen])


def run_stopped(how: str, spec: Graph, seen: Seen, counts: list[int], shared: Any) -> Any:
    """Run a drawn graph by loops that are left after so many events, each with replies after it.

    A count of 0 answers and pushes it as far as it goes.
    """
    left = iter(counts)
    with driving(how) as driver:
        run = Run(build(spec, flowevents, shared), shared, observers=[seen])
        while status_of(run) in ("ready", "running", "paused"):
            count = next(left, None)
            try:
                driver.wait(run) if count == 0 else driver.pull(run, count)
            except Paused:
                pass
            for each in run.interrupts:
                run.reply(reply_to(each), each.id)
        return driver.wait(run)


def plainly(seen: Seen) -> list[dict[str, Any]]:
    """Events as every run of that graph gives them."""
    seen.check()
    own = ("run_id", "time", "duration")
    fields = [{"type": type(e).__name__, **msgspec.structs.asdict(e)} for e in seen.events]
    return [{name: each[name] for name in each if name not in own} for each in fields]


@given(graphs(streams=True, asks=True), st.lists(st.integers(0, 9), max_size=12))
def test_any_graph_that_asks_is_stopped_anywhere(spec: Graph, counts: list[int]) -> None:
    """Sync and async, answered by handlers or between loops: the events and the calls are same."""
    expected = Seen()
    outcome = outcome_of(lambda shared: run_answered("sync", spec, expected, shared))
    for how in ("sync", "async"):
        other = Seen()
        same = outcome_of(functools.partial(run_answered, how, spec, other))
        assert plainly(other) == plainly(expected)
        assert_same(spec, same, outcome)
        other = Seen()
        same = outcome_of(functools.partial(run_stopped, how, spec, other, counts))
        assert plainly(other) == plainly(expected)
        assert_same(spec, same, outcome)


@given(graphs(streams=True, asynchronous=True, asks=True), st.lists(st.integers(0, 9), max_size=12))
def test_any_async_graph_that_asks_is_stopped_anywhere(spec: Graph, counts: list[int]) -> None:
    """With parallel items: within each scope the same is done in the same order."""
    expected = outcome_of(lambda shared: run_answered("async", spec, Seen(), shared))
    seen = Seen()
    outcome = outcome_of(lambda shared: run_stopped("async", spec, seen, counts, shared))
    seen.check()
    assert_same(spec, outcome, expected)
