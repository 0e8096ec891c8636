"""Every demo as a person runs it: in a process of its own, with real HTTP, read off the screen."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import pytest
from gradio_client import Client

from demos.standin_server import StandInHandler, StandInServer
from tests.terminal import Terminal
from tests.web.servers import free_port, http, until
from tests.web.streams import started

ROOT = Path(__file__).resolve().parent.parent
DEMOS = ROOT / "demos"
NUMBERED = sorted(path.name for path in DEMOS.glob("[0-9]*.py"))


def command(demo: str, *arguments: str, strict: bool = True) -> list[str]:
    """How a demo is started; `strict` makes every warning an error."""
    flags = ["-W", "error"] if strict else []
    return [sys.executable, *flags, str(DEMOS / demo), *arguments]


def environ(changes: Mapping[str, str]) -> dict[str, str]:
    """The environment of a demo: no model named and no delay between tokens, but for `changes`."""
    unset = {"MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY", "ASK", "DOCS"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "PYTHONPATH": str(ROOT), "STANDIN_DELAY": "0", **changes}


def run(
    demo: str,
    *arguments: str,
    said: str | None = "",
    strict: bool = True,
    env: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Run a demo to its end; `said` is its standard input, `env` changes its environment."""
    return subprocess.run(
        command(demo, *arguments, strict=strict),
        stdin=subprocess.DEVNULL if said is None else None,
        input=said,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environ(env),
        timeout=120,
        check=False,
    )


