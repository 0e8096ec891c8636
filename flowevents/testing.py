"""Checks and stand-ins for the tests of what is built with flowevents.

    check_events    that a stream of events is well-formed, from the first to the last
    capture_events  what is sent while a `with` block runs, as a list
    ManualClock     time that passes when a test says so
    ScriptedModel   a model that answers what a test wrote down

`check_events` holds the rules of a stream in one place: `_Stream` takes one event after the other
and knows of each open start a `_Scope`. A rule that is broken raises at once, so that the first
event that breaks one is the one that is named.
"""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from flowevents.clock import Clock
from flowevents.engine.effects import wake
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
from flowevents.signals import ANY, observe

__all__ = ["ManualClock", "ScriptedModel", "capture_events", "check_events"]


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


@contextmanager
def capture_events(sender: object = ANY) -> Iterator[list[Event]]:
    """Collect what `sender` sends while the `with` block runs: `with capture_events() as events`.

    Args:
        sender: As in `EventSignal.connect`; `ANY` hears every run of the process.
    """
    events: list[Event] = []
    with observe(events.append, sender=sender):
        yield events


# -- the rules of a stream --------------------------------------------------------------------

_Start = FlowStart | NodeStart | ItemStart
_End = FlowEnd | NodeEnd | ItemEnd

_START_OF: Final[dict[type[Event], type[Event]]] = {
    FlowEnd: FlowStart,
    NodeEnd: NodeStart,
    ItemEnd: ItemStart,
}
_NAME: Final = re.compile(r"[^/#]+(#([2-9]|[1-9]\d+))?")


class _Scope:
    """A start that is open, and what came under it.

    Attributes:
        parent: The enclosing scope, or `None`.
        has_nodes: What it holds are nodes and nested flows; of others, items.
        attempt: What the next event of its span carries.
        children: The starts that are open directly under it, by `seq`.
        failed: The first end directly under it that is not ok.
        counts: How often each path has begun under it.
        ended: The ok end whose `Action` has not come yet.
        moved: The last `Action` under it, until what it leads to begins.
        indexes, done, total: Of its items: those used, how many ended, of how many.
        last_try: The attempt is that of a fallback, after which there is none.
    """

    def __init__(self, start: _Start, parent: _Scope | None) -> None:
        self.start = start
        self.parent = parent
        of_flow = parent is not None and isinstance(parent.start, FlowStart)
        self.has_nodes = isinstance(start, FlowStart) or (isinstance(start, ItemStart) and of_flow)
        self.attempt = start.attempt
        self.children: dict[int, _Scope] = {}
        self.failed: _End | None = None
        self.counts: dict[str, int] = {}
        self.ended: _End | None = None
        self.moved: Action | None = None
        self.indexes: set[int] = set()
        self.done = 0
        self.total: int | None = None
        self.last_try = False

    def first_child(self) -> str:
        """What the first open start directly under it is called."""
        return _name(next(iter(self.children.values())).start)


