"""Plain code of a node in a worker thread, so that the loop of an async run stays live.

Each attempt has a thread of its own, in which its code runs call by call; what it publishes gets
to the loop in order. The code is never killed: a cancel waits until the call that runs has ended,
or publishes something.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from flowevents.engine.effects import Await, Effects
from flowevents.engine.sequencer import Step, logger
from flowevents.engine.streams import Result

__all__ = ["OffloadedStream", "offload"]

_END: Final = object()


def offload(scope: Step, method: Callable[..., Any], argument: Any) -> Effects:
    """Call a method of the step's node in a worker thread."""
    worker = _Worker(scope)
    try:
        return (yield Await(worker.call(method, argument)))
    finally:
        worker.close()


class _Worker:
    """The thread of one attempt."""

    def __init__(self, scope: Step) -> None:
        self._scope = scope
        self._context = scope.context or copy_context()
        self._executor = ThreadPoolExecutor(1, f"flowevents {scope.plan.path}", self._begin)
        self._ident: int | None = None

    def _begin(self) -> None:
        self._ident = threading.get_ident()
        self._scope.sequencer.workers.add(self._ident)

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a call gives, or raises. Cancelled, it waits for the end of the call first."""
        loop = asyncio.get_running_loop()
        called = loop.run_in_executor(self._executor, self._context.run, function, *args)
        cancelled: BaseException | None = None
        while not called.done():
            try:
                await asyncio.wait([called])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is None:
            return called.result()
        raised = called.exception()
        if isinstance(raised, Exception):
            logger.error(
                "Node %r raised while run %s was cancelled",
                self._scope.plan.path,
                self._scope.sequencer.run_id,
                exc_info=raised,
            )
        raise cancelled

    def close(self) -> None:
        """End the thread, which has nothing left to do."""
        self._executor.shutdown()
        self._scope.sequencer.workers.discard(self._ident)


class OffloadedStream:
    """What `exec_stream` yields in a worker thread, as an async iterator; its value comes last."""

    def __init__(self, scope: Step, method: Callable[..., Any], argument: Any) -> None:
        self._scope = scope
        self._method, self._argument = method, argument
        self._worker = _Worker(scope)
        self._source: Any = None
        self._ended = False

    def __aiter__(self) -> OffloadedStream:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return self._next(self._advance)

    @property
    def asend(self) -> Callable[[Any], Awaitable[Any]]:
        """Go on with an answer; there is none where what the node gave cannot take it."""
        return partial(self._next, self._source.send)

    @property
    def athrow(self) -> Callable[[Any], Awaitable[Any]]:
        """Go on with an error."""
        return partial(self._next, self._source.throw)

    async def _next(self, advance: Callable[..., Any], *args: object) -> Any:
        data = _END if self._ended else await self._worker.call(self._drawn, advance, *args)
        if data is _END:
            self._worker.close()
            raise StopAsyncIteration
        return data

    def _drawn(self, advance: Callable[..., Any], *args: object) -> Any:
        try:
            return advance(*args)
        except StopIteration as end:
            self._ended, self._source = True, None
            return _END if end.value is None else Result(end.value)

    def _advance(self) -> Any:
        if self._source is None:
            self._source = iter(self._method(self._argument))
        return next(self._source)

    async def aclose(self) -> None:
        """Close the generator, in its thread, and end that."""
        try:
            close = getattr(self._source, "close", None)
            if callable(close):
                await self._worker.call(close)
        finally:
            self._worker.close()
