"""A chat in Gradio: its own server, its own client, and its own page in Chromium."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Browser, Locator, Page, expect

from tests.web.page.site import chromium
from tests.web.servers import free_port, http, until

pytestmark = pytest.mark.usefixtures("threads_end")

ROOT = Path(__file__).parent.parent

Open = Callable[[], Client]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a chat at `sync` and one at `async`, not strict: Gradio itself warns."""
    port, log = free_port(), tmp_path_factory.mktemp("site") / "log"
    command = [sys.executable, "-m", "uvicorn", "tests.gradio_flows:app", "--port", str(port)]
    with (
        log.open("wb") as written,
        subprocess.Popen(command, cwd=ROOT, stdout=written, stderr=written) as server,
    ):

        def answers() -> bool:
            assert server.poll() is None, log.read_text()
            with suppress(httpx.TransportError):
                return http.get(f"http://127.0.0.1:{port}/sync/").is_success
            return False

        try:
            deadline = time.monotonic() + 120  # Gradio's imports take their time
            while not answers():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser."""
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """Of which kind the flow is."""
    kind: str = request.param
    return kind


@pytest.fixture
def open_client(site: str, kind: str) -> Iterator[Open]:
    """Opens a session of Gradio's client."""
    with ExitStack() as stack:

        def opened() -> Client:
            client = Client(f"{site}/{kind}/", verbose=False, analytics_enabled=False)
            stack.callback(client.close)
            return client

        yield opened


def wait_for(path: Path) -> None:
    """Until there is such a file."""
    until(path.exists, path.name)


def send(client: Client, text: object) -> list[dict[str, Any]]:
    """What a message is answered with, in the end."""
    answer: list[dict[str, Any]] = client.predict(str(text), api_name="/chat")
    return answer


def contents(messages: list[dict[str, Any]]) -> list[str]:
    """The texts."""
    return [each["content"] for each in messages]


# -- Gradio's client --------------------------------------------------------------------------


def test_two_sessions_at_once_never_see_each_other(open_client: Open, tmp_path: Path) -> None:
    """One waits in the middle of a step while the other is asked, and each has its own question."""
    one, other = open_client(), open_client()
    waiting = one.submit(f"wait {tmp_path}", api_name="/chat")
    assert contents(send(other, f"ask {tmp_path}"))[-1] == "Shall I go on?"
    assert not waiting.done()
    (tmp_path / "gate").touch()
    assert contents(waiting.result())[-1] == "Done: wait, unasked, after 0 messages."
    assert contents(send(one, f"ask {tmp_path}"))[-1] == "Shall I go on?"
    assert contents(send(other, "no"))[-1] == "Done: ask, no, after 0 messages."
    assert contents(send(one, "yes"))[-1].startswith("Done: ask, yes, after ")


def test_a_refused_answer_an_error_and_the_chat_goes_on(open_client: Open, tmp_path: Path) -> None:
    """All in one session."""
    client = open_client()
    send(client, f"ask {tmp_path}")
    refused = send(client, "maybe")
    assert "the choices are 'yes', 'no'" in refused[0]["content"]
    assert refused[1]["options"] == [{"value": "yes"}, {"value": "no"}]
    assert contents(send(client, "yes"))[-1].startswith("Done: ask, yes")
    assert contents(send(client, f"fail {tmp_path}"))[-1] == (
        "**It failed.**\n\n    ValueError: <b>no</b> way"
    )
    assert contents(send(client, f"say {tmp_path}"))[-1].startswith("Done: say, unasked")


def test_a_client_that_goes_cancels_its_run(open_client: Open, tmp_path: Path) -> None:
    """Also one that waits for an answer, and no other one."""
    gone, stays = open_client(), open_client()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    send(gone, f"ask {tmp_path}")
    send(stays, f"ask {theirs}")
    gone.close()
    wait_for(tmp_path / "Approve ended")
    assert not (theirs / "Approve ended").exists()
    assert contents(send(stays, "yes"))[-1] == "Done: ask, yes, after 0 messages."


def test_who_reads_no_further_cancels_the_run(site: str, kind: str, tmp_path: Path) -> None:
    """A program without a session: Gradio notices with the next update, so there always is one."""
    calls = f"{site}/{kind}/gradio_api/call/chat"
    event = http.post(calls, json={"data": [f"wait {tmp_path}"]}).json()["event_id"]
    with http.stream("GET", f"{calls}/{event}") as answer:
        assert any("looking" in line for line in answer.iter_lines())
    wait_for(tmp_path / "Look ended")


