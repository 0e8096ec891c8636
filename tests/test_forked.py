"""A process that is forked in the middle of a run: that belongs to its parent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowevents import read_events
from flowevents.testing import check_events
from tests.driving import PATIENCE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

PROGRAM = """
import asyncio, os, signal, sys
from flowevents import *
from flowevents import signals

class Forks(StreamNode):
    def exec_stream(self, prep_res):
        yield "a"
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            how = sys.argv[2]
            if how == "exits":
                sys.exit()
            if how == "fails":
                raise ValueError("in the child")
            if how == "drops":
                raise KeyboardInterrupt
        else:
            os.waitpid(child, 0)
        yield "b"

parent = os.getpid()
record = JsonLines(sys.argv[1])
how = sys.argv[3]
if how == "connected":
    observe(record)
run = Run(Flow(Forks()), {}, observers=[] if how == "connected" else [record])
try:
    for event in run:
        if how == "pulled":
            print("parent" if os.getpid() == parent else "child", event.seq, flush=True)
finally:
    if os.getpid() != parent:
        os._exit(0)
print(run.status)
"""


@pytest.mark.parametrize("where", ["connected", "own", "pulled"])
@pytest.mark.parametrize("how", ["exits", "fails", "drops", "goes on"])
def test_a_child_says_nothing_of_its_parents_run(tmp_path: Path, how: str, where: str) -> None:
    """Whatever becomes of it there: the record is the parent's, and the run goes on."""
    record = tmp_path / "record.jsonl"
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(record), how, where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    events = list(read_events(record))
    check_events(events)
    assert len(events) == 7
    assert done.stdout.splitlines()[-1] == "done"
    assert "child" not in done.stdout


def test_a_child_has_runs_of_its_own(tmp_path: Path) -> None:
    """It hears those that begin there, by the same handlers."""
    program = """
import os, sys
from flowevents import *

class Forks(Node):
    def exec(self, prep_res):
        child = os.fork()
        if child == 0:
            Flow(Node()).run({}, observers=[JsonLines(sys.argv[1])])
            os._exit(0)
        os.waitpid(child, 0)

Flow(Forks()).run({})
"""
    record = tmp_path / "record.jsonl"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(record)], check=True, timeout=PATIENCE
    )
    events = list(read_events(record))
    check_events(events)
    assert len(events) == 5
