"""The forms of `run_stream`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from flowevents import AsyncFlow, Event, Flow, Node, NodeEnd
from flowevents.testing import check_events
from tests.nodes.words import Streams, spell
from tests.stock import Stop
from tests.watching import Way, in_loop


def plan_and_act(streams: Streams) -> Any:
    """A flow that loops over two streaming nodes with a plain one between: plan, act, plan …"""
    rounds = itertools.count(1)

    class Plan(streams.node):  # type: ignore[name-defined]
        pass

    class Act(streams.node):  # type: ignore[name-defined]
        pass

    class Check(Node):
        def exec(self, prep_res: Any) -> Any:
            return "not a chunk"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return "again" if next(rounds) < 2 else "enough"

    plan, act, check = Plan(lambda _: iter("pl")), Act(lambda _: iter("a")), Check()
    plan >> act >> check
    check - "again" >> plan
    return (Flow if streams.name == "sync" else AsyncFlow)(start=plan)


SEEN = [("p", "Plan"), ("l", "Plan"), ("a", "Act")]


def call_back(streams: Streams, node: Any, callback: Any, **options: Any) -> Any:
    """`run_stream` with a callback."""
    if streams.name == "sync":
        return node.run_stream({}, callback=callback, **options)
    return in_loop(lambda: node.run_stream_async({}, callback=callback, **options))


def test_a_node_streams_to_a_callback(streams: Streams) -> None:
    """`node.run_stream(shared, callback=f)` calls `f(chunk, node_name)` and gives the action."""
    seen: list[tuple[Any, str]] = []
    node = streams.node(spell, "ab")
    assert call_back(streams, node, lambda *chunk: seen.append(chunk)) is None
    assert seen == [("a", node.node_name), ("b", node.node_name)]


@pytest.mark.filterwarnings("ignore:Flow ends")
def test_a_flow_streams_to_a_callback(streams: Streams) -> None:
    """Regular and streaming nodes mixed, in a loop."""
    seen: list[tuple[Any, str]] = []
    action = call_back(streams, plan_and_act(streams), lambda *chunk: seen.append(chunk))
    assert action == "enough"
    assert seen == [*SEEN, *SEEN]


@pytest.mark.filterwarnings("ignore:Flow ends")
def test_without_a_callback_the_chunks_are_iterated_over(streams: Streams) -> None:
    """`for chunk in flow.run_stream(shared)`."""
    assert streams.streamed(plan_and_act(streams)) == ["p", "l", "a"] * 2


@pytest.mark.filterwarnings("ignore:Flow ends")
def test_the_action_is_the_generators_return_value() -> None:
    """`action = yield from flow.run_stream(shared)` inside another generator."""

    def outer() -> Generator[Any, None, str]:
        action = yield from plan_and_act(Streams("sync")).run_stream({})
        yield f"ended with {action}"
        return "done"

    assert list(outer()) == [*["p", "l", "a"] * 2, "ended with enough"]


@pytest.mark.filterwarnings("ignore:Flow ends")
def test_the_callback_none_runs_to_the_end(streams: Streams) -> None:
    """It gives the action, not a stream."""
    assert call_back(streams, plan_and_act(streams), None) == "enough"


def test_only_output_chunks_are_streamed(way: Way) -> None:
    """What is emitted as another kind is for handlers; any node's `emit` of output is streamed."""

    class Emits(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("shown")
            self.emit("not shown", kind="log")
            self.progress(1, 2)

    assert way.streamed(Emits()) == ["shown"]


def test_what_a_callback_raises_cancels_the_run_and_is_raised(streams: Streams) -> None:
    """No retry and no `except Exception` of the node sees it, and its generator is closed."""
    closed = []
    events: list[Event] = []

    def script(prep_res: Any) -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        except Exception:
            closed.append("caught")
        finally:
            closed.append("closed")

    def callback(chunk: str, node: str) -> None:
        raise Stop(chunk)

    node = streams.node(script, max_retries=3)
    with pytest.raises(Stop, match="a"):
        call_back(streams, node, callback, observers=[events.append])
    check_events(events)
    assert [event.status for event in events if isinstance(event, NodeEnd)] == ["cancelled"]
    assert closed == ["closed"]


def test_an_async_callback_gets_what_a_node_emitted_before_it_failed() -> None:
    """It waits for its turn, which comes although nobody hears of the failure."""
    seen: list[Any] = []

    class Fails(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("before")
            raise Stop("failed")

    async def callback(chunk: Any, node: str) -> None:
        await asyncio.sleep(0)
        seen.append(chunk)

    with pytest.raises(Stop, match="failed"):
        call_back(Streams("async"), Fails(), callback)
    assert seen == ["before"]
