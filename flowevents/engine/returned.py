"""What a plain handler returns to be awaited."""

from __future__ import annotations

import inspect

from flowevents.events import Event
from flowevents.signals import Receiver

__all__ = ["Returned", "let_go"]


class Returned:
    """What a plain handler has returned to be awaited, in the place of that handler."""

    __slots__ = ("func", "result")

    def __init__(self, handler: Receiver, result: object) -> None:
        self.func: Receiver = handler
        self.result: object = result

    def __call__(self, event: Event) -> object:
        """Return it, as if the handler were called."""
        return self.result


def let_go(awaitable: object) -> None:
    """What was returned is awaited by nobody; a coroutine would complain of that."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()
