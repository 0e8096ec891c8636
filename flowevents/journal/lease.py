"""The lease of a run: the right to write its log, for as long as nobody else has it.

The rules of this file:

* One driver uses a lease, in one thread at a time. Beside it the keeper's thread stores what waits.
  Whoever stores holds the lock; `later` does not need it.
* What waits stays in the list until it is stored, in front of all that came afterwards.
* A store that fails, or refuses, ends the lease: what came of its last call is not known here.
* Callbacks are called without the lock.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable
from secrets import token_hex
from typing import Final, Protocol, TypeVar

from msgspec.structs import replace

from flowevents.errors import Conflict, EventsLost, JournalError, UnknownRun
from flowevents.events import Event, encode
from flowevents.journal.records import ENDED, Entry, Message, Record, RunSummary
from flowevents.journal.store import Batch, Held, Row, Store
from flowevents.journal.summary import summary_after

__all__ = ["Keeping", "Lease"]

T = TypeVar("T")


class Keeping(Protocol):
    """What a lease needs of its journal."""

    store: Store
    seconds: float

    def keep(self, lease: Lease) -> None:
        """Renew it, and look into its inbox."""
        ...

    def wake(self, run_id: str, tip: int) -> None:
        """The run's log ends with this event now."""
        ...


class Lease:
    """The right to write one run's log. Made by `Journal.begin` and `Journal.take`.

    Attributes:
        run_id: The run's id.
        seq: The number of the last record that is stored.
        losses: How often in a row the open step was lost with its process.
    """

    __slots__ = (
        *("_heard", "_keeping", "_lock", "_lost", "_on_lost", "_on_message", "_owner", "_summary"),
        *("_waiting", "__weakref__", "losses", "run_id", "seq"),
    )

    def __init__(self, keeping: Keeping, row: Row) -> None:
        self.run_id: Final = row.summary.id
        self.seq: int = row.summary.seq
        self.losses: Final = row.losses
        self._keeping = keeping
        self._owner = row.owner
        self._summary = row.summary
        self._lock = threading.RLock()
        self._waiting: list[Record] = []
        self._lost: JournalError | None = None
        self._heard = ""  # the id of the last message that somebody was told
        self._on_message: Callable[[Message], None] | None = None
        self._on_lost: Callable[[JournalError], None] = _hear_nothing
        keeping.keep(self)

    def listen(
        self, on_message: Callable[[Message], None], on_lost: Callable[[JournalError], None]
    ) -> None:
        """Have messages and the loss of the lease told; from the journal's thread.

        Args:
            on_message: Is called with each message once that waits now or comes later; not with
                those that `inbox`, `pause` or `take_again` has given before the first cancel.
            on_lost: Is called once, where it is the journal's thread that finds the lease lost, or
                that cannot store what waits.
        """
        self._on_lost, self._on_message = on_lost, on_message

    # -- storing --------------------------------------------------------------------------------

    @property
    def is_paused(self) -> bool:
        """Whether it was given up by `pause`."""
        return not self._owner and self._summary.status == "paused"

    @property
    def is_remote(self) -> bool:
        """Whether storing may take longer than on a local disk."""
        return self._keeping.store.remote

    def append(self, *entries: Entry, taken: Message | None = None) -> None:
        """Store what waits and then these, in one commit.

        Args:
            entries: Events with their records.
            taken: The message that has led to them. It leaves the inbox in the same commit.

        Raises `Conflict` where somebody else has the run, and `JournalError` where the store
        fails. Then nothing of these is stored, and the lease is lost.
        """
        with self._lock:
            self._check()
            added = [record for _, record in entries]
            self._store(added, summary_after(self._summary, entries), taken)

    def later(self, event: Event) -> None:
        """Store a chunk or a progress with the next append, or soon, whichever comes first.

        While the run is paused it waits until the lease is taken again.
        """
        if self._lost is not None or not (self._owner or self.is_paused):
            self._check()
        self._waiting.append(Record(event.seq, encode(event)))

    def flush(self) -> None:
        """Store what waits."""
        with self._lock:
            if self._waiting or self._lost is not None:
                self._check()
                self._store([], None, None)

    def _store(
        self, added: list[Record], summary: RunSummary | None, taken: Message | None
    ) -> None:
        waited = len(self._waiting)
        records = [*self._waiting[:waited], *added]
        message = None if taken is None else taken.id
        batch = Batch(self.run_id, self._owner, self.seq, records, summary, message)
        try:
            if not self._keeping.store.append(batch):
                raise self._why(self._keeping.store.find(self.run_id))
        except JournalError as error:
            self._lost = error
            raise
        except BaseException as error:  # a Ctrl-C
            self._lost = JournalError(f"Storing the events of run {self.run_id} was interrupted.")
            self._lost.__cause__ = error
            raise
        self.seq = records[-1].seq
        del self._waiting[:waited]
        if summary is not None:
            self._summary = summary
            if summary.status in ENDED:
                self._give_up()
        self._keeping.wake(self.run_id, self.seq)

    # -- giving it up, and taking it again --------------------------------------------------------

    def pause(self) -> list[Message]:
        """Give the lease up, the run being paused. Gives the messages that are there by then.

        Where there are any, the run should go on: `take_again`.
        """

        def give_up(row: Row) -> list[Message]:
            row.owner = ""
            row.summary = replace(row.summary, status="paused")
            return row.inbox

        with self._lock:
            self._check()
            self.flush()
            messages = self._update(give_up)
            self._summary = replace(self._summary, status="paused")
            self._owner = ""
        return self._has_heard(messages)

    def take_again(self) -> list[Message]:
        """Take the lease of a run that was paused here. Gives the messages that wait.

        Raises `Conflict` where somebody else has it, or has gone on with the run.
        """
        owner = token_hex(16)

        def take(row: Row | None, now: float) -> tuple[Row, list[Message]]:
            if row is None or row.is_over() or row.is_alive(now) or row.summary.seq != self.seq:
                raise self._why(row)
            row.owner, row.holder = owner, holder()
            row.until = now + self._keeping.seconds
            row.summary = replace(row.summary, status="running")
            return row, row.inbox

        with self._lock:
            if self._lost is not None:
                raise self._lost
            messages = self._has_heard(self._keeping.store.update(self.run_id, take))
            self._owner = owner
            self._summary = replace(self._summary, status="running")
        self._keeping.keep(self)
        return messages

    def release(self) -> None:
        """Store what waits, and give the lease up: the run can be resumed at once.

        A lease that is not held any more is left alone. Raises `JournalError` where the store
        fails; then the lease runs out by itself.
        """
        with self._lock:
            if not self._owner:
                return
            try:
                if self._lost is None:
                    self.flush()
            finally:
                owner = self._owner
                self._give_up()

                def give_up(row: Row | None, _: float) -> tuple[Row | None, None]:
                    if row is not None and row.owner == owner:
                        row.owner, row.until = "", 0.0
                    return row, None

                self._keeping.store.update(self.run_id, give_up)

    def _give_up(self) -> None:
        """It is held no more, for good: who listened goes without the garbage collector."""
        self._owner = ""
        self._on_lost, self._on_message = _hear_nothing, None

    # -- the inbox ------------------------------------------------------------------------------

    def inbox(self) -> list[Message]:
        """What somebody wants that waits now."""
        row = self._keeping.store.find(self.run_id)
        inbox = [] if row is None else row.inbox
        return self._has_heard([each for each in inbox if each.kind != "watch"])

    def drop(self, message: Message) -> None:
        """Remove a message that was refused, or has been acted on."""

        def remove(row: Row) -> None:
            row.inbox = [each for each in row.inbox if each.id != message.id]

        with self._lock:
            self._update(remove)

    def _has_heard(self, messages: list[Message]) -> list[Message]:
        for each in messages:
            if each.kind == "cancel":  # is told to who listens
                break
            self._heard = max(self._heard, each.id)
        return messages

    # -- for the keeper -------------------------------------------------------------------------

    @property
    def held(self) -> Held | None:
        """The run and the owner, while it believes to have the lease."""
        owner = self._owner
        return (self.run_id, owner) if owner and self._lost is None else None

    def store_waiting(self) -> None:
        """Store what waits, and tell of a failure."""
        if self._waiting:
            try:
                with self._lock:
                    if self.held is not None:
                        self.flush()
            except JournalError as error:
                self._on_lost(error)

    def hear(self, messages: Iterable[Message]) -> None:
        """These are in the inbox."""
        on_message = self._on_message
        if on_message is None:  # nobody listens yet
            return
        for message in messages:
            with self._lock:
                is_new = message.id > self._heard and self.held is not None
                self._heard = max(self._heard, message.id)
            if is_new:
                on_message(message)

    def lose(self, held: Held, error: JournalError | None = None) -> None:
        """It is lost, if this is still what it has; without an error, find out why."""
        with self._lock:
            if self.held != held:
                return
            self._lost = error or self._why(self._keeping.store.find(self.run_id))
        self._on_lost(self._lost)

    def end(self, error: JournalError) -> None:
        """Store what waits, give it up, and say so."""
        with self._lock:
            on_lost = self._on_lost if self.held is not None else _hear_nothing
            try:
                self.release()
            finally:
                self._lost = self._lost or error
        on_lost(error)

    def forget(self) -> None:
        """In a forked process: it is the parent's."""
        self._lock = threading.RLock()
        self._owner = ""
        self._waiting.clear()
        self._lost = JournalError(
            f"Run {self.run_id} is driven by the process that this one was forked from."
        )

    # -- refusals -------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost
        if not self._owner:
            raise JournalError(
                f"Run {self.run_id} is {self._summary.status}: nothing can be stored of it here."
            )

    def _update(self, change: Callable[[Row], T]) -> T:
        """Change what is the owner's to change."""

        def of_mine(row: Row | None, _: float) -> tuple[Row | None, T]:
            if row is None or row.owner != self._owner:
                raise self._why(row)
            return row, change(row)

        try:
            return self._keeping.store.update(self.run_id, of_mine)
        except JournalError as error:
            self._lost = error
            raise

    def _why(self, row: Row | None) -> JournalError:
        """Why the run is not this lease's any more."""
        run = f"Run {self.run_id}"
        if row is None:
            return UnknownRun(f"{run} is not in the journal any more: it was deleted, or lost.")
        if row.owner and row.owner != self._owner:
            return Conflict(f"{run} was taken over by {row.holder}, which goes on with it.")
        if row.summary.seq < self.seq:
            return EventsLost(
                f"{run} has {row.summary.seq} events in the journal, where {self.seq} had been "
                "stored: the store has lost the others."
            )
        if row.is_over():
            return Conflict(f"{run} was ended by somebody else: it is {row.summary.status}.")
        return Conflict(f"{run} was taken over by somebody else, who has let it go since.")


def holder() -> str:
    """What people call this process."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def _hear_nothing(_: object) -> None:
    pass
