"""A person at the page of `RunServer`, in Chromium: starts, watches, answers, cancels."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.web.page.site import EVERYWHERE, Gate, Site

pytestmark = EVERYWHERE

LEFT = "Left 1\nLeft 2\nLeft 3\n"
RIGHT = "Right 1\nRight 2\nRight 3\n"


def step(page: Page, name: str) -> Locator:
    """The row of a step."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))


def says(row: Locator, text: str) -> None:
    """It says just this, white space included, and nothing else but what is struck out."""
    said = row.locator(".entries div.text")
    expect(said).to_have_count(1)
    expect(said).to_have_js_property("textContent", text)


def start(page: Page, site: Site, flow: str, shared: object) -> None:
    """Start a run by the form."""
    page.goto(site.url)
    page.get_by_role("combobox", name="Flow").select_option(flow)
    page.get_by_role("textbox", name="Shared (JSON)").fill(json.dumps(shared))
    page.get_by_role("button", name="Start").click()


def status(page: Page, word: str) -> None:
    """The run stands so."""
    expect(page.get_by_role("status")).to_have_text(word)


def test_a_person_watches_and_answers(site: Site, page: Page, gate: Gate, tmp_path: Path) -> None:
    """From the start to the end, with a reload in the middle."""
    start(page, site, "desk", {"gates": str(tmp_path)})
    left, right = step(page, "Sides/Left"), step(page, "Sides/Right")
    says(left, LEFT)
    says(right, "Wrong")
    status(page, "running")

    gate("Wrong")
    says(right, RIGHT)
    expect(right).to_contain_text("retry: ValueError: the model broke off")
    assert right.evaluate("row => [...row.querySelectorAll('del')].map(d => d.textContent)") == [
        "Wrong"
    ]

    page.reload()
    says(left, LEFT)
    says(right, RIGHT)
    gate("Left")
    says(left, LEFT + "  Left 4\n  Left 5\n  Left 6\n")
    says(right, RIGHT)
    gate("Right")
    says(right, RIGHT + "  Right 4\n  Right 5\n  Right 6\n")

    status(page, "paused")
    choose = step(page, "Choose")
    expect(choose).to_contain_text("Which side is better?")
    names = choose.get_by_role("button").all_inner_texts()
    assert names == ["the left one", "the right one", "3", "true"]
    choose.get_by_role("button", name="the left one", exact=True).click()
    expect(choose).to_contain_text("Answer: the left one")
    expect(choose.get_by_role("button")).to_have_count(0)

    fill = step(page, "Fill")
    fill.get_by_label("version").fill("1.2")
    fill.get_by_label("count").fill("77")
    fill.get_by_label("ratio").fill("0.5")
    fill.get_by_label("publish").check()
    fill.get_by_label("channel").select_option("stable")
    fill.get_by_label("tags").fill('["a"]')
    fill.get_by_role("button", name="Send").click()
    expect(fill.get_by_role("alert")).to_contain_text("77 is greater than the maximum of 9")
    expect(fill.get_by_label("version")).to_have_value("1.2")
    expect(fill.get_by_label("count")).to_have_value("77")
    expect(fill.get_by_label("channel")).to_have_value("1")
    fill.get_by_label("count").fill("7")
    fill.get_by_role("button", name="Send").click()
    answer = '"count":7,"ratio":0.5,"publish":true,"channel":"stable","note":null,"tags":["a"]'
    expect(fill).to_contain_text(f'Answer: {{"version":"1.2",{answer}}}')
    status(page, "done")
    says(step(page, "Close"), "Closed.")
    expect(page.get_by_role("button")).to_have_count(0)


def test_cancelled(site: Site, page: Page) -> None:
    """A button cancels it, without a dialog."""
    page.goto(site.start_run("count"))
    expect(step(page, "Count")).to_contain_text("line 3")
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Cancel").click()
    status(page, "cancelled")
    expect(step(page, "Count")).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_an_error(site: Site, page: Page) -> None:
    """What a run fails with is shown where it happened, and of the run."""
    page.goto(site.start_run("fail"))
    status(page, "failed")
    expect(step(page, "Fail")).to_contain_text("RuntimeError: the disk is full")
    expect(page.locator("#failure")).to_have_text("RuntimeError: the disk is full")


