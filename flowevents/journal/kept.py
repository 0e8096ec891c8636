"""What a record keeps beside its event: what a later process needs to go on, and nobody else."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

__all__ = ["Changes", "Kept", "KeptCursor", "KeptOptions", "kept_of"]


class Changes(msgspec.Struct, omit_defaults=True):
    """What has changed in `shared` since the record before that said so.

    Attributes:
        all: All of it, where it is no dict; else what follows.
        set: Top-level keys and their values.
        add: Keys of lists that only got longer, and their new ends.
        gone: Keys that are not there any more.
    """

    all: Raw | UnsetType = UNSET
    set: list[tuple[Raw, Raw]] = msgspec.field(default_factory=list)
    add: list[tuple[Raw, Raw]] = msgspec.field(default_factory=list)
    gone: list[Raw] = msgspec.field(default_factory=list)


class KeptOptions(msgspec.Struct, omit_defaults=True):
    """The options of a run that go on with it, in its first record."""

    capture: bool = False
    max_steps: int | None = None
    name: str | None = None
    transient: list[Raw] = msgspec.field(default_factory=list)
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


class KeptCursor(msgspec.Struct, omit_defaults=True):
    """Where an open flow, or an item of one, stands that was started again, in a fork.

    Attributes:
        span: The number of its start.
        visits: How often each path had run in it.
        action: What the last step in it returned; `target` is where that led to.
        begun, done, finished: Of a batch: its items.
    """

    span: int
    visits: dict[str, int] = msgspec.field(default_factory=dict)
    action: Raw | UnsetType = UNSET
    target: str | UnsetType | None = UNSET
    begun: int = 0
    done: int = 0
    finished: list[int] = msgspec.field(default_factory=list)


class Kept(msgspec.Struct, omit_defaults=True):
    """What a record keeps; values are written by a `Codec`.

    Attributes:
        options: In the first record: those of the run.
        shared: What has changed in it.
        action: With the ok end of a node or a flow: what its `post` returned.
        prep: The spans of flows, and what their `prep` returned.
        cursors: In a fork: where what begins again stands.
        lost: With a `Retry`: the attempt did not fail, its process did.
        digest: With the start of an item: of what it was given.
        result: With the ok end of an item of a node: its result.
        excused: With the end of an item that has failed: that does not fail its batch.
        asked: With a question: how many its step had asked before.
        answer: With a `Reply`: what the node was given.
    """

    options: KeptOptions | None = None
    shared: Changes | None = None
    action: Raw | UnsetType = UNSET
    prep: list[tuple[int, Raw]] = msgspec.field(default_factory=list)
    cursors: list[KeptCursor] = msgspec.field(default_factory=list)
    lost: bool = False
    digest: str | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    excused: bool = False
    asked: int | UnsetType = UNSET
    answer: Raw | UnsetType = UNSET


_decode: Final = msgspec.json.Decoder(Kept).decode


def kept_of(raw: bytes | None) -> Kept | None:
    """Return what a record keeps, if anything."""
    return None if raw is None else _decode(raw)
