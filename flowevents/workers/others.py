"""Workers of an executor that is not known: their events come with the item's result."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import BrokenExecutor, Executor, Future

from flowevents.workers.lane import Arrived, Made
from flowevents.workers.outlet import Outlet
from flowevents.workers.parcels import Group, Outcome, Task, Work

__all__ = ["Others"]


class Others:
    """The lane of any PEP 3148 executor. What runs there cannot be told to stop."""

    pickles = True
    breaks = True

    def __init__(self, executor: Executor, arrived: Arrived, made: Made | None) -> None:
        self._executor = executor
        self._arrived = arrived
        self._made = made

    def submit(self, ticket: int, work: Work, task: Task) -> Future[Outcome]:
        """Have it run, and its messages come before the future ends."""
        given: Future[tuple[Outcome, list[Group]]]
        given = self._executor.submit(_with_messages, work, task)
        return _Unpacked(given, ticket, self._arrived)

    def deliver(self, ticket: int, count: int) -> None:
        """They all have been sent by then."""

    def stop(self, ticket: int) -> None:
        """Nothing can tell it."""

    def is_loss(self, error: BaseException) -> bool:
        """Whether the executor says that it is broken."""
        return isinstance(error, BrokenExecutor)

    def renew(self) -> bool:
        """Make the executor anew, if it was made for this step."""
        if self._made is None:
            return False
        self._executor.shutdown(wait=False)
        self._executor = self._made()
        return True

    def blamed(self, tickets: Collection[int]) -> Collection[int]:
        """Nothing says who."""
        return tickets

    def close(self, given_up: bool) -> None:
        """Shut the executor down, where it was made for this step."""
        if self._made is not None:
            self._executor.shutdown(wait=not given_up)


def _with_messages(work: Work, task: Task) -> tuple[Outcome, list[Group]]:
    groups: list[Group] = []
    outcome = work(task, Outlet(groups.append, bounded=False))
    return outcome, groups


class _Unpacked(Future[Outcome]):
    """The future of an execution whose result has its messages in it."""

    def __init__(
        self, given: Future[tuple[Outcome, list[Group]]], ticket: int, arrived: Arrived
    ) -> None:
        super().__init__()
        self._given = given
        self._ticket = ticket
        self._arrived = arrived
        given.add_done_callback(self._unpack)

    def cancel(self) -> bool:
        return self._given.cancel()

    def _unpack(self, given: Future[tuple[Outcome, list[Group]]]) -> None:
        if given.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        error = given.exception()
        if error is not None:
            self.set_exception(error)
            return
        outcome, groups = given.result()
        for group in groups:
            self._arrived(self._ticket, group)
        self.set_result(outcome)
