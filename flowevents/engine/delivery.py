"""Where an event of a run goes: to its handlers, in order, and to the consumer.

The rules of this file:

* Events are delivered one after the other, in the order of their numbers. One that arises while
  another is being delivered waits in `backlog`; so does one that an `async def` handler hears,
  until that can be awaited (`flushing.py`), and all that come after it.
* After its handlers an event goes to the consumer, where there is one, through `outbox`.
* In a sync run the consumer gets it at once: the engine yields `TAKE` to its driver. In an async
  run no event is a reason to give control away: events wait, at most `MAX_WAITING`, until the
  node's own code awaits something that is not done, or yields a chunk.

Only this file writes the fields of `Delivery`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from flowevents.engine.door import Door
from flowevents.engine.effects import wake
from flowevents.engine.options import Options
from flowevents.engine.stop import Stop
from flowevents.events import Chunk, Event
from flowevents.signals import Audience, Handlers, Receiver

__all__ = ["MAX_WAITING", "Delivery", "name_of"]

logger: Final = logging.getLogger("flowevents")

MAX_WAITING: Final = 1000
"""How many events of an async run wait before its code has to wait for who takes them."""


class Delivery:
    """Numbers and delivers the events of one run.

    Attributes:
        options, audience, door, stop: Those of the run.
        numbers: The run's next `seq`.
        backlog: Events that wait for their handlers.
        outbox: What waits for the consumer: events, or data of output chunks.
        limit: How many may wait there before the engine stops for it.
        delivering: An event is with its handlers now.
        flushing: The task that awaits async handlers, while it does.
        hungry: What the engine waits with, while parallel items run; woken for the consumer.
        handed: Items that have something in the outbox, and wait until it was taken.
        told: What was complained of already: async handlers of a sync run, steps that had ended.
    """

    __slots__ = (
        "audience",
        "backlog",
        "delivering",
        "door",
        "flushing",
        "handed",
        "hungry",
        "numbers",
        "options",
        "outbox",
        "stop",
        "told",
    )

    def __init__(self, options: Options, audience: Audience, door: Door, stop: Stop) -> None:
        self.options: Options = options
        self.audience: Audience = audience
        self.door: Door = door
        self.stop: Stop = stop
        self.numbers: Iterator[int] = itertools.count(1)
        self.backlog: deque[tuple[Event, Handlers]] = deque()
        self.outbox: deque[Any] = deque()
        self.delivering: bool = False
        self.flushing: asyncio.Task[None] | None = None
        self.hungry: asyncio.Future[None] | None = None
        self.handed: list[asyncio.Future[None]] = []
        self.told: list[Any] = []

    def go_on(self, seq: int) -> None:
        """Go on after this number, in a run that goes on."""
        self.numbers = itertools.count(seq + 1)

    def deliver(self, event: Event, handlers: Handlers) -> bool:
        """Hand an event to its handlers, or let it wait its turn, then to the consumer.

        Returns whether the engine has something to do about it at its next safe point. Raises what
        is no `Exception` and came from a handler, after the others were called.
        """
        recorder = self.options.recorder
        if recorder is not None:
            return self._deliver_all(recorder.store(event, handlers))
        return self.deliver_stored(event, handlers)

    def deliver_held(self) -> bool:
        """Store and deliver what was held back to be stored with what follows it."""
        recorder = self.options.recorder
        return recorder is not None and self._deliver_all(recorder.store_held())

    def _deliver_all(self, due: list[tuple[Event, Handlers]]) -> bool:
        first: BaseException | None = None
        for event, handlers in due:
            try:
                self.deliver_stored(event, handlers)
            except BaseException as error:  # of a handler: the others are stored, too
                first = first or error
        if first is not None:
            raise first
        return bool(due) and self.is_due()

    def deliver_stored(self, event: Event, handlers: Handlers) -> bool:
        """`deliver` an event that was stored, if it has to be."""
        if self.delivering or self.backlog or handlers.asynchronous:
            self.backlog.append((event, handlers))
            return self.delivering or self.drain()
        self._call(event, handlers)
        if self.backlog:
            return self.drain()
        return self.is_due()

    def drain(self) -> bool:
        """Deliver what waits in the backlog, up to what has to be awaited."""
        is_sync = self.door.loop is None
        while self.backlog and (is_sync or not self.backlog[0][1].asynchronous):
            event, handlers = self.backlog.popleft()
            if handlers.asynchronous:
                handlers = self._refuse(event, handlers)
            self._call(event, handlers)
        return self.is_due()

    def drain_plainly(self) -> None:
        """Deliver the backlog to plain handlers only: nothing can be awaited any more."""
        if self.flushing is not None and self.backlog:  # its first is being delivered
            self.backlog.popleft()
        while self.backlog:
            event, handlers = self.backlog.popleft()
            self._call(event, handlers.plain())

    def _call(self, event: Event, handlers: Handlers) -> None:
        first: BaseException | None = None
        self.delivering = True
        try:
            for handler in handlers.calls:
                try:
                    handler(event)
                except Exception as error:
                    self.handler_failed(handler, event, error)
                except BaseException as error:
                    first = first or error
        finally:
            self.delivering = False
        if self.audience.consumer is not None:
            self.to_consumer(event)
        if first is not None:
            raise first

    def call(self, handler: Receiver, event: Event) -> Any:
        """Call one handler; what it emits waits its turn."""
        self.delivering = True
        try:
            return handler(event)
        finally:
            self.delivering = False

    def hold(self, held: bool) -> None:
        """Have every event wait in the backlog; or, when that is over, deliver what waits there."""
        self.delivering = held
        if not held:
            self.drain_plainly()

    def is_due(self) -> bool:
        """Whether the engine has to stop for what waits."""
        if self.stop.failure is not None:
            return True
        if self.door.loop is None:
            return bool(self.outbox)
        return len(self.outbox) + len(self.backlog) > MAX_WAITING

    def to_consumer(self, event: Event) -> None:
        """Put an event, or the data of an output chunk, where the consumer takes it."""
        if self.audience.consumer == "events":
            self.outbox.append(event)
        elif self.audience.consumer == "output" and type(event) is Chunk and event.kind == "output":
            self.outbox.append(event.data)
        else:
            return
        if self.hungry is not None:
            wake(self.hungry)

    def wait_with(self, hungry: asyncio.Future[None] | None) -> None:
        """Note what the engine waits with, while items of it run; `None` when it goes on."""
        self.hungry = hungry

    def wake(self) -> None:
        """Let the engine look again, where it waits for parallel items."""
        wake(self.hungry)

    def flush_by(self, task: asyncio.Task[None] | None) -> None:
        """Note the task that awaits async handlers; `None` when it has done so."""
        self.flushing = task
        if task is None:
            wake(self.hungry)
        else:  # one whose run is dropped is closed with it, which is no mistake to be logged
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def hand_over(self, taken: asyncio.Future[None]) -> None:
        """Have an item wait, with this, until what it has in the outbox was taken."""
        self.handed.append(taken)
        wake(self.hungry)

    def release_items(self) -> None:
        """Let those items go on: the consumer has taken what they had."""
        if self.handed:
            handed, self.handed = self.handed, []
            for each in handed:
                wake(each)

    # -- what goes wrong with handlers ----------------------------------------------------------

    def handler_failed(self, handler: object, event: Event, error: Exception) -> None:
        """Log what a handler raised, or keep it to fail the run at the next safe point."""
        if self.options.raise_handler_errors:
            self.fail(error)
            return
        logger.error(
            "Handler %s failed on %s (seq %s) of run %s",
            name_of(handler),
            type(event).__name__,
            event.seq,
            self.options.run_id,
            exc_info=error,
        )

    def fail(self, error: BaseException) -> None:
        """Have the run fail, at its next safe point, with what a handler raised."""
        if self.stop.fail(error):
            self.audience.touch()

    def first_time(self, what: object) -> bool:
        """Whether nothing was said of this yet."""
        if what in self.told:
            return False
        self.told.append(what)
        return True

    def _refuse(self, event: Event, handlers: Handlers) -> Handlers:
        """Report the async handlers of a sync run, each once, and leave them out."""
        for handler in handlers.asynchronous:
            if self.first_time(handler):
                self.handler_failed(
                    handler,
                    event,
                    TypeError(
                        f"Handler {name_of(handler)} is async, but the run is sync: nothing can "
                        "await it. Use a plain function, or run the flow with run_async."
                    ),
                )
        return handlers.plain()


def name_of(handler: object) -> str:
    """Return a handler's qualified name, for logs and errors."""
    inner: Any = handler
    while hasattr(inner, "func"):
        inner = inner.func
    name = getattr(inner, "__qualname__", None)
    return f"{inner.__module__}.{name}" if name else repr(handler)
