"""Of which run the code is that runs here, where its context says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

__all__ = ["current_here", "nowhere"]

current_here: Final[ContextVar[Any]] = ContextVar("flowevents_here", default=None)
"""Where the code of an async run stands that runs in this context, a `Here`: that of the engine and
of nodes, and of what they start. A sync run sets nothing, because its code runs in the context of
its consumer."""


@contextmanager
def nowhere() -> Iterator[None]:
    """Have the code in the `with` block, across which nothing is yielded, be no async run's."""
    before = current_here.get()
    current_here.set(None)
    try:
        yield
    finally:
        current_here.set(before)
