"""Flows that say who they run for, and ways to run them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from flowevents import (
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    Node,
    Run,
    StreamNode,
)
from flowevents.testing import check_events
from tests.driving import Seen

QUICK = os.environ.get("FLOWEVENTS_HYPOTHESIS_PROFILE") == "quick"

RUNS = 4 if QUICK else 12


class Say(StreamNode):
    """Yields and emits who it runs for."""

    def prep(self, shared: Any) -> Any:
        return shared["who"]

    def exec_stream(self, who: Any) -> Iterator[Any]:
        for _ in range(2):
            self.emit(who, kind="note")
            yield who

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        assert exec_res == [shared["who"]] * 2
        return shared["who"]


class Ask(Node):
    """Emits from `exec`, and keeps what it was asked on the object that runs."""

    def prep(self, shared: Any) -> Any:
        self.who = shared["who"]
        return shared["who"]

    def exec(self, who: Any) -> Any:
        self.emit(who)
        self.progress(1, 2, str(who))
        return who


class Each(BatchNode):
    def prep(self, shared: Any) -> Any:
        return [shared["who"]] * 2

    def exec(self, who: Any) -> Any:
        self.emit(who)
        return who


class Twice(BatchFlow):
    def prep(self, shared: Any) -> Any:
        return [{"who": shared["who"]}] * 2


class SayAsync(AsyncStreamNode):
    async def prep_async(self, shared: Any) -> Any:
        return shared["who"]

    async def exec_stream_async(self, who: Any) -> AsyncIterator[Any]:
        for _ in range(2):
            await asyncio.sleep(0)
            self.emit(who, kind="note")
            yield who


class AskAsync(AsyncNode):
    async def prep_async(self, shared: Any) -> Any:
        return shared["who"]

    async def exec_async(self, who: Any) -> None:
        await asyncio.sleep(0)
        self.emit(who)
        await asyncio.sleep(0)
        self.emit(who)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return shared["who"]


class EachAsync(AsyncBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return [shared["who"]] * 2

    async def exec_async(self, who: Any) -> None:
        await asyncio.sleep(0)
        self.emit(who)


class EachAtOnce(EachAsync, AsyncParallelBatchNode):
    pass


class TwiceAtOnce(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return [{"who": shared["who"]}] * 2


def sync_flow() -> Any:
    """Nested, with batches, streams and emits."""
    ask, twice = Ask(), Twice(Say())
    ask >> Each() >> twice >> Flow(Say())
    return Flow(ask)


def shared_async_flow(whom: Any) -> Any:
    """The same, with items at the same time; it goes on for all of these."""
    ask, at_once, twice = AskAsync(), EachAtOnce(max_concurrency=2), TwiceAtOnce(SayAsync())
    for who in whom:
        ask.next(at_once, str(who))
    at_once >> EachAsync() >> twice >> AsyncFlow(Say())
    return AsyncFlow(ask)


def check(events: list[Event], who: Any, run_id: str | None = None) -> None:
    """They are those of one run, all of them, and speak of nobody else."""
    check_events(events)
    assert isinstance(events[-1], FlowEnd)
    assert {event.run_id for event in events} == {run_id or events[0].run_id}
    assert {event.data for event in events if isinstance(event, Chunk)} == {who}


def run_flow(node: Any, who: Any) -> None:
    """`run` with an observer of its own."""
    seen = Seen()
    node.run({"who": who}, observers=[seen])
    check(seen.events, who)


async def run_async(flow: Any, who: str) -> None:
    """`run_async` with an observer of its own."""
    seen = Seen()
    await flow.run_async({"who": who}, observers=[seen])
    check(seen.events, who)


async def run_with_an_async_observer(flow: Any, who: str) -> None:
    """With one that is awaited."""
    events: list[Event] = []

    async def observer(event: Event) -> None:
        await asyncio.sleep(0)
        events.append(event)

    await flow.run_async({"who": who}, observers=[observer])
    check(events, who)


async def pull_async(flow: Any, who: str) -> None:
    """Every event, pulled."""
    check([event async for event in Run(flow, {"who": who}, id=who)], who, who)


async def stream_async(flow: Any, who: str) -> None:
    """Its output."""
    assert {chunk async for chunk in flow.run_stream_async({"who": who})} == {who}


ASYNC_FORMS = (run_async, run_with_an_async_observer, pull_async, stream_async)
