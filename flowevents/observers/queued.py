"""A slow handler in the background: `queued(handler)` gives it a thread of its own."""

from __future__ import annotations

import logging
import os
import queue
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import msgspec

from flowevents.at_exit import close_at_exit
from flowevents.errors import ObserverError
from flowevents.events import Chunk, Event, FlowEnd, Progress
from flowevents.plain import text_in
from flowevents.signals import handlers_of, is_async_callable

__all__ = ["Gap", "Queued", "queued"]

Overflow = Literal["block", "drop_oldest", "coalesce"]

if TYPE_CHECKING:
    _Bell = queue.SimpleQueue["Queued | None"]

_logger: Final = logging.getLogger("flowevents")


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
    if overflow not in _KINDS:
        raise ValueError(f"overflow={overflow!r}: 'block', 'drop_oldest' or 'coalesce'.")
    if maxsize < 1:
        raise ValueError(f"maxsize={maxsize!r}: how many events may wait; at least 1.")
    return _KINDS[overflow](handler, maxsize)


class Queued:
    """A handler and its queue: connect it, observe it, or give it to a run, as any other.

    `close()`, or leaving its `with` block, waits until the handler has been given everything, and
    ends the thread. So does the end of the process. Without it the thread ends when every run that
    it saw has ended, or when nothing holds the `Queued` any more; nothing pending is lost.

    In a process that was forked it begins anew: what was pending stays with the parent.
    """

    def __init__(self, handler: object, maxsize: int) -> None:
        handlers = handlers_of(handler)
        for name, each in handlers.items():
            if is_async_callable(each):
                raise ObserverError(
                    f"queued calls plain functions in a thread, but {each!r} (for {name!r}) is "
                    "async. Connect it as it is: async runs await it."
                )
        for name in {*handlers, "flow_end"}:  # by which it knows that a run has ended
            setattr(self, f"on_{name}", self.__call__)
        observes = hasattr(handler, f"on_{next(iter(handlers), '')}")
        self._methods: dict[str, Any] = {  # by the name of a signal, and these two
            **handlers,
            "gap": getattr(handler, "on_gap", None) if observes else handler,
            "context": getattr(handler, "context", None),
        }
        self._maxsize = maxsize
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._events: deque[Any] = deque()
        self._runs: set[str] = set()  # that were seen and have not ended
        self._lock = threading.RLock()
        self._has_room = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None  # while there is something to do, or to come
        self._is_idle = False  # it waits for the bell
        self._bell: _Bell = queue.SimpleQueue()
        self._ends: Literal["", "closed", "finished"] = ""
        weakref.finalize(self, self._bell.put, None).atexit = False  # there `_finish` does more

    @property
    def context(self) -> Any:
        """That of the observer, which is asked at once."""
        return self._methods["context"]

    def __call__(self, event: Event) -> None:
        """Queue an event, when there is room."""
        if self._process != os.getpid():
            self._begin()
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
        """Wait until the handler has been given everything, and end its thread.

        Called by the handler itself it does not wait. A later event begins anew.
        """
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            thread = self._thread
            self._ends = self._ends or "closed"
            if self._is_idle:
                self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _finish(self) -> None:
        """Close it at the end of the process: what comes later is handed on at once."""
        self._ends = "finished"
        self.close()

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
            close_at_exit("queues", self, Queued._finish)
            self._thread = threading.Thread(
                target=_work, args=(self._bell,), name="flowevents queued", daemon=True
            )
            try:
                self._thread.start()
                self._wake()
                return
            except RuntimeError:  # at the end of the process none can start any more
                self._thread = None
        while self._events:
            self._hand(self._pop())

    def _wake(self) -> None:
        self._is_idle = False
        self._bell.put(self)

    def _hand_on(self) -> bool:
        """Hand on what waits; whether the thread shall wait for more, or else end."""
        while self._process == os.getpid():  # else the handler has forked
            with self._lock:
                if not self._events:
                    self._is_idle = bool(self._runs) and not self._ends
                    if not self._is_idle:
                        self._thread = None
                    return self._is_idle
                event = self._pop()
                self._has_room.notify_all()
            self._hand(event)
        return False

    def _hand(self, event: Any) -> None:
        if isinstance(event, Gap):
            handler = self._methods["gap"]
        else:
            handler = self._methods.get(event.signal)
            if isinstance(event, FlowEnd) and not event.node:
                self._runs.discard(event.run_id)
            else:
                self._runs.add(event.run_id)
        try:
            if handler is not None:
                handler(event)
        except BaseException:
            _logger.exception("Queued handler %r failed on %s", handler, type(event).__name__)


def _work(bell: _Bell) -> None:
    """The thread: holds the `Queued` only while there is something to do.

    Who wakes it hands it over, so that it cannot be gone before what waits in it.
    """
    while (woken := bell.get()) is not None and woken._hand_on():
        del woken


class _Dropping(Queued):
    """Drops the oldest chunk or progress where there is no room."""

    def _begin(self) -> None:
        super()._begin()
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
        """A gap takes its place, or the one before it grows."""
        gaps: dict[str, int] = {}  # the place of each run's, with no event of that run after it
        for place, event in enumerate(self._events):
            if isinstance(event, Gap):
                gaps[event.run_id] = place
            elif not isinstance(event, (Chunk, Progress)):
                gaps.pop(event.run_id, None)
            else:
                before = gaps.get(event.run_id)
                if before is None:
                    self._events[place] = Gap(run_id=event.run_id, dropped=1)
                else:
                    dropped = self._events[before].dropped + 1
                    self._events[before] = Gap(run_id=event.run_id, dropped=dropped)
                    del self._events[place]
                self._droppable -= 1
                return


class _Joining(Queued):
    """Joins a text to the one before where there is no room."""

    def _begin(self) -> None:
        super()._begin()
        self._texts: list[str] = []  # of the last event, where it is several

    def _add(self, event: Event) -> bool:
        if super()._add(event):
            return True
        last = self._events[-1]
        if not (
            isinstance(event, Chunk)
            and isinstance(last, Chunk)
            and (text := text_in(event.data)) is not None
            and (before := text_in(last.data)) is not None
            and (event.run_id, event.span, event.attempt, event.kind)
            == (last.run_id, last.span, last.attempt, last.kind)
        ):
            return False
        self._texts = self._texts or [before]
        self._texts.append(text)
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


_KINDS: Final[dict[Overflow, type[Queued]]] = {
    "block": Queued,
    "drop_oldest": _Dropping,
    "coalesce": _Joining,
}
