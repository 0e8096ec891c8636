"""Runs in the background that nobody has any more, and those at the end of the process."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import pytest

from tests.driving import PATIENCE, Seen, driving
from tests.starting.places import Held, Place
from tests.stock import Fail


def test_a_run_that_nobody_has_goes_on(place: Place) -> None:
    """To its end; then nothing is left of it."""
    held, seen = Held(), Seen()
    gone = threading.Event()
    run = place.start(held, observers=[seen])
    weakref.finalize(run, gone.set)
    assert held.entered.wait(PATIENCE)
    threads = [each for each in threading.enumerate() if each.name == "flowevents run"]
    del run
    gc.collect()
    assert not gone.is_set()
    held.may_go.set()
    for each in threads:
        each.join(PATIENCE)
    assert gone.wait(PATIENCE)
    assert seen.ends() == ["ok", "ok"]


def test_a_failure_that_nobody_gets_is_logged(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with its traceback, when the run is forgotten."""
    gone = threading.Event()
    held = Held()
    held - "gone" >> Fail()
    run = place.start(held)
    weakref.finalize(run, gone.set)
    threads = [each for each in threading.enumerate() if each.name == "flowevents run"]
    run_id = run.id
    del run
    held.may_go.set()
    for each in threads:
        each.join(PATIENCE)
    assert gone.wait(PATIENCE)
    (record,) = caplog.records
    assert record.getMessage() == f"Run {run_id} failed, and nobody waited for it"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "broken"


def test_a_failure_that_somebody_got_is_not_logged(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """In a thread or in a loop."""
    run = place.start(Fail())
    with driving("async") as driver, pytest.raises(ValueError, match="broken"):
        driver.wait(run)
    del run
    gc.collect()
    assert caplog.records == []


# -- the end of the process ------------------------------------------------------------------------


PROGRAM = """
import asyncio, sys, threading
from flowevents import Ask, AsyncFlow, Flow, Node, Run, StreamNode, queued

class Asks(StreamNode):
    def exec_stream(self, prep_res):
        try:
            yield Ask("Now?")
        finally:
            print("closed", flush=True)

class Forever(StreamNode):
    def exec_stream(self, prep_res):
        try:
            while True:
                yield 1
        finally:
            print("closed", flush=True)

class Fails(Node):
    def exec(self, prep_res):
        raise ValueError("broken")

class Hears:
    def __init__(self):
        self.begun, self.over = threading.Event(), threading.Event()
    def on_node_start(self, event):
        self.begun.set()
    def on_flow_end(self, event):
        print(event.status, flush=True)
        self.over.set()

hears = Hears()
kind = {"asks": Asks, "forever": Forever, "fails": Fails}[sys.argv[1]]
flow = (Flow if sys.argv[2] == "thread" else AsyncFlow)(kind())
run = Run(flow, {}, observers=[hears, queued(Hears())], id="r")

async def main(turns):
    run.start()
    for _ in range(turns):
        await asyncio.sleep(0)

if sys.argv[2] == "asyncio.run":
    asyncio.run(main(5))
elif sys.argv[2] == "stopped loop":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main(5))
elif sys.argv[2] == "loop":
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    loop.call_soon_threadsafe(run.start)
else:
    run.start()
(hears.over if sys.argv[1] == "fails" else hears.begun).wait()
"""


def at_the_end(node: str, place: str) -> tuple[list[str], str]:
    """What a process prints that starts such a run and ends, and what it complains of."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, node, place],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("node", ["asks", "forever"])
@pytest.mark.parametrize("where", ["thread", "own loop", "loop", "asyncio.run"])
def test_the_end_of_the_process(node: str, where: str) -> None:
    """A run that goes on is cancelled: its clean-up is done, its ends are delivered."""
    if (node, where) == ("forever", "asyncio.run"):
        return  # it would give its loop no turn
    said, complaints = at_the_end(node, where)
    assert said == ["closed", "cancelled", "cancelled"]
    assert complaints == ""


@pytest.mark.parametrize("where", ["thread", "own loop", "loop", "asyncio.run"])
def test_a_failure_is_logged_at_the_end_of_the_process(where: str) -> None:
    """Where nobody has waited for the run, which is still there."""
    said, complaints = at_the_end("fails", where)
    assert said == ["error", "error"]
    assert "Run r failed, and nobody waited for it" in complaints
    assert complaints.count("ValueError: broken") == 1


def test_a_loop_that_stands_still_does_not_hold_up_the_end_of_the_process() -> None:
    """Nobody can run it any more."""
    at_the_end("asks", "stopped loop")


def test_where_there_can_be_no_more_threads() -> None:
    """The run is cancelled, and nothing of it is left."""
    program = """
import gc, threading
from flowevents import AsyncFlow, Flow, Node, Run
threading.stack_size(1 << 46)
for flow in (Flow(Node()), AsyncFlow(Node())):
    for start in (Run.start, Run.in_thread):
        run = Run(flow, {})
        try:
            start(run)
        except RuntimeError as error:
            print(error, run.status)
        run.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == "can't start new thread cancelled\n" * 4
