"""One blinker signal per event type, what they can listen to, and who listens now.

The rules of this file, which the engine relies on:

* A *sender* is turned into a hashable key once (`sender_key`): everything (`ANY`), a node (by an
  identity that its copies share), a node class, a flow, a run (by its id) or a path (a string).
* A connection is one receiver with one sender key, numbered as it is made. Handlers are called
  in that order, whatever their sender, each once per event.
* Receivers are held strongly until they are disconnected; nothing is kept of a sender that has
  no receiver left.
* A run looks its handlers up once per step through its `Audience`, and again only when
  `Audience.version` is another object: every connect, disconnect and mute replaces it.
* A run's own observers are no connections but the audience's, which ends with the run; they are
  called in the same order, as if they had been connected when the run began.
* Connecting and disconnecting is safe from any thread; one lock guards all signals.

This is the only module that imports blinker.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
import types
import weakref
from collections.abc import Callable, Coroutine, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Final, Generic, Literal, TypeVar, cast

import msgspec
from blinker import ANY, NamedSignal

from flowevents.errors import ObserverError, RunStateError
from flowevents.events import (
    EVENT_TYPES,
    Action,
    Chunk,
    Event,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeEnd,
    NodeStart,
    Progress,
    Reply,
    Retry,
)

__all__ = [
    "ANY",
    "Audience",
    "EventSignal",
    "Handlers",
    "Identity",
    "Listeners",
    "Subscription",
    "action",
    "chunk",
    "flow_end",
    "flow_start",
    "interrupt",
    "item_end",
    "item_start",
    "node_end",
    "node_start",
    "observe",
    "on",
    "progress",
    "reply",
    "retry",
    "sender_key",
]

E = TypeVar("E", bound=Event)
R = TypeVar("R")
Receiver = Callable[[Any], object]

Entry = tuple[int, Hashable, Receiver]
"""A receiver's place in the order, its key, and the receiver itself."""

_ANY_KEY: Final = 0  # blinker's key for "any sender"
_lock = threading.RLock()  # reentrant: a weak sender may die, and be dropped, while it is held


class Identity:
    """What a node and its copies have in common; a handler connected to one hears them all."""

    __slots__ = ("__weakref__",)


def sender_key(sender: object) -> tuple[Hashable, object]:
    """The key under which a sender's receivers are kept, and the object that keeps it alive.

    Raises `ObserverError` (a `TypeError`) for anything that is no sender, `None` included.
    """
    if sender is ANY:
        return _ANY_KEY, None
    if isinstance(sender, str):
        return sender, None
    if isinstance(sender, type):
        if callable(getattr(sender, "prep", None)) and callable(getattr(sender, "post", None)):
            return id(sender), sender
    else:
        key = getattr(sender, "_sender_key", None)
        if isinstance(key, Identity):  # one of our nodes
            return id(key), key
        if isinstance(key, Audience):  # a run, until it ends
            return key.run_key, key
        if hasattr(sender, "prep") and hasattr(sender, "successors"):  # a pocketflow node
            return id(sender), sender
    raise ObserverError(
        f"Cannot listen to {sender!r}: a sender is a node, a node class, a flow, a run, "
        "a node's path as a string, or ANY."
    )


class _Connection:
    """One receiver with one sender: their keys, its place in the order, and who wants it."""

    __slots__ = ("connected", "holds", "keys", "order")

    def __init__(self, keys: tuple[Hashable, Hashable], order: int) -> None:
        self.keys = keys
        self.order = order
        self.connected = False  # by `connect`, until `disconnect`
        self.holds = 0  # by subscriptions and `connected_to`, each until it ends


_orders: Final = itertools.count(1)
_order: Final = itemgetter(0)
_connected: Final[set[_Connection]] = set()  # all of them, of all signals


