"""Parallel batches."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import AsyncParallelBatchNode, ItemEnd, ItemStart
from tests.stock import Stop
from tests.watching import Way


class Gate(AsyncParallelBatchNode):
    """Counts how many items run at once; items are drawn from a generator."""

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size
        self.log: dict[str, int] = {"drawn": 0, "running": 0, "most": 0, "ahead": 0}

    async def prep_async(self, shared: Any) -> Any:
        return self.draw()

    def draw(self) -> Iterator[int]:
        """The items, of which none is drawn before there is room for it."""
        for item in range(self.size):
            self.log["drawn"] += 1
            self.log["ahead"] = max(self.log["ahead"], self.log["running"])
            yield item

    async def exec_async(self, prep_res: int) -> int:
        log = self.log
        log["running"] += 1
        log["most"] = max(log["most"], log["running"])
        for _ in range(prep_res % 3 + 1):
            await asyncio.sleep(0)
        log["running"] -= 1
        return prep_res

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["result"] = exec_res


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_items_are_drawn_lazily_under_the_limit(limit: int) -> None:
    """Never more than `max_concurrency` run at once, and the results are in order."""
    node = Gate(20, max_concurrency=limit)
    shared: dict[str, Any] = {}
    watched = Way("async").watch(node, shared)
    assert shared["result"] == list(range(20))
    assert node.log["most"] == limit
    assert node.log["ahead"] < limit
    assert {event.total for event in watched.of(ItemStart)} == {None}


def test_without_a_limit_all_items_run_at_once() -> None:
    """As in pocketflow."""
    node = Gate(20)
    Way("async").run(node)
    assert node.log["most"] == 20


def test_a_limit_that_is_never_reached_changes_nothing() -> None:
    """An endless batch is drawn only as far as it is worked off."""

    class Endless(Gate):
        def draw(self) -> Iterator[int]:
            for item in itertools.count():
                self.log["drawn"] += 1
                if item == 50:
                    raise Stop("enough")
                yield item

    node = Endless(0, max_concurrency=3)
    watched = Way("async").watch(node)
    assert isinstance(watched.error, Stop)
    assert node.log["most"] == 3


class Siblings(AsyncParallelBatchNode):
    """One item fails while the others wait for something that never comes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.log: list[str] = []

    async def prep_async(self, shared: Any) -> Any:
        return ["first", "fails", "last"]

    async def exec_async(self, prep_res: str) -> None:
        if prep_res == "fails":
            await asyncio.sleep(0)
            raise ValueError("item failed")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.log.append(f"{prep_res} is cancelled")
            self.emit(f"last words of {prep_res}", kind="log")
            for _ in range(3):
                await asyncio.sleep(0)
            self.log.append(f"{prep_res} has cleaned up")
            raise


def test_siblings_are_cancelled_and_awaited_before_the_error_is_raised() -> None:
    """They can clean up, also where that takes a while; nothing comes after the run's end."""
    node = Siblings()
    watched = Way("async").watch(node)
    assert isinstance(watched.error, ValueError)
    assert sorted(node.log) == sorted(
        f"{name} {what}"
        for name in ("first", "last")
        for what in ("is cancelled", "has cleaned up")
    )
    assert {(e.items, e.status) for e in watched.of(ItemEnd)} == {
        ((0,), "cancelled"),
        ((1,), "error"),
        ((2,), "cancelled"),
    }
    assert watched.names()[-2:] == ["node_end", "flow_end"]


def test_no_item_begins_after_one_has_failed() -> None:
    """Those that were not drawn yet are never drawn."""
    begun = []

    class Some(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(10)

        async def exec_async(self, prep_res: int) -> None:
            begun.append(prep_res)
            await asyncio.sleep(0)
            if prep_res == 1:
                raise ValueError("failed")
            await asyncio.Event().wait()

    with pytest.raises(ValueError, match="failed"):
        Way("async").run(Some(max_concurrency=2))
    assert begun == [0, 1]
