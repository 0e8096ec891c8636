"""Handlers that fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import (
    Chunk,
    Event,
    Flow,
    FlowEnd,
    Node,
    NodeEnd,
    Run,
    RunCancelled,
    StreamNode,
    signals,
)
from flowevents.events import EVENT_TYPES
from flowevents.signals import EventSignal
from flowevents.testing import ManualClock, capture_events, check_events
from tests.signals.heard import Counting, Drive, Heard, everything
from tests.stock import Talk


def failing(event: Event) -> None:
    """A handler that fails."""
    raise ValueError(f"on {type(event).__name__}")


def test_a_handler_that_fails_is_logged(drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback, by name, on the logger `flowevents`; run and other handlers go on."""
    heard = Heard()
    signals.chunk.connect(failing)
    with capture_events() as caught:
        signals.chunk.connect(heard)
        drive(Flow(Talk()))
    check_events(caught)
    assert heard.data == ["a", "b"]
    assert isinstance(caught[-1], FlowEnd)
    assert caught[-1].status == "ok"
    records = [record for record in caplog.records if record.name == "flowevents"]
    assert [record.levelno for record in records] == [logging.ERROR] * 2
    for record in records:
        assert f"{__name__}.failing" in record.getMessage()
        assert "Chunk" in record.getMessage()
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ValueError)
        assert record.exc_info[2] is not None


@pytest.mark.parametrize(
    "kind",
    [
        each
        for each in EVENT_TYPES
        if each.signal not in ("interrupt", "reply", "retry", "progress")
    ],
)
def test_a_handler_that_fails_on_any_event_breaks_nothing(
    drive: Drive, kind: type[Event], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the type, the stream is whole and the run done."""
    signal: EventSignal[Any] = getattr(signals, kind.signal)
    signal.connect(failing)
    with capture_events() as caught:
        drive(everything())
    check_events(caught)
    assert len(caplog.records) == sum(type(event) is kind for event in caught) > 0


@pytest.mark.parametrize(
    "kind",
    [
        each
        for each in EVENT_TYPES
        if each.signal not in ("interrupt", "reply", "retry", "progress")
    ],
)
def test_a_handlers_error_can_fail_the_run(drive: Drive, kind: type[Event]) -> None:
    """With `on_handler_error="raise"`, unwrapped; the others hear the event and the ends first."""
    heard = Heard()

    def fail_too(event: Event) -> None:
        raise KeyError("second")

    signal: EventSignal[Any] = getattr(signals, kind.signal)
    for handler in (failing, fail_too):
        signal.connect(handler)
    with pytest.raises(ValueError, match=f"on {kind.__name__}"):
        drive(everything(), observers=[heard], on_handler_error="raise")
    check_events(heard)
    first = heard.kinds.index(kind.__name__)
    assert not {"NodeStart", "ItemStart", "FlowStart"} & set(heard.kinds[first + 1 :])
    assert isinstance(heard[-1], FlowEnd)
    if kind is not FlowEnd:
        assert heard[-1].status == "error"
        assert heard[-1].error == f"ValueError: on {kind.__name__}"


def test_no_node_swallows_a_handlers_error(drive: Drive) -> None:
    """Neither its `except Exception`, nor its retries, nor its fallback."""
    attempts: list[int] = []

    class Careful(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            attempts.append(self.cur_retry)
            try:
                self.emit("x")
                yield "y"
                yield "z"
            except Exception:
                yield "swallowed"

        def exec_fallback(self, prep_res: Any, exc: Exception) -> str:
            return "swallowed"

    heard = Heard()
    signals.chunk.connect(failing)
    with pytest.raises(ValueError, match="on Chunk"):
        drive(Careful(3), observers=[heard], on_handler_error="raise", clock=ManualClock())
    check_events(heard)
    assert attempts == [0]
    assert "swallowed" not in heard.data


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize(
    "kind",
    [
        each
        for each in EVENT_TYPES
        if each.signal not in ("interrupt", "reply", "retry", "progress")
    ],
)
def test_an_interrupt_from_a_handler_ends_the_run(
    drive: Drive, kind: type[Event], error: type[BaseException]
) -> None:
    """The others hear the event and `cancelled` ends; then it propagates unchanged."""
    raised = error("from a handler")
    heard = Heard()
    calls: list[Event] = []

    def interrupt(event: Event) -> None:
        if not calls:
            calls.append(event)
            raise raised

    signal: EventSignal[Any] = getattr(signals, kind.signal)
    signal.connect(interrupt)
    with pytest.raises(error) as caught:
        drive(everything(), observers=[heard])
    if error is not asyncio.CancelledError:
        assert caught.value is raised
    check_events(heard)
    assert calls[0] in heard
    assert isinstance(heard[-1], FlowEnd)
    if kind is not FlowEnd:
        assert heard[-1].status == "cancelled"
        first = heard.index(calls[0])
        assert not {"NodeStart", "ItemStart", "FlowStart"} & set(heard.kinds[first + 1 :])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_from_a_node_ends_the_run(drive: Drive, error: type[BaseException]) -> None:
    """It propagates unchanged after the `cancelled` ends."""

    class Interrupted(Node):
        def exec(self, prep_res: Any) -> None:
            raise error("from a node")

    heard = Heard()
    with pytest.raises(error, match="from a node"):
        drive(Flow(Flow(Interrupted(3))), observers=[heard])
    check_events(heard)
    ends = [event for event in heard if isinstance(event, (NodeEnd, FlowEnd))]
    assert [event.status for event in ends] == ["cancelled"] * 3


def test_a_handler_can_cancel_the_run(drive: Drive) -> None:
    """Whoever drives it gets `RunCancelled`, after the ends."""
    heard = Heard()
    runs: list[Run] = []

    class Stop:
        def on_chunk(self, event: Chunk) -> None:
            runs[0].cancel()

    runs.append(Run(Counting(), {}, observers=[Stop(), heard]))
    with pytest.raises(RunCancelled):
        runs[0].wait()
    check_events(heard)
    assert heard.data == [0]
