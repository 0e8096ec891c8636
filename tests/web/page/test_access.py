"""The page for assistive technology, for a keyboard, in any width and scheme, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from tests.web.page.site import EVERYWHERE, Gate, Site
from tests.web.page.test_person import status, step

pytestmark = EVERYWHERE

CONTROLS: Final = {"button", "checkbox", "combobox", "link", "textbox", "DisclosureTriangle"}

SMALL: Final = """() =>
    [...document.querySelectorAll("a, button, input, select, textarea, summary")]
    .filter(each => each.getClientRects().length && each.getBoundingClientRect().height < 24)
    .map(each => each.outerHTML)"""

PALE: Final = """() => {
    const levels = color => color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(level => {
        const part = level / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    const weights = [0.2126, 0.7152, 0.0722];
    const light = color => levels(color).reduce((sum, each, n) => sum + each * weights[n], 0);
    const ground = each => {
        const color = getComputedStyle(each).backgroundColor;
        return /, 0\\)$/.test(color) && each.parentElement ? ground(each.parentElement) : color;
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
        const each = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || !each.getClientRects().length) continue;
        const [a, b] = [light(getComputedStyle(each).color), light(ground(each))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) found.push([texts.currentNode.data, ratio]);
    }
    return found;
}"""
"""Texts with less contrast than WCAG 2.2 asks for, 1.4.3."""


def seen(page: Page) -> list[tuple[str, str]]:
    """The roles and names that Chromium tells assistive technology."""
    session = page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]


def check(page: Page, *, statuses: int) -> None:
    """What holds for every state of every page."""
    tree = seen(page)
    roles = [role for role, _ in tree]
    assert [(role, name) for role, name in tree if role in CONTROLS and not name] == []
    assert roles.count("main") == 1
    assert roles.count("status") == statuses
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.title()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.evaluate(SMALL) == []
    assert page.evaluate(PALE) == []
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0


def test_each_page(site: Site, page: Page, gate: Gate, tmp_path: Path) -> None:
    """In each state: names, sizes, contrast, one main, one status, no sideways scroll."""
    page.goto(site.url)
    page.get_by_role("textbox").fill("{")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check(page, statuses=0)
    page.goto(f"{site.url}runs/unknown/view")
    check(page, statuses=0)

    for name in ("Wrong", "Left", "Right"):
        gate(name)
    page.goto(site.start_run("desk", gates=str(tmp_path)))
    status(page, "paused")
    check(page, statuses=1)
    page.get_by_role("button", name="3").click()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check(page, statuses=1)
    for flow in ("fail", "research"):
        page.goto(site.start_run(flow))
        expect(page.get_by_role("status")).to_have_text("failed" if flow == "fail" else "done")
        check(page, statuses=1)


def tab_to(page: Page, what: str) -> None:
    """Press Tab until the focus, which can be seen, is on what has this name."""
    for _ in range(40):
        page.keyboard.press("Tab")
        name, style, width = page.evaluate(
            """() => {
                const each = document.activeElement, drawn = getComputedStyle(each);
                const name = (each.labels?.[0] ?? each).textContent;
                return [name, drawn.outlineStyle, parseFloat(drawn.outlineWidth)];
            }"""
        )
        assert (style, width) >= ("solid", 2), name
        if name == what:
            return
    raise AssertionError(f"{what!r} is not reached.")


def test_by_keyboard_alone(site: Site, page: Page, gate: Gate, tmp_path: Path) -> None:
    """A run is started, answered and cancelled; where the focus was stays where one goes on."""
    for name in ("Wrong", "Left", "Right"):
        gate(name)
    page.goto(site.url)
    tab_to(page, "Flow")
    page.keyboard.type("desk")
    tab_to(page, "Shared (JSON)")
    page.keyboard.press("Control+A")
    page.keyboard.type(f'{{"gates": "{tmp_path}"}}')
    tab_to(page, "Start")
    page.keyboard.press("Enter")
    status(page, "paused")
    tab_to(page, "the right one")
    page.keyboard.press("Space")
    expect(step(page, "Fill").get_by_role("button", name="Send")).to_be_visible()
    for name, typed in (("version", "2"), ("count", "3"), ("ratio", "1")):
        tab_to(page, name)
        page.keyboard.type(typed)
    tab_to(page, "publish")
    page.keyboard.press("Space")
    tab_to(page, "channel")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(step(page, "Fill")).to_contain_text('"publish":true,"channel":"stable"')
    status(page, "done")

    page.goto(site.start_run("count"))
    expect(step(page, "Count")).to_contain_text("line 1")
    tab_to(page, "Cancel")
    page.keyboard.press("Enter")
    status(page, "cancelled")
    assert page.evaluate("document.activeElement.id") == "top"


def test_the_page_follows_only_who_is_at_the_end(site: Site, page: Page) -> None:
    """Who reads what came before is left there; who goes to the end sees what comes."""
    page.goto(site.start_run("count"))
    expect(step(page, "Count")).to_contain_text("line 60\n")
    left = "document.scrollingElement.scrollHeight - innerHeight - scrollY"
    assert page.evaluate("scrollY") > 0
    assert page.evaluate(left) < 2
    page.evaluate("scrollTo(0, 100)")
    expect(step(page, "Count")).to_contain_text("line 120\n")
    assert page.evaluate("scrollY") == 100
    page.evaluate("scrollTo(0, document.scrollingElement.scrollHeight)")
    expect(step(page, "Count")).to_contain_text("line 180\n")
    assert page.evaluate(left) < 2
    page.get_by_role("button", name="Cancel").click()
    status(page, "cancelled")


@pytest.mark.parametrize("width", [320, 2_000])
def test_other_widths(site: Site, page: Page, width: int) -> None:
    """Nothing is cut off on a small phone, or lost on a wall."""
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(site.start_run("research"))
    status(page, "done")
    check(page, statuses=1)
