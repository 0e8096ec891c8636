"""Rows and messages as stores write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from flowevents.journal.records import Message, RunSummary
from flowevents.journal.store import Row

__all__ = ["as_stored", "encode", "inbox_changes", "inbox_of", "summary_of"]

encode: Final = msgspec.json.Encoder().encode
"""The JSON of a summary or a message."""

_summary: Final = msgspec.json.Decoder(RunSummary).decode
_message: Final = msgspec.json.Decoder(Message).decode


class _Time(msgspec.Struct):
    time: float


_time: Final = msgspec.json.Decoder(_Time).decode


def as_stored(row: Row) -> dict[str, str | int | float | bytes]:
    """What is stored of a run, but for its log and its inbox."""
    told = row.summary
    return {
        "status": told.status,
        "started": told.started,
        "updated": told.updated,
        "summary": encode(told),
        "owner": row.owner,
        "holder": row.holder,
        "until": row.until,
        "losses": row.losses,
        "lost_at": row.lost_at,
        "mails": row.mails,
    }


def summary_of(raw: bytes, seq: int, last: bytes | None) -> RunSummary:
    """The summary that was stored, of a run whose log ends with this event of that number."""
    told = _summary(raw)
    updated = told.updated if last is None else _time(last).time
    return msgspec.structs.replace(told, seq=seq, updated=updated)


def inbox_of(raw: Iterable[bytes | str]) -> list[Message]:
    """The messages in an inbox, in order."""
    return sorted(map(_message, raw), key=lambda each: each.id)


def inbox_changes(had: Sequence[Message], has: Sequence[Message]) -> tuple[set[str], list[Message]]:
    """The ids of the messages that have left an inbox, and the messages that are new in it."""
    before = {each.id for each in had}
    return before - {each.id for each in has}, [each for each in has if each.id not in before]
