"""What can be listened to, and the one table of what is connected to it.

The rules of this file, which the others of this folder rely on:

* A *sender* is turned into a hashable key once: a node into that of an identity which its copies
  share, a run into that of its audience (two runs with one id are two senders), a node class or
  one of pocketflow's nodes into its own, a path into itself. `EVERYTHING` is the key of them all.
* A connection is one receiver with one signal and one sender, numbered as it is made.
* What is connected to a node or a run is kept by its identity, and the table only knows where. So a
  handler that refers to its own sender goes with it. What has no identity (everything, a path, a
  class, a node of pocketflow's) has its connections kept by the table, until it is gone.
* Changes are made under `lock`. Who looks up takes no lock: it reads copies.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Any, Final

from flowevents.errors import ObserverError
from flowevents.signals.handlers import Entry

__all__ = ["EVERYTHING", "Connection", "Identity", "Table", "orders", "sender_key", "table"]

EVERYTHING: Final = 0
"""The key of what listens to everything; no object has it as its `id`."""

orders: Final = itertools.count(1)
"""Numbers connections, and observers of runs, as they are made."""


class Identity:
    """What a node and its copies have in common; a handler connected to one hears them all.

    Attributes:
        connections: What is connected to it, by signal and receiver, since there was something.
        past: What the engine notes of the runs that it has been in, since there was one.
    """

    __slots__ = ("__weakref__", "connections", "past")

    connections: dict[tuple[Hashable, Hashable], Connection]
    past: Any

    def __reduce__(self) -> tuple[Callable[[], Identity], tuple[()]]:
        return Identity, ()  # a deep copy of a node, or one in another process, is another node


class Connection:
    """One receiver with one signal and one sender, and who wants it.

    Attributes:
        sender, place: Its sender's key, and its key among what is connected to that sender.
        entry: The receiver as it is looked up.
        holds: How many subscriptions and `connected_to` blocks want it, each until it ends;
            infinity where it was made by `connect`.
    """

    __slots__ = ("entry", "holds", "place", "sender")

    def __init__(self, sender: Hashable, place: tuple[Hashable, Hashable], entry: Entry) -> None:
        self.sender: Hashable = sender
        self.place: tuple[Hashable, Hashable] = place
        self.entry: Entry = entry
        self.holds: float = 0


class _Keeper(Identity):
    """Keeps what is connected to something that has no identity, as long as `of` is there."""

    __slots__ = ("of",)

    of: weakref.ref[Any]

    def __call__(self) -> _Keeper:
        return self


class Table:
    """Which senders something is connected to.

    Attributes:
        senders: What gives the identity, or what stands for it, by the sender's key.
        muted: The signals whose handlers are silent.
        version: Another object whenever who hears everything may have changed.
        lock: Held while one of these is done; reentrant, because what is held weakly may go then.
    """

    __slots__ = ("lock", "muted", "senders", "version")

    def __init__(self) -> None:
        self.senders: dict[Hashable, Callable[[], Identity | None]] = {}
        self.muted: set[Hashable] = set()
        self.version: object = object()
        self.lock: AbstractContextManager[bool] = threading.RLock()

    def identity(self, sender: Hashable) -> Identity | None:
        """That of a sender which something is connected to, or what stands for it."""
        give = self.senders.get(sender)
        return None if give is None else give()

    def of(self, sender: Hashable) -> list[Connection]:
        """What is connected to the sender with this key, as it is now."""
        identity = self.identity(sender)
        return [] if identity is None else list(identity.connections.values())

    def get(self, sender: Hashable, place: tuple[Hashable, Hashable]) -> Connection | None:
        """The connection at this place, if there is one."""
        identity = self.identity(sender)
        return None if identity is None else identity.connections.get(place)

    def add(self, connection: Connection, alive: object) -> None:
        """Put a new connection to its sender; `alive` is the object that its key stands for."""
        key, senders = connection.sender, self.senders
        identity = self.identity(key)
        if identity is None:
            keeper = None if isinstance(alive, Identity) else _Keeper()
            identity = alive if isinstance(alive, Identity) else keeper
            assert identity is not None
            identity.connections = {}  # before other threads find it
            if keeper is None:
                senders[key] = weakref.ref(identity, lambda _: senders.pop(key, None))
            else:
                senders[key] = keeper
                if alive is not None:
                    keeper.of = weakref.ref(alive, lambda _: senders.pop(key, None))
        identity.connections[connection.place] = connection

    def drop(self, connection: Connection) -> Identity | None:
        """Take a connection out, and give the identity that it was made with."""
        identity = self.identity(connection.sender)
        if identity is not None:
            identity.connections.pop(connection.place, None)
            if not identity.connections:
                self.senders.pop(connection.sender, None)
        return identity

    def forget(self, identity: Identity) -> None:
        """Take out what is connected to an identity."""
        with self.lock:
            if self.senders.pop(id(identity), None) is not None:
                identity.connections = {}


table: Final = Table()
"""The connections of all signals."""


def sender_key(sender: object) -> tuple[Hashable, object]:
    """The key of a sender's connections, and the object with which they go, if any.

    Raises `ObserverError` (a `TypeError`) for anything that is no sender, `None` included.
    """
    if isinstance(sender, str):
        return sender, None
    if isinstance(sender, type):
        if _is_node(sender):
            return id(sender), sender
    else:
        identity = getattr(sender, "_sender_key", None)
        if isinstance(identity, Identity):  # one of our nodes, or a run
            return id(identity), identity
        if hasattr(sender, "successors") and _is_node(sender):  # one that is not ours
            return id(sender), sender
    raise ObserverError(
        f"Cannot listen to {sender!r}: a sender is a node, a node class, a flow, a run, "
        "a node's path as a string, or ANY."
    )


def _is_node(sender: object) -> bool:
    """Whether it has what a node or its class has."""
    has = {name for name in ("_run", "prep", "post") if callable(getattr(sender, name, None))}
    return "_run" in has or {"prep", "post"} <= has
