"""What a journal holds, and what it says of a run: plain data."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from flowevents.events import Event, Interrupt, encode
from flowevents.status import RunStatus

__all__ = ["ENDED", "Entry", "Message", "MessageKind", "Record", "RunSummary", "recorded"]

MessageKind = Literal["reply", "cancel", "pause", "watch"]

ENDED: frozenset[RunStatus] = frozenset({"done", "failed", "cancelled"})
"""The states that nothing follows."""


class Record(Struct, frozen=True, gc=False):
    """An event in the log of a run.

    Attributes:
        seq: The event's number.
        event: Its JSON, as `events.encode` writes it.
        kept: What is kept beside it for a run that goes on later: a line of JSON, or nothing.
    """

    seq: int
    event: bytes
    kept: bytes | None = None


Entry = tuple[Event, Record]
"""An event, and how it is stored."""


def recorded(event: Event, kept: bytes | None = None) -> Entry:
    """Return an event with its record, written as it is now."""
    return event, Record(event.seq, encode(event), kept)


class Message(Struct, frozen=True):
    """What somebody wants of a run: it waits in the run's inbox until whoever drives it takes it.

    Attributes:
        id: Within the inbox; a later message has a greater one.
        kind: What is wanted.
        question: The id of the question that it answers, of a reply.
        value: The answer, as plain JSON.
    """

    id: str
    kind: MessageKind
    question: str | None = None
    value: Any = None


class RunSummary(Struct, frozen=True):
    """What a journal says of a run without reading its log.

    Attributes:
        id: The run's id.
        flow: The name of its flow.
        status: `running`, `paused`, `done`, `failed` or `cancelled`; a run that is `running` need
            not be driven by anybody.
        action: The last action, of one that is done.
        error: What it failed with.
        started: When it began, in seconds since the epoch.
        updated: When its last event came.
        seq: The number of that event.
        metadata: What `Run(metadata=…)` was given.
        interrupts: Its open questions.
    """

    id: str
    flow: str
    status: RunStatus
    action: str | None = None
    error: str | None = None
    started: float = 0.0
    updated: float = 0.0
    seq: int = 0
    metadata: dict[str, Any] = {}
    interrupts: tuple[Interrupt, ...] = ()
