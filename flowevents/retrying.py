"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

__all__ = ["backoff"]


def backoff(
    initial: float = 0.5, factor: float = 2, maximum: float = 60, jitter: float = 0.5
) -> Callable[[int, Exception], float]:
    """Return a `wait` that grows: `Node(max_retries=5, wait=backoff())`.

    After attempt 1 it waits `initial` seconds, after each further one `factor` times as long, plus
    up to `jitter` seconds at random, so that not all who failed together come back together; in all
    at most `maximum`.

    Raises `ValueError` where it would not wait, or grow.
    """
    if not (initial >= 0 and maximum >= 0 and jitter >= 0):
        raise ValueError(
            f"backoff(initial={initial!r}, maximum={maximum!r}, jitter={jitter!r}): give seconds, "
            "0 or more."
        )
    if not factor >= 1:
        raise ValueError(f"backoff(factor={factor!r}): give 1 or more; 1 does not grow.")
    return partial(_seconds, initial, factor, maximum, jitter)


def _seconds(
    initial: float, factor: float, maximum: float, jitter: float, attempt: int, error: Exception
) -> float:
    try:
        seconds = initial * float(factor) ** (attempt - 1)
    except OverflowError:
        seconds = maximum
    return min(maximum, seconds + random.uniform(0, jitter))