class EventSignal(NamedSignal, Generic[E]):
    """The blinker signal that sends the events of one type.

    What blinker documents works, with three differences: receivers are held strongly by
    default, they are called in the order in which they were connected, and they get one
    positional argument, the event.
    """

    is_muted: bool

    def __init__(self, name: str, event_type: type[E]) -> None:
        super().__init__(name, doc=event_type.__doc__)
        self.event_type = event_type
        self._connections: dict[tuple[Hashable, Hashable], _Connection] = {}
        self._mutes = 0  # how many `muted` blocks run

    # -- connecting ---------------------------------------------------------------------------

    def connect(  # type: ignore[override]
        self, receiver: Callable[[E], R], sender: object = ANY, weak: bool = False
    ) -> Callable[[E], R]:
        """Call `receiver(event)` for every event of this type that `sender` sends.

        Args:
            receiver: A callable of one event; an `async def` one is awaited in async runs.
            sender: `ANY`, a node, a node class, a flow, a run, or a path; see the module.
            weak: Hold the receiver by a weak reference, as blinker does by default.

        Returns:
            The receiver. Raises `ObserverError` where it is not callable or the sender is none.
        """
        self._add(receiver, sender, weak).connected = True
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
        connection = self._add(receiver, sender, False)
        connection.holds += 1
        held = [connection]

        def release() -> None:
            with _lock:
                if held and self._connections.get(connection.keys) is held.pop():
                    connection.holds -= 1
                    if connection.holds <= 0 and not connection.connected:
                        self._drop(*connection.keys)

        return release

    def disconnect(self, receiver: Callable[[E], object], sender: object = ANY) -> None:
        """Disconnect from that sender, by default from all; unknown ones are ignored.

        A run's own observers, which it was given with `observers=`, hear it until it ends.
        """
        self._disconnect(_receiver_key(receiver), sender_key(sender)[0])
        if "receiver_disconnected" in self.__dict__:
            self.receiver_disconnected.send(self, receiver=receiver, sender=sender)

    def _add(self, receiver: Receiver, sender: object, weak: bool) -> _Connection:
        if not callable(receiver):
            raise ObserverError(
                f"Cannot connect {receiver!r} to signal {self.name!r}: it is not callable."
            )
        key, alive = sender_key(sender)
        if isinstance(alive, Audience) and alive.closed:
            raise RunStateError(f"Cannot listen to {sender!r}: it has ended. Make another Run.")
        receiver_key = _receiver_key(receiver)
        keys = (receiver_key, key)
        with _lock:
            connection = self._connections.get(keys)
            if connection is None:
                connection = self._connections[keys] = _Connection(keys, next(_orders))
                _connected.add(connection)
                self._by_sender[key].add(receiver_key)
                self._by_receiver[receiver_key].add(key)
                if alive is not None and key not in self._weak_senders:
                    self._weak_senders[key] = weakref.ref(alive, lambda _: self._forget(key))
            if not weak:  # one strong connection holds it
                self.receivers[receiver_key] = receiver
            elif receiver_key not in self.receivers:
                self.receivers[receiver_key] = _weak(
                    receiver, lambda _: self._disconnect(receiver_key, _ANY_KEY)
                )
            _changed(alive)
        if "receiver_connected" in self.__dict__:
            self.receiver_connected.send(self, receiver=receiver, sender=sender, weak=weak)
        return connection

    def _disconnect(self, receiver_id: Hashable, sender_id: Hashable) -> None:
        with _lock:
            keys = self._by_receiver.get(receiver_id, ())
            for key in list(keys) if sender_id == _ANY_KEY else [sender_id]:
                if (receiver_id, key) in self._connections:
                    self._drop(receiver_id, key)

    def _drop(self, receiver_key: Hashable, key: Hashable) -> None:
        _connected.discard(self._connections.pop((receiver_key, key)))
        for table, one, other in (
            (self._by_sender, key, receiver_key),
            (self._by_receiver, receiver_key, key),
        ):
            table[one].discard(other)
            if not table[one]:
                del table[one]
        if receiver_key not in self._by_receiver:
            del self.receivers[receiver_key]
        sender = self._weak_senders.get(key)
        _changed(None if sender is None else sender())
        if key not in self._by_sender:
            self._weak_senders.pop(key, None)

    def _forget(self, key: Hashable) -> None:
        """Drop everything that listens to a sender that is gone, or to a run that has ended."""
        with _lock:
            for receiver_key in list(self._by_sender.get(key, ())):
                self._drop(receiver_key, key)

    @contextmanager
    def muted(self) -> Generator[None, None, None]:
        """Silence the handlers of this signal, not pullers, while the `with` block runs."""
        self._mute(1)
        try:
            yield
        finally:
            self._mute(-1)

    def _mute(self, more: int) -> None:
        with _lock:  # blocks of several threads may overlap
            self._mutes += more
            self.is_muted = self._mutes > 0
        _changed(ANY)

    # -- sending ------------------------------------------------------------------------------

    def find(self, keys: Iterable[Hashable], own: Sequence[Entry] = ()) -> tuple[Receiver, ...]:
        """The receivers for any of these sender keys, and `own` ones, in order and each once."""
        if self.is_muted or not (own or self.receivers):
            return ()
        entries: list[Any] = list(own)
        if self.receivers:
            with _lock:
                for key in keys:
                    for receiver_key in self._by_sender.get(key, ()):
                        connection = self._connections[receiver_key, key]
                        receiver = self.receivers[receiver_key]
                        entries.append((connection.order, receiver_key, receiver))
        if len(entries) > 1:
            entries.sort(key=_order)
        once: dict[Hashable, Receiver] = {}
        for _, receiver_key, receiver in entries:
            once.setdefault(receiver_key, receiver)
        return tuple(
            [_Weak(each) if isinstance(each, weakref.ref) else each for each in once.values()]
        )

    def _find_for(self, sender: object) -> tuple[Receiver, ...]:
        key, alive = sender_key(sender)
        own = alive.own.get(self.name, ()) if isinstance(alive, Audience) else ()
        return self.find((_ANY_KEY, key), own)

    def has_receivers_for(self, sender: object) -> bool:
        """Whether an event of this sender would be heard."""
        return bool(self._find_for(sender))

    def receivers_for(self, sender: object) -> Generator[Callable[..., Any], None, None]:
        """Yield the receivers for a sender and those for everything, in order."""
        for each in self._find_for(sender):
            receiver = each.func if isinstance(each, _Weak) else each
            if receiver is not None:
                yield receiver

    def send(self, event: E, /) -> list[tuple[Receiver, object]]:  # type: ignore[override]
        """Send an event by hand, as a replay does.

        It reaches the handlers of everything, of the event's path and of the run with its id.
        All of them are called; then the first exception that one raised, if any, is raised.

        Returns:
            Pairs of handler and what it returned, in order. Raises `RuntimeError` for an
            `async def` handler, before any is called: use `send_async`.
        """
        if not (self.receivers or _observed):
            return []
        handlers = self._sent_to(event)
        if handlers.asynchronous:
            raise RuntimeError(
                f"Cannot send {type(event).__name__} to the async handler "
                f"{handlers.asynchronous[0]!r}; use send_async."
            )
        results: list[tuple[Receiver, object]] = []
        first: BaseException | None = None
        for handler in handlers.calls:
            try:
                results.append((handler, handler(event)))
            except BaseException as error:
                first = first or error
        if first is not None:
            raise first
        return results

    async def send_async(self, event: E, /) -> list[tuple[Receiver, object]]:  # type: ignore[override]
        """`send` that awaits the `async def` handlers, one after the other, in order."""
        results: list[tuple[Receiver, object]] = []
        first: BaseException | None = None
        handlers = self._sent_to(event)
        for handler in handlers.calls:
            try:
                result = handler(event)
                if handler in handlers.asynchronous:
                    result = await cast("Coroutine[Any, Any, object]", result)
                results.append((handler, result))
            except BaseException as error:
                first = first or error
        if first is not None:
            raise first
        return results

    _everything: Handlers | None = None  # the handlers of ANY, where nothing else is connected
    _everything_version: object = None

    def _sent_to(self, event: E) -> Handlers:
        if not isinstance(event, self.event_type):
            raise ObserverError(
                f"Signal {self.name!r} sends {self.event_type.__name__} events, not {event!r}."
            )
        version = _hand_sent.version  # first this, then the look: another thread may connect
        if self._everything_version is not version:
            only = not (self._by_sender.keys() - {_ANY_KEY} or _observed)
            self._everything = Handlers(self.find((_ANY_KEY,))) if only else None
            self._everything_version = version
        if self._everything is not None:
            return self._everything
        run_key = ("run", event.run_id)
        reference = _observed.get(run_key)
        run = None if reference is None else reference()
        own = () if run is None else run.own.get(self.name, ())
        return Handlers(self.find((_ANY_KEY, event.node, run_key), own))


