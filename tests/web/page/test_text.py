"""What a model wrote in the page: as text, all of it, and no more than a page can bear."""

from __future__ import annotations

from typing import Final

from playwright.sync_api import Browser, Page, expect

from flowevents.escape import escape_controls
from tests.hostile import CONTROLS, HOSTILE
from tests.web.page.site import EVERYWHERE, Site
from tests.web.page.test_person import status, step


@EVERYWHERE
def test_hostile_text_is_shown_as_text(site: Site, page: Page) -> None:
    """Chunks, kinds, names, labels, prompts, choices, answers, errors: no element, no control."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    page.goto(site.start_run("hostile"))
    question = page.get_by_role("group")
    expect(question.locator("legend")).to_have_text(HOSTILE["html"])
    names = question.get_by_role("button").evaluate_all("all => all.map(each => each.textContent)")
    assert names == [HOSTILE["svg"], HOSTILE["markup"]]
    question.get_by_role("button").last.click()
    status(page, "failed")
    expect(page.locator("#failure")).to_have_text(f"ValueError: {HOSTILE['html']}")

    said = page.locator(".entries > * > .text").evaluate_all(
        "all => all.map(each => each.textContent).join('')"
    )
    assert said == "".join(escape_controls(f"{name}: {text}\n") for name, text in HOSTILE.items())
    whole = page.locator("html").evaluate("each => each.textContent")
    assert not CONTROLS & set(whole)
    attributes = page.evaluate(
        """[...document.querySelectorAll("*")]
            .flatMap(each => [...each.attributes].map(attribute => attribute.value))"""
    )
    assert not CONTROLS & set("".join(attributes))
    assert page.locator("main :is(script, a[href^=javascript], img, image, style)").count() == 0
    assert all(url.startswith((site.url, "data:")) for url in asked)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@EVERYWHERE
def test_odd_data(site: Site, page: Page) -> None:
    """Whatever a node says has a place; a choice is sent as what it is."""
    page.goto(site.start_run("odd"))
    status(page, "paused")
    expect(step(page, "Odd")).to_contain_text("endless")
    expect(page.get_by_role("group").locator("legend")).to_have_text('{"any":["data"]}')
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.get_by_role("button", name='{"a":1}').click()
    status(page, "done")
    expect(step(page, "Odd")).to_contain_text('Answer: {"a":1}')


def test_the_policy_holds(site: Site, browser: Browser) -> None:
    """No script but the page's own runs, whoever puts it there; and no sink takes HTML."""
    page = browser.new_page()  # its console is not empty: Chromium tells there what it refuses
    page.goto(site.start_run("research"))
    status(page, "done")
    tried = page.evaluate(
        """() => {
            const refused = [], tries = [
                () => { document.body.innerHTML = "<p>"; },
                () => { const made = document.createElement("script"); made.text = "ran = 1"; },
                () => { setTimeout("ran = 1"); },
                () => { document.body.insertAdjacentHTML("beforeend", "<img src=//x onerror=1>"); },
            ];
            for (const each of tries) {
                try { each(); refused.push(null); } catch (error) { refused.push(error.name); }
            }
            return refused;
        }"""
    )
    assert set(tried) <= {"TypeError", "EvalError"}, tried
    page.close()


CLICK: Final = """() => new Promise(resolve => {
    const answered = [];
    const list = document.getElementById("steps");
    const click = () => {
        const begun = performance.now();
        const button = document.querySelector("#probe") ?? list.parentElement.appendChild(
            Object.assign(document.createElement("button"), { id: "probe" }));
        button.onclick = () => requestAnimationFrame(() => setTimeout(() => {
            answered.push(performance.now() - begun);
            answered.length < 40 ? setTimeout(click, 200) : (button.remove(), resolve(answered));
        }));
        setTimeout(() => button.click());
    };
    click();
})"""
"""Clicks forty times, and tells after how many milliseconds each was drawn."""


def test_a_thousand_chunks_a_second(site: Site, page: Page) -> None:
    """A click is answered within 200 ms meanwhile, and the page has all that is to be shown.

    One in ten may take longer: this machine may have other things to do than the browser's.
    """
    page.goto(site.start_run("rush"))
    expect(step(page, "Rush")).to_contain_text("chunk 9 ")
    answered = page.evaluate(CLICK)
    status(page, "done")
    assert sorted(answered)[len(answered) * 9 // 10] < 200, answered
    text = step(page, "Rush").locator(".text").evaluate("each => each.textContent")
    assert "".join(f"chunk {number} " for number in range(1, 10_001)).endswith(text)
    assert len(text) > 90_000
    expect(page.get_by_text("What came before is not shown.")).to_be_visible()