class _Stream:
    """The events of one run so far."""

    def __init__(self) -> None:
        self._run_id: str | None = None
        self._seq = 0
        self._open: dict[int, _Scope] = {}
        self._closed: dict[int, _End] = {}
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
        for scope in reversed(self._open.values()):
            if not scope.children and not self._questions.get(scope.start.seq):
                raise _broken(scope.start, "has no end, and waits for no answer")

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
        if event.seq > 1 and not self._open:
            raise _broken(event, "comes after the FlowEnd of the run's own flow, the last event")

    # -- starts -------------------------------------------------------------------------------

    def _begin(self, event: _Start) -> None:
        _expect(event, "its own seq, as of every start", span=event.seq)
        parent = None
        if event.seq == 1:
            self._begin_run(event)
        else:
            parent = self._open.get(event.parent)
            if parent is None:
                state = self._state(event.parent)
                raise _broken(event, f"parent is {event.parent!r}, which is {state}")
            if isinstance(event, ItemStart):
                self._begin_item(event, parent)
            else:
                self._begin_node(event, parent)
        self._open[event.seq] = scope = _Scope(event, parent)
        if parent is not None:
            parent.children[event.seq] = scope

    def _begin_run(self, event: _Start) -> None:
        why = "as of the run's own flow"
        _expect(event, why, parent=0, node="", items=(), step=0, attempt=0)
        if isinstance(event, FlowStart):
            _check_name(event, event.flow, "flow")

    def _begin_item(self, event: ItemStart, parent: _Scope) -> None:
        above = parent.start
        if isinstance(above, ItemStart) or parent.counts or parent.attempt > 1:
            raise _broken(event, f"begins in {_name(above)}, which is no batch")
        _expect(
            event,
            f"as of its batch, {_name(above)}",
            node=above.node,
            step=above.step,
            attempt=0 if isinstance(above, FlowStart) else 1,
        )
        items = f"items is {event.items!r}"
        if event.items[:-1] != above.items or len(event.items) != len(above.items) + 1:
            raise _broken(event, f"{items}, not {above.items!r} and one index more")
        index = event.items[-1]
        if index < 0 or index in parent.indexes:
            raise _broken(event, f"{items}: {index!r} was used before, or is no index")
        if parent.indexes:
            _expect(event, "as of the batch's first item", total=parent.total)
        if event.total is not None and index >= event.total:
            raise _broken(event, f"{items}: {index!r} is beyond total {event.total!r}")
        parent.total = event.total
        parent.indexes.add(index)

    def _begin_node(self, event: FlowStart | NodeStart, parent: _Scope) -> None:
        above = parent.start
        if not parent.has_nodes or parent.indexes:
            what = "a batch's items hold its nodes" if parent.indexes else "nodes are in flows"
            raise _broken(event, f"begins in {_name(above)}: {what}")
        if parent.children:
            raise _broken(event, f"begins in a flow where {parent.first_child()} is open")
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

    def _end(self, event: _End, scope: _Scope) -> None:
        start, parent = scope.start, scope.parent
        if type(start) is not _START_OF[type(event)]:
            raise _broken(event, f"ends {_name(start)}, a start of another kind")
        if scope.children:
            raise _broken(event, f"comes before the end of {scope.first_child()} in it")
        if isinstance(event, ItemEnd) and parent is not None:
            _expect(event, "the items of its batch that have ended", done=parent.done + 1)
            _expect(event, f"as of {_name(start)}", total=parent.total)
            parent.done += 1
        _check_outcome(event)
        if event.status == "ok":
            _check_ok(event, scope)
        self._close(event, scope)

    def _close(self, event: _End, scope: _Scope) -> None:
        seq, parent = scope.start.seq, scope.parent
        del self._open[seq]
        self._closed[seq] = event
        self._questions.pop(seq, None)
        if scope.ended is not None:  # it failed before the Action came, which is missing now
            del self._due[scope.ended.span]
        if parent is None:
            return
        del parent.children[seq]
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
            _check_path(event, event.target, scope.start.node, "target")
        scope.ended, scope.moved = None, event

    # -- what comes between -------------------------------------------------------------------

    def _scope(self, event: Event) -> _Scope:
        """The open scope of an event that is no start, which it agrees with."""
        scope = self._open.get(event.span)
        if scope is None:
            raise _broken(event, f"span is {event.span!r}, which is {self._state(event.span)}")
        start = scope.start
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
        if span in self._open:
            return "still open"
        return "ended already" if span in self._closed else "no start"


def _check_ok(event: _End, scope: _Scope) -> None:
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


def _check_outcome(event: _End) -> None:
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


# -- stand-ins --------------------------------------------------------------------------------


