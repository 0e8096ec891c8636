"""Draws the README's picture of the page: the agent of `make demo` at work, in Chromium.

`.venv/bin/python demos/page_screenshot.py docs` starts the server of `make serve`, asks the agent
what `make demo` asks it, and keeps what Chromium shows as `docs/page.png`. It needs Playwright and
Debian's `chromium`.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from demos.agent import QUESTION
from demos.page import server
from demos.screen import start

SIZE = (880, 700)  # pixels


def main() -> None:
    """Write the picture to the folder that is named."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        raise SystemExit("Name the folder to write to: page_screenshot.py docs")
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed: apt-get install chromium")
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    with server(port) as serving, listening, sync_playwright() as playwright:
        thread = threading.Thread(target=serving.run, args=([listening],))
        thread.start()
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
            draw(page, f"http://127.0.0.1:{port}/", Path(sys.argv[1]) / "page.png")
        finally:
            browser.close()
            serving.should_exit = True
            thread.join()


def draw(page: Page, address: str, picture: Path) -> None:
    """Ask the agent, and keep what the page shows while it answers."""
    page.goto(address)
    page.get_by_role("textbox").fill(json.dumps({"question": QUESTION}))
    page.get_by_role("button", name="Start").click()
    answer = page.get_by_role("listitem").filter(
        has=page.get_by_role("heading", name="Answer", exact=True)
    )
    answer.get_by_text("The files say").wait_for()
    page.screenshot(path=picture)


if __name__ == "__main__":
    start(main)
