"""The questions of a run in the page: a form for whatever may be asked, and why it is refused."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.sync_api import Page, Route, expect

from tests.web.page.site import Site
from tests.web.page.test_person import status, step
from tests.web.servers import http

TYPED: Final = [
    ("text", "", ""),
    ("text", " two  words ", " two  words "),
    ("int", "12", "12"),
    ("int", "-3", "-3"),
    ("float", "1e3", "1000"),
    ("float", "1e20", "100000000000000000000"),
    ("list", "[1, 2]", "[1,2]"),
    ("maybe", "", "null"),
    ("maybe", "7", "7"),
]
"""What is asked for, what is typed, and the answer that the run was given."""

REFUSED: Final = [
    ("int", "twelve", "'twelve' is not of type 'integer'"),
    ("int", "1.5", "1.5 is not of type 'integer'"),
    ("int", "12345678901234567890123", "is not of type 'integer'"),
    ("float", "", "'' is not of type 'number'"),
    ("list", "[1, 'a']", "Answer is no JSON"),
    ("list", '["a"]', "'a' is not of type 'integer'"),
]


@pytest.mark.parametrize(("kind", "typed", "answer"), TYPED)
def test_one_field(site: Site, page: Page, kind: str, typed: str, answer: str) -> None:
    """A question for one value has one field, and a button that sends it; so does Enter."""
    page.goto(site.start_run("any", kind=kind))
    expect(page.get_by_text("Well?")).to_be_visible()
    page.get_by_role("textbox", name="Answer").fill(typed)
    page.get_by_role("button", name="Send").click()
    status(page, "done")
    told = page.get_by_text("Answer:").text_content()
    assert told == f"Answer: {answer}"


@pytest.mark.parametrize(("kind", "typed", "reason"), REFUSED)
def test_refused(site: Site, page: Page, kind: str, typed: str, reason: str) -> None:
    """The server's reason is told, what was typed stays, and another answer takes it away."""
    page.goto(site.start_run("any", kind=kind))
    field = page.get_by_role("textbox", name="Answer")
    field.fill(typed)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text(reason)
    expect(field).to_have_value(typed)
    status(page, "paused")
    field.fill("[3]" if kind == "list" else "3")
    page.get_by_role("button", name="Send").click()
    status(page, "done")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_yes_or_no_and_one_of_some(site: Site, page: Page) -> None:
    """A boolean is a checkbox, an enumeration a list to choose from."""
    page.goto(site.start_run("any", kind="bool"))
    page.get_by_role("checkbox", name="Answer").check()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Answer: true")).to_be_visible()
    page.goto(site.start_run("any", kind="enum"))
    page.get_by_role("combobox", name="Answer").select_option("red")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Answer: red")).to_be_visible()


def test_defaults_stand_in_the_fields(site: Site, page: Page) -> None:
    """Sent as they are they are the answer; what is cleared is cleared."""
    view = site.start_run("any", kind="defaults")
    page.goto(view)
    for name, value in (("text", "two\nlines"), ("kind", "1"), ("maybe", "2"), ("number", "3")):
        expect(page.get_by_label(name, exact=True)).to_have_value(value)
    expect(page.get_by_label("yes")).to_be_checked()
    page.get_by_label("text").fill("")
    page.get_by_label("maybe").select_option("")
    page.get_by_role("button", name="Send").click()
    told = page.get_by_text("Answer:")
    expect(told).to_have_text(
        'Answer: {"text":"","kind":"b","maybe":null,"number":3,"yes":true,"words":["w"],'
        '"inner":null}'
    )


def test_two_questions_at_once(site: Site, page: Page) -> None:
    """Each stands where it was asked; the run is paused until none of them keeps it."""
    page.goto(site.start_run("talk"))
    tea, coffee = step(page, "Item 1").last, step(page, "Item 2").last
    status(page, "paused")
    expect(tea.get_by_text("How much tea?")).to_be_visible()
    coffee.get_by_role("textbox").fill("half typed")
    tea.get_by_role("textbox").fill("a cup")
    page.keyboard.press("Enter")
    expect(tea).to_contain_text("tea: a cup")
    expect(coffee.get_by_role("textbox")).to_have_value("half typed")
    status(page, "paused")
    coffee.get_by_role("button").click()
    status(page, "done")


def test_too_late(site: Site, page: Page) -> None:
    """Who answers what is answered already is told so."""
    view = site.start_run("any", kind="text")
    page.goto(view)
    page.get_by_role("textbox").fill("second")

    def late(route: Route) -> None:
        first(view)
        route.continue_()

    page.route("**/replies", late)
    page.get_by_role("button", name="Send").click()
    status(page, "done")
    expect(page.get_by_text("Answer: first")).to_be_visible()


def first(view: str) -> None:
    """Answer from elsewhere."""
    sent = http.post(view.removesuffix("view") + "replies", json={"value": "first"})
    assert sent.status_code == 202


def test_an_answer_that_is_not_taken(site: Site, page: Page) -> None:
    """Where the server has it, and no node takes it, that is told, and another one can be sent."""
    page.goto(site.start_run("any", kind="text"))
    page.route("**/replies", lambda route: route.fulfill(status=202))
    page.get_by_role("textbox").fill("lost")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("not taken so far")
    expect(page.get_by_role("textbox")).to_have_value("lost")
    page.unroute("**/replies")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Answer: lost")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    status(page, "done")


def test_cancelled_while_it_asks(site: Site, page: Page) -> None:
    """Nobody can answer any more, and the page says so."""
    page.goto(site.start_run("any", kind="text"))
    expect(page.get_by_role("textbox")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    status(page, "cancelled")
    expect(page.get_by_role("textbox")).to_have_count(0)
    expect(page.get_by_text("Not answered")).to_be_visible()
