"""The fixtures of the tests of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.web.servers import serving
from tests.web.site import Site, Watched, chromium

__all__ = ["EVERYWHERE", "PAGE", "Gate", "browser", "gate", "page", "site"]

PAGE = "tests.web.page_flows:app"

Gate = Callable[[str], None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server for tests that leave it as it is."""
    with serving(tmp_path_factory.mktemp("site"), PAGE) as server:
        yield Site(server.url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser."""
    with chromium() as browser:
        yield browser


EVERYWHERE = pytest.mark.parametrize("page", ["1280 light", "360 dark"], indirect=True)
"""Wide and narrow, light and dark."""


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page, in a profile of its own, whose console stays empty."""
    width, scheme = getattr(request, "param", "1280 light").split()
    context = browser.new_context(
        viewport={"width": int(width), "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    watched = Watched(page)
    try:
        yield page
    finally:
        context.close()
    assert watched.noise() == []


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Opens a gate of the flows: `shared["gates"]` is the test's own folder."""
    return lambda name: (tmp_path / name).touch()
