"""Processes that are lost, without one: a copy of a log, up to a record."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

from flowevents import Answer, AsyncFlow, Event, Interrupt, MemoryJournal, Run
from flowevents.events import decode
from flowevents.testing.journals.script import lose
from tests.durable.flows import SHAPES, Done

__all__ = ["Answers", "AwaitedJournal", "Commits", "drive", "lost_after", "made"]

_ANSWERS: Final[dict[Any, Any]] = {"Name?": "Ann", "Age?": 5}


class Answers:
    """Answers all questions of `flows`."""

    def on_interrupt(self, event: Interrupt) -> Answer[Any]:
        """Return the answer."""
        return Answer(_ANSWERS.get(event.prompt, "yes"))


class AwaitedJournal(MemoryJournal):
    """In memory, but what async runs store in it they await, as over a network."""

    def __init__(self) -> None:
        super().__init__()
        self._store.remote = True


class Commits:
    """Notes after which records a process may be lost, those with which a commit ended, and what
    had been done by then.

    Attributes:
        done: By the number of the record, in order.
    """

    def __init__(self, journal: MemoryJournal, run_id: str, done: Done) -> None:
        self._journal = journal
        self._run_id = run_id
        self._now = done
        self.done: dict[int, Done] = {}

    def __call__(self, event: Event) -> None:
        """Note what is stored when an event is delivered."""
        stored = sum(1 for _ in self._journal.records(self._run_id))
        self.done.setdefault(stored, self._now.copy())


def made(shape: str, journal: MemoryJournal, run_id: str = "run") -> tuple[Run, Commits]:
    """A run of that shape, which has been driven to its end, and its commits."""
    done: Done = Counter()
    flow, commits = SHAPES[shape](done), Commits(journal, run_id, done)
    run = Run(flow, {}, journal=journal, id=run_id, observers=[Answers(), commits])
    drive(run, flow)
    return run, commits


def drive(run: Run, flow: object) -> Any:
    """Drive a run of that flow to its end, in a loop where it is async."""
    return asyncio.run(run.wait_async()) if isinstance(flow, AsyncFlow) else run.wait()


def lost_after(journal: MemoryJournal, run_id: str, seq: int) -> MemoryJournal:
    """A journal in which the log of that run ends with that record."""
    left = type(journal)()
    lease = left.begin(run_id, "Flow", {})
    for record in journal.records(run_id):
        if record.seq <= seq:
            lease.append((decode(record.event), record))
    lose(left, lease)
    return left
