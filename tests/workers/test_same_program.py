"""The same program gives the same, wherever its items run."""

from __future__ import annotations

from typing import Any

import pytest

from flowevents import Run
from tests.driving import Driver, Seen
from tests.workers.engines import Engine
from tests.workers.nodes import made
from tests.workers.watching import items_of

COUNT = 40


def ran(driver: Driver, executor: Any, pulled: bool, **options: Any) -> tuple[Any, dict[int, Any]]:
    """The results of the program, and what was said of each item."""
    shared: dict[str, Any] = {"items": list(range(COUNT))}
    node = made("Program", driver.loop is not None, max_retries=3, executor=executor, **options)
    if pulled:
        events = driver.pull(Run(driver.flow(node), shared))
    else:
        seen = Seen()
        driver.run(driver.flow(node), shared, observers=[seen])
        events = seen.events
    return shared["results"], items_of(events)


@pytest.mark.parametrize("pulled", [True, False], ids=["pulled", "observed"])
def test_every_engine_gives_the_same(engine: Engine, driver: Driver, pulled: bool) -> None:
    """Results are equal, and of each item the events: chunks, retries, progress, labels, notes."""
    expected = ran(driver, None, pulled)
    assert len(expected[1]) == COUNT
    assert ran(driver, engine.executor, pulled) == expected


def test_max_concurrency_bounds_what_is_submitted(engine: Engine, driver: Driver) -> None:
    """Items are drawn as others end; what comes of it is the same."""
    expected = ran(driver, None, False)
    assert ran(driver, engine.executor, False, max_concurrency=3) == expected


def test_nobody_listens(engine: Engine, driver: Driver) -> None:
    """The results are the same."""
    shared: dict[str, Any] = {"items": list(range(COUNT))}
    expected, _ = ran(driver, None, True)
    node = made("Program", driver.loop is not None, max_retries=3, executor=engine.executor)
    driver.run(node, shared)
    assert shared["results"] == expected


def test_nodes_that_do_not_stream(engine: Engine, driver: Driver) -> None:
    """`exec` and `exec_async` emit and are tried again as without an executor."""
    outcomes: list[Any] = []
    for executor in (None, engine.executor):
        node = made("Plain", driver.loop is not None, max_retries=2, executor=executor)
        shared: dict[str, Any] = {"items": [1, 2, 3]}
        events = driver.pull(Run(node, shared))
        outcomes.append((shared["results"], items_of(events)))
    assert outcomes[0][0] == [2, 3, 4]
    assert outcomes[0] == outcomes[1]
