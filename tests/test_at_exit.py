"""What is closed at the end of the process: in which order, what not, and what that costs."""

from __future__ import annotations

import atexit
import gc
import os
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest

from flowevents import at_exit
from flowevents.at_exit import close_at_exit
from tests.driving import PATIENCE

PROGRAM = """
import atexit, gc, os, sys, threading
from flowevents.at_exit import close_at_exit

class Owner:
    def __init__(self, name):
        self.name = name
    def __repr__(self):
        return f"<{self.name}>"
    def close(self):
        print(self.name, flush=True)
"""


def at_the_end(program: str) -> tuple[list[str], str]:
    """What a process prints, line by line, and what it complains of."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


def test_stage_after_stage() -> None:
    """However they were registered; in a stage what came last comes first."""
    said, complaints = at_the_end("""
names = ["display", "queue 1", "run 1", "queue 2", "run 2"]
owners = [Owner(name) for name in names]
for each in owners:
    close_at_exit(each.name.split()[0] + "s", each, Owner.close)
""")
    assert said == ["run 2", "run 1", "queue 2", "queue 1", "display"]
    assert complaints == ""


def test_before_what_others_have_registered() -> None:
    """Until the last call: their observers still work when the last events come."""
    said, _ = at_the_end("""
first, second = Owner("first"), Owner("second")
close_at_exit("displays", first, Owner.close)
atexit.register(print, "registered in between")
close_at_exit("runs", second, Owner.close)
atexit.register(print, "registered afterwards")
""")
    assert said == ["registered afterwards", "second", "first", "registered in between"]


def test_a_later_call_replaces_an_earlier_one() -> None:
    """It is closed once, and before what was registered until then."""
    said, _ = at_the_end("""
owner = Owner("owner")
close_at_exit("runs", owner, lambda owner: print("never"))
atexit.register(print, "registered in between")
close_at_exit("runs", owner, Owner.close)
""")
    assert said == ["owner", "registered in between"]


def test_an_error_stops_nothing_else() -> None:
    """It is logged with its traceback, an interrupt too."""
    said, complaints = at_the_end("""
def fails(owner):
    raise ValueError("broken")
def is_interrupted(owner):
    raise KeyboardInterrupt
owners = [Owner(name) for name in ("a", "b", "c", "d")]
close_at_exit("runs", owners[0], Owner.close)
close_at_exit("runs", owners[1], fails)
close_at_exit("queues", owners[2], is_interrupted)
close_at_exit("displays", owners[3], Owner.close)
""")
    assert said == ["a", "d"]
    assert "<b> could not be closed at the end of the process" in complaints
    assert "<c> could not be closed at the end of the process" in complaints
    assert "ValueError: broken" in complaints
    assert "KeyboardInterrupt" in complaints


def test_one_that_closes_another() -> None:
    """What a run's end begins in a later stage is closed as well; what is gone by then is not."""
    said, complaints = at_the_end("""
kept = []
def end(owner):
    print(owner.name)
    kept.append(Owner("begun late"))
    close_at_exit("queues", kept[0], Owner.close)
    global other
    del other
run, other = Owner("run"), Owner("dropped")
close_at_exit("runs", other, Owner.close)
close_at_exit("runs", run, end)
""")
    assert said == ["run", "begun late"]
    assert complaints == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_closes_only_its_own() -> None:
    """The parent's are closed once, by the parent."""
    said, complaints = at_the_end("""
owner = Owner("the parent's")
close_at_exit("runs", owner, Owner.close)
child = os.fork()
if child == 0:
    owner = Owner("the child's"), owner
    close_at_exit("runs", owner[0], Owner.close)
    sys.exit()
os.waitpid(child, 0)
""")
    assert said == ["the child's", "the parent's"]
    assert complaints == ""


class Owner:
    """Somebody who is closed, by the end of this process at the latest."""

    def close(self) -> None:
        """Nothing is to be done."""


def test_an_owner_is_not_kept() -> None:
    """Nor anything of it when it is gone."""
    before = [len(each) for each in at_exit._owners.values()]
    owners = [Owner() for _ in range(100)]
    refs = [weakref.ref(each) for each in owners]
    for each in owners:
        close_at_exit("runs", each, Owner.close)
    assert [len(each) for each in at_exit._owners.values()] == [before[0] + 100, *before[1:]]
    del owners, each
    gc.collect()
    assert {ref() for ref in refs} == {None}
    assert [len(each) for each in at_exit._owners.values()] == before


def test_it_takes_no_place_for_each_owner() -> None:
    """A place among what `atexit` calls is never given back: one only where others took one."""
    count: Any = getattr(atexit, "_ncallbacks")  # noqa: B009 - CPython's own
    owner = Owner()
    close_at_exit("queues", owner, Owner.close)
    before = count()
    for _ in range(100):
        close_at_exit("queues", owner, Owner.close)
    assert count() == before


def test_from_many_threads() -> None:
    """While the garbage collector takes others away."""
    kept: list[Owner] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(500):
                owner = Owner()
                close_at_exit("displays", owner, Owner.close)
                cycle: list[Any] = [owner]
                cycle.append(cycle)
                if number % 100 == 0:
                    kept.append(owner)
        except BaseException as error:
            raised.append(error)

    before = len(at_exit._owners["displays"])
    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE)
    gc.collect()
    assert raised == []
    assert len(at_exit._owners["displays"]) - before == len(kept) == 40
