"""Events sent by hand."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from flowevents import Chunk, ItemStart, Run, observe, signals
from flowevents.testing import capture_events
from tests.signals.heard import Appender, Drive, Heard, chunk, graph, run_async
from tests.stock import Talk


def test_an_event_sent_by_hand_reaches_those_whom_it_names() -> None:
    """Handlers of everything, of its path and of the run with its id; never those of objects."""
    flow, senders = graph()
    run = Run(flow, {}, id="mine")
    heard = {name: Heard() for name in (*senders, "run", "other run")}
    for name, (sender, _) in senders.items():
        signals.chunk.connect(heard[name], sender=sender)
    other = Run(flow, {})
    signals.chunk.connect(heard["run"], sender=run)
    signals.chunk.connect(heard["other run"], sender=other)
    signals.chunk.send(chunk("x", "Talk", "mine"))
    assert {name for name, handler in heard.items() if handler} == {"everything", "path", "run"}
    signals.chunk.send(chunk("y", "Flow/Shout"))
    assert heard["inner path"].data == ["y"]
    assert heard["everything"].data == ["x", "y"]
    assert heard["run"].data == ["x"]
    run.cancel()
    other.cancel()


def test_send_gives_the_handlers_and_what_they_returned() -> None:
    """In the order of their connection, each once; nobody is an empty list."""
    assert signals.chunk.send(chunk("x")) == []

    def length(event: Chunk) -> int:
        return len(event.data)

    def upper(event: Chunk) -> str:
        return str(event.data).upper()

    signals.chunk.connect(upper, sender="Talk")
    signals.chunk.connect(length)
    signals.chunk.connect(upper)
    assert signals.chunk.send(chunk("x")) == [(upper, "X"), (length, 1)]


def test_a_replay_of_a_run_reaches_handlers_by_path(drive: Drive) -> None:
    """Recorded events, sent again, are heard as they were."""
    with capture_events() as recorded:
        drive(graph()[0])
    for path in ("", "Talk", "Flow/Shout"):
        heard = Heard()
        with observe(heard, sender=path):
            for event in recorded:
                getattr(signals, type(event).signal).send(event)
        assert heard == [event for event in recorded if event.node == path]


@pytest.mark.parametrize(
    "event",
    [None, "x", Talk(), ItemStart(run_id="r", seq=1, time=0.0, span=1, node="", parent=0)],
    ids=repr,
)
def test_a_signal_sends_events_of_its_type(event: Any) -> None:
    """Another one is a `TypeError`, where somebody would hear it."""
    signals.chunk.connect(Heard())
    with pytest.raises(TypeError, match="Signal 'chunk' sends Chunk events, not "):
        signals.chunk.send(event)


def test_a_handler_that_fails_does_not_keep_the_event_from_others() -> None:
    """All are called; the first exception is raised then."""
    heard = Heard()

    def fail(event: Chunk) -> None:
        raise ValueError("first")

    def fail_too(event: Chunk) -> None:
        raise KeyError("second")

    for handler in (fail, fail_too, heard):
        signals.chunk.connect(handler)
    with pytest.raises(ValueError, match="first"):
        signals.chunk.send(chunk("x"))
    with pytest.raises(ValueError, match="first"):
        run_async(send_async(chunk("y")))
    assert heard.data == ["x", "y"]


async def send_async(event: Chunk) -> list[tuple[Any, object]]:
    """Send it by hand in this loop."""
    return await signals.chunk.send_async(event)


def test_an_async_handler_is_awaited_by_send_async() -> None:
    """One after the other, in order, with what they return; plain `send` refuses it first."""
    calls: list[str] = []

    async def slow(event: Chunk) -> str:
        calls.append("slow begins")
        await asyncio.sleep(0)
        calls.append("slow ends")
        return "slow"

    def plain(event: Chunk) -> str:
        calls.append("plain")
        return "plain"

    signals.chunk.connect(plain, sender="Hum")
    signals.chunk.connect(slow)
    signals.chunk.connect(plain)
    assert run_async(send_async(chunk("x"))) == [(slow, "slow"), (plain, "plain")]
    assert calls == ["slow begins", "slow ends", "plain"]
    with pytest.raises(RuntimeError, match=r"to the async handler .*slow.*; use send_async"):
        signals.chunk.send(chunk("x"))
    assert len(calls) == 3


def test_a_sent_event_is_heard_by_whom_is_connected_then() -> None:
    """Connections made and undone between two sends count, whatever was looked up before."""
    heard, by_path = Heard(), Heard()
    data: list[Any] = []
    weak = Appender(data)
    signals.chunk.connect(heard)
    signals.chunk.send(chunk(1))
    signals.chunk.connect(by_path, sender="Talk")
    signals.chunk.send(chunk(2))
    signals.chunk.disconnect(by_path)
    signals.chunk.connect(weak, weak=True)
    signals.chunk.send(chunk(3))
    signals.chunk.disconnect(heard)
    del weak
    gc.collect()
    assert signals.chunk.send(chunk(4)) == []
    assert (heard.data, by_path.data, data) == ([1, 2, 3], [2], [3])
