"""A journal in the memory of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from flowevents.events import decode
from flowevents.journal.journal import Journal
from flowevents.journal.keeper import closed
from flowevents.journal.records import ENDED, Record
from flowevents.journal.store import Batch, Held, Polled, Row, Store
from flowevents.status import RunStatus

__all__ = ["MemoryJournal"]

T = TypeVar("T")


class MemoryJournal(Journal):
    """Holds runs for as long as it is there itself; for tests, and for a server's viewers.

    Args:
        lease: For how many seconds a run counts as driven that nobody renews.
    """

    def __init__(self, *, lease: float = 15.0) -> None:
        super().__init__(_Store(), lease)


class _Log:
    __slots__ = ("records", "row")

    def __init__(self) -> None:
        self.row: Row
        self.records: list[Record] = []

    def seq(self) -> int:
        return len(self.records)  # they are numbered from 1, without a hole


class _Store(Store):
    """Runs in a dict."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._logs: dict[str, _Log] | None = {}

    def _runs(self) -> dict[str, _Log]:
        if self._logs is None:
            raise closed()
        return self._logs

    def update(self, run_id: str, change: Callable[[Row | None, float], tuple[Row | None, T]]) -> T:
        """Of a copy, so that an error leaves all as it was."""
        with self._lock:
            runs = self._runs()
            row, result = change(self.find(run_id), self.now())
            if row is None:
                runs.pop(run_id, None)
            else:
                runs.setdefault(run_id, _Log()).row = row
            return result

    def find(self, run_id: str) -> Row | None:
        """A copy."""
        with self._lock:
            log = self._runs().get(run_id)
            return None if log is None else _copy(log)

    def append(self, batch: Batch) -> bool:
        with self._lock:
            log = self._runs().get(batch.run_id)
            if log is None or log.row.owner != batch.owner or log.seq() != batch.after:
                return False
            log.records += batch.records
            if batch.taken is not None:
                log.row.inbox = [each for each in log.row.inbox if each.id != batch.taken]
            if batch.summary is not None:
                log.row.summary = batch.summary
                if batch.summary.status in ENDED:
                    log.row.owner, log.row.inbox = "", []
            return True

    def renew(self, leases: Sequence[Held], seconds: float) -> None:
        with self._lock:
            for run_id, owner in leases:
                log = self._runs().get(run_id)
                if log is not None and log.row.owner == owner:
                    log.row.until = self.now() + seconds

    def poll(self, leases: Sequence[Held], runs: Iterable[str]) -> Polled:
        polled = Polled(set(), {}, {})
        with self._lock:
            logs = self._runs()
            for held in leases:
                log = logs.get(held[0])
                if log is None or log.row.owner != held[1]:
                    polled.lost.add(held)
                elif log.row.inbox:
                    polled.mail[held[0]] = list(log.row.inbox)
            for run_id in runs:
                log = logs.get(run_id)
                polled.tips[run_id] = None if log is None else log.seq()
        return polled

    def records(self, run_id: str, after: int, limit: int) -> list[Record]:
        with self._lock:
            log = self._runs().get(run_id)
            return [] if log is None else log.records[after : after + limit]

    def rows(self, status: RunStatus | None, limit: int) -> list[Row]:
        """The same time is the order in which they began."""
        with self._lock:
            found = [
                each for each in self._runs().values() if status in (None, each.row.summary.status)
            ]
            found.sort(key=lambda each: each.row.summary.started)
            return [_copy(each) for each in found[: -limit - 1 : -1]]

    def due(self) -> list[Row]:
        now = self.now()
        with self._lock:
            return [_copy(each) for each in self._runs().values() if each.row.is_due(now)]

    def ended(self, before: float, limit: int) -> list[str]:
        with self._lock:
            rows = [each.row for each in self._runs().values()]
        over = [each.summary for each in rows if each.is_over() and each.summary.updated < before]
        return [each.id for each in over[:limit]]

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            self._logs = None

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """The child has a copy of all that there was."""
        if in_child:
            self._lock = threading.RLock()
        else:
            self._lock.release()


def _copy(log: _Log) -> Row:
    """What there is of a run, as of now."""
    summary = replace(log.row.summary, seq=log.seq())
    if log.records:
        summary = replace(summary, updated=decode(log.records[-1].event).time)
    return replace(log.row, summary=summary, inbox=list(log.row.inbox))
