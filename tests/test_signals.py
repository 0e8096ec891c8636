"""Subscribing: what can be listened to, who hears what when, and what is left behind."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import blinker
import pocketflow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowevents import (
    ANY,
    Action,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    FlowStart,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    ObserverError,
    Retry,
    Run,
    RunCancelled,
    RunStateError,
    StreamNode,
    observe,
    on,
    signals,
)
from flowevents.events import EVENT_TYPES
from flowevents.signals import EventSignal
from flowevents.testing import ManualClock, capture_events, check_events

SIGNALS: list[EventSignal[Any]] = [getattr(signals, kind.signal) for kind in EVENT_TYPES]


def left() -> dict[str, Any]:
    """What the tables of all signals hold."""
    gc.collect()
    found: dict[str, Any] = {}
    for signal in (*SIGNALS, signals._context):
        for table in ("receivers", "_by_sender", "_by_receiver", "_weak_senders", "_connections"):
            if held := getattr(signal, table):
                found[f"{signal.name}.{table}"] = dict(held)
    for table in ("_connected", "_observed"):
        if held := list(getattr(signals, table)):
            found[table] = held
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Each test begins and ends without a connection."""
    for signal in (*SIGNALS, signals._context):
        assert not signal.receivers, signal
    yield
    for signal in (*SIGNALS, signals._context):
        for receiver in list(signal.receivers.values()):
            handler: Any = receiver() if isinstance(receiver, weakref.ref) else receiver
            signal.disconnect(handler)
    assert left() == {}


Drive = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> Drive:
    """Runs a flow of sync nodes to its end, with the options of `Run`."""

    def run(flow: Any, **options: Any) -> Any:
        if request.param == "sync":
            return Run(flow, {}, **options).wait()
        return run_async(wait_async(flow, **options))

    return run


async def wait_async(flow: Any, **options: Any) -> Any:
    """Run it to its end in this loop."""
    return await Run(flow, {}, **options).wait_async()


def run_async(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a loop of its own; one that hangs is an error."""
    return asyncio.run(asyncio.wait_for(work, 20))


class Talk(StreamNode):
    """Yields two chunks."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "a"
        yield "b"


class Shout(Talk):
    """A subclass."""


class Hum(StreamNode):
    """Another class."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "m"


class Mute(Node):
    """Streams nothing."""


class Heard(list[Any]):
    """A handler that remembers what it was called with."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    @property
    def data(self) -> list[Any]:
        return [event.data for event in self if isinstance(event, Chunk)]

    @property
    def nodes(self) -> list[str]:
        return [event.node for event in self]

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self]


# -- senders --------------------------------------------------------------------------------------


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


# -- who hears what, and in which order -----------------------------------------------------------


