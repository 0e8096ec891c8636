"""The commands that take a journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowevents import SQLiteJournal
from flowevents.cli.commands import run_command
from flowevents.events import FlowStart, encode
from flowevents.journal.records import recorded
from flowevents.testing.journals.script import Script
from tests.hostile import CONTROLS, HOSTILE
from tests.journals.server import redis_server


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteJournal]:
    """The journal `runs.db` in the current folder, with a run that has ended and one that asks."""
    monkeypatch.chdir(tmp_path)
    with SQLiteJournal("runs.db") as journal:
        Script.whole(journal, "first")
        script = Script(journal, "second")
        script.begin_step()
        script.ask(choices=["yes", "no"])
        script.lease.pause()
        yield journal


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What a command prints that ends well and complains of nothing."""
    assert run_command(arguments) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line of one that is refused."""
    assert run_command(arguments) == 2
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert shown.out == ""
    return line


def test_runs(capsys: pytest.CaptureFixture[str], journal: SQLiteJournal) -> None:
    """A line for each, and what it asks."""
    second, question, first = said(capsys, "runs", "runs.db")
    assert second.startswith("second  paused     agent  3 events  2")
    assert question == "    q1: Plan asks Ship it? (yes, no)"
    assert first.startswith("first  done       agent  7 events  2")
    assert said(capsys, "runs", "runs.db", "--status", "done") == [first]
    assert said(capsys, "runs", "runs.db", "--limit", "1") == [second, question]
    Script(journal, "third").end("error")
    assert said(capsys, "runs", "runs.db")[1] == "    ValueError: no"


def test_reply(capsys: pytest.CaptureFixture[str], journal: SQLiteJournal) -> None:
    """As it is typed in a terminal; a refusal names the reason."""
    assert "'maybe' is no choice" in refused(capsys, "reply", "runs.db", "second", "maybe")
    assert "does not ask 'q2'" in refused(capsys, "reply", "runs.db", "second", "2", "--id", "q2")
    assert "asks nothing" in refused(capsys, "reply", "runs.db", "first", "yes")
    assert "no run 'third'" in refused(capsys, "reply", "runs.db", "third", "yes")
    assert said(capsys, "reply", "runs.db", "second", "N", "--id", "q1") == []
    lease = journal.take("second")
    assert [(each.question, each.value) for each in lease.inbox()] == [("q1", "no")]
    lease.release()
    assert "answered already" in refused(capsys, "reply", "runs.db", "second", "yes")


def test_cancel(capsys: pytest.CaptureFixture[str], journal: SQLiteJournal) -> None:
    """Of a run that nobody drives."""
    assert said(capsys, "cancel", "runs.db", "second") == []
    assert journal.summary("second").status == "cancelled"
    assert "it is cancelled" in refused(capsys, "cancel", "runs.db", "second")


@pytest.mark.parametrize("command", ["show", "replay", "timeline"])
def test_what_is_recorded(
    command: str, capsys: pytest.CaptureFixture[str], journal: SQLiteJournal
) -> None:
    """A journal is as good as a record: all of its runs, or one."""
    Path("all.jsonl").write_bytes(
        b"".join(encode(each) + b"\n" for id in ("first", "second") for each in journal.read(id))
    )
    Path("one.jsonl").write_bytes(b"".join(encode(e) + b"\n" for e in journal.read("first")))
    assert said(capsys, command, "runs.db") == said(capsys, command, "all.jsonl")
    one = said(capsys, command, "runs.db", "--run", "first")
    assert one == said(capsys, command, "one.jsonl")
    assert "no run 'third'" in refused(capsys, command, "runs.db", "--run", "third")
    assert "no journal" in refused(capsys, command, "all.jsonl", "--run", "first")


def test_what_is_no_journal(capsys: pytest.CaptureFixture[str]) -> None:
    """Is said, and no file is made."""
    assert "There is no journal none.db" in refused(capsys, "runs", "none.db")
    Path("text.db").write_text("Hello, nobody. " * 10, encoding="utf-8")
    assert "not a database" in refused(capsys, "runs", "text.db")
    SQLiteJournal("empty.db").close()
    assert said(capsys, "runs", "empty.db") == []
    assert "holds no events" in refused(capsys, "show", "empty.db")
    assert not Path("none.db").exists()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_control_is_left(
    text: str, capsys: pytest.CaptureFixture[str], journal: SQLiteJournal
) -> None:
    """Whatever the flow, the question or the error is called."""
    journal.cancel("second")
    script = Script(journal, "third")
    script.begin_step()
    script.ask(text, choices=[text])
    start = FlowStart("fourth", 1, 1.0, 1, "", parent=0, flow=text)
    journal.begin("fourth", text, {}).append(recorded(start))
    lines = said(capsys, "runs", "runs.db")
    assert len(lines) == 5
    assert not CONTROLS - {"\n"} & set("\n".join(lines))
    script.lease.release()


def test_redis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its URL."""
    with redis_server(tmp_path) as server:
        assert said(capsys, "runs", server.url) == []
