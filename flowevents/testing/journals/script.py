"""A run that is written by hand: no engine, only its events, by whoever has the lease."""

from __future__ import annotations

import time
from typing import Any, Literal

from flowevents import events as ev
from flowevents.events import Event
from flowevents.journal.journal import Journal
from flowevents.journal.lease import Lease
from flowevents.journal.records import Message, recorded
from flowevents.journal.store import Row

__all__ = ["Script", "lose"]


class Script:
    """Writes events of a run of one flow whose one node is `Plan`.

    Args:
        journal: Where.
        run_id: Its id.
        lease: Go on with it; without, the run begins.

    Attributes:
        lease: Its lease.
    """

    def __init__(self, journal: Journal, run_id: str, lease: Lease | None = None) -> None:
        self.lease: Lease = lease or journal.begin(run_id, "agent", {"user": "Ada"})
        self._seq = self.lease.seq
        self._step = 2
        if lease is None:
            start = self.make(
                ev.FlowStart, "", span=1, step=0, attempt=0, parent=0, flow="agent",
                metadata={"user": "Ada"},
            )  # fmt: skip
            self.lease.append(recorded(start, b'{"options":{}}'))

    def make(self, kind: type[Event], node: str = "Plan", **fields: Any) -> Event:
        """The next event."""
        self._seq += 1
        fields = {"span": self._step, "step": 1, "attempt": 1, **fields}
        return kind(run_id=self.lease.run_id, seq=self._seq, time=time.time(), node=node, **fields)

    def write(
        self, kind: type[Event], kept: bytes | None = None, taken: Message | None = None, **own: Any
    ) -> Event:
        """Store the next event."""
        event = self.make(kind, **own)
        self.lease.append(recorded(event, kept), taken=taken)
        return event

    def begin_step(self, step: int = 1) -> None:
        """A step begins."""
        self._step = self._seq + 1
        self.write(ev.NodeStart, parent=1, step=step)

    def say(self, *chunks: str, step: int = 1) -> None:
        """The step streams, which is stored later."""
        for each in chunks:
            self.lease.later(self.make(ev.Chunk, data=each, step=step))

    def ask(self, id: str = "q1", **own: Any) -> None:
        """The step asks."""
        self.write(ev.Interrupt, id=id, prompt="Ship it?", **own)

    def answer(self, message: Message) -> None:
        """The answer is given to the step."""
        self.write(ev.Reply, taken=message, id=message.question, value=message.value)

    def end_step(self, status: str = "ok", step: int = 1, target: str | None = None) -> None:
        """The step ends."""
        self.write(ev.NodeEnd, b'{"s":1}', status=status, duration=0.0, step=step)
        self.write(ev.Action, action="default", target=target, step=step)

    def end(self, status: Literal["ok", "error", "cancelled"] = "ok") -> None:
        """The run ends."""
        error = "ValueError: no" if status == "error" else None
        self.write(
            ev.FlowEnd, node="", span=1, step=0, attempt=0, status=status, duration=0.0, error=error
        )

    @classmethod
    def whole(cls, journal: Journal, run_id: str) -> None:
        """A run from its beginning to its end: seven events."""
        script = cls(journal, run_id)
        script.begin_step()
        script.say("one", "two")
        script.end_step()
        script.end()


def lose(journal: Journal, lease: Lease) -> None:
    """Have a lease run out now, as of a process that is lost."""

    def run_out(row: Row | None, _: float) -> tuple[Row | None, None]:
        assert row is not None
        row.until = 0.0
        return row, None

    lease.forget()
    journal._store.update(lease.run_id, run_out)
