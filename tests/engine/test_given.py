"""What the engine is given, and lets go of."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import AsyncFlow, Chunk, Event, Flow, FlowStart, Node, NodeStart, Run, StreamNode
from flowevents.testing import check_events
from tests.driving import PATIENCE, Driver, Seen, in_thread
from tests.engine.nodes import Say


def test_an_engine_is_let_go_of_at_the_end(driver: Driver) -> None:
    """Of a run that is kept, only what can be asked of it is left, not its flow's copies."""
    made: list[Any] = []

    class Heavy(Node):
        def exec(self, prep_res: Any) -> None:
            made.append(weakref.ref(self))

    run = Run(driver.flow(Heavy()), {})
    driver.wait(run)
    gc.collect()
    assert made[0]() is None
    assert run.status == "done"


def test_a_graph_may_change_while_it_runs(driver: Driver) -> None:
    """As in PocketFlow: a successor that a node connects meanwhile is gone to, under its name."""

    class Late(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            first.successors["default"] = Say()

    class First(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["visits"] = shared.get("visits", 0) + 1

    first = First()
    first >> Late() >> first
    seen = Seen()
    driver.run(driver.flow(first), {}, observers=[seen])
    assert [event.node for event in seen.of(NodeStart)] == ["First", "Late", "First", "Say"]
    seen.check()


def test_shared_may_be_anything(driver: Driver) -> None:
    """The engine never looks into it."""
    for shared in (None, 5, [], object()):
        assert driver.run(driver.flow(Say()), shared) is None


def test_nodes_may_be_equal_unhashable_and_false(driver: Driver) -> None:
    """They are told apart by what they are, not by what they say they equal."""

    class Odd(Say):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

        def __bool__(self) -> bool:
            return False

    first = Odd()
    first >> Odd() >> driver.flow(Odd())
    seen = Seen()
    driver.run(driver.flow(first), {}, observers=[seen])
    assert [event.node.rpartition("/")[2] for event in seen.of(NodeStart)] == [
        *("Odd", "Odd#2", "Odd")
    ]
    seen.check()


@pytest.mark.parametrize("odd", [None, 0, "", [], StopIteration("value"), ...], ids=repr)
def test_any_value_may_be_yielded_and_returned(driver: Driver, odd: Any) -> None:
    """None of them means anything to the engine."""

    class Odd(StreamNode):
        def prep(self, shared: Any) -> Any:
            return odd

        def exec_stream(self, prep_res: Any) -> Iterator[Any]:
            assert prep_res is odd
            yield odd
            yield odd

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            assert [*exec_res] == [odd, odd]

    chunks = [e.data for e in driver.pull(Run(driver.flow(Odd()), {})) if isinstance(e, Chunk)]
    assert chunks == [odd, odd]
    assert driver.rest(driver.stream(driver.flow(Odd()), {})) == [odd, odd]


def test_a_future_may_be_yielded_by_a_plain_generator() -> None:
    """In an async run too it is a chunk, which nobody awaits."""

    async def main() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        class Odd(StreamNode):
            def exec_stream(self, prep_res: Any) -> Iterator[Any]:
                yield future

        for node in (Odd(), AsyncFlow(Odd())):
            assert [chunk async for chunk in node.run_stream_async({})] == [future]
            chunks = [e.data async for e in Run(node, {}) if isinstance(e, Chunk)]
            assert chunks == [future]

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_events_may_be_yielded_as_chunks(driver: Driver) -> None:
    """An event of another run is data like any other."""
    other = Run(Flow(Node()), {})

    class Relay(StreamNode):
        def exec_stream(self, prep_res: Any) -> Any:
            return other

    relay = driver.flow(Relay())
    taken = driver.pull(Run(relay, {}))
    check_events(taken)
    assert next(type(e.data) for e in taken if isinstance(e, Chunk)) is FlowStart
    other = Run(Flow(Node()), {})
    assert isinstance(driver.rest(driver.stream(relay, {}))[0], FlowStart)


def test_a_run_in_a_thread_of_a_loop() -> None:
    """A sync run in a worker thread, awaited by a loop, is a sync run."""

    async def main() -> list[Event]:
        return await asyncio.to_thread(lambda: list(Run(Flow(Say()), {})))

    check_events(asyncio.run(main()))
    check_events(in_thread(lambda: list(Run(Flow(Say()), {}))))
