"""What a run knows of its listeners, and when it has to look again."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
from collections.abc import Callable
from itertools import count
from typing import Any
from unittest.mock import AsyncMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowevents import Chunk, Event, Node, ObserverError, observe, signals
from flowevents.events import EVENT_TYPES
from flowevents.signals import (
    ANY,
    BY_NAME,
    NO_HANDLERS,
    Audience,
    EventSignal,
    audiences,
    handlers_of,
    is_async_callable,
    sender_key,
)

NAMES = [kind.signal for kind in EVENT_TYPES]


def nothing(event: Event) -> None:
    """A handler."""


class Both:
    """An observer of two signals."""

    def on_chunk(self, event: Event) -> None: ...

    async def on_node_end(self, event: Event) -> None: ...


class Contexts:
    """An observer that says in which context a step's code runs."""

    def context(self, event: Event) -> None: ...


def keys_of(node: Node, path: str) -> tuple[Any, ...]:
    """The keys of the senders of a node's events, as the engine gives them."""
    return path, sender_key(node)[0], *(id(cls) for cls in type(node).__mro__)


def test_nobody_listens() -> None:
    """Then there is one answer for every node."""
    audience = Audience(("run", "r"))
    heard = audience.listeners(("Plan", 1))
    assert not heard.anybody
    assert not heard.special
    assert [getattr(heard, name) for name in NAMES] == [None] * len(NAMES)
    assert audience.listeners(("Act", 2)) is heard


def test_a_consumer_of_events_has_them_all_made() -> None:
    """And one of the output none, which the engine hands on otherwise."""
    audience = Audience(("run", "r"))
    for consumer, expected in (("events", NO_HANDLERS), ("output", None), (None, None)):
        audience.consumer = consumer  # type: ignore[assignment]
        audience.touch()
        heard = audience.listeners(("Plan", 1))
        assert [getattr(heard, name) for name in NAMES] == [expected] * len(NAMES)
        assert heard.anybody == (consumer == "events")


def test_a_runs_own_observers_are_shared_by_all_of_its_nodes() -> None:
    """Also while something is connected to another sender."""
    audience, both = Audience(("run", "r")), Both()
    audience.add_observer(both, handlers_of(both))
    heard = audience.listeners(("Plan", 1))
    assert heard.chunk is not None
    assert (heard.chunk.calls, heard.chunk.asynchronous) == ((both.on_chunk,), ())
    assert heard.node_end is not None
    assert heard.node_end.asynchronous == heard.node_end.calls == (both.on_node_end,)
    assert heard.node_end.plain().calls == ()
    assert heard.anybody
    with observe(nothing, sender="Elsewhere"):
        shared = audience.listeners(("Plan", 1))
        assert audience.listeners(("Act", 2)) is shared
        assert audience.listeners(("Elsewhere", 3)) is not shared


def test_all_that_a_special_audience_gives_is_special() -> None:
    """Whoever listens, also nobody; of another one what somebody gives contexts to."""
    for special in (True, False):
        audience = Audience(("run", "r"), special=special)
        assert audience.listeners(("Plan",)).special is special
        with observe(nothing, sender="Plan"):
            assert audience.listeners(("Plan",)).special is special
            assert audience.listeners(("Act",)).special is special
        contexts = Contexts()
        audience.add_observer(contexts, handlers_of(contexts))
        heard = audience.listeners(("Plan",))
        assert heard.special
        assert heard.contexts == (contexts.context,)
        assert heard.node_start is heard.item_start is NO_HANDLERS


def test_an_async_context_is_refused() -> None:
    """By its observer's name."""

    class Late:
        async def context(self, event: Event) -> None: ...

    with pytest.raises(ObserverError, match=r"Late\.context is async"):
        Audience(("run", "r")).add_observer(Late(), {})


def test_only_those_whom_a_change_concerns_look_again() -> None:
    """All runs, or the one run that is listened to; a mute and a disconnect are changes too."""
    one, other = Audience(("run", "one")), Audience(("run", "other"))

    class Run:
        _sender_key = one

    def changed(do: Callable[[], object]) -> tuple[bool, bool]:
        before = one.version, other.version
        do()
        return one.version is not before[0], other.version is not before[1]

    for sender, expected in (
        (ANY, (True, True)),
        ("Plan", (True, True)),
        (Node, (True, True)),
        (Node(), (True, True)),
        (Run(), (True, False)),
    ):
        assert changed(lambda: signals.chunk.connect(nothing, sender)) == expected  # noqa: B023
        assert changed(lambda: signals.chunk.connect(nothing, sender)) == (False, False)  # noqa: B023
        assert changed(lambda: signals.chunk.disconnect(nothing, sender)) == expected  # noqa: B023
    muted = signals.chunk.muted()
    assert changed(muted.__enter__) == (True, True)
    assert changed(lambda: muted.__exit__(None, None, None)) == (True, True)
    assert changed(one.touch) == (True, False)
    assert changed(one.close) == (False, False)


