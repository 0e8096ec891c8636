"""What a store of journals must be able to do; all the rest is the same for every store.

The rules of this file:

* Each call is one transaction: all of it is seen by everybody, or nothing.
* What a store cannot do is a `JournalError`, whose cause is the error of its library.
* Calls may come from any thread, also at the same time.
* Only who has the lease of a run writes its log and its summary; others write into its inbox. An
  owner is a random name that nobody has twice, so whoever has lost a lease writes nothing more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from flowevents.journal.records import ENDED, Message, Record, RunSummary
from flowevents.status import RunStatus

__all__ = ["Batch", "Held", "Polled", "Row", "Store"]

T = TypeVar("T")

Held = tuple[str, str]
"""A lease that somebody believes to have: the id of the run, and the owner."""


class Row(Struct):
    """What a store holds of a run beside its log. It is a copy, and may be changed.

    Attributes:
        summary: What everybody may know. A store gives `seq` and `updated` as its log says.
        owner: Who has the lease; empty where nobody has.
        holder: The same for people: its machine and its process.
        until: When the lease runs out, by the store's clock, in seconds since the epoch.
        losses: How often in a row the lease had run out when somebody took it.
        lost_at: The last `seq` of the log when that was counted.
        mails: How many messages the inbox has ever got.
        inbox: Those that nobody has taken yet, in order.
    """

    summary: RunSummary
    owner: str = ""
    holder: str = ""
    until: float = 0.0
    losses: int = 0
    lost_at: int = 0
    mails: int = 0
    inbox: list[Message] = []

    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.summary.status in ENDED

    def is_alive(self, now: float) -> bool:
        """Whether somebody drives it."""
        return bool(self.owner) and self.until > now

    def is_due(self, now: float) -> bool:
        """Whether somebody should go on with it."""
        if self.summary.status == "paused":
            asked = self.summary.interrupts
            expired = any(each.expires is not None and each.expires <= now for each in asked)
            wanted = any(each.kind != "watch" for each in self.inbox)
            return not self.is_alive(now) and (wanted or expired)
        return not self.is_over() and not self.is_alive(now)


class Batch(Struct):
    """What is added to a log at once.

    Attributes:
        run_id: Whose log it is.
        owner: Who has the lease.
        after: The `seq` of the record before them.
        records: One or more, numbered without a hole.
        summary: The run's from here on, where they change it. One that says that the run has ended
            also ends the lease and empties the inbox.
        taken: The id of the message that has led to it, which leaves the inbox.
    """

    run_id: str
    owner: str
    after: int
    records: list[Record]
    summary: RunSummary | None = None
    taken: str | None = None


class Polled(Struct):
    """What has become of some leases and logs.

    Attributes:
        lost: The leases that somebody else has now, or nobody.
        mail: What is in the inboxes of the others, by run, where there is anything.
        tips: The `seq` of the last record of each log; `None` of a run that is not there.
    """

    lost: set[Held]
    mail: dict[str, list[Message]]
    tips: dict[str, int | None]


class Store(Protocol):
    """Where journals are kept."""

    remote: bool = False
    """Whether a call may take longer than a local disk does."""

    def now(self) -> float:
        """What time it is for all who use this store, in seconds since the epoch."""
        return time.time()

    def update(self, run_id: str, change: Callable[[Row | None, float], tuple[Row | None, T]]) -> T:
        """Read what there is of a run, and write what `change` makes of it.

        Args:
            run_id: Whose.
            change: Is called with it, or `None` where there is no such run, and the time. Gives
                what there shall be, `None` for nothing, and the result. May be called several
                times. What it raises is raised, and nothing is written.
        """
        ...

    def find(self, run_id: str) -> Row | None:
        """What there is of a run."""
        ...

    def append(self, batch: Batch) -> bool:
        """Add records to a log.

        `False`, and nothing is stored, where the lease is somebody else's, or the last record is
        another one than this owner thinks.
        """
        ...

    def renew(self, leases: Sequence[Held], seconds: float) -> None:
        """Have the leases run so many seconds from now; those that are still these owners'."""
        ...

    def poll(self, leases: Sequence[Held], runs: Iterable[str]) -> Polled:
        """What has become of these leases, and of the logs of these runs."""
        ...

    def records(self, run_id: str, after: int, limit: int) -> list[Record]:
        """The first records with a greater `seq`, about so many; none where there are none."""
        ...

    def rows(self, status: RunStatus | None, limit: int) -> list[Row]:
        """Runs, those that began last first, of any status or this one."""
        ...

    def due(self) -> list[Row]:
        """Runs that somebody should go on with: those that are running without a lease, and those
        that are paused with a message or an expired question."""
        ...

    def ended(self, before: float, limit: int) -> list[str]:
        """The ids of runs that ended before that time."""
        ...

    def sweep(self) -> bool:
        """Clear away some of what deleted runs have left. Gives whether there may be more."""
        return False

    def close(self) -> None:
        """Give up what is open. Later calls raise `JournalError`."""
        ...

    def before_fork(self) -> None:
        """Let no call be under way until `after_fork`."""
        return

    def after_fork(self, *, in_child: bool) -> None:
        """Go on; in the child with connections of its own."""
        return
