"""Programs whose pieces belong together: they do so whoever pulls the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowevents import (
    Answer,
    AsyncAskNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    Event,
    Run,
    asking,
    signals,
)


class Read(AsyncNode):
    """Puts the text of its item where the next node finds it, as in PocketFlow's own program."""

    async def exec_async(self, prep_res: Any) -> str:
        await asyncio.sleep(0)
        return f"text of {self.params['name']}"

    async def post_async(self, shared: Any, prep_res: Any, exec_res: str) -> None:
        shared["text"] = exec_res


class Write(AsyncNode):
    """Takes it from there before anything is awaited."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["text"]

    async def exec_async(self, prep_res: str) -> str:
        await asyncio.sleep(0)
        return prep_res

    async def post_async(self, shared: Any, prep_res: Any, exec_res: str) -> None:
        shared["written"][self.params["name"]] = exec_res


class Files(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return [{"name": name} for name in "abcdefghi"]


class Count(AsyncNode):
    """Reads in `prep`, writes in `post`, and awaits nothing in between but in `prep`, before."""

    async def prep_async(self, shared: Any) -> Any:
        await asyncio.sleep(0)
        return shared["count"]

    async def exec_async(self, prep_res: int) -> int:
        return prep_res + 1

    async def post_async(self, shared: Any, prep_res: Any, exec_res: int) -> None:
        shared["count"] = exec_res


async def waited_for(run: Run) -> None:
    """Nobody pulls it."""
    await run.wait_async()


async def pulled(run: Run) -> None:
    """By who does nothing else."""
    async for _ in run:
        pass


async def pulled_slowly(run: Run) -> None:
    """By who lets others have their turn at each event."""
    async for _ in run:
        await asyncio.sleep(0)


async def hear(event: Event) -> None:
    """Take a turn at each event."""
    await asyncio.sleep(0)


FORMS = [waited_for, pulled, pulled_slowly]


@pytest.mark.parametrize("observers", [[], [lambda event: None], [hear]])
@pytest.mark.parametrize("form", FORMS)
def test_a_parallel_batch_flow_writes_each_file_right(
    form: Callable[[Run], Any], observers: list[Any]
) -> None:
    """The `post` of a node and the `prep` of the next are one piece of the item."""
    read = Read()
    read >> Write()
    shared: dict[str, Any] = {"written": {}}
    asyncio.run(form(Run(Files(read), shared, observers=observers)))
    assert shared["written"] == {name: f"text of {name}" for name in "abcdefghi"}


@pytest.mark.parametrize("observers", [[], [lambda event: None], [hear]])
@pytest.mark.parametrize("form", [waited_for, pulled])
def test_two_runs_lose_no_update(form: Callable[[Run], Any], observers: list[Any]) -> None:
    """What is read is written before the other run has its turn."""
    shared = {"count": 0}

    async def main() -> None:
        runs = [Run(AsyncFlow(Count()), shared, observers=observers) for _ in range(5)]
        await asyncio.gather(*(form(run) for run in runs))

    asyncio.run(main())
    assert shared["count"] == 5


class Ask(AsyncAskNode):
    def question(self, prep_res: Any) -> asking.Ask:
        return asking.Ask("Go on?")

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["answer"] = exec_res


@pytest.mark.parametrize("form", FORMS)
def test_a_question_may_follow_code_that_has_awaited(form: Callable[[Run], Any]) -> None:
    """Where the run goes on in the task in which that code has ended."""
    count = Count()
    count >> Ask()
    shared: dict[str, Any] = {"count": 0}
    run = Run(AsyncFlow(count), shared, on_pause="wait")
    signals.interrupt.connect(lambda event: Answer("yes"), sender=run)
    asyncio.run(form(run))
    assert shared == {"count": 1, "answer": "yes"}
