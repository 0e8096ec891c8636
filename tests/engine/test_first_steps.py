"""Code whose first step is made at once: it is in a task and a context of its own all the same."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from flowevents import AsyncFlow, AsyncNode, Event, NodeStart, Run
from tests.driving import PATIENCE

mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="")


def test_an_async_handler_resets_what_it_has_set() -> None:
    """Before and after its awaits it is in one context, which is none of the run's."""
    marks: list[str] = []

    async def hear(event: Event) -> None:
        token = mark.set("heard")
        await asyncio.sleep(0)
        mark.reset(token)

    class Look(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await asyncio.sleep(0)
            marks.append(mark.get())

    run = Run(AsyncFlow(Look()), {}, observers=[hear], on_handler_error="raise")
    asyncio.run(run.wait_async())
    assert marks == [""]


def test_a_cancel_in_the_same_turn_reaches_what_is_awaited() -> None:
    """The node's own task ends with it, in a run that is pulled."""
    ended: list[bool] = []

    class Waits(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            inner = asyncio.create_task(asyncio.Event().wait())
            try:
                await inner
            finally:
                ended.append(inner.cancelled())

    async def main() -> None:
        run = Run(AsyncFlow(Waits()), {})
        async for event in run:
            if isinstance(event, NodeStart):
                await run.aclose()
                break

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert ended == [True]


@pytest.mark.parametrize("is_pulled", [True, False])
def test_a_further_cancel_reaches_a_clean_up_that_waits(is_pulled: bool) -> None:
    """As where nothing is in between."""
    steps: list[str] = []

    class CleansUp(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                steps.append("clean-up")
                try:
                    await asyncio.Event().wait()
                finally:
                    steps.append("given up")

    async def drive(run: Run) -> None:
        if not is_pulled:
            await run.wait_async()
        async for _ in run:
            pass

    async def main() -> None:
        task = asyncio.create_task(drive(Run(AsyncFlow(CleansUp()), {})))
        for _ in range(3):
            for _ in range(10):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert steps == ["clean-up", "given up"]
