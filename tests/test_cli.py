"""The command line: what each command gives, and one line where the input is wrong."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from flowevents.cli.commands import run_command
from flowevents.cli.replaying import replay
from flowevents.events import Event, encode
from flowevents.mermaid import to_mermaid
from flowevents.observers.jsonlines import read_events
from flowevents.observers.timeline import timeline_svg
from flowevents.testing import ManualClock, check_events
from tests.hostile import CONTROLS, HOSTILE
from tests.whole_run import full_record, hostile_record

ROOT = Path(__file__).resolve().parent.parent

AGENT = """
import asyncio
import signal
import threading

import pocketflow

from flowevents import AsyncFlow, AsyncStreamNode, Flow, Node, StreamNode


class Greet(StreamNode):
    def prep(self, shared):
        return shared.get("name", "you")

    def exec_stream(self, name):
        yield "Hello "
        yield name


class GreetAsync(AsyncStreamNode):
    async def exec_stream_async(self, prep_res):
        yield "Good "
        await asyncio.sleep(0)
        yield "evening"


class Break(Node):
    def exec(self, prep_res):
        raise ValueError("no sources\\x1b[31m")


class Odd(Node):
    def post(self, shared, prep_res, exec_res):
        return "\\x1b[2Jgone"


def say_that_it_waits():
    with open("waits", "w"):  # a named pipe, which the test reads
        pass


class Wait(StreamNode):
    def exec_stream(self, prep_res):
        yield "waits"
        say_that_it_waits()
        threading.Event().wait()


class WaitAsync(AsyncStreamNode):
    async def exec_stream_async(self, prep_res):
        yield "waits"
        say_that_it_waits()
        await asyncio.Event().wait()


class Interrupted(AsyncStreamNode):
    async def exec_stream_async(self, prep_res):
        signal.raise_signal(signal.SIGINT)
        yield "goes on"
        await asyncio.Event().wait()


class InterruptedTwice(AsyncStreamNode):
    async def exec_stream_async(self, prep_res):
        try:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            yield "at once"
            raise
        yield "not reached"


class Old(pocketflow.Node):
    def post(self, shared, prep_res, exec_res):
        return "done"


flow = Flow(Greet())
greet = Greet()
slow = AsyncFlow(GreetAsync())
broken = Flow(Break())
waits = Flow(Wait())
waits_async = AsyncFlow(WaitAsync())
interrupted = AsyncFlow(Interrupted())
interrupted_twice = AsyncFlow(InterruptedTwice())
old = pocketflow.Flow(Old())
number = 3
odd = Flow(Odd())
odd.start_node - "known" >> Greet()
lost = Flow(Greet())
lost.start_node.successors["go"] = "nowhere"


def make():
    return Flow(Greet())


def fail():
    raise KeyError("no model")


