"""What a journal costs, against bare loops that store the same bytes in the same commits.

The references of SQLite write the records of such a run, made beforehand, into a table of their
own, a row for each, in a file that is opened as a journal's is. What follows a log is measured on
the wall: it waits.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from statistics import median
from typing import Any

from flowevents import Flow, Journal, MemoryJournal, Node, NodeEnd, NodeStart, Run, SQLiteJournal
from flowevents.journal.records import Record

from .chunks import ForgetfulTalk
from .footprint import ROOT
from .measure import Comparison, Counter, Effort, Work, expect, seconds
from .peers.on_python import kept_questions
from .peers.storage import database
from .questions import Asks
from .table import Row

CHUNKS, STEPS, QUESTIONS, EVENTS = 100_000, 5_000, 1_000, 100_000
GROUPED = 0.02
"""For how many seconds a journal gathers chunks before it stores them."""
KILOBYTE = "x" * 1_000


@contextmanager
def bare_sqlite() -> Iterator[Callable[[Sequence[Record]], None]]:
    """What stores records of one run in a commit, and does nothing else."""
    with database() as path, closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = normal")
        db.execute("CREATE TABLE log (seq INTEGER PRIMARY KEY, event BLOB, kept BLOB)")

        def store(records: Sequence[Record]) -> None:
            rows = [(each.seq, each.event, each.kept) for each in records]
            db.execute("BEGIN")
            db.executemany("INSERT INTO log VALUES (?, ?, ?)", rows)
            db.execute("COMMIT")

        yield store


def expect_stored(journal: Journal, run: Run, records: int) -> None:
    """Every event of the run is in the journal, and that it is done."""
    (found,) = journal.runs()
    expect((found.id, found.seq, found.status), (run.id, records, "done"), "what is stored")


# -- chunks ---------------------------------------------------------------------------------------


class Hears:
    """Counts the chunks of a run."""

    def __init__(self) -> None:
        counter = Counter()
        self.on_chunk, self.count = counter.handler, counter.count


def talk(journal: Journal | None, chunks: int) -> Run:
    """A run of so many chunks to one observer."""
    observer = Hears()
    run = Run(Flow(ForgetfulTalk()), {"size": chunks}, observers=[observer], journal=journal)
    expect(run.wait(), "said", "the last action")
    expect(observer.count(), chunks, "the chunks handled")
    return run


def chunks_in_memory(chunks: int) -> None:
    """Kept in this process."""
    with MemoryJournal() as journal:
        # The start and the end of the flow and of the node, and the action.
        expect_stored(journal, talk(journal, chunks), chunks + 5)


def chunks_in_sqlite(chunks: int) -> None:
    """Kept in a file."""
    with database() as path, SQLiteJournal(path) as journal:
        expect_stored(journal, talk(journal, chunks), chunks + 5)


def chunks_observed(chunks: int) -> None:
    """The same, and nothing is kept."""
    talk(None, chunks)


@cache
def records_of_chunks(chunks: int) -> list[Record]:
    """What is stored of such a run."""
    with MemoryJournal() as journal:
        return list(journal.records(talk(journal, chunks).id))


def bare_chunks(chunks: int) -> None:
    """A loop that stores what it has every 20 ms."""
    with bare_sqlite() as store:
        waiting: list[Record] = []
        until = time.monotonic() + GROUPED
        for each in records_of_chunks(chunks):
            waiting.append(each)
            if time.monotonic() > until:
                store(waiting)
                waiting.clear()
                until = time.monotonic() + GROUPED
        store(waiting)


# -- steps ----------------------------------------------------------------------------------------


class Thinks(Node):
    """One of two nodes that take turns. It leaves `shared` as it is."""

    def __init__(self, left: Iterator[int]) -> None:
        super().__init__()
        self.left = left

    def exec(self, prep_res: Any) -> int:
        return next(self.left, 0)

    def post(self, shared: Any, prep_res: Any, exec_res: int) -> str:
        return "on" if exec_res else "done"


MakeNode = Callable[[Iterator[int]], Thinks]
"""Makes one of the two, of how many steps are left."""


class Changes(Thinks):
    """It changes one key of ten."""

    def post(self, shared: Any, prep_res: Any, exec_res: int) -> str:
        shared["plan"] = f"{exec_res} {KILOBYTE}"
        return super().post(shared, prep_res, exec_res)


def thinking(node_class: MakeNode, steps: int, then: Node | None = None) -> Flow:
    """A flow of two nodes that take so many steps, and what comes then."""
    left = iter(range(steps - 1, -1, -1))
    plan, act = node_class(left), node_class(left)
    plan.next(act, "on").next(plan, "on")
    for each in (plan, act):
        each.next(then, "done")
    return Flow(plan)


def state() -> dict[str, Any]:
    """10 kB, in ten keys: five texts, the messages of a chat, and what a tool gave, four times."""
    messages = [{"role": "user", "content": KILOBYTE[:400], "at": n} for n in range(3)]
    texts = {"task": KILOBYTE, "plan": KILOBYTE, "draft": KILOBYTE, "style": KILOBYTE, "user": "u"}
    found = {f"found {n}": {"url": "a" * 100, "text": KILOBYTE, "score": n / 3} for n in range(4)}
    return {**texts, "messages": messages, **found}


def think(node_class: MakeNode, journal: Journal, steps: int) -> Run:
    """A run of so many steps with 10 kB in `shared`."""
    run = Run(thinking(node_class, steps), state(), journal=journal)
    expect(run.wait(), "done", "the last action")
    expect_stored(journal, run, 3 * steps + 2)
    return run


def steps_in_sqlite(node_class: MakeNode, steps: int) -> None:
    """Kept in a file."""
    with database() as path, SQLiteJournal(path) as journal:
        think(node_class, journal, steps)


@cache
def commits_of_steps(node_class: MakeNode, steps: int) -> list[list[Record]]:
    """What is stored of such a run at once: a step's end, its action and the next one's start."""
    with MemoryJournal() as journal:
        records = list(journal.records(think(node_class, journal, steps).id))
    start, rest = records[:2], records[2:]
    return [start, *(rest[at : at + 3] for at in range(0, len(rest), 3))]


def bare_steps(node_class: MakeNode, steps: int) -> None:
    """A commit for each."""
    with bare_sqlite() as store:
        for each in commits_of_steps(node_class, steps):
            store(each)


# -- questions ------------------------------------------------------------------------------------


def questions_in_sqlite(questions: int) -> None:
    """The run pauses at each, and another handle of the file, as of another process, answers."""
    shared = {"questions": questions}
    with database() as path, SQLiteJournal(path) as journal, SQLiteJournal(path) as other:
        run = Run(Flow(Asks()), shared, journal=journal)
        pauses = 0
        while True:
            for _ in run:
                pass
            if run.status != "paused":
                break
            pauses += 1
            other.reply(run.id, 1)
        expect_stored(journal, run, 2 * questions + 5)
    expect(pauses, questions, "the pauses")
    expect(shared["total"], questions, "the answers added up")


# -- going on -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resuming:
    """How long it takes to go on with a long log: of steps alone, each of which changes `shared`.

    The median of the processor time; nothing of the flow runs.
    """

    work: str
    target: float = 0.4

    def measure(self, effort: Effort) -> Row:
        """Make the log, and take it again and again; amounts are seconds."""
        steps = effort.units(EVENTS) // 3
        with database() as path, SQLiteJournal(path) as journal:
            flow = thinking(Changes, steps, then=Asks())
            run = Run(flow, {**state(), "questions": 1}, journal=journal)
            for _ in run:
                pass
            expect(run.status, "paused", "the status of the run")

            def resume(_: int) -> None:
                again = Run.resume(flow, journal, run.id, take_over=True)
                expect(again.shared, run.shared, "what the nodes get")

            resume(1)
            taken = [seconds(resume, 1, time.process_time) for _ in range(effort.rounds)]
        spent = median(taken)
        return Row(self.work, "s", spent, None, spent, self.target, len(taken), ratio=False)


# -- following ------------------------------------------------------------------------------------


class Waits(Node):
    """Runs so many times, from when it is followed; each time it ends at no certain moment between
    two looks of a journal's thread."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = iter(range(steps - 1, -1, -1))
        self.followed = threading.Event()
        self.next(self, "on")
        self.next(None, "done")

    def exec(self, prep_res: Any) -> int:
        self.followed.wait()
        time.sleep(random.uniform(0, 2 * GROUPED))
        return next(self.left)

    def post(self, shared: Any, prep_res: Any, exec_res: int) -> str:
        return "on" if exec_res else "done"


