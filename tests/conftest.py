"""What all tests have in common.

`FLOWEVENTS_HYPOTHESIS_PROFILE` says how thoroughly property tests search: `full` or `quick`.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

from tests.driving import PATIENCE, Driver, connected, driving
from tests.watching import Way

settings.register_profile("full", deadline=None, print_blob=True)
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=15)
settings.load_profile(os.environ.get("FLOWEVENTS_HYPOTHESIS_PROFILE", "full"))

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # else Gradio looks hosts up, and its client


EDGES: Final = (
    "durable/test_awaited.py",  # Redis
    "hosts/",  # Redis, network namespaces, RQ
    "journals/test_redis.py",
    "test_demos",  # LiteLLM
    "test_gradio",  # Gradio, Chromium
    "web/page/",  # Chromium
    "workers/on_dask/",
    "workers/on_ray/",
)
"""Where the tests are that need more than light packages: `make test-edges` runs them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    for item in items:
        place = item.path.relative_to(Path(__file__).parent).as_posix()
        if place.startswith(EDGES):
            item.add_marker("edge")


@pytest.fixture(scope="session", autouse=True)
def _threads_take_turns_often() -> Iterator[None]:
    """They meet in more places, and none waits long for one that holds a lock or spins."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(scope="module", autouse=True)
def _what_is_there_is_no_garbage() -> None:
    """What was there before a module's tests is not searched by each that collects garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No test leaves a handler connected, or a thread."""
    before = set(threading.enumerate())
    yield
    assert connected() == []
    left = {each for each in threading.enumerate() if each.is_alive()} - before
    assert [each for each in left if not each.name.startswith("Dask-Offload")] == []  # it stays


@pytest.fixture
def threads_end() -> Iterator[None]:
    """Wait for threads that end on their own, as those of anyio and of an executor do."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    for each in set(threading.enumerate()) - before:
        each.join(PATIENCE)


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Both ways to drive a run."""
    with driving(request.param) as driver:
        yield driver


@pytest.fixture
def loop() -> Iterator[Driver]:
    """A loop to drive runs in."""
    with driving("async") as driver:
        yield driver


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> Way:
    """A sync run, then an async one, in which sync nodes and flows run as well."""
    return Way(request.param)
