"""Whose classes a program uses, and who runs it."""

from __future__ import annotations

import pytest

from tests.compatibility.libraries import Library


@pytest.fixture(params=["theirs", "ours", "theirs in our Run"])
def library(request: pytest.FixtureRequest) -> Library:
    """pocketflow, flowevents in its place, and pocketflow's flows in our `Run`."""
    return Library(request.param)
