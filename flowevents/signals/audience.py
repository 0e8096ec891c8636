"""What one run knows of its listeners: its audience.

The rules of this file, which the engine relies on:

* A run looks its handlers up once per step, by the keys of the step's senders, and again only when
  `Audience.version` is another object: whatever may change a lookup replaces it. The look comes
  after the version was read, and `changed` after the change, so that none is missed.
* Handlers are called in the order in which they were connected, whatever their sender, each once
  per event. A run's own observers are no connections but its audience's, as if they had been
  connected when the run began; they go with its end.
* What nothing is connected to in particular is heard by whom all of the run is heard by: that is
  looked up once for all of its nodes, and without a lock.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final, Literal

from msgspec.structs import replace

from flowevents.errors import ObserverError
from flowevents.events import EVENT_TYPES
from flowevents.signals.handlers import (
    NO_HANDLERS,
    Entry,
    Handlers,
    Listeners,
    Receiver,
    handlers_among,
    is_async_callable,
    receiver_key,
)
from flowevents.signals.senders import EVERYTHING, Identity, orders, table

__all__ = ["Audience", "audiences", "audiences_of", "changed", "doubles", "live", "with_context"]

_NOBODY: Final = Listeners()
_CONSUMER: Final = replace(  # a consumer alone
    _NOBODY, anybody=True, **dict.fromkeys([kind.signal for kind in EVENT_TYPES], NO_HANDLERS)
)


class Audience(Identity):
    """What one run knows of its listeners, and what a handler of that run is connected to.

    Attributes:
        run_key: `("run", id)`; events that are sent by hand find the run by it.
        version: Another object whenever a lookup may give another result.
        consumer: Who iterates over the run takes every one of its `"events"`, so that all are made,
            or the data of its `"output"` chunks; with `None` nobody does.
        own: The handlers of the run's own observers, by the name of their signal.
        closed: The run has ended, or nobody hears it any more.

    One thread at a time adds observers or closes it; the rest is safe from any thread.
    """

    __slots__ = (
        "_found",
        "_heard",
        "_here",
        "_nobody",
        "_told",
        "closed",
        "consumer",
        "own",
        "run_key",
        "version",
    )

    def __init__(self, run_key: Hashable, *, special: bool = False, recorded: bool = False) -> None:
        self.run_key: Hashable = run_key
        nobody = _CONSUMER if recorded else _NOBODY  # what there is where nobody is connected
        self._nobody: Listeners = replace(nobody, special=True) if special else nobody
        self.version: object = object()
        self.closed: bool = False
        self.consumer: Literal["events", "output"] | None = None
        self.own: dict[Hashable, tuple[Entry, ...]] = {}
        self._told: tuple[object, ...] = ()  # async handlers of a sync run, steps that had ended
        # What `Listeners` says of everything and of the run's own observers, and beside whom; who
        # hears all of the run, and of which version that is true.
        self._found: tuple[_Everyone | None, dict[str, Any]] = _UNKNOWN
        self._heard: tuple[object, Listeners] = _UNHEARD
        self._here: weakref.ref[Audience] = weakref.ref(self)
        if live.setdefault(run_key, self._here) is not self._here:
            doubles[id(self)] = self._here

    def __del__(self) -> None:
        if not self.closed:
            self._leave()

    def add_observer(self, observer: object, handlers: dict[str, Receiver]) -> None:
        """Have an observer of the run's own hear it, until it ends."""
        order, own = next(orders), self.own
        last: object = None
        before: tuple[Entry, ...] = ()
        entries: tuple[Entry, ...] = ()
        for name, handler in with_context(observer, handlers).items():
            # An observer of everything is one handler of all signals, and is looked up as one.
            if handler is not last or own.get(name, ()) is not before:
                last, before = handler, own.get(name, ())
                entries = *before, (order, receiver_key(handler), handler)
            own[name] = entries
        self._found = _UNKNOWN
        self.version = object()

    def listeners(self, keys: tuple[Hashable, ...]) -> Listeners:
        """Who listens to a node with these sender keys in this run."""
        senders = table.senders
        if senders and not senders.keys().isdisjoint(keys):
            return self._look_up(keys)
        version = self.version
        known, heard = self._heard
        if known is not version:
            heard = self._look_up(())
            self._heard = version, heard
        return heard

    def _look_up(self, keys: tuple[Hashable, ...]) -> Listeners:
        """Who listens, where something may be connected to these senders in particular."""
        if self.closed:
            return _NOBODY
        everyone = _hear_everything()
        found = self._of_all(everyone)
        if id(self) in table.senders:
            keys = (id(self), *keys)
        if keys:
            found = found.copy()
            for name, entries in _entries_of(keys).items():
                every = *everyone.entries.get(name, ()), *entries, *self.own.get(name, ())
                _put(found, name, handlers_among(every))
        nobody = self._nobody
        if self.consumer == "events":
            nobody = replace(_CONSUMER, special=True) if nobody.special else _CONSUMER
        if not found:
            return nobody
        contexts = found.get("contexts", ())
        special = nobody.special or bool(contexts) or "captures" in found
        heard = replace(nobody, anybody=True, special=special, **found)
        if contexts:  # they are asked about starts, which therefore have to be made
            heard.node_start = heard.node_start or NO_HANDLERS
            heard.item_start = heard.item_start or NO_HANDLERS
        return heard

    def _of_all(self, everyone: _Everyone) -> dict[str, Any]:
        """What `Listeners` says of all of the run, looked up again only when that has changed."""
        known, found = self._found
        if known is everyone:
            return found
        found = everyone.found
        if self.own:
            found = found.copy()
            last: Sequence[Entry] = ()
            alone = NO_HANDLERS
            for name, entries in self.own.items():
                if name in everyone.entries:
                    _put(found, name, handlers_among((*everyone.entries[name], *entries)))
                else:
                    if entries is not last:
                        last, alone = entries, handlers_among(entries)
                    _put(found, name, alone)
        self._found = everyone, found
        return found

    def touch(self) -> None:
        """Make the run look again before its next event."""
        self.version = object()

    def first_time(self, what: object) -> bool:
        """Whether nothing was complained of this yet."""
        if what in self._told:
            return False
        self._told = (*self._told, what)
        return True

    def silence(self) -> None:
        """Nobody hears it from here on."""
        self.closed, self.consumer = True, None
        self._leave()
        self.version = object()

    def close(self) -> None:
        """The run has ended: nothing that was connected to it stays behind."""
        self.closed = True
        self._leave()
        if self.own:
            self.own = {}
            self.version = object()
        self._found, self._heard = _UNKNOWN, _UNHEARD
        if id(self) in table.senders:
            table.forget(self)

    def _leave(self) -> None:
        if live.get(self.run_key) is self._here:
            del live[self.run_key]
        else:
            doubles.pop(id(self), None)


