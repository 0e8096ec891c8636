"""Observers into whose code the garbage collector brings the ends of a run that nobody has."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from flowevents import Run, StreamNode, TerminalDisplay, queued
from tests.driving import PATIENCE, in_thread


class Talk(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield from "abc"


def leave(observer: Any, count: int) -> None:
    """Leave so many runs midway, each in a cycle, which only the collector can find."""
    for _ in range(count):
        run = Run(Talk(), {}, observers=[observer])
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
        in_thread(lambda: Talk().run({}, observers=[display]))
        assert file.done.wait(PATIENCE)
    assert file.getvalue().count("cancelled") >= 1
    assert "abc" in file.getvalue()


class Collecting(deque[Any]):
    """Collects where its items are looked through."""

    between: Callable[[], object] = staticmethod(lambda: None)

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            self.between()
            yield each


@pytest.mark.parametrize("overflow", ["block", "coalesce"])
def test_a_queue_while_its_thread_begins(
    overflow: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody makes room yet: what comes then does not wait for it, and stays in order."""
    heard: list[Any] = []
    observer = queued(heard.append, maxsize=1, overflow=overflow)
    collect = collecting(observer, 20)

    class Begins(threading.Thread):
        def start(self) -> None:
            if self.name == "flowevents queued":
                collect()
            super().start()

    monkeypatch.setattr(threading, "Thread", Begins)
    with observer:
        in_thread(lambda: Talk().run({}, observers=[observer]))
    runs: dict[str, list[Any]] = {}
    for event in heard:
        runs.setdefault(event.run_id, []).append(event)
    assert len(runs) == 21
    for each in runs.values():
        assert [event.seq for event in each] == sorted(event.seq for event in each)
        assert sum(event.signal == "flow_end" for event in each) == 1
    assert caplog.records == []


def test_a_queue_that_drops(caplog: pytest.LogCaptureFixture) -> None:
    """It is not confused by what comes while it looks for something to drop."""
    heard: list[Any] = []
    has_run = threading.Event()

    def hear(event: Any) -> None:
        has_run.wait(PATIENCE)
        heard.append(event)

    with queued(hear, maxsize=2, overflow="drop_oldest") as observer:
        observer._events = events = Collecting()
        events.between = collecting(observer)
        in_thread(lambda: Talk().run({}, observers=[observer]))
        has_run.set()
    ends = [each for each in heard if getattr(each, "status", None)]
    assert sorted(each.status for each in ends) == ["cancelled", "cancelled", "ok", "ok"]
    assert caplog.records == []


def test_a_queue_at_the_end_of_the_process() -> None:
    """A run that was left ends there; no thread can begin any more."""
    program = """
from flowevents import Run, StreamNode, queued

class Talk(StreamNode):
    def exec_stream(self, prep_res):
        yield from "abc"

def show(event):
    if hasattr(event, "status"):
        print(event.signal, event.status, flush=True)

run = Run(Talk(), {}, observers=[queued(show)])
events = iter(run)
next(events)
if %r:
    cycle = [run, events]
    cycle.append(cycle)
    del run, events, cycle
"""
    for cycle in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", program % cycle],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        assert done.stderr == ""
        assert done.stdout == "flow_end cancelled\n"
