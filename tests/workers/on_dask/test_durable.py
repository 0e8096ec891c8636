"""Runs with a journal, whose driver is lost while Dask runs their items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.driving import Driver
from tests.workers.engines import Engine
from tests.workers.nodes import made
from tests.workers.test_durable import (
    test_a_run_that_was_left,
    test_finished_items_do_not_run_again,
)

__all__ = [
    "test_a_run_that_was_left",
    "test_finished_items_do_not_run_again",
]


def test_its_workers_stop(apart: Engine, driver: Driver, lost: Path) -> None:
    """What runs for a driver that is gone stops at its next event: the cluster has room again."""
    node = made("Program", driver.loop is not None, max_retries=3, executor=apart.executor)
    shared: dict[str, Any] = {"items": list(range(8))}
    driver.run(node, shared)
    assert len(shared["results"]) == 8
    assert not (lost / "go c").exists()
