"""One flow or one node in many tasks."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    Chunk,
    FlowStart,
    NodeStart,
    Run,
    observe,
)
from flowevents.testing import check_events
from tests.concurrency.flows import (
    ASYNC_FORMS,
    QUICK,
    RUNS,
    AskAsync,
    EachAtOnce,
    SayAsync,
    run_async,
    run_flow,
    shared_async_flow,
    sync_flow,
)
from tests.driving import PATIENCE, Seen

TASKS = 200 if QUICK else 1_000


# -- tasks ----------------------------------------------------------------------------------------


def test_one_flow_in_many_tasks() -> None:
    """A thousand runs in one loop, in every form: no event crosses, nothing is left."""
    flow = shared_async_flow(range(TASKS))

    async def main() -> None:
        forms = [ASYNC_FORMS[number % len(ASYNC_FORMS)] for number in range(TASKS)]
        await asyncio.gather(*(form(flow, str(who)) for who, form in enumerate(forms)))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize("make", [SayAsync, AskAsync, EachAtOnce], ids=lambda make: make.__name__)
def test_one_node_in_many_tasks(make: Callable[[], Any]) -> None:
    """The object itself runs, in all of them."""
    node = make()

    async def main() -> None:
        await asyncio.gather(
            *(form(node, str(number)) for number in range(TASKS // 4) for form in ASYNC_FORMS)
        )

    asyncio.run(main())


def test_handlers_come_and_go_among_tasks() -> None:
    """In the same loop, and from other threads."""
    flow = shared_async_flow(range(TASKS // 10))
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            with observe(Seen()), observe(Seen(), sender=flow):
                pass

    async def churn_here() -> None:
        while not stop.is_set():
            with observe(Seen(), sender=SayAsync):
                await asyncio.sleep(0)

    async def main() -> None:
        here = asyncio.create_task(churn_here())
        await asyncio.gather(*(run_async(flow, str(number)) for number in range(TASKS // 10)))
        stop.set()
        await here

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        asyncio.run(main())
    finally:
        stop.set()
        thread.join(PATIENCE)


def test_tasks_are_cancelled_among_others() -> None:
    """Every other run is stopped midway; those next to it never know."""
    flow = shared_async_flow(range(TASKS // 4))

    async def cancelled(number: int) -> None:
        seen = Seen()
        run = Run(flow, {"who": str(number)}, observers=[seen])
        task = asyncio.create_task(run.wait_async())
        for _ in range(number % 20 + 1):
            await asyncio.sleep(0)
        run.cancel() if number % 4 else task.cancel()
        await asyncio.wait([task])
        ended = {"done": "ok", "cancelled": "cancelled"}[run.status]
        assert task.cancelled() or task.exception() is run.error
        check_events(seen.events)
        assert set(seen.ends()[-1:]) <= {ended}

    async def main() -> None:
        await asyncio.gather(
            *(
                cancelled(number) if number % 2 == 0 else run_async(flow, str(number))
                for number in range(TASKS // 4)
            )
        )

    asyncio.run(main())


def test_threads_emit_into_tasks() -> None:
    """From a foreign thread, on the loop, in the run and the item that it belongs to."""

    class Delegates(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return [(shared["who"], item) for item in range(3)]

        async def exec_async(self, item: Any) -> None:
            await asyncio.get_running_loop().run_in_executor(None, self.work, item)

        def work(self, item: Any) -> None:
            self.emit(item)

    flow = AsyncFlow(Delegates())

    class InThreads(Delegates):
        async def exec_async(self, item: Any) -> None:
            await asyncio.to_thread(self.work, item)

    for flow in (AsyncFlow(Delegates()), AsyncFlow(InThreads())):

        async def main(flow: Any = flow) -> list[Seen]:
            seen = [Seen() for _ in range(20)]
            await asyncio.gather(
                *(flow.run_async({"who": who}, observers=[seen[who]]) for who in range(20))
            )
            return seen

        for who, seen in enumerate(asyncio.run(main())):
            check_events(seen.events)
            assert {event.data[0] for event in seen.of(Chunk)} == {who}
            assert len(seen.of(Chunk)) == 3
            if isinstance(flow.start_node, InThreads):  # to_thread takes the context along
                assert {event.data[1] for event in seen.of(Chunk)} == {0, 1, 2}
                assert all(event.items == (event.data[1],) for event in seen.of(Chunk))


def test_sync_flows_in_threads_of_an_async_one() -> None:
    """`asyncio.to_thread(flow.run, …)` inside a node is another run, though its context is that."""
    inner = sync_flow()

    class Outer(AsyncNode):
        async def prep_async(self, shared: Any) -> Any:
            return shared["who"]

        async def exec_async(self, who: Any) -> None:
            self.emit(who)
            await asyncio.to_thread(run_flow, inner, f"in {who}")
            run_flow(inner, f"inside {who}")
            self.emit(who)

    flow = AsyncFlow(Outer())

    async def main() -> None:
        await asyncio.gather(*(run_async(flow, str(who)) for who in range(20)))

    asyncio.run(main())


# -- nothing is left ------------------------------------------------------------------------------


def test_nothing_is_kept_of_a_thousand_runs() -> None:
    """No receiver, no run, no event: only what the caller keeps."""
    flow = sync_flow()
    run_flow(flow, "warm up")
    gc.collect()
    before = live()
    for number in range(RUNS * 20):
        run_flow(flow, number)
        Run(flow, {"who": 1}, observers=[Seen()])
        unfinished = Run(flow, {"who": number}, observers=[Seen()])
        for event in unfinished:
            if isinstance(event, Chunk):
                break
        del unfinished, event
    gc.collect()
    assert live() == before


def live() -> dict[str, int]:
    """How many runs, events and observers there are."""
    kinds = (Run, Seen, FlowStart, NodeStart, Chunk)
    found = [type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds)]
    return {kind.__name__: found.count(kind.__name__) for kind in kinds}
