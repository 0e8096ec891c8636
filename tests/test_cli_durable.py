"""The commands that go on with a run of a journal, and that watch one."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from flowevents import Chunk, Interrupt, Paused, Run, SQLiteJournal
from flowevents.cli.commands import run_command
from flowevents.cli.loading import load_flow
from flowevents.observers.jsonlines import read_events
from flowevents.testing import ManualClock, check_events
from tests.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent

ASKS = """
from flowevents import Ask, AskNode, AsyncAskNode, AsyncFlow, Flow, Node, StreamNode


class Draft(StreamNode):
    def exec_stream(self, prep_res):
        yield "Dear Ada,\\n"


class Approve(AskNode):
    def question(self, prep_res):
        return Ask("Send it?", choices=["yes", "no"])

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = exec_res


class ApproveAsync(AsyncAskNode):
    def question(self, prep_res):
        return Ask("Send it?", type=bool)


class Send(StreamNode):
    def exec_stream(self, prep_res):
        yield "Sent.\\n"


class Break(Node):
    def exec(self, prep_res):
        raise ValueError("no paper")


def letter(approve):
    draft = Draft()
    draft >> approve >> Send()
    return draft


flow = Flow(letter(Approve()))
slow = AsyncFlow(letter(ApproveAsync()))
other = Flow(Send())
broken = Flow(Break())
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a module of flows in it; its import is undone."""
    (tmp_path / "asks.py").write_text(ASKS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("asks", None)


@pytest.fixture
def journal(folder: Path) -> Iterator[SQLiteJournal]:
    """This process's handle of the journal that the commands open."""
    with SQLiteJournal(folder / "runs.db") as opened:
        yield opened


@pytest.fixture
def paused(journal: SQLiteJournal) -> SQLiteJournal:
    """The journal, with a run `r1` in it that waits for an answer, and nobody drives."""
    with pytest.raises(Paused):
        Run(load_flow("asks:flow"), {}, journal=journal, id="r1").wait()
    return journal


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What stdin gives."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def command(*arguments: str) -> list[str]:
    """The command in a process of its own."""
    return [sys.executable, "-m", "flowevents", *arguments]


def environment() -> dict[str, str]:
    """What that process gets."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TERM": "xterm"}


# -- resume ----------------------------------------------------------------------------------------


def test_resume_takes_the_answer_that_waits(
    paused: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """The finished step does not run again; what is recorded is what is new."""
    paused.reply("r1", "yes")
    arguments = ["resume", "runs.db", "r1", "asks:flow", "--record", "new.jsonl"]
    assert run_command(arguments) == 0
    shown = capsys.readouterr()
    assert "Sent." in shown.out
    assert "Dear Ada" not in shown.out
    assert shown.err == ""
    assert paused.runs()[0].status == "done"
    events = list(paused.read("r1"))
    check_events(events)
    new = list(read_events("new.jsonl"))
    assert new == events[-len(new) :]


def test_resume_asks_in_the_terminal(
    paused: SQLiteJournal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody has answered; without an answer the run waits on."""
    type_in(monkeypatch, "")
    assert run_command(["resume", "runs.db", "r1", "asks:flow"]) == 1
    assert "Approve asked 'Send it?', and nobody answered" in capsys.readouterr().err
    assert paused.runs()[0].status == "paused"
    type_in(monkeypatch, "yes\n")
    assert run_command(["resume", "runs.db", "r1", "asks:flow"]) == 0
    assert "Sent." in capsys.readouterr().out
    check_events(paused.read("r1"))


