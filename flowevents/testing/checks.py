"""The rules of a well-formed stream of events, in one place.

`_Stream` takes one event after the other and knows of each open start a `Scope`. A rule that is
broken raises at once, so that the first event that breaks one is the one that is named.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowevents import events as ev
from flowevents.events import Event
from flowevents.opened import End, OpenStarts, Start, ends
from flowevents.testing.fields import (
    broken,
    check_error,
    check_finite,
    check_name,
    check_outcome,
    check_path,
    check_types,
    expect,
    name_of,
)
from flowevents.testing.scopes import Scope, check_items, check_ok

__all__ = ["check_events"]


def check_events(events: Iterable[Event], *, complete: bool = True) -> None:
    """Check that these are the events of one run, all of them and in order.

    Each field has its type; numbers are without holes from 1; every start has exactly one end,
    innermost first; paths, items, steps and attempts count as they should; each step that is ok
    has its `Action`, which names what follows; an end that is ok encloses no other. A node or an
    item has one question open at a time, which is answered at most once, and before an end that
    is ok unless it expires. No events at all are those of a run that was cancelled before it
    began.

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


class _Stream:
    """The events of one run so far."""

    def __init__(self) -> None:
        self._run_id: str | None = None
        self._forked = False  # it goes on from the state of another run, with its counts
        self._seq = 0
        self._open = OpenStarts(Scope)
        self._closed: dict[int, tuple[End, Scope | None]] = {}  # each with what enclosed it
        self._asked: dict[str, int] = {}  # every question's span
        self._questions: dict[int, ev.Interrupt] = {}  # the open one of each span
        self._recalled: set[str] = set()  # questions that were open when their attempt was lost

    def take(self, event: Event) -> None:
        """Check the next event. Raises `AssertionError` where it breaks a rule."""
        self._check_envelope(event)
        if isinstance(event, ev.UnknownEvent):
            return
        if isinstance(event, Start):
            self._begin(event)
        elif isinstance(event, ev.Action):
            self._act(event)
        else:
            scope = self._scope(event)
            if isinstance(event, End):
                self._end(event, scope)
            elif isinstance(event, ev.Retry):
                self._retry(event, scope)
            elif isinstance(event, ev.Interrupt):
                self._ask(event, scope)
            elif isinstance(event, ev.Reply):
                self._answer(event)
            elif isinstance(event, ev.Progress):
                check_finite(event, "done", "total")

    def finish(self) -> None:
        """Check that nothing is left to come."""
        for scope in reversed(self._open.by_span.values()):
            if not scope.inside and scope.span not in self._questions:
                raise broken(scope.event, "has no end, and waits for no answer")

    def _check_envelope(self, event: Event) -> None:
        if not isinstance(event, Event) or type(event) is Event:
            raise AssertionError(f"After seq {self._seq} comes {event!r}, which is no event.")
        check_types(event)
        self._run_id = self._run_id or event.run_id
        if not event.run_id or event.run_id != self._run_id:
            raise broken(event, f"run_id is {event.run_id!r}, the first is {self._run_id!r}")
        if event.seq != self._seq + 1:
            last = f"comes after seq {self._seq}" if self._seq else "is the first event"
            raise broken(event, f"{last}, where seq {self._seq + 1} belongs")
        self._seq += 1
        check_finite(event, "time")
        if event.seq == 1 and not isinstance(event, ev.FlowStart):
            raise broken(event, "the first event is the FlowStart of the run's own flow")
        if event.seq > 1 and not self._open.by_span:
            raise broken(event, "comes after the FlowEnd of the run's own flow, the last event")

    # -- starts -------------------------------------------------------------------------------

    def _begin(self, event: Start) -> None:
        expect(event, "its own seq, as of every start", span=event.seq)
        if event.seq == 1:
            self._begin_run(event)
        else:
            parent = self._open.by_span.get(event.parent)
            if parent is None:
                state = self._state(event.parent)
                raise broken(event, f"parent is {event.parent!r}, which is {state}")
            if isinstance(event, ev.ItemStart):
                self._begin_item(event, parent)
            else:
                self._begin_node(event, parent)
        self._open.begin(event)

    def _begin_run(self, event: Start) -> None:
        why = "as of the run's own flow"
        expect(event, why, parent=0, node="", items=(), step=0, attempt=0)
        if isinstance(event, ev.FlowStart):
            check_name(event, event.flow, "flow")
            self._forked = "forked_from" in event.metadata

    def _begin_item(self, event: ev.ItemStart, parent: Scope) -> None:
        above = parent.event
        if parent.kind == "item" or parent.counts or (parent.attempt > 1 and not parent.lost):
            raise broken(event, f"begins in {name_of(above)}, which is no batch")
        self._check_answered(event, parent)
        expect(
            event,
            f"as of its batch, {name_of(above)}",
            node=above.node,
            step=above.step,
            attempt=0 if parent.kind == "flow" else 1,
        )
        items = f"items is {event.items!r}"
        if event.items[:-1] != above.items or len(event.items) != len(above.items) + 1:
            raise broken(event, f"{items}, not {above.items!r} and one index more")
        index = event.items[-1]
        if index < 0 or index in parent.indexes:
            raise broken(event, f"{items}: {index!r} was used before, or is no index")
        if parent.indexes:
            expect(event, "as of the batch's first item", total=_known(event, parent))
        if event.total is not None and index >= event.total:
            raise broken(event, f"{items}: {index!r} is beyond total {event.total!r}")
        parent.total = event.total
        parent.indexes.add(index)

    def _begin_node(self, event: ev.FlowStart | ev.NodeStart, parent: Scope) -> None:
        above = parent.event
        if not parent.has_nodes or parent.indexes:
            what = "a batch's items hold its nodes" if parent.indexes else "nodes are in flows"
            raise broken(event, f"begins in {name_of(above)}: {what}")
        if parent.inside:
            raise broken(event, f"begins in a flow where {parent.first_inside()} is open")
        if parent.failed is not None:
            ended = f"{name_of(parent.failed)} has ended it with status {parent.failed.status!r}"
            raise broken(event, f"begins in a flow after {ended}")
        if parent.ended is not None:
            raise broken(event, f"begins before the Action of {name_of(parent.ended)}")
        if parent.moved is not None and parent.moved.target != event.node:
            moved = f"{name_of(parent.moved)} with target {parent.moved.target!r}"
            raise broken(event, f"begins after {moved}")
        check_path(event, event.node, above.node, "node")
        if isinstance(event, ev.FlowStart) and event.flow != event.node.rpartition("/")[2]:
            raise broken(event, f"flow is {event.flow!r}, not the last name of its path")
        count = parent.counts.get(event.node, 0) + 1
        if self._forked and count == 1:
            count = max(1, event.step)
        parent.counts[event.node] = count
        attempt = 0 if isinstance(event, ev.FlowStart) else 1
        expect(event, f"as a node in {name_of(above)}", items=above.items, attempt=attempt)
        expect(event, f"its place among its executions in {name_of(above)}", step=count)
        parent.last = None

    # -- ends and transitions -----------------------------------------------------------------

    def _end(self, event: End, scope: Scope) -> None:
        start, parent = scope.event, scope.parent
        if ends(event) != scope.kind:
            raise broken(event, f"ends {name_of(start)}, a start of another kind")
        if scope.inside:
            raise broken(event, f"comes before the end of {scope.first_inside()} in it")
        if isinstance(event, ev.ItemEnd) and parent is not None:
            done = parent.done + 1
            if self._forked and done == 1:
                done = max(1, event.done)
            expect(event, "the items of its batch that have ended", done=done)
            expect(event, f"as of {name_of(start)}", total=_known(event, parent))
            parent.done = done
            parent.total = event.total
        check_outcome(event)
        if event.status == "ok":
            self._check_answered(event, scope)
            check_ok(event, scope)
            if not self._forked:
                check_items(event, scope)
        self._close(event, scope)

    def _close(self, event: End, scope: Scope) -> None:
        parent = scope.parent
        self._open.close(scope)
        self._closed[scope.span] = event, parent
        self._questions.pop(scope.span, None)
        scope.last = None  # where it failed before the Action came, that is missing now
        if parent is None:
            return
        if isinstance(event, ev.ItemEnd) and event.status == "error" and parent.kind == "node":
            return  # which may go on, with `return_exceptions`
        if event.status != "ok":
            parent.failed = parent.failed or event
        elif not isinstance(event, ev.ItemEnd):
            parent.last = event

    def _act(self, event: ev.Action) -> None:
        end, scope = self._closed.get(event.span, (None, None))
        if end is None:
            raise broken(event, f"span is {event.span!r}, which is {self._state(event.span)}")
        if scope is None or scope.last is not end:
            raise broken(event, f"{name_of(end)} has no Action, or has had it")
        why = f"as of {name_of(end)}"
        expect(event, why, node=end.node, items=end.items, step=end.step, attempt=end.attempt)
        if isinstance(end, ev.FlowEnd):
            expect(event, why, action=end.action)
        if event.target is not None:
            check_path(event, event.target, scope.node, "target")
        scope.last = event

    # -- what comes between -------------------------------------------------------------------

    def _scope(self, event: Event) -> Scope:
        """The open scope of an event that is no start, which it agrees with."""
        scope = self._open.of(event)
        if scope is None:
            raise broken(event, f"span is {event.span!r}, which is {self._state(event.span)}")
        start = scope.event
        expect(
            event, f"as of {name_of(start)}", node=start.node, items=start.items, step=start.step
        )
        expect(event, f"the one that {name_of(start)} is in", attempt=scope.attempt)
        return scope

    def _retry(self, event: ev.Retry, scope: Scope) -> None:
        lost = event.error.startswith("Lost")
        if scope.has_nodes or (scope.indexes and not lost):
            raise broken(event, "is of a flow or of a whole batch, which are not tried again")
        if scope.last_try and not lost:
            raise broken(event, "comes after the Retry with fallback=True, the last of its step")
        if scope.inside:
            raise broken(event, f"comes before the end of {scope.first_inside()} in it")
        check_error(event, event.error)
        check_finite(event, "wait", least=0)
        scope.attempt += 1
        asked = self._questions.pop(event.span, None)  # its code was left
        if not lost:
            scope.last_try = event.fallback
            return
        scope.lost = True
        if scope.parent is not None and scope.kind == "item":
            scope.parent.lost = True
        if asked is not None:
            self._recalled.add(asked.id)
        scope.indexes.clear()  # its items begin again
        scope.done, scope.total, scope.failed = 0, None, None

    def _ask(self, event: ev.Interrupt, scope: Scope) -> None:
        if scope.has_nodes:
            raise broken(event, "is of a flow: its nodes ask")
        if scope.inside:
            raise broken(event, f"asks where {scope.first_inside()} is open, which asks itself")
        again = event.id in self._recalled and self._asked[event.id] == event.span
        if event.id in self._asked and not again:
            raise broken(event, f"id is {event.id!r}, which was asked before")
        self._recalled.discard(event.id)
        self._check_answered(event, scope)
        check_finite(event, "expires")
        self._asked[event.id] = event.span
        self._questions[event.span] = event

    def _check_answered(self, event: Event, scope: Scope) -> None:
        """Check that the code of this scope can go on, so that the event can come."""
        asked = self._questions.get(scope.span)
        if asked is not None and asked.expires is None:
            raise broken(event, f"comes before the answer to {name_of(asked)}, id {asked.id!r}")

    def _answer(self, event: ev.Reply) -> None:
        if event.id not in self._asked:
            raise broken(event, f"id is {event.id!r}, which nothing asked")
        if self._asked[event.id] != event.span:
            raise broken(event, f"id is {event.id!r}, which span {self._asked[event.id]} asked")
        asked = self._questions.pop(event.span, None)
        if asked is None or asked.id != event.id:
            raise broken(event, f"id is {event.id!r}, which is answered already, or given up")

    def _state(self, span: int) -> str:
        if span in self._open.by_span:
            return "still open"
        return "ended already" if span in self._closed else "no start"


def _known(event: ev.ItemStart | ev.ItemEnd, parent: Scope) -> int | None:
    """The total that an item's event has to have: any after a loss, none if it is not known."""
    others = parent.lost or (isinstance(event, ev.ItemEnd) and event.status == "cancelled")
    return event.total if others or event.total is None else parent.total
