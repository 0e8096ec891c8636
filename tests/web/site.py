"""A server of the page's flows, in a process of its own, and a real Chromium that looks at it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.driving import PATIENCE
from tests.programs import program

__all__ = ["Site", "Watched", "chromium", "serving"]

ROOT: Final = Path(__file__).parent.parent.parent
QUIET: Final = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

expect.set_options(timeout=PATIENCE * 1_000)


class Site:
    """A server that can be killed and started again.

    Attributes:
        url: Where it is, with a slash at its end.
    """

    def __init__(self, app: str, folder: Path, database: Path | None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/"
        self._app = app
        self._log = folder / "server.log"
        self._environ = {**os.environ, **({"PAGE_DB": str(database)} if database else {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", self._app, "--port", str(self._port)),
                    *("--log-level", "warning"),
                ],
                cwd=ROOT,
                env=self._environ,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + PATIENCE
        while True:
            try:
                httpx.get(self.url)
                return
            except httpx.HTTPError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < until, "The server has not come up."
                time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait(PATIENCE)

    def start_run(self, flow: str, **shared: Any) -> str:
        """Start a run, and give the address of its view."""
        answer = httpx.post(f"{self.url}runs", json={"flow": flow, "shared": shared})
        assert answer.status_code == 201, answer.text
        return f"{self.url}runs/{answer.json()['id']}/view"


@contextmanager
def serving(
    folder: Path, database: Path | None = None, app: str = "tests.web.page_flows:app"
) -> Iterator[Site]:
    """A server for a while."""
    site = Site(app, folder, database)
    site.start()
    try:
        yield site
    finally:
        site.kill()


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
