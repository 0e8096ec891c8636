"""Senders: what a handler can listen to."""

from __future__ import annotations

from typing import Any

import blinker
import pocketflow
import pytest

from flowevents import (
    ANY,
    Action,
    Chunk,
    Event,
    Flow,
    FlowStart,
    Node,
    Run,
    RunStateError,
    StreamNode,
    observe,
    on,
    signals,
)
from flowevents.events import EVENT_TYPES
from tests.signals.heard import SIGNALS, Drive, Heard, Hum, Mute, Shout
from tests.signals.tables import left
from tests.stock import Talk


def test_a_signal_is_a_blinker_signal() -> None:
    """Each has its name and its type's description."""
    for kind, signal in zip(EVENT_TYPES, SIGNALS, strict=True):
        assert isinstance(signal, blinker.NamedSignal)
        assert signal.name == kind.signal
        assert signal.__doc__ == kind.__doc__
    assert signals.ANY is blinker.ANY is ANY


def test_everything(drive: Drive) -> None:
    """Without a sender, or with `ANY`, a handler hears every node of every run."""
    heard, also = Heard(), Heard()
    signals.chunk.connect(heard)
    signals.chunk.connect(also, sender=ANY)
    drive(Flow(Talk()))
    drive(Hum())
    assert heard.data == also.data == ["a", "b", "m"]


def test_one_node(drive: Drive) -> None:
    """A node is heard in whichever flow it runs, though a copy of it runs; its twin is not."""
    talk, heard = Talk(), Heard()
    signals.chunk.connect(heard, sender=talk)
    drive(Flow(Talk()))
    assert heard == []
    drive(Flow(talk))
    drive(Flow(Flow(talk)))
    drive(talk)
    assert heard.nodes == ["Talk"] * 2 + ["Flow/Talk"] * 2 + ["Talk"] * 2


