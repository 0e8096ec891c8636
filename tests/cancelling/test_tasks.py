"""The task that drives a run is cancelled, or has a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Chunk,
    Retry,
    Run,
)
from tests.cancelling.nodes import Forever, Talk, slowly
from tests.driving import Driver, Seen, status_of


def test_a_cancelled_task_gets_its_own_cancelled_error(loop: Driver) -> None:
    """However it drives the run, which ends well-formed before that."""
    forms: list[Callable[[Any, Seen], Any]] = [
        lambda flow, seen: flow.run_async({}, observers=[seen]),
        lambda flow, seen: Run(flow, {}, observers=[seen]).wait_async(),
        lambda flow, seen: flow.run_stream_async({}, None, observers=[seen]),
        lambda flow, seen: pull(Run(flow, {}, observers=[seen])),
        lambda flow, seen: pull(flow.run_stream_async({}, observers=[seen])),
    ]

    async def pull(source: Any) -> None:
        async for _ in source:
            pass

    async def main(form: Callable[[Any, Seen], Any]) -> None:
        seen, forever = Seen(), Forever(max_retries=3)
        task = asyncio.ensure_future(form(AsyncFlow(AsyncFlow(forever)), seen))
        await forever.entered.wait()
        task.cancel("mine")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert seen.ends() == ["cancelled", "cancelled", "cancelled"]
        seen.check()

    for form in forms:
        loop.in_loop(main(form))


def test_a_task_that_is_cancelled_in_the_loops_body_leaves_the_run(loop: Driver) -> None:
    """There it is the consumer's code that is cancelled; the run is still there."""

    async def main() -> None:
        run = Run(AsyncFlow(Talk()), {})

        async def consume() -> None:
            async for _ in run:
                inside.set()
                await asyncio.Event().wait()

        inside = asyncio.Event()
        task = asyncio.create_task(consume())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert run.status == "running"
        await run.wait_async()
        assert status_of(run) == "done"

    loop.in_loop(main())


def test_a_task_is_cancelled_while_its_run_is(loop: Driver) -> None:
    """Whichever came first, a cancelled task ends cancelled, and the run's `finally` is cut."""

    class Slow(Forever):
        async def exec_async(self, prep_res: Any) -> None:
            try:
                await super().exec_async(prep_res)
            finally:
                closing.set()
                await asyncio.Event().wait()

    async def wait(run: Run) -> None:
        await run.wait_async()

    async def leave(run: Run) -> None:
        async with run:
            async for event in run:
                if isinstance(event, Chunk):
                    break

    class SlowStream(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            try:
                yield "a"
            finally:
                closing.set()
                await asyncio.Event().wait()

    async def main(drive: Callable[[Run], Any], node: Any) -> None:
        seen = Seen()
        run = Run(AsyncFlow(node), {}, observers=[seen])
        task = asyncio.create_task(drive(run))
        if isinstance(node, Slow):
            await node.entered.wait()
            run.cancel()
        await closing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert run.status == "cancelled"
        assert seen.ends() == ["cancelled", "cancelled"]
        seen.check()

    for drive, node in ((wait, Slow()), (leave, SlowStream())):
        closing = asyncio.Event()
        loop.in_loop(main(drive, node))


def test_a_time_limit_around_a_run(loop: Driver) -> None:
    """`wait_for` cancels it: the ends come before the `TimeoutError`."""
    for forever in (Forever(), Forever(max_retries=3)):
        seen = Seen()
        run = Run(AsyncFlow(forever), {}, observers=[seen])

        async def main(run: Run = run) -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(run.wait_async(), 1e-6)

        loop.in_loop(main())
        assert status_of(run) == "cancelled"
        assert isinstance(run.error, asyncio.CancelledError)
        assert seen.ends() == ["cancelled", "cancelled"]
        seen.check()


def test_a_timeout_around_a_run(loop: Driver) -> None:
    """So does `asyncio.timeout`, which cancels the task that drives."""
    seen, forever = Seen(), Forever()

    async def expire(limit: asyncio.Timeout) -> None:
        await forever.entered.wait()
        limit.reschedule(0)

    async def main() -> None:
        expiring: list[asyncio.Task[None]] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                expiring.append(asyncio.create_task(expire(limit)))
                await AsyncFlow(forever).run_async({}, observers=[seen])
        await asyncio.gather(*expiring)

    loop.in_loop(main())
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


class TimesOut(AsyncNode):
    """Waits with a time limit, which has passed at once the first so many times."""

    times = 1

    def __init__(self, how: str, max_retries: int = 1) -> None:
        super().__init__(max_retries)
        self.how = how
        self.tries: list[str] = []

    async def exec_async(self, prep_res: Any) -> str:
        self.tries.append("try")
        if len(self.tries) > self.times:
            return "in time"
        self.emit("waiting")
        if self.how == "wait_for":
            await asyncio.wait_for(asyncio.Event().wait(), 1e-6)
        else:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        raise AssertionError("not reached")

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        return str(exec_res)


class TimesOutParallel(TimesOut, AsyncParallelBatchNode):
    times = 2

    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2]


