"""A display and somebody who types on the same terminal: nothing is drawn over what is typed."""

from __future__ import annotations

import gc
import io
import os
import pty
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

import pytest
from rich.console import Console

from flowevents import (
    Ask,
    AsyncFlow,
    AsyncParallelBatchNode,
    Chunk,
    ConsoleAnswers,
    Flow,
    FlowStart,
    ItemStart,
    NodeStart,
    Reply,
    StreamNode,
    TerminalDisplay,
)
from flowevents.events import Interrupt
from flowevents.observers import tty
from flowevents.observers.tty import tty_of
from tests.driving import PATIENCE, Driver, driving
from tests.records import Recorder
from tests.screens import Screen, still


class Typist(io.StringIO):
    """Somebody who types these lines, and looks at the screen before each."""

    def __init__(self, lines: str, look: Callable[[], object] = lambda: None) -> None:
        super().__init__(lines)
        self.look = look

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        self.look()
        return super().readline()


class Draft(StreamNode):
    def exec_stream(self, prep_res: Any) -> Any:
        yield "Dear Ada, lunch?"
        answer = yield Ask("Send it?", choices=["yes", "no"])
        copies = yield Ask("How many copies?", type=int)
        yield f"{answer} {copies}"


@pytest.mark.parametrize("display_first", [True, False])
def test_the_order_of_the_observers_means_nothing(driver: Driver, display_first: bool) -> None:
    """What the question is about, the question, and below it what is typed and refused."""
    screen = Screen()
    display = still(screen, get_time=lambda: 0.0)
    seen: list[str] = []

    def look() -> None:
        display.refresh()
        assert screen.has_cursor()
        seen.append(screen.shown.rpartition("\n")[2])

    typist = Typist("yes\nmany\n3\n", look)
    observers = [display, ConsoleAnswers(source=typist, target=screen)]
    driver.run(driver.flow(Draft()), {}, observers=observers if display_first else observers[::-1])
    begin, _, end = screen.shown.partition("\n✓ Draft  ")
    assert begin == (
        "· Draft\n"
        "  Dear Ada, lunch?\n"
        "? Draft asks\n"
        "  Send it?\n"
        "  1 yes\n"
        "  2 no\n"
        "> yes\n"
        "✓ Draft answered yes\n"
        "? Draft asks for a whole number\n"
        "  How many copies?\n"
        "> many\n"
        "  'many' is not a whole number.\n"
        "> 3\n"
        "✓ Draft answered 3"
    )
    assert end.splitlines()[1] == "  yes 3"
    assert seen == [">", ">", ">"]


