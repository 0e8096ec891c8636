"""The page and its connections: reloads, restarts of the server, many tabs; each event once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from flowevents import RunStateError, SQLiteJournal
from tests.driving import PATIENCE
from tests.web.page.site import PAGE, Gate, Site
from tests.web.page.test_person import LEFT, says, status, step
from tests.web.servers import http, serving, until

LATER = "  Left 4\n  Left 5\n  Left 6\n"
TABS = 8

HAS_STREAM = """async () => {
    const { held } = await navigator.locks.request("who", () => navigator.locks.query());
    const { clientId } = held.find(each => each.name === "who");
    return held.filter(each => each.clientId === clientId).length === 2;
}"""


def eventually(page: Page, true: str) -> None:
    """Wait until an async function of the page gives `True`."""
    until = time.monotonic() + PATIENCE
    while not page.evaluate(true):
        assert time.monotonic() < until, true
        page.wait_for_timeout(20)


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


def test_a_tab_that_waits_for_a_stream_gets_one(site: Site, context: BrowserContext) -> None:
    """Where another is closed, its connection is had by one that polled."""
    tabs = [context.new_page() for _ in range(5)]
    for tab in tabs:
        tab.goto(site.start_run("count"))
        expect(step(tab, "Count")).to_contain_text("line 1")
    assert [tab.evaluate(HAS_STREAM) for tab in tabs] == [True] * 4 + [False]
    tabs[0].close()
    eventually(tabs[4], HAS_STREAM)


def test_the_server_is_killed_and_comes_back(browser: Browser, gate: Gate, tmp_path: Path) -> None:
    """The page says that the connection is lost, comes back by itself, and has each event once."""
    with serving(tmp_path, PAGE, PAGE_DB=tmp_path / "runs.db") as server:
        page = browser.new_page()
        page.goto(Site(server.url).start_run("desk", gates=str(tmp_path)))
        says(step(page, "Sides/Left"), LEFT)
        server.end()
        expect(page.locator("#connection")).to_contain_text("The connection is lost")
        server.start()
        expect(step(page, "Sides/Left")).to_contain_text("attempt 2")
        expect(page.locator("#connection")).to_be_hidden()
        for name in ("Wrong", "Left", "Right"):
            gate(name)
        says(step(page, "Sides/Left"), LEFT + LATER)
        status(page, "paused")
        step(page, "Choose").get_by_role("button", name="the right one").click()
        fill = step(page, "Fill")
        fill.get_by_label("version").fill("typed")
        server.end()
        expect(page.locator("#connection")).to_contain_text("The connection is lost")
        server.start()
        expect(fill.locator("fieldset[data-state=open]")).to_be_visible()
        expect(page.locator("#connection")).to_be_hidden()
        expect(fill.get_by_label("version")).to_have_value("typed")
        page.close()


def test_a_run_that_is_begun_anew_under_its_id(browser: Browser, tmp_path: Path) -> None:
    """Nothing of the old one is left on the page, and no event of the new one is missing."""
    database = tmp_path / "runs.db"
    with serving(tmp_path, PAGE, PAGE_DB=database) as server:
        page = browser.new_page()
        view = Site(server.url).start_run("desk", gates=str(tmp_path))
        run_id = view.split("/")[-2]
        page.goto(view)
        says(step(page, "Sides/Left"), LEFT)
        server.end()
        page.context.set_offline(True)
        with SQLiteJournal(database) as journal:
            until(lambda: deleted(journal, run_id), "the run is deleted")
        server.start()
        body = {"id": run_id, "flow": "any", "shared": {"kind": "text"}}
        assert http.post(f"{server.url}/runs", json=body).status_code == 201
        page.context.set_offline(False)
        expect(step(page, "Any_").get_by_role("textbox")).to_be_visible()
        expect(page.get_by_role("listitem")).to_have_count(1)
        status(page, "paused")
        page.close()


def deleted(journal: SQLiteJournal, run_id: str) -> bool:
    """Delete a run, once the lease of its process has run out."""
    try:
        journal.delete(run_id)
    except RunStateError:
        return False
    return True


def test_without_locks(site: Site, page: Page) -> None:
    """Neither https nor loopback: the page asks, shows what comes, and takes answers."""
    page.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    page.goto(site.start_run("any", kind="text"))
    step(page, "Any_").get_by_role("textbox").fill("yes")
    page.keyboard.press("Enter")
    expect(step(page, "Any_")).to_contain_text("Answer: yes")
    status(page, "done")


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


def test_a_hidden_tab_gives_its_stream_to_one_that_is_seen(
    site: Site, context: BrowserContext
) -> None:
    """It keeps it as long as nobody wants it, and shows what comes all the same."""
    tabs = [context.new_page() for _ in range(5)]
    for tab in tabs[:4]:
        tab.goto(site.start_run("count"))
        expect(step(tab, "Count")).to_contain_text("line 1")
    hide = """() => {
        Object.defineProperty(document, "hidden", { get: () => true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    tabs[0].evaluate(hide)
    assert [tab.evaluate(HAS_STREAM) for tab in tabs[:4]] == [True] * 4
    tabs[4].goto(site.start_run("count"))
    eventually(tabs[4], HAS_STREAM)
    assert [tab.evaluate(HAS_STREAM) for tab in tabs] == [False] + [True] * 4
    for tab in tabs:
        tab.get_by_role("button", name="Cancel").click()
        status(tab, "cancelled")
