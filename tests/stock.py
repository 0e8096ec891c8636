"""Nodes and flows of no special kind, for tests that need any."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from flowevents import AsyncBatchFlow, AsyncParallelBatchFlow, BatchFlow, Node, StreamNode

__all__ = ["AsyncItems", "Fail", "Items", "ParallelItems", "Stop", "Talk", "chain"]


class Stop(Exception):
    """What tests raise where they raise something of their own."""


class Talk(StreamNode):
    """Yields its words."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(**options)
        self.words = words or ("a", "b")

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield from self.words


class Fail(Node):
    """Never works."""

    def exec(self, prep_res: Any) -> None:
        raise ValueError("broken")


class Items(BatchFlow):
    """Runs its graph for each of two items."""

    def prep(self, shared: Any) -> list[dict[str, Any]]:
        return [{"n": 1}, {"n": 2}]


class AsyncItems(AsyncBatchFlow):
    """The same, async."""

    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{"n": 1}, {"n": 2}]


class ParallelItems(AsyncParallelBatchFlow):
    """The same, both at the same time."""

    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{"n": 1}, {"n": 2}]


def chain(*nodes: Any) -> Any:
    """The first of these nodes, each connected to the next."""
    for one, other in itertools.pairwise(nodes):
        one >> other
    return nodes[0]
