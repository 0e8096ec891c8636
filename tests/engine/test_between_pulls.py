"""What happens between two pulls of a run."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncStreamNode,
    Chunk,
    Event,
    Flow,
    Paused,
    Run,
    StreamNode,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, Driver, Seen, driving
from tests.engine.nodes import Ask, EachAtOnce, Say, everything


def test_the_consumers_code_belongs_to_no_run(driver: Driver) -> None:
    """What a node object emits in the body of a loop is nobody's, also while its run stands."""
    other, seen = Ask(), Seen()

    def body(event: Event) -> None:
        other.emit("from the body")
        other.progress(1, 2)

    for node in (everything(driver), Say(), *([Ask(), EachAtOnce()] if driver.loop else [])):
        seen = Seen()
        driver.each(Run(node, {}, observers=[seen]), body)
        assert "from the body" not in {event.data for event in seen.of(Chunk)}
        seen.check()


def test_the_consumers_context_is_its_own() -> None:
    """A loop's body sets and finds its context variables as if there were no engine."""
    mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine", default=0)

    async def main() -> None:
        before = contextvars.copy_context()
        names = {var.name for var in before}
        number = 0
        async for _ in Run(AsyncFlow(EachAtOnce()), {}):
            assert mine.get() == number
            number += 1
            mine.set(number)
            found = contextvars.copy_context()
            assert {var.name for var in found if found[var] is not None} <= names | {"mine"}
        assert mine.get() == number

    asyncio.run(main())


@pytest.mark.parametrize("events", [True, False])
@pytest.mark.parametrize("a_task_each", [True, False])
def test_a_node_that_is_pulled_keeps_its_context(a_task_each: bool, events: bool) -> None:
    """What it sets is not seen by who pulls it, and is there when it goes on."""
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="unset")

    class Sets(AsyncStreamNode):
        async def prep_async(self, shared: Any) -> None:
            mine.set(f"{mine.get()}, prepared")

        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            for number in range(3):
                token = mine.set(f"{mine.get()}, {number}")
                await asyncio.sleep(0)
                yield mine.get()
                mine.reset(token)

    async def main() -> None:
        mine.set("the consumer's")
        flow = AsyncFlow(Sets())
        pulled: Any = aiter(Run(flow, {})) if events else flow.run_stream_async({})
        seen: list[Any] = []
        while True:
            step = anext(pulled)
            try:
                seen.append(await (asyncio.create_task(step) if a_task_each else step))
            except StopAsyncIteration:
                break
            assert mine.get() == "the consumer's"
        chunks = [each.data for each in seen if isinstance(each, Chunk)] if events else seen
        assert chunks == [f"the consumer's, prepared, {number}" for number in range(3)]

    asyncio.run(main())


@pytest.mark.parametrize("pulled_first", [True, False])
def test_a_node_keeps_its_context_where_it_is_driven_in_two_ways(pulled_first: bool) -> None:
    """It sets a variable, asks, and takes it back when it was answered."""
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="unset")

    class Asks(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            token = mine.set("set")
            assert await self.ask("?") == mine.get() == "set"
            mine.reset(token)

    async def drive(run: Run, pulled: bool) -> None:
        if pulled:
            async for _ in run:
                pass
        else:
            with suppress(Paused):
                await run.wait_async()

    async def main() -> None:
        run = Run(AsyncFlow(Asks()), {})
        await drive(run, pulled_first)
        run.reply("set")
        await drive(run, not pulled_first)
        assert run.status == "done"

    asyncio.run(main())


def test_runs_take_turns_in_one_thread() -> None:
    """Two that are pulled by turns, and one inside the other: each emits into its own."""
    nodes = [Say(), Say(), Say()]
    seen = [Seen() for _ in nodes]
    for number, node in enumerate(nodes):
        node.words = tuple(f"{number}{letter}" for letter in "abc")
    flow = Flow(nodes[2])
    streams = [
        nodes[0].run_stream({}, observers=[seen[0]]),
        nodes[1].run_stream({}, observers=[seen[1]]),
        flow.run_stream({}, observers=[seen[2]]),
    ]
    for taken in zip(*streams, strict=True):
        assert len(set(taken)) == 3
    for number, each in enumerate(seen):
        each.check()
        assert {str(event.data)[-2] for event in each.of(Chunk)} == {str(number)}
        assert len(each.of(Chunk)) == 6


@pytest.mark.parametrize("alone", [True, False])
def test_a_node_streams_another_run(alone: bool) -> None:
    """While the inner one stands, what the outer node emits is its own."""
    inner, outer = Seen(), Seen()

    class Relay(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            self.emit("outer", kind="note")
            for word in Flow(Say()).run_stream({}, observers=[inner]):
                self.emit("outer", kind="note")
                yield f"outer {word}"
            self.emit("outer", kind="note")

    relay = Relay() if alone else Flow(Relay())
    assert list(relay.run_stream({}, observers=[outer])) == ["outer a", "outer b"]
    inner.check()
    outer.check()
    assert [event.data for event in inner.of(Chunk)] == ["note a", "a", "note b", "b"]
    assert {event.data.split()[0] for event in outer.of(Chunk)} == {"outer"}
    assert len(outer.of(Chunk)) == 6


def test_an_async_node_streams_another_run() -> None:
    """So it is with async runs, in the same task and in others."""
    inner, outer = Seen(), Seen()

    class Relay(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            async for item in EachAtOnce().run_stream_async({}, observers=[inner]):
                self.emit("outer", kind="note")
                yield f"outer {item}"

    with driving("async") as driver:
        assert sorted(driver.rest(driver.stream(Relay(), {}, observers=[outer]))) == [
            *("outer 1", "outer 2", "outer 3")
        ]
    inner.check()
    outer.check()
    assert sorted(event.data for event in inner.of(Chunk)) == [1, 2, 3]
    assert {event.data.split()[0] for event in outer.of(Chunk)} == {"outer"}


def test_a_handler_runs_another_flow(driver: Driver) -> None:
    """In the midst of the delivery of an event; neither hears the other's."""
    inner, outer = Seen(), Seen()

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            Flow(Say()).run({}, observers=[inner])

    driver.run(everything(driver), {}, observers=[Handler(), outer])
    outer.check()
    runs = {event.run_id for event in inner.events}
    assert len(runs) == len(outer.of(Chunk))
    for run_id in runs:
        check_events([event for event in inner.events if event.run_id == run_id])
    assert not runs & {event.run_id for event in outer.events}


def test_every_event_is_pulled_by_another_task() -> None:
    """A run is bound to its loop, not to a task: each next one goes on where the last one stood."""

    class Limits(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            self.emit("before")
            await asyncio.wait_for(asyncio.sleep(0), PATIENCE)
            self.emit("after")

    async def main(node: Any) -> list[Event]:
        run = Run(node, {})
        taken: list[Event] = []

        async def take() -> None:
            async for event in run:
                taken.append(event)
                break

        while run.status != "done":
            await asyncio.create_task(take())
        return taken

    at_once = EachAtOnce(max_concurrency=2)
    at_once >> Limits() >> Say()
    for node in (AsyncFlow(at_once), Limits(), AsyncFlow(AsyncFlow(Ask()))):
        check_events(asyncio.run(main(node)))
