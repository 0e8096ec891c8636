"""A journal in Redis, for any number of machines.

The rules of this file:

* The log of a run is a stream, whose entry `0-<seq>` holds the event and what is kept beside it.
* What belongs together is written by one script or one transaction. One that is sent again, because
  the connection was lost, finds what it has written before, and does nothing.
* The server's time is everybody's.
* A server that is not there is waited for; one that has forgotten something is not believed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from flowevents.errors import FlowEventsError, JournalError, MissingExtra
from flowevents.journal.journal import Journal
from flowevents.journal.keeper import closed
from flowevents.journal.records import ENDED, Record
from flowevents.journal.rows import encode, inbox_of
from flowevents.journal.scripts import APPEND, POLL, RENEW
from flowevents.journal.store import Batch, Held, Polled, Row, Store
from flowevents.journal.watched import STATUSES, Keys, Update, ask_for, row_of, seconds
from flowevents.status import RunStatus

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as _missing:
    raise MissingExtra(
        "RedisJournal needs the package redis, which is not installed. "
        "Install the extra: pip install flowevents[redis]"
    ) from _missing

__all__ = ["RedisJournal"]

T = TypeVar("T")

_PAUSE: Final = 0.05  # seconds between two tries to reach the server
_PAGE: Final = 100  # runs that are read at once


class RedisJournal(Journal):
    """Holds runs in a Redis server; needs the extra `redis`.

    What outlives the end of the server is what its own persistence keeps. A run of which it has
    lost events is not gone on with: an `EventsLost` or `UnknownRun` says so.

    Args:
        url: Of the server, such as `"redis://localhost:6379/0"`.
        prefix: What all keys begin with.
        lease: For how many seconds a run counts as driven that nobody renews.
        ttl: After how many seconds the server deletes a run that has ended; by default never.
    """

    patience: float = 10.0
    """For how many seconds a call tries to reach a server that does not answer."""

    def __init__(
        self,
        url: str,
        prefix: str = "flowevents:",
        *,
        lease: float = 15.0,
        ttl: float | None = None,
    ) -> None:
        if ttl is not None and not ttl >= 1:
            raise ValueError(f"ttl={ttl!r}; give at least a second, or None.")
        super().__init__(RedisStore(url, prefix, ttl, self.patience), lease)


class RedisStore(Store):
    """Runs in the keys of a server."""

    remote = True

    def __init__(self, url: str, prefix: str, ttl: float | None, patience: float) -> None:
        self._keys = Keys(prefix)
        self._ttl = "" if ttl is None else round(ttl)
        self._patience = patience
        self._closed = False
        self._redis: Any = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=5, socket_timeout=10
        )
        self._scripts: list[Any] = [
            self._redis.register_script(each) for each in (APPEND, RENEW, POLL)
        ]

    def _do(self, call: Callable[[], T]) -> T:
        """Do it, again while the server does not answer; it has to find what it did before."""
        give_up = None
        while not self._closed:
            try:
                return call()
            except FlowEventsError:
                raise
            except (redis.ConnectionError, redis.TimeoutError) as error:
                now = time.monotonic()
                give_up = give_up or now + self._patience
                if now >= give_up or isinstance(error, redis.AuthenticationError):
                    raise _failed(error) from error
                time.sleep(_PAUSE)
            except (redis.RedisError, OSError, ValueError, msgspec.MsgspecError) as error:
                raise _failed(error) from error
        raise closed()

    def now(self) -> float:
        """The server's time."""
        return self._do(lambda: seconds(self._redis.time()))

    # -- a run ----------------------------------------------------------------------------------

    def update(self, run_id: str, change: Callable[[Row | None, float], tuple[Row | None, T]]) -> T:
        """In a transaction that is tried again where anything of it was changed meanwhile."""
        update = Update(lambda: self._redis.pipeline(), self._keys, run_id, change)
        result: T = self._do(update.run)
        return result

    def find(self, run_id: str) -> Row | None:
        """As everywhere."""
        return self._do(lambda: self._read([run_id])[0])

    def _read(self, run_ids: Sequence[str]) -> list[Row | None]:
        pipe = self._redis.pipeline(transaction=True)
        for run_id in run_ids:
            ask_for(pipe, self._keys.of(run_id))
        found = pipe.execute()
        return [row_of(found[first : first + 4]) for first in range(0, len(found), 4)]

    def append(self, batch: Batch) -> bool:
        """In one script."""
        told = batch.summary
        status = "running" if told is None else told.status
        keys = [*self._keys.of(batch.run_id), *self._keys.lists(status)]
        said: list[object] = ["", "", "", ""]
        if told is not None:
            said = [encode(told), status, told.started, told.updated]
        args: list[object] = [batch.owner, batch.after, batch.run_id, batch.taken or "", *said]
        args += (self._ttl, int(status in ENDED))
        for each in batch.records:
            args += (each.event, each.kept or "")
        return bool(self._do(lambda: self._scripts[0](keys, args)))

    def renew(self, leases: Sequence[Held], seconds: float) -> None:
        """As everywhere."""
        if leases:
            keys = [self._keys.key("run", run_id) for run_id, _ in leases]
            args = [seconds, *(owner for _, owner in leases)]
            self._do(lambda: self._scripts[1](keys, args))

    # -- many runs ------------------------------------------------------------------------------

    def poll(self, leases: Sequence[Held], runs: Iterable[str]) -> Polled:
        """In one script."""
        polled, names = Polled(set(), {}, {}), list(runs)
        keys = [key for held in leases for key in self._keys.of(held[0])[::2]]
        keys += [key for run_id in names for key in self._keys.of(run_id)[:2]]
        if not keys:
            return polled
        args = [owner for _, owner in leases]
        found = self._do(lambda: self._scripts[2](keys, args))
        for held, mail in zip(leases, found, strict=False):
            if mail is None:
                polled.lost.add(held)
            elif mail:
                polled.mail[held[0]] = inbox_of(mail)
        polled.tips.update(zip(names, found[len(leases) :], strict=True))
        return polled

    def records(self, run_id: str, after: int, limit: int) -> list[Record]:
        """As everywhere."""
        key, first = self._keys.key("log", run_id), f"0-{after + 1}"
        found = self._do(lambda: self._redis.xrange(key, first, "+", limit))
        return [
            Record(int(id.rpartition(b"-")[2]), fields[b"event"], fields.get(b"kept"))
            for id, fields in found
        ]

    def rows(self, status: RunStatus | None, limit: int) -> list[Row]:
        """As everywhere."""
        statuses = STATUSES if status is None else (status,)
        found = [row for each in statuses for row in islice(self._listed(each), limit)]
        found.sort(key=lambda row: row.summary.started, reverse=True)
        return found[:limit]

    def _listed(self, status: RunStatus) -> Iterator[Row]:
        """The runs of a status, the one that began last first."""
        key, start = self._keys.key("runs", status), 0
        while names := self._do(partial(self._redis.zrevrange, key, start, start + _PAGE - 1)):
            ids = [each.decode() for each in names]
            for run_id, row in zip(ids, self._do(partial(self._read, ids)), strict=True):
                if row is not None and row.summary.status == status:
                    yield row
                elif row is None:  # its time to live is over
                    self._do(partial(self._redis.zrem, key, run_id))
            start += _PAGE

    def due(self) -> list[Row]:
        """As everywhere."""
        now = self.now()
        rows = [*self._listed("running"), *self._listed("paused")]
        return [each for each in rows if each.is_due(now)]

    def ended(self, before: float, limit: int) -> list[str]:
        """As everywhere."""
        runs = (row.summary for status in ENDED for row in self._listed(status))
        return [run.id for run in islice((run for run in runs if run.updated < before), limit)]

    # -- its end --------------------------------------------------------------------------------

    def close(self) -> None:
        """As everywhere."""
        self._closed = True
        self._redis.close()


def _failed(error: Exception) -> JournalError:
    return JournalError(f"The journal in Redis failed: {error}.")
