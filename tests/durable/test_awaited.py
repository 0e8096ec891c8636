"""Stores over a network, which async runs await: a server that is frozen, and one that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowevents import (
    Answer,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    Event,
    Interrupt,
    JournalError,
    NodeEnd,
    RedisJournal,
    Run,
    RunCancelled,
)
from flowevents.testing import check_events
from tests.durable.lost import AwaitedJournal
from tests.journals.server import Server, redis_server

TURNS = 50
"""How many turns the loop makes while the server is frozen."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own."""
    with redis_server(tmp_path) as server:
        yield server


class Impatient(RedisJournal):
    """Does not wait for a server for long."""

    patience = 0.05


class Node(AsyncNode):
    """Notes that it runs, and does something at its end."""

    def __init__(self, name: str, at_end: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.node_name = name
        self.at_end = at_end

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["ran"].append(self.node_name)
        self.at_end()


class Items(AsyncParallelBatchNode):
    """Items that await, emit and ask."""

    async def prep_async(self, shared: Any) -> Any:
        return range(5)

    async def exec_async(self, item: int) -> Any:
        self.emit(f"a{item}")
        await asyncio.sleep(0)
        self.emit(f"b{item}")
        return await self.ask("Go on?")

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["answers"] = exec_res


def two_nodes(at_end: Callable[[], object] = lambda: None) -> AsyncFlow:
    """A flow of two nodes; at the end of the first something is done."""
    first = Node("First", at_end)
    first >> Node("Second")
    return AsyncFlow(start=first)


async def begin(
    server: Server, journal: RedisJournal, drive: Callable[[Run], Any], *observers: Any
) -> tuple[Run, asyncio.Task[Any]]:
    """Drive a run of two nodes until the server is frozen, with which the first one ends."""
    frozen = asyncio.Event()

    def freeze() -> None:
        server.freeze()
        frozen.set()

    run = Run(two_nodes(freeze), {"ran": []}, journal=journal, id="run", observers=observers)
    driving = asyncio.create_task(drive(run))
    await frozen.wait()
    return run, driving


async def turns_while_frozen(server: Server) -> None:
    """Let the loop make turns, then have the server answer again."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
    server.thaw()


def test_the_loop_goes_on_while_a_store_is_awaited(server: Server) -> None:
    """The next step has not begun, and nobody has heard what is not stored."""
    heard: list[Event] = []

    async def main(journal: RedisJournal) -> Run:
        run, driving = await begin(server, journal, Run.wait_async, heard.append)
        # If a store blocked the loop nobody would have the server answer again.
        await turns_while_frozen(server)
        assert run.shared["ran"] == ["First"]
        assert not any(isinstance(event, NodeEnd) for event in heard)
        await driving
        return run

    with RedisJournal(server.url) as journal:
        run = asyncio.run(main(journal))
        assert run.shared["ran"] == ["First", "Second"]
        assert list(journal.read("run")) == heard
    check_events(heard)


def test_the_items_of_a_parallel_batch_share_commits(server: Server) -> None:
    """Each event is stored once and in order, whichever item's it is."""
    heard: list[Event] = []

    def answer(event: Event) -> Answer[str] | None:
        heard.append(event)
        return Answer(f"yes {event.items[0]}") if isinstance(event, Interrupt) else None

    shared: dict[str, Any] = {}
    with RedisJournal(server.url) as journal:
        run = Run(AsyncFlow(Items()), shared, journal=journal, id="run", observers=[answer])
        asyncio.run(run.wait_async())
        assert list(journal.read("run")) == heard
    assert shared["answers"] == [f"yes {item}" for item in range(5)]
    check_events(heard)


class Rounds(AsyncNode):
    """One of the steps of a pass, which takes several."""

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        own = self.params["pass"]
        shared["steps"].append(own)
        return "on" if shared["steps"].count(own) < 5 else "done"


class Passes(AsyncParallelBatchFlow):
    """Two passes at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        return [{"pass": 0}, {"pass": 1}]


def test_parallel_passes_take_turns() -> None:
    """None stands behind another one that goes on: each waits for its own stores."""
    step = Rounds()
    step.next(step, "on").next(None, "done")
    shared: dict[str, Any] = {"steps": []}
    with AwaitedJournal() as journal:
        asyncio.run(Run(Passes(start=step), shared, journal=journal).wait_async())
    steps = shared["steps"]
    assert sorted(steps) == [0] * 5 + [1] * 5
    assert abs(steps[:6].count(0) - steps[:6].count(1)) <= 2


async def pull(run: Run) -> None:
    """Drive a run by iterating over it."""
    async for _ in run:
        pass


@pytest.mark.parametrize("drive", [Run.wait_async, pull])
def test_a_cancel_while_a_store_is_awaited(server: Server, drive: Callable[[Run], Any]) -> None:
    """Is stored after it, and the next step does not begin."""

    async def main(journal: RedisJournal) -> Run:
        run, driving = await begin(server, journal, drive)
        run.cancel()
        await turns_while_frozen(server)
        with pytest.raises(RunCancelled):
            await driving
        return run

    with RedisJournal(server.url) as journal:
        assert asyncio.run(main(journal)).shared["ran"] == ["First"]
        (summary,) = journal.runs()
        assert summary.status == "cancelled"
        check_events(journal.read("run"))


async def cancel_the_task(server: Server, driving: asyncio.Task[Any]) -> None:
    """Cancel the task that drives a run."""
    driving.cancel()
    await turns_while_frozen(server)
    with pytest.raises(asyncio.CancelledError):
        await driving


async def end_the_loop(server: Server, driving: asyncio.Task[Any]) -> None:
    """Leave the task to the end of the loop."""
    server.thaw()


@pytest.mark.parametrize("leave", [cancel_the_task, end_the_loop])
def test_who_leaves_while_a_store_is_awaited(
    server: Server, leave: Callable[[Server, asyncio.Task[Any]], Any]
) -> None:
    """Lets the run go, after the step that had ended: who resumes it goes on with the next."""

    async def main(journal: RedisJournal) -> None:
        _, driving = await begin(server, journal, Run.wait_async)
        await leave(server, driving)

    with RedisJournal(server.url) as journal:
        asyncio.run(main(journal))
        assert journal.due() == ["run"]
        run = Run.resume(two_nodes(), journal, "run")
        asyncio.run(run.wait_async())
        assert run.shared == {"ran": ["First", "Second"]}
        check_events(journal.read("run"))


def test_a_server_that_is_gone_while_a_store_is_awaited(server: Server) -> None:
    """Stops the run: what was not stored is not heard, but for the ends of what had begun."""
    heard: list[Event] = []
    with Impatient(server.url) as journal:
        run = Run(
            two_nodes(server.kill), {"ran": []}, journal=journal, id="run", observers=[heard.append]
        )
        with pytest.raises(JournalError):
            asyncio.run(run.wait_async())
        server.start()
        stored = list(journal.read("run"))
    assert run.status == "cancelled"
    assert run.shared["ran"] == ["First"]
    assert [type(event).__name__ for event in stored] == ["FlowStart", "NodeStart"]
    assert heard[: len(stored)] == stored
    assert [(type(event).__name__, getattr(event, "status", "")) for event in heard[2:]] == [
        ("NodeEnd", "cancelled"),
        ("FlowEnd", "cancelled"),
    ]
