"""One thing after the other, also where it comes from inside of itself."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident

__all__ = ["Turns"]


class Turns:
    """Blocks, `with turns:`, inside of which the same thread does not begin what it is asked to.

    The garbage collector may close a run wherever it likes, also in the middle of an observer's
    code; the ends of that run come to the observer then, by the thread that is inside. They have
    to wait until it has left. A block holds no lock: other threads are none of its business.
    """

    def __init__(self) -> None:
        self._later: dict[int, list[Callable[[], object]]] = {}  # by the thread that is inside

    def defers(self, call: Callable[[], object]) -> bool:
        """Whether this thread is inside; then the call is made when it has left."""
        later = self._later.get(get_ident())
        if later is None:
            return False
        later.append(call)
        return True

    def __enter__(self) -> None:
        self._later[get_ident()] = []

    def __exit__(self, *exc: object) -> None:
        raised: BaseException | None = None
        for call in self._later.pop(get_ident()):
            try:
                call()
            except BaseException as error:
                raised = raised or error
        if raised is not None:
            raise raised
