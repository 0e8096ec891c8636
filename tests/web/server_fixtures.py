"""The fixtures of the tests of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.servers import serving

__all__ = ["apart", "url"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server is whose runs are in memory."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where servers with different options are mounted, each below its name."""
    with serving(tmp_path_factory.mktemp("apart"), "tests.web.served:apart") as server:
        yield server.url
