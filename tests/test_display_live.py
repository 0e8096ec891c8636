"""The display at work: when it draws, on what, with which runs, and how it leaves the terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from flowevents import AsyncFlow, AsyncParallelBatchNode, AsyncStreamNode, Flow, Node
from flowevents import events as ev
from flowevents.events import Event
from flowevents.observers.display import TerminalDisplay
from flowevents.observers.display.watch import Watch
from tests.records import Recorder, agent
from tests.screens import Screen, still
from tests.stock import Talk

ROOT = Path(__file__).resolve().parent.parent


# -- questions ------------------------------------------------------------------------------------


def asking(**question: Any) -> tuple[Recorder, int]:
    """A run that has just asked."""
    run = Recorder()
    run.step("Plan", "a plan", target="Approve")
    span = run.start(ev.NodeStart, "Approve", run.root)
    run.add(ev.Interrupt, span, "Approve", id="q", prompt="Ship it?", **question)
    return run, span


def test_the_display_stands_still_while_a_question_is_open() -> None:
    """It shows the question at once, gives the terminal back, and goes on after the reply."""
    run, span = asking(schema={"type": "boolean"})
    screen = Screen()
    display = still(screen)
    for event in run.events[:-1]:
        display(event)
    display.refresh()
    assert not screen.has_cursor()
    display(run.events[-1])
    asked = screen.shown
    assert asked.endswith("? Approve asks for yes or no\n  Ship it?")
    assert screen.has_cursor()
    written = screen.frames
    display.refresh()
    assert screen.frames == written
    display(run.add(ev.Reply, span, "Approve", id="q", value=True))
    display.refresh()
    assert screen.shown.startswith(f"{asked}\n✓ Approve answered true\n")
    assert not screen.has_cursor()
    display.stop()


def test_what_a_question_is_about_is_seen() -> None:
    """The text so far stands above it, once; if a retry follows, all of it is void."""
    run = Recorder()
    span = run.start(ev.NodeStart, "Draft", run.root)
    run.add(ev.Chunk, span, "Draft", data="Dear Ada, lunch?")
    run.add(ev.Interrupt, span, "Draft", id="q", prompt="Send it?")
    screen = Screen()
    display = still(screen)
    for event in run.events:
        display(event)
    assert screen.shown.endswith("· Draft\n  Dear Ada, lunch?\n? Draft asks\n  Send it?")
    display(run.add(ev.Reply, span, "Draft", id="q", value="no"))
    display(run.add(ev.Chunk, span, "Draft", data="Never mind."))
    display.refresh()
    assert screen.shown.count("Dear Ada") == 1
    display(run.add(ev.Retry, span, "Draft", error="ValueError: no"))
    display.refresh()
    void = screen.shown[screen.shown.index("attempt 1 is void") :]
    assert "Dear Ada, lunch?" in void
    assert "Never mind." in void
    display.stop()


def test_a_question_that_follows_at_once_is_shown() -> None:
    """Nothing was drawn between the reply and the next question; then it stands still again."""
    run, span = asking()
    screen = Screen()
    display = still(screen)
    for event in run.events:
        display(event)
    display(run.add(ev.Reply, span, "Approve", id="q", value="yes"))
    display(run.add(ev.Interrupt, span, "Approve", id="q2", prompt="Really?"))
    asked = screen.shown
    assert asked.endswith("✓ Approve answered yes\n? Approve asks\n  Really?")
    display.refresh()
    assert screen.shown == asked
    display.stop()


@pytest.mark.parametrize(
    ("kind", "node"), [(ev.NodeEnd, "Approve"), (ev.FlowEnd, "")], ids=["node", "run"]
)
def test_a_question_is_over_with_what_asked_it(kind: type[Event], node: str) -> None:
    """An error, a cancel: the display does not wait for a reply that never comes."""
    run, span = asking()
    watch = Watch()
    for event in run.events:
        watch.take(event, 0.0)
    assert watch.questions
    own: dict[str, Any] = {"status": "cancelled", "duration": 1.0}
    watch.take(run.add(kind, span if node else run.root, node, **own), 0.0)
    assert watch.questions == {}


def test_an_expired_question_holds_nobody_up() -> None:
    """After its time the display goes on, on its own clock."""
    now = 50.0
    run, _ = asking(expires=1_700_000_000.0 + 60)
    screen = Screen()
    display = still(screen, get_time=lambda: now)
    for event in run.events:
        display(event)
    now += 59
    display.refresh()
    assert screen.has_cursor()
    now += 1
    display.refresh()
    assert not screen.has_cursor()
    assert screen.shown.endswith("└ ? Approve  1:00  Ship it?")
    display.stop()


def test_a_display_whose_answers_come_from_elsewhere_goes_on() -> None:
    """The question stands in the texts, and in the tree until it is answered."""
    run, _ = asking()
    screen = Screen()
    display = still(screen, answers_here=False)
    for event in run.events:
        display(event)
    display.refresh()
    assert "? Approve asks\n  Ship it?\n" in screen.shown
    assert screen.shown.endswith("Ship it?")
    assert not screen.has_cursor()
    display.stop()
    assert screen.shown.endswith("└ ? Approve  waits for an answer")


# -- the observer ---------------------------------------------------------------------------------


class Count(Node):
    def exec(self, prep_res: Any) -> None:
        self.progress(1, total=2)


def conversation() -> Flow:
    """A flow of a node that talks and one that counts."""
    talk = Talk("Hello ", "you")
    talk >> Count()
    return Flow(talk)


def signs(text: str) -> list[str]:
    """The beginnings of the lines, without what a clock says."""
    return [line.split("  ")[0] for line in text.splitlines()]


def test_it_observes_a_sync_and_an_async_run() -> None:
    """In a run's observers; it starts and stops by itself, and can be used again."""
    screen = Screen()
    display = still(screen)
    conversation().run({}, observers=[display])
    once = ["✓ Talk", "", "✓ Flow", "├ ✓ Talk", "└ ✓ Count"]
    assert signs(screen.shown) == once
    assert "\n  Hello you\n" in screen.shown

    class TalkAsync(AsyncStreamNode):
        node_name = "Talk"

        async def exec_stream_async(self, prep_res: Any) -> Any:
            yield "Hello "
            yield "you"

    talk = TalkAsync()
    talk >> Count()
    asyncio.run(AsyncFlow(talk).run_async({}, observers=[display]))
    assert signs(screen.shown) == [*once, *once[:2], "✓ AsyncFlow", *once[3:]]
    assert screen.has_cursor()


