"""Receivers, and the handlers that they are for the events of one type.

A receiver is a callable of one event. This file says what else there is to know of it: which
objects are the same receiver, how one that is held weakly is called, and which are async.
"""

from __future__ import annotations

import functools
import inspect
import types
import weakref
from collections.abc import Callable, Hashable, Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec

from flowevents.errors import ObserverError

__all__ = [
    "NO_HANDLERS",
    "Entry",
    "Handlers",
    "Listeners",
    "Receiver",
    "Weakly",
    "check_takes_event",
    "handlers_among",
    "is_async_callable",
    "once",
    "receiver_key",
    "takes",
]

Receiver = Callable[[Any], object]

Entry = tuple[int, Hashable, Receiver]
"""A receiver's place in the order, its key, and how it is called."""


class Handlers(msgspec.Struct, eq=False):
    """The handlers of one type of event, in order; `asynchronous` are those to be awaited."""

    calls: tuple[Receiver, ...]
    asynchronous: tuple[Receiver, ...]

    def plain(self) -> Handlers:
        """Those that need not be awaited."""
        return Handlers(tuple([each for each in self.calls if each not in self.asynchronous]), ())


NO_HANDLERS: Final = Handlers((), ())
"""The handlers of an event that a consumer alone takes."""


class Listeners(msgspec.Struct):
    """Who listens to one node: for each signal the `Handlers` of its events, and more.

    Attributes:
        anybody: Whether there is one.
        contexts: Who is asked for the context of the node's code.
        captures: Those who want what the node gets and gives.
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
    captures: Handlers | None = None
    special: bool = False


def once(entries: Sequence[Entry]) -> tuple[Receiver, ...]:
    """The receivers of these entries, in order, each at its first place."""
    receivers: dict[Hashable, Receiver] = {}
    for _, key, receiver in sorted(entries, key=_order):
        receivers.setdefault(key, receiver)
    return tuple(receivers.values())


_order: Final = itemgetter(0)


def handlers_among(entries: Sequence[Entry]) -> Handlers:
    """The receivers of these entries as handlers."""
    if len(entries) == 1:
        ((_, _, receiver),) = entries
        return Handlers((receiver,), (receiver,) if is_async_callable(receiver) else ())
    calls = once(entries)
    return Handlers(calls, tuple(filter(is_async_callable, calls)))


class Weakly:
    """Calls a receiver that is held weakly, as long as it is there."""

    __slots__ = ("reference",)

    def __init__(self, receiver: Receiver, gone: Callable[[Any], None]) -> None:
        kind = weakref.WeakMethod if isinstance(receiver, types.MethodType) else weakref.ref
        self.reference: weakref.ref[Any] = kind(receiver, gone)

    @property
    def func(self) -> Any:
        """The receiver, or `None`."""
        return self.reference()

    def __call__(self, event: object) -> object:
        """What the receiver returns, or `None`."""
        receiver = self.reference()
        return None if receiver is None else receiver(event)


def check_takes_event(receiver: object) -> None:
    """Raise `ObserverError` for a receiver that cannot be called with an event alone."""
    if not takes(receiver, 1):
        raise ObserverError(
            f"{receiver!r} cannot be a handler: that is called with one argument, the event. What "
            "else it needs is there, as event.data and event.node."
        )


def takes(receiver: Any, count: int) -> bool:
    """Whether it can be called with so many arguments by their position, as far as is known."""
    if isinstance(receiver, functools.partial):
        return _binds(receiver, count)
    if not isinstance(receiver, types.FunctionType):
        bound = isinstance(receiver, types.MethodType)
        receiver = receiver.__func__ if bound else getattr(type(receiver), "__call__", None)  # noqa: B004 - the method, not callability
        count += 1
    if not isinstance(receiver, types.FunctionType):  # its signature takes long to find
        return True
    code = receiver.__code__
    least = code.co_argcount - len(receiver.__defaults__ or ())
    most = count if code.co_flags & inspect.CO_VARARGS else code.co_argcount
    named = code.co_kwonlyargcount - len(receiver.__kwdefaults__ or ())
    return least <= count <= most and not named


def _binds(receiver: functools.partial[Any], count: int) -> bool:
    try:
        inspect.signature(receiver).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # what it calls has none
        return True
    return True


def receiver_key(receiver: object) -> Hashable:
    """What the objects that are the same receiver have in common."""
    if isinstance(receiver, types.MethodType):
        return id(receiver.__func__), id(receiver.__self__)
    if isinstance(receiver, types.BuiltinMethodType):
        owner = receiver.__self__  # of list.append, made at each access; of a function its module
        if not isinstance(owner, types.ModuleType):
            return receiver.__name__, id(owner)
    return id(receiver)


def is_async_callable(receiver: object) -> bool:
    """Whether calling it gives a coroutine: an `async def`, or an object with an async call."""
    inner = getattr(receiver, "__func__", receiver)
    if type(inner) is types.FunctionType and not inner.__dict__:  # by far the most
        return bool(inner.__code__.co_flags & inspect.CO_COROUTINE)
    if isinstance(inner, (functools.partial, Weakly)):
        return is_async_callable(inner.func)
    if inspect.iscoroutinefunction(inner):
        return True
    call = getattr(type(inner), "__call__", None)  # noqa: B004 - the method, not callability
    return type(call) is types.FunctionType and is_async_callable(call)
