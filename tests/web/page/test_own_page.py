"""The page of one's own in the docs works, in a browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.web.servers import http, serving, until


def test_the_page_of_the_docs(page: Page, tmp_path: Path) -> None:
    """It shows the text, takes void text back, asks by buttons, and ends with the run."""
    with serving(tmp_path, "tests.web.own_page:app") as server:
        page.goto(server.url)
        expect(page.locator("#text")).to_have_text("Dear <b>Ada</b>, …")
        expect(page.locator("#asked")).to_contain_text("Send it?")
        page.get_by_role("button", name="yes", exact=True).click()
        expect(page.locator("#asked")).to_be_empty()
        until(
            lambda: http.get(f"{server.url}/agents/runs").json()[0]["status"] == "done",
            "the answer is taken",
        )
