"""Engines that lose messages, or run items again by themselves: nothing is stitched together."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from flowevents import Chunk, Retry, WorkerLost
from flowevents.workers.lane import Arrived
from flowevents.workers.outlet import Outlet
from flowevents.workers.parcels import Group, Outcome, Task, Work
from flowevents.workers.threads import Threads
from tests.driving import Driver, Seen
from tests.workers.nodes import made
from tests.workers.watching import items_of

Say = Callable[[Group], None]
Execute = Callable[[Callable[[Say], Outcome], Say], Outcome]
"""Runs one item, as often as it likes, with what takes its messages; and that of the driver."""


class Engine:
    """An engine of threads, in which each item is run by that function."""

    def __init__(self, pool: ThreadPoolExecutor, execute: Execute) -> None:
        self.pool = pool
        self.execute = execute

    def flowevents_lane(self, arrived: Arrived) -> Lane:
        """Its lane."""
        return Lane(self, arrived)


class Lane(Threads):
    """The lane of such an engine."""

    def __init__(self, engine: Engine, arrived: Arrived) -> None:
        super().__init__(engine.pool, arrived, None)
        self._engine = engine
        self._say = arrived

    def submit(self, ticket: int, work: Work, task: Task) -> Future[Outcome]:
        def run(say: Say) -> Outcome:
            return work(task, Outlet(say, bounded=False))

        return self._engine.pool.submit(
            self._engine.execute, run, lambda group: self._say(ticket, group)
        )


def parted(groups: list[Group]) -> list[Group]:
    """The same messages, one in a group."""
    return [
        Group(group.token, group.first + at, [message])
        for group in groups
        for at, message in enumerate(group.messages)
    ]


def ran(driver: Driver, execute: Execute, **options: Any) -> tuple[list[Any], Seen]:
    """The results of an item that some such engine has run, and what was seen."""
    with ThreadPoolExecutor(1) as pool:
        engine = Engine(pool, execute)
        node = made("Program", driver.loop is not None, max_retries=3, executor=engine, **options)
        seen, shared = Seen(), {"items": [4]}
        try:
            driver.run(node, shared, observers=[seen])
        finally:
            items_of(seen.events)
        return shared["results"], seen


ALL = ["4.0", "4.1", "4.2", "4.3", "4.4"]


def outputs(seen: Seen) -> list[Any]:
    """What the attempts gave that were not void, in order."""
    void = {each.attempt for each in seen.of(Retry)}
    return [e.data for e in seen.of(Chunk) if e.kind == "output" and e.attempt not in void]


def test_an_item_that_runs_again_by_itself(driver: Driver) -> None:
    """What came of the first execution is void, by a `Retry` that begins with `Lost`."""

    def twice(run: Callable[[Say], Outcome], say: Say) -> Outcome:
        first: list[Group] = []
        run(first.append)
        for group in parted(first)[:4]:
            say(group)
        return run(say)

    results, seen = ran(driver, twice)
    assert results == [16]
    assert [each.error.partition(":")[0] for each in seen.of(Retry)] == ["Lost", "ValueError"]
    assert outputs(seen) == [*ALL, ["last", 4]]


def test_the_first_speaks_again(driver: Driver) -> None:
    """What comes late of an execution that is void is not heard."""

    def late(run: Callable[[Say], Outcome], say: Say) -> Outcome:
        first: list[Group] = []
        second: list[Group] = []
        run(first.append)
        outcome = run(second.append)
        before, after = parted(first), parted(second)
        for group in (*before[:3], *after[:2], *before[3:], *after[2:]):
            say(group)
        return outcome

    results, seen = ran(driver, late)
    assert results == [16]
    assert outputs(seen) == [*ALL, ["last", 4]]


def test_messages_that_get_lost(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes behind a hole is not heard, and the item runs again."""
    monkeypatch.setattr("flowevents.engine.executors._MISSING", 0.05)
    runs: list[int] = []

    def lossy(run: Callable[[Say], Outcome], say: Say) -> Outcome:
        runs.append(1)
        groups: list[Group] = []
        outcome = run(groups.append)
        for at, group in enumerate(parted(groups)):
            if at != 3 or len(runs) > 1:
                say(group)
        return outcome

    results, seen = ran(driver, lossy)
    assert results == [16]
    assert len(runs) == 2
    assert [each.data for each in seen.of(Chunk) if each.attempt == 1] == ["4.0"]
    assert outputs(seen) == [*ALL, ["last", 4]]


def test_messages_that_always_get_lost(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `max_lost` times that is said."""
    monkeypatch.setattr("flowevents.engine.executors._MISSING", 0.05)

    def mute(run: Callable[[Say], Outcome], say: Say) -> Outcome:
        return run(lambda group: None)

    with pytest.raises(WorkerLost, match=r"Item 0 of node .* was lost with its worker, 2 times"):
        ran(driver, mute, max_lost=2)
