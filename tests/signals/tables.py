"""What the signals hold."""

from __future__ import annotations

import sys
from typing import Any

from flowevents.signals import EventSignal
from tests.tables import holders, is_in, sizes

__all__ = ["HELD", "begin", "left"]

PACKAGE = "flowevents.signals"
MODULES = {name: module for name, module in sys.modules.items() if is_in(name, PACKAGE)}

HELD: list[EventSignal[Any]] = [
    each for each in holders(MODULES, PACKAGE).values() if isinstance(each, EventSignal)
]
"""All signals, also those that are not public."""

_before: dict[str, int] = {}


def begin() -> None:
    """Take what the tables hold now as nothing."""
    _before.clear()
    _before.update(sizes(MODULES, PACKAGE))


def left() -> dict[str, int]:
    """The tables that hold more than at the last `begin`, and how much they hold."""
    now = sizes(MODULES, PACKAGE)
    return {name: size for name, size in now.items() if size > _before.get(name, 0)}
