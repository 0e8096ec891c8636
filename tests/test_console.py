"""ConsoleAnswers: with terminals and pipes, in plain code and while a loop goes on."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from flowevents.asking import Answer, Ask
from flowevents.errors import ReplyError
from flowevents.events import Interrupt
from flowevents.observers.console import ConsoleAnswers
from flowevents.signals import handlers_of, is_async_callable
from tests.hostile import CONTROLS, HOSTILE

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No test leaves a thread that reads; one whose line nobody wants takes a moment to see it."""
    before = set(threading.enumerate())
    yield
    for each in set(threading.enumerate()) - before:
        each.join(30)
        assert not each.is_alive(), each


def question(ask: Ask, number: int = 1, **own: Any) -> Interrupt:
    """What a run sends for it."""
    fields: dict[str, Any] = {
        "node": "Approve",
        "prompt": ask.prompt,
        "choices": ask.choices,
        "schema": ask.schema,
        **own,
    }
    return Interrupt(run_id="r", seq=3, time=0.0, span=2, id=f"q{number}", **fields)


def settle(ask: Ask, result: object) -> Any:
    """What a run does with a handler's result, in plain code: the value, or `None`."""
    while isinstance(result, Answer):
        try:
            return ask.check(result.value)
        except ReplyError as error:
            assert result.refused is not None
            result = result.refused(error)
    assert result is None
    return None


async def settle_async(ask: Ask, result: object) -> Any:
    """The same in a loop, where results may be awaitable."""
    while True:
        if isinstance(result, Awaitable):
            result = await result
        if not isinstance(result, Answer):
            assert result is None
            return None
        try:
            return ask.check(result.value)
        except ReplyError as error:
            assert result.refused is not None
            result = result.refused(error)


class Said(io.StringIO):
    """What was written.

    Attributes:
        prompted: Set in the loop, when a prompt was written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prompted = asyncio.Event()

    def write(self, text: str) -> int:
        if text.endswith("> "):
            self.prompted.set()
        return super().write(text)


class Wire:
    """Two ends: what is typed goes in at one, a program reads at the other.

    Attributes:
        source: The file that a program reads.
        said: What the program wrote.
    """

    def __init__(self, kind: str) -> None:
        if kind == "terminal":
            self._ours, theirs = pty.openpty()
        else:
            theirs, self._ours = os.pipe()
        self.source: TextIO = os.fdopen(theirs, encoding="utf-8")
        self.said = Said()
        self.answers = ConsoleAnswers(source=self.source, target=self.said)

    def type(self, text: str) -> None:
        """Type, with newlines as Enter; in a terminal `"\\x04"` is Ctrl-D."""
        os.write(self._ours, text.encode())

    def hang_up(self) -> None:
        """Nothing more will be typed."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def close(self) -> None:
        """Close both ends."""
        self.hang_up()
        self.source.close()