class _Weak:
    """Calls a receiver that is held weakly, as long as it is there."""

    def __init__(self, reference: weakref.ref[Any]) -> None:
        self._reference = reference

    @property
    def func(self) -> Any:
        """The receiver, or `None`."""
        return self._reference()

    def __call__(self, event: Event) -> object:
        receiver = self._reference()
        return None if receiver is None else receiver(event)


def _receiver_key(receiver: object) -> Hashable:
    if isinstance(receiver, types.MethodType):
        return id(receiver.__func__), id(receiver.__self__)
    if isinstance(receiver, types.BuiltinMethodType) and not inspect.ismodule(receiver.__self__):
        return receiver.__name__, id(receiver.__self__)  # as of list.append, made at each access
    return id(receiver)


def _weak(receiver: Receiver, gone: Callable[[Any], None]) -> weakref.ref[Any]:
    kind = weakref.WeakMethod if inspect.ismethod(receiver) else weakref.ref
    return kind(receiver, gone)


# -- the signals ------------------------------------------------------------------------------

flow_start: EventSignal[FlowStart] = EventSignal("flow_start", FlowStart)
node_start: EventSignal[NodeStart] = EventSignal("node_start", NodeStart)
item_start: EventSignal[ItemStart] = EventSignal("item_start", ItemStart)
chunk: EventSignal[Chunk] = EventSignal("chunk", Chunk)
progress: EventSignal[Progress] = EventSignal("progress", Progress)
retry: EventSignal[Retry] = EventSignal("retry", Retry)
interrupt: EventSignal[Interrupt] = EventSignal("interrupt", Interrupt)
reply: EventSignal[Reply] = EventSignal("reply", Reply)
item_end: EventSignal[ItemEnd] = EventSignal("item_end", ItemEnd)
node_end: EventSignal[NodeEnd] = EventSignal("node_end", NodeEnd)
action: EventSignal[Action] = EventSignal("action", Action)
flow_end: EventSignal[FlowEnd] = EventSignal("flow_end", FlowEnd)

