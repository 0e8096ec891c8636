"""No node is left in its code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cancelling.nodes import is_open


@pytest.fixture(autouse=True)
def _no_node_is_in_its_code() -> Iterator[None]:
    """No test leaves one there."""
    yield
    assert is_open.count == 0
