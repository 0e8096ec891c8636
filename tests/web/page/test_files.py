"""How the page is served: its headers, its files, whom it is shown to, below any prefix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from starlette.requests import Request
from starlette.testclient import TestClient

import flowevents.web
from flowevents import Flow, MemoryJournal, Node, Run
from flowevents.web import RunServer
from tests.hostile import HOSTILE
from tests.web.page.flows import FLOWS
from tests.web.page.site import Site, Watched
from tests.web.page.test_person import start, status, step
from tests.web.servers import http, serving

FILES = Path(flowevents.web.__file__).parent / "page"
pytestmark = pytest.mark.usefixtures("threads_end")
LOADED = sorted(each.name for each in FILES.iterdir() if each.suffix != ".html")


def test_its_files_are_asked_for_again_and_not_sent_again(site: Site) -> None:
    """Each has an ETag, by which an unchanged one is known."""
    for name in LOADED:
        answer = http.get(f"{site.url}page/{name}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-cache"
        again = http.get(
            f"{site.url}page/{name}", headers={"If-None-Match": answer.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
    kinds = {http.get(f"{site.url}page/{name}").headers["content-type"] for name in LOADED}
    assert {kind.partition(";")[0].replace("application", "text") for kind in kinds} == {
        "text/css",
        "text/javascript",
        "image/svg+xml",
    }


def test_the_policy(site: Site) -> None:
    """All of the page has it, also where there is no run: nothing inline or from elsewhere."""
    for path in ("", "page/view.js", "runs/none/view"):
        headers = http.get(site.url + path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert not re.search("unsafe|http|data:|\\*", policy)
        assert headers["x-content-type-options"] == "nosniff"
    for each in FILES.iterdir():
        text = each.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|innerHTML|outerHTML|insertAdjacent|\bon\w+=|style=", text)


@pytest.mark.parametrize("name", ["view.html", "nothing.js", "..%2fpage.py", "%2e%2e/page.py"])
def test_no_other_file_is_served(site: Site, name: str) -> None:
    """Neither what the page is made of, nor what lies beside it."""
    answer = http.get(f"{site.url}page/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_who_may_see_it() -> None:
    """`authorize` is asked for the pages and for their files: who may watch a run gets its view."""
    asked = []

    def authorize(request: Request, action: str, run_id: str | None) -> bool:
        asked.append((action, run_id))
        return run_id == "mine"

    server = RunServer(FLOWS, authorize=authorize)
    with TestClient(server, base_url="http://127.0.0.1") as client:
        for path in ("/", "/page/view.js", "/runs/other/view", "/runs/other/page/view.js"):
            assert client.get(path).status_code == 403
        assert client.get("/runs/mine/view").status_code == 404
        assert client.get("/runs/mine/page/view.js").status_code == 200
    assert asked == [
        *[("list", None)] * 2,
        *[("watch", "other")] * 2,
        *[("watch", "mine")] * 2,
    ]


def test_names_of_flows_are_text() -> None:
    """Whatever they hold, it is no HTML."""
    flows = {text.replace("/", "∕"): FLOWS["fail"] for text in HOSTILE.values() if text}
    with TestClient(RunServer(flows), base_url="http://127.0.0.1") as client:
        page = client.get("/").text
    assert page.count("<option>") == len(flows)
    assert not re.search(r"<(script|a|image)[ >](?!type=)", page)


def test_any_id_of_a_run_is_linked() -> None:
    """Programs that share the journal may have called it as they like."""
    with MemoryJournal() as journal:
        for run_id in ("order 17?", "<b>&amp;", "100%", "ü"):
            Run(Flow(Node()), {}, journal=journal, id=run_id).wait()
        with TestClient(RunServer(FLOWS, journal=journal), base_url="http://127.0.0.1") as client:
            links = re.findall(r'href="(runs/[^"]*)"', client.get("/").text)
            assert len(links) == 4
            assert all(client.get(link).status_code == 200 for link in links)


def test_below_a_prefix(browser: Browser, tmp_path: Path) -> None:
    """Mounted in another app it works as it does by itself."""
    with serving(tmp_path, "tests.web.page.flows:mounted") as server:
        page = browser.new_page()
        watched = Watched(page)
        below = Site(f"{server.url}/deep/below")
        start(page, below, "any", {"kind": "text"})
        step(page, "Any_").get_by_role("textbox").fill("yes")
        page.keyboard.press("Enter")
        status(page, "done")
        assert page.url.startswith(below.url)
        page.get_by_role("link", name="Start another").click()
        expect(page.get_by_role("button", name="Start")).to_be_visible()
        assert page.url == below.url
        page.close()
        assert watched.said == []