def test_one_node_in_a_loop(drive: Drive) -> None:
    """It is heard in every execution."""

    class Again(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["n"] = shared.get("n", 0) + 1
            return "again" if shared["n"] < 3 else "done"

    again, talk, heard = Again(), Talk(), Heard()
    again - "again" >> talk >> again
    again - "done" >> Mute()
    signals.chunk.connect(heard, sender=talk)
    drive(Flow(again))
    assert [event.step for event in heard] == [1, 1, 2, 2]


def test_our_node_in_a_pocketflow_flow() -> None:
    """pocketflow copies it before it runs it; it is heard, and so are its class and its path."""
    talk: Any = Talk()
    by_node, by_class, by_path = Heard(), Heard(), Heard()
    signals.chunk.connect(by_node, sender=talk)
    signals.chunk.connect(by_class, sender=StreamNode)
    signals.chunk.connect(by_path, sender="Talk")
    talk >> Hum()
    pocketflow.Flow(talk).run({})
    assert by_node.data == by_path.data == ["a", "b"]
    assert by_class.data == ["a", "b", "m"]
    Run(pocketflow.Flow(talk), {}).wait()
    assert by_node.data == ["a", "b", "a", "b"]


def test_pocketflows_own_nodes_and_flows(drive: Drive) -> None:
    """In a run of ours they are senders like others: object, class, flow and path."""

    class Theirs(pocketflow.Node):
        pass

    node = Theirs()
    inner = pocketflow.Flow(node)
    outer = pocketflow.Flow(inner)
    heard = {sender: Heard() for sender in (node, Theirs, pocketflow.BaseNode, inner, outer)}
    for sender, handler in heard.items():
        signals.node_end.connect(handler, sender=sender)
    by_path = Heard()
    signals.node_end.connect(by_path, sender="Flow/Theirs")
    drive(outer)
    assert {len(handler) for handler in (*heard.values(), by_path)} == {1}
    drive(pocketflow.Flow(Theirs()))
    assert [len(handler) for handler in heard.values()] == [1, 2, 2, 1, 1]


def test_a_class_and_its_subclasses(drive: Drive) -> None:
    """A handler of a class hears all nodes of it and of what derives from it."""
    of_talk, of_shout, of_node = Heard(), Heard(), Heard()
    signals.chunk.connect(of_talk, sender=Talk)
    signals.chunk.connect(of_shout, sender=Shout)
    signals.chunk.connect(of_node, sender=Node)
    talk, shout = Talk(), Shout()
    talk >> shout >> Hum()
    drive(Flow(talk))
    assert of_talk.nodes == ["Talk", "Talk", "Shout", "Shout"]
    assert of_shout.nodes == ["Shout", "Shout"]
    assert of_node.nodes == ["Talk", "Talk", "Shout", "Shout", "Hum"]


def test_a_flow_covers_what_is_nested_in_it(drive: Drive) -> None:
    """Its own events and those of its nodes and flows, at any depth; not those beside it."""
    inner = Flow(Flow(Talk()))
    inner.node_name = "Inner"
    before = Hum()
    before >> inner
    outer = Flow(before)
    of_inner, of_outer = Heard(), Heard()
    for signal in (signals.chunk, signals.flow_start, signals.node_end):
        signal.connect(of_inner, sender=inner)
        signal.connect(of_outer, sender=outer)
    drive(outer)
    assert of_inner.nodes == ["Inner", "Inner/Flow", *["Inner/Flow/Talk"] * 3]
    assert of_outer.nodes == ["", "Hum", "Hum", *of_inner.nodes]
    of_inner.clear()
    drive(inner)
    assert of_inner.nodes == ["", "Flow", *["Flow/Talk"] * 3]


def test_a_flow_class_hears_only_flows(drive: Drive) -> None:
    """Unlike the object, the class does not cover what is nested."""

    class Mine(Flow):
        pass

    of_flow, of_mine = Heard(), Heard()
    for signal in (signals.flow_start, signals.chunk, signals.action):
        signal.connect(of_flow, sender=Flow)
        signal.connect(of_mine, sender=Mine)
    drive(Flow(Mine(Talk())))
    assert [(event.node, type(event)) for event in of_mine] == [
        ("Mine", FlowStart),
        ("Mine", Action),
    ]
    assert of_flow.nodes == ["", "Mine", "Mine"]


def test_one_run(drive: Drive) -> None:
    """A run can be listened to, alone, until it ends; then nothing is left of it."""
    flow = Flow(Talk())
    run, heard = Run(flow, {}), Heard()
    signals.chunk.connect(heard, sender=run)
    drive(flow)
    assert heard == []
    run.wait()
    assert heard.data == ["a", "b"]
    assert {event.run_id for event in heard} == {run.id}
    assert left() == {}
    with pytest.raises(RunStateError, match=r"Cannot listen to .*done"):
        signals.chunk.connect(heard, sender=run)


def test_a_path(drive: Drive) -> None:
    """A string is a node's path, matched exactly, from the run's own flow on."""
    first = Talk()
    first >> Flow(Talk()) >> Talk()
    heard = {path: Heard() for path in ("Talk", "Talk#2", "Flow/Talk", "Flow", "lk", "", "Flow/")}
    for path, handler in heard.items():
        signals.chunk.connect(handler, sender=path)
        signals.flow_start.connect(handler, sender=path)
    drive(Flow(first))
    assert {path: handler.nodes for path, handler in heard.items()} == {
        "Talk": ["Talk"] * 2,
        "Talk#2": ["Talk#2"] * 2,
        "Flow/Talk": ["Flow/Talk"] * 2,
        "Flow": ["Flow"],
        "lk": [],
        "": [""],
        "Flow/": [],
    }


@pytest.mark.parametrize(
    "sender",
    [None, 5, 1.5, object(), [], {}, ("Talk",), b"Talk", int, Event, Chunk, len, signals.chunk],
    ids=repr,
)
def test_what_is_no_sender_is_a_type_error(sender: Any) -> None:
    """It is named, wherever it is given, and nothing is connected."""
    heard = Heard()
    for connect in (
        lambda: signals.chunk.connect(heard, sender=sender),
        lambda: signals.chunk.connect_via(sender)(heard),
        lambda: signals.chunk.disconnect(heard, sender=sender),
        lambda: observe(heard, sender=sender),
        lambda: on(Chunk, sender=sender)(heard),
        lambda: signals.chunk.connected_to(heard, sender=sender).__enter__(),
    ):
        with pytest.raises(TypeError, match="Cannot listen to"):
            connect()
    assert left() == {}


@pytest.mark.parametrize("receiver", [None, 5, "show", [], Talk()], ids=repr)
def test_a_handler_is_callable(receiver: Any) -> None:
    """Anything else is a `TypeError` that names it and the signal."""
    with pytest.raises(TypeError, match=r"to signal 'chunk': it is not callable"):
        signals.chunk.connect(receiver)
