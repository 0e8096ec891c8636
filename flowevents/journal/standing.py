"""Where the log of a run stands: a fold over its records, from which another process goes on.

No position is stored. Open starts say which flows and steps are open; `step` how often a node has
run; `Retry` in which attempt a step is; the last `Action` where the way goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from flowevents.events import (
    Action,
    Event,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeEnd,
    NodeStart,
    Reply,
    Retry,
    decode,
)
from flowevents.journal.kept import Kept, KeptCursor, KeptOptions, kept_of
from flowevents.journal.records import Record
from flowevents.journal.shared import SharedFold
from flowevents.opened import End, Opened, OpenStarts, Start

__all__ = ["Asked", "Item", "Scope", "Standing", "Tried", "encoded"]


class Asked(msgspec.Struct):
    """A question of a step, and the answer that was accepted, if one was."""

    event: Interrupt
    answer: Raw | UnsetType = UNSET


def encoded(asked: tuple[Any, Any, Any]) -> bytes:
    """Return a question's prompt, choices and schema as they are compared."""
    try:
        return msgspec.json.encode(asked, enc_hook=repr)
    except Exception:
        return repr(asked).encode()


class Item(msgspec.Struct):
    """An item that has ended.

    Attributes:
        digest: Of what it was given.
        result: What it gave, where that was kept.
        error: What it failed with, where that does not fail its batch.
    """

    digest: str
    result: Raw | UnsetType
    error: str | None = None


class Tried(msgspec.Struct):
    """How far a step or an item of a node has come.

    Attributes:
        span: The number of its start.
        attempt: The one that it is in.
        losses: How many of its attempts were lost with their process.
        failures: How many have failed by themselves; `error` what the last one
            said, where the node's `exec_fallback` is next.
        asked: Its questions in this attempt, and what was answered.
        digest: Of what an item was given.
        items: Of a lost step of a batch node: how far those of its items have come that have begun.
    """

    span: int = 0
    attempt: int = 1
    losses: int = 0
    failures: int = 0
    error: str | None = None
    asked: list[Asked] = msgspec.field(default_factory=list)
    digest: str = ""
    items: dict[int, Item | Tried] = msgspec.field(default_factory=dict)

    def finished_items(self) -> int:
        """Return how many of the items have finished."""
        return sum(isinstance(each, Item) for each in self.items.values())

    def open_items(self) -> dict[int, Tried]:
        """Return those that have not."""
        return {n: each for n, each in self.items.items() if isinstance(each, Tried)}


class Scope(Opened):
    """A start that is open, and what the log says of it.

    Attributes:
        tried: Of a step or an item of a node: how far it has come.
        cursor: Of a flow or its item: where it stands; of a batch: what of it has begun and ended.
        prep: Of a flow: what its `prep` returned, once that was kept.
        ended: The end of a step in it that has ended well, and has not led anywhere yet.
        failed: The end of something in it that is not ok; `broken` are such items.
        finished: Those of its items that have ended well.
    """

    __slots__ = ("broken", "cursor", "ended", "failed", "finished", "prep", "tried")

    def __init__(self, event: Event, parent: Scope | None) -> None:
        super().__init__(event, parent)
        self.tried: Tried = Tried(event.span, event.attempt)
        self.cursor: KeptCursor = KeptCursor(event.span)
        self.prep: Raw | UnsetType = UNSET
        self.ended: NodeEnd | FlowEnd | None = None
        self.failed: End | None = None
        self.broken: dict[int, Scope] = {}
        self.finished: dict[int, Item] = {}

    @property
    def index(self) -> int:
        """Of an item: which one it is."""
        return self.items[-1]

    def child(self) -> Scope | None:
        """Return what is open in it; of a parallel batch, the first item."""
        return next(iter(self.inside.values()), None)

    def begins(self, inner: Scope) -> None:
        """Note that something in it has begun."""
        event, cursor = inner.event, self.cursor
        cursor.target, self.ended = UNSET, None
        if type(event) is ItemStart:
            cursor.begun = max(cursor.begun, inner.index + 1)
        else:
            cursor.visits[event.node] = event.step

    def begun_anew(self, span: int) -> KeptCursor:
        """Return where it stands, for the start of that number, which begins it again."""
        return replace(self.cursor, span=span, finished=sorted(self.finished))

    def stand(self, cursor: KeptCursor) -> None:
        """Stand there: it was begun again."""
        self.cursor = cursor
        self.finished = {index: Item("", UNSET) for index in cursor.finished}

    def lose(self) -> Tried:
        """Return how far it has come, whose attempt is lost with its process."""
        tried = self.tried
        tried.losses += 1
        tried.items = {
            **self.finished,
            **{each.index: each.lose() for each in self.inside.values()},
        }
        return tried

    def voids(self) -> None:
        """Note that all of its items are void: they begin again."""
        self.finished.clear()
        self.cursor.begun = self.cursor.done = 0
        self.failed = None


