"""A run is a tree of spans."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    Event,
    observe,
)
from flowevents.observers.traces import TraceObserver
from tests.driving import Driver, driving
from tests.tracing.spans import TREE, Balance, attribute, graph, id_of, kept, parents


def trace_of(span: ReadableSpan) -> int:
    """The id of its trace."""
    return span.get_span_context().trace_id  # type: ignore[union-attr]


def test_a_run_is_a_tree_of_spans(driver: Driver, tracing: TraceObserver, spans: Balance) -> None:
    """Of the run, each flow, each step and each item, in one trace."""
    driver.run(graph(driver), {}, observers=[tracing], id="r1")
    flow = "Flow" if driver.loop is None else "AsyncFlow"
    assert spans.tree() == [line.format(flow=flow) for line in TREE]
    assert len({trace_of(span) for span in spans.spans()}) == 1
    assert spans.open() == []
    assert kept(tracing) == {}


def traced(spans: Balance) -> dict[tuple[str, int], int]:
    """Each span's parent, both by the number of their start events."""
    ids = {id_of(span): attribute(span, "flowevents.span") for span in spans.spans()}
    return {
        (attribute(span, "flowevents.run.id"), attribute(span, "flowevents.span")): (
            ids[span.parent.span_id] if span.parent else 0
        )
        for span in spans.spans()
    }


class Ask(AsyncNode):
    async def exec_async(self, prep_res: Any) -> None:
        await asyncio.sleep(0)
        with trace.get_tracer("test").start_as_current_span("not exported"):
            await asyncio.sleep(0)


class Many(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return range(3)

    async def exec_async(self, item: Any) -> Any:
        await asyncio.sleep(0)
        return item


class Passes(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return [{}, {}]


def test_a_thousand_concurrent_runs_are_a_thousand_trees(
    tracing: TraceObserver, spans: Balance
) -> None:
    """Through one observer, in one loop, with parallel items: none meets another's span."""

    async def main(seen: list[Event]) -> None:
        ask, passes = Ask(), Passes(Ask())
        ask >> Many() >> passes
        with observe(tracing), observe(seen.append):
            await asyncio.gather(*(AsyncFlow(ask).run_async({}) for _ in range(1_000)))

    seen: list[Event] = []
    asyncio.run(main(seen))
    assert traced(spans) == parents(seen)
    roots = [span for span in spans.spans() if span.parent is None]
    assert len(roots) == len({trace_of(span) for span in roots}) == 1_000
    by_trace = {(trace_of(s), attribute(s, "flowevents.run.id")) for s in spans.spans()}
    assert len(by_trace) == 1_000
    assert (spans.open(), kept(tracing)) == ([], {})


def test_runs_in_threads_are_trees_of_their_own(tracing: TraceObserver, spans: Balance) -> None:
    """One observer in eight threads."""
    seen: list[Event] = []
    with driving("sync") as driver, observe(tracing), observe(seen.append):
        threads = [
            threading.Thread(target=lambda: [graph(driver).run({}) for _ in range(20)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert traced(spans) == parents(seen)
    assert len({trace_of(span) for span in spans.spans()}) == 160
