"""Tasks whose first step is made at once, so that starting one gives no control away."""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any

__all__ = ["start"]


class _Rest:
    """What is left of a coroutine after its first step, which yielded `waiting`."""

    __slots__ = ("coroutine", "waiting")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.coroutine: Coroutine[Any, Any, None] | None = coroutine
        self.waiting: Any = None

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine, waiting = self.coroutine, self.waiting
        while coroutine is not None:
            try:
                try:
                    sent = yield waiting
                except BaseException as error:
                    waiting = coroutine.throw(error)
                else:
                    waiting = coroutine.send(sent)
            except StopIteration:
                return


async def _wait_for(rest: _Rest) -> None:
    await rest


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
    task = asyncio.Task(
        _wait_for(rest), loop=loop, context=copy_context() if context is None else context
    )
    made(task)
    outer = asyncio.current_task(loop)
    if outer is not None:
        _leave_task(loop, outer)
    _enter_task(loop, task)
    try:
        rest.waiting = coroutine.send(None)
    except StopIteration:
        rest.coroutine = None
    except BaseException:
        rest.coroutine = None
        raise
    finally:
        _leave_task(loop, task)
        if outer is not None:
            _enter_task(loop, outer)
