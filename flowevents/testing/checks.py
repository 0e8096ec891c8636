"""The rules of a well-formed stream of events, in one place.

`_Stream` takes one event after the other and knows of each open start a `_Scope`. A rule that is
broken raises at once, so that the first event that breaks one is the one that is named.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

from flowevents.events import (
    MAX_ERROR,
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
    UnknownEvent,
)
from flowevents.opened import End, Opened, OpenStarts, Start, ends

__all__ = ["check_events"]


def check_events(events: Iterable[Event], *, complete: bool = True) -> None:
    """Check that these are the events of one run, all of them and in order.

    Numbers are without holes from 1; every start has exactly one end, innermost first; paths,
    items, steps and attempts count as they should; each step that is ok has its `Action`, which
    names what follows; an end that is ok encloses no other; each question is answered at most
    once. No events at all are those of a run that was cancelled before it began.

    Args:
        events: Those of a run that is pulled or observed whole. They are read once, lazily.
        complete: Everything that began has ended, or waits for the answer to a question. With
            `False` the stream may stop anywhere.

    Raises `AssertionError` naming the first event that breaks a rule: its `seq`, type and node.
    """
    stream = _Stream()
    for event in events:
        stream.take(event)
    if complete:
        stream.finish()


_NAME: Final = re.compile(r"[^/#]+(#([2-9]|[1-9]\d+))?")


class _Scope(Opened):
    """A start that is open, and what came under it.

    Attributes:
        attempt: What the next event of its span carries.
        failed: The first end directly under it that is not ok.
        counts: How often each path has begun under it.
        ended: The ok end whose `Action` has not come yet.
        moved: The last `Action` under it, until what it leads to begins.
        indexes, done, total: Of its items: those used, how many ended, of how many.
        last_try: The attempt is that of a fallback, after which there is none.
    """

    __slots__ = (
        *("attempt", "counts", "done", "ended", "failed"),
        *("indexes", "last_try", "moved", "total"),
    )

    parent: _Scope | None
    inside: dict[int, _Scope]

    def __init__(self, event: Event, parent: _Scope | None) -> None:
        super().__init__(event, parent)
        self.attempt = event.attempt
        self.failed: End | None = None
        self.counts: dict[str, int] = {}
        self.ended: End | None = None
        self.moved: Action | None = None
        self.indexes: set[int] = set()
        self.done = 0
        self.total: int | None = None
        self.last_try = False

    @property
    def has_nodes(self) -> bool:
        """Whether what it holds are nodes and nested flows; of others it is items."""
        above = self.parent
        return self.kind == "flow" or (
            self.kind == "item" and above is not None and above.kind == "flow"
        )

    def first_inside(self) -> str:
        """What the first open start directly under it is called."""
        return _name(next(iter(self.inside.values())).event)


class _Stream:
    """The events of one run so far."""

    def __init__(self) -> None:
        self._run_id: str | None = None
        self._seq = 0
        self._open = OpenStarts(_Scope)
        self._closed: dict[int, End] = {}
        self._due: dict[int, _Scope] = {}  # by the span that waits for its Action
        self._asked: dict[str, int] = {}  # every question's span
        self._questions: dict[int, set[str]] = {}  # the open ones of each span

    def take(self, event: Event) -> None:
        """Check the next event. Raises `AssertionError` where it breaks a rule."""
        self._check_envelope(event)
        if isinstance(event, UnknownEvent):
            return
        if isinstance(event, (FlowStart, NodeStart, ItemStart)):
            self._begin(event)
        elif isinstance(event, Action):
            self._act(event)
        else:
            scope = self._scope(event)
            if isinstance(event, (FlowEnd, NodeEnd, ItemEnd)):
                self._end(event, scope)
            elif isinstance(event, Retry):
                self._retry(event, scope)
            elif isinstance(event, Interrupt):
                self._ask(event)
            elif isinstance(event, Reply):
                self._answer(event)

    def finish(self) -> None:
        """Check that nothing is left to come."""
        for scope in reversed(self._open.by_span.values()):
            if not scope.inside and not self._questions.get(scope.span):
                raise _broken(scope.event, "has no end, and waits for no answer")

    def _check_envelope(self, event: Event) -> None:
        if not isinstance(event, Event) or type(event) is Event:
            raise AssertionError(f"After seq {self._seq} comes {event!r}, which is no event.")
        self._run_id = self._run_id or event.run_id
        if not event.run_id or event.run_id != self._run_id:
            raise _broken(event, f"run_id is {event.run_id!r}, the first is {self._run_id!r}")
        if event.seq != self._seq + 1:
            last = f"comes after seq {self._seq}" if self._seq else "is the first event"
            raise _broken(event, f"{last}, where seq {self._seq + 1} belongs")
        self._seq += 1
        if not math.isfinite(event.time):
            raise _broken(event, f"time is {event.time!r}, no time")
        if event.seq == 1 and not isinstance(event, FlowStart):
            raise _broken(event, "the first event is the FlowStart of the run's own flow")
        if event.seq > 1 and not self._open.by_span:
            raise _broken(event, "comes after the FlowEnd of the run's own flow, the last event")

    # -- starts -------------------------------------------------------------------------------

    def _begin(self, event: Start) -> None:
        _expect(event, "its own seq, as of every start", span=event.seq)
        if event.seq == 1:
            self._begin_run(event)
        else:
            parent = self._open.by_span.get(event.parent)
            if parent is None:
                state = self._state(event.parent)
                raise _broken(event, f"parent is {event.parent!r}, which is {state}")
            if isinstance(event, ItemStart):
                self._begin_item(event, parent)
            else:
                self._begin_node(event, parent)
        self._open.begin(event)

    def _begin_run(self, event: Start) -> None:
        why = "as of the run's own flow"
        _expect(event, why, parent=0, node="", items=(), step=0, attempt=0)
        if isinstance(event, FlowStart):
            _check_name(event, event.flow, "flow")

    def _begin_item(self, event: ItemStart, parent: _Scope) -> None:
        above = parent.event
        if parent.kind == "item" or parent.counts or parent.attempt > 1:
            raise _broken(event, f"begins in {_name(above)}, which is no batch")
        _expect(
            event,
            f"as of its batch, {_name(above)}",
            node=above.node,
            step=above.step,
            attempt=0 if parent.kind == "flow" else 1,
        )
        items = f"items is {event.items!r}"
        if event.items[:-1] != above.items or len(event.items) != len(above.items) + 1:
            raise _broken(event, f"{items}, not {above.items!r} and one index more")
        index = event.items[-1]
        if index < 0 or index in parent.indexes:
            raise _broken(event, f"{items}: {index!r} was used before, or is no index")
        if parent.indexes:
            _expect(event, "as of the batch's first item", total=_known(event, parent))
        if event.total is not None and index >= event.total:
            raise _broken(event, f"{items}: {index!r} is beyond total {event.total!r}")
        parent.total = event.total
        parent.indexes.add(index)

    def _begin_node(self, event: FlowStart | NodeStart, parent: _Scope) -> None:
        above = parent.event
        if not parent.has_nodes or parent.indexes:
            what = "a batch's items hold its nodes" if parent.indexes else "nodes are in flows"
            raise _broken(event, f"begins in {_name(above)}: {what}")
        if parent.inside:
            raise _broken(event, f"begins in a flow where {parent.first_inside()} is open")
        if parent.failed is not None:
            ended = f"{_name(parent.failed)} has ended it with status {parent.failed.status!r}"
            raise _broken(event, f"begins in a flow after {ended}")
        if parent.ended is not None:
            raise _broken(event, f"begins before the Action of {_name(parent.ended)}")
        if parent.moved is not None and parent.moved.target != event.node:
            moved = f"{_name(parent.moved)} with target {parent.moved.target!r}"
            raise _broken(event, f"begins after {moved}")
        _check_path(event, event.node, above.node, "node")
        if isinstance(event, FlowStart) and event.flow != event.node.rpartition("/")[2]:
            raise _broken(event, f"flow is {event.flow!r}, not the last name of its path")
        count = parent.counts[event.node] = parent.counts.get(event.node, 0) + 1
        attempt = 0 if isinstance(event, FlowStart) else 1
        _expect(event, f"as a node in {_name(above)}", items=above.items, attempt=attempt)
        _expect(event, f"its place among its executions in {_name(above)}", step=count)
        parent.moved = None

    # -- ends and transitions -----------------------------------------------------------------

    def _end(self, event: End, scope: _Scope) -> None:
        start, parent = scope.event, scope.parent
        if ends(event) != scope.kind:
            raise _broken(event, f"ends {_name(start)}, a start of another kind")
        if scope.inside:
            raise _broken(event, f"comes before the end of {scope.first_inside()} in it")
        if isinstance(event, ItemEnd) and parent is not None:
            _expect(event, "the items of its batch that have ended", done=parent.done + 1)
            _expect(event, f"as of {_name(start)}", total=_known(event, parent))
            parent.done += 1
            parent.total = event.total
        _check_outcome(event)
        if event.status == "ok":
            _check_ok(event, scope)
        self._close(event, scope)

    def _close(self, event: End, scope: _Scope) -> None:
        seq, parent = scope.span, scope.parent
        self._open.close(scope)
        self._closed[seq] = event
        self._questions.pop(seq, None)
        if scope.ended is not None:  # it failed before the Action came, which is missing now
            del self._due[scope.ended.span]
        if parent is None:
            return
        if event.status != "ok":
            parent.failed = parent.failed or event
        elif not isinstance(event, ItemEnd):
            parent.ended = event
            self._due[seq] = parent

    def _act(self, event: Action) -> None:
        scope = self._due.pop(event.span, None)
        if scope is None or scope.ended is None:
            end = self._closed.get(event.span)
            if end is None:
                raise _broken(event, f"span is {event.span!r}, which is {self._state(event.span)}")
            raise _broken(event, f"{_name(end)} has no Action, or has had it")
        end = scope.ended
        why = f"as of {_name(end)}"
        _expect(event, why, node=end.node, items=end.items, step=end.step, attempt=end.attempt)
        if event.target is not None:
            _check_path(event, event.target, scope.node, "target")
        scope.ended, scope.moved = None, event

    # -- what comes between -------------------------------------------------------------------

    def _scope(self, event: Event) -> _Scope:
        """The open scope of an event that is no start, which it agrees with."""
        scope = self._open.of(event)
        if scope is None:
            raise _broken(event, f"span is {event.span!r}, which is {self._state(event.span)}")
        start = scope.event
        _expect(event, f"as of {_name(start)}", node=start.node, items=start.items, step=start.step)
        _expect(event, f"the one that {_name(start)} is in", attempt=scope.attempt)
        return scope

    def _retry(self, event: Retry, scope: _Scope) -> None:
        if scope.has_nodes or scope.indexes:
            raise _broken(event, "is of a flow or of a whole batch, which are not tried again")
        if scope.last_try:
            raise _broken(event, "comes after the Retry with fallback=True, the last of its step")
        _check_error(event, event.error)
        if not (math.isfinite(event.wait) and event.wait >= 0):
            raise _broken(event, f"wait is {event.wait!r}, no time in seconds")
        scope.attempt += 1
        scope.last_try = event.fallback

    def _ask(self, event: Interrupt) -> None:
        if event.id in self._asked:
            raise _broken(event, f"id is {event.id!r}, which was asked before")
        self._asked[event.id] = event.span
        self._questions.setdefault(event.span, set()).add(event.id)

    def _answer(self, event: Reply) -> None:
        if event.id not in self._asked:
            raise _broken(event, f"id is {event.id!r}, which nothing asked")
        if self._asked[event.id] != event.span:
            raise _broken(event, f"id is {event.id!r}, which span {self._asked[event.id]} asked")
        if event.id not in self._questions.get(event.span, ()):
            raise _broken(event, f"id is {event.id!r}, which is answered already")
        self._questions[event.span].discard(event.id)

    def _state(self, span: int) -> str:
        if span in self._open.by_span:
            return "still open"
        return "ended already" if span in self._closed else "no start"


def _known(event: ItemStart | ItemEnd, parent: _Scope) -> int | None:
    """The total that an item's event has to have: none, where it is not known any more."""
    return None if event.total is None else parent.total


