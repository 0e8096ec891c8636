"""The output of a run as a stream: of the data of its `output` chunks, or to a callback."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from flowevents.engine.effects import CancelledBy
from flowevents.errors import ObserverError
from flowevents.events import Chunk
from flowevents.messages import warn
from flowevents.run import Run, RunOptions
from flowevents.signals import is_async_callable, takes

if TYPE_CHECKING:
    from typing import Self

__all__ = ["UNSET", "AsyncStream", "Stream", "streamed"]


class Stream(Iterator[Any]):
    """The data of a run's `output` chunks, as they come; the run's action is the return value.

    Dropping it, or `close()`, cancels the run. Exhausting it with `yield from` gives the action.
    It ends where the run pauses; after `run.reply` another loop over it, or over the run, goes on.

    Attributes:
        run: The run that is streamed.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._begun = False
        self._data = run._pull("iterate over it", "output", run._drop)

    def __iter__(self) -> Generator[Any, None, Any]:
        self._begun = True
        if self.run.status == "paused":
            self._data = self.run._pull("iterate over it", "output", self.run._drop)
        return self._data

    def __next__(self) -> Any:
        __tracebackhide__ = True
        self._begun = True
        return next(self._data)

    def close(self) -> None:
        """Cancel the run if it has not ended, quietly."""
        self._begun = True
        if not getattr(self._data, "gi_running", False):
            self._data.close()
        self.run.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        _warn_unused(self, "for … in")


class AsyncStream(AsyncIterator[Any]):
    """`Stream` for an async run: `async for`, `aclose()`, and the action in `run.action`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._begun = False
        self._closed = False

    def __anext__(self) -> Coroutine[Any, Any, Any]:
        self._begun = True
        return _nothing_more() if self._closed else self.run._next("output")

    async def aclose(self) -> None:
        """Cancel the run if it has not ended, quietly."""
        self._begun = self._closed = True
        await self.run.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        _warn_unused(self, "async for … in")
        if getattr(self, "_begun", False) and self.run.status != "paused":
            self.run._leave()


async def _nothing_more() -> Any:
    raise StopAsyncIteration


def _warn_unused(stream: Stream | AsyncStream, how: str) -> None:
    if not getattr(stream, "_begun", True):
        warn(
            f"{type(stream).__name__} of {stream.run!r} was never iterated, so nothing ran. "
            f"Use `{how}`, or give a callback (or callback=None) to run to the end.",
            RuntimeWarning,
        )


def _on_chunk(callback: Callable[[Any, str], object], is_async: bool) -> Callable[[Chunk], object]:
    """A handler that gives the output chunks to a function of chunk and node."""

    @functools.wraps(callback)
    def call(event: Chunk) -> Any:
        if event.kind != "output":
            return None
        try:
            result = callback(event.data, event.node)
        except Exception as error:
            raise CancelledBy(error) from None
        return _awaited(result) if is_async and inspect.isawaitable(result) else result

    @functools.wraps(callback)
    async def call_async(event: Chunk) -> None:
        if (awaited := call(event)) is not None:
            await awaited

    return call_async if is_async_callable(callback) else call


async def _awaited(result: Awaitable[object]) -> None:
    try:
        await result
    except Exception as error:
        raise CancelledBy(error) from None


UNSET: Final[Any] = object()
"""The default of `callback`, which may be `None`."""


def streamed(
    node: Any,
    shared: Any,
    callback: Callable[[Any, str], object] | None,
    options: RunOptions,
    *,
    is_async: bool,
) -> Any:
    """What `run_stream` gives, or `run_stream_async`: see `BaseNode`."""
    __tracebackhide__ = True
    if callback is not UNSET:
        run = Run(node, shared, **_with_callback(callback, options, is_async))
        return run.wait_async() if is_async else run.wait()
    run = Run(node, shared, **options)
    return AsyncStream(run) if is_async else Stream(run)


def _with_callback(
    callback: Callable[[Any, str], object] | None, options: RunOptions, is_async: bool
) -> RunOptions:
    if callback is None:
        return options
    if not callable(callback):
        raise ObserverError(f"callback={callback!r} is not callable: it gets a chunk and a node.")
    if not takes(callback, 2):
        raise ObserverError(f"callback={callback!r} cannot be called with a chunk and a node.")
    observer = SimpleNamespace(on_chunk=_on_chunk(callback, is_async))
    return {**options, "observers": (*(options.get("observers") or ()), observer)}
