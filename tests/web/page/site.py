"""The page of a server, and a real Chromium that looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.driving import PATIENCE
from tests.programs import program
from tests.web.servers import http

__all__ = ["EVERYWHERE", "PAGE", "Gate", "Site", "Watched", "chromium"]

PAGE: Final = "tests.web.page.flows:app"

Gate = Callable[[str], None]
"""Opens a gate of the flows."""

EVERYWHERE: Final = pytest.mark.parametrize("page", ["1280 light", "360 dark"], indirect=True)
"""Wide and narrow, light and dark."""

QUIET: Final = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

expect.set_options(timeout=PATIENCE * 1_000)


class Site:
    """Where the page is.

    Attributes:
        url: The first page's address, with a slash at its end.
    """

    def __init__(self, server: str) -> None:
        self.url: str = f"{server}/"

    def start_run(self, flow: str, **shared: Any) -> str:
        """Start a run, and give the address of its view."""
        answer = http.post(f"{self.url}runs", json={"flow": flow, "shared": shared})
        assert answer.status_code == 201, answer.text
        return f"{self.url}runs/{answer.json()['id']}/view"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """What a page says in its console; nothing is what it should."""

    def __init__(self, page: Page) -> None:
        self.said: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        self.said.append(f"{message.type}: {message.text}")

    def noise(self) -> list[str]:
        """What it said, but that the server has refused something, which Chromium says itself."""
        return [each for each in self.said if "Failed to load resource" not in each]
