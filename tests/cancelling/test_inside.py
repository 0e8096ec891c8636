"""What ends a parallel batch, and a run from its own code."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Generator
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    ItemEnd,
    Node,
    NodeEnd,
    Run,
    RunCancelled,
)
from flowevents.testing import check_events
from tests.cancelling.nodes import Talk, TalkAsync
from tests.driving import Driver, Seen, in_thread


class Two(AsyncParallelBatchNode):
    """Two items, each of which does what `work` does."""

    def __init__(self, work: Callable[[Any, int], Any]) -> None:
        super().__init__()
        self.work = work

    async def prep_async(self, shared: Any) -> Any:
        return range(2)

    async def exec_async(self, prep_res: int) -> Any:
        return await self.work(self, prep_res)


def test_a_task_is_cancelled_before_a_handler_is_awaited(loop: Driver) -> None:
    """The task that was to await it never begins, which nothing may wait for."""
    seen = Seen()
    tasks: list[asyncio.Task[Any]] = []

    async def work(node: Two, item: int) -> None:
        if item == 0:
            tasks[0].cancel()
            node.emit("x")
        await asyncio.Event().wait()

    async def hear(event: Event) -> None:
        await asyncio.sleep(0)
        seen(event)

    async def main() -> None:
        tasks.append(asyncio.create_task(Two(work).run_async({}, observers=[hear])))
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()

    loop.in_loop(main())
    seen.check()
    assert set(seen.ends()) == {"cancelled"}


@pytest.mark.parametrize("who", ["handler", "item"])
def test_a_parallel_batch_closes_its_run(loop: Driver, who: str) -> None:
    """Its code cannot wait for the end of what it is part of: it only asks for it."""
    seen = Seen()

    async def work(node: Two, item: int) -> None:
        node.emit(item)
        if who == "item":
            await run.aclose()
        await asyncio.Event().wait()

    async def hear(event: Event) -> None:
        if isinstance(event, Chunk) and who == "handler":
            await run.aclose()

    run = Run(Two(work), {}, observers=[seen, hear])
    with pytest.raises(RunCancelled):
        loop.wait(run)
    seen.check()
    assert set(seen.ends()) == {"cancelled"}


def test_a_handler_closes_the_run_in_another_thread() -> None:
    """In which the node emits: the run's own thread waits for that one, and it for nothing."""
    seen = Seen()

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            in_thread(lambda: self.emit("x"))

    def close(event: Event) -> None:
        if isinstance(event, Chunk):
            run.close()

    run = Run(Works(), {}, observers=[seen, close])
    with pytest.raises(RunCancelled):
        run.wait()
    seen.check()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["handler", "item"])
def test_an_interrupt_while_siblings_are_cancelled(
    loop: Driver, error: type[BaseException], where: str
) -> None:
    """It wins over the failure that they are cancelled for, and is what ends the run."""
    seen = Seen()

    async def work(node: Two, item: int) -> None:
        if item == 0:
            await asyncio.sleep(0)
            raise ValueError("first")
        try:
            await asyncio.Event().wait()
        finally:
            if where == "item":
                raise error

    def interrupt(event: Event) -> None:
        if where == "handler" and isinstance(event, ItemEnd) and event.items == (1,):
            raise error

    run = Run(Two(work), {}, observers=[seen, interrupt])
    with pytest.raises(error):
        loop.wait(run)
    seen.check()
    assert run.status == "cancelled"
    assert seen.ends()[-2:] == ["cancelled", "cancelled"]


