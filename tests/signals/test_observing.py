"""`on` and `observe`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowevents import (
    ANY,
    Chunk,
    Event,
    Flow,
    Node,
    NodeEnd,
    NodeStart,
    ObserverError,
    Run,
    observe,
    on,
    signals,
)
from flowevents.testing import check_events
from tests.signals.heard import Display, Drive, Heard, Hum, Mute, chunk
from tests.signals.tables import left
from tests.stock import Talk


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
