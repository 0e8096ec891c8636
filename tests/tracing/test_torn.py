"""Spans of runs that are cancelled, abandoned or torn."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from flowevents import (
    AsyncParallelBatchNode,
    Event,
    NodeEnd,
    Run,
    RunCancelled,
    StreamNode,
    observe,
    signals,
)
from flowevents.observers.traces import TraceObserver
from tests.driving import Driver, driving
from tests.tracing.spans import Balance, Endless, Inner, attribute, by_hand, changed, graph, kept


def test_a_cancelled_run_leaves_nothing_open(
    driver: Driver, tracing: TraceObserver, spans: Balance
) -> None:
    """Its spans say that they were cancelled, which is no error."""
    run = Run(driver.flow(Inner(Endless())), {}, observers=[tracing])
    driver.pull(run, 6)
    run.cancel()
    if driver.loop is not None:
        driver.close(run)
    assert {attribute(span, "flowevents.status") for span in spans.spans()} == {"cancelled"}
    assert {span.status.status_code for span in spans.spans()} == {StatusCode.UNSET}
    assert (len(spans.spans()), spans.open(), kept(tracing)) == (3, [], {})


def test_a_run_that_cancels_itself_leaves_nothing_open(
    driver: Driver, tracing: TraceObserver, spans: Balance
) -> None:
    """In the middle of its code."""

    class Stop(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[int]:
            run.cancel()
            yield 1

    run = Run(driver.flow(Stop()), {}, observers=[tracing])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert (len(spans.spans()), spans.open(), kept(tracing)) == (2, [], {})


def test_an_abandoned_stream_leaves_nothing_open(
    driver: Driver, tracing: TraceObserver, spans: Balance
) -> None:
    """Dropped with its last reference."""
    stream = driver.stream(driver.flow(Endless()), {}, observers=[tracing])
    assert driver.next(stream) == 0
    assert len(spans.open()) == 2
    del stream
    gc.collect()
    driver.settle()
    assert (len(spans.spans()), spans.open(), kept(tracing)) == (2, [], {})


def test_a_cancelled_task_leaves_nothing_open(tracing: TraceObserver, spans: Balance) -> None:
    """With parallel items under way."""

    class Wait(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(10)

        async def exec_async(self, item: Any) -> None:
            if item == 9:
                begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()

    async def main() -> None:
        task = asyncio.create_task(Wait().run_async({}, observers=[tracing]))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (len(spans.spans()), spans.open(), kept(tracing)) == (12, [], {})


def recorded() -> list[Event]:
    """The events of a run with all kinds of spans."""
    seen: list[Event] = []
    with driving("sync") as driver:
        graph(driver).run({}, observers=[seen.append], id="r1")
    return seen


def described(spans: Balance) -> list[Any]:
    """What was exported, without the ids that are drawn anew."""
    return [
        (span.name, span.start_time, span.end_time, dict(span.attributes or {}))
        for span in spans.get_finished_spans()
    ]


def test_a_replay_gives_the_same_spans(tracing: TraceObserver, spans: Balance) -> None:
    """Live, from a list, and sent through the signals."""
    seen: list[Event] = []
    with driving("sync") as driver:
        graph(driver).run({}, observers=[seen.append, tracing])
    live = described(spans)
    spans.clear()
    for event in seen:
        tracing(event)
    assert described(spans) == live
    spans.clear()
    with observe(tracing):
        for event in seen:
            getattr(signals, event.signal).send(event)
    assert described(spans) == live


def test_any_part_of_a_record_will_do(tracing: TraceObserver, spans: Balance) -> None:
    """Without its beginning, its end or an event in the middle: nothing raises or stays."""
    seen = recorded()
    parts = [seen[:n] for n in range(len(seen))]
    parts += [seen[n:] for n in range(len(seen))]
    parts += [seen[:n] + seen[n + 1 :] for n in range(len(seen))]
    parts += [seen[::-1], seen + seen, [event for event in seen for _ in range(2)]]
    for part in parts:
        for event in part:
            tracing(event)
            tracing.context(event)
        tracing.close()
        assert (spans.open(), kept(tracing)) == ([], {})


def test_the_end_of_a_run_ends_what_is_left(tracing: TraceObserver, spans: Balance) -> None:
    """Of a record with holes, at the time of that end; and a second replay does not mix."""
    seen = [event for event in recorded() if not isinstance(event, NodeEnd)]
    for event in seen:
        tracing(event)
    assert (spans.open(), kept(tracing)) == ([], {})
    last = int(seen[-1].time * 1e9)
    assert {span.end_time for span in spans.spans() if span.name == "Plan"} == {last}
    for event in (*seen[:-1], *seen):
        tracing(event)
    assert (spans.open(), kept(tracing)) == ([], {})


def test_a_node_alone_may_be_traced(tracing: TraceObserver, spans: Balance) -> None:
    """Its steps are children of the span around the run; nothing of the run stays."""
    with driving("sync") as driver, observe(tracing, sender="Inner/Each"):
        for _ in range(3):
            graph(driver).run({})
    assert spans.tree() == ["Inner/Each", "  item Inner/Each", "  item Inner/Each"] * 3
    assert kept(tracing) == {}


def test_times_that_are_none_do_not_raise(tracing: TraceObserver, spans: Balance) -> None:
    """As of a record that something else has written."""
    for time in (float("nan"), float("inf"), -1.0, 1e300):
        for event in by_hand():
            tracing(changed(event, time=time))
    tracing(changed(by_hand()[0], seq=2**70, span=2**70, items=(2**70,)))
    tracing.close()
    assert spans.open() == []


def test_an_observer_that_came_late_gives_no_context(tracing: TraceObserver) -> None:
    """A step whose start it has not heard has no span."""
    assert tracing.context(by_hand()[1]) is None


def test_it_works_where_no_sdk_is_set_up() -> None:
    """The API alone does nothing, and says nothing."""
    observer = TraceObserver()
    with driving("sync") as driver:
        graph(driver).run({}, observers=[observer])
    assert kept(observer) == {}
