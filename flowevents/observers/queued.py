"""A slow handler in the background: `queued(handler)` hands it the events in a thread of its own.

The producer's side takes no lock and never waits while there is room: it appends to a deque, and
wakes the thread only where that said that it sleeps. Each side first writes what the other reads,
then reads what the other writes, so that no wake-up is lost.
"""

from __future__ import annotations

import atexit
import logging
import queue
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from flowevents.errors import ObserverError
from flowevents.events import Chunk, Event, FlowEnd, Progress
from flowevents.signals import handlers_of, is_async_callable

if TYPE_CHECKING:
    from typing_extensions import Self

    _Wakes = queue.SimpleQueue["Queued | None"]

__all__ = ["Gap", "Queued", "queued"]

Overflow = Literal["block", "drop_oldest", "coalesce"]

logger: Final = logging.getLogger("flowevents")


class Gap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a queued handler is given in place of events that were dropped.

    Attributes:
        run_id: The run whose events are missing.
        dropped: How many. They came before the run's next event that the handler is given.
    """

    run_id: str
    dropped: int


def queued(handler: object, maxsize: int = 1000, overflow: Overflow = "block") -> Queued:
    """Run a slow handler or observer in the background.

    Args:
        handler: A callable of one event, or an object with `on_<signal>` methods; plain ones. It is
            called in one thread, with one event after the other, in order.
        maxsize: How many events may wait.
        overflow: What happens to one more. `"block"` lets the run wait for room. `"drop_oldest"`
            drops the oldest chunk or progress that waits, and hands the handler a `Gap` in its
            place (an observer by its `on_gap`); all other events stay, if need be beyond `maxsize`.
            `"coalesce"` joins a text chunk to the one that came just before in the same attempt,
            and otherwise waits for room.

    What the handler returns means nothing, an `Answer` included. What it raises is logged.

    Raises `ObserverError` for an `async def` handler or for what is none, and `ValueError` for a
    `maxsize` below 1 or an unknown `overflow`.
    """
    return Queued(handler, maxsize, overflow)


class Queued:
    """A handler and its queue: connect it, observe it, or give it to a run, as any other.

    `close()`, or leaving its `with` block, waits until the handler has been given everything, and
    ends the thread. So does the end of the process. Without it the thread ends when every run that
    it saw has ended, or when nothing holds the `Queued` any more; nothing pending is lost.
    """

    def __init__(self, handler: object, maxsize: int, overflow: Overflow) -> None:
        if overflow not in ("block", "drop_oldest", "coalesce"):
            raise ValueError(f"overflow={overflow!r}: 'block', 'drop_oldest' or 'coalesce'.")
        if maxsize < 1:
            raise ValueError(f"maxsize={maxsize!r}: how many events may wait; at least 1.")
        self._handlers = handlers_of(handler)
        for name, each in self._handlers.items():
            if is_async_callable(each):
                raise ObserverError(
                    f"queued calls plain functions in a thread, but {each!r} (for {name!r}) is "
                    "async. Connect it as it is: async runs await it."
                )
        observes = hasattr(handler, f"on_{next(iter(self._handlers), '')}")
        self._on_gap: Any = getattr(handler, "on_gap", None) if observes else handler
        self._maxsize = maxsize
        self._events: deque[Any] = deque()  # of events, `_Hole` and `_Joined`
        self._droppable = 0  # how many of them may be dropped
        self._lock = threading.RLock()
        self._waking: int | None = None  # the thread that is waking the other
        self._is_putting = False
        self._late: deque[Event] = deque()  # what came meanwhile in the same thread
        self._has_room = threading.Condition(self._lock)
        self._waiting = 0  # producers, for room
        self._runs: set[str] = set()  # that were seen and have not ended
        self._thread: threading.Thread | None = None
        self._asleep = True  # there is no thread, or it waits to be woken
        self._closing = False
        self._woken: _Wakes = queue.SimpleQueue()
        weakref.finalize(self, self._woken.put, None).atexit = False  # `_close_all` does more
        puts = {"block": self._put, "drop_oldest": self._drop, "coalesce": self._join}
        self._take: Callable[[Any], None] = puts[overflow]
        for name in {*self._handlers, "flow_end"}:  # by which it knows that a run has ended
            setattr(self, f"on_{name}", self._take)
        self.context: Any = getattr(handler, "context", None)
        _all.add(self)

    def __call__(self, event: Event) -> None:
        """Queue an event."""
        self._take(event)

    def close(self) -> None:
        """Wait until the handler has been given everything, and end its thread.

        Called by the handler itself it does not wait. A later event begins anew.
        """
        with self._lock:
            thread, self._closing = self._thread, True
            if thread is not None:
                self._woken.put(self)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- the producer's side ------------------------------------------------------------------

    def _put(self, event: Event) -> None:
        events = self._events
        if len(events) >= self._maxsize:
            self._wait_for_room()
        events.append(event)
        if self._asleep:
            self._wake()

    def _wait_for_room(self) -> None:
        if not self._may_wait():
            return
        if self._asleep:
            self._wake()
        with self._lock:
            self._waiting += 1  # first this, then the look; the thread does it the other way
            try:
                self._has_room.wait_for(lambda: len(self._events) < self._maxsize)
            finally:
                self._waiting -= 1

    def _may_wait(self) -> bool:
        """Whether somebody else could make room: the thread, once this one has begun it."""
        here = threading.get_ident()
        return self._waking != here and (self._thread is None or self._thread.ident != here)

    def _wake(self) -> None:
        with self._lock:
            if self._waking is not None:  # this thread does, further up
                return
            self._waking = threading.get_ident()
            try:
                self._begin()
            finally:
                self._waking = None

    def _begin(self) -> None:
        self._asleep = False
        if sys.is_finalizing():  # a thread would never begin
            self._drain()
            return
        if self._thread is None:
            self._closing = False
            thread = threading.Thread(
                target=_work, args=(self._woken,), name="flowevents queued", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # at the end of the process none can start any more
                self._drain()
                return
            self._thread = thread
        self._woken.put(self)

    def _drop(self, event: Event) -> None:
        """Queue an event, dropping what is oldest where there is no room."""
        self._put_in_turn(self._add_dropping, event)

    def _put_in_turn(self, put: Callable[[Event], bool], event: Event) -> None:
        """Put it when everything that came before is, and wait for room where `put` has none.

        The garbage collector may end a run wherever it likes, also in the middle of a `put`; what
        comes then, in the thread that has the lock, is put afterwards. (`Turns` do the same, but
        nobody could come in while one waits for room inside of them.)
        """
        with self._lock:
            self._late.append(event)
            if self._is_putting:
                return
            while self._late:  # by this thread, or while it waits for room by another one
                self._is_putting = True
                try:
                    is_put = put(self._late[0])
                    if is_put:
                        self._late.popleft()
                finally:
                    self._is_putting = False
                if not is_put:
                    self._wait_for_room()
        if self._asleep:
            self._wake()

    def _add_dropping(self, event: Event) -> bool:
        while len(self._events) >= self._maxsize and self._droppable:
            self._drop_one()
        self._events.append(event)
        may_be_dropped = isinstance(event, (Chunk, Progress))
        self._droppable += may_be_dropped
        return True

    def _drop_one(self) -> None:
        """Drop the oldest event that may be; a hole takes its place, or the one before grows."""
        holes: dict[str, _Hole] = {}  # of each run, with no event of that run after it
        for index, event in enumerate(self._events):
            if isinstance(event, _Hole):
                holes[event.run_id] = event
            elif isinstance(event, (Chunk, Progress)):
                hole = holes.get(event.run_id)
                if hole is None:
                    self._events[index] = _Hole(event.run_id)
                else:
                    hole.dropped += 1
                    del self._events[index]
                self._droppable -= 1
                return
            else:
                holes.pop(event.run_id, None)

    def _join(self, event: Event) -> None:
        """Queue an event, joining it to the last one where there is no room and it can be."""
        self._put_in_turn(self._add_joining, event)

    def _add_joining(self, event: Event) -> bool:
        if len(self._events) >= self._maxsize:
            last = self._events[-1]
            joined = last if isinstance(last, _Joined) else _Joined(last)
            if joined.add(event):
                self._events[-1] = joined
                return True
            if self._may_wait():
                return False
        self._events.append(event)
        return True

    # -- the thread's side --------------------------------------------------------------------

    def _drain(self) -> bool:
        """Hand on what waits; whether the thread shall sleep now, or else end."""
        while True:
            with self._lock:
                event = self._events.popleft() if self._events else None
                if event is None:
                    self._asleep = True  # first this, then the look; `_put` does it the other way
                    if self._events:
                        continue
                    if self._closing or not self._runs:
                        self._thread = None
                        return False
                    return True
                may_be_dropped = isinstance(event, (Chunk, Progress))
                self._droppable -= may_be_dropped
                if self._waiting:
                    self._has_room.notify_all()
            self._hand(event)

    def _hand(self, event: Any) -> None:
        if isinstance(event, _Hole):
            handler: Any = self._on_gap
            event = Gap(run_id=event.run_id, dropped=event.dropped)
        else:
            event = event.chunk() if isinstance(event, _Joined) else event
            handler = self._handlers.get(event.signal)
            if isinstance(event, FlowEnd) and not event.node:
                self._runs.discard(event.run_id)
            else:
                self._runs.add(event.run_id)
        if handler is None:
            return
        try:
            handler(event)
        except BaseException:
            logger.exception("Queued handler %r failed on %s", handler, type(event).__name__)


class _Hole:
    """Where events of a run were dropped."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.dropped = 1


class _Joined:
    """Chunks of text that are handed on as one, with the number and the time of the last."""

    def __init__(self, event: Event) -> None:
        self._last = event
        self._texts = [event.data] if isinstance(event, Chunk) else []

    def add(self, event: Event) -> bool:
        """Join a chunk, if it is text of the same attempt; whether it is."""
        last = self._last
        if not (
            isinstance(event, Chunk)
            and isinstance(last, Chunk)
            and isinstance(event.data, str)
            and isinstance(last.data, str)
            and (event.run_id, event.span, event.attempt, event.kind)
            == (last.run_id, last.span, last.attempt, last.kind)
        ):
            return False
        self._last = event
        self._texts.append(event.data)
        return True

    def chunk(self) -> Event:
        """All of them as one."""
        return msgspec.structs.replace(self._last, data="".join(self._texts))


def _work(woken: _Wakes) -> None:
    """The thread: holds the `Queued` only while there is something to do.

    Who wakes it hands over the `Queued`, so that it cannot be gone before what waits in it.
    """
    while (queued := woken.get()) is not None and queued._drain():
        del queued


_all: weakref.WeakSet[Queued] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """At the end of the process, have everything handed on before the daemon threads are gone."""
    for each in list(_all):
        each.close()
