"""How much is held by objects, whatever their tables are called and wherever these stand."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

__all__ = ["holders", "is_in", "sizes"]

TABLES = (dict, list, set, deque, WeakSet, WeakKeyDictionary, WeakValueDictionary)


def is_in(module: str, package: str) -> bool:
    """Whether a module is that one, or below it."""
    return f"{module}.".startswith(f"{package}.")


def attributes(holder: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, in its dictionary or in slots."""
    yield from getattr(holder, "__dict__", {}).items()
    for cls in type(holder).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(holder, name):
                yield name, getattr(holder, name)


def holders(roots: Mapping[str, Any], package: str) -> dict[str, Any]:
    """The roots, and every object of the package's classes that can be reached from there."""
    found = dict(roots)
    ahead = list(found.items())
    known: set[int] = set()
    while ahead:
        name, holder = ahead.pop()
        for attribute, held in attributes(holder):
            if is_in(type(held).__module__, package) and id(held) not in known:
                known.add(id(held))
                found[f"{name}.{attribute}"] = held
                ahead.append((f"{name}.{attribute}", held))
    return found


def sizes(roots: Mapping[str, Any], package: str) -> dict[str, int]:
    """How many things each table of theirs holds."""
    gc.collect()
    return {
        f"{name}.{attribute}": len(held)
        for name, holder in holders(roots, package).items()
        for attribute, held in attributes(holder)
        if isinstance(held, TABLES) and not attribute.startswith("__")
    }
