"""How large the reliability suite is: `FLOWEVENTS_SOAK=1`, as `make soak` sets it, is full size."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

__all__ = ["SOAK", "examples", "full"]

SOAK: Final = bool(os.environ.get("FLOWEVENTS_SOAK"))


def full(size: int, small: int) -> int:
    """So many at full size, else so few."""
    return size if SOAK else small


def examples(size: int, small: int) -> settings:
    """Settings of a property test with so many examples."""
    return settings(max_examples=full(size, small), deadline=None)
