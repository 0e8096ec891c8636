"""A slow handler in the background: `queued(handler)` gives it a thread of its own."""

from __future__ import annotations

import functools
import logging
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Literal, Self

import msgspec

from flowevents.at_exit import close_at_exit
from flowevents.errors import ObserverError
from flowevents.events import Chunk, Event, FlowEnd, Progress
from flowevents.signals import handlers_of, is_async_callable

__all__ = ["Gap", "Queued", "queued"]

Overflow = Literal["block", "drop_oldest", "coalesce"]

_logger: Final = logging.getLogger("flowevents")
_process = object()  # another one in each process that is forked


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

    In a process that was forked it begins anew: what was pending stays with the parent.
    """

    def __init__(self, handler: object, maxsize: int, overflow: Overflow) -> None:
        if overflow not in _QUEUES:
            raise ValueError(f"overflow={overflow!r}: 'block', 'drop_oldest' or 'coalesce'.")
        if maxsize < 1:
            raise ValueError(f"maxsize={maxsize!r}: how many events may wait; at least 1.")
        handlers = handlers_of(handler)
        for name, each in handlers.items():
            if is_async_callable(each):
                raise ObserverError(
                    f"queued calls plain functions in a thread, but {each!r} (for {name!r}) is "
                    "async. Connect it as it is: async runs await it."
                )
        observes = hasattr(handler, f"on_{next(iter(handlers), '')}")
        on_gap = getattr(handler, "on_gap", None) if observes else handler
        self._make = functools.partial(_QUEUES[overflow], {**handlers, "gap": on_gap}, maxsize)
        self._queue = self._begin()
        for name in {*handlers, "flow_end"}:  # by which it knows that a run has ended
            setattr(self, f"on_{name}", self._put)
        self.context: Any = getattr(handler, "context", None)

    def __call__(self, event: Event) -> None:
        """Queue an event."""
        self._put(event)

    def close(self) -> None:
        """Wait until the handler has been given everything, and end its thread.

        Called by the handler itself it does not wait. A later event begins anew.
        """
        self._queue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _put(self, event: Event) -> None:
        if self._queue.process is not _process:
            self._queue = self._begin()
        self._queue.put(event)

    def _begin(self) -> _Queue:
        begun = self._make()
        weakref.finalize(self, begun.leave).atexit = False  # there `finish` does more
        return begun


class _Queue:
    """Events that wait, and the thread that hands them on. Where there is no room, a run waits.

    Args:
        handlers: By signal, and by `"gap"`.
        maxsize: How many events may wait.
    """

    def __init__(self, handlers: Mapping[str, Any], maxsize: int) -> None:
        self.process = _process
        self._handlers = handlers
        self._maxsize = maxsize
        self._events: deque[Any] = deque()
        self._runs: set[str] = set()  # that were seen and have not ended
        self._lock = threading.RLock()
        self._has_room = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None  # while there is something to do, or to come
        self._is_idle = False  # it waits for the bell
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ends: Literal["", "closed", "finished"] = ""

    def put(self, event: Event) -> None:
        """Add an event, when there is room."""
        with self._lock:
            while not self._add(event):
                if self._thread in (None, threading.current_thread()):  # nobody else makes room
                    self._push(event)
                    break
                self._has_room.wait()
            if self._thread is None:
                self._start()
            elif self._is_idle:
                self._wake()

    def close(self) -> None:
        """End the thread when everything was handed on, and wait for that."""
        thread = self.leave()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def finish(self) -> None:
        """Close it at the end of the process: what comes later is handed on at once."""
        self._ends = "finished"
        self.close()

    def leave(self) -> threading.Thread | None:
        """End the thread when everything was handed on."""
        if self.process is not _process:  # it has no thread here, and nobody may hold its lock
            return None
        with self._lock:
            self._ends = self._ends or "closed"
            if self._is_idle:
                self._wake()
            return self._thread

    # -- what waits ---------------------------------------------------------------------------

    def _add(self, event: Event) -> bool:
        """Add an event where there is room; whether there was."""
        if len(self._events) >= self._maxsize:
            return False
        self._push(event)
        return True

    def _push(self, event: Event) -> None:
        self._events.append(event)

    def _pop(self) -> Any:
        return self._events.popleft()

    # -- the thread ---------------------------------------------------------------------------

    def _start(self) -> None:
        if self._ends != "finished":
            self._ends = ""
            close_at_exit("queues", self, _Queue.finish)
            thread = threading.Thread(target=self._work, name="flowevents queued", daemon=True)
            self._thread = thread
            try:
                thread.start()
                return
            except RuntimeError:  # at the end of the process none can start any more
                self._thread = None
        while self._events:
            self._hand(self._pop())

    def _work(self) -> None:
        while self.process is _process:  # else the handler has forked
            event = None
            with self._lock:
                if self._events:
                    event = self._pop()
                    self._has_room.notify_all()
                elif self._ends or not self._runs:
                    self._thread = None
                    return
                else:
                    self._is_idle = True
            if event is None:
                self._bell.get()
            else:
                self._hand(event)

    def _wake(self) -> None:
        self._is_idle = False
        self._bell.put(None)

    def _hand(self, event: Any) -> None:
        if isinstance(event, Gap):
            handler = self._handlers["gap"]
        else:
            handler = self._handlers.get(event.signal)
            if isinstance(event, FlowEnd) and not event.node:
                self._runs.discard(event.run_id)
            else:
                self._runs.add(event.run_id)
        try:
            if handler is not None:
                handler(event)
        except BaseException:
            _logger.exception("Queued handler %r failed on %s", handler, type(event).__name__)


class _Dropping(_Queue):
    """Where there is no room, the oldest chunk or progress is dropped."""

    def __init__(self, handlers: Mapping[str, Any], maxsize: int) -> None:
        super().__init__(handlers, maxsize)
        self._droppable = 0  # how many of those that wait

    def _add(self, event: Event) -> bool:
        while len(self._events) >= self._maxsize and self._droppable:
            self._drop()
        self._push(event)
        return True

    def _push(self, event: Event) -> None:
        self._events.append(event)
        self._droppable += isinstance(event, (Chunk, Progress))

    def _pop(self) -> Any:
        event = self._events.popleft()
        self._droppable -= isinstance(event, (Chunk, Progress))
        return event

    def _drop(self) -> None:
        """Drop the oldest that may be; a gap takes its place, or the one before it grows."""
        gaps: dict[str, int] = {}  # the place of each run's, with no event of that run after it
        for place, event in enumerate(self._events):
            if isinstance(event, Gap):
                gaps[event.run_id] = place
            elif not isinstance(event, (Chunk, Progress)):
                gaps.pop(event.run_id, None)
            else:
                gap = gaps.get(event.run_id, place)
                before = self._events[gap].dropped if gap != place else 0
                self._events[gap] = Gap(run_id=event.run_id, dropped=before + 1)
                if gap != place:
                    del self._events[place]
                self._droppable -= 1
                return


class _Joining(_Queue):
    """Where there is no room, a text is joined to the one before; else a run waits."""

    def __init__(self, handlers: Mapping[str, Any], maxsize: int) -> None:
        super().__init__(handlers, maxsize)
        self._texts: list[str] = []  # of the last event, where it is several

    def _add(self, event: Event) -> bool:
        if super()._add(event):
            return True
        last = self._events[-1]
        if not (
            isinstance(event, Chunk)
            and isinstance(last, Chunk)
            and isinstance(event.data, str)
            and isinstance(last.data, str)
            and (event.run_id, event.span, event.attempt, event.kind)
            == (last.run_id, last.span, last.attempt, last.kind)
        ):
            return False
        self._texts = self._texts or [last.data]
        self._texts.append(event.data)
        self._events[-1] = event  # with its number and time
        return True

    def _push(self, event: Event) -> None:
        self._join()
        self._events.append(event)

    def _pop(self) -> Any:
        if len(self._events) == 1:
            self._join()
        return self._events.popleft()

    def _join(self) -> None:
        if self._texts:
            self._events[-1] = msgspec.structs.replace(self._events[-1], data="".join(self._texts))
            self._texts = []


_QUEUES: Final[dict[Overflow, type[_Queue]]] = {
    "block": _Queue,
    "drop_oldest": _Dropping,
    "coalesce": _Joining,
}


def _forked() -> None:
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)