def test_resume_async(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flow of async nodes."""
    run = Run(load_flow("asks:slow"), {}, journal=journal, id="r1")
    run_to_pause(run)
    assert journal.runs()[0].status == "paused"
    type_in(monkeypatch, "yes\n")
    assert run_command(["resume", "runs.db", "r1", "asks:slow"]) == 0
    assert "Sent." in capsys.readouterr().out
    check_events(journal.read("r1"))


def run_to_pause(run: Run) -> None:
    """Drive an async run to its question, and let it go."""

    async def main() -> None:
        async with run:
            async for _ in run:
                pass

    asyncio.run(main())
    assert run.status == "cancelled"  # here


def test_resume_what_is_driven_elsewhere(
    journal: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said where; with --take-over it is taken all the same."""
    run = Run(load_flow("asks:flow"), {}, journal=journal, id="r1")
    for event in run:
        if isinstance(event, Chunk):
            break
    arguments = ["resume", "runs.db", "r1", "asks:other"]
    assert run_command(arguments) == 2
    assert "drives it, and has its lease until" in capsys.readouterr().err
    assert run_command([*arguments, "--take-over"]) == 2  # that flow has no Draft
    said = capsys.readouterr().err
    assert said.startswith("flowevents: ")
    assert "'Draft'" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("resume none.db r1 asks:flow", "There is no journal none.db. Give the file, or redis:"),
        ("resume asks.py r1 asks:flow", "asks.py"),
        ("resume runs.db r2 asks:flow", "r2"),
        ("resume runs.db r1 asks:flw", "Module 'asks' has no 'flw'."),
        ("watch none.db", "There is no journal none.db."),
        ("watch runs.db r2", "r2"),
        ("watch runs.db", "runs.db holds no runs. Run(…, journal=…) puts them there."),
    ],
)
def test_wrong_input(
    journal: SQLiteJournal, arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr, nothing on stdout, and exit code 2; no file is made."""
    assert run_command(arguments.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("flowevents: ")
    assert says in shown.err
    assert not Path("none.db").exists()


def test_resume_what_has_ended(paused: SQLiteJournal, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said how."""
    paused.cancel("r1")
    assert run_command(["resume", "runs.db", "r1", "asks:flow"]) == 2
    assert "it is cancelled" in capsys.readouterr().err


def test_resume_what_fails(journal: SQLiteJournal, capsys: pytest.CaptureFixture[str]) -> None:
    """Its error is told, as by `run`."""
    run = Run(load_flow("asks:broken"), {}, journal=journal, id="r1")
    next(iter(run))
    run.close()
    assert run_command(["resume", "runs.db", "r1", "asks:broken"]) == 1
    assert "no paper" in "".join(capsys.readouterr())
    assert journal.runs()[0].status == "failed"


# -- watch -----------------------------------------------------------------------------------------


def test_watch_a_run_that_has_ended(
    paused: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is shown to its end; without a name the last one is."""
    paused.reply("r1", "no")
    Run.resume(load_flow("asks:flow"), paused, "r1").wait()
    assert run_command(["watch", "runs.db", "r1"]) == 0
    shown = capsys.readouterr()
    for text in ("Dear Ada,", "Send it?", "Sent.", "Flow: ok"):
        assert text in shown.out
    assert shown.err == ""
    assert run_command(["watch", "runs.db"]) == 0
    assert capsys.readouterr().out == shown.out


def test_watch_a_run_that_goes_on(
    journal: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is past when it begins, then what comes."""
    asked = threading.Event()

    def look(event: object) -> None:
        if isinstance(event, Interrupt):
            asked.set()

    run = Run(load_flow("asks:flow"), {}, journal=journal, id="r1", observers=[look]).start()
    asked.wait()
    watching = threading.Thread(target=run_command, args=(["watch", "runs.db", "r1"],))
    watching.start()
    run.reply("yes")
    run.wait()
    watching.join()
    shown = capsys.readouterr().out
    assert shown.index("Dear Ada,") < shown.index("Send it?") < shown.index("Sent.")


@pytest.mark.parametrize("target", ["asks:flow", "asks:slow"])
def test_watch_and_answer(
    target: str,
    journal: SQLiteJournal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is refused is asked again; the run that waits goes on with the answer."""
    run = Run(load_flow(target), {}, journal=journal, id="r1").start()
    type_in(monkeypatch, "perhaps\nyes\n")
    assert run_command(["watch", "runs.db", "r1", "--answer"]) == 0
    run.wait()
    shown = capsys.readouterr().out
    assert "perhaps" in shown
    assert "Sent." in shown


def test_an_answer_that_somebody_has_to_take(paused: SQLiteJournal) -> None:
    """It is said that nobody drives the run; it goes on with the answer once somebody does."""
    with Terminal(command("watch", "runs.db", "r1", "--answer"), environment()) as person:
        person.until("Send it?")
        person.press("yes\n")
        person.until("Nobody drives run r1: whoever resumes it gets the answer.")
        Run.resume(load_flow("asks:flow"), paused, "r1").wait()
        person.until("Sent.")
        assert person.end() == 0
    check_events(paused.read("r1"))


def test_an_answer_from_elsewhere_is_not_asked_for_any_more(paused: SQLiteJournal) -> None:
    """Who watches is asked until somebody else has answered."""
    with Terminal(command("watch", "runs.db", "r1", "--answer"), environment()) as person:
        person.until("Send it?")
        person.until("> ")
        paused.reply("r1", "no")
        Run.resume(load_flow("asks:flow"), paused, "r1").wait()
        person.until("Sent.")
        assert person.end() == 0


def test_who_is_too_late_is_told(paused: SQLiteJournal) -> None:
    """And not asked again."""
    with Terminal(command("watch", "runs.db", "r1", "--answer"), environment()) as person:
        person.until("> ")
        paused.reply("r1", "no")
        person.press("yes\n")
        person.until("Question '1' of run r1 is answered already.")
        Run.resume(load_flow("asks:flow"), paused, "r1").wait()
        assert person.end() == 0
    assert paused.runs()[0].status == "done"


def test_what_has_been_under_way_for_long_says_so(journal: SQLiteJournal) -> None:
    """Who begins to watch late sees how long a step has taken, not how long it was watched."""
    clock = ManualClock(start=time.time() - 7_200)
    with pytest.raises(Paused):
        Run(load_flow("asks:flow"), {}, journal=journal, id="r1", clock=clock).wait()
    with Terminal(command("watch", "runs.db", "r1"), environment()) as person:
        person.until("2:00:")


def test_ctrl_c_ends_the_watching(paused: SQLiteJournal) -> None:
    """Not the run."""
    with subprocess.Popen(
        command("watch", "runs.db", "r1"),
        env={**environment(), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell has what it starts in the background ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert any("Send it?" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said.strip()) == (130, "")
    assert paused.runs()[0].status == "paused"