def screen(demo: str, *arguments: str, **options: Any) -> str:
    """What a demo that goes well shows."""
    done = run(demo, *arguments, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def assert_in_order(shown: str, *parts: str) -> None:
    """Each part stands in `shown`, after the one before."""
    place = 0
    for part in parts:
        assert part in shown[place:], f"{part!r} is not in {shown[place:]!r}"
        place = shown.index(part, place) + len(part)


def real(server: StandInServer) -> dict[str, str]:
    """The environment that names a server as the model."""
    return {
        "MODEL": "any-name",
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": server.api_key,
    }


def breaks_off(at: int) -> type[StandInHandler]:
    """What serves connections and once hangs up, in place of the event with that number."""
    events = count(1)

    class BreaksOff(StandInHandler):
        def _send_event(self, data: object) -> None:
            if next(events) == at:
                raise ConnectionResetError
            super()._send_event(data)

    return BreaksOff


class SaysALine(StandInHandler):
    """Streams a line at once, before its tokens, which come with the server's delay."""

    def _send_event(self, data: Any) -> None:
        super()._send_event(data)
        choices = data["choices"] if isinstance(data, dict) else []
        if choices and "role" in choices[0]["delta"]:
            line = {**choices[0], "delta": {"content": "so far\n"}}
            super()._send_event({**data, "choices": [line]})


# -- the numbered demos ---------------------------------------------------------------------------


def test_every_demo_is_listed_and_fits_a_screen() -> None:
    """The table names each demo with its command, and none is long."""
    table = (DEMOS / "README.md").read_text(encoding="utf-8")
    assert len(NUMBERED) == 14
    for name in NUMBERED:
        assert f"`.venv/bin/python demos/{name}`" in table
        assert len((DEMOS / name).read_text(encoding="utf-8").splitlines()) <= 100


def test_hello() -> None:
    """The words come, and the node kept them."""
    assert screen("01_hello.py") == (
        "Hello Ada how are you? \nshared = {'name': 'Ada', 'greeting': 'Hello Ada how are you? '}\n"
    )


def test_handlers() -> None:
    """Every handler hears its sender, in the order of connection, and nothing else."""
    assert screen("02_handlers.py").splitlines() == [
        "Writer begins",
        "  one node    Writer: one",
        "  a class     Writer: one",
        "  one node    Writer: two",
        "  a class     Writer: two",
        "  an observer Writer -> Editor",
        "Editor begins",
        "  a class     Editor: three",
        "  a path      Editor: three",
        "  an observer Editor -> None",
        "the flow is ok",
    ]


def test_pull() -> None:
    """Nothing is made before it is asked for, the action comes back, and leaving is closing."""
    assert screen("03_pull.py").splitlines() == [
        "<p>",
        "    (making 'one')",
        "one",
        "    (making 'two')",
        "two",
        "    (making 'three')",
        "three",
        "    (closed)",
        "</p> ended with 'counted'",
        "Leaving early closes the node:",
        "    (making 'one')",
        "<p> one",
        "    (closed)",
    ]


def test_plan_action() -> None:
    """Plan and Act take turns until the notes have what was asked, then Answer quotes them."""
    shown = screen("04_plan_action.py")
    assert_in_order(shown, "search: pump bicycle\n", "search: key\n", "answer\n", "The files say:")
    assert 'monday: "The pump is in the cellar."' in shown
    assert 'tuesday: "Nora took the cellar key to Lyon' in shown
    shown = screen("04_plan_action.py", "Who bought the red bicycle?")
    assert 'wednesday: "The red bicycle was sold to the baker."' in shown


REVIEWS = [
    'review 1: "The coffee was strong and hot."',
    "None of these passages helps with the question.",
    'review 3: "Never again: the coffee was cold, and nobody said sorry."',
    'review 4: "For me the best coffee in town."',
    'review 5: "The coffee machine was broken, so we left."',
]


def test_parallel() -> None:
    """Three items at most are at work, each has its own text, and the count goes up."""
    shown = screen("05_parallel.py")
    assert_in_order(shown, "1 of 5 reviews read", "5 of 5 reviews read", "1 begins", "1 of 5 done")
    working = most = 0
    for line in shown.splitlines():
        working += line.endswith("begins")
        working -= " done: " in line
        most = max(most, working)
    assert (working, most) == (0, 3)
    assert re.findall(r"(\d) of 5 done", shown) == list("12345")
    assert sorted(re.findall("done: (.*)", shown)) == sorted(REVIEWS)


def test_parallel_voids_what_a_broken_stream_said() -> None:
    """One of the streams breaks off in the middle; no text is lost or doubled."""
    with StandInServer(handler=breaks_off(20)) as server:
        shown = screen("05_parallel.py", env=real(server))
    assert sorted(re.findall("done: (.*)", shown)) == sorted(REVIEWS)


@pytest.mark.parametrize("demo", ["04_plan_action.py", "05_parallel.py", "07_litellm.py"])
def test_a_model_that_refuses_is_one_line(demo: str, real_model: StandInServer) -> None:
    """Each demo that talks to a model ends in order where there is none."""
    wrong = {**real(real_model), "OPENAI_API_KEY": "wrong"}
    done = run(demo, said="Hello\n", strict=False, env=wrong)
    assert done.returncode == 1
    assert "Incorrect API key provided" in done.stderr
    assert done.stderr.count("\n") == 1


def test_pocketflow() -> None:
    """The unchanged program does its work, and its retry, items and actions are seen."""
    shown = screen("06_pocketflow.py")
    text = (DEMOS / "06_pocketflow.py").read_text(encoding="utf-8")
    assert_in_order(
        shown,
        "Load: attempt 1 failed with OSError: the disk was asleep",
        "Load is ok after",
        "None -> Count",
        "Count is ok after",
        "'long' -> Praise",
        f"{len(text.split())} words, well done!",
        "Praise is ok after",
        f"The flow is ok; the batch had {len(text.splitlines())} items.",
    )


def test_litellm() -> None:
    """Piped lines are answered from what was said before, and the end of input ends the chat."""
    shown = screen(
        "07_litellm.py", said="My cat is called Tom.\nWhat is my cat called?\n", strict=False
    )
    assert_in_order(
        shown,
        "You:   My cat is called Tom.\n",
        'Model: I have noted "My cat is called Tom."',
        "You:   What is my cat called?\n",
        'Model: You said: "My cat is called Tom."\n',
        "Bye!",
    )


def terminal(demo: str, **env: str) -> Terminal:
    """A demo in a terminal."""
    return Terminal(command(demo), environ(env))


def test_approval() -> None:
    """At the console: the draft is revised as was wished, until the answer is yes."""
    with terminal("08_approval.py") as person:
        assert "Lunch on Friday.\nYours, Bo" in person.until("Send it? (yes, or what to change) ")
        person.press("bring the cake\n")
        assert "Lunch on Friday.\nBring the cake.\nYours" in person.until("to change) ")
        person.press("yes\n")
        person.until("Sent, after 1 revisions.\n")
        assert person.end() == 0
    assert person.shown.count("Dear Ada") == 2  # the draft before a question is not made again


def test_approval_without_an_answer() -> None:
    """The end of input answers nothing: the run is paused, and says at what."""
    with terminal("08_approval.py") as person:
        person.until("Send it? (yes, or what to change) ")
        person.press("\x04")
        person.until("is paused: Approve asks 'Send it? (yes, or what to change)' (id '1').")
        assert person.end() == 0


def test_answers_from_another_thread() -> None:
    """It asks at the terminal while the main thread waits inside its loop over the run."""
    with terminal("09_other_thread.py") as person:
        person.until("[the other thread] Send it? (yes, or what to change) ")
        person.press("\x1b[31mbring wine\n")
        assert "\\x1b[31mbring wine.\nYours, Bo" in person.until("[the other thread] Send it?")
        person.press("yes\n")
        person.until("Sent, after 1 revisions.\n")
        assert person.end() == 0


def test_the_other_thread_cancels() -> None:
    """The end of input is no answer."""
    with terminal("09_other_thread.py") as person:
        person.until("[the other thread] Send it?")
        person.press("\x04")
        person.until("(cancelled)\n")
        assert person.end() == 0


def test_enter_steers_a_stream() -> None:
    """It stops in the middle, takes an instruction, goes on with it, and twice ENTER stops it."""
    with terminal("10_steer.py", STANDIN_DELAY="0.005") as person:
        person.until("flowevents")
        person.press("\n")
        person.until("New instruction? (ENTER stops) ")
        person.press("cancelled, please\n")
        person.until("can be pushed, pulled")
        person.press("\n")
        person.until("New instruction? (ENTER stops) ")
        person.press("\n")
        person.until("(stopped)\n")
        assert person.end() == 0
    assert "told it all" not in person.shown


def test_a_stream_that_is_left_alone_tells_it_all() -> None:
    """Nobody types."""
    with terminal("10_steer.py") as person:
        person.until("(told it all)\n")
        assert person.end() == 0
    assert "New instruction" not in person.shown


def test_a_stream_that_nobody_can_interrupt() -> None:
    """No loop can watch such an input; it says so, and tells it all."""
    shown = screen("10_steer.py", said=None)
    assert_in_order(shown, "(Nothing can be typed here.)", "(told it all)")


def test_an_agent_that_dies_goes_on() -> None:
    """The step that had ended does not run again; two answers come from two other terminals."""
    with terminal("11_durable.py", PYTHONWARNINGS="error") as person:
        person.until("(looking into the calendar, once)\n")
        person.until("Dear Ada,\nLunch on Friday")
        person.until("(killed; another process is started)\n")
        person.until("(Flow/Draft begins again. Lost: ")
        said = person.until("--answer\n")
        assert "Dear Ada,\nLunch on Friday.\nYours, Bo\nSend it? (yes, or what to change)" in said
        reply, watch = (line.split() for line in said.splitlines() if " -m flowevents " in line)
        with Terminal(watch, environ({})) as other:
            other.until("Send it?")
            other.press("bring the cake\n")
            person.until("Bring the cake.\nYours, Bo\n")
            person.until("--answer\n")
            answered = subprocess.run(reply, env=environ({}), timeout=60, check=False)
            assert answered.returncode == 0
            assert other.end() == 0
        person.until("Sent, after 1 revisions.\n")
        assert person.end() == 0
    assert person.shown.count("(looking into the calendar, once)") == 1


def test_enter_stops_a_stream_and_the_flow_goes_on() -> None:
    """What came until then is kept."""
    with terminal("14_stop.py", STANDIN_DELAY="0.005") as person:
        person.until("flowevents")
        person.press("\n")
        person.until(" words)\n")
        assert person.end() == 0
    whole = screen("14_stop.py", said=None)
    kept, all_of_it = (int(re.findall(r"kept (\d+)", each)[0]) for each in (person.shown, whole))
    assert 0 < kept < all_of_it


def test_fastapi() -> None:
    """The letter is revised and approved by requests, below the path that it is mounted at."""
    port = free_port()
    with subprocess.Popen(
        command("12_fastapi.py"),
        stderr=subprocess.PIPE,
        text=True,
        env=environ({"PORT": str(port)}),
    ) as demo:
        assert demo.stderr is not None
        while "Uvicorn running on" not in demo.stderr.readline():
            assert demo.poll() is None
        url = f"http://127.0.0.1:{port}/agents"
        run_id = started(url, "letter", {"question": "Lunch on Friday"})
        for wish in ("bring the cake", "yes"):
            until(lambda: http.get(f"{url}/runs/{run_id}").json()["interrupts"], "it asks")
            http.post(f"{url}/runs/{run_id}/replies", json={"value": wish})
            until(lambda: not http.get(f"{url}/runs/{run_id}").json()["interrupts"], "it goes on")
        until(lambda: http.get(f"{url}/runs/{run_id}").json()["status"] == "done", "it is sent")
        events = http.get(f"{url}/runs/{run_id}/events").text
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert "Bring the cake" in "".join(re.findall(r'"data":"([^"]*)"', events))


@pytest.mark.usefixtures("threads_end")
def test_gradio() -> None:
    """It asks before it searches, goes on with the answer, and shows what its nodes do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with subprocess.Popen(
        command("13_gradio.py", strict=False),  # Gradio itself warns
        stdout=subprocess.PIPE,
        text=True,
        env=environ(
            {
                "GRADIO_SERVER_PORT": port,
                "GRADIO_HEARTBEAT_INTERVAL": "0.1",
                "PYTHONUNBUFFERED": "1",  # Gradio says its address into a pipe
            }
        ),
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as demo:
        assert demo.stdout is not None
        while "Running on local URL" not in demo.stdout.readline():
            assert demo.poll() is None
        client = Client(f"http://127.0.0.1:{port}", verbose=False, analytics_enabled=False)
        shown = client.predict("How is a run cancelled?", api_name="/chat")
        assert [each["metadata"].get("title") for each in shown] == ["Plan", "AskedSearch", None]
        assert shown[-1]["content"] == "Search the docs for “run cancelled”?"
        while "options" in shown[-1]:
            assert shown[-1]["options"] == [{"value": "yes"}, {"value": "no"}]
            shown = client.predict("yes", api_name="/chat")
        assert "docs/" in shown[0]["content"]
        assert shown[-1]["content"].startswith("The files say:")
        client.close()
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 0


# -- the agent ------------------------------------------------------------------------------------


@pytest.fixture
def island(tmp_path: Path) -> Path:
    """A folder with facts that stand nowhere else."""
    folder = tmp_path / "island"
    (folder / "harbour").mkdir(parents=True)
    (folder / "harbour" / "ferry.md").write_text(
        "# The ferry\n\nThe ferry Vesterhavet leaves at 06:40, and carries 43 cars.\n",
        encoding="utf-8",
    )
    (folder / "light.txt").write_text(
        "The lighthouse was painted by Ingrid Holm in 1911.\n\nIts lamp is \x1b[31mred\x1b[0m.\n",
        encoding="utf-8",
    )
    return folder


def test_agent_answers_from_the_folder(island: Path) -> None:
    """Plan, Search, Plan, Answer: each is seen at work, and the answer stands only in the file."""
    shown = screen("agent.py", "--ask", "When does the ferry leave?", "--docs", str(island))
    assert_in_order(
        shown,
        "2 files with 2 passages in",
        "a stand-in",
        "Question: When does the ferry leave?",
        "\nPlan: start\nPlan | search: ferry leave\nPlan: ok",
        "\nPlan -> Search (search)\nSearch: start\nSearch | found: harbour/ferry.md:1 # The ferry",
        'harbour/ferry.md: "The ferry Vesterhavet leaves at 06:40, and carries 43 cars."\n',
        "\nSearch -> Plan\nPlan: start\nPlan | answer\n",
        "\nPlan -> Answer (answer)\nAnswer: start\nAnswer | The files say:\n",
        'Answer | - harbour/ferry.md: "The ferry Vesterhavet leaves at 06:40',
    )
    assert "Ingrid" not in shown


def test_agent_answers_another_question_from_another_file(island: Path) -> None:
    """The question decides; it may come from the environment, as `make demo` gives it."""
    shown = screen("agent.py", env={"ASK": "Who painted the lighthouse?", "DOCS": str(island)})
    assert 'light.txt: "The lighthouse was painted by Ingrid Holm in 1911."' in shown
    assert "06:40" not in shown


def test_agent_says_what_it_did_not_find(island: Path) -> None:
    """It searches every word of the question, a bounded number of times, and then says so."""
    question = "Did Napoleon, Cleopatra, Shakespeare, Aristotle, Confucius or Gandhi walk, swim?"
    shown = screen("agent.py", "--ask", question, "--docs", str(island))
    assert shown.count("\nSearch | Nothing stands there about") == 4
    assert "\nAnswer | Nothing was found about Napoleon, Cleopatra" in shown


def test_agent_reads_its_own_project() -> None:
    """Without arguments it asks the project's own documents and sources."""
    shown = screen("agent.py")
    assert f" in {ROOT}\n" in shown
    assert_in_order(shown, "\nPlan |", "\nSearch |", "\nAnswer |", "The files say:", ".")


def test_agent_shows_controls_as_text(island: Path) -> None:
    """What a file or a question smuggles in does not reach the terminal."""
    shown = screen("agent.py", "--ask", "red lamp \x1b]0;title\x07", "--docs", str(island))
    assert "Its lamp is \\x1b[31mred\\x1b[0m." in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


@pytest.mark.parametrize("question", ['" OR *', "NEAR(", "?", "ferry*) AND (", "\udcff ferry"])
def test_agent_takes_any_question(island: Path, question: str) -> None:
    """No question is an error of the search."""
    shown = screen("agent.py", "--ask", question, "--docs", str(island))
    assert "\nAnswer | " in shown
    assert ("06:40" in shown) == ("ferry" in question)


@pytest.mark.parametrize(
    ("question", "docs", "error"),
    [
        ("  ", ".", "The question is empty: set ASK"),
        ("Why?", "no\x1bwhere", "There is no folder 'no\\x1bwhere': set DOCS"),
        ("Why?", "empty", "No text in 'empty': set DOCS"),
        ("Why?", "island/light.txt", "There is no folder 'island/light.txt'"),
    ],
    ids=["question", "missing", "empty", "file"],
)
def test_agent_says_what_is_wrong_in_one_line(
    island: Path, monkeypatch: pytest.MonkeyPatch, question: str, docs: str, error: str
) -> None:
    """A bad question or folder is told before anything begins."""
    (island.parent / "empty").mkdir()
    monkeypatch.chdir(island.parent)
    done = run("agent.py", "--ask", question, "--docs", docs)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(error)
    assert done.stderr.count("\n") == 1


@pytest.fixture
def real_model() -> Iterator[StandInServer]:
    """A server that the demo does not start itself, as a real model is."""
    with StandInServer() as server:
        yield server


def test_agent_uses_the_model_of_the_environment(island: Path, real_model: StandInServer) -> None:
    """With the three variables set the demo talks to that endpoint and starts no stand-in."""
    shown = screen(
        "agent.py",
        *("--ask", "When does the ferry leave?", "--docs", str(island)),
        env=real(real_model),
    )
    assert f"Model: any-name at {real_model.base_url}\n" in shown
    assert "stand-in" not in shown
    assert "06:40" in shown


def test_agent_shows_retry_and_failure(island: Path, real_model: StandInServer) -> None:
    """A model that refuses is tried again, on the screen, and ends in one line."""
    done = run(
        "agent.py",
        *("--ask", "Why?", "--docs", str(island)),
        env={**real(real_model), "OPENAI_API_KEY": "wrong"},
    )
    why = f"Model 'any-name' at {real_model.base_url}: HTTP 401: Incorrect API key provided."
    assert done.returncode == 1
    assert done.stderr == f"{why}\n"
    assert_in_order(
        done.stdout,
        f"\nPlan: attempt 1 is void, attempt 2 follows: ModelError: {why}\n",
        "Plan: error in",
    )


def test_agent_voids_what_a_broken_stream_said(island: Path) -> None:
    """A stream that breaks off in the middle is begun again, and the answer is whole."""
    with StandInServer(handler=breaks_off(3)) as server:
        shown = screen(
            "agent.py",
            *("--ask", "When does the ferry leave?", "--docs", str(island)),
            env=real(server),
        )
    assert_in_order(
        shown,
        "\nPlan | search\nPlan: attempt 1 is void, attempt 2 follows: ModelError: Model",
        "\nPlan | search: ferry leave\n",
        "06:40",
    )


def test_ctrl_c_ends_the_agent_cleanly(island: Path) -> None:
    """In the middle of a stream: the node is cancelled, no traceback, code 130."""
    with (
        StandInServer(handler=SaysALine, delay=60) as server,
        subprocess.Popen(
            command("agent.py"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ({"ASK": "ferry", "DOCS": str(island), **real(server)}),
            # A shell has what it starts in the background ignore it.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        ) as demo,
    ):
        assert demo.stdout is not None
        while "Plan | so far" not in demo.stdout.readline():
            assert demo.poll() is None
        demo.send_signal(signal.SIGINT)
        shown, errors = demo.communicate(timeout=60)
    assert "Plan: cancelled in" in shown
    assert errors == ""
    assert demo.returncode == 130


def test_the_screenshot_is_drawn(tmp_path: Path) -> None:
    """From a run of the agent; pictures that stand alone, and that nothing can be clicked in."""
    screen("screenshot.py", str(tmp_path))
    texts = [("Plan", "search: handlers exception", "Answer", "agent"), ("Plan", "Search")]
    for name, said in zip(("display.svg", "timeline.svg"), texts, strict=True):
        svg = (tmp_path / name).read_text(encoding="utf-8")
        shown = " ".join("".join(ElementTree.fromstring(svg).itertext()).split())
        assert_in_order(shown, *said)
        assert not re.search(r"url\((?!#)|href|<script", svg)
