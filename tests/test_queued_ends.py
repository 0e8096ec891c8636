"""A queue and what ends: its handler's life, a process that was forked, and the process itself."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest

from flowevents import Chunk, observe, queued
from tests.driving import PATIENCE
from tests.stock import Talk

FLOW = """
import os, signal, sys, threading, time
from flowevents import Chunk, Flow, Run, StreamNode, queued

class Count(StreamNode):
    def exec_stream(self, prep_res):
        yield from range(prep_res)
    def prep(self, shared):
        return shared["count"]

def chunk(seq):
    return Chunk(run_id="r", seq=seq, time=0.0, span=2, node="N", data="x")
"""


def printed(program: str) -> list[str]:
    """The lines that a process prints, which complains of nothing."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FLOW + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


# -- the handler ----------------------------------------------------------------------------------


class Hears:
    def on_chunk(self, event: Chunk) -> None:
        """Hear it."""

    def on_gap(self, gap: Any) -> None:
        """Hear that there are gaps."""


@pytest.mark.parametrize("all_of_the_run", [True, False])
def test_a_handler_is_not_kept(all_of_the_run: bool) -> None:
    """After its `with` block, also where the ends of runs were not heard."""
    hears = Hears()
    ref = weakref.ref(hears)
    with queued(hears) as handle:
        if all_of_the_run:
            Talk().run({}, observers=[handle])
        else:
            with observe(handle, sender="nobody"):
                Talk().run({})
            handle(Chunk(run_id="r", seq=1, time=0.0, span=1, node="N", data="x"))
    del hears, handle
    gc.collect()
    assert ref() is None


def test_a_handler_without_with_is_not_kept() -> None:
    """Nor when its runs have ended."""
    hears = Hears()
    ref = weakref.ref(hears)
    Talk().run({}, observers=[queued(hears)])
    del hears
    for each in threading.enumerate():
        if each.name == "flowevents queued":
            each.join(PATIENCE)
    gc.collect()
    assert ref() is None


# -- a process that was forked --------------------------------------------------------------------

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


@forks
def test_what_is_pending_stays_with_the_parent() -> None:
    """The child hands on only what it hears itself, also more than there is room for."""
    lines = printed("""
may_go = threading.Event()
entered = threading.Event()
parent = os.getpid()

def show(event):
    entered.set()
    if os.getpid() == parent:
        may_go.wait()
    print("parent" if os.getpid() == parent else "child", event.signal, flush=True)

handle = queued(show, maxsize=4)
handle(chunk(1))
entered.wait()
for seq in range(2, 6):
    handle(chunk(seq))
child = os.fork()
if child == 0:
    signal.alarm(20)
    Flow(Count()).run({"count": 10}, observers=[handle])
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print("the child has ended", flush=True)
may_go.set()
""")
    at = lines.index("the child has ended")
    assert lines[:at] == [
        *("child flow_start", "child node_start", *["child chunk"] * 10),
        *("child node_end", "child action", "child flow_end"),
    ]
    assert lines[at + 1 :] == ["parent chunk"] * 5


@forks
@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "coalesce"])
def test_a_child_does_not_wait_for_threads_that_it_lacks(overflow: str) -> None:
    """Whatever the threads of its parent were doing, it queues, closes and ends."""
    lines = printed(f"""
sys.setswitchinterval(1e-6)
handle = queued(lambda event: None, 3, {overflow!r})
over = threading.Event()

def produce():
    while not over.is_set():
        handle(chunk(1))

threads = [threading.Thread(target=produce) for _ in range(3)]
for each in threads:
    each.start()
codes = []
for number in range(40):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        for seq in range(10):
            handle(chunk(seq))
        handle.close()
        os._exit(0)
    codes.append(os.waitpid(child, 0)[1])
over.set()
for each in threads:
    each.join()
handle.close()
print(codes.count(0))
""")
    assert lines == ["40"]


@forks
def test_a_handler_that_forks() -> None:
    """Its child goes on with nothing of what waits."""
    lines = printed("""
parent = os.getpid()
children = []

def show(event):
    if event.seq == 1:
        children.append(os.fork())
        if children[0]:
            os.waitpid(children[0], 0)
    print("parent" if os.getpid() == parent else "child", event.seq, flush=True)

with queued(show) as handle:
    for seq in range(1, 4):
        handle(chunk(seq))
""")
    assert lines == ["child 1", "parent 1", "parent 2", "parent 3"]


# -- the end of the process -----------------------------------------------------------------------


def test_everything_is_handed_on_before_the_end() -> None:
    """Nobody has to close it."""
    lines = printed("""
def show(event):
    time.sleep(0.001)
    print(event.seq)
Flow(Count()).run({"count": 50}, observers=[queued(show)])
""")
    assert lines == [str(seq) for seq in range(1, 56)]


def test_before_what_was_registered_for_the_end_meanwhile() -> None:
    """What the handler needs is still there, though it was opened after flowevents was imported."""
    lines = printed("""
import atexit
open_files = ["file"]
atexit.register(open_files.clear)
def show(event):
    time.sleep(0.001)
    print(event.seq, *open_files)
Flow(Count()).run({"count": 2}, observers=[queued(show)])
""")
    assert lines == [f"{seq} file" for seq in range(1, 8)]


def test_what_comes_after_that() -> None:
    """It is handed on at once, because no thread would live to do it."""
    lines = printed("""
import atexit
def show(event):
    time.sleep(0.001)
    print(event.signal)
handle = queued(show)
def last():
    print("last")
    Flow(Count()).run({"count": 1}, observers=[handle])
atexit.register(last)
handle(chunk(1))
""")
    assert lines[:2] == ["chunk", "last"]
    assert lines[2:] == ["flow_start", "node_start", "chunk", "node_end", "action", "flow_end"]


@pytest.mark.parametrize("cycle", [False, True])
def test_a_run_that_was_left(cycle: bool) -> None:
    """It ends there, and no thread can begin any more."""
    lines = printed(f"""
def show(event):
    if hasattr(event, "status"):
        print(event.signal, event.status, flush=True)

run = Run(Count(), {{"count": 3}}, observers=[queued(show)])
events = iter(run)
next(events)
if {cycle}:
    cycle = [run, events]
    cycle.append(cycle)
    del run, events, cycle
""")
    assert lines == ["flow_end cancelled"]
