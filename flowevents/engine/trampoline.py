"""How the engine is resumed: it and what it awaits, each without passing through the others."""

from __future__ import annotations

import logging
from typing import Any, Final

from flowevents.engine.effects import Await

__all__ = ["Ended", "close_all", "resume"]

logger: Final = logging.getLogger("flowevents")


class Ended(Exception):
    """The engine came to its end; no `StopIteration`, which a node's code might raise too."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


def resume(opened: list[Any], error: BaseException | None) -> Any:
    """Go on, or raise `error` there, until something is yielded for the consumer or the loop.

    `opened` are a generator of the engine and what it awaits, outermost first. Raises `Ended` with
    what the engine returned, or what it raised.
    """
    value: Any = None
    context: BaseException | None = None if error is None else error.__context__
    while True:
        try:
            out = opened[-1].send(value) if error is None else opened[-1].throw(error)
        except StopIteration as end:
            opened.pop()
            if not opened:
                raise Ended(end.value) from None
            value, error = end.value, None
        except BaseException as raised:
            if raised is error:  # to throw it may have made of it what came of something else
                raised.__context__ = context
            opened.pop()
            if not opened:
                raise
            value, error, context = None, raised, raised.__context__
        else:
            if out is None or type(out) is not Await:
                return out
            opened.append(out.steps)
            value, error = None, None


def close_all(run_id: str, opened: list[Any]) -> None:
    """Close generators and coroutines that nothing will resume, the last one first.

    So it is where the garbage collector closes one of them, in an order of its own, and where the
    loop is closed. What a node's code raises meanwhile is logged.
    """
    while opened:
        try:
            opened.pop().close()
        except BaseException as error:  # the others are closed, and ends are told, all the same
            logger.error(
                "An error in run %s, which nothing can go on with, while it was closed",
                run_id,
                exc_info=error,
            )
