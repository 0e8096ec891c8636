"""A journal in Redis, for any number of machines.

The rules of this file:

* The log of a run is a stream, whose entry `0-<seq>` holds an event and what is kept
  beside it. Its row and its inbox are hashes.
* What belongs together is written by one script or one transaction. One that is sent again, because
  the connection was lost, finds what it has written before, and does nothing: a row has the stamps
  of its last changes.
* The server's time is everybody's.
* A server that is not there is waited for; one that has forgotten something is not believed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from secrets import token_hex
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from flowevents.errors import FlowEventsError, JournalError, MissingExtra
from flowevents.journal.journal import Journal
from flowevents.journal.keeper import closed
from flowevents.journal.records import ENDED, Message, Record
from flowevents.journal.rows import as_stored, encode, inbox_changes, inbox_of, summary_of
from flowevents.journal.scripts import APPEND, POLL, RENEW
from flowevents.journal.store import Batch, Held, Polled, Row, Store
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
_STAMPS: Final = 8  # that a row has
_STATUSES: Final[tuple[RunStatus, ...]] = ("running", "paused", "done", "failed", "cancelled")


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
        super().__init__(_Store(url, prefix, ttl, self.patience), lease)


class _Store(Store):
    """Runs in the keys of a server."""

    remote = True

    def __init__(self, url: str, prefix: str, ttl: float | None, patience: float) -> None:
        self._prefix = prefix
        self._ttl = "" if ttl is None else round(ttl)
        self._patience = patience
        self._closed = False
        self._redis: Any = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=5, socket_timeout=10
        )
        self._scripts: list[Any] = [
            self._redis.register_script(each) for each in (APPEND, RENEW, POLL)
        ]

    def _key(self, what: str, name: str) -> str:
        return f"{self._prefix}{what}:{name}"

    def _keys(self, run_id: str) -> tuple[str, str, str]:
        """Those of a run: its row, its log and its inbox."""
        return self._key("run", run_id), self._key("log", run_id), self._key("inbox", run_id)

    def _lists(self, status: RunStatus) -> list[str]:
        """Those of the lists of runs by status, of which this one comes first."""
        others = [each for each in _STATUSES if each != status]
        return [self._key("runs", each) for each in (status, *others)]

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
        return self._do(lambda: _seconds(self._redis.time()))

    # -- a run ----------------------------------------------------------------------------------

    def update(self, run_id: str, change: Callable[[Row | None, float], tuple[Row | None, T]]) -> T:
        """In a transaction that is tried again where anything of it was changed meanwhile.

        It gives the `seq` that the log has then: an owner may add to it until he has lost it.
        """
        stamp = token_hex(8).encode()
        sent: tuple[Row | None, T] | None = None  # and no answer has come yet
        keys = run, log, inbox = self._keys(run_id)

        def attempt(pipe: Any) -> T:
            nonlocal sent
            pipe.watch(run, inbox)
            stamps = (pipe.hget(run, "stamps") or b"").split()
            if sent is not None and (stamp in stamps or (sent[0] is None and not stamps)):
                length = pipe.xlen(log)
            else:
                before = _row_of(_ask_for(pipe, keys))
                had = [] if before is None else list(before.inbox)
                sent = after, result = change(before, _seconds(pipe.time()))
                if before is None and after is None:
                    return result
                pipe.multi()
                if before is None or after is None:
                    pipe.unlink(*keys)  # with what is left of another, whose row is gone
                if after is None:
                    for each in _STATUSES:
                        pipe.zrem(self._key("runs", each), run_id)
                else:
                    stamps = [stamp, *stamps[: _STAMPS - 1]]
                    self._put(pipe, keys, after, had, b" ".join(stamps))
                pipe.xlen(log)
                *_, length = pipe.execute()
            after, result = sent
            if after is not None:
                after.summary = replace(after.summary, seq=length)
            return result

        def update() -> T:
            while True:
                with self._redis.pipeline() as pipe:
                    try:
                        return attempt(pipe)
                    except redis.WatchError:  # also of a lost connection: it may have happened
                        pass

        return self._do(update)

    def _put(
        self, pipe: Any, keys: tuple[str, str, str], row: Row, had: Sequence[Message], stamps: bytes
    ) -> None:
        """Write a row, and what is not in the inbox as it was."""
        told = row.summary
        pipe.hset(keys[0], mapping={**as_stored(row), "stamps": stamps})
        first, *others = self._lists(told.status)
        for each in others:
            pipe.zrem(each, told.id)
        pipe.zadd(first, {told.id: told.started})
        gone, new = inbox_changes(had, row.inbox)
        if gone:
            pipe.hdel(keys[2], *gone)
        for message in new:
            pipe.hset(keys[2], message.id, encode(message))

    def find(self, run_id: str) -> Row | None:
        return self._do(lambda: self._read([run_id])[0])

    def _read(self, run_ids: Sequence[str]) -> list[Row | None]:
        pipe = self._redis.pipeline(transaction=True)
        for run_id in run_ids:
            _ask_for(pipe, self._keys(run_id))
        found = pipe.execute()
        return [_row_of(found[first : first + 4]) for first in range(0, len(found), 4)]

    def append(self, batch: Batch) -> bool:
        """In one script."""
        told = batch.summary
        status = "running" if told is None else told.status
        keys = [*self._keys(batch.run_id), *self._lists(status)]
        said: list[object] = ["", "", "", ""]
        if told is not None:
            said = [encode(told), status, told.started, told.updated]
        args: list[object] = [batch.owner, batch.after, batch.run_id, batch.taken or "", *said]
        args += (self._ttl, int(status in ENDED))
        for each in batch.records:
            args += (each.event, each.kept or "")
        return bool(self._do(lambda: self._scripts[0](keys, args)))

    def renew(self, leases: Sequence[Held], seconds: float) -> None:
        if leases:
            keys = [self._key("run", run_id) for run_id, _ in leases]
            args = [seconds, *(owner for _, owner in leases)]
            self._do(lambda: self._scripts[1](keys, args))

    # -- many runs ------------------------------------------------------------------------------

    def poll(self, leases: Sequence[Held], runs: Iterable[str]) -> Polled:
        """In one script."""
        polled, names = Polled(set(), {}, {}), list(runs)
        keys = [key for held in leases for key in self._keys(held[0])[::2]]
        keys += [key for run_id in names for key in self._keys(run_id)[:2]]
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
        key, first = self._key("log", run_id), f"0-{after + 1}"
        found = self._do(lambda: self._redis.xrange(key, first, "+", limit))
        return [
            Record(int(id.rpartition(b"-")[2]), fields[b"event"], fields.get(b"kept"))
            for id, fields in found
        ]

    def rows(self, status: RunStatus | None, limit: int) -> list[Row]:
        statuses = _STATUSES if status is None else (status,)
        found = [row for each in statuses for row in islice(self._listed(each), limit)]
        found.sort(key=lambda row: row.summary.started, reverse=True)
        return found[:limit]

    def _listed(self, status: RunStatus) -> Iterator[Row]:
        """The runs of a status, the one that began last first."""
        key, start = self._key("runs", status), 0
        while names := self._do(partial(self._redis.zrevrange, key, start, start + _PAGE - 1)):
            ids = [each.decode() for each in names]
            for run_id, row in zip(ids, self._do(partial(self._read, ids)), strict=True):
                if row is not None and row.summary.status == status:
                    yield row
                elif row is None:  # its time to live is over
                    self._do(partial(self._redis.zrem, key, run_id))
            start += _PAGE

    def due(self) -> list[Row]:
        now = self.now()
        rows = [*self._listed("running"), *self._listed("paused")]
        return [each for each in rows if each.is_due(now)]

    def ended(self, before: float, limit: int) -> list[str]:
        runs = (row.summary for status in ENDED for row in self._listed(status))
        return [run.id for run in islice((run for run in runs if run.updated < before), limit)]

    # -- its end --------------------------------------------------------------------------------

    def close(self) -> None:
        self._closed = True
        self._redis.close()


# -- rows as they are stored ----------------------------------------------------------------------


def _ask_for(pipe: Any, keys: tuple[str, str, str]) -> list[Any]:
    """Ask for what there is of a run: four answers, at once or of a transaction."""
    run, log, inbox = keys
    asked = pipe.hgetall(run), pipe.hgetall(inbox), pipe.xlen(log)
    return [*asked, pipe.xrevrange(log, "+", "-", 1)]


def _row_of(found: Sequence[Any]) -> Row | None:
    """The row that four answers hold, or `None`."""
    fields, inbox, seq, last = found
    if not fields:
        return None
    return Row(
        summary_of(fields[b"summary"], seq, last[0][1][b"event"] if last else None),
        fields[b"owner"].decode(),
        fields[b"holder"].decode(),
        float(fields[b"until"]),
        int(fields[b"losses"]),
        int(fields[b"lost_at"]),
        int(fields[b"mails"]),
        inbox_of(inbox.values()),
    )


def _seconds(found: tuple[int, int]) -> float:
    """The server's time as seconds since the epoch."""
    return found[0] + found[1] / 1e6


def _failed(error: Exception) -> JournalError:
    return JournalError(f"The journal in Redis failed: {error}.")
