"""The streaming nodes: what their generator yields is seen at once."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any

from flowevents.asking import Ask, Result
from flowevents.engine.graph import node_name
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

    def exec_stream(self, prep_res: Any) -> Iterable[Any]:
        """Yield the output, piece by piece; any iterable will do."""
        return [self.exec(prep_res)]

    def _try(self, prep_res: Any) -> Any:
        """An attempt inside of an override's `super()._exec`: what is yielded is emitted."""
        kept, source = [], iter(self.exec_stream(prep_res))
        try:
            while True:
                kept.append(_no_question(self, next(source)))
                self.emit(kept[-1])
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

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterable[Any]:
        """Yield the output, piece by piece; any async iterable will do."""
        yield await self.exec_async(prep_res)

    async def _try_async(self, prep_res: Any) -> Any:
        """An attempt inside of an override's `super()._exec`: what is yielded is emitted."""
        kept: list[Any] = []
        async for data in self.exec_stream_async(prep_res):
            if type(data) is Result:
                return data.value
            kept.append(_no_question(self, data))
            self.emit(data)
        return kept


def _no_question(node: Any, data: Any) -> Any:
    """Return these data. Raises `RuntimeError` where they are a question."""
    if type(data) is Ask:
        raise RuntimeError(
            f"{node_name(node)!r} asks {data.prompt!r} inside of its own `_exec`, where it cannot "
            "wait: ask in a node that does not override `_exec`."
        )
    return data
