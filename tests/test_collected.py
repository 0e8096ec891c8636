"""Observers into whose code the garbage collector brings the ends of a run that nobody has."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from flowevents import Run, TerminalDisplay, queued
from tests.driving import PATIENCE, in_thread
from tests.stock import Talk


def leave(observer: Any, count: int) -> None:
    """Leave so many runs midway, each in a cycle, which only the collector can find."""
    for _ in range(count):
        run = Run(Talk(*"abc"), {}, observers=[observer])
        events = iter(run)
        for _ in range(3):
            next(events)
        cycle: list[Any] = [run, events]
        cycle.append(cycle)


def collecting(observer: Any, count: int = 1) -> Callable[[], object]:
    """Leaves such runs once, and collects them: called where an observer is in the middle."""
    left: list[None] = []

    def collect() -> None:
        if not left:
            left.append(None)
            leave(observer, count)
            gc.collect()

    return collect


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    """But those that are asked for."""
    gc.disable()
    yield
    gc.enable()


class Text(io.StringIO):
    """A file in the middle of whose writes something is done; once, by the thread of that name."""

    between: Callable[[], object] = staticmethod(lambda: None)
    thread = ""

    def __init__(self) -> None:
        super().__init__()
        self.done = threading.Event()

    def write(self, text: str, /) -> int:
        if threading.current_thread().name.startswith(self.thread) and not self.done.is_set():
            self.between()
            self.done.set()
        return super().write(text)


@pytest.mark.parametrize("drawn", [False, True])
def test_a_display(drawn: bool) -> None:
    """In plain lines, and in a terminal, where it is the thread that draws."""
    file = Text()
    display = TerminalDisplay(console=Console(file=file, force_terminal=drawn, width=80))
    file.between = collecting(display)
    file.thread = "flowevents display" if drawn else ""
    with display:
        in_thread(lambda: Talk(*"abc").run({}, observers=[display]))
        assert file.done.wait(PATIENCE)
    assert file.getvalue().count("cancelled") >= 1
    assert "abc" in file.getvalue()


@pytest.mark.parametrize("overflow", ["block", "coalesce"])
def test_the_thread_of_a_queue(overflow: Any) -> None:
    """It does not wait for room that only it could make, and nothing is lost."""
    heard: list[Any] = []

    def hear(event: Any) -> None:
        heard.append(event)
        collect()

    observer = queued(hear, maxsize=1, overflow=overflow)
    collect = collecting(observer, 20)
    with observer:
        in_thread(lambda: Talk(*"abc").run({}, observers=[observer]))
    runs: dict[str, list[Any]] = {}
    for event in heard:
        runs.setdefault(event.run_id, []).append(event)
    assert len(runs) == 21
    for each in runs.values():
        assert [event.seq for event in each] == sorted(event.seq for event in each)
        assert sum(event.signal == "flow_end" for event in each) == 1
