"""The signals: one blinker signal per type of event.

This is the only module that imports blinker. What blinker documents works (`connect`,
`disconnect`, `connect_via`, `connected_to`, `muted`, `receivers_for` …), but not by blinker's own
tables, which stay empty: what is connected stands in `senders.table`, which runs look into as well.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Generator, Hashable, Iterable
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

from blinker import ANY, NamedSignal

from flowevents import events
from flowevents.errors import ObserverError, RunStateError
from flowevents.events import Event
from flowevents.signals.audience import Audience, audiences_of, changed, doubles, live
from flowevents.signals.handlers import (
    NO_HANDLERS,
    Entry,
    Handlers,
    Receiver,
    Weakly,
    check_takes_event,
    handlers_among,
    once,
    receiver_key,
)
from flowevents.signals.senders import EVERYTHING, Connection, orders, sender_key, table

__all__ = [
    "ANY",
    "BY_NAME",
    "EventSignal",
    "action",
    "captures",
    "chunk",
    "contexts",
    "flow_end",
    "flow_start",
    "interrupt",
    "item_end",
    "item_start",
    "key_of",
    "node_end",
    "node_start",
    "progress",
    "reply",
    "retry",
]

E = TypeVar("E", bound=Event)
R = TypeVar("R")


def key_of(sender: object) -> tuple[Hashable, object]:
    """`sender_key` that knows `ANY` too."""
    return (EVERYTHING, None) if sender is ANY else sender_key(sender)


class EventSignal(NamedSignal, Generic[E]):
    """The blinker signal that sends the events of one type.

    What blinker documents works, with three differences: receivers are held strongly by
    default, they are called in the order in which they were connected, and they get one
    positional argument, the event.
    """

    def __init__(self, name: str, event_type: type[E], *, key: Hashable = None) -> None:
        self._key = object() if key is None else key  # in the table; of a run's signal its name
        super().__init__(name, doc=event_type.__doc__)
        self.event_type = event_type
        self._mutes = 0  # how many `muted` blocks run
        # The handlers of everything, and of which version of the table that is true.
        self._everything: tuple[object, Handlers] = _NOTHING_SEEN

    # -- connecting ---------------------------------------------------------------------------

    def connect(  # type: ignore[override]
        self, receiver: Callable[[E], R], sender: object = ANY, weak: bool = False
    ) -> Callable[[E], R]:
        """Call `receiver(event)` for every event of this type that `sender` sends.

        Args:
            receiver: A callable of one event; an `async def` one is awaited in async runs.
            sender: `ANY`, a node, a node class, a flow, a run, or a path; see `senders`.
            weak: Hold the receiver by a weak reference, as blinker does by default.

        Returns:
            The receiver. Raises `ObserverError` where it is not callable or the sender is none.
        """
        self._add(receiver, sender, math.inf, weak)
        return receiver

    def connect_via(  # type: ignore[override]
        self, sender: object, weak: bool = False
    ) -> Callable[[Callable[[E], R]], Callable[[E], R]]:
        """`connect` as a decorator that returns the function."""
        return lambda receiver: self.connect(receiver, sender, weak)

    @contextmanager
    def connected_to(
        self, receiver: Callable[[E], object], sender: object = ANY
    ) -> Generator[None, None, None]:
        """Connect `receiver` while the `with` block runs, and undo this connection only."""
        release = self.hold(receiver, sender)
        try:
            yield
        finally:
            release()

    def hold(self, receiver: Callable[[E], object], sender: object = ANY) -> Callable[[], None]:
        """Connect, and return the function that undoes just this; calling it twice is harmless."""
        connection = self._add(receiver, sender, 1)
        held = [connection]

        def release() -> None:
            with table.lock:
                there = table.get(connection.sender, connection.place)
                if held and held.pop() is there:
                    connection.holds -= 1
                    if connection.holds <= 0:
                        self._drop(connection)

        return release

    def disconnect(self, receiver: Callable[[E], object], sender: object = ANY) -> None:
        """Disconnect from that sender, by default from all; unknown ones are ignored.

        A run's own observers, which it was given with `observers=`, hear it until it ends.
        """
        key, place = key_of(sender)[0], (self._key, receiver_key(receiver))
        with table.lock:
            for each in list(table.senders) if key == EVERYTHING else [key]:
                if (connection := table.get(each, place)) is not None:
                    self._drop(connection)
        if "receiver_disconnected" in self.__dict__:
            self.receiver_disconnected.send(self, receiver=receiver, sender=sender)

    def _add(
        self, receiver: Receiver, sender: object, holds: float, weak: bool = False
    ) -> Connection:
        if not callable(receiver):
            raise ObserverError(
                f"Cannot connect {receiver!r} to signal {self.name!r}: it is not callable."
            )
        check_takes_event(receiver)
        key, alive = key_of(sender)
        place = self._key, receiver_key(receiver)
        called = Weakly(receiver, lambda _: self._gone(key, place)) if weak else receiver
        with table.lock:
            connection = table.get(key, place)
            if connection is None:
                connection = Connection(key, place, (next(orders), place[1], called))
                table.add(connection, alive)
                changed(key, alive)
            elif not weak and isinstance(connection.entry[2], Weakly):  # a strong one holds it
                connection.entry = (*connection.entry[:2], receiver)
                changed(key, alive)
            connection.holds += holds
            if isinstance(alive, Audience) and alive.closed:  # it may just have been
                table.forget(alive)
                raise RunStateError(f"Cannot listen to {sender!r}: it has ended. Make another Run.")
        if "receiver_connected" in self.__dict__:
            self.receiver_connected.send(self, receiver=receiver, sender=sender, weak=weak)
        return connection

    def _drop(self, connection: Connection) -> None:
        """Undo a connection, under the table's lock, and tell whom it concerns."""
        identity = table.drop(connection)
        self._everything = _NOTHING_SEEN  # nothing is kept of what was connected
        changed(connection.sender, identity)

    def _gone(self, sender: Hashable, place: tuple[Hashable, Hashable]) -> None:
        """The receiver that was held weakly at this place is no more."""
        with table.lock:
            if (connection := table.get(sender, place)) is not None:
                self._drop(connection)

    @property
    def is_muted(self) -> bool:
        """Whether the handlers of this signal are silent."""
        return self._key in table.muted

    @is_muted.setter
    def is_muted(self, muted: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._silence(muted)

    @contextmanager
    def muted(self) -> Generator[None, None, None]:
        """Silence the handlers of this signal, not consumers, while the `with` block runs."""
        self._mute(1)
        try:
            yield
        finally:
            self._mute(-1)

    def _mute(self, more: int) -> None:
        with table.lock:  # blocks of several threads may overlap
            self._mutes += more
            self._silence(self._mutes > 0)

    def _silence(self, muted: bool) -> None:
        (table.muted.add if muted else table.muted.discard)(self._key)
        changed(EVERYTHING)

    # -- who is connected ---------------------------------------------------------------------

    @property
    def _connections(self) -> dict[tuple[Hashable, Hashable], Connection]:
        """What is connected to this signal, by sender and receiver."""
        found = [each for sender in list(table.senders) for each in table.of(sender)]
        return {(each.sender, each.place[1]): each for each in found if each.place[0] == self._key}

    @property
    def receivers(self) -> dict[Any, Any]:
        """The receivers by their keys, or weak references to them; true where there is one."""
        entries = [each.entry for each in self._connections.values()]
        entries.sort(key=lambda entry: isinstance(entry[2], Weakly))  # a strong one counts
        found: dict[Any, Any] = {}
        for _, key, called in entries:
            found.setdefault(key, called.reference if isinstance(called, Weakly) else called)
        return found

    @receivers.setter
    def receivers(self, table: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of blinker is not used."""

    def _find(self, keys: Iterable[Hashable], own: Iterable[Entry] = ()) -> list[Entry]:
        """What is connected to any of these sender keys, and `own` ones."""
        if self.is_muted:
            return []
        found = [each.entry for key in keys for each in table.of(key) if each.place[0] == self._key]
        return [*found, *own]

    def _find_for(self, sender: object) -> tuple[Receiver, ...]:
        key, alive = key_of(sender)
        own = alive.own.get(self._key, ()) if isinstance(alive, Audience) else ()
        return once(self._find({EVERYTHING, key}, own))

    def has_receivers_for(self, sender: object) -> bool:
        """Whether an event of this sender would be heard."""
        return bool(self._find_for(sender))

    def receivers_for(self, sender: object) -> Generator[Callable[..., Any], None, None]:
        """Yield the receivers for a sender and those for everything, in order."""
        for each in self._find_for(sender):
            receiver = each.func if isinstance(each, Weakly) else each
            if receiver is not None:
                yield receiver

    # -- sending ------------------------------------------------------------------------------

    def send(self, event: E, /) -> list[tuple[Receiver, object]]:  # type: ignore[override]
        """Send an event by hand, as a replay does.

        It reaches the handlers of everything, of the event's path and of the run with its id.
        All of them are called; then the first exception that one raised, if any, is raised.

        Returns:
            Pairs of handler and what it returned, in order. Raises `RuntimeError` for an
            `async def` handler, before any is called: use `send_async`.
        """
        if not (table.senders or live or doubles):
            return []
        handlers = self._sent_to(event)
        if handlers.asynchronous:
            raise RuntimeError(
                f"Cannot send {type(event).__name__} to the async handler "
                f"{handlers.asynchronous[0]!r}; use send_async."
            )
        results: list[tuple[Receiver, object]] = []
        errors: list[BaseException] = []
        for handler in handlers.calls:
            try:
                results.append((handler, handler(event)))
            except BaseException as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return results

    async def send_async(self, event: E, /) -> list[tuple[Receiver, object]]:  # type: ignore[override]
        """`send` that awaits what its handlers give to be awaited, one by one, in order."""
        results: list[tuple[Receiver, object]] = []
        errors: list[BaseException] = []
        handlers = self._sent_to(event)
        for handler in handlers.calls:
            try:
                result = handler(event)
                if inspect.isawaitable(result):
                    result = await result
                results.append((handler, result))
            except BaseException as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return results

    def _sent_to(self, event: E) -> Handlers:
        if not isinstance(event, self.event_type):
            raise ObserverError(
                f"Signal {self.name!r} sends {self.event_type.__name__} events, not {event!r}."
            )
        version = table.version  # first this, then the look: another thread may connect
        known, everything = self._everything
        if known is not version:
            everything = handlers_among(self._find((EVERYTHING,)))
            self._everything = version, everything
        runs = audiences_of(event.run_id) if live or doubles else ()
        if not runs and event.node not in table.senders:
            return everything
        own = [entry for run in runs for entry in run.own.get(self._key, ())]
        return handlers_among(self._find((EVERYTHING, event.node, *map(id, runs)), own))


_NOTHING_SEEN: Final = (None, NO_HANDLERS)

# -- the signals ------------------------------------------------------------------------------

BY_NAME: Final[dict[str, EventSignal[Any]]] = {}
"""Every signal under its name, in the order of the events."""


def _of_runs(event_type: type[E]) -> EventSignal[E]:
    name = event_type.signal
    signal = BY_NAME[name] = EventSignal(name, event_type, key=name)
    return signal


flow_start: EventSignal[events.FlowStart] = _of_runs(events.FlowStart)
node_start: EventSignal[events.NodeStart] = _of_runs(events.NodeStart)
item_start: EventSignal[events.ItemStart] = _of_runs(events.ItemStart)
chunk: EventSignal[events.Chunk] = _of_runs(events.Chunk)
progress: EventSignal[events.Progress] = _of_runs(events.Progress)
retry: EventSignal[events.Retry] = _of_runs(events.Retry)
interrupt: EventSignal[events.Interrupt] = _of_runs(events.Interrupt)
reply: EventSignal[events.Reply] = _of_runs(events.Reply)
item_end: EventSignal[events.ItemEnd] = _of_runs(events.ItemEnd)
node_end: EventSignal[events.NodeEnd] = _of_runs(events.NodeEnd)
action: EventSignal[events.Action] = _of_runs(events.Action)
flow_end: EventSignal[events.FlowEnd] = _of_runs(events.FlowEnd)

contexts: EventSignal[Event] = EventSignal("contexts", Event, key="contexts")
"""To which the `context` methods of observers are connected; nothing is sent."""

captures: EventSignal[Event] = EventSignal("captures", Event, key="captures")
"""To which observers are connected that want what a step gets and gives; nothing is sent."""
