"""What the signals hold, whatever their tables are called and wherever these stand."""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from flowevents.signals import EventSignal

__all__ = ["HELD", "begin", "left"]

TABLES = (dict, list, set, deque, WeakSet, WeakKeyDictionary, WeakValueDictionary)


def of_the_signals(module: str) -> bool:
    """Whether that is where the signals are defined."""
    return f"{module}.".startswith("flowevents.signals.")


def attributes(holder: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, in its dictionary or in slots."""
    yield from getattr(holder, "__dict__", {}).items()
    for cls in type(holder).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(holder, name):
                yield name, getattr(holder, name)


def holders() -> dict[str, Any]:
    """The modules of the signals, and every object of theirs that can be reached from there."""
    found = {name: module for name, module in sys.modules.items() if of_the_signals(name)}
    ahead = list(found.items())
    known: set[int] = set()
    while ahead:
        name, holder = ahead.pop()
        for attribute, held in attributes(holder):
            if of_the_signals(type(held).__module__) and id(held) not in known:
                known.add(id(held))
                found[f"{name}.{attribute}"] = held
                ahead.append((f"{name}.{attribute}", held))
    return found


def sizes() -> dict[str, int]:
    """How many things each table holds."""
    gc.collect()
    return {
        f"{name}.{attribute}": len(held)
        for name, holder in holders().items()
        for attribute, held in attributes(holder)
        if isinstance(held, TABLES) and not attribute.startswith("__")
    }


HELD: list[EventSignal[Any]] = [
    each for each in holders().values() if isinstance(each, EventSignal)
]
"""All signals, also those that are not public."""

_before: dict[str, int] = {}


def begin() -> None:
    """Take what the tables hold now as nothing."""
    _before.clear()
    _before.update(sizes())


def left() -> dict[str, int]:
    """The tables that hold more than at the last `begin`, and how much they hold."""
    return {name: size for name, size in sizes().items() if size > _before.get(name, 0)}