@pytest.fixture(params=["terminal", "pipe"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    """A terminal, and a pipe."""
    wire = Wire(request.param)
    yield wire
    wire.close()


@pytest.fixture(params=["sync", "async"])
def answer(request: pytest.FixtureRequest, wire: Wire) -> Any:
    """Let it answer a question, in plain code or in a loop; what the node gets."""

    def plain(ask: Ask, **own: Any) -> Any:
        return settle(ask, wire.answers.on_interrupt(question(ask, **own)))

    async def in_loop(ask: Ask, **own: Any) -> Any:
        return await settle_async(ask, wire.answers.on_interrupt(question(ask, **own)))

    if request.param == "sync":
        return plain
    return lambda ask, **own: asyncio.run(asyncio.wait_for(in_loop(ask, **own), 30))


def test_it_is_an_observer_of_sync_and_async_runs() -> None:
    """One plain handler: a sync run does not refuse it."""
    handlers = handlers_of(ConsoleAnswers())
    assert list(handlers) == ["interrupt"]
    assert not is_async_callable(handlers["interrupt"])


def test_a_typed_line_is_the_answer(wire: Wire, answer: Any) -> None:
    """A text as it is, a value by the question's type."""
    wire.type("Nora of Lyon\n日本\n12\n")
    assert answer(Ask("Who?")) == "Nora of Lyon"
    assert answer(Ask("Where?")) == "日本"
    assert answer(Ask("How many?", type=int)) == 12


def test_the_question_is_shown(wire: Wire, answer: Any) -> None:
    """Who asks for what, and the choices with their numbers."""
    wire.type("2\n")
    assert answer(Ask("Ship it?\nNow?", choices=["yes", "no"]), items=(3,)) == "no"
    said = wire.said.getvalue().partition("> ")[0]
    assert said == "? Approve[3] asks\n  Ship it?\n  Now?\n  1 yes\n  2 no\n"


def test_a_question_that_stands_on_the_screen_is_not_repeated(wire: Wire, answer: Any) -> None:
    """A display has shown it."""
    wire.answers._keyboard.tty.last = ("r", "q1")
    wire.type("x\n")
    assert answer(Ask("Name?")) == "x"
    assert wire.said.getvalue().startswith("> ")


def test_what_is_not_understood_is_asked_again_with_the_reason(wire: Wire, answer: Any) -> None:
    """As often as it takes."""
    wire.type("perhaps\nwell\ny\n")
    assert answer(Ask("Sure?", type=bool)) is True
    said = wire.said.getvalue()
    assert said.count("? Approve asks for yes or no") == 1
    assert "  'perhaps' is not yes or no.\n> " in said
    assert "  'well' is not yes or no.\n> " in said


def test_what_the_question_refuses_is_asked_again_with_the_reason(wire: Wire, answer: Any) -> None:
    """The reason is the question's own."""
    wire.type('["a", 1]\n["a", "b"]\n')
    assert answer(Ask("Names?", type=list[str])) == ["a", "b"]
    assert "Expected `str`, got `int` - at `$[1]`" in wire.said.getvalue()


def test_the_end_of_input_leaves_the_question_open(wire: Wire, answer: Any) -> None:
    """Ctrl-D in a terminal, the end of a pipe; the next output begins a line."""
    if wire.source.isatty():
        wire.type("\x04")
    else:
        wire.hang_up()
    assert answer(Ask("Name?")) is None
    assert wire.said.getvalue().endswith("> \n")


def test_a_line_without_its_end_is_a_line(wire: Wire, answer: Any) -> None:
    """The last one of a pipe."""
    if wire.source.isatty():
        wire.type("last\x04\x04")
    else:
        wire.type("last")
        wire.hang_up()
    assert answer(Ask("Name?")) == "last"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_question_commands_the_terminal(text: str) -> None:
    """Prompts, choices, schemas, names, and reasons that repeat what was typed."""
    said = io.StringIO()
    typed = io.StringIO(f"{text.splitlines()[0] if text else ''}?\n1\n")
    ask = Ask(text or "?", choices=[text, "other"])
    node = text.replace("/", "")
    answers = ConsoleAnswers(source=typed, target=said)
    answers.on_interrupt(question(ask, node=node, schema={"type": text}))
    assert not CONTROLS & set(said.getvalue())
    said.getvalue().encode()


def test_the_loop_goes_on_while_it_reads(wire: Wire) -> None:
    """The line is typed by a task of the same loop, after many turns."""

    async def main() -> Any:
        async def type_late() -> None:
            for _ in range(100):
                await asyncio.sleep(0)
            wire.type("late\n")

        typing = asyncio.create_task(type_late())
        found = await settle_async(Ask("?"), wire.answers.on_interrupt(question(Ask("?"))))
        await typing
        return found

    assert asyncio.run(asyncio.wait_for(main(), 30)) == "late"


def test_a_read_that_is_cancelled_takes_nothing(wire: Wire) -> None:
    """The next line goes to the next question, or to whoever reads."""

    async def main() -> Any:
        reading: asyncio.Future[Any] = asyncio.ensure_future(
            wire.answers.on_interrupt(question(Ask("first?")))  # type: ignore[arg-type]
        )
        await wire.said.prompted.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        if wire.source.isatty():
            for each in threading.enumerate():
                if each.name == "flowevents keyboard":
                    await asyncio.to_thread(each.join, 30)
        wire.type("for the second\nfor the program\n")
        second = Ask("second?")
        return await settle_async(second, wire.answers.on_interrupt(question(second, 2)))

    assert asyncio.run(asyncio.wait_for(main(), 30)) == "for the second"
    assert wire.source.readline() == "for the program\n"


class Interrupting(io.StringIO):
    """Ctrl-C comes while it is read."""

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        raise KeyboardInterrupt


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_ctrl_c_ends_the_line(mode: str) -> None:
    """Also in a loop whose ^C cuts in."""
    said = io.StringIO()
    answers = ConsoleAnswers(source=Interrupting(), target=said)

    async def main() -> None:
        await settle_async(Ask("?"), answers.on_interrupt(question(Ask("?"))))

    with pytest.raises(KeyboardInterrupt):
        if mode == "sync":
            answers.on_interrupt(question(Ask("?")))
        else:
            asyncio.run(main())
    assert said.getvalue().endswith("> \n")


def test_questions_are_asked_one_after_the_other(wire: Wire) -> None:
    """In the order in which they came; one that is cancelled while it waits is left out."""

    async def main() -> list[Any]:
        asks = [Ask(f"question {n}") for n in range(4)]
        tasks = [
            asyncio.create_task(settle_async(ask, wire.answers.on_interrupt(question(ask, n))))
            for n, ask in enumerate(asks)
        ]
        await wire.said.prompted.wait()
        tasks[1].cancel()
        wire.type("a\nb\nc\n")
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(asyncio.wait_for(main(), 30))
    assert isinstance(found.pop(1), asyncio.CancelledError)
    assert found == ["a", "b", "c"]
    said = wire.said.getvalue()
    assert [said.count(f"question {n}") for n in range(4)] == [1, 0, 1, 1]


def test_sync_runs_in_threads_take_turns(wire: Wire) -> None:
    """Each gets a whole line."""
    found: list[Any] = []

    def run(n: int) -> None:
        ask = Ask("?", type=int)
        found.append(settle(ask, wire.answers.on_interrupt(question(ask, n))))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for each in threads:
        each.start()
    for n in range(4):
        wire.type(f"{n}\n")
    for each in threads:
        each.join(30)
    assert sorted(found) == [0, 1, 2, 3]


def test_a_file_on_a_disk_is_read_in_a_loop(tmp_path: Path) -> None:
    """It never lets one wait."""
    path = tmp_path / "answers.txt"
    path.write_text("from a file\n", encoding="utf-8")

    async def main(source: TextIO) -> list[Any]:
        answers = ConsoleAnswers(source=source, target=io.StringIO())
        asks = [Ask("one?"), Ask("two?")]
        return [await settle_async(each, answers.on_interrupt(question(each))) for each in asks]

    with path.open(encoding="utf-8") as source:
        assert asyncio.run(asyncio.wait_for(main(source), 30)) == ["from a file", None]


def test_a_closed_input_has_ended() -> None:
    """As that of a daemon."""
    closed = io.StringIO()
    closed.close()
    answers = ConsoleAnswers(source=closed, target=io.StringIO())
    assert answers.on_interrupt(question(Ask("?"))) is None


# -- in a process of its own ----------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
from flowevents.asking import Answer
from flowevents.events import Interrupt
from flowevents.observers.console import ConsoleAnswers

answers = ConsoleAnswers()
event = Interrupt(run_id="r", seq=3, time=0.0, span=2, node="Approve", id="q", prompt="Name?")
if "before" in sys.argv:
    print("before:", input())
try:
    if "async" in sys.argv:
        async def main():
            return await answers.on_interrupt(event)
        answer = asyncio.run(main())
    else:
        answer = answers.on_interrupt(event)
except KeyboardInterrupt:
    print("interrupted")
else:
    print("answer:", answer and answer.value)
"""


def command(*arguments: str) -> list[str]:
    """How the program is started."""
    return [sys.executable, "-W", "error", "-c", PROGRAM, *arguments]


def in_terminal(typed: str, *arguments: str) -> str:
    """What stands on a process's own terminal after this was typed at the prompt."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=_own_terminal,
    ) as program:
        os.close(theirs)
        written = b""
        while True:
            # Readline misses a Ctrl-C that comes just before it waits; a person presses it again.
            while b"> " in written and not select.select([ours], [], [], 1)[0]:
                os.write(ours, typed.encode())
            try:
                more = os.read(ours, 65_536)
            except OSError:
                break
            if not more:
                break
            if b"> " in written + more and b"> " not in written:
                os.write(ours, typed.encode())
            written += more
        program.wait(30)
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in a shell's background ignores it


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_in_the_terminal_of_the_process(mode: str) -> None:
    """Typed and edited, as with `input`; Ctrl-D answers nothing, Ctrl-C interrupts."""
    shown = in_terminal("Norb\x7fa\n", mode)
    assert "? Approve asks\n  Name?\n" in shown
    assert "answer: Nora\n" in shown
    assert "answer: None\n" in in_terminal("\x04", mode)
    assert "\ninterrupted\n" in in_terminal("\x03", mode)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_piped_answers_of_a_process(mode: str) -> None:
    """After the program itself has read from the pipe, and what it read ahead is not lost."""
    done = subprocess.run(
        command("before", mode),
        input="for input\nfor the question\n",
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert "before: for input\n" in done.stdout
    assert "> for the question\nanswer: for the question\n" in done.stdout
