"""The task that drives a run is cancelled again and again, on each turn of the loop, until it ends.

So does a cancel scope, as of anyio, in which every `await` raises once it was cancelled.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Chunk,
    Event,
    Run,
    StreamNode,
)
from flowevents.testing import check_events
from tests.driving import driving
from tests.stock import chain

# -- what is cancelled ----------------------------------------------------------------------------


class Works(AsyncNode):
    """Waits, says what it does, and cleans up: it waits again, and a thread says what it does."""

    async def exec_async(self, prep_res: Any) -> None:
        try:
            for turn in range(3):
                self.emit(f"turn {turn}")
                await asyncio.sleep(0)
        finally:
            await self.clean_up()

    async def clean_up(self) -> None:
        """Give way, also where that is cut, and let a thread publish something in any case."""
        try:
            await asyncio.sleep(0)
        finally:
            thread = threading.Thread(target=self.emit, args=("closed",))
            thread.start()
            thread.join()


class Streams(AsyncStreamNode):
    """So does a stream."""

    async def exec_stream_async(self, prep_res: Any) -> Any:
        try:
            for turn in range(3):
                await asyncio.sleep(0)
                yield turn
        finally:
            self.emit("closed", kind="note")


class Says(StreamNode):
    """A stream that awaits nothing."""

    def exec_stream(self, prep_res: Any) -> Any:
        yield from "ab"


class Each(Works, AsyncParallelBatchNode):
    """Some at the same time."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = items

    async def prep_async(self, shared: Any) -> Any:
        return range(self.items)


class Passes(AsyncParallelBatchFlow):
    """A flow, some times at the same time."""

    def __init__(self, start: Any, items: int) -> None:
        super().__init__(start=start)
        self.items = items

    async def prep_async(self, shared: Any) -> Any:
        return [{"n": number} for number in range(self.items)]


def flow(*nodes: Any) -> AsyncFlow:
    """A flow of these."""
    return AsyncFlow(start=chain(*nodes))


SHAPES: dict[str, Callable[[int], Any]] = {
    "nodes": lambda items: flow(Works(), Streams(), Says(), Works()),
    "nested": lambda items: flow(Works(), flow(Streams(), flow(Works()))),
    "items": lambda items: flow(Says(), Each(items), Works()),
    "passes": lambda items: Passes(chain(Works(), Streams()), items),
    "items of passes": lambda items: flow(Works(), Passes(flow(Each(items)), 2)),
}

# -- who drives it --------------------------------------------------------------------------------


async def wait(run: Run) -> None:
    """As most do."""
    await run.wait_async()


async def background(run: Run) -> None:
    """In a task of its own, which another one waits for."""
    run.start()
    try:
        await run.wait_async()
    finally:
        run.cancel()


def pull(turns: int) -> Callable[[Run], Coroutine[Any, Any, None]]:
    """By a consumer that takes so many turns for each event, and leaves nothing behind."""

    async def pulling(run: Run) -> None:
        async with run:
            async for _ in run:
                for _ in range(turns):
                    await asyncio.sleep(0)

    return pulling


DRIVERS = {"wait": wait, "background": background, "pull": pull(0), "pull slowly": pull(2)}

# -- how it is cancelled --------------------------------------------------------------------------


def each_turn(task: asyncio.Task[None]) -> None:
    """Cancel the task on each turn of the loop until it ends."""
    if not task.done():
        task.cancel()
        task.get_loop().call_soon(each_turn, task)


def each_wait(task: asyncio.Task[None]) -> None:
    """Cancel it each time that it waits for something, as anyio does."""
    if not task.done():
        waits_for: Any = getattr(task, "_fut_waiter", None)
        if waits_for is None or not waits_for.done():
            task.cancel()
        task.get_loop().call_soon(each_wait, task)


def twice(task: asyncio.Task[None]) -> None:
    """Cancel it now and three turns later."""
    task.cancel()
    soon: Any = task.get_loop().call_soon
    soon(soon, soon, task.cancel)


CANCELS = {"each turn": each_turn, "each wait": each_wait, "twice": twice}


@given(
    st.sampled_from(sorted(SHAPES)),
    st.integers(1, 4),
    st.sampled_from(sorted(DRIVERS)),
    st.sampled_from(sorted(CANCELS)),
    st.integers(0, 60),
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
)
def test_no_schedule_of_cancels_loses_an_end(
    shape: str, items: int, drive: str, cancels: str, at: int, slowness: list[int]
) -> None:
    """Handlers that take their time before they note an event note all of them."""
    noted: list[list[Event]] = [[] for _ in slowness]

    def handler(turns: int, events: list[Event]) -> Any:
        async def handle(event: Event) -> None:
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                assert isinstance(event, Chunk)  # the one thing that may be cut short
            events.append(event)

        return handle

    run = Run(SHAPES[shape](items), {}, observers=map(handler, slowness, noted))

    async def main() -> None:
        task = asyncio.create_task(DRIVERS[drive](run))
        for _ in range(at):
            await asyncio.sleep(0)
        CANCELS[cancels](task)
        await asyncio.wait([task])
        assert task.cancelled() or run.status == "done"

    with driving("async") as driver:
        driver.in_loop(main())
        for _ in range(10):  # one in the background is still ending
            driver.settle()
    if run.status == "ready":
        return
    assert run.status in ("cancelled", "done")
    for events in noted:
        check_events(events)
        assert events == noted[0]
