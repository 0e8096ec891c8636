"""Handlers that come and go while a run is under way."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from flowevents import (
    ANY,
    Action,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    Retry,
    observe,
    signals,
)
from flowevents.signals import EventSignal
from flowevents.testing import capture_events, check_events
from tests.signals.heard import Counting, Drive, Heard, Hum
from tests.signals.tables import left
from tests.stock import Talk


def test_a_handler_connected_by_a_handler_hears_the_next_event(drive: Drive) -> None:
    """And one disconnected by a handler no longer does; the current event still reaches it."""
    late, early = Heard(), Heard()

    def turn(event: Chunk) -> None:
        if event.data == 2:
            signals.chunk.connect(late)
            signals.chunk.disconnect(early)

    signals.chunk.connect(turn)
    signals.chunk.connect(early)
    drive(Counting())
    assert late.data == [3, 4]
    assert early.data == [0, 1, 2]


def test_a_handler_can_disconnect_itself(drive: Drive) -> None:
    """It was called for the last time then, and others are not skipped."""
    heard, once = Heard(), Heard()

    def first(event: Chunk) -> None:
        once(event)
        signals.chunk.disconnect(first)

    signals.chunk.connect(first)
    signals.chunk.connect(heard)
    drive(Counting())
    assert once.data == [0]
    assert heard.data == [0, 1, 2, 3, 4]


def test_what_another_thread_connects_hears_the_next_event(drive: Drive) -> None:
    """Whatever is connected or disconnected while the node is at work."""
    heard, gone = Heard(), Heard()
    signals.chunk.connect(gone)

    def before(number: int) -> None:
        if number == 3:
            thread = threading.Thread(target=turn)
            thread.start()
            thread.join()

    def turn() -> None:
        signals.chunk.connect(heard, sender=Counting)
        signals.chunk.disconnect(gone)

    drive(Counting(before))
    assert heard.data == [3, 4]
    assert gone.data == [0, 1, 2]


def test_a_node_connects_a_handler_while_it_runs(drive: Drive) -> None:
    """What nobody listened to when the step began is heard from then on."""
    heard = Heard()

    class Late(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("unheard")
            signals.chunk.connect(heard)
            self.emit("heard")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            signals.node_end.connect(heard)

    drive(Late())
    assert heard.kinds == ["Chunk", "NodeEnd"]
    assert heard.data == ["heard"]


def test_connecting_from_many_threads_is_safe() -> None:
    """Handlers come and go in threads while runs are under way; none is lost or left."""
    steady = Heard()
    signals.chunk.connect(steady)
    errors: list[BaseException] = []
    done = threading.Event()

    def come_and_go(sender: object) -> None:
        try:
            while not done.is_set():
                heard = Heard()
                with signals.chunk.connected_to(heard, sender):
                    pass
                with observe(heard, sender=sender):
                    pass
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=come_and_go, args=[sender]) for sender in (ANY, Talk, "Talk")
    ]
    for thread in threads:
        thread.start()
    flow = Flow(Talk())
    for _ in range(200):
        flow.run({})
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(steady) == 400
    signals.chunk.disconnect(steady)
    assert left() == {}


def test_what_a_handler_emits_waits_its_turn(drive: Drive) -> None:
    """Every handler hears the first event before the second, and numbers stay in order."""
    node = Hum()
    calls: list[tuple[str, Any]] = []

    def echo(event: Chunk) -> None:
        calls.append(("echo", event.data))
        if len(event.data) < 3:
            node.emit(event.data + "!")
            calls.append(("echoed", event.data))

    signals.chunk.connect(echo)
    signals.chunk.connect(lambda event: calls.append(("after", event.data)))
    with capture_events() as caught:
        drive(Flow(node))
    check_events(caught)
    assert calls == [
        *[("echo", "m"), ("echoed", "m"), ("after", "m")],
        *[("echo", "m!"), ("echoed", "m!"), ("after", "m!")],
        *[("echo", "m!!"), ("after", "m!!")],
    ]


class Stumbling(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 2]

    def exec(self, prep_res: Any) -> None:
        if self.cur_retry == 0:
            raise ValueError


@pytest.mark.parametrize("kind", [NodeStart, ItemStart, Retry])
def test_what_a_handler_emits_belongs_to_what_is_open(drive: Drive, kind: type[Event]) -> None:
    """To the step or item that has begun, in the attempt that begins."""
    node, heard = Stumbling(2), Heard()
    signal: EventSignal[Any] = getattr(signals, kind.signal)
    signal.connect(lambda event: node.emit(type(event).__name__))
    drive(Flow(node), observers=[heard])
    check_events(heard)
    assert set(heard.data) == {kind.__name__}


@pytest.mark.parametrize("kind", [ItemEnd, NodeEnd, Action, FlowEnd])
@pytest.mark.filterwarnings("ignore:.*after its step had ended:RuntimeWarning")
def test_what_a_handler_emits_at_an_end_comes_too_late(drive: Drive, kind: type[Event]) -> None:
    """It is no longer of what has ended."""
    node, heard = Stumbling(2), Heard()
    signal: EventSignal[Any] = getattr(signals, kind.signal)
    signal.connect(lambda event: node.emit(type(event).__name__))
    drive(Flow(node), observers=[heard])
    check_events(heard)
