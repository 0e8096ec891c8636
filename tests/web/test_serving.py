"""`flowevents serve`: flows over HTTP, from the command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowevents import SQLiteJournal
from tests.driving import PATIENCE
from tests.terminal import Terminal
from tests.web.servers import ROOT, http, until
from tests.web.streams import Viewer, problem, started

AGENT = """
from flowevents import Ask, AskNode, AsyncFlow, AsyncStreamNode

class Says(AsyncStreamNode):
    async def exec_stream_async(self, prep_res):
        yield "hello"

class Asks(AskNode):
    def question(self, prep_res):
        return Ask("Well?", choices=["yes", "no"])

flow = AsyncFlow(Says())
asks = Asks()
make = lambda: asks
nothing = 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a program in it."""
    (tmp_path / "main.py").write_text(AGENT, encoding="utf-8")
    return tmp_path


def command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, as it is typed there."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "flowevents", "serve", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that it prints, without the slash at its end, and its process."""
    with command(folder, *arguments, "--port", "0") as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Open http://127.0.0.1:"), process.communicate()
            yield line.removeprefix("Open ").strip().removesuffix("/"), process
        finally:
            process.kill()


def test_flows_by_their_names(folder: Path) -> None:
    """Each is called as in its module, or as it is told; the page has them all."""
    with serving(folder, "main:flow", "more=main:asks", "main:make") as (url, _):
        page = http.get(f"{url}/").text
        assert all(f"<option>{name}</option>" in page for name in ("flow", "more", "make"))
        viewer = Viewer(started(url, "flow"))
        viewer.look(url)
        assert viewer.ended
        assert started(url, "make")
        problem(http.post(f"{url}/runs", json={"flow": "asks"}), 422, "'flow', 'more', 'make'")


def test_watched_and_answered_in_a_terminal_next_door(folder: Path) -> None:
    """`flowevents watch --answer` shows a run that the server drives, and the server goes on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80"}
    database = folder / "runs.db"
    with serving(folder, "main:asks", "--db", str(database)) as (url, _):
        run_id = started(url, "asks")
        watch = [sys.executable, "-m", "flowevents", "watch", str(database), run_id, "--answer"]
        with Terminal(watch, environment) as terminal:
            terminal.until("Well?")
            terminal.press("yes\n")
            assert terminal.end() == 0
        assert "Asks" in terminal.shown
        assert "yes" in terminal.shown
        with SQLiteJournal(database) as journal:
            assert journal.summary(run_id).status == "done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_its_runs_outlive_it(folder: Path, number: signal.Signals) -> None:
    """With `--db`: another one goes on with them."""
    with serving(folder, "main:asks", "--db", "runs.db") as (url, process):
        run_id = started(url, "asks")
        until(lambda: http.get(f"{url}/runs/{run_id}").json()["interrupts"], "it asks")
        process.send_signal(number)
        said = process.communicate(timeout=PATIENCE)
        assert "".join(said).strip() == ""
        assert process.returncode == (130 if number is signal.SIGINT else -number)
    with SQLiteJournal(folder / "runs.db") as journal:
        assert journal.due() == [run_id]
    with serving(folder, "main:asks", "--db", "runs.db") as (url, _):
        until(
            lambda: http.post(f"{url}/runs/{run_id}/replies", json={"value": "yes"}).is_success,
            "it takes an answer",
        )
        until(lambda: http.get(f"{url}/runs/{run_id}").json()["status"] == "done", "it is done")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument"),
        (["main"], "'main' is not MODULE:FLOW"),
        (["main:nope"], "has no 'nope'"),
        (["main:nothing"], "no flow and no node"),
        (["nope:flow"], "no module 'nope'"),
        (["main:flow", "flow=main:asks"], "Two flows are called 'flow'"),
        (["a/b=main:flow"], "without '/'"),
        (["=main:flow", "--port", "x"], "--port"),
        (["main:flow", "--port", "70000"], "70000 is not in the range"),
        (["main:flow", "--host", "256.0.0.1"], "Cannot listen"),
        (["main:flow", "--host", "192.0.2.1"], "Cannot listen on http://192.0.2.1:8321/"),
        (["main:flow", "--db", "main.py"], "main.py"),
        (["main:flow", "--db", "no/such/folder"], "no/such/folder"),
    ],
)
def test_what_it_cannot_do(folder: Path, arguments: list[str], words: str) -> None:
    """It says so in one line, and what to do."""
    with command(folder, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_without_the_extra(folder: Path) -> None:
    """It names it."""
    for missing in ("uvicorn", "starlette", "sse_starlette"):
        code = f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = ['serve', 'main:flow']"
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"{code}; from flowevents.__main__ import main; sys.exit(main())",
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "pip install flowevents[web]" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken(folder: Path) -> None:
    """Is somebody else's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with command(folder, "main:flow", "--port", port) as process:
            out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (2, "")
    assert f"Cannot listen on http://127.0.0.1:{port}/: Address already in use." in err
