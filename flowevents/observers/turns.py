"""One thing after the other, from all threads, and not inside of itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock, get_ident
from typing import Any, TypeVar

__all__ = ["Turns"]

R = TypeVar("R")


class Turns:
    """Has calls made one at a time: by `do`, where `postpones` says that this is not inside of one.

    The garbage collector may close a run wherever it likes, also in the middle of an observer's
    code; the ends of that run come to the observer then, in the thread that is inside.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._holder: int | None = None  # the thread inside; what an interrupt left is overwritten
        self._later: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def postpones(self, call: Callable[..., object], *args: Any) -> bool:
        """Whether this thread is inside; then the call is made when it has left."""
        holder = self._holder
        if holder is not None and holder == get_ident() and self._lock.locked():
            self._later.append((call, args))
            return True
        return False

    def do(self, call: Callable[..., R], *args: Any) -> R:
        """Give what the call gives, when no other one is made."""
        try:
            with self._lock:
                self._holder = get_ident()
                try:
                    return call(*args)
                finally:
                    self._holder = None
        finally:
            while self._later:
                self._make_later()

    def _make_later(self) -> None:
        try:
            call, args = self._later.popleft()
        except IndexError:  # another thread has it
            return
        call(*args)