HOW = ["wait_for", "timeout"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("form", ["wait", "pull", "stream"])
@pytest.mark.parametrize("kind", [TimesOut, TimesOutParallel])
def test_a_timeout_inside_a_node_is_an_error_of_the_node(
    loop: Driver, kind: type[TimesOut], form: str, how: str
) -> None:
    """It is no cancellation: the run fails with it."""
    seen = Seen()
    run = Run(AsyncFlow(kind(how)), {}, observers=[seen])
    with pytest.raises(asyncio.TimeoutError):
        if form == "stream":
            loop.rest(loop.stream(AsyncFlow(kind(how)), {}, observers=[seen]))
        else:
            loop.wait(run) if form == "wait" else slowly(loop, run)
    assert seen.ends() == ["error", "error"]
    seen.check()
    if form != "stream":
        assert run.status == "failed"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("form", ["wait", "pull"])
@pytest.mark.parametrize("kind", [TimesOut, TimesOutParallel])
def test_a_timeout_inside_a_node_is_retried(
    loop: Driver, kind: type[TimesOut], form: str, how: str
) -> None:
    """As any other error, and never hits the consumer, who takes its time."""
    seen = Seen()
    run = Run(AsyncFlow(kind(how, max_retries=2)), {}, observers=[seen])
    loop.wait(run) if form == "wait" else slowly(loop, run)
    assert "in time" in run.action
    assert {event.error for event in seen.of(Retry)} == {"TimeoutError"}
    assert set(seen.ends()) == {"ok"}
    seen.check()


def test_a_task_that_has_been_cancelled_can_run_a_flow(loop: Driver) -> None:
    """Cleaning up with a flow works as ever: an error is retried and raised, not hidden."""
    seen = Seen()

    class Flaky(AsyncNode):
        async def exec_async(self, prep_res: Any) -> str:
            if self.cur_retry == 0:
                raise ValueError("once")
            return "clean"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return str(exec_res)

    class Breaks(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await asyncio.sleep(0)
            raise ValueError("always")

    async def cleaning() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(ValueError, match="always"):
                await AsyncFlow(Breaks()).run_async({})
            return str(await AsyncFlow(Flaky(max_retries=2)).run_async({}, observers=[seen]))
        raise AssertionError("not reached")

    async def main() -> str:
        task = asyncio.create_task(cleaning())
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert loop.in_loop(main()) == "clean"
    assert len(seen.of(Retry)) == 1
    seen.check()


def test_a_task_group_inside_a_node(loop: Driver) -> None:
    """It cancels the task it is in; that is the node's own affair, and what it raises an error."""
    seen = Seen()

    class Groups(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.Event().wait()

    async def fail() -> None:
        raise ValueError("in a task")

    for drive in (loop.wait, lambda run: slowly(loop, run)):
        seen = Seen()
        run = Run(AsyncFlow(Groups()), {}, observers=[seen])
        with pytest.raises(ExceptionGroup, match="unhandled errors") as caught:
            drive(run)
        assert type(caught.value) is ExceptionGroup
        assert seen.ends() == ["error", "error"]
        seen.check()
