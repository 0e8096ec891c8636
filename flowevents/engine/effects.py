"""What the engine yields to its drivers, and what travels through it past a node's own handling.

The engine is made of generators. They yield `TAKE` or an event for the consumer and, in async
runs, an `Await`. What is raised through them and is no `Exception` cannot be swallowed or retried
by a node.
"""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Callable, Generator, Iterator
from contextvars import Context
from typing import Any, Final, NoReturn

__all__ = [
    "TAKE",
    "Await",
    "Cancelled",
    "CancelledBy",
    "Effects",
    "Failed",
    "again",
    "pep479",
    "perform",
    "to_driver",
    "wake",
]

Effects = Generator[Any, Any, Any]
"""What the engine is made of: it yields `TAKE` or an event for the consumer and, in async runs, an
`Await` for what is to be awaited."""


class _Take:
    def __repr__(self) -> str:
        return "TAKE"


TAKE: Final = _Take()
"""What the engine yields when the outbox holds something for the consumer, or when nothing of the
run can go on (`Questions.pausing`)."""


class Await:
    """What the engine yields to have something awaited; it is sent the result.

    Attributes:
        steps: What is resumed until the result is there, as a generator or a coroutine is.
    """

    __slots__ = ("steps",)

    def __init__(self, awaitable: Any, context: Context | None = None) -> None:
        self.steps: Any = awaitable
        if context is not None:
            self.steps = _in_context(awaitable, context)
        elif type(awaitable) is not types.CoroutineType:
            self.steps = _steps(awaitable)

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.steps
        return (yield from (steps.__await__() if hasattr(steps, "__await__") else steps))


def _steps(awaitable: Any) -> Any:
    if isinstance(awaitable, types.CoroutineType) or _is_generator_coroutine(awaitable):
        return awaitable
    try:
        steps = awaitable.__await__()
    except AttributeError:
        raise TypeError(
            f"{awaitable!r} cannot be awaited: the methods of an async node are `async def`."
        ) from None
    return steps if hasattr(steps, "throw") else _delegated(steps)


def _is_generator_coroutine(awaitable: object) -> bool:
    return inspect.isgenerator(awaitable) and bool(
        awaitable.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE
    )


def _delegated(steps: Iterator[Any]) -> Generator[Any, Any, Any]:
    return (yield from steps)


def _in_context(awaitable: Any, context: Context) -> Generator[Any, Any, Any]:
    """Each step of an awaitable, in that context."""
    steps = context.run(_steps, awaitable)
    advance: Callable[[Any], Any] = steps.send
    sent: Any = None
    while True:
        try:
            waiting = context.run(advance, sent)
        except StopIteration as end:
            return end.value
        try:
            sent = yield waiting
            advance = steps.send
        except BaseException as error:
            sent = error
            advance = steps.throw


class Cancelled(asyncio.CancelledError):
    """The run is to stop, by `Run.cancel` and its kin, not its task by the loop.

    Attributes:
        releases: A run with a journal is not cancelled by it, but let go.
        error: What whoever drives the run gets; else that it was cancelled.
    """

    def __init__(
        self, text: str, *, releases: bool = False, error: BaseException | None = None
    ) -> None:
        super().__init__(text)
        self.releases: bool = releases
        self.error: BaseException | None = error


class Failed(BaseException):
    """Carries an error that fails the run past the retries of the node where it surfaced."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class CancelledBy(BaseException):
    """Carries, past the nodes, an error that cancels the run: of its callback, or its journal."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def again(error: BaseException) -> NoReturn:
    """Raise an error that was raised before; its context stays, whatever is being handled here."""
    __tracebackhide__ = True
    context = error.__context__
    try:
        raise error
    finally:
        object.__setattr__(error, "__context__", context)  # also of one that is frozen
        del error  # which keeps this frame


def pep479(error: BaseException) -> BaseException:
    """Return what Python makes of an error in a generator, where a `StopIteration` would end it."""
    if not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    wrapped = RuntimeError(f"A node's or handler's code raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped


@types.coroutine
def perform(effects: Effects) -> Generator[Any, Any, Any]:
    """Let an `async def` of the engine do what a generator of the engine does."""
    return (yield from effects)


@types.coroutine
def to_driver(out: object) -> Generator[Any, Any, None]:
    """Let an `async def` of the engine yield to the driver."""
    yield out


def wake(waiting: asyncio.Future[None] | None) -> None:
    """Let go on whoever waits for this future, if somebody still does."""
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