BY_NAME: Final[dict[str, EventSignal[Any]]] = {
    kind.signal: cast("EventSignal[Any]", globals()[kind.signal]) for kind in EVENT_TYPES
}
"""Every signal under its name, in the order of the events."""

_context: EventSignal[Event] = EventSignal("context", Event)  # observers' `context` methods


# -- who listens now --------------------------------------------------------------------------


class Handlers:
    """The handlers of one type of event, in order; `asynchronous` are those to be awaited."""

    __slots__ = ("asynchronous", "calls")

    def __init__(
        self, calls: tuple[Receiver, ...], asynchronous: tuple[Receiver, ...] | None = None
    ) -> None:
        if asynchronous is None:
            asynchronous = tuple([each for each in calls if is_async_callable(each)])
        self.calls: tuple[Receiver, ...] = calls
        self.asynchronous: tuple[Receiver, ...] = asynchronous

    def plain(self) -> Handlers:
        """Those that need not be awaited."""
        return Handlers(tuple([each for each in self.calls if each not in self.asynchronous]), ())


NO_HANDLERS: Final = Handlers(())
"""The handlers of an event that a puller alone takes."""


class Listeners(msgspec.Struct):
    """Who listens to one node: for each signal its `Handlers`, or `None` where nobody does.

    Attributes:
        anybody: Whether there is one.
        contexts: Who is asked for the context of the node's code.
        special: More is to be done for a step than to send its events.
    """

    flow_start: Handlers | None = None
    node_start: Handlers | None = None
    item_start: Handlers | None = None
    chunk: Handlers | None = None
    progress: Handlers | None = None
    retry: Handlers | None = None
    interrupt: Handlers | None = None
    reply: Handlers | None = None
    item_end: Handlers | None = None
    node_end: Handlers | None = None
    action: Handlers | None = None
    flow_end: Handlers | None = None
    anybody: bool = False
    contexts: tuple[Receiver, ...] = ()
    special: bool = False


_NOBODY: Final = Listeners()


