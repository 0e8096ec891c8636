"""Where an event of a run goes: to its handlers, in order, and to the consumer.

The rules of this file:

* Events are delivered one after the other, in the order of their numbers. One that arises while
  another is being delivered waits in `backlog`; so does one that an `async def` handler hears,
  until that can be awaited (`flushing.py`), and all that come after it. One of which a plain
  handler returned something to be awaited waits there for that, and for the handlers after it.
* After its handlers an event goes to the consumer, where there is one, through `outbox`.
* In a sync run the consumer gets it at once: the engine yields `TAKE` to its driver. In an async
  run no event is a reason to give control away, but where a store is awaited: events wait, at most
  `MAX_WAITING`, until the node's own code awaits something that is not done, or yields a chunk.
* A Ctrl-C may come before any line. An event has begun to be delivered where it is `last`: then all
  its handlers get it. One before that is lost, and `recover` takes its number back. What is on one
  line here, as a call and the note of it, is so for that reason.

Only this file writes the fields of `Delivery`.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

from flowevents.engine.door import Door
from flowevents.engine.effects import wake
from flowevents.engine.options import Options
from flowevents.engine.returned import Returned, let_go
from flowevents.engine.stop import Stop
from flowevents.errors import JournalError
from flowevents.events import Chunk, Event
from flowevents.messages import name_of
from flowevents.signals import Audience, Handlers, Receiver

if TYPE_CHECKING:
    from flowevents.engine.recorder import Recorder

__all__ = ["MAX_WAITING", "Delivery"]

logger: Final = logging.getLogger("flowevents")

MAX_WAITING: Final = 1000
"""How many events of an async run wait before its code has to wait for who takes them."""


class Delivery:
    """Numbers and delivers the events of one run.

    Attributes:
        options, audience, door, stop: Those of the run.
        numbers: The run's next `seq`.
        last: The last event that its handlers were given.
        backlog: Events that wait for their handlers.
        outbox: What waits for the consumer: events, or data of output chunks.
        delivering: An event is with its handlers now.
        flushing: The task that awaits async handlers, while it does.
        hungry: What the engine waits with, while parallel items run; woken for the consumer.
        handed: Items that have something in the outbox, and wait until it was taken.
    """

    __slots__ = (
        "audience",
        "backlog",
        "delivering",
        "door",
        "flushing",
        "handed",
        "hungry",
        "last",
        "numbers",
        "options",
        "outbox",
        "stop",
    )

    def __init__(self, options: Options, audience: Audience, door: Door, stop: Stop) -> None:
        self.options: Options = options
        self.audience: Audience = audience
        self.door: Door = door
        self.stop: Stop = stop
        self.numbers: Iterator[int] = itertools.count(1)
        self.last: Event | None = None
        self.backlog: deque[tuple[Event, Handlers]] = deque()
        self.outbox: deque[Any] = deque()
        self.delivering: bool = False
        self.flushing: asyncio.Task[None] | None = None
        self.hungry: asyncio.Future[None] | None = None
        self.handed: list[asyncio.Future[None]] = []

    def begin_after(self, seq: int) -> None:
        """Go on after this number, in a run that goes on."""
        self.numbers = itertools.count(seq + 1)

    def deliver(self, event: Event, handlers: Handlers) -> bool:
        """Hand an event to its handlers, or let it wait its turn, then to the consumer.

        Returns whether the engine has something to do about it at its next safe point. Raises what
        is no `Exception` and came from a handler, after the others were called.
        """
        recorder = self.options.recorder
        if recorder is not None:
            return self._deliver_all(recorder, recorder.store(event, handlers))
        return self.deliver_stored(event, handlers)

    def deliver_held(self) -> bool:
        """Store and deliver what was held back to be stored with what follows it."""
        recorder = self.options.recorder
        return recorder is not None and self._deliver_all(recorder, recorder.store_held())

    def _deliver_all(self, recorder: Recorder, due: list[tuple[Event, Handlers]]) -> bool:
        first: BaseException | None = None
        for event, handlers in due:
            try:
                self.deliver_stored(event, handlers)
            except BaseException as error:  # of a handler: the others are stored, too
                first = first or error
        if first is not None:
            raise first
        return bool(due) and (recorder.awaited or self.is_due())

    def deliver_stored(self, event: Event, handlers: Handlers) -> bool:
        """`deliver` an event that was stored, if it has to be."""
        if self.delivering or self.backlog or handlers.asynchronous:
            self.backlog.append((event, handlers))
            return self.delivering or self.drain()
        self._call(handlers.calls, event)
        if self.backlog:
            return self.drain()
        return self.is_due()

    def drain(self, *, plainly: bool = False) -> bool:
        """Deliver what waits in the backlog, up to what has to be awaited.

        All of it, whatever handlers raise that is no `Exception`; the first such error is raised.
        With `plainly` to plain handlers only: nothing can be awaited any more.
        """
        if plainly and self.flushing is not None and self._is_first_out():
            self.backlog.popleft()
        every = plainly or self.door.loop is None
        first: BaseException | None = None
        while self.backlog and (
            every or (self.flushing is None and not self.backlog[0][1].asynchronous)
        ):
            try:
                self._deliver_first(plainly)
            except BaseException as error:
                first = first or error
        if first is not None:
            raise first
        return self.is_due()

    def lose(self, error: JournalError) -> None:
        """Have the run stop, because nothing of it can be stored any more; from any thread."""
        assert self.options.recorder is not None
        self.options.recorder.lose(error)
        self.stop.ask(self.options.run_id, error)
        self.audience.touch()

    def _deliver_first(self, plainly: bool) -> None:
        """Deliver the first event of the backlog, which stays there until its handlers have it."""
        event, handlers = self.backlog[0]
        try:
            if self.is_put_off(event) or not self._is_out(event.seq):
                if handlers.asynchronous:
                    self._leave_out(event, handlers.asynchronous, plainly)
                    handlers = handlers.plain()
                    self.backlog[0] = event, handlers
                self._call(handlers.calls, event)
        finally:
            if self._is_out(event.seq) and not self.is_put_off(event):
                self.backlog.popleft()

    def _call(self, calls: tuple[Receiver, ...], event: Event) -> None:
        """Hand an event to these handlers, then to the consumer.

        Raises the first thing that is no `Exception`, after the others were called: also a Ctrl-C
        that comes between two of them.
        """
        called: Receiver | None = None  # the last that was, from the moment of its call
        given = False
        try:
            self.delivering = True
            self.last = event
            for handler in calls:
                result = (called := handler)(event)
                if result is not None and self.puts_off(calls, event, handler, result):
                    given = True  # it will be
                    break
            self.delivering = False
            if self.audience.consumer is not None and not given:
                given = self.to_consumer(event)
        except BaseException as error:
            self.go_on(calls, event, called, error, given)

    def go_on(
        self,
        calls: tuple[Receiver, ...],
        event: Event,
        called: Receiver | None,
        error: BaseException | None,
        given: bool = False,
    ) -> None:
        """Do the rest of a delivery in which `called` has raised, or something between two calls.

        Unless it is `given` to the consumer, that is done, too.
        """
        first: BaseException | None = None
        rest = iter(calls if called is None else calls[calls.index(called) + 1 :])
        self.last, self.delivering = event, True
        while error is not None:
            if isinstance(error, Exception):
                self.handler_failed(called, event, error)
            else:
                first = first or error
            error = None
            try:
                for called in rest:
                    result = called(event)
                    if result is not None and self.puts_off(calls, event, called, result):
                        break
            except BaseException as another:
                error = another
        self.delivering = False
        if self.audience.consumer is not None and not (given or self.is_put_off(event)):
            self.to_consumer(event)
        if first is not None:
            raise first

    def puts_off(
        self, calls: tuple[Receiver, ...], event: Event, handler: Receiver, result: object
    ) -> bool:
        """Have what a plain handler returned awaited, before those after it get the event.

        `False` where it is nothing to be awaited, or nothing can await it, which is said once.
        """
        if not inspect.isawaitable(result):
            return False
        if self.door.loop is None:
            let_go(result)
            self._refuse(event, handler, f"returned {result!r}")
            return False
        if self.backlog and self.backlog[0][0] is event:
            self.backlog.popleft()
        returned = Returned(handler, result)
        others = calls[calls.index(handler) + 1 :]
        self.backlog.appendleft((event, Handlers((returned, *others), (returned,))))
        return True

    def is_put_off(self, event: Event) -> bool:
        """Whether it waits for what a handler of it returned."""
        if not self.backlog or self.backlog[0][0] is not event:
            return False
        return any(isinstance(each, Returned) for each in self.backlog[0][1].asynchronous)

    def has(self, seq: int) -> bool:
        """Whether the event with this number was given to somebody, or waits for that."""
        recorder = self.options.recorder
        return (
            self._is_out(seq)
            or (bool(self.backlog) and seq <= self.backlog[-1][0].seq)
            or (recorder is not None and seq <= recorder.last)
        )

    def _is_first_out(self) -> bool:
        return bool(self.backlog) and self._is_out(self.backlog[0][0].seq)

    def _is_out(self, seq: int) -> bool:
        return self.last is not None and seq <= self.last.seq

    def recover(self, unheard: Collection[int] = ()) -> int:
        """Nothing is being delivered any more: an interrupt has left what was.

        Where the last number reached nobody, and all before it did, it is free again. Returns it,
        or 0. It is not where it is one of `unheard`: of a start that nobody was to hear.
        """
        self.delivering = False
        following = next(self.numbers)
        lost = following - 1
        if lost in unheard or self.has(lost) or not (lost == 1 or self.has(lost - 1)):
            lost = 0
        self.numbers = itertools.count(lost or following)
        return lost

    def call(self, handler: Receiver, event: Event) -> Any:
        """Call one handler; what it emits waits its turn."""
        self.last, self.delivering = event, True
        try:
            return handler(event)
        finally:
            self.delivering = False

    def hold(self, held: bool) -> None:
        """Have every event wait in the backlog; or, when that is over, deliver what waits there."""
        self.delivering = held
        if not held:
            self.drain(plainly=True)

    def is_due(self) -> bool:
        """Whether the engine has to stop for what waits."""
        if self.stop.failure is not None:
            return True
        if self.door.loop is None:
            return bool(self.outbox)
        if not (self.outbox or self.backlog):
            return False
        return len(self.outbox) + len(self.backlog) > MAX_WAITING

    def to_consumer(self, event: Event) -> bool:
        """Put an event, or the data of an output chunk, where the consumer takes it; say so."""
        taken: Any = event
        if self.audience.consumer != "events":
            if self.audience.consumer is None or type(event) is not Chunk or event.kind != "output":
                return True
            taken = event.data
        wake(self.hungry)
        put: Callable[[Any], object] = self.outbox.append
        return put(taken) is None  # on one line: it is told, or is not there

    def wait_with(self, hungry: asyncio.Future[None] | None) -> None:
        """Note what the engine waits with, while items of it run; `None` when it goes on."""
        self.hungry = hungry

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

    def _leave_out(self, event: Event, handlers: tuple[Receiver, ...], plainly: bool) -> None:
        """Report the async handlers of a sync run; let go of what others have returned."""
        for handler in handlers:
            if isinstance(handler, Returned):
                let_go(handler.result)
            elif not plainly:
                self._refuse(event, handler, "is async")

    def _refuse(self, event: Event, handler: Receiver, why: str) -> None:
        """Report a handler of a sync run that would have to be awaited, once."""
        if self.audience.first_time(handler):
            error = TypeError(
                f"Handler {name_of(handler)} {why}, but the run is sync: nothing can await it. "
                "Use a plain function, or run the flow with run_async."
            )
            self.handler_failed(handler, event, error)
