"""Parallel items and other runs are stopped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    Flow,
    ItemEnd,
    ItemStart,
    Node,
    Retry,
    Run,
    RunCancelled,
)
from tests.cancelling.nodes import Forever, Talk, slowly
from tests.driving import Driver, Seen
from tests.stock import chain


@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("form", ["wait", "pull", "stream"])
def test_all_parallel_items_are_cancelled_and_awaited(
    loop: Driver, form: str, limit: int | None
) -> None:
    """Whoever is told that the run was cancelled finds that all of it has ended."""
    seen, log = Seen(), list[Any]()

    class Many(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2, 3]

        async def exec_async(self, prep_res: Any) -> None:
            log.append(prep_res)
            self.emit("begun")
            try:
                await asyncio.sleep(0)
                run.cancel()
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                log.remove(prep_res)

    stream = AsyncFlow(Many(max_concurrency=limit)).run_stream_async({}, observers=[seen])
    run = stream.run
    if form != "stream":
        loop.close_stream(stream)
        run = Run(AsyncFlow(Many(max_concurrency=limit)), {}, observers=[seen])
    with pytest.raises(RunCancelled):
        if form == "stream":
            loop.rest(stream)
        else:
            loop.wait(run) if form == "wait" else slowly(loop, run)
    assert log == []
    assert {event.status for event in seen.of(ItemEnd)} == {"cancelled"}
    assert len(seen.of(ItemStart)) == (limit or 3)
    seen.check()


@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("form", ["wait", "pull", "stream"])
@pytest.mark.parametrize("fails", [1, 2, 3])
def test_an_item_that_fails_is_never_lost(
    loop: Driver, form: str, limit: int | None, fails: int
) -> None:
    """Also while the consumer takes its time: siblings are awaited, then its error is raised."""
    log: list[int] = []

    class Many(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2, 3]

        async def exec_async(self, prep_res: Any) -> None:
            log.append(prep_res)
            self.emit("begun")
            try:
                await asyncio.sleep(0)
                self.emit("goes on")
                if prep_res == fails:
                    raise ValueError(f"item {fails}")
                if limit is None:
                    await asyncio.Event().wait()
            finally:
                log.remove(prep_res)

    async def stream() -> None:
        async for _ in AsyncFlow(Many(max_concurrency=limit)).run_stream_async({}):
            for _ in range(10):
                await asyncio.sleep(0)

    seen = Seen()
    run = Run(AsyncFlow(Many(max_concurrency=limit)), {}, observers=[seen])
    with pytest.raises(ValueError, match=f"item {fails}"):
        if form == "stream":
            loop.in_loop(stream())
        else:
            loop.wait(run) if form == "wait" else slowly(loop, run)
    assert log == []
    if form != "stream":
        assert run.status == "failed"
        assert [event.error for event in seen.of(ItemEnd) if event.status == "error"] == [
            f"ValueError: item {fails}"
        ]
        seen.check()
    run.cancel()


@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("form", ["pull", "stream"])
def test_no_item_is_left_out(loop: Driver, form: str, limit: int | None) -> None:
    """However slow the consumer and whatever ends meanwhile, every item is drawn and runs."""

    class Many(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return iter(range(6))

        async def exec_async(self, prep_res: Any) -> int:
            self.emit(prep_res)
            await asyncio.sleep(0)
            return int(prep_res)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["results"] = exec_res

    shared: dict[str, Any] = {}
    flow = AsyncFlow(Many(max_concurrency=limit))

    async def stream() -> None:
        async for _ in flow.run_stream_async(shared):
            for _ in range(10):
                await asyncio.sleep(0)

    loop.in_loop(stream()) if form == "stream" else slowly(loop, Run(flow, shared))
    assert shared["results"] == [0, 1, 2, 3, 4, 5]


def test_a_run_inside_a_node_is_cancelled_by_itself(driver: Driver) -> None:
    """Its `RunCancelled` is an ordinary error of the node that ran it; the outer run fails."""
    seen = Seen()

    class Outer(Node):
        def exec(self, prep_res: Any) -> None:
            inner = Run(Flow(Talk()), {})
            inner.cancel()
            inner.wait()

    run = Run(driver.flow(Outer(max_retries=2)), {}, observers=[seen])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert len(seen.of(Retry)) == 1
    assert seen.ends() == ["error", "error"]
    assert run.status == "failed"
    seen.check()


def test_a_run_around_another_is_cancelled(driver: Driver) -> None:
    """A cancel of the outer one stops it when the inner one has ended, which goes on till then."""
    outer, inner = Seen(), Seen()

    class Outer(Node):
        def exec(self, prep_res: Any) -> None:
            Flow(Talk()).run({}, observers=[inner, lambda event: run.cancel()])

    run = Run(driver.flow(chain(Outer(), Node())), {}, observers=[outer])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert inner.ends() == ["ok", "ok"]
    assert outer.ends() == ["cancelled", "cancelled"]
    inner.check()
    outer.check()


def test_an_async_run_inside_a_node_is_cancelled_with_it(loop: Driver) -> None:
    """It is awaited by the outer node, so it gets the same `CancelledError`."""
    outer, inner, forever = Seen(), Seen(), Forever()

    class Outer(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await AsyncFlow(forever).run_async({}, observers=[inner])

    async def main() -> None:
        run = Run(AsyncFlow(Outer()), {}, observers=[outer])
        task = asyncio.create_task(run.wait_async())
        await forever.entered.wait()
        run.cancel()
        with pytest.raises(RunCancelled):
            await task

    loop.in_loop(main())
    for seen in (inner, outer):
        assert seen.ends() == ["cancelled", "cancelled"]
        seen.check()
