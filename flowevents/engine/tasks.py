"""Tasks whose first step is made at once, so that starting one gives no control away."""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any

__all__ = ["start"]


class _Rest(Coroutine[Any, Any, None]):
    """What is left of a coroutine after its first step, which yielded `waiting`.

    It is no `async def`: a task that is cancelled before its first turn would never begin one, and
    what the coroutine has begun would never be told.
    """

    __slots__ = ("_coroutine", "_ended", "_waiting")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._waiting: list[Any] = []  # until the task has it
        self._ended = False

    def begin(self) -> None:
        """Make the first step."""
        try:
            self._waiting.append(self._coroutine.send(None))
        except StopIteration:
            self._ended = True

    def send(self, value: Any) -> Any:
        if self._ended:
            raise StopIteration
        return self._waiting.pop() if self._waiting else self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        if self._ended:
            raise StopIteration
        if self._waiting:  # the task does not know yet what to cancel
            waiting = self._waiting.pop()
            if isinstance(error[0], asyncio.CancelledError) and _is_cancelled(waiting):
                return waiting
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._coroutine.__await__()


def _is_cancelled(waiting: Any) -> bool:
    """Cancel what a coroutine waits for, as its task would; whether it will be woken by that."""
    cancel = getattr(waiting, "cancel", None)
    return cancel is not None and bool(cancel())


def start(
    coroutine: Coroutine[Any, Any, None],
    loop: asyncio.AbstractEventLoop,
    made: Callable[[asyncio.Task[None]], None],
    context: Context | None = None,
) -> None:
    """Run this coroutine in a task, and make its first step here; `made` is given the task before.

    It is as with `asyncio.eager_task_factory` (CPython 3.12), but may be called where `context`
    runs already, in which the task's code runs; `None` is a copy of the current one. The coroutine
    raises nothing itself. "Extending asyncio", in the documentation of CPython, has the two
    functions that say which task runs.
    """
    rest = _Rest(coroutine)
    here = context is not None
    if context is None:
        context = copy_context()
    task: asyncio.Task[None] = asyncio.Task(rest, loop=loop, context=context)
    made(task)
    outer = asyncio.current_task(loop)
    if outer is not None:
        _leave_task(loop, outer)
    _enter_task(loop, task)
    try:
        if here:
            rest.begin()
        else:
            context.run(rest.begin)
    finally:
        _leave_task(loop, task)
        if outer is not None:
            _enter_task(loop, outer)
