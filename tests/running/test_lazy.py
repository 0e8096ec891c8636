"""A pulled run computes nothing before it is asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Chunk,
    Node,
    Run,
)
from tests.driving import PATIENCE, Driver
from tests.running.writers import Write, two_nodes


def test_nothing_is_computed_before_it_is_asked_for(driver: Driver) -> None:
    """Who takes one chunk has made the node yield one."""
    shared: dict[str, Any] = {}
    stream = driver.stream(driver.flow(Write()), shared)
    assert shared == {}
    for count in range(1, 4):
        assert driver.next(stream) == Write.words[count - 1]
        assert shared["log"] == ["prep", *Write.words[:count]]
    assert driver.next(stream) is None
    assert shared["log"][-1] == "closed"


def test_events_are_made_one_by_one(driver: Driver) -> None:
    """Who takes the node's start has run none of it; in a loop, no further than to its stream.

    There no event is a reason to give control away between two pieces of the node's code.
    """
    shared: dict[str, Any] = {}
    run = Run(driver.flow(Write()), shared)
    driver.pull(run, 2)
    assert shared.get("log", []) == ([] if driver.loop is None else ["prep"])
    driver.pull(run, 1)
    assert shared["log"] == ["prep", "a"]
    driver.close(run)


def test_pulling_makes_no_thread_and_no_task(driver: Driver) -> None:
    """A sync stream lives in its caller, an async one in its caller's task."""
    threads = threading.active_count()
    tasks: list[set[Any]] = []
    if driver.loop is None:
        for _ in driver.flow(two_nodes()[0]).run_stream({}):
            assert threading.active_count() == threads
        return

    async def main() -> None:
        async for _ in AsyncFlow(two_nodes()[0]).run_stream_async({}):
            tasks.append(asyncio.all_tasks() - {asyncio.current_task()})

    driver.loop.run_until_complete(main())
    assert tasks == [set(), set(), set()]


@pytest.mark.parametrize("limit", [None, 1, 3])
@pytest.mark.parametrize("form", ["events", "stream"])
def test_a_slow_consumer_slows_parallel_items(form: str, limit: int | None) -> None:
    """Each of the items holds at most one chunk that nobody has taken."""
    ahead: list[int] = []

    class Many(AsyncStreamNode, AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Iterable[int]:
            return range(5)

        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            for index in range(4):
                made[prep_res] = made.get(prep_res, 0) + 1
                yield f"{prep_res}.{index}"

    many = Many(max_concurrency=limit)
    made: dict[int, int] = {}
    taken: dict[int, int] = {}

    def take(text: str) -> None:
        item = int(text[0])
        taken[item] = taken.get(item, 0) + 1
        ahead.append(max(made[each] - taken.get(each, 0) for each in made))

    async def main() -> None:
        if form == "stream":
            async for text in AsyncFlow(many).run_stream_async({}):
                for _ in range(20):
                    await asyncio.sleep(0)
                take(text)
        else:
            async for event in Run(AsyncFlow(many), {}):
                for _ in range(20):
                    await asyncio.sleep(0)
                if isinstance(event, Chunk):
                    take(event.data)

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert sum(taken.values()) == 20
    assert max(ahead) <= 1


def test_what_exec_emits_reaches_the_consumer_when_it_returns(driver: Driver) -> None:
    """Handlers hear it at once; a loop gets it, in order, before the node's end."""
    heard: list[str] = []

    class Emit(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("a")
            heard.append("exec goes on")
            self.emit("b")

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            heard.append(event.data)

    taken = driver.pull(Run(driver.flow(Emit()), {}, observers=[Handler()]))
    assert heard == ["a", "exec goes on", "b"]
    assert [type(event).__name__ for event in taken] == [
        *("FlowStart", "NodeStart", "Chunk", "Chunk", "NodeEnd", "Action", "FlowEnd")
    ]


def test_what_async_code_emits_reaches_the_consumer_while_it_waits() -> None:
    """At its next await, so that a node that waits for an answer can say what it asks."""

    async def main() -> None:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        class Asks(AsyncNode):
            async def exec_async(self, prep_res: Any) -> str:
                self.emit("what now?")
                return await answer

            async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
                return str(exec_res)

        for flow in (AsyncFlow(Asks()), Asks()):
            answer = asyncio.get_running_loop().create_future()
            run = Run(flow, {})
            async for event in run:
                if isinstance(event, Chunk):
                    assert event.data == "what now?"
                    answer.set_result("go on")
            assert run.action == "go on"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
