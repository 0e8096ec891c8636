"""Every way to ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.asking.askers import WAYS, Make
from tests.driving import Driver, driving


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[Driver, Make]]:
    """Every way to ask: who drives, and which node."""
    how, make = WAYS[request.param]
    with driving(how) as driver:
        yield driver, make


@pytest.fixture
def make(way: tuple[Driver, Make]) -> Make:
    """The class of the node that asks."""
    return way[1]


@pytest.fixture
def driver(way: tuple[Driver, Make]) -> Driver:
    """Who drives the run of such a node."""
    return way[0]


@pytest.fixture(params=["sync", "async"])
def either(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Both ways to drive a run, where the node matters less."""
    with driving(request.param) as driver:
        yield driver
