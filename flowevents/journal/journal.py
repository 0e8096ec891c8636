"""What every journal is: what its users call, and what the engine does.

What one store does otherwise than another is in `store.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, get_args

from msgspec.structs import replace

from flowevents.errors import JournalError, RunStateError
from flowevents.events import Event, FlowEnd, FlowStart, Interrupt, NodeEnd
from flowevents.journal.codec import Codec
from flowevents.journal.ends import cancelled_ends
from flowevents.journal.follower import Follower
from flowevents.journal.keeper import Keeper
from flowevents.journal.lease import Lease, holder
from flowevents.journal.mail import put, reply, take_watch, tell_watch
from flowevents.journal.reading import check_after, event_of, read_on, unknown
from flowevents.journal.records import Record, RunSummary, recorded
from flowevents.journal.standing import Standing
from flowevents.journal.store import Row, Store
from flowevents.journal.summary import summary_after
from flowevents.status import RunStatus

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Journal"]

_MOST_LOSSES: Final = 3


class Journal:
    """A durable log of runs, for any number of threads, loops and processes.

    Use `SQLiteJournal`, `MemoryJournal` or `RedisJournal`; each is a context manager that closes
    itself. Every method may raise `JournalError`, where the store fails.

    Args:
        store: Where it is kept.
        lease: For how many seconds a run counts as driven that nobody renews.
    """

    def __init__(self, store: Store, lease: float) -> None:
        if not lease > 0:
            raise ValueError(f"lease={lease!r}; give seconds above 0.")
        self._store = store
        self._keeper = Keeper(store, lease)

    def close(self) -> None:
        """Store what waits, give up all leases, and close the store."""
        self._keeper.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- reading --------------------------------------------------------------------------------

    def read(self, run_id: str, after: int = 0) -> Iterator[Event]:
        """Give the events of a run that are stored, from the one after `after`.

        Raises `UnknownRun`, and `EventsLost` where the log does not have an event `after`.
        """
        return (event_of(record, run_id) for record in self.records(run_id, after))

    def records(self, run_id: str, after: int = 0) -> Iterator[Record]:
        """The same, with what is kept beside the events."""
        self._keeper.flush(run_id)
        check_after(self._find(run_id), after)
        return read_on(self._store, run_id, after)

    def follow(self, run_id: str, after: int = 0, *, timeout: float | None = None) -> Follower:
        """Give the events that are stored, then those to come, up to the run's last; each once.

        For `for` and `async for`. A pause is no end. `close()` ends it.

        Args:
            run_id: The run, driven by whatever process.
            after: The last event that is known already.
            timeout: After how many seconds without an event a `TimeoutError` is raised.

        Raises `UnknownRun`, and `EventsLost` where the log does not have an event `after`.
        """
        self._keeper.flush(run_id)
        row = self._find(run_id)
        check_after(row, after)
        return Follower(self._keeper, row, after, timeout)

    def state(self, run_id: str, state_types: Iterable[type] = ()) -> Any:
        """`shared` of a run as its last record left it, but for the keys that are transient.

        Args:
            run_id: The run, whether it has ended or not.
            state_types: The classes of values that are not built in, as of `Run`.

        Raises `UnknownRun`, and `JournalError` for a class that is not in `state_types`.
        """
        return Standing(self.records(run_id)).shared.value(Codec(state_types))

    def runs(self, status: RunStatus | None = None, limit: int = 100) -> list[RunSummary]:
        """The runs that are there, or those of this status; the one that began last comes first.

        Raises `ValueError` for what is no status, and a negative limit.
        """
        if status not in (None, *get_args(RunStatus)):
            known = ", ".join(map(repr, get_args(RunStatus)))
            raise ValueError(f"status={status!r} is none of {known}.")
        if limit < 0:
            raise ValueError(f"limit={limit!r}: how many runs to give at most; 0 or more.")
        return [row.summary for row in self._store.rows(status, limit)]

    def summary(self, run_id: str) -> RunSummary:
        """What `runs` says of one. Raises `UnknownRun`."""
        return self._find(run_id).summary

    def due(self) -> list[str]:
        """The ids of the runs that somebody should resume.

        They are running, but nobody drives them; or paused, and there is an answer, a cancel or an
        expired question that nobody has taken. Not those whose open step was lost with its process
        three times in a row, and not those of which no event was stored, which nobody can resume.
        """
        due = [each for each in self._store.due() if each.summary.seq]
        return [each.summary.id for each in due if self._losses(each, False)[0] < _MOST_LOSSES]

    def _find(self, run_id: str) -> Row:
        row = self._store.find(run_id)
        if row is None:
            raise unknown(run_id)
        return row

    # -- what others want of a run --------------------------------------------------------------

    def reply(self, run_id: str, value: Any, id: str | None = None) -> None:
        """Answer a question of a run, whoever drives it, or will.

        Args:
            run_id: The run.
            value: The answer: plain JSON.
            id: The question's; not needed where exactly one is open.

        Raises `ReplyError` where it is not open, has expired or is answered already, and where it
        does not take the answer; `MissingExtra` where the question has a JSON schema and the extra
        `journal` is not installed; `UnknownRun`.
        """
        reply(self._store, run_id, value, id)

    def unanswered(self, run_id: str) -> tuple[Interrupt, ...]:
        """The open questions of a run without those whose answer waits for whoever drives it."""
        row = self._find(run_id)
        answered = {each.question for each in row.inbox if each.kind == "reply"}
        return tuple(each for each in row.summary.interrupts if each.id not in answered)

    def pause(self, run_id: str) -> None:
        """Set `pause_requested` in the running node. Raises `RunStateError` of an ended run."""
        put(self._store, run_id, "pause")

    def cancel(self, run_id: str) -> None:
        """Cancel a run: whoever drives it does; where nobody does, its ends are written here.

        Raises `UnknownRun`, and `RunStateError` where it has ended.
        """
        while not put(self._store, run_id, "cancel", only_if_alive=True):
            try:
                lease = self.take(run_id)
            except RunStateError:
                continue  # somebody else has begun to drive it, or it has ended
            try:
                self._end(lease)
            finally:
                lease.release()
            return

    def tell_watched(self, run_id: str) -> None:
        """Tell whoever drives a run that somebody watches it, as of now."""
        tell_watch(self._store, run_id)

    def was_watched(self, run_id: str) -> bool:
        """Whether that was told since this was last asked."""
        return take_watch(self._store, run_id)

    def _end(self, lease: Lease) -> None:
        standing, begun = Standing(self.records(lease.run_id)), []
        if not standing.seq:
            begun = [recorded(_start_of(self._find(lease.run_id)))]
            standing = Standing([begun[0][1]])
        ends = cancelled_ends(standing, time.time())
        lease.append(*begun, *map(recorded, ends))

    # -- clearing up ----------------------------------------------------------------------------

    def delete(self, run_id: str) -> None:
        """Delete a run. Raises `UnknownRun`, and `RunStateError` where somebody drives it."""

        def remove(row: Row | None, now: float) -> tuple[None, None]:
            if row is None:
                raise unknown(run_id)
            if row.is_alive(now):
                raise _alive("delete", row, "Cancel it first.")
            return None, None

        self._store.update(run_id, remove)
        while self._store.sweep():
            pass

    def prune(self, before: float) -> int:
        """Delete the runs that ended before a time, in seconds since the epoch. Gives how many."""

        def remove(row: Row | None, _: float) -> tuple[Row | None, int]:
            if row is None or not row.is_over():  # another has deleted it, and begun it again
                return row, 0
            return None, 1

        count = 0
        while ids := self._store.ended(before, 100):
            count += sum(self._store.update(run_id, remove) for run_id in ids)
            while self._store.sweep():
                pass
        return count

    # -- for the engine -------------------------------------------------------------------------

    def begin(self, run_id: str, flow: str, metadata: dict[str, Any]) -> Lease:
        """A new run, with its lease. Raises `RunStateError` where there is one of that id."""
        try:
            run_id.encode()
        except UnicodeEncodeError:
            raise JournalError(f"{run_id!r} is no text, and no id of a run in a journal.") from None
        start = FlowStart("", 1, time.time(), 1, "", parent=0, flow=flow, metadata=metadata)
        summary = RunSummary(run_id, flow, "running")
        summary = summary_after(summary, [recorded(start)]) or summary
        owner = token_hex(16)

        def begin(row: Row | None, now: float) -> tuple[Row, Row]:
            if row is not None:
                raise RunStateError(
                    f"Cannot begin run {run_id}: the journal has one of that id already, which is "
                    f"{row.summary.status}. Resume it, or give another id."
                )
            row = Row(summary, owner, holder(), now + self._keeper.seconds)
            return row, row

        return Lease(self._keeper, self._store.update(run_id, begin))

    def take(self, run_id: str, *, take_over: bool = False) -> Lease:
        """The lease of a run that is there.

        Raises `UnknownRun`, and `RunStateError` where the run has ended, or somebody drives it and
        `take_over` is not given.
        """
        owner = token_hex(16)
        while (taken := self._take(run_id, owner, take_over)) is None:
            pass  # another has had it for a moment
        return Lease(self._keeper, taken)

    def _take(self, run_id: str, owner: str, take_over: bool) -> Row | None:
        found = self._find(run_id)
        was_alive = found.is_alive(self._store.now())
        losses, lost_at = self._losses(found, was_alive)

        def take(row: Row | None, now: float) -> tuple[Row | None, Row | None]:
            if row is None:
                raise unknown(run_id)
            if row.is_over():
                raise RunStateError(
                    f"Cannot resume run {run_id}: it is {row.summary.status}. Make another Run."
                )
            if row.is_alive(now) and not take_over:
                raise _alive("resume", row, "With take_over=True it is taken all the same.")
            if row.owner != found.owner or row.is_alive(now) != was_alive:
                return row, None  # its losses are others by now
            row.owner, row.holder, row.until = owner, holder(), now + self._keeper.seconds
            row.losses, row.lost_at = losses, lost_at
            row.summary = replace(row.summary, status="running")
            return row, row

        return self._store.update(run_id, take)

    def _losses(self, row: Row, is_alive: bool) -> tuple[int, int]:
        """How often in a row the open step was lost, and up to which `seq` that is counted."""
        losses, lost_at = row.losses, row.lost_at
        if losses and self._has_ended_a_step(row.summary.id, lost_at):
            losses = 0
        if row.owner and not row.is_over() and not is_alive:
            return losses + 1, row.summary.seq
        return losses, lost_at

    def _has_ended_a_step(self, run_id: str, after: int) -> bool:
        for record in read_on(self._store, run_id, after):
            if record.event.startswith((b'{"type":"NodeEnd"', b'{"type":"FlowEnd"')):
                event = event_of(record, run_id)
                if isinstance(event, (NodeEnd, FlowEnd)) and event.status != "cancelled":
                    return True
        return False


def _alive(what: str, row: Row, then: str) -> RunStateError:
    until = datetime.fromtimestamp(row.until).isoformat(" ", "seconds")
    return RunStateError(
        f"Cannot {what} run {row.summary.id}: {row.holder} drives it, and has its lease until "
        f"{until} or longer. {then}"
    )


def _start_of(row: Row) -> FlowStart:
    """The first event of a run that was begun and never came that far."""
    said = row.summary
    return FlowStart(
        said.id, 1, said.started, 1, "", parent=0, flow=said.flow, metadata=said.metadata
    )