def test_an_interrupt_while_a_failure_is_told(driver: Driver) -> None:
    """The ends that follow say what the run ends with."""
    seen = Seen()

    class Fails(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("first")

    def interrupt(event: Event) -> None:
        if isinstance(event, NodeEnd):
            raise SystemExit(3)

    run = Run(driver.flow(Fails()), {}, observers=[seen, interrupt])
    with pytest.raises(SystemExit):
        driver.wait(run)
    seen.check()
    assert (run.status, seen.ends()) == ("cancelled", ["error", "cancelled"])


def test_a_task_is_cancelled_while_the_last_event_is_heard(loop: Driver) -> None:
    """It came too late for the run, which is done; the task hears of it all the same."""
    seen = Seen()
    tasks: list[asyncio.Task[Any]] = []

    async def hear(event: Event) -> None:
        if isinstance(event, FlowEnd):
            tasks[0].cancel()
            await asyncio.sleep(0)

    class Says(AsyncNode):
        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return "bye"

    run = Run(Says(), {}, observers=[seen, hear])

    async def main() -> None:
        tasks.append(asyncio.create_task(run.wait_async()))
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()

    loop.in_loop(main())
    seen.check()
    assert (run.status, run.action, seen.ends()) == ("done", "bye", ["ok", "ok"])


def test_an_interrupt_while_an_error_is_worded(driver: Driver) -> None:
    """By `redact`, or by the error itself: the end is there, without the text."""
    seen = Seen()

    class Fails(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("secret")

    def redact(text: Any) -> Any:
        raise KeyboardInterrupt

    run = Run(driver.flow(Fails()), {}, observers=[seen], redact=redact)
    with pytest.raises(KeyboardInterrupt):
        driver.wait(run)
    seen.check()
    assert (run.status, seen.ends()) == ("cancelled", ["cancelled", "cancelled"])


def test_a_node_raises_what_closes_generators(driver: Driver) -> None:
    """A `GeneratorExit` of its own ends the run as any interrupt does."""
    seen = Seen()

    class Exits(Node):
        def exec(self, prep_res: Any) -> None:
            raise GeneratorExit

    run = Run(driver.flow(Exits()), {}, observers=[seen])
    with pytest.raises(GeneratorExit):
        driver.wait(run)
    seen.check()
    assert (run.status, seen.ends()) == ("cancelled", ["cancelled", "cancelled"])
    events: list[Event] = []
    with pytest.raises(GeneratorExit):
        driver.each(Run(driver.flow(Exits()), {}), events.append)
    check_events(events)  # the consumer gets them, too


async def _also(event: Event) -> None:
    """An async handler, which cannot be awaited where nothing can be any more."""


@pytest.mark.parametrize("kind", [AsyncNode, AsyncParallelBatchNode, Node])
def test_plain_handlers_hear_the_ends_beside_async_ones(loop: Driver, kind: Any) -> None:
    """Where code raises a `GeneratorExit`, after which nothing is awaited."""
    seen = Seen()

    class Exits(kind):
        def exec(self, prep_res: Any) -> None:
            raise GeneratorExit

        async def prep_async(self, shared: Any) -> Any:
            return range(1)

        async def exec_async(self, prep_res: Any) -> None:
            raise GeneratorExit

    run = Run(AsyncFlow(Exits()), {}, observers=[seen, _also])
    with pytest.raises(GeneratorExit):
        loop.wait(run)
    seen.check()
    assert set(seen.ends()) == {"cancelled"}


def test_a_run_in_a_cycle_tells_plain_handlers_beside_async_ones(loop: Driver) -> None:
    """The collector closes it; what would have to be awaited is left out."""
    seen = Seen()
    shared: dict[str, Any] = {}
    run = Run(AsyncFlow(TalkAsync()), shared, observers=[seen, _also])
    shared["run"] = run
    loop.pull(run, 4)
    loop.task = None
    del run, shared
    gc.collect()
    loop.settle()
    seen.check()
    assert set(seen.ends()) == {"cancelled"}


def test_siblings_of_an_item_that_raises_what_closes_generators(
    loop: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """They are cancelled, and may await, as beside any other error."""
    seen = Seen()
    tidied: list[str] = []

    async def work(node: Two, item: int) -> None:
        if item == 0:
            await asyncio.sleep(0)
            raise GeneratorExit
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidied.append("sibling")

    with pytest.raises(GeneratorExit):
        loop.run(AsyncFlow(Two(work)), {}, observers=[seen])
    seen.check()
    assert tidied == ["sibling"]
    assert caplog.records == []


def test_a_cancelled_task_does_not_wait_for_a_handler_beside_it(loop: Driver) -> None:
    """Of another thread's event, which is awaited while the node waits for something else."""
    seen = Seen()
    begun = asyncio.Event()

    class Works(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            emitting = asyncio.create_task(asyncio.to_thread(self.emit, "x"))
            try:
                await asyncio.Event().wait()
            finally:
                await emitting

    async def hear(event: Event) -> None:
        if isinstance(event, Chunk):
            begun.set()
            await asyncio.Event().wait()

    async def main() -> None:
        run = Run(Works(), {}, observers=[seen, hear])
        task = asyncio.create_task(run.wait_async())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.in_loop(main())
    seen.check()
    assert set(seen.ends()) == {"cancelled"}


@pytest.mark.parametrize("how", ["close", "drop", "with"])
def test_an_iterator_that_is_closed_after_its_run(how: str) -> None:
    """It says nothing more."""
    seen = Seen()
    run = Run(Flow(Talk()), {}, observers=[seen])
    events = iter(run)
    next(events)
    next(events)
    if how == "with":
        with run:
            pass
    else:
        run.cancel()
    if how == "close":
        assert isinstance(events, Generator)
        events.close()
    del events
    gc.collect()
    seen.check()
    assert seen.ends() == ["cancelled"] * 2