class ManualClock(Clock):
    """A clock that stands still until it is advanced: `flow.run(shared, clock=ManualClock())`.

    A wait before a retry advances it at once and returns; a wait for an answer goes on until there
    is one, or until it was advanced to when the question expires. It may be used from any thread.

    Args:
        start: The first time, in seconds since the epoch.

    Attributes:
        sleeps: The waits so far, in seconds, in order.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        super().__init__()
        self._now = start
        self._lock = threading.Lock()
        self._alarms: list[tuple[float, Callable[[], object]]] = []
        self.sleeps: list[float] = []

    def time(self) -> float:
        """The time that it was advanced to."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """The same."""
        return self.time()

    def advance(self, seconds: float) -> None:
        """Let this many seconds pass. Raises `ValueError` for less than 0."""
        if not seconds >= 0:
            raise ValueError(f"Cannot advance the clock by {seconds!r} s: time does not go back.")
        with self._lock:
            self._now += seconds
            due = [ring for until, ring in self._alarms if until <= self._now]
        for ring in due:
            ring()

    @contextmanager
    def _alarm(self, until: float, ring: Callable[[], object]) -> Iterator[None]:
        """Have `ring` called when it is `until`; at once if it is already."""
        alarm = (until, ring)
        with self._lock:
            self._alarms.append(alarm)
            due = until <= self._now
        if due:
            ring()
        try:
            yield
        finally:
            with self._lock:
                self._alarms.remove(alarm)

    def sleep(self, seconds: float, woken: threading.Event) -> None:
        """Note the wait and let it pass; where `woken` is set already, do nothing."""
        if not woken.is_set():
            self.sleeps.append(seconds)
            self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Note the wait and let it pass; other tasks get a turn."""
        self.sleeps.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def wait(self, woken: threading.Event, until: float | None) -> None:
        """Wait until `woken` is set, or the clock has been advanced to `until`."""
        with self._alarm(math.inf if until is None else until, woken.set):
            woken.wait()

    async def wait_async(self, woken: asyncio.Future[None], until: float | None) -> None:
        """Wait until `woken` is done, or the clock has been advanced to `until`."""
        loop = asyncio.get_running_loop()
        rung = loop.create_future()

        def ring() -> None:
            loop.call_soon_threadsafe(wake, rung)

        with self._alarm(math.inf if until is None else until, ring):
            await asyncio.wait([woken, rung], return_when=asyncio.FIRST_COMPLETED)


class ScriptedModel:
    """A model that gives one scripted reply per call, in order; it may be used from any thread.

    Args:
        replies: What the calls give. A reply is a text, streamed word by word; or a list of the
            chunks to stream; or an exception to raise, which a list may hold too, to fail midway.
            Any iterable will do: `itertools.repeat("yes")` never runs out.

    Attributes:
        calls: The prompts so far, in order.

    A call beyond the last reply raises `AssertionError` with its prompt.
    """

    def __init__(
        self, replies: Iterable[str | BaseException | Iterable[str | BaseException]]
    ) -> None:
        if isinstance(replies, str):
            raise TypeError(f"replies={replies!r} is a single text: put it in a list.")
        self._replies = iter(replies)
        self._lock = threading.Lock()
        self.calls: list[object] = []

    def __call__(self, prompt: object) -> str:
        """The next reply as a whole."""
        return "".join(self.stream(prompt))

    def stream(self, prompt: object) -> Iterator[str]:
        """The next reply, chunk by chunk. The call takes it, iterating raises what it holds."""
        return _play(self._take(prompt))

    async def acall(self, prompt: object) -> str:
        """The next reply as a whole, in an event loop."""
        return "".join([chunk async for chunk in self.astream(prompt)])

    def astream(self, prompt: object) -> AsyncIterator[str]:
        """`stream` in an event loop; before each chunk other tasks get a turn."""
        return _play_async(self._take(prompt))

    def _take(self, prompt: object) -> list[str | BaseException]:
        with self._lock:
            self.calls.append(prompt)
            reply = next(self._replies, None)
            if reply is None:
                raise AssertionError(
                    f"ScriptedModel has no reply for call {len(self.calls)}, with the prompt "
                    f"{prompt!r}: give it more replies."
                )
        if isinstance(reply, BaseException):
            return [reply]
        return list(re.findall(r"\s*\S+|\s+\Z", reply) if isinstance(reply, str) else reply)


def _play(chunks: list[str | BaseException]) -> Iterator[str]:
    for chunk in chunks:
        if isinstance(chunk, BaseException):
            raise chunk
        yield chunk


async def _play_async(chunks: list[str | BaseException]) -> AsyncIterator[str]:
    for chunk in _play(chunks):
        await asyncio.sleep(0)
        yield chunk