def test_an_audience_that_is_closed_or_gone_is_not_under_way() -> None:
    """Nor does anything stay that was connected to it."""
    before = audiences()
    audience = Audience(("run", "r"))
    both = Both()
    audience.add_observer(both, handlers_of(both))
    assert [each for each in audiences() if each not in before] == [audience]
    audience.close()
    assert audiences() == before
    assert not audience.listeners(("Plan",)).anybody
    audience = Audience(("run", "r"))
    del audience
    assert audiences() == before


def test_a_signal_of_somebodys_own_is_none_of_the_runs() -> None:
    """Whatever its name is: what is connected to it hears what is sent by it alone."""
    own = EventSignal("chunk", Chunk)
    heard: list[Chunk] = []
    own.connect(heard.append)
    assert not Audience(("run", "r")).listeners(("Plan",)).anybody
    event = Chunk(run_id="r", seq=3, time=0.0, span=2, node="Plan", data="x")
    assert signals.chunk.send(event) == []
    assert own.send(event) == [(heard.append, None)]
    assert own.receivers
    assert not signals.chunk.receivers
    own.disconnect(heard.append)
    assert not own.receivers


def test_a_signal_can_be_muted_by_its_attribute() -> None:
    """As blinker's `muted` does it."""
    with observe(nothing):
        audience = Audience(("run", "r"))
        signals.chunk.is_muted = True
        try:
            assert audience.listeners(("Plan",)).chunk is None
            assert audience.listeners(("Plan",)).progress is not None
        finally:
            signals.chunk.is_muted = False
        assert audience.listeners(("Plan",)).chunk is not None


# -- what is looked up is what is connected -------------------------------------------------------


class Model:
    """What is connected, as a list, and who hears a node of a run by it."""

    def __init__(self) -> None:
        self.numbers = count()
        self.made: list[tuple[int, str, Any, Any]] = []  # number, signal, sender or run, handler

    def add(self, signal: str, sender: Any, handler: Any) -> None:
        if not any(each[1:] == (signal, sender, handler) for each in self.made):
            self.made.append((next(self.numbers), signal, sender, handler))

    def remove(self, signal: str, sender: Any, handler: Any) -> None:
        self.made = [
            each
            for each in self.made
            if not (each[1] == signal and each[3] is handler and sender in (ANY, each[2]))
            or isinstance(each[2], int)
        ]

    def heard(self, signal: str, senders: set[Any]) -> list[Any]:
        found = sorted(each for each in self.made if each[1] == signal and each[2] in senders)
        return list(dict.fromkeys(each[3] for each in found))


def handler(number: int) -> Callable[[Event], int]:
    """A handler with a number, so that they can be told apart."""
    return functools.wraps(nothing)(lambda event: number)


HANDLERS = [handler(number) for number in range(3)]
SIGNALS = ["chunk", "node_end"]
PLAN, ACT = Node(), Node()
NODES = {"Plan": PLAN, "Act": ACT}
SENDERS = [ANY, "Plan", "Act", PLAN, ACT]


class Some:
    """An observer that has one handler for one or two signals."""

    def __init__(self, handler: Any, names: list[str]) -> None:
        for name in names:
            setattr(self, f"on_{name}", handler)


deeds = st.one_of(
    st.tuples(
        st.sampled_from(["connect", "disconnect"]),
        st.sampled_from(SIGNALS),
        st.integers(0, len(SENDERS) - 1),
        st.sampled_from(range(3)),
    ),
    st.tuples(st.just("mute"), st.sampled_from(SIGNALS), st.booleans()),
    st.tuples(
        st.just("observe"),
        st.lists(st.sampled_from(SIGNALS), min_size=1, max_size=2, unique=True),
        st.sampled_from(range(2)),
        st.sampled_from(range(3)),
    ),
    st.tuples(st.just("listen"), st.sampled_from(SIGNALS), st.integers(0, 1), st.integers(0, 2)),
    st.tuples(st.just("look")),
)


class Listened:
    """What a run is to the signals."""

    def __init__(self, name: str) -> None:
        self._sender_key = Audience(("run", name))


