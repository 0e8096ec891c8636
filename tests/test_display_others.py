"""What others write to the terminal on which the display draws: in a real one, read as it looks."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pytest

from flowevents.observers.tty import lend, tty_of
from tests.screens import Screen
from tests.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent

PROGRAM = """
import asyncio, logging, os, subprocess, sys, threading, time, warnings
from flowevents import *
from flowevents.testing import ManualClock

display = TerminalDisplay(refresh_per_second=0, get_time=lambda: 0.0)

def child(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], **options)

def run(node, *observers):
    observers = [display, *observers]
    if isinstance(node, AsyncNode):
        return asyncio.run(node.run_async({}, observers=observers, clock=ManualClock()))
    return node.run({}, observers=observers, clock=ManualClock())

class Talk(StreamNode):
    def exec_stream(self, prep_res):
        yield "Hello "
        for n in range(3):
            display.refresh()
            self.write(n)
        yield "you"
        display.refresh()
"""

TALKED = "✓ Talk  0ms  → end  first 0ms\n  Hello you\n✓ Talk  0ms\n└ ✓ Talk  0ms  → end"

WRITERS = {
    "a log": ("logging.warning('line %d', n)", "WARNING:root:line {}"),
    "a warning": ("warnings.warn_explicit(f'line {n}', UserWarning, 'app.py', n)", None),
    "print": ("print('line', n)", None),
    "parts": ("print('li', end='', flush=True), display.refresh(), print('ne', n)", None),
    "the first stderr": ("print('line', n, file=sys.__stderr__)", None),
    "bytes": ("sys.stdout.buffer.write(b'line %d\\n' % n), sys.stdout.flush()", None),
    "a descriptor": ("os.write(2, b'line %d\\r\\n' % n)", None),
    "a progress bar": ("os.write(2, b'1%%\\r50%%\\rline %d\\n' % n)", None),
    "a subprocess": ("child(f'print(\"line {n}\")').wait()", None),
    "its stderr": ("child(f'import os; os.write(2, b\"line {n}\\\\n\")').wait()", None),
    "a terminal": ("child(f'import os; print(\"line {n}\" if os.isatty(1) else 0)').wait()", None),
    "a shell": ("os.system(f'echo line {n}')", None),
    "colours": ("print(f'\\x1b[32mline {n}\\x1b[0m\\x1b[2J')", None),
    "a long line": ("print('x' * 100, 'line', n)", "x" * 100 + " line {}"),
}


def in_terminal(program: str) -> Terminal:
    """A terminal in which this runs, after the program above."""
    unset = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    env = {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    return Terminal([sys.executable, "-c", PROGRAM + program], env)


def look(written: str, width: int = 80) -> str:
    """How it looks in the end, with all that has scrolled away."""
    screen = Screen(width, 25)
    screen.write(written)
    assert screen.has_cursor()
    return screen.shown


@pytest.mark.parametrize("writer", WRITERS)
def test_what_others_write_stands_above(writer: str) -> None:
    """All of it, in order and once, whoever writes; and no picture is left behind."""
    code, line = WRITERS[writer]
    if writer == "a warning":
        line = "app.py:{0}: UserWarning: line {0}"
    with in_terminal(
        f"logging.basicConfig()\nTalk.write = lambda self, n: ({code})\nrun(Talk())\nprint('end')"
    ) as terminal:
        assert terminal.end() == 0
        lines = [(line or "line {}").format(n) for n in range(3)]
        assert look(terminal.shown, width=120) == "\n".join([*lines, TALKED, "end"])


def test_what_others_write_while_a_picture_is_drawn() -> None:
    """It stands above the next one, whole."""
    with in_terminal(
        "Talk.write = lambda self, n: [(os.write(2, b'%d %d\\r\\n' % (n, each)), display.refresh())"
        " for each in range(200)]\nrun(Talk())\nprint('end')"
    ) as terminal:
        assert terminal.end() == 0
        shown = look(terminal.shown).split("\n")
    expected = [f"{n} {each}" for n in range(3) for each in range(200)]
    assert [line for line in shown if line in expected] == expected


def test_what_has_no_end_of_line() -> None:
    """It is seen at once, as a prompt has to be, and is not lost at the end."""
    program = """