def test_it_observes_parallel_items() -> None:
    """Whose chunks interleave; each text is whole."""

    class Each(AsyncParallelBatchNode, AsyncStreamNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(3)

        async def exec_stream_async(self, prep_res: Any) -> Any:
            for word in ("a", "b", "c"):
                await asyncio.sleep(0)
                yield f"{word}{prep_res} "

    screen = Screen()
    asyncio.run(Each().run_async({}, observers=[still(screen)]))
    for n in range(3):
        assert f"\n  a{n} b{n} c{n}\n" in f"\n{screen.shown}\n"


def test_with_keeps_it_over_several_runs() -> None:
    """Between them and to the end of the block; `start` and `stop` do the same."""
    screen = Screen()
    with still(screen) as display:
        conversation().run({}, observers=[display])
        display.refresh()
        conversation().run({}, observers=[display])
        assert screen.shown.count("✓ Flow") == 1
    assert screen.shown.count("✓ Flow") == 2
    display.stop()


def test_transient_leaves_nothing() -> None:
    """What was shown while it ran is gone at the end."""
    screen = Screen()
    display = still(screen, transient=True)
    for event in agent()[:12]:
        display(event)
    display.refresh()
    assert "Rank" in screen.shown
    for event in agent()[12:]:
        display(event)
    assert screen.shown == "? Approve asks\n  Ship it?\n  1 yes\n  2 no"
    assert screen.has_cursor()


def test_what_nodes_print_stands_above() -> None:
    """While it draws; and the standard streams are given back."""
    screen = Screen()
    display = still(screen)
    before = sys.stdout

    class Loud(Node):
        def exec(self, prep_res: Any) -> None:
            display.refresh()
            print("printed [red] line")

    Loud().run({}, observers=[display])
    assert sys.stdout is before
    assert screen.shown.splitlines()[0] == "printed [red] line"
    assert signs(screen.shown)[1:] == ["✓ Loud", "└ ✓ Loud"]


def test_events_write_nothing_by_themselves() -> None:
    """However many they are: drawing is the thread's, ten times a second at most."""
    screen = Screen()
    display = still(screen)
    run = Recorder()
    span = run.start(ev.NodeStart, "Talk", run.root)
    chunk = run.add(ev.Chunk, span, "Talk", data="word ")
    for event in (*run.events[:-1], *[chunk] * 10_000):
        display(event)
    assert screen.frames == 0
    display.stop()
    assert screen.shown.count("word") == 10_000


def test_a_thread_draws() -> None:
    """At the rate that was asked for, and it is gone at the end."""
    drawn = threading.Event()

    class Watched(Screen):
        def write(self, text: str) -> int:
            drawn.set()
            return super().write(text)

    class Wait(Node):
        def exec(self, prep_res: Any) -> bool:
            return drawn.wait(30)

        def post(self, shared: Any, prep_res: Any, exec_res: bool) -> None:
            shared["drawn"] = exec_res

    screen, shared = Watched(), {"drawn": False}
    Wait().run(shared, observers=[TerminalDisplay(console=screen.console())])
    assert shared["drawn"]
    assert not [each for each in threading.enumerate() if each.name == "flowevents display"]
    assert screen.has_cursor()


@pytest.mark.parametrize("wrong", [-1, 11, float("nan")])
def test_it_does_not_draw_faster_than_ten_times_a_second(wrong: float) -> None:
    """Nor backwards."""
    with pytest.raises(ValueError, match="give a number from 0 to 10"):
        TerminalDisplay(refresh_per_second=wrong)


def test_runs_in_many_threads_share_a_display() -> None:
    """Every text and every tree is there."""
    screen = Screen(80, 50)
    display = TerminalDisplay(console=screen.console())
    with display:
        threads = [
            threading.Thread(target=conversation().run, args=({},), kwargs={"observers": [display]})
            for _ in range(8)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert screen.shown.count("  Hello you") == 8
    assert screen.shown.count("✓ Flow") == 8


def test_a_screen_that_is_gone_harms_no_run() -> None:
    """Neither a closed file nor a terminal that hung up."""
    for broken in (ValueError("closed"), OSError(5, "gone")):

        class Gone(Screen):
            error = broken

            def write(self, text: str) -> int:
                raise self.error

        for options in ({}, {"force_terminal": False}):
            display = TerminalDisplay(console=Gone().console(**options), refresh_per_second=0)
            conversation().run({}, observers=[display], on_handler_error="raise")


@pytest.mark.parametrize("frame", [1, 2, 3, 4, 6, 8])
def test_what_cannot_be_drawn_is_written(frame: int, caplog: pytest.LogCaptureFixture) -> None:
    """From the frame that fails on plain lines follow; it says so once, and no text is lost."""

    class Torn(Screen):
        def write(self, text: str) -> int:
            if self.frames == frame - 1:
                self.frames += 1
                raise IndexError("this is how a bug looks")
            return super().write(text)

    screen = Torn()
    display = still(screen)
    for event in agent():
        display(event)
        display.refresh()
    (record,) = caplog.records
    assert record.getMessage() == "TerminalDisplay cannot draw; plain lines follow"
    assert screen.has_cursor()
    for said in ("look here", "enough", "void text", "Ship it?", "is 42", "ValueError: no more"):
        assert said in screen.shown, said
    assert screen.shown.count("one two three") == 3
    display.stop()


# -- in a process of its own ----------------------------------------------------------------------

PROGRAM = """
import sys, time
from flowevents import Flow, FlowStart, Node, StreamNode
from flowevents.observers.display import TerminalDisplay
from flowevents.observers.display.watch import Watch

class Talk(StreamNode):
    def exec_stream(self, prep_res):
        yield "Hello [red]you[/red]"

class Wait(Node):
    def exec(self, prep_res):
        if "forever" in sys.argv:
            self.emit("waiting")
            time.sleep(60)

talk = Talk()
talk >> Wait()
display = TerminalDisplay()
if "left" in sys.argv:
    display(FlowStart(run_id="r", seq=1, time=0.0, span=1, node="", parent=0, flow="agent"))
    display.refresh()
else:
    Flow(talk).run({}, observers=[display])
"""


def environment(**changes: str) -> dict[str, str]:
    """The environment of such a process."""
    unset = {"NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "LINES", "TTY_COMPATIBLE"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **changes}


def in_terminal(*arguments: str, until: str = "", **changes: str) -> str:
    """All that a program writes to its terminal; it gets Ctrl-C when it has written `until`."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-W", "error", "-c", PROGRAM, *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment(**changes)
    ) as program:
        os.close(theirs)
        written = b""
        interrupted = not until
        while True:
            try:
                more = os.read(ours, 65_536)
            except OSError:  # Linux says so when the last writer has closed
                break
            if not more:
                break
            written += more
            if not interrupted and until.encode() in written:
                interrupted = True
                program.send_signal(signal.SIGINT)
        program.wait(30)
    os.close(ours)
    return written.decode()


def test_in_a_terminal() -> None:
    """Colours, and the cursor hidden only as long as it draws."""
    written = in_terminal()
    assert "\x1b[32m✓" in written
    assert "Hello [red]you[/red]" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h")


def test_no_color_is_respected() -> None:
    """No colour is set; what is bold may stay."""
    written = in_terminal(NO_COLOR="1")
    assert "✓" in written
    assert "\x1b[32m" not in written
    assert "\x1b[3" not in written


def test_a_dumb_terminal_gets_plain_lines() -> None:
    """Without any codes."""
    written = in_terminal(TERM="dumb")
    assert "\x1b" not in written
    assert "Talk | Hello [red]you[/red]\r\n" in written


def test_ctrl_c_shows_what_was_cancelled_and_restores_the_cursor() -> None:
    """In the middle of a node."""
    written = in_terminal("forever", until="waiting")
    assert "cancelled" in written.rpartition("\x1b[?25h")[0] + written.rpartition("\x1b[?25h")[2]
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_a_run_that_is_left_does_not_keep_the_cursor() -> None:
    """When the process ends while the run is still open."""
    written = in_terminal("left")
    assert "  not ended" in written
    assert "\x1b[?25l" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


@pytest.mark.parametrize("changes", [{}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_pipe_gets_plain_lines(changes: dict[str, str]) -> None:
    """Also where colours are asked for: no control codes."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environment(**changes),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    assert "\x1b" not in done.stdout
    assert [line.split(" in ")[0].split(", run")[0] for line in done.stdout.splitlines()] == [
        "Flow: start",
        "Talk: start",
        "Talk | Hello [red]you[/red]",
        "Talk: ok",
        "Talk -> Wait",
        "Wait: start",
        "Wait: ok",
        "Wait -> end",
        "Flow: ok",
    ]


def test_a_pipe_that_takes_only_ascii() -> None:
    """Gets escapes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("you", "日本")],
        env=environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0"),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert b"Hello [red]\\u65e5\\u672c[/red]\n" in done.stdout