def graph() -> tuple[Flow, dict[str, tuple[Any, Callable[[Event], bool]]]]:
    """A flow, and senders in it: the object, and whether it sends an event."""
    talk, shout = Talk(), Shout()
    inner = Flow(shout)
    talk >> inner
    outer = Flow(talk)
    talks, shouts = {"Talk"}, {"Flow/Shout"}
    nested = {"Flow", *shouts}
    return outer, {
        "everything": (ANY, lambda event: True),
        "node": (talk, lambda event: event.node in talks),
        "inner node": (shout, lambda event: event.node in shouts),
        "class": (Talk, lambda event: event.node in talks | shouts),
        "subclass": (Shout, lambda event: event.node in shouts),
        "base class": (Node, lambda event: event.node in talks | shouts),
        "flow": (outer, lambda event: True),
        "inner flow": (inner, lambda event: event.node in nested),
        "flow class": (Flow, lambda event: event.node in {"", "Flow"}),
        "path": ("Talk", lambda event: event.node in talks),
        "inner path": ("Flow/Shout", lambda event: event.node in shouts),
        "other path": ("Shout", lambda event: False),
        "other node": (Talk(), lambda event: False),
    }


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["connect", "disconnect", "observe"]),
            st.sampled_from(list(graph()[1])),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_handlers_run_in_the_order_of_their_connection(
    deeds: list[tuple[int, str, str]], asynchronous: bool
) -> None:
    """Whatever the sender, a handler is called once per event, at its first connection's place."""
    flow, senders = graph()
    calls: list[tuple[int, Event]] = []
    handlers = [
        functools.partial(lambda number, event: calls.append((number, event)), number)
        for number in range(4)
    ]
    connected: dict[tuple[int, str], None] = {}
    subscriptions = []
    try:
        for number, deed, name in deeds:
            if deed == "disconnect":
                for signal in SIGNALS:
                    signal.disconnect(handlers[number], senders[name][0])
                gone = list(connected) if name == "everything" else [(number, name)]
                for each in gone:
                    if each[0] == number:
                        connected.pop(each, None)
            elif deed == "connect":
                for signal in SIGNALS:
                    signal.connect(handlers[number], senders[name][0])
                connected.setdefault((number, name))
            else:
                subscriptions.append(observe(handlers[number], sender=senders[name][0]))
                connected.setdefault((number, name))
        run = Run(flow, {})
        events: list[Event] = []

        async def main() -> None:
            events.extend([event async for event in run])

        if asynchronous:
            run_async(main())
        else:
            events.extend(run)
    finally:
        for subscription in subscriptions:
            subscription.cancel()
        for signal in SIGNALS:
            for handler in handlers:
                signal.disconnect(handler)
    check_events(events)
    expected: list[tuple[int, Event]] = []
    for event in events:
        numbers = [number for number, name in connected if senders[name][1](event)]
        expected += [(number, event) for number in dict.fromkeys(numbers)]
    assert calls == expected


def test_a_handler_of_several_senders_is_called_once(drive: Drive) -> None:
    """However many of its connections an event matches."""
    flow, senders = graph()
    heard = Heard()
    for sender, _ in senders.values():
        signals.chunk.connect(heard, sender=sender)
    signals.chunk.connect(heard)
    drive(flow)
    assert heard.data == ["a", "b", "a", "b"]


def test_events_come_in_the_order_of_their_numbers(drive: Drive) -> None:
    """A handler of all signals hears one run's events from 1 on, without holes."""
    flow, _ = graph()
    with capture_events() as caught:
        drive(flow)
    check_events(caught)


def test_a_bound_method_is_one_handler_however_often_it_is_made(drive: Drive) -> None:
    """Each access makes another object; they are the same handler."""

    class Counter:
        heard = 0

        def count(self, event: Chunk) -> None:
            self.heard += 1

    one, other = Counter(), Counter()
    for counter in (one, one, other):
        signals.chunk.connect(counter.count)
    drive(Talk())
    assert (one.heard, other.heard) == (2, 2)
    signals.chunk.disconnect(one.count)
    drive(Talk())
    assert (one.heard, other.heard) == (2, 4)


