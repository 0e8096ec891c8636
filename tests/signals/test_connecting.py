"""Connecting, disconnecting and muting, as blinker documents them."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from flowevents import ANY, Chunk, Flow, Run, observe, signals
from flowevents.signals import EventSignal
from tests.signals.heard import SIGNALS, Appender, Counting, Drive, Heard, Hum, chunk
from tests.signals.tables import left
from tests.stock import Talk


def test_a_handler_is_held_strongly(drive: Drive) -> None:
    """A lambda that nobody else holds stays."""
    heard = Heard()
    signals.chunk.connect(lambda event: heard(event))
    gc.collect()
    drive(Talk())
    assert heard.data == ["a", "b"]


def test_connect_returns_the_handler() -> None:
    """So that it is a decorator, with a sender or without."""

    @signals.chunk.connect
    def show(event: Chunk) -> str:
        return str(event.data)

    @signals.chunk.connect_via(Talk, weak=True)
    def shout(event: Chunk) -> str:
        return str(event.data).upper()

    event = chunk("x")
    assert (show(event), shout(event)) == ("x", "X")


def test_connect_via_connects_to_its_sender(drive: Drive) -> None:
    """As a decorator with a sender."""
    heard = Heard()
    signals.chunk.connect_via(Hum)(heard)
    drive(Talk())
    drive(Hum())
    assert heard.data == ["m"]


def test_a_weak_handler_goes_with_its_last_reference(drive: Drive) -> None:
    """A function, an object and a method alike; nothing is left of them."""
    data: list[Any] = []

    class Listener:
        def __call__(self, event: Chunk) -> None:
            data.append(event.data)

        def listen(self, event: Chunk) -> None:
            data.append(event.data)

    def function(event: Chunk) -> None:
        data.append(event.data)

    one, other = Listener(), Listener()
    for handler in (function, one, other.listen):
        signals.chunk.connect(handler, weak=True)
    drive(Hum())
    assert data == ["m"] * 3
    del function, one, other, handler
    gc.collect()
    drive(Hum())
    assert data == ["m"] * 3
    assert left() == {}


def test_a_weak_handler_can_go_while_a_run_is_under_way(drive: Drive) -> None:
    """It is not called any more, though it was when the step began."""
    data: list[Any] = []
    handlers: list[Any] = [Appender(data)]
    signals.chunk.connect(handlers[0], weak=True)

    def before(number: int) -> None:
        if number == 2:
            handlers.clear()
            gc.collect()

    drive(Counting(before))
    assert data == [0, 1]


def test_a_strong_connection_is_strong_beside_a_weak_one(drive: Drive) -> None:
    """Whichever comes first, and to whichever sender: one of them holds the handler."""
    for first, second in ((True, False), (False, True)):
        for sender in (ANY, Hum):
            data: list[Any] = []

            def handler(event: Chunk, data: list[Any] = data) -> None:
                data.append(event.data)

            signals.chunk.connect(handler, weak=first)
            signals.chunk.connect(handler, sender=sender, weak=second)
            del handler
            gc.collect()
            drive(Hum())
            assert data == ["m"], (first, second, sender)


def test_disconnecting_from_a_run_that_has_ended_is_harmless(drive: Drive) -> None:
    """As from anything else that nothing is connected to."""
    run, heard = Run(Hum(), {}), Heard()
    signals.chunk.connect(heard, sender=run)
    with signals.chunk.connected_to(heard, sender=run), observe(heard, sender=run):
        run.wait()
    signals.chunk.disconnect(heard, sender=run)
    assert heard.data == ["m"]


def test_disconnecting_from_a_sender_leaves_the_others(drive: Drive) -> None:
    """Without a sender it is from all; what was not connected is ignored."""
    heard = Heard()
    for sender in (Talk, Hum, "Talk"):
        signals.chunk.connect(heard, sender=sender)
    signals.chunk.disconnect(heard, sender=Hum)
    signals.chunk.disconnect(heard, sender="nobody")
    drive(Talk())
    drive(Hum())
    assert heard.data == ["a", "b"]
    signals.chunk.disconnect(heard)
    signals.chunk.disconnect(heard)
    signals.chunk.disconnect(Heard())
    drive(Talk())
    assert heard.data == ["a", "b"]
    assert left() == {}


def test_connected_to_lasts_for_its_block(drive: Drive) -> None:
    """Also where the block fails."""
    heard = Heard()
    with pytest.raises(KeyError), signals.chunk.connected_to(heard, sender=Hum):
        drive(Talk())
        drive(Hum())
        raise KeyError
    drive(Hum())
    assert heard.data == ["m"]


def test_connected_to_undoes_only_its_own_connection(drive: Drive) -> None:
    """What was connected before, within or around it stays."""
    heard = Heard()
    signals.chunk.connect(heard)
    with signals.chunk.connected_to(heard):
        pass
    drive(Hum())
    assert heard.data == ["m"]
    with signals.chunk.connected_to(heard, sender=Hum), signals.chunk.connected_to(heard):
        signals.chunk.disconnect(heard)
    drive(Hum())
    assert heard.data == ["m"]
    with signals.chunk.connected_to(heard):
        with signals.chunk.connected_to(heard):
            pass
        drive(Hum())
        signals.chunk.connect(heard)
    drive(Hum())
    assert heard.data == ["m"] * 3


def test_a_subscription_that_was_disconnected_does_not_undo_a_later_one(drive: Drive) -> None:
    """It undoes what it connected, which is gone already."""
    heard = Heard()
    first = observe(heard)
    for signal in SIGNALS:
        signal.disconnect(heard)
    second = observe(heard)
    first.cancel()
    drive(Hum())
    assert heard.data == ["m"]
    second.cancel()
    assert left() == {}


def test_muted_silences_handlers_and_no_consumer(drive: Drive) -> None:
    """While its block runs; a consumer gets every event, and blocks may be nested."""
    heard = Heard()
    signals.chunk.connect(heard)
    with signals.chunk.muted():
        with signals.chunk.muted():
            drive(Talk())
        pulled = [event for event in Run(Talk(), {}) if isinstance(event, Chunk)]
        assert signals.chunk.send(chunk("x")) == []
    assert heard == []
    assert [event.data for event in pulled] == ["a", "b"]
    drive(Talk())
    assert heard.data == ["a", "b"]


def test_muting_takes_effect_with_the_next_event() -> None:
    """Also in the middle of a stream."""
    heard = Heard()
    signals.chunk.connect(heard)
    stream = Talk().run_stream({})
    assert next(stream) == "a"
    with signals.chunk.muted():
        assert next(stream) == "b"
    assert list(stream) == []
    assert heard.data == ["a"]


def test_blinkers_own_signals_tell_of_connections() -> None:
    """`receiver_connected` and `receiver_disconnected`, as blinker documents them."""
    told: list[tuple[str, Any]] = []

    def connected(signal: object, /, **what: Any) -> None:
        told.append(("connected", (signal, what)))

    def disconnected(signal: object, /, **what: Any) -> None:
        told.append(("disconnected", (signal, what)))

    signal = EventSignal("own", Chunk)
    signal.receiver_connected.connect(connected)
    signal.receiver_disconnected.connect(disconnected)
    heard = Heard()
    signal.connect(heard, sender=Talk)
    signal.disconnect(heard, sender=Talk)
    assert told == [
        ("connected", (signal, {"receiver": heard, "sender": Talk, "weak": False})),
        ("disconnected", (signal, {"receiver": heard, "sender": Talk})),
    ]


def test_blinkers_questions_about_receivers_are_answered() -> None:
    """`receivers_for` and `has_receivers_for`, for every kind of sender."""
    node, flow = Talk(), Flow(Hum())
    of_node, of_path, of_all = Heard(), Heard(), Heard()
    signals.chunk.connect(of_node, sender=node)
    signals.chunk.connect(of_path, sender="Talk")
    signals.chunk.connect(of_all, sender=flow)
    for sender, expected in (
        (node, [of_node]),
        ("Talk", [of_path]),
        (flow, [of_all]),
        (Talk, []),
        (Talk(), []),
        ("Hum", []),
    ):
        assert list(signals.chunk.receivers_for(sender)) == expected, sender
        assert signals.chunk.has_receivers_for(sender) == bool(expected), sender
    signals.chunk.connect(of_all)
    assert list(signals.chunk.receivers_for(node)) == [of_node, of_all]
    assert signals.chunk.has_receivers_for("Hum")
    assert list(signals.chunk.receivers_for(ANY)) == [of_all]
