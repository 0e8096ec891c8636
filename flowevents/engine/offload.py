"""Plain code of a node in a worker thread, so that the loop of an async run stays live.

Each attempt has a thread of its own, in which its code runs call by call; what it publishes gets
to the loop in order. The code is never killed: a cancel waits until the call that runs has ended,
or publishes something.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from flowevents.asking import Result
from flowevents.engine.effects import Await, Effects, pep479
from flowevents.engine.step import Step

__all__ = ["OffloadedStream", "offload"]

logger: Final = logging.getLogger("flowevents")

_END: Final = object()


def offload(step: Step, method: Callable[..., Any], argument: Any) -> Effects:
    """Call a method of the step's node in a worker thread."""
    worker = _Worker(step)
    try:
        return (yield Await(worker.call(method, argument)))
    finally:
        worker.close()


class _Worker:
    """The thread of one attempt."""

    def __init__(self, step: Step) -> None:
        self._step = step
        # Of its own, because the loop's thread may be in the step's at the same time.
        self._context = copy_context() if step.context is None else step.context.copy()
        from concurrent.futures import ThreadPoolExecutor  # here: few runs need it

        self._executor = ThreadPoolExecutor(1, f"flowevents {step.plan.path}", self._begin)
        self._ident: int | None = None

    def _begin(self) -> None:
        self._ident = threading.get_ident()
        self._step.state.stop.add_worker(self._ident)

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what a call returns, or raise the very error that it raises.

        Cancelled, it waits for the end of the call first.
        """
        loop = asyncio.get_running_loop()
        begin: Callable[[], Any] = partial(self._context.run, _called, function, *args)
        called: asyncio.Future[Any] = loop.run_in_executor(self._executor, begin)
        cancelled: asyncio.CancelledError | None = None
        while not called.done():
            try:
                await asyncio.wait([called])
            except asyncio.CancelledError as error:
                if cancelled is None:
                    self._step.state.stop.cancel_worker(self._ident, error)
                cancelled = error
        given: tuple[Any, BaseException | None] = called.result()
        result, raised = given
        if cancelled is not None:
            if isinstance(raised, Exception):
                logger.error(
                    "Node %r raised while run %s was cancelled",
                    self._step.plan.path,
                    self._step.state.options.run_id,
                    exc_info=raised,
                )
            raise cancelled
        if raised is not None:
            raise pep479(raised) if isinstance(raised, StopIteration) else raised
        return result

    def close(self) -> None:
        """End the thread, which has nothing left to do."""
        self._executor.shutdown()
        self.forget()

    def forget(self) -> None:
        """A cancel does not stop it at its next event any more."""
        self._step.state.stop.drop_worker(self._ident)


def _called(function: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
    """Call it; return what it returns and what it raises, of which a future would change some."""
    try:
        return function(*args), None
    except BaseException as error:
        return None, error


class OffloadedStream:
    """What `exec_stream` yields in a worker thread, as an async iterator; its value comes last."""

    def __init__(self, step: Step, method: Callable[..., Any], argument: Any) -> None:
        self._step = step
        self._method, self._argument = method, argument
        self._worker = _Worker(step)
        self._produced: Any = None
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
        data = _END if self._ended else await self._worker.call(self._advanced, advance, *args)
        if data is _END:
            self._worker.close()
            raise StopAsyncIteration
        return data

    def _advanced(self, advance: Callable[..., Any], *args: object) -> Any:
        try:
            return advance(*args)
        except StopIteration as end:
            self._ended, self._source, self._produced = True, None, None
            return _END if end.value is None else Result(end.value)
        except StopAsyncIteration as error:  # it is no end
            raise pep479(error) from error

    def _advance(self) -> Any:
        if self._source is None:
            try:
                self._produced = self._method(self._argument)
                self._source = iter(self._produced)
            except StopIteration as error:  # nor is this
                raise pep479(error) from error
        return next(self._source)

    async def aclose(self) -> None:
        """Close the generator, and what gave it, in their thread, and end that."""
        self._worker.forget()  # what the clean-up publishes is heard
        try:
            await self._close(self._source)
        finally:
            try:
                await self._close(self._produced)
            finally:
                self._worker.close()

    async def _close(self, source: Any) -> None:
        close = getattr(source, "close", None)
        if callable(close):
            await self._worker.call(close)
