"""Observers into whose code the garbage collector brings the ends of a run that nobody has."""

from __future__ import annotations

import gc
import io
import itertools
import subprocess
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from rich.console import Console

from flowevents import Event, JsonLines, Run, TerminalDisplay, queued
from flowevents.observers import turns as turns_module
from flowevents.observers.jsonlines import read_events
from flowevents.observers.turns import Turns
from flowevents.testing import check_events
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


class Bytes(io.BytesIO):
    between: Callable[[], object] = staticmethod(lambda: None)

    def write(self, data: Any, /) -> int:
        half = len(data) // 2
        super().write(data[:half])
        self.between()
        super().write(data[half:])
        return len(data)


class Text(io.StringIO):
    between: Callable[[], object] = staticmethod(lambda: None)

    def write(self, text: str, /) -> int:
        self.between()
        return super().write(text)


@pytest.mark.parametrize("count", [1, 600])
def test_a_record(count: int) -> None:
    """No line is torn, none is lost, however many come at once."""
    file = Bytes()
    record = JsonLines(file)
    file.between = collecting(record, count)
    in_thread(lambda: Talk(*"abc").run({}, observers=[record]))
    runs: dict[str, list[Event]] = {}
    for event in read_events(io.BytesIO(file.getvalue())):
        runs.setdefault(event.run_id, []).append(event)
    assert len(runs) == 1 + count
    for each in runs.values():
        check_events(each)


@pytest.mark.parametrize("drawn", [False, True])
def test_a_display(drawn: bool) -> None:
    """In plain lines, and in a terminal, where it is the thread that draws."""
    file = Text()
    display = TerminalDisplay(console=Console(file=file, force_terminal=drawn, width=80))
    file.between = collecting(display)
    with display:
        in_thread(lambda: Talk(*"abc").run({}, observers=[display]))
        display.refresh()
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
        in_thread(lambda: Talk(*"abc").run({}, observers=[observer]))
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
        in_thread(lambda: Talk(*"abc").run({}, observers=[observer]))
        has_run.set()
    ends = [each for each in heard if getattr(each, "status", None)]
    assert sorted(each.status for each in ends) == ["cancelled", "cancelled", "ok", "ok"]
    assert caplog.records == []


def test_what_comes_meanwhile_is_done_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    """In order, all of it, and not inside of it; what it raises is logged."""
    turns, log = Turns(), list[str]()

    def inside() -> str:
        assert turns.postpones(log.append, "one")
        assert turns.postpones(log.append, "two")
        assert not in_thread(lambda: turns.postpones(log.append, "another thread"))
        log.append("inside")
        return "given"

    assert not turns.postpones(log.append, "outside")
    assert turns.do(inside) == "given"
    assert log == ["inside", "one", "two"]
    assert turns.do(lambda: turns.postpones(lambda: 1 / 0)) is True
    (record,) = caplog.records
    assert "failed on what came while it was at work" in record.getMessage()


def interrupted(turns: Turns, at: int, log: list[str]) -> bool:
    """Interrupt one of its calls where Python looks for signals, for the n-th time; if it does."""
    count = 0

    def profile(frame: types.FrameType, event: str, arg: object) -> None:
        nonlocal count
        if frame.f_code.co_filename == turns_module.__file__ and event in ("call", "c_return"):
            count += 1
            if count == at:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        turns.do(turns.postpones, log.append, "late")
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_an_interrupt_leaves_nothing_behind() -> None:
    """Wherever it cuts in, the next call is made, and in no other way than usually."""
    for at in itertools.count(1):
        turns, log = Turns(), list[str]()
        if not interrupted(turns, at, log):
            assert log == ["late"]
            break
        assert in_thread(partial(turns.do, str, "free")) == "free"
        assert not turns.postpones(log.append, "never")
        assert turns.do(str, "here") == "here"
    assert at > 5


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
