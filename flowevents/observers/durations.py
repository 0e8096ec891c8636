"""How long something took: in words where it stands for good, shorter where it is one of many.

A number that would be rounded up to the whole of the next unit is written in that.
"""

from __future__ import annotations

import math

__all__ = ["duration", "short"]


def duration(seconds: float) -> str:
    """Seconds as a text: `"0.4 ms"`, `"120 ms"`, `"1.25 s"`, `"2 min 5 s"` or `"3 h 20 min"`."""
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
