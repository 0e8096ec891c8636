"""Workers that are processes of a pool on this machine: each has one connection to its driver.

A pool hands nothing to its workers but calls, and takes nothing but results. So the driver listens
on a socket in a directory that only its user may enter, each call has the address and a key, and
what a worker says goes over a connection that lasts as long as the step. A worker whose driver is
gone sees it by that, and ends.
"""

from __future__ import annotations

import signal
from collections.abc import Collection
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, Final

from flowevents.workers.channel import STOP, run_in_process
from flowevents.workers.lane import Arrived, Made
from flowevents.workers.line import Line
from flowevents.workers.parcels import Outcome, Task, Work

__all__ = ["Processes"]

_ENDS: Final = 5.0
"""Seconds that a broken pool has to end its other processes in."""


class Processes:
    """The lane of a `ProcessPoolExecutor`, or of one of loky's.

    A killed worker breaks the whole pool, so that all that it ran is lost.
    """

    pickles = True
    breaks = True

    def __init__(self, executor: Executor, arrived: Arrived, made: Made | None) -> None:
        self._executor = executor
        self._made = made
        self._line = Line(arrived)

    def submit(self, ticket: int, work: Work, task: Task) -> Future[Outcome]:
        """Have a process run it."""
        line = self._line
        future = self._executor.submit(run_in_process, work, task, line.address, line.key, ticket)
        line.begin()  # only now: where the pool forks, no thread of this lane was there yet
        return future

    def deliver(self, ticket: int, count: int) -> None:
        """Tell the process."""
        self._line.tell(ticket, count)

    def stop(self, ticket: int) -> None:
        """Tell the process, as soon as it has begun."""
        self._line.tell(ticket, STOP)

    def is_loss(self, error: BaseException) -> bool:
        """Whether the pool is broken."""
        return isinstance(error, BrokenExecutor)

    def renew(self) -> bool:
        """Make the pool anew, if it was made for this step."""
        if self._made is None:
            return False
        _end(self._executor, kill=True)
        self._executor = self._made()
        return True

    def blamed(self, tickets: Collection[int]) -> Collection[int]:
        """Return those whose process was not ended by the pool, as it ends all others then.

        Where that cannot be known, the one whose connection was lost first.
        """
        ended = _processes_of(self._executor)
        manager = getattr(self._executor, "_executor_manager_thread", None)
        if manager is not None:  # which waits for all, and knows then how each has ended
            manager.join(_ENDS)
        codes = {pid: process.exitcode for pid, process in ended.items()}
        by_itself = [
            ticket
            for ticket in tickets
            if codes.get(self._line.process_of(ticket)) not in (None, 0, -signal.SIGTERM)
        ]
        if by_itself and len(by_itself) < len(ended):  # else all of them were killed alike
            return by_itself
        first = self._line.first_lost(tickets)
        return tickets if first is None else [first]

    def close(self, given_up: bool) -> None:
        """End the connections; and the pool, if it was made for this step."""
        self._line.close()
        if self._made is not None:
            _end(self._executor, kill=given_up)


def _end(executor: Executor, *, kill: bool) -> None:
    """End a pool, in which nothing waits any more; `kill` its processes, which CPython before 3.14
    has no call for."""
    for process in _processes_of(executor).values() if kill else ():
        process.kill()
    executor.shutdown()


def _processes_of(executor: Executor) -> dict[int, Any]:
    """The processes of a pool by their ids, while it has some."""
    return dict(getattr(executor, "_processes", None) or {})