def test_concurrent_runs_hear_only_their_own() -> None:
    """Observers of runs in many threads and tasks at once get their run's events, each whole."""

    class Chatter(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[int]:
            for number in range(5):
                await asyncio.sleep(0)
                yield number

    flow = AsyncFlow(Chatter())
    observers: list[Heard] = []

    async def main() -> None:
        runs = []
        for _ in range(20):
            heard = Heard()
            observers.append(heard)
            runs.append(flow.run_async({}, observers=[heard]))
        await asyncio.gather(*runs)

    threads = [threading.Thread(target=lambda: run_async(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(observers) == 80
    for heard in observers:
        check_events(heard)
        assert heard.data == [0, 1, 2, 3, 4]
    assert len({heard[0].run_id for heard in observers}) == 80


def test_a_run_inside_a_node_is_another_run(drive: Drive) -> None:
    """The outer run's own observers do not hear it; shared ones do."""

    class Inside(Node):
        def exec(self, prep_res: Any) -> None:
            Hum().run({})

    own, shared = Heard(), Heard()
    signals.chunk.connect(shared)
    drive(Inside(), observers=[own])
    check_events(own)
    assert own.data == []
    assert shared.data == ["m"]
    assert shared[0].run_id != own[0].run_id


# -- connecting ---------------------------------------------------------------------------------


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


def chunk(data: Any, node: str = "Talk", run_id: str = "r") -> Chunk:
    """A chunk of that node and run."""
    return Chunk(run_id=run_id, seq=3, time=0.0, span=2, node=node, data=data)


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


class Appender:
    """A handler that can be held weakly."""

    def __init__(self, data: list[Any]) -> None:
        self.data = data

    def __call__(self, event: Chunk) -> None:
        self.data.append(event.data)


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


def test_muted_silences_handlers_and_no_puller(drive: Drive) -> None:
    """While its block runs; a puller gets every event, and blocks may be nested."""
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


# -- on and observe -------------------------------------------------------------------------------


def test_on_is_a_decorator_that_returns_the_function(drive: Drive) -> None:
    """Of a node, of a flow and of everything."""
    talk = Talk()
    talk >> Hum()
    flow = Flow(talk)
    data: dict[str, list[Any]] = {"node": [], "flow": [], "all": [], "class": []}

    def keep(name: str) -> Callable[[Chunk], str]:
        def handler(event: Chunk) -> str:
            data[name].append(event.data)
            return name

        return handler

    handlers = {
        "node": talk.on(Chunk)(keep("node")),
        "flow": flow.on(Chunk)(keep("flow")),
        "all": on(Chunk)(keep("all")),
        "class": on(Chunk, sender=Hum)(keep("class")),
    }
    drive(flow)
    drive(Talk())
    assert data == {
        "node": ["a", "b"],
        "flow": ["a", "b", "m"],
        "all": ["a", "b", "m", "a", "b"],
        "class": ["m"],
    }
    for name, handler in handlers.items():
        assert handler(chunk("x")) == name


def test_on_every_event(drive: Drive) -> None:
    """`Event` is every type."""
    heard = Heard()
    on(Event)(heard)
    drive(Talk())
    check_events(heard)


@pytest.mark.parametrize("kind", [None, "chunk", Node, int, signals.chunk], ids=repr)
def test_on_takes_an_event_type(kind: Any) -> None:
    """Anything else is a `TypeError` that names it."""
    with pytest.raises(TypeError, match="takes an event type such as Chunk"):
        on(kind)
    with pytest.raises(TypeError, match="takes an event type such as Chunk"):
        Talk().on(kind)


class Display:
    """An observer of two signals."""

    def __init__(self) -> None:
        self.heard = Heard()

    def on_chunk(self, event: Chunk) -> None:
        self.heard(event)

    def on_node_end(self, event: NodeEnd) -> None:
        self.heard(event)


def test_observe_connects_the_methods_of_an_observer(drive: Drive) -> None:
    """Until its subscription is cancelled; cancelling it again is harmless."""
    display = Display()
    subscription = observe(display)
    drive(Talk())
    subscription.cancel()
    subscription.cancel()
    drive(Talk())
    assert display.heard.kinds == ["Chunk", "Chunk", "NodeEnd"]
    assert left() == {}


def test_observe_is_a_context_manager(drive: Drive) -> None:
    """What it connected is undone where the block ends or fails."""
    display = Display()
    with pytest.raises(KeyError), observe(display):
        drive(Hum())
        raise KeyError
    drive(Hum())
    assert display.heard.data == ["m"]


def test_observe_takes_a_callable_of_every_event(drive: Drive) -> None:
    """A function hears all signals."""
    heard = Heard()
    with observe(heard):
        drive(Talk())
    check_events(heard)


def test_observe_takes_a_sender(drive: Drive) -> None:
    """As `connect` does."""
    talk, display = Talk(), Display()
    talk >> Hum()
    with observe(display, sender=talk):
        drive(Flow(talk))
    assert display.heard.nodes == ["Talk"] * 3


def test_two_subscriptions_of_one_observer_end_on_their_own(drive: Drive) -> None:
    """Each undoes what it connected; the observer is called once per event meanwhile."""
    display = Display()
    with observe(display):
        with observe(display):
            drive(Hum())
        drive(Hum())
    drive(Hum())
    assert display.heard.data == ["m", "m"]


class Misspelt(Display):
    def on_node_ends(self, event: NodeEnd) -> None: ...


class Unheard(Display):
    def on_everything(self, event: Event) -> None: ...


class NoMethod(Display):
    on_progress = "bar"


@pytest.mark.parametrize(
    ("observer", "text"),
    [
        (
            Misspelt(),
            r"Misspelt has 'on_node_ends'.*no signal 'node_ends'. Did you mean 'on_node_end'",
        ),
        (Unheard(), r"Unheard has 'on_everything'.*Known are on_flow_start, .*on_flow_end"),
        (NoMethod(), r"NoMethod.on_progress is 'bar', not callable"),
        (Display, r"is a class: observe an instance"),
        (None, r"None is no observer"),
        ("on_chunk", r"'on_chunk' is no observer"),
    ],
)
def test_what_is_no_observer_is_a_type_error(observer: Any, text: str) -> None:
    """An unknown `on_…` above all; it is named before anything is connected or runs."""
    with pytest.raises(TypeError, match=text):
        observe(observer)
    with pytest.raises(ObserverError, match=text):
        Run(Talk(), {}, observers=[observer])
    assert left() == {}


def test_a_runs_own_observers_hear_that_run_only(drive: Drive) -> None:
    """From its first event to its last; afterwards nothing is left of them."""
    display, heard = Display(), Heard()
    drive(Talk(), observers=[display, heard])
    drive(Talk())
    check_events(heard)
    assert display.heard.kinds == ["Chunk", "Chunk", "NodeEnd"]
    assert left() == {}


def test_a_runs_observers_and_others_are_called_in_order(drive: Drive) -> None:
    """Those of a run are connected when it begins, after what is connected already."""
    calls: list[str] = []
    signals.node_start.connect(lambda event: calls.append("all"))
    drive(Mute(), observers=[Named("first", calls), Named("second", calls)])
    assert calls == ["all", "first", "second"]


def test_what_is_connected_during_a_run_comes_after_its_observers(drive: Drive) -> None:
    """And one that is connected as well as an observer of the run is called once, in its place."""
    calls: list[str] = []
    first, second = NamedAtBothEnds("first", calls), NamedAtBothEnds("second", calls)

    class Connects(Mute):
        def prep(self, shared: Any) -> None:
            signals.node_end.connect(lambda event: calls.append("all"))
            signals.node_end.connect(first.on_node_end)

    with observe(second):
        drive(Connects(), observers=[first, second, first])
    assert calls == ["second", "first", "second", "first", "all"]


def test_a_runs_observers_are_found_until_it_ends() -> None:
    """By who asks for its receivers, and by what is sent by hand in its name; nowhere else."""
    heard, everything = Heard(), Heard()
    run = Run(Talk(), {}, id="mine", observers=[heard])
    events = iter(run)
    next(events)
    assert not signals.chunk.receivers
    assert signals.chunk.has_receivers_for(run)
    assert not signals.chunk.has_receivers_for(ANY)
    assert [*signals.chunk.receivers_for(run)] == [heard]
    heard.clear()
    assert signals.chunk.send(chunk("x", "Talk", "mine")) == [(heard, None)]
    assert signals.chunk.send(chunk("y", "Talk", "another")) == []
    signals.chunk.connect(everything)
    assert signals.chunk.send(chunk("z", "Talk", "mine")) == [(heard, None), (everything, None)]
    assert heard.data == ["x", "z"]
    with signals.chunk.muted():
        assert not signals.chunk.has_receivers_for(run)
    run.close()
    assert signals.chunk.send(chunk("x", "Talk", "mine")) == [(everything, None)]


class Named:
    """An observer that notes its name at each node's start."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name = name
        self.calls = calls

    def on_node_start(self, event: NodeStart) -> None:
        self.calls.append(self.name)


class NamedAtBothEnds(Named):
    """One that notes it at each node's end too."""

    def on_node_end(self, event: NodeEnd) -> None:
        self.calls.append(self.name)


# -- sending by hand ------------------------------------------------------------------------------


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


# -- while a run is under way ---------------------------------------------------------------------


class Counting(StreamNode):
    """Streams the numbers up to five, and calls what it was given before each."""

    def __init__(self, before: Callable[[int], object] = lambda number: None) -> None:
        super().__init__()
        self.before = before

    def exec_stream(self, prep_res: Any) -> Iterator[int]:
        for number in range(5):
            self.before(number)
            yield number


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


# -- handlers that fail ---------------------------------------------------------------------------


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


class Batch(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 2]

    def exec(self, prep_res: Any) -> Any:
        self.emit(prep_res)
        return prep_res


def everything() -> Flow:
    """A flow with a stream, a nested flow and a batch."""
    talk = Talk()
    talk >> Flow(Batch()) >> Hum()
    return Flow(talk)


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


# -- async handlers -------------------------------------------------------------------------------


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


# -- contexts -------------------------------------------------------------------------------------

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


class Tracer:
    """Gives each node and item a context in which `place` says where it is."""

    def __init__(self) -> None:
        self.asked = Heard()

    def context(self, event: Event) -> contextvars.Context | None:
        self.asked(event)
        made = contextvars.copy_context()
        made.run(place.set, f"{event.node}{list(event.items)}" if event.items else event.node)
        return made


def seen(calls: list[tuple[str, str]], what: str) -> None:
    """Note in which context this is called."""
    calls.append((what, place.get()))


def test_every_call_into_a_step_is_made_in_its_context(drive: Drive) -> None:
    """`prep`, each step of a generator and its `finally`, retries, fallback and `post`."""
    calls: list[tuple[str, str]] = []

    class Works(StreamNode):
        def prep(self, shared: Any) -> None:
            seen(calls, "prep")

        def exec_stream(self, prep_res: Any) -> Iterator[int]:
            seen(calls, "begin")
            try:
                yield 1
                seen(calls, "go on")
                raise ValueError
            finally:
                seen(calls, "finally")

        def exec_fallback(self, prep_res: Any, exc: Exception) -> None:
            seen(calls, "fallback")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            seen(calls, "post")

    tracer = Tracer()
    node = Works(2)
    node >> Hum()
    drive(Flow(Flow(node)), observers=[tracer])
    attempt = ["begin", "go on", "finally"]
    assert [what for what, _ in calls] == ["prep", *attempt, *attempt, "fallback", "post"]
    assert {where for _, where in calls} == {"Flow/Works"}
    assert tracer.asked.kinds == ["NodeStart"] * 2
    assert place.get() == "nowhere"


def test_a_plain_node_runs_in_its_context(drive: Drive) -> None:
    """Nobody has to listen to any event besides."""
    calls: list[tuple[str, str]] = []

    class Works(Node):
        def prep(self, shared: Any) -> None:
            seen(calls, "prep")

        def exec(self, prep_res: Any) -> None:
            seen(calls, "exec")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            seen(calls, "post")

    class Contexts:
        def context(self, event: Event) -> contextvars.Context | None:
            return Tracer().context(event)

    drive(Flow(Works()), observers=[Contexts()])
    assert calls == [("prep", "Works"), ("exec", "Works"), ("post", "Works")]
    with observe(Contexts(), sender=Works):
        drive(Flow(Works()))
    assert calls == [("prep", "Works"), ("exec", "Works"), ("post", "Works")] * 2
    drive(Flow(Works()))
    assert calls[6:] == [("prep", "nowhere"), ("exec", "nowhere"), ("post", "nowhere")]


def test_each_item_runs_in_its_own_context(drive: Drive) -> None:
    """`exec` is an item's, `prep` and `post` are the node's."""
    calls: list[tuple[str, str]] = []

    class Items(BatchNode):
        def prep(self, shared: Any) -> list[int]:
            seen(calls, "prep")
            return [0, 1]

        def exec(self, prep_res: Any) -> None:
            seen(calls, "exec")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            seen(calls, "post")

    tracer = Tracer()
    drive(Flow(Items()), observers=[tracer])
    assert calls == [
        *[("prep", "Items"), ("exec", "Items[0]"), ("exec", "Items[1]"), ("post", "Items")]
    ]
    assert tracer.asked.kinds == ["NodeStart", "ItemStart", "ItemStart"]


def test_an_item_without_a_context_runs_in_that_of_its_node(drive: Drive) -> None:
    """Not in the one of the item before it."""
    calls: list[tuple[str, str]] = []

    class Items(BatchNode):
        def prep(self, shared: Any) -> list[int]:
            return [0, 1]

        def exec(self, prep_res: Any) -> None:
            seen(calls, "exec")

    class OfTheFirst(Tracer):
        def context(self, event: Event) -> contextvars.Context | None:
            return None if event.items == (1,) else super().context(event)

    drive(Flow(Items()), observers=[OfTheFirst()])
    assert calls == [("exec", "Items[0]"), ("exec", "Items")]


def test_items_are_drawn_in_the_context_of_their_node(drive: Drive) -> None:
    """A `prep` that is a generator is code of the node too."""
    calls: list[tuple[str, str]] = []

    class Lazily(BatchNode):
        def prep(self, shared: Any) -> Iterator[int]:
            seen(calls, "draw")
            yield 0
            seen(calls, "draw")
            yield 1

    drive(Flow(Lazily()), observers=[Tracer()])
    assert calls == [("draw", "Lazily"), ("draw", "Lazily")]


def test_async_code_runs_in_its_context() -> None:
    """Also after it has waited, in generators, in parallel items and in the tasks it starts."""
    calls: list[tuple[str, str]] = []

    async def look(what: str) -> None:
        await asyncio.sleep(0)
        seen(calls, what)

    class Works(AsyncNode):
        async def prep_async(self, shared: Any) -> None:
            await look("prep")

        async def exec_async(self, prep_res: Any) -> None:
            await look("exec")
            await asyncio.create_task(look("task"))

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            await look("post")

    class Streams(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[int]:
            try:
                await look("begin")
                yield 1
                await look("go on")
            finally:
                await look("finally")

    class Batched(AsyncBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [0, 1]

        async def exec_async(self, prep_res: Any) -> None:
            await look(f"item {prep_res}")

    class Parallel(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [0, 1]

        async def exec_async(self, prep_res: Any) -> None:
            await look(f"item {prep_res}")
            await look(f"item {prep_res}")

    first = Works()
    first >> Streams() >> Batched() >> Parallel()
    run_async(wait_async(AsyncFlow(first), observers=[Tracer()]))
    works = [("prep", "Works"), ("exec", "Works"), ("task", "Works"), ("post", "Works")]
    assert calls[:4] == works
    assert calls[4:7] == [(what, "Streams") for what in ("begin", "go on", "finally")]
    assert calls[7:9] == [("item 0", "Batched[0]"), ("item 1", "Batched[1]")]
    assert sorted(calls[9:]) == [
        *[("item 0", "Parallel[0]")] * 2,
        *[("item 1", "Parallel[1]")] * 2,
    ]


def test_a_context_is_given_at_once(drive: Drive) -> None:
    """Nothing would await it."""

    class Late:
        async def context(self, event: Event) -> contextvars.Context | None:
            return None

    for refused in (lambda: observe(Late()), lambda: drive(Flow(Talk()), observers=[Late()])):
        with pytest.raises(ObserverError, match=r"Late\.context is async"):
            refused()


def test_the_first_context_wins(drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    """`None` leaves it to the next; one that fails is logged."""
    calls: list[tuple[str, str]] = []

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            seen(calls, "exec")

    class Silent:
        def context(self, event: Event) -> None:
            return None

    class Broken:
        def context(self, event: Event) -> contextvars.Context:
            raise ValueError("no context")

    class Elsewhere:
        def context(self, event: Event) -> contextvars.Context:
            made = contextvars.copy_context()
            made.run(place.set, "elsewhere")
            return made

    drive(Flow(Works()), observers=[Silent(), Broken(), Elsewhere(), Tracer()])
    assert calls == [("exec", "elsewhere")]
    assert [record.name for record in caplog.records] == ["flowevents"]
    assert "Broken.context" in caplog.records[0].getMessage()


def test_a_context_is_asked_about_the_start_that_others_hear(drive: Drive) -> None:
    """It is the same event, before or after it was delivered."""
    tracer, heard = Tracer(), Heard()
    drive(everything(), observers=[tracer, heard])
    check_events(heard)
    starts = [
        event
        for event in heard
        if isinstance(event, NodeStart) or (isinstance(event, ItemStart) and event.node)
    ]
    assert [(event.seq, event.node, event.items) for event in tracer.asked] == [
        (event.seq, event.node, event.items) for event in starts
    ]


# -- nothing is left ------------------------------------------------------------------------------


def test_nothing_is_kept_of_a_sender_that_is_gone() -> None:
    """Its handlers go with a node, a class, a flow or a run; the tables are empty then."""

    class Local(Node):
        pass

    class Theirs(pocketflow.Node):
        pass

    senders: list[Any] = [Local, Local(), Flow(Local()), Theirs(), Run(Local(), {})]
    del Local, Theirs
    references = [weakref.ref(each) for each in senders]
    while senders:
        signals.chunk.connect(Heard(), sender=senders[-1])
        observe(Tracer(), sender=senders.pop())
        assert left() == {}
    assert [reference() for reference in references] == [None] * 5


def test_a_node_that_is_listened_to_can_be_collected_after_it_ran(drive: Drive) -> None:
    """Neither runs nor events keep it."""
    node = Talk()
    reference = weakref.ref(node)
    heard = Heard()
    signals.chunk.connect(heard, sender=node)
    drive(Flow(node))
    del node
    gc.collect()
    assert reference() is None
    assert heard.data == ["a", "b"]
    assert left() == {}


class Ends:
    """A flow, and how its run ends."""

    @staticmethod
    def well(number: int) -> None:
        Flow(Talk()).run({}, observers=[Display(), Heard()])

    @staticmethod
    def failing(number: int) -> None:
        class Fails(Node):
            def exec(self, prep_res: Any) -> None:
                raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011 - it has no text
            Flow(Fails()).run({}, observers=[Display(), Tracer()])

    @staticmethod
    def cancelled(number: int) -> None:
        run = Run(Flow(Counting()), {}, observers=[Display()])
        signals.chunk.connect(Heard(), sender=run)
        for event in run:
            if event.seq == number % 7 + 1:
                break
        run.cancel()

    @staticmethod
    def never_begun(number: int) -> None:
        run = Run(Talk(), {}, observers=[Display()])
        signals.chunk.connect(Heard(), sender=run)
        run.cancel()

    @staticmethod
    def dropped(number: int) -> None:
        for _ in Talk().run_stream({}, observers=[Display(), Tracer()]):
            break

    @staticmethod
    def asynchronous(number: int) -> None:
        async def main() -> None:
            flow = AsyncFlow(Talk())
            await asyncio.gather(*(flow.run_async({}, observers=[Display()]) for _ in range(10)))

        run_async(main())


@pytest.mark.parametrize("ends", ["well", "failing", "cancelled", "never_begun", "dropped"])
def test_a_thousand_runs_leave_nothing_behind(ends: str) -> None:
    """However they end, no handler and no observer of theirs stays."""
    for number in range(1_000):
        getattr(Ends, ends)(number)
    assert left() == {}


def test_a_thousand_async_runs_leave_nothing_behind() -> None:
    """Of concurrent ones as well."""
    for number in range(100):
        Ends.asynchronous(number)
    assert left() == {}


def test_observers_are_collected_after_their_run() -> None:
    """A run that has ended does not hold on to them through the signals."""
    display = Display()
    reference = weakref.ref(display)
    Talk().run({}, observers=[display])
    del display
    gc.collect()
    assert reference() is None
