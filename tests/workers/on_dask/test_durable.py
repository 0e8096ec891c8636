"""Runs with a journal, whose driver is lost while Dask runs their items."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowevents import ItemEnd, ItemStart, SQLiteJournal
from tests.driving import Driver
from tests.workers.child import ITEMS
from tests.workers.engines import Engine
from tests.workers.nodes import made, until
from tests.workers.test_durable import (
    ROOT,
    logged,
    test_a_run_that_was_left,
    test_finished_items_do_not_run_again,
)

__all__ = [
    "test_a_run_that_was_left",
    "test_finished_items_do_not_run_again",
]


@pytest.fixture
def lost(apart: Engine, driver: Driver, tmp_path: Path) -> Path:
    """The folder of a run whose driver was killed when two items had ended and two had begun."""
    how = "sync" if driver.loop is None else "async"
    for item in ITEMS[:2]:
        (tmp_path / f"go {item}").touch()
    command = [sys.executable, "-m", "tests.workers.on_dask.child", how, str(tmp_path)]
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            until(
                lambda: (len(logged(journal, ItemStart)), logged(journal, ItemEnd)) == (4, {0, 1}),
                "two items have ended, and two run",
                60,
            )
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return tmp_path


def test_its_workers_stop(apart: Engine, driver: Driver, lost: Path) -> None:
    """What runs for a driver that is gone stops at its next event: the cluster has room again."""
    node = made("Program", driver.loop is not None, max_retries=3, executor=apart.executor)
    shared: dict[str, Any] = {"items": list(range(8))}
    driver.run(node, shared)
    assert len(shared["results"]) == 8
    assert not (lost / "go c").exists()
