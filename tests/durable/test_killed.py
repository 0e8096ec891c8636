"""Processes that are killed, from outside, wherever they are; another one goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowevents import Event, ItemEnd, MemoryJournal, NodeEnd, Run, SQLiteJournal
from flowevents.testing import check_events
from tests.driving import PATIENCE
from tests.durable.child import FLOWS
from tests.durable.lost import drive

ROOT = Path(__file__).parents[2]


class Child:
    """A process that drives the run; see `child.py`."""

    def __init__(self, kind: str, where: Path, how: str, take_over: bool = True) -> None:
        arguments = [kind, where / "runs.db", where / "counts", how, "1" if take_over else ""]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.durable.child", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def read(self) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "it has ended, and said nothing of it"
        return line

    def go(self) -> None:
        """Let it do what it said."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def run_to(self, stop: Callable[[str, int], bool]) -> str:
        """The line where this says so, or the last one."""
        count = 0
        while not (line := self.read()).startswith(("done", "refused")):
            count += 1
            if stop(line, count):
                return line
            self.go()
        return line

    def end(self) -> str:
        """Let it come to its end; what it said last."""
        said, _ = self.process.communicate("\n" * 1000, timeout=PATIENCE)
        return said.splitlines()[-1]

    def kill(self) -> None:
        """Kill it, if it is still there."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def _child(kind: str, where: Path, how: str = "steps", take_over: bool = True) -> Iterator[Child]:
    child = Child(kind, where, how, take_over)
    try:
        yield child
    finally:
        child.kill()


@pytest.fixture(scope="module", params=FLOWS)
def kind(request: pytest.FixtureRequest) -> str:
    """A flow of sync nodes, and one in a loop."""
    return str(request.param)


def _expected(kind: str) -> str:
    """What a run says at its end that nobody kills."""
    with MemoryJournal() as journal, pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *_, **__: None)
        flow = FLOWS[kind]()
        run = Run(flow, {}, journal=journal)
        drive(run, flow)
    return f"done {sorted(run.shared.items())}"


def _finished(events: list[Event]) -> set[str]:
    """The steps and items that the log says have ended well, as the file names them."""
    found: set[str] = set()
    rounds: Counter[str] = Counter()
    for event in events:
        if isinstance(event, ItemEnd) and event.node in ("Items", "AtOnce"):
            if event.status == "ok":
                found.add(f"item {event.items[-1] + 1}")
        elif isinstance(event, NodeEnd) and event.status == "ok":
            inner = event.node.rpartition("/")[2]
            if inner in ("Loops", "Inner", "LoopsAsync"):
                name = f"{inner} {event.items[-1] + 1 if event.items else ''}"
                rounds[name] += 1
                found.add(f"{name} {rounds[name]}")
            else:
                found.add(inner)
    return found


def _counted(where: Path) -> list[str]:
    path = where / "counts"
    return path.read_text().splitlines() if path.exists() else []


class Watch:
    """What has been done by when somebody was killed."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.kills = 0
        self._finished: set[str] = set()
        self._counted = 0

    def killed(self) -> None:
        """The log is well-formed, and nothing ran again that had finished before."""
        self.kills += 1
        with SQLiteJournal(self.where / "runs.db") as journal:
            if not journal.runs():
                return
            events = list(journal.read("run"))
        check_events(events, complete=False)
        self._check(events)

    def over(self) -> None:
        """All of it is done, in one well-formed log."""
        with SQLiteJournal(self.where / "runs.db") as journal:
            events = list(journal.read("run"))
            assert [each.status for each in journal.runs()] == ["done"]
        check_events(events)
        self._check(events)
        assert set(_counted(self.where)) == self._finished

    def _check(self, events: list[Event]) -> None:
        counted = _counted(self.where)
        again = set(counted[self._counted :]) & self._finished
        assert again == set(), f"after kill {self.kills}"
        self._counted, self._finished = len(counted), _finished(events)
        assert self._finished <= set(counted)


@pytest.mark.parametrize("how", ["steps", "free"])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_killed_at_random(kind: str, seed: int, how: str, tmp_path: Path) -> None:
    """Again and again, after the n-th line that it says, until it comes to its end."""
    dice, watch, last = random.Random(seed), Watch(tmp_path), ""
    while not last.startswith(("done", "refused")):
        after = dice.randint(1, 30)
        with _child(kind, tmp_path, how) as child:
            last = child.run_to(lambda _, count, after=after: count == after)  # type: ignore[misc]
        if not last.startswith(("done", "refused")):
            watch.killed()
    # Where they do not wait for us, the last one may have come to its end before it was killed.
    assert last in (_expected(kind), "refused RunStateError")
    watch.over()


PLACES = {
    "sync": ["handler FlowStart", "handler NodeStart", "node Loops", "node Talks b",
             "handler Chunk", "handler NodeEnd", "handler Action", "node Items prep",
             "node Items 2", "handler ItemEnd", "node Inner", "handler ItemStart"],
    "async": ["handler ItemStart", "node AtOnce 3", "handler ItemEnd", "node LoopsAsync 2",
              "handler Action", "node Talks a", "handler FlowEnd"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("which", "place"), [(each, place) for each in PLACES for place in PLACES[each]]
)
def test_it_is_killed_in_a_certain_place(which: str, place: str, tmp_path: Path) -> None:
    """In a node, in a handler, between two steps."""
    watch = Watch(tmp_path)
    with _child(which, tmp_path) as child:
        assert child.run_to(lambda line, _: line == place) == place
    watch.killed()
    with _child(which, tmp_path, "free") as child:
        assert child.end() == _expected(which)
    watch.over()


def test_two_go_on_at_once(kind: str, tmp_path: Path) -> None:
    """One does, and the other is refused, or stopped; also where both insist."""
    watch = Watch(tmp_path)
    with _child(kind, tmp_path) as child:
        child.run_to(lambda line, _: line == "handler Action")
    watch.killed()
    with _child(kind, tmp_path) as one, _child(kind, tmp_path) as other:
        first = [one.read(), other.read()]
        said = [one.end(), other.end()]
    refused = [each for each in [*said, *first] if each.startswith("refused")]
    done = [each for each in said if each.startswith("done")]
    assert (done, refused[:1]) == ([_expected(kind)], ["refused Conflict"])
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        check_events(journal.read("run"))
        assert [each.status for each in journal.runs()] == ["done"]


def test_one_of_two_waits_for_the_lease(kind: str, tmp_path: Path) -> None:
    """Who does not insist is refused while another one is alive."""
    with _child(kind, tmp_path) as child:
        child.run_to(lambda line, _: line.startswith("node"))
        with _child(kind, tmp_path, "free", take_over=False) as other:
            assert other.end() == "refused RunStateError"
        assert child.end() == _expected(kind)
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        check_events(journal.read("run"))


@pytest.mark.parametrize("where", ["node", "handler"])
def test_a_zombie_writes_nothing_more(kind: str, where: str, tmp_path: Path) -> None:
    """Stopped in the middle, taken over, and woken: it notices at its next stored event."""
    with _child(kind, tmp_path) as zombie:
        zombie.run_to(lambda line, count: line.startswith(where) and count > 8)
        os.kill(zombie.process.pid, signal.SIGSTOP)
        with _child(kind, tmp_path, "free") as other:
            assert other.end() == _expected(kind)
        with SQLiteJournal(tmp_path / "runs.db") as journal:
            before = list(journal.read("run"))
        os.kill(zombie.process.pid, signal.SIGCONT)
        assert zombie.end() == "refused Conflict"
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        assert list(journal.read("run")) == before
    check_events(before)
