"""One cluster for all tests of this folder, which is left out where Ray is not installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowevents import ItemEnd, ItemStart, SQLiteJournal
from tests.driving import Driver
from tests.workers.child import ITEMS
from tests.workers.engines import Engine
from tests.workers.nodes import until
from tests.workers.on_ray.cluster import cluster
from tests.workers.test_durable import ROOT, logged

if importlib.util.find_spec("ray") is None:
    collect_ignore_glob = ["*"]


@pytest.fixture(scope="package")
def engine() -> Iterator[Engine]:
    """The only engine here."""
    with cluster() as engine:
        yield engine


@pytest.fixture(scope="package")
def live(engine: Engine) -> Engine:
    """Events come while the item runs."""
    return engine


@pytest.fixture(scope="package")
def apart(engine: Engine) -> Engine:
    """Workers are processes of their own."""
    return engine


@pytest.fixture(scope="package")
def surviving(engine: Engine) -> Engine:
    """A worker that was killed is replaced."""
    return engine


@pytest.fixture
def lost(apart: Engine, driver: Driver, tmp_path: Path) -> Path:
    """The folder of a run whose driver was killed when two items had ended and two had begun."""
    how = "sync" if driver.loop is None else "async"
    for item in ITEMS[:2]:
        (tmp_path / f"go {item}").touch()
    command = [sys.executable, "-m", "tests.workers.on_ray.child", how, str(tmp_path)]
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