class Holder:
    inner = flow
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a module of flows and a record in it; what is imported is undone."""
    (tmp_path / "agent.py").write_text(AGENT, encoding="utf-8")
    (tmp_path / "bad.py").write_text("import agent\n1 / 0\n", encoding="utf-8")
    (tmp_path / "worse.py").write_text("def (:\n", encoding="utf-8")
    (tmp_path / "needs.py").write_text("import no_such_module\n", encoding="utf-8")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    write(tmp_path / "run.jsonl", full_record())
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "text.jsonl").write_text("Hello\nyou", encoding="utf-8")
    (tmp_path / "shared.json").write_text('{"name": "Ada"}', encoding="utf-8")
    (tmp_path / "list.json").write_text("[1]", encoding="utf-8")
    (tmp_path / "torn.json").write_text('{"name": ', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("agent", "bad", "worse", "needs", "exits"):
        sys.modules.pop(name, None)


def write(path: Path, events: Sequence[Event]) -> None:
    """Write a record."""
    path.write_bytes(b"".join(encode(event) + b"\n" for event in events))


def flowevents(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; `options` go into its environment."""
    return subprocess.run(
        [sys.executable, "-m", "flowevents", *arguments],
        env={**environment(), **options},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def environment() -> dict[str, str]:
    """What a process of the command gets, wherever it runs."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": "100"}


# -- records --------------------------------------------------------------------------------------


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    """What the display leaves of a record: its texts, its question, its tree."""
    assert run_command(["show", "run.jsonl"]) == 0
    shown = capsys.readouterr()
    for text in ("whole", "Go on?", "Plan", "Read", "ValueError: no page"):
        assert text in shown.out
    assert shown.err == ""


def test_show_reads_stdin() -> None:
    """As `-`."""
    done = subprocess.run(
        [sys.executable, "-m", "flowevents", "show", "-"],
        env=environment(),
        input=b"".join(encode(event) + b"\n" for event in full_record()),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"whole" in done.stdout


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_control_is_left(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a record holds."""
    write(Path("run.jsonl"), hostile_record(text))
    assert [run_command([name, "run.jsonl"]) for name in ("show", "timeline")] == [0, 0]
    assert not CONTROLS & set(capsys.readouterr().out)


def test_replay_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Without pauses, where there is no terminal, it writes what the run would have written."""
    for speed in ("0", "inf"):
        assert run_command(["replay", "run.jsonl", "--speed", speed]) == 0
        shown = capsys.readouterr().out
        assert "Plan: start" in shown
        assert "Team/Read[0]: error in 1.5s, 1 of 2 done: ValueError: no page" in shown
        assert shown.splitlines()[-1] == "Main: error in 10.0s"


def test_replay_takes_the_time_that_the_run_took() -> None:
    """Divided by the speed; what a handler takes is not waited for again."""
    clock = ManualClock(start=0.0)
    seen: list[tuple[float, int]] = []

    def slow(event: Event) -> None:
        seen.append((clock.monotonic() - began, event.seq))
        clock.advance(0.01)

    began = clock.monotonic()
    replay(full_record(), slow, 2.0, get_time=clock.monotonic, sleep=clock.advance)
    times = {seq: time for time, seq in seen}
    assert [times[seq] for seq in (1, 10, 23)] == pytest.approx([0.0, 3.75, 5.0])


def test_time_between_runs_is_left_out() -> None:
    """Runs may be of different days; and a clock that was set back is not waited for."""
    clock = ManualClock(start=0.0)
    later = [
        msgspec.structs.replace(each, run_id="b", time=each.time + 86_400) for each in full_record()
    ]
    earlier = [msgspec.structs.replace(each, time=each.time - 50) for each in full_record()]
    record = [*full_record(), *later, *earlier, *later[-1:]]
    replay(record, lambda _: None, 1.0, get_time=clock.monotonic, sleep=clock.advance)
    assert clock.monotonic() == pytest.approx(30.0)


def test_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    """To a file, or to stdout."""
    assert run_command(["timeline", "run.jsonl", "-o", "run.svg"]) == 0
    assert Path("run.svg").read_text(encoding="utf-8") == timeline_svg(full_record())
    assert capsys.readouterr().out == ""
    assert run_command(["timeline", "run.jsonl", "--width", "2000"]) == 0
    assert capsys.readouterr().out == timeline_svg(full_record(), width=2000)


# -- flows ----------------------------------------------------------------------------------------


def test_graph(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a flow, a node, a function that gives one, what stands in an object, pocketflow's."""
    for target in ("agent:flow", "agent:make", "agent:Holder.inner"):
        assert run_command(["graph", target]) == 0
        assert 'n2["Greet"]' in capsys.readouterr().out
    assert run_command(["graph", "agent:greet"]) == 0
    assert 'n1["Greet"]' in capsys.readouterr().out
    assert run_command(["graph", "agent:old", "-o", "old.mmd"]) == 0
    assert 'n2["Old"]' in Path("old.mmd").read_text(encoding="utf-8")


def test_graph_with_events(capsys: pytest.CaptureFixture[str]) -> None:
    """Coloured by a record."""
    assert run_command(["run", "agent:flow", "--record", "new.jsonl"]) == 0
    capsys.readouterr()
    assert run_command(["graph", "agent:flow", "--events", "new.jsonl"]) == 0
    flow = sys.modules["agent"].flow
    assert capsys.readouterr().out == to_mermaid(flow, read_events("new.jsonl"))


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("agent:flow", "Hello you"),
        ("agent:greet", "Hello you"),
        ("agent:make", "Hello you"),
        ("agent:slow", "Good evening"),
        ("agent:old", "Old: ok"),
    ],
)
def test_run(target: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Sync and async, a flow and a node, ours and pocketflow's; the record is whole."""
    assert run_command(["run", target, "--record", "new.jsonl"]) == 0
    shown = capsys.readouterr()
    assert says in shown.out
    assert shown.err == ""
    check_events(read_events("new.jsonl"))


def test_run_with_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file, or from stdin."""
    assert run_command(["run", "agent:flow", "--input", "shared.json"]) == 0
    assert "Hello Ada" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"name": "Bob"}')))
    assert run_command(["run", "agent:flow", "--input", "-"]) == 0
    assert "Hello Bob" in capsys.readouterr().out


def test_run_with_log() -> None:
    """Log lines go to stderr, what is shown to stdout."""
    done = flowevents("run", "agent:flow", "--log")
    assert done.returncode == 0
    assert "Hello you" in done.stdout
    assert " INFO " in done.stderr
    assert "Greet" in done.stderr
    assert "Hello you" not in done.stderr


def test_a_node_that_fails() -> None:
    """Its error follows what is shown, with the user's frames only and no control character."""
    done = flowevents("run", "agent:broken")
    assert done.returncode == 1
    assert "no sources" in done.stdout
    *_, frame, code, error, note = (line for line in done.stderr.splitlines() if "^" not in line)
    assert "agent.py" in frame
    assert "raise ValueError" in code
    assert error == "ValueError: no sources\\x1b[31m"
    assert note.startswith("In node 'Break', attempt 1, run ")
    assert "flowevents/" not in done.stderr


@pytest.mark.parametrize("options", [(), ("--log",)])
def test_an_unknown_action_is_told_without_a_control_character(options: tuple[str, ...]) -> None:
    """As a warning at the line of its node's `post`."""
    done = flowevents("run", "agent:odd", *options)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "returned '\\x1b[2Jgone' from post" in done.stderr
    assert "agent.py:" in done.stderr


@pytest.mark.parametrize("options", [(), ("--log",)])
def test_an_error_is_told_once_in_one_place(options: tuple[str, ...]) -> None:
    """Where what is shown, or logged, stands above the traceback, that does not say it again."""
    done = subprocess.run(
        [sys.executable, "-m", "flowevents", "run", "agent:broken", *options],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if options else subprocess.PIPE,
        stderr=subprocess.PIPE if options else subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = (done.stderr if options else done.stdout).splitlines()
    assert not any(line.startswith("ValueError") for line in lines)
    assert lines[-1].startswith("In node 'Break', attempt 1, run ")
    assert len([line for line in lines if ": ValueError: no sources" in line]) == 1 + len(options)


@pytest.mark.parametrize("target", ["agent:waits", "agent:waits_async"])
def test_ctrl_c(target: str) -> None:
    """The run ends as cancelled, and the exit code says so."""
    os.mkfifo("waits")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "flowevents", "run", target, "--record", "new.jsonl"],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        # A shell has what it starts in the background ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        Path("waits").read_bytes()
        process.send_signal(signal.SIGINT)
        shown = process.stdout.read()
        said = process.stderr.read()
    assert process.returncode == 130
    assert "waits" in shown
    assert "cancelled" in shown
    assert said == "\n"  # which ends the line of ^C
    events = list(read_events("new.jsonl"))
    check_events(events)
    assert getattr(events[-1], "status", None) == "cancelled"


@pytest.mark.parametrize(
    ("target", "says"),
    [("agent:interrupted", "goes on"), ("agent:interrupted_twice", "at once")],
)
def test_ctrl_c_in_async_code(target: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It cancels where the code awaits; a second one does not wait for that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run_command(["run", target, "--record", "new.jsonl"]) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    shown = capsys.readouterr().out
    assert says in shown
    assert "not reached" not in shown
    events = list(read_events("new.jsonl"))
    check_events(events)
    assert getattr(events[-1], "status", None) == "cancelled"


class _Receiver(BaseHTTPRequestHandler):
    paths: ClassVar[list[str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.paths.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_run_with_otel() -> None:
    """Traces and metrics are sent where the environment says, before the command ends."""

    class Receiver(_Receiver):
        paths: ClassVar[list[str]] = []

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            endpoint = f"http://127.0.0.1:{server.server_port}"
            done = flowevents("run", "agent:flow", "--otel", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        finally:
            server.shutdown()
            thread.join()
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(set(Receiver.paths)) == ["/v1/metrics", "/v1/traces"]


# -- wrong input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("shw", "No such command 'shw'. Did you mean 'show'? Try 'flowevents --help'."),
        ("show", "Missing argument 'FILE'. Try 'flowevents show --help'."),
        ("show --sped 2", "No such option '--sped'."),
        ("show none.jsonl", "none.jsonl cannot be read: No such file or directory."),
        ("show .", ". cannot be read: Is a directory."),
        ("show empty.jsonl", "empty.jsonl holds no events. JsonLines, or `run --record`, writes"),
        ("show text.jsonl", "text.jsonl, line 1 is no event"),
        ("replay run.jsonl --speed -1", "--speed -1: give a number above 0, or 0 for no pauses."),
        ("replay run.jsonl --speed nan", "--speed nan: give a number above 0"),
        ("replay run.jsonl --speed fast", "'fast' is not a valid float."),
        ("timeline run.jsonl --width 5", "--width: width=5: give at least 720 pixels."),
        ("timeline run.jsonl -o no/run.svg", "no/run.svg cannot be written: No such file or"),
        ("graph agent", "'agent' is not MODULE:FLOW, such as agent:flow."),
        ("graph agent:", "'agent:' is not MODULE:FLOW"),
        ("graph :flow", "':flow' is not MODULE:FLOW"),
        ("graph agnt:flow", "There is no module 'agnt', neither in"),
        ("graph agent.sub:flow", "There is no module 'agent.sub', neither in"),
        ("graph agent:flw", "Module 'agent' has no 'flw'. There is flow, greet, slow, broken,"),
        ("graph agent:number", "agent:number is no flow and no node: 3. There is flow, greet"),
        ("graph agent:Greet", "agent:Greet is a class. Name an instance of it, or a function"),
        ("graph agent:fail", "agent:fail() failed with KeyError: 'no model' ("),
        ("graph agent:lost", "'nowhere' is not a node"),
        ("graph bad:flow", "Importing 'bad' failed with ZeroDivisionError: division by zero ("),
        ("graph worse:flow", "Importing 'worse' failed with SyntaxError: "),
        ("graph needs:flow", "Importing 'needs' failed with ModuleNotFoundError: No module named"),
        ("graph exits:flow", "Importing 'exits' failed with SystemExit: 3 ("),
        ("graph a\x1b[31m:flow", "There is no module 'a\\x1b[31m'"),
        ("graph agent:flow --events none.jsonl", "none.jsonl cannot be read"),
        ("run agent:flow --input none.json", "none.json cannot be read: No such file"),
        ("run agent:flow --input list.json", "list.json holds no JSON object, as `shared` is one"),
        ("run agent:flow --input torn.json", "torn.json holds no JSON: Expecting value: line 1"),
        ("run agent:flow --record no/new.jsonl", "no/new.jsonl cannot be written: No such file"),
        ("run agent:flow --record text.jsonl", "text.jsonl ends with b'you'"),
    ],
)
def test_wrong_input(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr that says what is wrong, nothing on stdout, and exit code 2."""
    assert run_command(arguments.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("flowevents: ")
    assert says in shown.err


def test_without_a_command_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    """The commands are named, each in a line of its own."""
    assert run_command([]) == 0
    shown = capsys.readouterr().out
    for name in ("cancel", "graph", "replay", "reply", "run", "runs", "show", "timeline"):
        assert f"\n  {name} " in shown
    assert "..." not in shown.split("Commands:")[1]


def test_it_says_its_version() -> None:
    """In a process of its own."""
    done = flowevents("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("flowevents, version 0.")


def test_without_the_extra_it_says_what_to_install() -> None:
    """In one line, with exit code 2."""
    program = (
        "import sys; sys.modules['click'] = None; from flowevents.__main__ import main;"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install flowevents[cli]" in done.stderr


def test_a_record_is_appended_to() -> None:
    """A second run stands behind the first."""
    for _ in range(2):
        assert run_command(["run", "agent:flow", "--record", "new.jsonl"]) == 0
    lines = Path("new.jsonl").read_text(encoding="utf-8").splitlines()
    assert len({json.loads(line)["run_id"] for line in lines}) == 2


def test_the_commands_of_the_docs_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line of the page names a command and options that it has."""
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    named = re.findall(r"^flowevents ([^#\n]+)", page, re.M)
    assert len(named) >= 10
    for line in named:
        arguments = line.partition(" 2>")[0].split()
        assert run_command([*arguments, "--help"]) == 0
        assert f"flowevents {arguments[0]}" in capsys.readouterr().out


# -- where nothing can be written -----------------------------------------------------------------

WRITES = """
from flowevents import Flow, Node, StreamNode


class Talk(StreamNode):
    def exec_stream(self, prep_res):
        yield "Hello\\n" * 20_000


class Print(Node):
    def exec(self, prep_res):
        print("Hello")


talk, prints = Flow(Talk()), Flow(Print())
"""

COMMANDS = {
    "show": ["show", "run.jsonl"],
    "replay": ["replay", "--speed", "0", "run.jsonl"],
    "timeline": ["timeline", "run.jsonl"],
    "graph": ["graph", "writes:talk"],
    "run": ["run", "writes:talk"],
    "a node that prints": ["run", "writes:prints"],
    "help": ["--help"],
    "version": ["--version"],
    "help of a command": ["run", "--help"],
    "nothing": [],
}


def one_line(arguments: list[str], folder: Path, **options: Any) -> str:
    """What a command says in its only line, as it fails."""
    (folder / "writes.py").write_text(WRITES)
    (folder / "run.jsonl").write_bytes(b"".join(encode(each) + b"\n" for each in full_record()))
    given: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL, "timeout": 60}
    given |= {"stderr": subprocess.PIPE, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    command = [sys.executable, "-m", "flowevents", *arguments]
    done = subprocess.run(command, check=False, text=True, **given, **options)
    assert done.returncode not in (0, None)
    (line,) = done.stderr.splitlines()
    return str(line)


full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")


@full
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line(name: str, tmp_path: Path) -> None:
    """And a code that is not 0, whatever the command."""
    with open("/dev/full", "wb") as target:
        said = one_line(COMMANDS[name], tmp_path, stdout=target)
    assert said == "flowevents: The output cannot be written: No space left on device."


@pytest.mark.skipif(os.name != "posix", reason="needs pipes as POSIX has them")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_pipe_whose_reader_has_left_is_one_line(name: str, tmp_path: Path) -> None:
    """The same."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        said = one_line(COMMANDS[name], tmp_path, stdout=writer)
    finally:
        os.close(writer)
    assert said == "flowevents: The output cannot be written: Broken pipe."


@full
def test_a_record_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """The run goes on, and the code says that its record is not whole."""
    said = one_line(
        ["run", "writes:talk", "--record", "/dev/full"], tmp_path, stdout=subprocess.DEVNULL
    )
    assert said == "flowevents: /dev/full cannot be written: No space left on device."


@full
@pytest.mark.parametrize(("unbuffered", "code"), [("1", 1), ("", 120)])
def test_a_log_on_a_full_disk_is_a_failure(unbuffered: str, code: int, tmp_path: Path) -> None:
    """Where nothing can be said, the code says it.

    120 is CPython's own, where what a buffered stderr still holds cannot be written at the end.
    """
    (tmp_path / "writes.py").write_text(WRITES)
    command = [sys.executable, "-m", "flowevents", "run", "writes:talk", "--log"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as target:
        done = subprocess.run(
            command, check=False, cwd=tmp_path, env=environment, stderr=target, timeout=60
        )
    assert done.returncode == code