def delays(journal: Journal, run_id: str, followed: Callable[[], None]) -> list[float]:
    """How many milliseconds old the end of each step is when it arrives.

    `followed` is called when the first may come.
    """
    found = []
    for event in journal.follow(run_id):
        if isinstance(event, NodeStart):
            followed()
        elif isinstance(event, NodeEnd):
            found.append((time.time() - event.time) * 1e3)
    return found


def followed_here(journal: Journal, path: str, run_id: str, node: Waits) -> list[float]:
    """By this thread of the process in which the run is."""
    return delays(journal, run_id, node.followed.set)


def followed_elsewhere(journal: Journal, path: str, run_id: str, node: Waits) -> list[float]:
    """By another process."""
    command = (sys.executable, "-m", "benchmarks.journals", path, run_id)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        node.followed.set()
        found: list[float] = json.loads(process.stdout.read())
        return found


def main(path: str, run_id: str) -> None:
    """Follow a run in this process: print a line when its events come, then the delays."""
    with SQLiteJournal(path) as journal:
        found = delays(journal, run_id, partial(print, flush=True))
    print(json.dumps(found))


@dataclass(frozen=True)
class Following:
    """How long after an event was made somebody gets it who follows its run: the median."""

    work: str
    target: float
    follow: Callable[[Journal, str, str, Waits], list[float]]

    def measure(self, effort: Effort) -> Row:
        """Amounts are milliseconds on the wall."""
        steps = 30 * effort.rounds
        node = Waits(steps)
        with database() as path, SQLiteJournal(path) as journal:
            run = Run(Flow(node), {}, journal=journal).start()
            while not journal.runs():
                time.sleep(0.001)
            found = self.follow(journal, path, run.id, node)
            run.wait()
        expect(len(found), steps, "the steps followed")
        delay = median(found)
        return Row(self.work, "ms", delay, None, delay, self.target, steps, ratio=False)


WORKS: tuple[Work, ...] = (
    Comparison(
        "a chunk to one observer, journaled to memory",
        5,
        CHUNKS,
        chunks_in_memory,
        chunks_observed,
    ),
    Comparison(
        "a chunk to one observer, journaled to SQLite", 2.5, CHUNKS, chunks_in_sqlite, bare_chunks
    ),
    *(
        Comparison(
            f"a step journaled to SQLite, 10 kB `shared`, {what}",
            target,
            STEPS,
            partial(steps_in_sqlite, node_class),
            partial(bare_steps, node_class),
        )
        for what, target, node_class in (
            ("unchanged", 2.5, Thinks),
            ("one key changed", 3.5, Changes),
        )
    ),
    Comparison(
        "a question, kept in SQLite, answered from another handle",
        5,
        QUESTIONS,
        questions_in_sqlite,
        kept_questions,
    ),
    Resuming("resuming a log of 100,000 events in SQLite"),
    Following("from an event to a follower, same process", 1, followed_here),
    Following("from an event to a follower, another process", 15, followed_elsewhere),
)

if __name__ == "__main__":
    main(*sys.argv[1:])
