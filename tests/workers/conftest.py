"""The engines, and what a test may ask of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.workers.engines import ENGINES, Engine

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