def test_the_end_of_the_server_ends_its_runs(kind: str, tmp_path: Path) -> None:
    """Ctrl-C, in the middle of a step: the node's `finally` runs."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.gradio_flows", kind, str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as server:
        assert server.stdout is not None
        while "Running on local URL" not in server.stdout.readline():
            assert server.poll() is None
        calls = f"http://127.0.0.1:{port}/gradio_api/call/chat"
        event = http.post(calls, json={"data": [f"wait {tmp_path}"]}).json()["event_id"]
        with http.stream("GET", f"{calls}/{event}") as answer:
            assert any("looking" in line for line in answer.iter_lines())
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)
    assert (tmp_path / "Look ended").exists()
    assert server.returncode == 0


# -- Gradio's page ----------------------------------------------------------------------------


@pytest.fixture
def page(browser: Browser, site: str, kind: str) -> Iterator[Page]:
    """A tab with the chat."""
    context = browser.new_context(viewport={"width": 1_000, "height": 900})
    page = context.new_page()
    page.goto(f"{site}/{kind}/")
    yield page
    context.close()


def say(page: Page, text: object) -> None:
    """Type a message, and send it."""
    box = page.get_by_role("textbox")
    expect(box).to_be_enabled()
    box.fill(str(text))
    box.press("Enter")


def step(page: Page, name: str) -> Locator:
    """The last step of that name."""
    return page.locator(".thought-group").filter(has_text=name).last


def spins(page: Page, name: str) -> Locator:
    """The spinner of a step."""
    return step(page, name).locator(".loading-spinner")


def test_steps_appear_and_a_choice_is_a_button(page: Page, tmp_path: Path) -> None:
    """A step has its text while it spins; then it is folded, and the reply stands below."""
    say(page, f"wait {tmp_path}")
    expect(step(page, "Look")).to_contain_text("I am looking.")
    expect(spins(page, "Look")).to_be_visible()
    (tmp_path / "gate").touch()
    expect(page.get_by_text("Done: wait, unasked, after 0 messages.")).to_be_visible()
    expect(spins(page, "Look")).to_have_count(0)
    expect(step(page, "Look")).to_contain_text("s)")
    expect(step(page, "Look").get_by_text("I am looking.")).not_to_be_visible()

    say(page, f"ask {tmp_path}")
    expect(page.get_by_text("Shall I go on?")).to_be_visible()
    expect(page.get_by_role("textbox")).to_be_enabled()
    page.get_by_role("button", name="no", exact=True).click()
    expect(page.get_by_text("Done: ask, no, after ")).to_be_visible()
    expect(page.get_by_role("button", name="no", exact=True)).to_have_count(0)


def test_a_refused_answer_has_its_buttons_again(page: Page, tmp_path: Path) -> None:
    """And the reason."""
    say(page, f"ask {tmp_path}")
    expect(page.get_by_role("button", name="yes", exact=True)).to_have_count(1)
    say(page, "maybe")
    expect(page.get_by_text("the choices are 'yes', 'no'")).to_be_visible()
    expect(page.get_by_role("button", name="yes", exact=True)).to_have_count(1)
    say(page, "yes")
    expect(page.get_by_text("Done: ask, yes, after ")).to_be_visible()


def test_retried_text_is_taken_back_on_the_page(page: Page, tmp_path: Path) -> None:
    """It stands there, then it is gone, and why."""
    say(page, f"retry {tmp_path}")
    expect(step(page, "Look")).to_contain_text("This is wrong.")
    (tmp_path / "gate").touch()
    expect(step(page, "Look")).to_contain_text("again, after ValueError: the model broke off")
    expect(page.get_by_text("Done: retry")).to_be_visible()
    step(page, "Look").get_by_role("button").first.click()
    expect(step(page, "Look")).to_contain_text("I am looking.")
    expect(page.get_by_text("This is wrong.")).to_have_count(0)


def test_stop_cancels_the_run_and_the_chat_goes_on(page: Page, tmp_path: Path) -> None:
    """The node's `finally` runs, and what was stopped is said to be."""
    say(page, f"wait {tmp_path}")
    expect(step(page, "Look")).to_contain_text("I am looking.")
    page.locator("button.stop-button").click()
    wait_for(tmp_path / "Look ended")
    say(page, f"say {tmp_path}")
    expect(page.get_by_text("Done: say")).to_be_visible()
    expect(page.locator(".thought-group").first).to_contain_text("cancelled")
    expect(page.locator(".loading-spinner")).to_have_count(0)


def test_an_error_is_shown_on_the_page_and_the_chat_goes_on(page: Page, tmp_path: Path) -> None:
    """As it is, whatever it holds."""
    say(page, f"fail {tmp_path}")
    expect(page.get_by_text("ValueError: <b>no</b> way").last).to_be_visible()
    expect(page.locator(".loading-spinner")).to_have_count(0)
    say(page, f"say {tmp_path}")
    expect(page.get_by_text("Done: say")).to_be_visible()


@pytest.mark.parametrize("what", ["wait", "ask"])
def test_a_closed_tab_cancels_its_run(
    page: Page, browser: Browser, tmp_path: Path, what: str
) -> None:
    """In the middle of a step, and at a question; another tab is not concerned."""
    node = {"wait": "Look", "ask": "Approve"}[what]
    other = browser.new_context().new_page()
    other.goto(page.url)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    say(other, f"wait {theirs}")
    expect(step(other, "Look")).to_contain_text("I am looking.")
    say(page, f"{what} {tmp_path}")
    expect(step(page, node)).to_be_visible()
    if what == "ask":
        expect(page.get_by_role("button", name="yes", exact=True)).to_be_visible()
    page.close()
    wait_for(tmp_path / f"{node} ended")
    (theirs / "gate").touch()
    expect(other.get_by_text("Done: wait")).to_be_visible()
    other.context.close()


def test_hostile_text_is_text(page: Page, tmp_path: Path) -> None:
    """Nothing that a node says runs in the page, or loads anything."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    say(page, f"hostile {tmp_path}")
    expect(page.get_by_text("Done: hostile")).to_be_visible()
    step(page, "Look").get_by_role("button").first.click()
    expect(step(page, "Look")).to_contain_text("I am looking.")
    assert not [each for each in asked if "127.0.0.1" not in each]
    expect(page.locator("script:text('alert')")).to_have_count(0)
