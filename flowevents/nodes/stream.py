"""The streaming nodes: what their generator yields is seen at once."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Iterable
from typing import Any

from flowevents.asking import Ask, Result
from flowevents.engine.ask import ask_here, cannot_wait
from flowevents.nodes.async_node import AsyncNode
from flowevents.nodes.node import Node

__all__ = ["AsyncStreamNode", "StreamNode"]


class StreamNode(Node):
    """A node that streams: each object that `exec_stream` yields is a `Chunk`.

    `post` gets the generator's return value; where it returns none, the list of what it yielded.
    Without an `exec_stream`, what `exec` returns is the one chunk and is what `post` gets.

    Attributes:
        keep_chunks: Whether that list is kept; set it to `False` for endless streams.
    """

    keep_chunks: bool = True

    def exec_stream(self, prep_res: Any, /) -> Iterable[Any]:
        """Yield the output, piece by piece; any iterable will do."""
        return [self.exec(prep_res)]

    def _try(self, prep_res: Any) -> Any:
        """An attempt inside of an override's `super()._exec`: what is yielded is emitted."""
        kept, source = [], iter(self.exec_stream(prep_res))
        try:
            while True:
                data = next(source)
                if type(data) is Ask:
                    cannot_wait(self, data)
                kept.append(data)
                self.emit(data)
        except StopIteration as end:
            return kept if end.value is None else end.value


class AsyncStreamNode(AsyncNode):
    """An async node that streams: each object that `exec_stream_async` yields is a `Chunk`.

    `post_async` gets the value of a last `yield Result(value)`; without one, the list of what was
    yielded. Without an `exec_stream_async`, what `exec_async` returns is the one chunk.

    Attributes:
        keep_chunks: Whether that list is kept; set it to `False` for endless streams.
    """

    keep_chunks: bool = True

    async def exec_stream_async(self, prep_res: Any, /) -> AsyncIterable[Any]:
        """Yield the output, piece by piece; any async iterable will do."""
        yield await self.exec_async(prep_res)

    async def _try_async(self, prep_res: Any) -> Any:
        """An attempt inside of an override's `super()._exec`: what is yielded is emitted."""
        kept: list[Any] = []
        produced: Any = self.exec_stream_async(prep_res)
        source = produced.__aiter__()
        answer: Any = None
        try:
            while True:
                data = await (source.__anext__() if answer is None else source.asend(answer))
                if type(data) is Result:
                    return data.value
                answer = await ask_here(self, data) if type(data) is Ask else None
                if type(data) is not Ask:
                    kept.append(data)
                    self.emit(data)
        except StopAsyncIteration:
            return kept
        finally:
            try:
                await _close(source)
            finally:
                await _close(produced)


async def _close(source: Any) -> None:
    """Close what is streamed, where it can be closed."""
    close = getattr(source, "aclose", None) or getattr(source, "close", None)
    closing = close() if callable(close) else None
    if inspect.isawaitable(closing):
        await closing