class Audience:
    """What one run knows of its listeners.

    Attributes:
        version: Another object whenever a lookup may give another result.
        puller: Whether somebody iterates over the run, and takes every one of its `"events"`, so
            that all are made, or the data of its `"output"` chunks.
        own: The handlers of the run's own observers, by the name of their signal.
    """

    __slots__ = (
        "__weakref__",
        "_own_listeners",
        "_own_version",
        "closed",
        "own",
        "consumer",
        "run_key",
        "special",
        "version",
    )

    def __init__(self, run_key: Hashable, *, special: bool = False) -> None:
        self.special: bool = special
        self.run_key: Hashable = run_key
        self.version: object = object()
        self.closed: bool = False
        self.consumer: Literal["events", "output"] | None = None
        self.own: dict[str, list[Entry]] = {}
        self._own_version: object = None  # for which this is true:
        self._own_listeners: Listeners = _NOBODY
        with _lock:
            _audiences.add(self)

    def add_observer(self, observer: object, handlers: dict[str, Receiver]) -> None:
        """Have an observer of the run's own hear it, until it ends."""
        order = next(_orders)
        for name, handler in _with_context(observer, handlers).items():
            self.own.setdefault(name, []).append((order, _receiver_key(handler), handler))
        with _lock:
            _observed[self.run_key] = weakref.ref(self)
            _changed(self)

    def listeners(self, keys: tuple[Hashable, ...]) -> Listeners:
        """Who listens to a node with these sender keys in this run."""
        if _connected:
            return self._look_up((_ANY_KEY, self.run_key, *keys))
        version = self.version
        if self._own_version is not version:  # the same for all nodes, as long as that is so
            self._own_listeners = self._look_up(())
            self._own_version = version
        return self._own_listeners

    def _look_up(self, keys: tuple[Hashable, ...]) -> Listeners:
        own = self.own
        heard: dict[str, Any] = {}
        if self.consumer == "events":
            heard = dict.fromkeys(BY_NAME, NO_HANDLERS)
        with _lock:  # once for all of them: threads that connect meanwhile want it too
            for name, signal in BY_NAME.items():
                if (name in own or signal.receivers) and (
                    calls := signal.find(keys, own.get(name, ()))
                ):
                    heard[name] = Handlers(calls)
            contexts = _context.find(keys, own.get("context", ()))
        if contexts:  # they are asked about starts, which therefore have to be made
            heard.setdefault("node_start", NO_HANDLERS)
            heard.setdefault("item_start", NO_HANDLERS)
        if not heard:
            return Listeners(special=True) if self.special else _NOBODY
        special = self.special or bool(contexts)
        return Listeners(**heard, anybody=True, contexts=contexts, special=special)

    def touch(self) -> None:
        """Make the run look again before its next event."""
        self.version = object()

    def close(self) -> None:
        """The run has ended: nothing that was connected to it stays behind."""
        with _lock:
            self.closed = True
            _audiences.discard(self)
            if self.own:
                self.own = {}
                _observed.pop(self.run_key, None)
                _changed(self)
            if _connected:
                for signal in (*BY_NAME.values(), _context):
                    if self.run_key in signal._by_sender:
                        signal._forget(self.run_key)


_audiences: weakref.WeakSet[Audience] = weakref.WeakSet()
_observed: dict[Hashable, weakref.ref[Audience]] = {}  # those with observers of their own
_hand_sent = Audience(("run", ""))  # what `send` compares; strong, so always told


def audiences() -> list[Audience]:
    """The audiences of all runs that are under way."""
    with _lock:
        return list(_audiences)


def _changed(sender: object) -> None:
    """Tell the runs that a connection to this sender concerns: one run, or all."""
    with _lock:
        for audience in (sender, _hand_sent) if isinstance(sender, Audience) else list(_audiences):
            audience.touch()


def is_async_callable(receiver: object) -> bool:
    """Whether calling it gives a coroutine: an `async def`, or an object with an async call."""
    inner = getattr(receiver, "__func__", receiver)
    if type(inner) is types.FunctionType:
        if inner.__code__.co_flags & inspect.CO_COROUTINE:
            return True
        return bool(inner.__dict__) and inspect.iscoroutinefunction(inner)
    while isinstance(inner, (functools.partial, _Weak)):
        inner = inner.func
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
        getattr(type(inner), "__call__", None)  # noqa: B004 - the method, not callability
    )


# -- several at once --------------------------------------------------------------------------


