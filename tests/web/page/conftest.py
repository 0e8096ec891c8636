"""A server of the page's flows, a browser, and a page in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.web.page.site import PAGE, Gate, Site, Watched, chromium
from tests.web.servers import serving


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