class Standing:
    """Where a log stands.

    Attributes:
        options: Those of the run that go on with it.
        shared: What its nodes get.
        open: All that is open in it.
        seq: The number of the last record.
        asked: How many questions the run has asked.
        steps: How many steps of nodes and nested flows have begun.
    """

    __slots__ = ("_ended", "asked", "open", "options", "seq", "shared", "steps")

    def __init__(self, records: Iterable[Record]) -> None:
        self.options: KeptOptions = KeptOptions()
        self.shared: SharedFold = SharedFold()
        self.seq: int = 0
        self.asked: int = 0
        self.steps: int = 0
        self.open: OpenStarts[Scope] = OpenStarts(Scope)
        self._ended: dict[int, Scope] = {}  # by the span of a step that ended: what it is in
        for each in records:
            self._take(each)

    @property
    def root(self) -> Scope | None:
        """The run's own flow, while it is open."""
        return self.open.root

    def open_questions(self) -> list[Interrupt]:
        """Return the questions that nobody has answered."""
        asked = [each.tried.asked for each in self.open.by_span.values()]
        return [each[-1].event for each in asked if each and each[-1].answer is UNSET]

    def failed(self) -> End | None:
        """Return the end that the run was about to end by when it was lost.

        An item of a node that was cancelled is none: its batch was about to begin again.
        """
        for each in self.open.by_span.values():
            end = each.failed
            if end is not None and (end.status == "error" or each.kind != "node"):
                return end
        return None

    def _take(self, record: Record) -> None:
        self.seq = record.seq
        kept = kept_of(record.kept)
        if kept is None and record.event.startswith(_SAY_NOTHING):
            return
        event = decode(record.event)
        if type(event) in _TAKES:
            _TAKES[type(event)](self, event, kept or _NOTHING)
        if kept is None:
            return
        if kept.options is not None:
            self.options = kept.options
        if kept.shared is not None:
            self.shared.apply(kept.shared)
        for span, prep_res in kept.prep:
            if span in self.open.by_span:
                self.open.by_span[span].prep = prep_res
        for cursor in kept.cursors:
            if cursor.span in self.open.by_span:
                self.open.by_span[cursor.span].stand(cursor)

    def _start(self, event: Start, kept: Kept) -> None:
        scope = self.open.begin(event)
        if scope.parent is not None:
            scope.parent.begins(scope)
            self.steps += type(event) is not ItemStart
        if kept.digest is not UNSET:
            scope.tried.digest = kept.digest

    def _retry(self, event: Retry, kept: Kept) -> None:
        scope = self.open.of(event)
        if scope is None:
            return
        scope.voids()
        tried = scope.tried
        tried.attempt = event.attempt + 1
        if kept.lost:
            tried.losses += 1
            return
        tried.failures += 1
        tried.error = event.error if event.fallback else None
        tried.asked.clear()

    def _interrupt(self, event: Interrupt, kept: Kept) -> None:
        scope = self.open.of(event)
        if scope is not None:
            asked = scope.tried.asked
            asked[len(asked) if kept.asked is UNSET else kept.asked :] = [Asked(event)]
            if event.id.isdecimal():  # others were not given by a run
                self.asked = max(self.asked, int(event.id))

    def _reply(self, event: Reply, kept: Kept) -> None:
        scope = self.open.of(event)
        for each in () if scope is None else scope.tried.asked:
            if each.event.id == event.id:
                each.answer = kept.answer

    def _end(self, event: End, kept: Kept) -> None:
        scope = self.open.of(event)
        if scope is None:
            return
        parent: Scope | None = scope.parent
        self.open.close(scope)
        if parent is None:
            return
        if isinstance(event, ItemEnd):
            parent.cursor.done = event.done
            if event.status == "ok" or kept.excused:
                parent.finished[scope.index] = Item(scope.tried.digest, kept.result, event.error)
            else:
                parent.failed = event
                parent.broken[event.span] = scope
        elif event.status != "ok":
            parent.failed = event
        else:
            parent.cursor.action = kept.action if kept.action is not UNSET else Raw(b"null")
            parent.ended = event
            self._ended[event.span] = parent

    def _action(self, event: Action, kept: Kept) -> None:
        scope = self._ended.pop(event.span, None)
        if scope is not None:
            scope.ended, scope.cursor.target = None, event.target


_NOTHING: Final = Kept()
_SAY_NOTHING: Final = (b'{"type":"Chunk"', b'{"type":"Progress"')

_TAKES: Final[dict[type[Event], Callable[[Standing, Any, Kept], None]]] = {
    FlowStart: Standing._start,
    NodeStart: Standing._start,
    ItemStart: Standing._start,
    Retry: Standing._retry,
    Interrupt: Standing._interrupt,
    Reply: Standing._reply,
    ItemEnd: Standing._end,
    NodeEnd: Standing._end,
    FlowEnd: Standing._end,
    Action: Standing._action,
}
