"""Observers: what hears several signals at once, and how it is connected."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

from flowevents.errors import ObserverError
from flowevents.events import Event
from flowevents.signals.audience import with_context
from flowevents.signals.bus import ANY, BY_NAME, EventSignal, captures, contexts, key_of
from flowevents.signals.handlers import Receiver, check_takes_event, takes

__all__ = ["Subscription", "handlers_of", "observe", "on", "signals_of"]

E = TypeVar("E", bound=Event)
R = TypeVar("R")


class Subscription:
    """What `observe` connected; `cancel()`, or leaving its `with` block, undoes just that."""

    def __init__(self, releases: list[Callable[[], None]]) -> None:
        self._releases = releases

    def cancel(self) -> None:
        """Disconnect; a second call does nothing."""
        while self._releases:
            self._releases.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()


def observe(observer: object, *, sender: object = ANY) -> Subscription:
    """Connect an observer to every signal that it handles.

    Args:
        observer: A callable of one event, or an object with `on_<signal>` methods. A method
            `context(event) -> contextvars.Context | None` is asked at each node and item start
            for the context in which that step's code shall run; the first that gives one wins.
            Where it has `captures = True`, what it hears is captured as by `Run(capture=True)`.
        sender: As in `EventSignal.connect`.

    Raises `ObserverError` for an unknown `on_…`, before anything is connected.
    """
    handlers = with_context(observer, handlers_of(observer))
    key_of(sender)
    signals = {**BY_NAME, contexts.name: contexts, captures.name: captures}
    return Subscription([signals[name].hold(handler, sender) for name, handler in handlers.items()])


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


def handlers_of(observer: object) -> dict[str, Receiver]:
    """An observer's handlers by the name of their signal.

    An observer is a callable, which hears every event, or an object with `on_<signal>` methods.
    Raises `ObserverError` for an unknown `on_…` and for anything that is neither.
    """
    if isinstance(observer, type):
        raise ObserverError(f"{observer!r} is a class: observe an instance of it.")
    cls: Any = type(observer)
    names, checked = _methods_of(cls)
    for attribute in getattr(observer, "__dict__", ()):
        if attribute.startswith("on_"):
            names = {**names, **_signal_names(cls, [attribute])}
    found: dict[str, Receiver] = {}
    for attribute, name in names.items():
        method = getattr(observer, attribute)
        if not callable(method):
            raise ObserverError(f"{cls.__name__}.{attribute} is {method!r}, not callable.")
        if getattr(method, "__func__", None) not in checked:
            check_takes_event(method)
        found[name] = method
    if found:
        return found
    if callable(observer):
        check_takes_event(observer)
        return dict.fromkeys(BY_NAME, observer)
    if callable(getattr(observer, "context", None)):
        return {}
    raise ObserverError(
        f"{observer!r} is no observer: give a callable of one event, or an object with "
        f"methods such as on_chunk. Known are {_known()}."
    )


_Names = dict[str, str]


@functools.lru_cache(maxsize=256)
def _methods_of(cls: Any) -> tuple[_Names, frozenset[object]]:
    """The `on_…` of a class and the signals that they are for, which hardly ever change; and those
    functions among them of which it is known that they take an event."""
    names = _signal_names(cls, [each for each in dir(cls) if each.startswith("on_")])
    functions = [vars(each).get(name) for each in cls.__mro__ for name in names]
    return names, frozenset(
        each for each in functions if isinstance(each, types.FunctionType) and takes(each, 2)
    )


def _signal_names(cls: type, attributes: Iterable[str]) -> _Names:
    """The signals by the attributes that are for them; raises for an unknown one."""
    names: _Names = {}
    for attribute in attributes:
        name = attribute[3:]
        if name in BY_NAME:
            names[attribute] = name
        elif name != "gap":  # what a queued observer is given where events were dropped
            import difflib  # here: it takes a millisecond, for an error only

            close = difflib.get_close_matches(name, BY_NAME, n=1)
            hint = f"Did you mean 'on_{close[0]}'?" if close else f"Known are {_known()}."
            raise ObserverError(
                f"{cls.__name__} has {attribute!r}, but there is no signal {name!r}. {hint}"
            )
    return names


def _known() -> str:
    return ", ".join(f"on_{name}" for name in BY_NAME)
