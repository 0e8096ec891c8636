"""An item of a batch, nobody listening: the same classes built on flowevents and on pocketflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pocketflow

import flowevents

from .measure import Comparison, expect


def squares_below(number: int) -> int:
    """The sum of the squares of 0, 1, 2 … below a number."""
    return (number - 1) * number * (2 * number - 1) // 6


def batch_node(library: Any, items: int) -> None:
    """A batch node whose items cost nothing."""
    base: Any = library.BatchNode

    class Square(base):
        def prep(self, shared: dict[str, int]) -> range:
            return range(items)

        def exec(self, prep_res: int) -> int:
            return prep_res * prep_res

        def post(self, shared: dict[str, int], prep_res: range, exec_res: list[int]) -> str:
            shared["sum"] = sum(exec_res)
            return "squared"

    shared: dict[str, int] = {}
    expect(library.Flow(start=Square()).run(shared), "squared", "the last action")
    expect(shared["sum"], squares_below(items), "the sum of the squares")


def batch_flow(library: Any, items: int) -> None:
    """A batch flow of one node that reads its item from its params."""
    node: Any = library.Node
    base: Any = library.BatchFlow

    class Add(node):
        def prep(self, shared: dict[str, int]) -> int:
            number: int = self.params["number"]
            return number

        def exec(self, prep_res: int) -> int:
            return prep_res

        def post(self, shared: dict[str, int], prep_res: int, exec_res: int) -> None:
            shared["sum"] += exec_res

    class AddEach(base):
        def prep(self, shared: dict[str, int]) -> list[dict[str, int]]:
            return [{"number": number} for number in range(items)]

    shared = {"sum": 0}
    AddEach(start=Add()).run(shared)
    expect(shared["sum"], items * (items - 1) // 2, "the sum of the params")


def parallel_node(library: Any, items: int) -> None:
    """A parallel batch node whose items cost nothing and wait for nothing."""
    base: Any = library.AsyncParallelBatchNode

    class Square(base):
        async def prep_async(self, shared: dict[str, int]) -> range:
            return range(items)

        async def exec_async(self, prep_res: int) -> int:
            return prep_res * prep_res

        async def post_async(
            self, shared: dict[str, int], prep_res: range, exec_res: list[int]
        ) -> str:
            shared["sum"] = sum(exec_res)
            return "squared"

    _run_parallel(library, Square, items)


def awaiting_parallel_node(library: Any, items: int) -> None:
    """The same, and each item lets the others have their turn once."""
    base: Any = library.AsyncParallelBatchNode

    class Square(base):
        async def prep_async(self, shared: dict[str, int]) -> range:
            return range(items)

        async def exec_async(self, prep_res: int) -> int:
            await asyncio.sleep(0)
            return prep_res * prep_res

        async def post_async(
            self, shared: dict[str, int], prep_res: range, exec_res: list[int]
        ) -> str:
            shared["sum"] = sum(exec_res)
            return "squared"

    _run_parallel(library, Square, items)


def _run_parallel(library: Any, node_class: Any, items: int) -> None:
    shared: dict[str, int] = {}
    action = asyncio.run(library.AsyncFlow(start=node_class()).run_async(shared))
    expect(action, "squared", "the last action")
    expect(shared["sum"], squares_below(items), "the sum of the squares")


def _comparison(work: str, target: float, size: int, run: Callable[[Any, int], None]) -> Comparison:
    return Comparison(
        f"{work}, nobody listening",
        target,
        size,
        lambda items: run(flowevents, items),
        lambda items: run(pocketflow, items),
    )


WORKS = (
    _comparison("`BatchNode` item", 0.6, 100_000, batch_node),
    _comparison("`BatchFlow` item", 0.6, 30_000, batch_flow),
    _comparison("`AsyncParallelBatchNode` item", 1.0, 10_000, parallel_node),
    _comparison(
        "`AsyncParallelBatchNode` item that awaits once", 1.0, 10_000, awaiting_parallel_node
    ),
)
