"""How durations, rates, counts and values are written, the same wherever a person reads them.

A duration is in words where it stands for good, shorter where it is one of many. What would be
rounded up to the whole of the next unit is written in that.
"""

from __future__ import annotations

import math
import reprlib
from typing import Final

from flowevents.plain import text_in

__all__ = ["count", "duration", "items", "rate", "short", "value"]

_compact: Final = reprlib.Repr()
_compact.maxlevel = 4
_compact.maxdict = _compact.maxlist = _compact.maxtuple = _compact.maxset = 20
_compact.maxstring = _compact.maxother = _compact.maxlong = 300


def duration(seconds: float) -> str:
    """Seconds in words: `"0.4 ms"`, `"120 ms"`, `"1.25 s"`, `"2 min 5 s"` or `"3 h 20 min"`."""
    if seconds < 0.9995:
        milliseconds = f"{seconds * 1000:.2g}" if seconds < 0.00995 else f"{seconds * 1000:.0f}"
        return f"{milliseconds} ms" if seconds > 0.000_000_5 else "0 s"
    if seconds < 9.995:
        return f"{seconds:.3g} s"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def short(seconds: float) -> str:
    """Seconds as a short text: `12ms`, `3.4s`, `2:05`, `1:02:03`; `?` for what is no duration."""
    if not (math.isfinite(seconds) and seconds >= 0):
        return "?"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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
