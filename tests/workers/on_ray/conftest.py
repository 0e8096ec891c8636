"""One cluster for all tests of this folder, which is left out where Ray is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.workers.engines import Engine
from tests.workers.on_ray.cluster import cluster

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
