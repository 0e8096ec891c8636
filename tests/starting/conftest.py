"""The places where runs are started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.starting.places import Place, loop_in_thread


@pytest.fixture(params=["thread", "loop", "own loop"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A sync flow, an async one in a loop, and an async one where there is none."""
    if request.param == "loop":
        with loop_in_thread() as loop:
            yield Place(loop, is_async=True)
    else:
        yield Place(None, is_async=request.param == "own loop")