class Each(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return ["a", "b"]

    async def exec_async(self, prep_res: Any) -> Any:
        return await self.ask(f"{prep_res}?", type=int)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["answers"] = exec_res


def test_items_that_ask_at_the_same_time() -> None:
    """Each question stands above its answer."""
    for display_first in (True, False):
        screen, shared = Screen(), dict[str, Any]()
        observers = [still(screen), ConsoleAnswers(source=io.StringIO("1\nx\n2\n"), target=screen)]
        with driving("async") as driver:
            driver.run(
                AsyncFlow(Each()), shared, observers=observers[:: 1 if display_first else -1]
            )
        assert shared["answers"] == [1, 2]
        asked = [line for line in screen.lines if line.startswith(("?", ">", "  a?", "  b?"))]
        first, second = "? Each[0] asks for a whole number", "? Each[1] asks for a whole number"
        assert asked == [*(first, "  a?", "> 1"), *(second, "  b?", "> x", "> 2")]


def asking(screen: Screen) -> tuple[Any, Recorder, list[Interrupt]]:
    """A display, and a run in which three items have asked, each about what it said."""
    display = still(screen)
    run = Recorder()
    batch = run.start(NodeStart, "Each", run.root)
    asked: list[Interrupt] = []
    for n, name in enumerate(("Ada", "Bo", "Cy")):
        item = run.start(ItemStart, "Each", batch, items=(n,), total=3)
        run.add(Chunk, item, "Each", items=(n,), data=f"About {name}.")
        asked.append(run.add(Interrupt, item, "Each", items=(n,), id=str(n), prompt=f"{name}?"))
    for event in run.events:
        display(event)
    display.refresh()
    return display, run, asked


def reply(run: Recorder, asked: Interrupt, value: str) -> Reply:
    """The answer that it took."""
    own: dict[str, Any] = {"items": asked.items, "id": asked.id, "value": value}
    return cast("Reply", run.add(Reply, asked.span, "Each", **own))


def about_questions(screen: Screen) -> list[str]:
    """What the screen says of questions and answers."""
    begins = ("  Ada?", "  Bo?", "  Cy?", "  1 more", "  2 more", "  About", "✓")
    return [line.strip() for line in screen.lines if line.startswith(begins)]


def test_one_question_at_a_time_is_on_the_screen() -> None:
    """What it is about stands above it; the others wait, and are counted, as far as they came."""
    screen = Screen()
    display, run, (ada, bo, cy) = asking(screen)
    shown = ["About Ada.", "Ada?"]
    assert about_questions(screen) == shown
    display(reply(run, ada, "old"))
    display.refresh()
    shown += ["✓ Each[0] answered old", "About Bo.", "Bo?", "1 more question waits"]
    assert about_questions(screen) == shown
    display(reply(run, bo, "young"))
    display.refresh()
    shown += ["✓ Each[1] answered young", "About Cy.", "Cy?"]
    assert about_questions(screen) == shown
    display(reply(run, cy, "gone"))
    display.refresh()
    assert about_questions(screen) == [*shown, "✓ Each[2] answered gone"]
    display.stop()


def test_the_question_that_is_answered_is_the_one_on_the_screen() -> None:
    """Whichever it is; one that was answered elsewhere meanwhile is shown with its answer."""
    screen = Screen()
    display, run, (_, bo, cy) = asking(screen)
    with tty_of(screen).asked(cy) as stands:
        assert stands
        assert about_questions(screen)[2:] == ["About Cy.", "Cy?", "2 more questions wait"]
        display(reply(run, bo, "young"))
        display.refresh()
        assert len(about_questions(screen)) == 5
    display(reply(run, cy, "old"))
    display.refresh()
    end = ["About Bo.", "Bo?", "✓ Each[1] answered young", "✓ Each[2] answered old"]
    assert about_questions(screen)[5:] == end
    display.stop()


class Reader(io.StringIO):
    """Somebody who answers the question that stands last on a screen, with its name."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        assert self.screen.shown.endswith("\n>")
        return [line for line in self.screen.lines if line.endswith("?")][-1].strip(" ?") + "\n"


@pytest.mark.parametrize("display_first", [True, False])
def test_runs_that_ask_at_the_same_time(display_first: bool) -> None:
    """In threads: each gets the answer to its own question, while the display draws all it can."""
    together = threading.Barrier(3)
    answers: dict[str, str] = {}

    class Each(StreamNode):
        def exec_stream(self, prep_res: Any) -> Any:
            name = self.params["name"]
            yield f"This is about {name}."
            together.wait(PATIENCE)
            answers[name] = yield Ask(f"{name}?")

    screen = Screen(height=80)
    display = TerminalDisplay(console=screen.console())
    observers: list[Any] = [display, ConsoleAnswers(source=Reader(screen), target=screen)]
    flows = [Flow(Each()) for _ in range(3)]
    with display:
        threads = []
        for flow, name in zip(flows, ("Ada", "Bo", "Cy"), strict=True):
            flow.set_params({"name": name})
            options = {"observers": observers[:: 1 if display_first else -1]}
            threads.append(threading.Thread(target=flow.run, args=({},), kwargs=options))
        for each in threads:
            each.start()
        for each in threads:
            each.join(PATIENCE)
    assert answers == {"Ada": "Ada", "Bo": "Bo", "Cy": "Cy"}


def test_a_line_that_is_not_understood_is_asked_for_again_at_once() -> None:
    """Not after the questions that wait."""
    screen = Screen()
    source = io.StringIO("x\n1\n2\n")
    observers = [still(screen), ConsoleAnswers(source=source, target=screen)]
    with driving("async") as driver:
        driver.run(AsyncFlow(Each()), {}, observers=observers)
    assert [line for line in screen.lines if line.startswith((">", "  "))] == [
        *("  a?", "> x", "  'x' is not a whole number.", "> 1"),
        *("  b?", "> 2"),
    ]


def test_questions_that_wait_are_counted_without_a_display() -> None:
    """Where a question is asked, as far as others have come by then."""

    class Three(Each):
        async def prep_async(self, shared: Any) -> Any:
            return ["a", "b", "c"]

    screen = Screen()
    answers = ConsoleAnswers(source=io.StringIO("1\n2\n3\n"), target=screen)
    with driving("async") as driver:
        driver.run(AsyncFlow(Three()), {}, observers=[answers])
    counted = [line for line in screen.lines if "wait" in line or line.endswith("?")]
    assert counted == ["  a?", "  2 more questions wait", "  b?", "  1 more question waits", "  c?"]


# -- somebody else's question ---------------------------------------------------------------------


def watched(screen: Screen, **options: Any) -> tuple[Any, Recorder, int]:
    """A display that draws a run, in which a node speaks."""
    display = still(screen, **options)
    run = Recorder()
    span = run.start(NodeStart, "Talk", run.root)
    run.add(Chunk, span, "Talk", data="Hello ")
    for event in run.events:
        display(event)
    display.refresh()
    assert not screen.has_cursor()
    return display, run, span


def question(id: str = "q", run_id: str = "other", seq: int = 1_000) -> Interrupt:
    """One that is asked by some run."""
    fields: dict[str, Any] = {"run_id": run_id, "seq": seq, "time": 0.0, "span": 2, "node": "Ask"}
    return Interrupt(**fields, id=id, prompt="Well?")


@pytest.mark.parametrize("answers_here", [True, False])
def test_a_run_that_the_display_does_not_show(answers_here: bool) -> None:
    """It steps aside all the same, says nothing of the question, and comes back."""
    screen = Screen()
    display, run, span = watched(screen, answers_here=answers_here)
    looks: list[str] = []

    def look() -> None:
        frames = screen.frames
        display(run.add(Chunk, span, "Talk", data="you "))
        display.refresh()
        assert screen.frames == frames
        looks.append(screen.shown)

    answers = ConsoleAnswers(source=Typist("fine\n", look), target=screen)
    answers.on_interrupt(question())
    assert looks == ["? Ask asks\n  Well?\n>"]
    display.refresh()
    assert screen.shown.startswith("? Ask asks\n  Well?\n> fine\n")
    assert "Hello you" in screen.shown
    assert not screen.has_cursor()
    display.stop()


def test_a_display_that_begins_meanwhile() -> None:
    """It draws nothing before the line was read."""
    screen = Screen()
    displays: list[Any] = []

    def look() -> None:
        display = still(screen)
        displays.append(display)
        run = Recorder()
        span = run.start(NodeStart, "Talk", run.root)
        run.add(Chunk, span, "Talk", data="Hello ")
        for event in run.events:
            display(event)
        display.refresh()
        assert screen.shown == "? Ask asks\n  Well?\n>"

    ConsoleAnswers(source=Typist("fine\n", look), target=screen).on_interrupt(question())
    displays[0].refresh()
    assert "Hello" in screen.shown
    displays[0].stop()


def test_a_question_that_was_answered_before_its_turn() -> None:
    """It is not shown again, and holds nobody up."""
    screen = Screen()
    display, run, span = watched(screen)
    asked = run.add(Interrupt, span, "Talk", id="q", prompt="Well?")
    display(asked)
    display(run.add(Reply, span, "Talk", id="q", value="fine"))
    display.refresh()
    assert screen.shown.count("Well?") == 1
    with tty_of(screen).asked(asked) as stands:
        assert not stands
    display.refresh()
    assert screen.shown.count("Talk asks") == 1
    assert not screen.has_cursor()
    display.stop()


def test_a_run_that_comes_again_asks_again() -> None:
    """A record that is shown twice, though it has no end."""
    screen = Screen()
    display = still(screen)
    for _ in range(2):
        run = Recorder()
        span = run.start(NodeStart, "Ask", run.root)
        run.add(Interrupt, span, "Ask", id="q", prompt="Well?")
        for event in run.events:
            display(event)
    display.stop()
    assert screen.shown.count("? Ask asks") == 2


# -- the terminal ---------------------------------------------------------------------------------


def test_a_terminal_is_known_by_its_device() -> None:
    """All files on it are one; another one, and what is no terminal, is of its own."""
    ours, theirs = pty.openpty()
    others = pty.openpty()
    text = io.StringIO()
    with os.fdopen(ours), os.fdopen(theirs) as one, open(theirs, closefd=False) as two:
        assert tty_of(one) is (kept := tty_of(two))
        with os.fdopen(others[0]), os.fdopen(others[1]) as other:
            assert tty_of(other) is not kept
        assert tty_of(text) is (own := tty_of(text))
        assert own is not kept
        assert tty_of(None) is not kept


def test_nothing_is_kept_of_a_terminal_that_nobody_uses() -> None:
    """Nor of a file."""
    gc.collect()
    before = len(tty._ttys)
    screen = Screen()
    display = still(screen)
    display(FlowStart(run_id="r", seq=1, time=0.0, span=1, node="", parent=0, flow="f"))
    assert len(tty._ttys) == before + 1
    display.stop()
    del display
    gc.collect()
    assert len(tty._ttys) == before


@pytest.mark.parametrize("display_first", [True, False])
def test_in_a_notebook(display_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell shows the question, its tree stays there, and the box only asks for the answer."""
    pages: list[str] = []

    class Handle:
        def update(self, page: str) -> None:
            pages.append(page)

    def show(page: str, display_id: bool) -> Handle:
        pages.append(page)
        return Handle()

    module: Any = ModuleType("IPython.display")
    module.HTML, module.display = str, show
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    out = io.StringIO()
    display = TerminalDisplay(
        console=Console(file=out, force_jupyter=True, width=80), refresh_per_second=0
    )
    typist = Typist("yes\n3\n", lambda: pages.append(f"typing below {pages[-1]}"))
    observers = [display, ConsoleAnswers(source=typist, target=out)]
    Draft().run({}, observers=observers if display_first else observers[::-1])
    looks = [page for page in pages if page.startswith("typing")]
    assert [page.count("Send it?") for page in looks] == [1 + 1, 1]
    assert ["How many copies?" in page for page in looks] == [False, True]
    assert out.getvalue() == "> yes\n> 3\n"
