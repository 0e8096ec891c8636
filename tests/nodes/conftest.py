"""Streaming nodes and batches of every kind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.nodes.words import AsyncWordsBatch, ParallelWords, Streams, WordsBatch


@pytest.fixture(params=["sync", "async"])
def streams(request: pytest.FixtureRequest) -> Streams:
    """Streaming nodes of either kind, in a run of their kind."""
    return Streams(request.param)


@pytest.fixture(params=[WordsBatch, AsyncWordsBatch, ParallelWords])
def batch(request: pytest.FixtureRequest) -> Any:
    """A class of streaming nodes that are batches: sync, async and parallel."""
    return request.param
