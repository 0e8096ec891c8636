"""What lies in Redis of a run beside its log, and how that is changed.

The rules of this file:

* A change watches what it has read: where anything of it was changed meanwhile, it begins anew.
* A row has the stamps of its last changes. A change that does not know whether it has happened
  looks for its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any, Final, TypeVar

import redis
from msgspec.structs import replace

from flowevents.journal.records import Message
from flowevents.journal.rows import as_stored, encode, inbox_of, summary_of
from flowevents.journal.store import Row
from flowevents.status import RunStatus

__all__ = ["STATUSES", "Keys", "Update", "ask_for", "row_of", "seconds"]

T = TypeVar("T")

STATUSES: Final[tuple[RunStatus, ...]] = ("running", "paused", "done", "failed", "cancelled")
_STAMPS: Final = 8  # that a row has


class Keys:
    """The names of the keys of a journal.

    Args:
        prefix: What they all begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def key(self, what: str, name: str) -> str:
        """The key of something of that name."""
        return f"{self._prefix}{what}:{name}"

    def of(self, run_id: str) -> tuple[str, str, str]:
        """The keys of a run: its row, its log and its inbox."""
        return self.key("run", run_id), self.key("log", run_id), self.key("inbox", run_id)

    def lists(self, status: RunStatus) -> list[str]:
        """The lists of runs by status, of which this one comes first."""
        others = [each for each in STATUSES if each != status]
        return [self.key("runs", each) for each in (status, *others)]


class Update:
    """A change of a run, which may be sent several times and happens once.

    Args:
        pipeline: Makes one, to the server.
        keys: How things are called there.
        run_id: Whose.
        change: Makes the new row of the one that is there.
    """

    def __init__(
        self,
        pipeline: Callable[[], Any],
        keys: Keys,
        run_id: str,
        change: Callable[[Row | None, float], tuple[Row | None, T]],
    ) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._run_id = run_id
        self._change: Callable[[Row | None, float], tuple[Row | None, Any]] = change
        self._stamp = token_hex(8).encode()
        self._sent: tuple[Row | None, Any] | None = None  # and no answer has come yet

    def run(self) -> Any:
        """Do it. Raises the errors of redis."""
        while True:
            with self._pipeline() as pipe:
                try:
                    return self._try(pipe)
                except redis.WatchError:  # also of a connection that is lost: it may have happened
                    pass

    def _try(self, pipe: Any) -> Any:
        keys = self._keys.of(self._run_id)
        pipe.watch(keys[0], keys[2])
        stamps = (pipe.hget(keys[0], "stamps") or b"").split()
        if self._sent is not None and (
            self._stamp in stamps or (self._sent[0] is None and not stamps)
        ):
            return self._done(*self._sent, pipe.xlen(keys[1]))
        before = row_of([pipe.hgetall(keys[0]), pipe.hgetall(keys[2]), *_end_of(pipe, keys[1])])
        inbox = [] if before is None else list(before.inbox)
        now = seconds(pipe.time())
        row, result = self._change(before, now)
        if row is None and before is None:
            return result
        pipe.multi()
        if row is None:
            self._delete(pipe, keys)
        else:
            if before is None:
                pipe.unlink(*keys)  # what is left of another, whose row is gone
            stamps = [self._stamp, *stamps[: _STAMPS - 1]]
            self._put(pipe, keys, row, inbox, b" ".join(stamps))
        pipe.xlen(keys[1])
        self._sent = row, result
        *_, length = pipe.execute()
        return self._done(row, result, length)

    def _done(self, row: Row | None, result: Any, length: int) -> Any:
        """The result; an owner may have added to the log until the very moment he lost it."""
        if row is not None:
            row.summary = replace(row.summary, seq=length)
        return result

    def _delete(self, pipe: Any, keys: tuple[str, str, str]) -> None:
        pipe.unlink(*keys)
        for each in STATUSES:
            pipe.zrem(self._keys.key("runs", each), self._run_id)

    def _put(
        self,
        pipe: Any,
        keys: tuple[str, str, str],
        row: Row,
        inbox: Sequence[Message],
        stamps: bytes,
    ) -> None:
        told = row.summary
        pipe.hset(keys[0], mapping={**as_stored(row), "stamps": stamps})
        first, *others = self._keys.lists(told.status)
        for each in others:
            pipe.zrem(each, self._run_id)
        pipe.zadd(first, {self._run_id: told.started})
        had, has = {each.id for each in inbox}, {each.id for each in row.inbox}
        if had - has:
            pipe.hdel(keys[2], *(had - has))
        for message in row.inbox:
            if message.id not in had:
                pipe.hset(keys[2], message.id, encode(message))


# -- rows as they are stored ----------------------------------------------------------------------


def ask_for(pipe: Any, keys: tuple[str, str, str]) -> None:
    """Ask for what there is of a run: four answers."""
    run, log, inbox = keys
    pipe.hgetall(run)
    pipe.hgetall(inbox)
    _end_of(pipe, log)


def _end_of(pipe: Any, log: str) -> tuple[Any, Any]:
    return pipe.xlen(log), pipe.xrevrange(log, "+", "-", 1)


def row_of(found: Sequence[Any]) -> Row | None:
    """The row that four answers of `ask_for` hold, or `None`."""
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


def seconds(found: tuple[int, int]) -> float:
    """The server's time as seconds since the epoch."""
    return found[0] + found[1] / 1e6
