"""The page and its connections: reloads, restarts of the server, many tabs; each event once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.web.page_fixtures import Gate
from tests.web.site import Site, serving
from tests.web.test_page import LEFT, says, status, step

LATER = "  Left 4\n  Left 5\n  Left 6\n"
TABS = 8


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A profile of its own, for several tabs."""
    context = browser.new_context()
    yield context
    context.close()


def test_eight_tabs_of_one_run(
    site: Site, context: BrowserContext, gate: Gate, tmp_path: Path
) -> None:
    """All load, show what is there and what comes, and lose the controls of what is answered."""
    view = site.start_run("desk", gates=str(tmp_path))
    tabs = [context.new_page() for _ in range(TABS)]
    for tab in tabs:
        tab.goto(view)
        says(step(tab, "Sides/Left"), LEFT)
    for name in ("Wrong", "Left", "Right"):
        gate(name)
    for tab in tabs:
        says(step(tab, "Sides/Left"), LEFT + LATER)
        expect(step(tab, "Choose").get_by_role("button")).to_have_count(4)
    step(tabs[-1], "Choose").get_by_role("button", name="3").click()
    for tab in tabs:
        expect(step(tab, "Choose").get_by_role("button")).to_have_count(0)
        expect(step(tab, "Choose")).to_contain_text("Answer: 3")
        expect(step(tab, "Fill").get_by_role("button", name="Send")).to_be_visible()


def test_eight_tabs_of_eight_runs(
    site: Site, context: BrowserContext, gate: Gate, tmp_path: Path
) -> None:
    """No run keeps another one's view from loading and from answering."""
    tabs = [context.new_page() for _ in range(TABS)]
    for tab in tabs:
        tab.goto(site.start_run("desk", gates=str(tmp_path)))
        says(step(tab, "Sides/Left"), LEFT)
    for tab in tabs:
        tab.get_by_role("button", name="Cancel").click()
        status(tab, "cancelled")


def test_a_tab_that_waits_for_its_stream_gets_one(site: Site, context: BrowserContext) -> None:
    """Where another is closed, its connection is had by one that polled."""
    tabs = [context.new_page() for _ in range(5)]
    for tab in tabs:
        tab.goto(site.start_run("count"))
        expect(step(tab, "Count")).to_contain_text("line 1")
    held = "async () => (await navigator.locks.query()).held.length"
    assert tabs[4].evaluate(held) == 4
    tabs[0].close()
    tabs[4].wait_for_function("async () => (await navigator.locks.query()).held.length === 4")


def test_the_server_is_killed_and_comes_back(browser: Browser, gate: Gate, tmp_path: Path) -> None:
    """The page says that the connection is lost, comes back by itself, and has each event once."""
    with serving(tmp_path, tmp_path / "runs.db") as site:
        page = browser.new_page()
        page.goto(site.start_run("desk", gates=str(tmp_path)))
        says(step(page, "Sides/Left"), LEFT)
        site.kill()
        expect(page.locator("#connection")).to_contain_text("The connection is lost")
        site.start()
        expect(step(page, "Sides/Left")).to_contain_text("attempt 2")
        expect(page.locator("#connection")).to_be_hidden()
        for name in ("Wrong", "Left", "Right"):
            gate(name)
        says(step(page, "Sides/Left"), LEFT + LATER)
        status(page, "paused")
        step(page, "Choose").get_by_role("button", name="the right one").click()
        fill = step(page, "Fill")
        fill.get_by_label("version").fill("typed")
        site.kill()
        expect(page.locator("#connection")).to_contain_text("The connection is lost")
        site.start()
        expect(fill.locator("fieldset[data-state=open]")).to_be_visible()
        expect(page.locator("#connection")).to_be_hidden()
        expect(fill.get_by_label("version")).to_have_value("typed")
        page.close()


def test_cut_again_and_again(site: Site, page: Page) -> None:
    """A connection that is cut in the middle of a line is opened anew after what came whole."""
    page.add_init_script(
        """
        const real = window.fetch;
        window.fetch = async (url, options) => {
          const response = await real(url, options);
          if (!String(url).startsWith("events")) return response;
          let left = 2500;
          const cut = new TransformStream({
            transform(bytes, control) {
              control.enqueue(bytes.slice(0, left));
              left -= bytes.length;
              if (left < 0) control.terminate();
            },
          });
          return new Response(response.body.pipeThrough(cut), response);
        };
        """
    )
    page.goto(site.start_run("count"))
    expect(step(page, "Count")).to_contain_text("line 20\n")
    page.get_by_role("button", name="Cancel").click()
    status(page, "cancelled")
    text = step(page, "Count").locator(".text").text_content()
    assert text is not None
    lines = text.splitlines()
    assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]


def test_a_hidden_tab_gives_its_stream_back(site: Site, page: Page) -> None:
    """Nobody sees it: another tab needs the connection more."""
    page.goto(site.start_run("count"))
    held = "async (count) => (await navigator.locks.query()).held.length === count"
    page.wait_for_function(held, arg=1)
    see = """(hidden) => {
        Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(see, True)
    page.wait_for_function(held, arg=0)
    page.evaluate(see, False)
    page.wait_for_function(held, arg=1)
    page.get_by_role("button", name="Cancel").click()
    status(page, "cancelled")
