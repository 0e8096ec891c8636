"""Batch flows of every kind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flows.steps import AsyncFiles, Files, ParallelFiles


@pytest.fixture(params=[Files, AsyncFiles, ParallelFiles])
def batch(request: pytest.FixtureRequest) -> Any:
    """A class of batch flows: sync, async and parallel."""
    return request.param
