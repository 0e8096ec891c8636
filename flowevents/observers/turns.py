"""One thing after the other, from all threads, and not inside of itself."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Lock, get_ident
from typing import Any, Final, TypeVar

__all__ = ["Turns"]

R = TypeVar("R")

_Calls = deque[tuple[Callable[..., object], tuple[Any, ...]]]
_logger: Final = logging.getLogger("flowevents")


class Turns:
    """Has calls made one at a time: by `do`, where `postpones` says that this is not inside of one.

    The garbage collector may close a run wherever it likes, also in the middle of an observer's
    code; the ends of that run come to the observer then, in the thread that is inside.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._holder: int | None = None  # the thread inside; what an interrupt left is overwritten
        self._later: _Calls = deque()

    def postpones(self, call: Callable[..., object], *args: Any) -> bool:
        """Whether this thread is inside; then the call is made when it has left."""
        holder = self._holder
        if holder is not None and holder == get_ident() and self._lock.locked():
            self._later.append((call, args))
            return True
        return False

    def do(self, call: Callable[..., R], *args: Any) -> R:
        """Give what the call gives, when no other one is made; then make what was postponed.

        In this thread, so that it stays in order. What that raises is logged.
        """
        later: _Calls | None = None
        try:
            with self._lock:
                self._holder = get_ident()
                try:
                    return call(*args)
                finally:
                    if self._later:
                        later, self._later = self._later, deque()
                    self._holder = None
        finally:
            if later is not None:
                self._make(later)

    def _make(self, later: _Calls) -> None:
        try:
            while later:
                call, args = later.popleft()
                try:
                    call(*args)
                except Exception:
                    _logger.exception("%r failed on what came while it was at work", call)
        finally:
            self._later.extendleft(reversed(later))  # what an interrupt has left
