"""Workers that are processes of a pool on this machine: each has one connection to its driver.

A pool hands nothing to its workers but calls, and takes nothing but results. So the driver listens
on a socket in a directory that only its user may enter, each call has the address and a key, and
what a worker says goes over a connection that lasts as long as the step. A worker whose driver is
gone sees it by that, and ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from time import monotonic
from typing import Any, Final

from flowevents.workers.channel import STOP, run_in_process
from flowevents.workers.lane import Arrived, Made
from flowevents.workers.parcels import Group, Outcome, Task, Work

__all__ = ["Processes"]

_BLAME: Final = 0.1
"""Seconds in which the connection of a worker that has died is seen to be closed."""


class Processes:
    """The lane of a `ProcessPoolExecutor`, or of one of loky's.

    A killed worker breaks the whole pool, so that all that it ran is lost.
    """

    pickles = True
    breaks = True

    def __init__(self, executor: Executor, arrived: Arrived, made: Made | None) -> None:
        self._executor = executor
        self._made = made
        self._line = _Line(arrived)

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
        """Return those in the process whose connection has ended first: the pool kills the others
        only afterwards."""
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
    processes: dict[Any, Any] | None = getattr(executor, "_processes", None)
    for process in list((processes or {}).values()) if kill else ():
        process.kill()
    executor.shutdown()


class _Line:
    """The driver's ends of the connections to the workers of one step.

    Attributes:
        address, key: What a worker needs to connect.
    """

    def __init__(self, arrived: Arrived) -> None:
        self.key: bytes = os.urandom(32)
        self._listener = Listener(backlog=128, authkey=self.key)
        self.address: Any = self._listener.address
        self._arrived = arrived
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._connections: list[Connection[Any, Any]] = []
        self._of: dict[int, Connection[Any, Any]] = {}  # by ticket, once it has begun
        self._runs: dict[Connection[Any, Any], int] = {}  # which ticket, until the next one
        self._early: set[int] = set()  # tickets to be stopped that have not begun
        self._ended: dict[Connection[Any, Any], float] = {}  # when a connection was lost
        self._closed = False

    def begin(self) -> None:
        """Let workers in."""
        if not self._threads:
            self._start(self._accept)

    def tell(self, ticket: int, count: int) -> None:
        """Tell a worker what was delivered, or that it is to stop."""
        with self._lock:
            connection = self._of.get(ticket)
            if connection is None:
                if count == STOP:
                    self._early.add(ticket)
                return
            try:
                connection.send((ticket, count))
            except OSError:  # it is gone, which its future will say
                return

    def first_lost(self, tickets: Collection[int]) -> int | None:
        """Return the ticket whose connection was lost first, once one was."""
        until = monotonic() + _BLAME
        while True:
            with self._lock:
                lost = [
                    (self._ended[c], t) for t in tickets if (c := self._of.get(t)) in self._ended
                ]
            if lost:
                return min(lost)[1]
            if monotonic() > until:
                return None
            threading.Event().wait(0.005)

    def close(self) -> None:
        """Tell the workers that it is over, and wait for the threads of this side."""
        with self._lock:
            self._closed = True
            for connection in self._connections:
                try:
                    connection.send(None)
                except OSError:
                    pass
        if self._threads:
            try:  # the only way to have `accept` return
                Client(self.address, authkey=self.key).close()
            except (OSError, EOFError, AuthenticationError):
                pass
        for thread in list(self._threads):
            thread.join(1.0)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="flowevents workers", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection: Connection[Any, Any] | None = None
            try:
                connection = self._listener.accept()
            except (EOFError, OSError, AuthenticationError):  # it died meanwhile, or is no worker
                pass
            with self._lock:
                if self._closed:
                    if connection is not None:
                        connection.close()
                    return
                if connection is not None:
                    self._connections.append(connection)
                    self._start(self._read, connection)

    def _read(self, connection: Connection[Any, Any]) -> None:
        """Take what one worker process says, until it has ended, or knows that it is over."""
        try:
            while True:
                ticket, token, first, messages = connection.recv()
                if self._of.get(ticket) is not connection:
                    self._begun(ticket, connection)
                self._arrived(ticket, Group(token, first, messages))
        except (EOFError, OSError):
            with self._lock:
                self._ended[connection] = monotonic()
                self._connections.remove(connection)
                connection.close()

    def _begun(self, ticket: int, connection: Connection[Any, Any]) -> None:
        with self._lock:
            self._of.pop(self._runs.get(connection, 0), None)
            self._of[ticket] = connection
            self._runs[connection] = ticket
            stopped = ticket in self._early
        if stopped:
            self.tell(ticket, STOP)