def _check_ok(event: End, scope: _Scope) -> None:
    """What the end of something that is ok must not enclose, or leave open."""
    if scope.failed is not None:
        failed = f"{_name(scope.failed)} in it with status {scope.failed.status!r}"
        raise _broken(event, f"status is 'ok' after {failed}")
    if scope.ended is not None:
        raise _broken(event, f"comes before the Action of {_name(scope.ended)}")
    if scope.moved is not None and scope.moved.target is not None:
        moved = f"{scope.moved.target!r}, the target of {_name(scope.moved)}"
        raise _broken(event, f"comes before {moved}")
    count = len(scope.indexes)
    if count and (max(scope.indexes) != count - 1 or scope.total not in (None, count)):
        raise _broken(event, f"status is 'ok', but of its items only {count} were there")


def _check_outcome(event: End) -> None:
    if event.status not in ("ok", "error", "cancelled"):
        raise _broken(event, f"status is {event.status!r}, not 'ok', 'error' or 'cancelled'")
    if event.status == "ok" and event.error is not None:
        raise _broken(event, f"status is 'ok', but error is {event.error!r}")
    if event.status == "error" or event.error is not None:
        _check_error(event, event.error)
    if not (math.isfinite(event.duration) and event.duration >= 0):
        raise _broken(event, f"duration is {event.duration!r}, no time in seconds")
    if isinstance(event, FlowEnd) and event.status != "ok" and event.action is not None:
        raise _broken(event, f"status is {event.status!r}, but action is {event.action!r}")


