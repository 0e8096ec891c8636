"""The engines, and what a test may ask of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from flowevents import ItemEnd, ItemStart, SQLiteJournal
from tests.driving import Driver
from tests.workers.child import ITEMS
from tests.workers.engines import ENGINES, Engine
from tests.workers.nodes import until
from tests.workers.watching import logged

ROOT = Path(__file__).parents[2]

Find = Callable[[str], Engine]


@pytest.fixture(scope="session")
def find_engine() -> Iterator[Find]:
    """Each engine, made when it is first asked for, and ended with the session."""
    found: dict[str, Engine] = {}
    with ExitStack() as stack:

        def find(name: str) -> Engine:
            if name not in found:
                found[name] = stack.enter_context(ENGINES[name]())
            return found[name]

        yield find


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest, find_engine: Find) -> Engine:
    """Every engine."""
    return find_engine(request.param)


LIVE = [name for name in ENGINES if name != "unknown"]


@pytest.fixture(scope="session", params=LIVE)
def live(request: pytest.FixtureRequest, find_engine: Find) -> Engine:
    """Every engine from which events come while the item runs."""
    return find_engine(request.param)


@pytest.fixture(scope="session")
def here(find_engine: Find) -> Engine:
    """The engine whose workers are in this process."""
    return find_engine("threads")


@pytest.fixture(scope="session")
def pool(find_engine: Find) -> Engine:
    """A pool of processes that lasts."""
    return find_engine("processes")


@pytest.fixture(scope="session", params=[name for name in LIVE if name != "threads"])
def apart(request: pytest.FixtureRequest, find_engine: Find) -> Engine:
    """Every engine whose workers are processes of their own."""
    return find_engine(request.param)


@pytest.fixture(scope="session", params=["made"])
def surviving(request: pytest.FixtureRequest, find_engine: Find) -> Engine:
    """Every engine that replaces a worker that was killed."""
    return find_engine(request.param)


@pytest.fixture
def find_fresh() -> Iterator[Find]:
    """Engines that a test may break."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(ENGINES[name]())


Kill = Callable[[Callable[[], bool], list[str]], None]


@pytest.fixture
def kill_when() -> Iterator[Kill]:
    """Has a process drive a run, and kills it when something is so.

    With the test ends what is left in its session: a pool's process that has run nothing for us.
    """
    sessions: list[int] = []

    def kill(condition: Callable[[], bool], arguments: list[str]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.child", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        sessions.append(process.pid)
        with process:
            try:
                until(condition, "the driver is to be killed", 60)
            finally:
                process.send_signal(signal.SIGKILL)

    yield kill
    for session in sessions:
        with suppress(ProcessLookupError):
            os.killpg(session, signal.SIGKILL)


@pytest.fixture
def lost(apart: Engine, driver: Driver, tmp_path: Path, kill_when: Kill) -> Path:
    """The folder of a run whose driver was killed when two items had ended and two had begun."""
    how = "sync" if driver.loop is None else "async"
    for item in ITEMS[:2]:
        (tmp_path / f"go {item}").touch()
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        kill_when(
            lambda: (len(logged(journal, ItemStart)), logged(journal, ItemEnd)) == (4, {0, 1}),
            [apart.name, how, str(tmp_path)],
        )
    return tmp_path