def test_items_and_nested_nodes(site: Site, page: Page) -> None:
    """Items stand apart, with their labels, progress and errors; nested nodes have their names."""
    page.goto(site.start_run("research"))
    status(page, "done")
    nested = step(page, "Research/Search")
    says(nested, "It stands\n\n    in the README.")
    expect(nested).to_contain_text('found{"file":"README.md","line":3}')
    says(step(page, "Item 1: intro").last, "intro 1 intro 2 intro 3 ")
    says(step(page, "Item 3: end").last, "end 1 end 2 end 3 ")
    middle = step(page, "Item 2: middle").last
    says(middle, "middle 1 middle 2 middle 3 ")
    expect(middle).to_contain_text("ValueError: no middle")
    expect(middle).to_contain_text("3/3 parts")
    expect(step(page, "Pages").first).to_contain_text("3/3 items")


def test_bad_json(site: Site, page: Page) -> None:
    """What is no JSON, or none that will do, is told; nothing is started, what was typed stays."""
    page.goto(site.url)
    shared = page.get_by_role("textbox", name="Shared (JSON)")
    page.get_by_role("combobox").select_option("count")
    for typed, reason in (('{"a": ', "is no JSON"), ("[1]", "object")):
        shared.fill(typed)
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("alert")).to_contain_text(reason)
        expect(shared).to_have_value(typed)
    assert page.url == site.url


def test_json_is_sent_as_it_was_typed(site: Site, page: Page) -> None:
    """JavaScript would round large numbers."""
    typed = '{"kind": "text", "id": 12345678901234567890}'
    page.goto(site.url)
    page.get_by_role("combobox").select_option("any")
    page.get_by_role("textbox").fill(typed)
    with page.expect_request("**/runs") as sent:
        page.get_by_role("button", name="Start").click()
    assert typed in (sent.value.post_data or "")
    status(page, "paused")


def test_an_unknown_run(site: Site, page: Page) -> None:
    """Its page says so, and leads on."""
    for run_id in ("nothing", "..%2f", "%3Cb%3E%0A"):
        answer = page.goto(f"{site.url}runs/{run_id}/view")
        assert answer is not None
        assert answer.status == 404
    answer = page.goto(f"{site.url}runs/%3Cb%3E/view")
    expect(page.get_by_role("main")).to_contain_text("There is no run <b> here.")
    page.get_by_role("link", name="Start a run").click()
    expect(page.get_by_role("button", name="Start")).to_be_visible()


def test_the_latest_runs(site: Site, page: Page) -> None:
    """The first page lists them, and leads to their views."""
    page.goto(site.start_run('a "quoted" <flow>'))
    status(page, "done")
    page.get_by_role("link", name="Start another").click()
    page.get_by_role("link", name='a "quoted" <flow>').first.click()
    status(page, "done")


def test_who_waits_for_an_answer(site: Site, page: Page) -> None:
    """Is found on the first page."""
    view = site.start_run("talk")
    page.goto(view)
    status(page, "paused")
    expect(step(page, "Talk").first).to_contain_text("asks")
    page.goto(site.url)
    row = page.get_by_role("listitem").first
    expect(row).to_contain_text("2 questions")
    row.get_by_role("link", name="talk").click()
    assert page.url == view


def test_a_run_that_has_ended(site: Site, page: Page) -> None:
    """Its view says so from the beginning, and offers nothing that cannot be done any more."""
    view = site.start_run("research")
    page.goto(view)
    status(page, "done")
    page.add_init_script(
        """
        window.seen = [];
        new MutationObserver(() => {
            const status = document.querySelector("[role=status]");
            if (status) seen.push(status.textContent + document.getElementById("cancel")?.hidden);
        }).observe(document, { childList: true, subtree: true, characterData: true });
        const real = window.fetch;
        window.fetch = async (...asked) => {
            const response = await real(...asked);
            const slow = new TransformStream({
                async transform(bytes, control) {
                    for (let at = 0; at < bytes.length; at += 300) {
                        control.enqueue(bytes.slice(at, at + 300));
                        await new Promise(requestAnimationFrame);
                    }
                },
            });
            return new Response(response.body.pipeThrough(slow), response);
        };
        """
    )
    page.goto(view)
    expect(step(page, "Pages").first).to_contain_text("3/3 items")
    assert "donetrue" in page.evaluate("seen")
    assert set(page.evaluate("seen")) <= {"donetrue", "doneundefined"}