def _check_error(event: Event, error: str | None) -> None:
    if not error or len(error) > MAX_ERROR:
        said = repr(error) if not error else f"{len(error)} characters long"
        raise _broken(event, f"error is {said}, not a text of at most {MAX_ERROR} characters")


def _check_path(event: Event, path: str, above: str, field: str) -> None:
    """Check that it is the path of a node of the flow whose path is `above`."""
    prefix = f"{above}/" if above else ""
    if not path.startswith(prefix):
        raise _broken(event, f"{field} is {path!r}, which is not in the flow {above!r}")
    _check_name(event, path[len(prefix) :], field)


def _check_name(event: Event, name: str, field: str) -> None:
    if not _NAME.fullmatch(name):
        raise _broken(event, f"{field} ends with the name {name!r}, which no node can have")


def _expect(event: Event, why: str, **fields: object) -> None:
    for name, expected in fields.items():
        found = getattr(event, name)
        if found != expected:
            raise _broken(event, f"{name} is {found!r}, not {expected!r}, {why}")


def _name(event: Event) -> str:
    return f"{type(event).__name__} {event.seq}"


def _broken(event: Event, what: str) -> AssertionError:
    items = f", items {event.items!r}" if event.items else ""
    return AssertionError(
        f"seq {event.seq!r}: {type(event).__name__} of node {event.node!r}{items}: {what}."
    )