@given(st.lists(deeds, max_size=15))
def test_what_is_looked_up_is_what_is_connected(doings: list[tuple[Any, ...]]) -> None:
    """By everybody, to a node, a path or a run, and the runs' own, in their order, each once."""
    model = Model()
    runs = [Listened("one"), Listened("other")]
    muted: set[str] = set()
    try:
        for what, *given_ in [*doings, ("look",)]:
            if what == "look":
                look(model, runs, muted)
            elif what == "mute":
                name, on = given_
                (muted.add if on else muted.discard)(name)
                BY_NAME[name].is_muted = on
            elif what == "observe":
                names, number, which = given_
                observer = Some(HANDLERS[which], names)
                runs[number]._sender_key.add_observer(observer, handlers_of(observer))
                number_of = next(model.numbers)
                model.made += [(number_of, name, number, HANDLERS[which]) for name in names]
            elif what == "listen":
                name, number, which = given_
                BY_NAME[name].connect(HANDLERS[which], sender=runs[number])
                model.add(name, runs[number], HANDLERS[which])
            else:
                name, sender, which = given_
                getattr(BY_NAME[name], what)(HANDLERS[which], SENDERS[sender])
                do = model.add if what == "connect" else model.remove
                do(name, SENDERS[sender], HANDLERS[which])
    finally:
        for name in SIGNALS:
            BY_NAME[name].is_muted = False
            for each in HANDLERS:
                BY_NAME[name].disconnect(each)
    assert not any(signal.receivers for signal in BY_NAME.values())


def look(model: Model, runs: list[Listened], muted: set[str]) -> None:
    """Compare what the audiences and the signals find with the list."""
    for number, run in enumerate(runs):
        for path, node in NODES.items():
            heard = run._sender_key.listeners(keys_of(node, path))
            for name in SIGNALS:
                expected = model.heard(name, {ANY, path, node, run, number})
                found = getattr(heard, name)
                if name in muted or not expected:
                    assert found is None
                else:
                    assert list(found.calls) == expected
        for name in SIGNALS:
            expected = [] if name in muted else model.heard(name, {ANY, run, number})
            assert list(BY_NAME[name].receivers_for(run)) == expected
    event = Chunk(run_id="one", seq=3, time=0.0, span=2, node="Plan", data="x")
    expected = [] if "chunk" in muted else model.heard("chunk", {ANY, "Plan", runs[0], 0})
    assert [each for each, _ in signals.chunk.send(event)] == expected


def test_lookups_are_right_while_other_threads_connect() -> None:
    """What stays connected is always found, and nothing fails."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def come_and_go(sender: Any) -> None:
        try:
            while not stop.is_set():
                with observe(lambda event: None, sender=sender):
                    audiences()
        except BaseException as error:
            errors.append(error)

    signals.chunk.connect(nothing, sender="Plan")
    threads = [threading.Thread(target=come_and_go, args=[each]) for each in (ANY, "Plan", PLAN)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            audience, both = Audience(("run", "r")), Both()
            audience.add_observer(both, handlers_of(both))
            heard = audience.listeners(keys_of(PLAN, "Plan")).chunk
            assert heard is not None
            assert {nothing, both.on_chunk} <= set(heard.calls)
            audience.close()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        signals.chunk.disconnect(nothing)
    assert errors == []


# -- what is async --------------------------------------------------------------------------------


async def waits(event: Event) -> None:
    """An async handler."""


class Calls:
    """An object that is called, and one of its methods."""

    def __call__(self, event: Event) -> None: ...

    async def waits(self, event: Event) -> None: ...


class Waits:
    """An object that is awaited."""

    async def __call__(self, event: Event) -> None: ...


def test_what_is_async() -> None:
    """Functions, methods, parts of them and objects, and what says that it is."""
    decorated = functools.wraps(waits)(lambda event: waits(event))
    awaited: tuple[Any, ...] = (
        waits,
        Calls().waits,
        Waits(),
        functools.partial(waits),
        AsyncMock(),
    )
    plain: tuple[Any, ...] = (
        nothing,
        Calls(),
        Both().on_chunk,
        print,
        [].append,
        int,
        Waits,
        decorated,
        Chunk,
    )
    for each in (*awaited, functools.partial(Waits()), functools.partial(Calls().waits)):
        assert is_async_callable(each), each
    for each in (*plain, functools.partial(Calls()), functools.partial(nothing)):
        assert not is_async_callable(each), each


@pytest.mark.skipif(sys.version_info < (3, 12), reason="nothing can be marked before")
def test_what_is_marked_as_async() -> None:
    """A plain function that returns a coroutine, and an object."""
    mark: Any = getattr(inspect, "markcoroutinefunction")  # noqa: B009 - for the type checkers
    assert is_async_callable(mark(Calls()))
    assert is_async_callable(mark(lambda event: asyncio.sleep(0)))
    assert not is_async_callable(Calls())