class _Everyone:
    """Who hears everything: what `Listeners` says of it, and the entries that it is made of."""

    __slots__ = ("entries", "found", "version")

    def __init__(self, version: object) -> None:
        self.version = version
        self.entries = _entries_of((EVERYTHING,))
        self.found: dict[str, Any] = {}
        for name, entries in self.entries.items():
            _put(self.found, name, handlers_among(entries))


def _hear_everything() -> _Everyone:
    """Those who hear everything now; looked up again only when that has changed."""
    global _everyone
    known, version = _everyone, table.version  # first this, then the look, as for a run
    if known.version is not version:
        known = _everyone = _Everyone(version)
    return known


def _entries_of(keys: Iterable[Hashable]) -> dict[Hashable, list[Entry]]:
    """What is connected to the senders with these keys, by signal."""
    found: dict[Hashable, list[Entry]] = {}
    for key in keys:
        for connection in table.of(key):
            found.setdefault(connection.place[0], []).append(connection.entry)
    return found


def _put(found: dict[str, Any], name: Hashable, handlers: Handlers) -> None:
    """Note what `Listeners` says of a signal that these hear."""
    if type(name) is str and name not in table.muted:  # runs send nothing by another signal
        found[name] = handlers.calls if name == "contexts" else handlers


_NOTHING_SEEN: Final = _Everyone(None)
_everyone = _NOTHING_SEEN
_UNKNOWN: Final[tuple[None, dict[str, Any]]] = (None, {})
_UNHEARD: Final = (None, _NOBODY)

live: Final[dict[Hashable, weakref.ref[Audience]]] = {}
"""The audience of each run that has not ended, by the run's key."""

doubles: Final[dict[int, weakref.ref[Audience]]] = {}
"""Those of further runs with an id that is taken, by their own ids."""


def audiences() -> list[Audience]:
    """The audiences of all runs that are under way."""
    found = [*live.values(), *doubles.values()]
    return [audience for each in found if (audience := each()) is not None]


def audiences_of(run_id: str) -> list[Audience]:
    """Those of the runs with this id that have not ended; one of them at most has begun."""
    key = ("run", run_id)
    if not (doubles or key in live):
        return []
    return [each for each in audiences() if each.run_key == key]


def changed(key: Hashable, sender: object = None) -> None:
    """Tell whom a change concerns in what is connected to the sender with this key: one run or all.

    `sender` is its identity, if it has one.
    """
    global _everyone
    version = object()
    if key == EVERYTHING:
        table.version, _everyone = version, _NOTHING_SEEN  # nothing is kept of what was connected
    for audience in [sender] if isinstance(sender, Audience) else audiences():
        audience.version = version


def with_context(observer: object, handlers: dict[str, Receiver]) -> dict[str, Receiver]:
    """An observer's handlers, with what else it wants: its `context` method asked, and `captures`.

    Raises `ObserverError` where that method is async.
    """
    if getattr(observer, "captures", None) is True:
        handlers = {**handlers, "captures": lambda event: None}
    context = getattr(observer, "context", None)
    if not callable(context):
        return handlers
    if is_async_callable(context):
        raise ObserverError(
            f"{type(observer).__name__}.context is async: it is asked for a context, which nothing "
            "awaits. Make it a plain method."
        )
    return {**handlers, "contexts": context}