class Subscription:
    """What `observe` connected; `cancel()`, or leaving its `with` block, undoes just that."""

    def __init__(self, releases: list[Callable[[], None]]) -> None:
        self._releases = releases

    def cancel(self) -> None:
        """Disconnect; a second call does nothing."""
        while self._releases:
            self._releases.pop()()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()


def handlers_of(observer: object) -> dict[str, Receiver]:
    """An observer's handlers by the name of their signal.

    An observer is a callable, which hears every event, or an object with `on_<signal>` methods.
    Raises `ObserverError` for an unknown `on_…` and for anything that is neither.
    """
    if isinstance(observer, type):
        raise ObserverError(f"{observer!r} is a class: observe an instance of it.")
    found: dict[str, Receiver] = {}
    own = [name for name in getattr(observer, "__dict__", ()) if name.startswith("on_")]
    cls: Any = type(observer)
    for attribute in (*_methods_of(cls), *own):
        name = attribute[3:]
        if name == "gap":  # what a queued observer is given where events were dropped
            continue
        if name not in BY_NAME:
            import difflib  # here: it takes a millisecond, for an error only

            close = difflib.get_close_matches(name, BY_NAME, n=1)
            hint = f"Did you mean 'on_{close[0]}'?" if close else f"Known are {_known()}."
            raise ObserverError(
                f"{type(observer).__name__} has {attribute!r}, but there is no signal {name!r}. "
                f"{hint}"
            )
        method = getattr(observer, attribute)
        if not callable(method):
            raise ObserverError(
                f"{type(observer).__name__}.{attribute} is {method!r}, not callable."
            )
        found[name] = method
    if found:
        return found
    if callable(observer):
        return dict.fromkeys(BY_NAME, observer)
    if callable(getattr(observer, "context", None)):
        return {}
    raise ObserverError(
        f"{observer!r} is no observer: give a callable of one event, or an object with "
        f"methods such as on_chunk. Known are {_known()}."
    )


@functools.lru_cache(maxsize=256)
def _methods_of(cls: Any) -> tuple[str, ...]:
    return tuple(name for name in dir(cls) if name.startswith("on_"))


def _known() -> str:
    return ", ".join(f"on_{name}" for name in BY_NAME)


def observe(observer: object, *, sender: object = ANY) -> Subscription:
    """Connect an observer to every signal that it handles.

    Args:
        observer: A callable of one event, or an object with `on_<signal>` methods. A method
            `context(event) -> contextvars.Context | None` is asked at each node and item start
            for the context in which that step's code shall run; the first that gives one wins.
        sender: As in `EventSignal.connect`.

    Raises `ObserverError` for an unknown `on_…`, before anything is connected.
    """
    handlers = _with_context(observer, handlers_of(observer))
    sender_key(sender)
    signals = {**BY_NAME, "context": _context}
    return Subscription([signals[name].hold(handler, sender) for name, handler in handlers.items()])


def _with_context(observer: object, handlers: dict[str, Receiver]) -> dict[str, Receiver]:
    """An observer's handlers, and its `context` method as that of the signal that asks for it."""
    context = getattr(observer, "context", None)
    if not callable(context):
        return handlers
    if is_async_callable(context):
        raise ObserverError(
            f"{type(observer).__name__}.context is async: it is asked for a context, which nothing "
            "awaits. Make it a plain method."
        )
    return {**handlers, "context": context}


def on(
    event_type: type[E], *, sender: object = ANY
) -> Callable[[Callable[[E], R]], Callable[[E], R]]:
    """Connect the decorated function to the signal of that event type, and return it.

    `on(Event)` connects it to every signal. Raises `ObserverError` for anything but an event type.
    """
    if not (isinstance(event_type, type) and issubclass(event_type, Event)):
        raise ObserverError(f"on(…) takes an event type such as Chunk, not {event_type!r}.")

    def connect(handler: Callable[[E], R]) -> Callable[[E], R]:
        for signal in signals_of(event_type):
            signal.connect(handler, sender)
        return handler

    return connect


def signals_of(event_type: type[E]) -> Iterator[EventSignal[E]]:
    """The signals that send this type of event, or its subtypes."""
    for signal in BY_NAME.values():
        if issubclass(signal.event_type, event_type):
            yield signal
