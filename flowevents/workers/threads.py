"""Workers that are threads of this process: nothing is pickled, and context variables go along."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Executor, Future
from contextvars import copy_context
from functools import partial

from flowevents.workers.lane import Arrived, Made
from flowevents.workers.outlet import Outlet
from flowevents.workers.parcels import Outcome, Task, Work, bare

__all__ = ["Threads"]


class Threads:
    """The lane of a `ThreadPoolExecutor`."""

    pickles = False
    breaks = False

    def __init__(self, executor: Executor, arrived: Arrived, made: Made | None) -> None:
        self._executor = executor
        self._arrived = arrived
        self._made = made
        self._outlets: dict[int, Outlet] = {}

    def submit(self, ticket: int, work: Work, task: Task) -> Future[Outcome]:
        """Have a thread run it, in a copy of the context of this call."""
        task.node = bare(task.node)
        outlet = self._outlets[ticket] = Outlet(partial(self._arrived, ticket))
        future = self._executor.submit(copy_context().run, work, task, outlet)
        future.add_done_callback(lambda _: self._outlets.pop(ticket, None))
        return future

    def deliver(self, ticket: int, count: int) -> None:
        """Tell its outlet, which is here."""
        outlet = self._outlets.get(ticket)
        if outlet is not None:
            outlet.delivered(count)

    def stop(self, ticket: int) -> None:
        """Tell its outlet."""
        outlet = self._outlets.get(ticket)
        if outlet is not None:
            outlet.stop()

    def is_loss(self, error: BaseException) -> bool:
        """A thread is never lost without its process."""
        return False

    def renew(self) -> bool:
        """There is nothing to be made anew."""
        return True

    def blamed(self, tickets: Collection[int]) -> Collection[int]:
        """Nobody is lost."""
        return tickets

    def close(self, given_up: bool) -> None:
        """Shut the pool down, where it was made for this step; a thread cannot be killed."""
        if self._made is not None:
            self._executor.shutdown(wait=not given_up)
