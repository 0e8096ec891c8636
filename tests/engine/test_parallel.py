"""Parallel items."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import assume, given

from flowevents import AsyncFlow, AsyncNode, AsyncParallelBatchFlow, Chunk, Event, Run
from flowevents.events import EVENT_TYPES
from flowevents.testing import check_events
from tests.driving import Seen, driving
from tests.engine.nodes import Ask, EachAtOnce, Say, run_drawn, signals_of, without_numbers
from tests.graphs import Graph, graphs


class Nested(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, int]]:
        return [{"n": 1}, {"n": 2}, {"n": 3}]


@pytest.mark.parametrize("outer", [None, 1, 2])
@pytest.mark.parametrize("inner", [None, 1, 2])
@pytest.mark.parametrize("turns", [0, 7])
def test_parallel_in_parallel_in_parallel(outer: int | None, inner: int | None, turns: int) -> None:
    """However many at once, and however slow the consumer: all 27 items run, none is lost."""
    at_once = EachAtOnce(max_concurrency=inner)
    at_once >> Say()
    flow = Nested(Nested(at_once, max_concurrency=inner), max_concurrency=outer)
    seen = Seen()

    async def main() -> None:
        async for event in Run(flow, {}):
            seen(event)
            for _ in range(turns):
                await asyncio.sleep(0)

    with driving("async") as driver:
        driver.in_loop(main())
    seen.check()
    at = [event.items for event in seen.of(Chunk) if event.node.endswith("EachAtOnce")]
    assert sorted(at) == [(a, b, c) for a in range(3) for b in range(3) for c in range(3)]


def test_an_error_in_the_depth_cancels_everything_around_it() -> None:
    """All siblings at every level have ended before it is raised."""
    running: list[Any] = []

    class Deep(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            running.append(self)
            try:
                await asyncio.sleep(0)
                if len(running) == 9 and self is running[4]:
                    raise ValueError("in the depth")
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(self)

    ended: list[Any] = []
    for pulled in (False, True):
        running.clear()
        ended.clear()
        seen = Seen()
        run = Run(Nested(Nested(Deep())), {}, observers=[seen])
        with driving("async") as driver, pytest.raises(ValueError, match="in the depth"):
            driver.pull(run) if pulled else driver.wait(run)
        assert len(ended) == len(running) == 9
        assert seen.ends().count("error") == 3  # the node and the two flows around it
        seen.check()


def test_results_come_in_the_order_of_the_items() -> None:
    """Not in that of their ends."""

    class Backwards(EachAtOnce):
        async def exec_async(self, item: int) -> int:
            for _ in range(9 - item * 3):
                await asyncio.sleep(0)
            return item

    for observers in ([], [Seen()]):
        shared: dict[str, Any] = {}
        asyncio.run(Backwards().run_async(shared, observers=observers))
        assert shared["results"] == [1, 2, 3]


eager_task_factory: Any = getattr(asyncio, "eager_task_factory", None)


@pytest.mark.skipif(eager_task_factory is None, reason="it came with Python 3.12")
@pytest.mark.parametrize("limit", [None, 1, 2])
def test_tasks_may_begin_at_once(limit: int | None) -> None:
    """A loop with eager tasks runs the items, async handlers and cancels as any other."""

    class Quick(EachAtOnce):
        async def exec_async(self, item: int) -> int:
            self.emit(item)
            return item

    async def awaited(event: Event) -> None:
        if event.seq % 2:
            await asyncio.sleep(0)

    for node in (Quick(max_concurrency=limit), EachAtOnce(max_concurrency=limit), Ask()):
        for observers in ([], [Seen()], [awaited]):
            with driving("async") as driver:
                assert driver.loop is not None
                driver.loop.set_task_factory(eager_task_factory)
                shared: dict[str, Any] = {}
                driver.run(AsyncFlow(node), shared, observers=observers)
                assert shared.get("results", [1, 2, 3]) == [1, 2, 3]
                check_events(driver.pull(Run(AsyncFlow(node), {}, observers=observers)))
                driver.rest(driver.stream(node, {}, observers=observers))
                run = Run(AsyncFlow(node), {}, observers=observers)
                driver.pull(run, 3)
                run.cancel()
                driver.close(run)
                assert run.status == "cancelled"


@pytest.mark.skipif(eager_task_factory is None, reason="it came with Python 3.12")
@given(graphs(streams=True, asynchronous=True))
def test_eager_tasks_give_the_same(spec: Graph) -> None:
    """Any graph does the same in a loop with eager tasks."""
    assume(not spec.has_parallel)
    seen = []
    for factory in (None, eager_task_factory):
        observer = signals_of(*EVENT_TYPES)
        with driving("async") as driver:
            assert driver.loop is not None
            driver.loop.set_task_factory(factory)
            run_drawn(driver, spec, observer)
        seen.append([without_numbers(event) for event in observer.kept])
    assert seen[0] == seen[1]
