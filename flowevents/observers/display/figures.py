"""How rates, counts and values are written, the same in a tree and in a line."""

from __future__ import annotations

import math
import reprlib
from typing import Final

from flowevents.plain import text_in

__all__ = ["count", "items", "rate", "value"]

_compact: Final = reprlib.Repr()
_compact.maxlevel = 4
_compact.maxdict = _compact.maxlist = _compact.maxtuple = _compact.maxset = 20
_compact.maxstring = _compact.maxother = _compact.maxlong = 300


def rate(per_second: float) -> str:
    """So many per second, as a number: `0.3`, `34`; `?` for what is none."""
    if not math.isfinite(per_second):
        return "?"
    return f"{per_second:.0f}" if per_second >= 9.95 else f"{per_second:.1f}"


def count(number: float) -> str:
    """A count, which a node may give as a float: `12`, `2.5`."""
    whole = math.isfinite(number) and number == int(number)
    return str(int(number)) if whole else f"{number:.1f}"


def items(indexes: tuple[int, ...]) -> str:
    """The batch items that something belongs to: `[3]`, in a nested batch `[2.3]`, or nothing."""
    return f"[{'.'.join(map(str, indexes))}]" if indexes else ""


def value(data: object) -> str:
    """A value: a text as it is, anything else as its compact `repr`."""
    text = text_in(data)
    if text is not None:
        return text
    try:
        return _compact.repr(data)
    except Exception:  # it is somebody else's `__repr__`
        return f"<{type(data).__name__}>"