import termios
attributes = termios.tcgetattr(0)
attributes[3] &= ~termios.ECHO
termios.tcsetattr(0, termios.TCSANOW, attributes)
display = TerminalDisplay(get_time=lambda: 0.0)

def write(self, n):
    if n == 2:
        print("well?", end=" ", flush=True)
        sys.stdin.readline()

Talk.write = write
run(Talk())
"""
    with in_terminal(program) as terminal:
        terminal.until("well?")
        terminal.press("\n")
        assert terminal.end() == 0
        assert look(terminal.shown) == f"well?\n{TALKED}"


def test_a_question_has_the_terminal_for_itself() -> None:
    """Before it and after it what others write is above; the line is typed where it is asked."""
    program = """
class Draft(AsyncStreamNode):
    async def exec_stream_async(self, prep_res):
        for question in ("Send it?", "Really?"):
            display.refresh()
            os.system("echo before")
            yield Ask(question, type=bool)
            os.system("echo after")
            display.refresh()

run(Draft(), ConsoleAnswers())
"""
    with in_terminal(program) as terminal:
        for answer in ("y\n", "n\n"):
            terminal.until("> ")
            terminal.press(answer)
        assert terminal.end() == 0
        told = look(terminal.shown)
        asked = "? Draft asks for yes or no"
        assert told.startswith(f"before\n{asked}\n  Send it?\n> y\n")
        assert f"before\n{asked}\n  Really?\n> n\n" in told
        assert [told.count(each) for each in ("before", "after", "answered")] == [2, 2, 2]


def test_a_subprocess_may_outlive_the_display() -> None:
    """What it writes then goes to the terminal as it comes."""
    program = """
Talk.write = lambda self, n: None
class Begin(Node):
    def exec(self, prep_res):
        display.refresh()
        code = "print('early', flush=True); input(); print('late')"
        self.children.append(child(code, stdin=subprocess.PIPE))
Begin.children = []
begin = Begin()
run(begin)
begin.children[0].communicate(b"\\n")
for each in threading.enumerate():
    if each.name == "flowevents output":
        each.join()
print("end")
"""
    with in_terminal(program) as terminal:
        assert terminal.end() == 0
        assert [look(terminal.shown).count(each) for each in ("early", "late", "end\n")] == [
            1,
            1,
            1,
        ]
        assert look(terminal.shown).endswith("late\nend")


def test_nothing_is_left_of_it() -> None:
    """Neither a descriptor nor a thread, nor is the console changed."""
    program = """
import rich
def free():
    for each in threading.enumerate():
        if each.name == "flowevents output":
            each.join()
    number = os.dup(0)
    os.close(number)
    return number
Talk.write = lambda self, n: print("line")
run(Talk())
before = free()
for _ in range(3):
    run(Talk())
assert free() == before
assert rich.get_console().file is sys.stdout
sys.stdout = sys.stderr
assert rich.get_console().file is sys.stderr
assert threading.active_count() == 1
"""
    with in_terminal(program) as terminal:
        assert terminal.end() == 0, terminal.shown


def test_a_terminal_that_stands_for_another() -> None:
    """Whoever asks there asks in the terminal itself, until it is given back."""
    pairs = [pty.openpty() for _ in range(2)]
    one, other = (os.fdopen(theirs) for _, theirs in pairs)
    with one, other:
        kept = tty_of(one)
        give_back = lend(other.fileno(), one.fileno())
        assert tty_of(other) is kept
        give_back()
        assert tty_of(other) is not kept
    for ours, _ in pairs:
        os.close(ours)
