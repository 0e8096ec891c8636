"""Async handlers."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Chunk,
    Event,
    Flow,
    Node,
    NodeEnd,
    Run,
    signals,
)
from flowevents.testing import check_events
from tests.signals.heard import Counting, Heard, Hum, run_async, wait_async
from tests.signals.tables import left
from tests.stock import Talk


class Slow:
    """An observer whose methods take a turn of the loop, noting when they begin and end."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def on_chunk(self, event: Chunk) -> None:
        self.log.append(f"{event.data} begins")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.log.append(f"{event.data} ends")


@pytest.mark.parametrize("node", [Talk, "async"])
def test_an_async_handler_is_awaited_before_the_next_event(node: Any) -> None:
    """Handlers of one event run in order, plain or async; only then the next event comes."""

    class AsyncTalk(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            yield "a"
            yield "b"

    slow = Slow()

    class Plain:
        def __init__(self, name: str) -> None:
            self.name = name

        def on_chunk(self, event: Chunk) -> None:
            slow.log.append(f"{event.data} {self.name}")

        def on_node_end(self, event: NodeEnd) -> None:
            slow.log.append("node ends")

    made = AsyncTalk() if node == "async" else node()
    heard = Heard()
    observers = [Plain("before"), slow, Plain("after"), heard]
    run_async(wait_async(AsyncFlow(made), observers=observers))
    check_events(heard)
    assert slow.log == [
        *["a before", "a begins", "a ends", "a after"],
        *["b before", "b begins", "b ends", "b after"],
        *["node ends", "node ends"],
    ]


def test_what_plain_code_emits_is_delivered_when_it_returns() -> None:
    """Where an async handler hears it, it and all later events wait, in order."""
    log: list[str] = []

    class Emits(Node):
        def exec(self, prep_res: Any) -> None:
            for data in "xyz":
                self.emit(data)
                log.append(f"emitted {data}")

    class Listener:
        async def on_chunk(self, event: Chunk) -> None:
            await asyncio.sleep(0)
            log.append(f"heard {event.data}")

        def on_node_end(self, event: NodeEnd) -> None:
            log.append("node ends")

    heard = Heard()
    run_async(wait_async(AsyncFlow(Emits()), observers=[Listener(), heard]))
    check_events(heard)
    assert log == [
        *["emitted x", "emitted y", "emitted z", "heard x", "heard y", "heard z"],
        "node ends",
    ]


def test_what_async_code_emits_is_delivered_when_it_awaits() -> None:
    """In order, while the node waits."""
    log: list[str] = []

    class Emits(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            self.emit("x")
            self.emit("y")
            log.append("emitted")
            await asyncio.sleep(0)
            log.append("awaited")

    class Listener:
        async def on_chunk(self, event: Chunk) -> None:
            log.append(f"heard {event.data}")

    run_async(wait_async(AsyncFlow(Emits()), observers=[Listener()]))
    assert log == ["emitted", "heard x", "heard y", "awaited"]


def test_a_plain_handler_in_an_async_run_is_called_at_once() -> None:
    """Where no async one hears the event, nothing waits."""
    log: list[str] = []

    class Emits(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("x")
            log.append("emitted")

    class Listener:
        def on_chunk(self, event: Chunk) -> None:
            log.append("heard")

    run_async(wait_async(AsyncFlow(Emits()), observers=[Listener()]))
    assert log == ["heard", "emitted"]


def test_every_kind_of_async_callable_is_awaited() -> None:
    """A function, a method, an object with an async call, a partial and a shared handler."""
    heard = Heard()

    async def function(event: Event) -> None:
        await asyncio.sleep(0)
        heard(event)

    class Caller:
        async def __call__(self, event: Event) -> None:
            await function(event)

        async def method(self, event: Event) -> None:
            await function(event)

    async def with_number(number: int, event: Event) -> None:
        await function(event)

    for handler in (function, Caller(), Caller().method, functools.partial(with_number, 5)):
        signals.chunk.connect(handler)
    run_async(wait_async(AsyncFlow(Hum())))
    assert heard.data == ["m"] * 4


def test_an_async_handler_hears_parallel_items_one_event_at_a_time() -> None:
    """Delivery is serial in the run, in the order of the numbers."""

    class Parallel(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [0, 1, 2]

        async def exec_async(self, prep_res: Any) -> None:
            for turn in range(3):
                self.emit((prep_res, turn))
                await asyncio.sleep(0)

    busy: list[int] = []
    heard = Heard()

    async def handler(event: Event) -> None:
        assert not busy
        busy.append(event.seq)
        await asyncio.sleep(0)
        busy.pop()
        heard(event)

    run_async(wait_async(AsyncFlow(Parallel()), observers=[handler]))
    check_events(heard)
    assert len(heard.data) == 9


def test_an_async_handler_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As any other; or it fails the run."""

    class Fails:
        async def on_chunk(self, event: Chunk) -> None:
            await asyncio.sleep(0)
            raise ValueError("async")

    heard = Heard()
    run_async(wait_async(AsyncFlow(Talk()), observers=[Fails(), heard]))
    check_events(heard)
    assert [record.name for record in caplog.records] == ["flowevents"] * 2
    heard.clear()
    with pytest.raises(ValueError, match="async"):
        run_async(
            wait_async(AsyncFlow(Talk()), observers=[Fails(), heard], on_handler_error="raise")
        )
    check_events(heard)
    assert heard.data == ["a"]


def test_handlers_of_async_runs_run_on_the_loops_thread() -> None:
    """Also for what a foreign thread emits, which comes in order."""
    threads: set[int] = set()

    class Foreign(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await asyncio.to_thread(self.shout)
            await asyncio.sleep(0)

        def shout(self) -> None:
            for number in range(10):
                self.emit(number)

    heard = Heard()

    def handler(event: Event) -> None:
        threads.add(threading.get_ident())
        heard(event)

    run_async(wait_async(AsyncFlow(Foreign()), observers=[handler]))
    assert threads == {threading.get_ident()}
    assert heard.data == list(range(10))
    check_events(heard)


def test_an_async_observer_of_a_sync_run_is_a_type_error() -> None:
    """It is named before the first node runs, and nothing is left of the others."""
    ran: list[int] = []
    heard = Heard()
    for observer in (Slow(), Slow().on_chunk):
        node = Counting(ran.append)
        with pytest.raises(TypeError, match=r"Slow\.on_chunk"):
            node.run({}, observers=[heard, observer])
        with pytest.raises(TypeError, match=r"Slow\.on_chunk"):
            list(node.run_stream({}, observers=[observer]))
        with pytest.raises(TypeError, match=r"Slow\.on_chunk"):
            list(Run(node, {}, observers=[observer]))
    assert ran == []
    assert heard == []
    assert left() == {}


@dataclasses.dataclass
class Unhashable:
    """Compared by what it holds, and therefore without a hash."""

    log: list[str]

    async def __call__(self, event: Event) -> None:
        self.log.append(type(event).__name__)


def test_a_handler_needs_no_hash(caplog: pytest.LogCaptureFixture) -> None:
    """Equal handlers are two; an async one is awaited, or refused by a sync run."""
    log: list[str] = []
    one, other = Unhashable(log), Unhashable(log)
    signals.chunk.connect(one)
    signals.chunk.connect(other)
    run_async(wait_async(AsyncFlow(Hum())))
    assert log == ["Chunk", "Chunk"]
    signals.chunk.disconnect(other)
    Flow(Talk()).run({})
    assert len(log) == 2
    assert len(caplog.records) == 1


def test_a_shared_async_handler_in_a_sync_run_is_an_error_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is not called; the others are, and the run goes on."""
    slow, heard = Slow(), Heard()
    signals.chunk.connect(slow.on_chunk)
    signals.chunk.connect(heard)
    Flow(Counting()).run({})
    assert heard.data == [0, 1, 2, 3, 4]
    assert slow.log == []
    (record,) = caplog.records
    assert "Slow.on_chunk" in record.getMessage()
    caplog.clear()
    with pytest.raises(TypeError, match=r"Slow\.on_chunk"):
        Flow(Counting()).run({}, on_handler_error="raise")
