"""What was open when a process was lost, and is not gone on with: it ends all the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BatchNode,
    Flow,
    MemoryJournal,
    Run,
    RunCancelled,
)
from flowevents.events import ItemEnd, ItemStart
from flowevents.testing import check_events
from tests.driving import Driver
from tests.durable.lost import Commits, lost_after


class Inner(AsyncNode):
    """Fails in the pass that it is told, the first time that it runs there."""

    fails: int | None = None

    async def exec_async(self, prep_res: Any) -> None:
        await asyncio.sleep(0)
        if self.params["n"] == self.fails:
            raise ZeroDivisionError


class Passes(AsyncParallelBatchFlow):
    """Three passes."""

    async def prep_async(self, shared: Any) -> Any:
        return [{"n": 1}, {"n": 2}, {"n": 3}]


class Squares(AsyncParallelBatchNode):
    """Three items."""

    fails: int | None = None

    async def prep_async(self, shared: Any) -> Any:
        if self.fails == 0:
            raise ZeroDivisionError
        return [1, 2, 3]

    async def exec_async(self, item: Any) -> Any:
        if item == self.fails:
            raise ZeroDivisionError
        await asyncio.sleep(0)
        return item


def _nested(fails: int | None) -> AsyncFlow:
    node = Inner()
    node.fails = fails
    return AsyncFlow(Passes(AsyncFlow(Passes(node))))


def _fewer(fails: int | None) -> AsyncFlow:
    """Passes that run one after the other, where one of them is to fail."""
    node = Inner()
    node.fails = fails
    inner, outer = Passes(node), Passes()
    outer.start(inner)
    if fails is not None:
        outer.max_concurrency = 1
    return AsyncFlow(outer)


def _items(fails: int | None) -> AsyncFlow:
    node = Squares()
    node.fails = fails
    return AsyncFlow(node)


MADE = {"passes": _nested, "fewer": _fewer, "items": _items}


@pytest.fixture(params=MADE)
def lost(request: pytest.FixtureRequest, loop: Driver) -> Iterator[tuple[Any, list[MemoryJournal]]]:
    """How a flow is made, and journals in which a run of it was lost in the middle of items."""
    make = MADE[request.param]
    with MemoryJournal() as journal:
        commits = Commits(journal, "run", Counter())
        run = Run(make(None), {}, journal=journal, id="run", observers=[commits])
        loop.wait(run)
        ends = [each.seq for each in journal.read("run") if isinstance(each, ItemEnd)]
        starts = [each.seq for each in journal.read("run") if isinstance(each, ItemStart)]
        places = [seq for seq in commits.done if starts[1] <= seq < ends[-1]]
        journals = [lost_after(journal, "run", seq) for seq in places]
    yield make, journals
    for each in journals:
        each.close()


@pytest.mark.parametrize("fails", [0, 1, 2, 3])
def test_it_fails_where_it_goes_on(
    lost: tuple[Any, list[MemoryJournal]], loop: Driver, fails: int
) -> None:
    """Before the others go on, or meanwhile."""
    make, journals = lost
    ended = set()
    for journal in journals:
        run = Run.resume(make(fails), journal, "run")
        try:
            loop.wait(run)
        except ZeroDivisionError:
            pass
        check_events(journal.read("run"))
        ended.add(journal.runs()[0].status)
    assert "failed" in ended or fails == 0


def test_it_is_cancelled_before_it_goes_on(
    lost: tuple[Any, list[MemoryJournal]], loop: Driver
) -> None:
    """By its own code, by a handler, or by who has it."""
    make, journals = lost
    runs: list[Run] = []
    for journal in journals:
        seen: list[Any] = []

        def cancel(event: Any, seen: list[Any] = seen) -> None:
            seen.append(event)
            runs[0].cancel()

        run = Run.resume(make(None), journal, "run", observers=[cancel])
        runs[:] = [run]
        with pytest.raises(RunCancelled):
            loop.wait(run)
        check_events(journal.read("run"))
        assert journal.runs()[0].status == "cancelled"
        assert seen


class Sequential(BatchNode):
    """Items one after the other, of which a `prep` gives others, or fails."""

    fails: bool = False
    stops: bool = False

    def prep(self, shared: Any) -> Any:
        if self.fails:
            raise ZeroDivisionError
        return [1, 2, 3]

    def exec(self, item: Any) -> Any:
        if item == 2 and self.stops:
            raise KeyboardInterrupt
        return item


def test_a_prep_that_fails_later(journal: MemoryJournal) -> None:
    """Its items end before its step does."""
    node = Sequential()
    node.stops = True
    with pytest.raises(KeyboardInterrupt):
        Run(Flow(node), {}, journal=journal, id="run").wait()
    node.fails = True
    with pytest.raises(ZeroDivisionError):
        Run.resume(Flow(node), journal, "run").wait()
    events = list(journal.read("run"))
    check_events(events)
    ends = [(each.items, each.status, each.done) for each in events if isinstance(each, ItemEnd)]
    assert ends == [((0,), "ok", 1), ((1,), "cancelled", 2)]
