"""The one place of a run through which its events go: numbered, delivered, handed to the puller.

The rules of this file:

* An event is numbered and made only where somebody hears it; a start always takes its number.
* Events are delivered one after the other, in the order of their numbers. One that arises while
  another is being delivered waits in `backlog`; so does one that an `async def` handler hears,
  until the engine can await it, and all that come after it.
* After its handlers an event goes to the puller, where there is one: through `outbox`, which the
  engine empties by yielding `TAKE` to its driver.
* Whatever the engine must see at its next border (a cancel, a handler's failure, events of
  other threads) replaces `version`, the one object that the engine compares.
* In a sync run another thread's events are delivered by that thread while plain code runs, and
  wait in `inbox` for the engine's next border otherwise, as while a node streams. The engine says
  which by `plain`, and takes no lock for it: a thread first counts itself in `guests`, then reads
  `plain`; the engine first clears `plain`, then reads `guests`, and waits for `lock` if there are
  some. In an async run they always wait in `inbox`: for the engine's next border, or for a call on
  the loop if that comes first.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from flowevents.engine.clock import SYSTEM, Clock
from flowevents.engine.effects import TAKE, Await, Cancelled, Effects, Failed, wake
from flowevents.engine.graph import Plan
from flowevents.engine.step import Track, current_track
from flowevents.errors import TooManySteps
from flowevents.events import MAX_ERROR, Chunk, Event, describe_error
from flowevents.signals import Audience, Handlers

if TYPE_CHECKING:
    from flowevents.engine.questions import Questions

__all__ = ["Sequencer", "cancels_of", "logger", "name_of"]

logger: Final = logging.getLogger("flowevents")

_order = itertools.count()


class Sequencer(Audience):
    """Numbers and delivers the events of one run; what of a run its steps can reach."""

    __slots__ = (
        "_refused",
        "action",
        "backlog",
        "began",
        "cancel_seen",
        "cancelled",
        "capture",
        "clock",
        "delivering",
        "engine",
        "failure",
        "flushing",
        "guests",
        "inbox",
        "live",
        "lock",
        "loop",
        "main",
        "max_steps",
        "monotonic",
        "now",
        "numbers",
        "offload",
        "outbox",
        "over",
        "pause_requested",
        "pausing",
        "plain",
        "questions",
        "raise_handler_errors",
        "redact",
        "root",
        "run_id",
        "steps",
        "take",
        "taken",
        "taking",
        "task",
        "task_cancels",
        "thread",
        "waits",
        "woken",
        "workers",
    )

    def __init__(
        self,
        run_id: str,
        *,
        clock: Clock = SYSTEM,
        raise_handler_errors: bool = False,
        capture: bool = False,
        max_steps: int | None = None,
        redact: Callable[[Any], Any] | None = None,
        waits: bool = False,
        offload: bool = False,
    ) -> None:
        super().__init__(("run", run_id), special=offload)
        self.run_id: str = run_id
        self.clock: Clock = clock
        self.now: Callable[[], float] = clock.time
        self.monotonic: Callable[[], float] = clock.monotonic
        self.raise_handler_errors: bool = raise_handler_errors
        self.capture: bool = capture
        self.max_steps: int | None = max_steps
        self.redact: Callable[[Any], Any] | None = redact
        self.numbers: Iterator[int] = itertools.count(1)
        self.steps: int = 0
        self.lock: AbstractContextManager[bool] = threading.RLock()
        self.backlog: deque[tuple[Event, Handlers]] = deque()
        self.outbox: deque[Any] = deque()
        self.take: Callable[[Any], object] = self.outbox.append  # how the puller is given something
        self.live: bool = False  # at once, not by the outbox
        self.inbox: deque[Callable[[], None]] = deque()
        self.delivering: bool = False
        self.plain: bool = False  # plain code of a node runs, in a sync run
        self.guests: list[int] = []  # other threads that deliver, or are about to
        self.root: object = None  # the node or flow that runs, itself and not as a copy
        self.over: bool = False  # the last event is out
        self.cancelled: Cancelled | None = None  # asked for, by `Run.cancel`
        self.cancel_seen: bool = False  # by the engine, or by the node's code
        self.task: asyncio.Task[Any] | None = None  # that drives it, in an async run
        self.task_cancels: int = 0  # of that task which came before
        self.woken: threading.Event | None = None  # set by a cancel, while something sleeps
        self.failure: BaseException | None = None  # of a handler, where that fails the run
        self.action: Any = None  # the run's last one, at its end
        self.engine: Callable[[], Any] = _nothing  # a weak reference to the engine's generator
        self.began: int = next(_order)
        self.thread: int = 0  # that drives it
        self.loop: asyncio.AbstractEventLoop | None = None  # of an async run
        self.flushing: asyncio.Future[None] | None = None  # while one track delivers the backlog
        self.taking: asyncio.Future[None] | None = None  # the group that waits for its items
        self.offload: bool = offload  # plain code to worker threads
        # Those threads, until they are told of a cancel; and by what their attempt is cancelled.
        self.workers: dict[int | None, asyncio.CancelledError | None] = {}
        self.waits: bool = waits  # for answers, instead of pausing
        self.questions: Questions | None = None  # since the first one was asked
        self.pausing: bool = False  # nothing can go on until a question is settled
        self.pause_requested: bool = False  # by `Run.pause`, until a node asks
        self.main: Track = Track()
        self.taken: list[asyncio.Future[None]] = []  # items that wait for the puller
        self._refused: list[Any] = []

    # -- delivering ---------------------------------------------------------------------------

    def deliver(self, event: Event, handlers: Handlers, late: bool = False) -> bool:
        """Hand an event to its handlers, or let it wait its turn, then to the puller.

        A `late` one comes from the backlog. Returns whether the engine has something to do at its
        next border (`flush`). Raises what is no `Exception` and came from a handler, after the
        others were called.
        """
        if not late and (self.delivering or self.backlog or handlers.asynchronous):
            self.backlog.append((event, handlers))
            return self.delivering or self.drain()
        first: BaseException | None = None
        self.delivering = True
        for handler in handlers.calls:
            try:
                handler(event)
            except Exception as error:
                self.handler_failed(handler, event, error)
            except BaseException as error:
                first = first or error
        self.delivering = False
        if self.consumer is not None:
            self._to_puller(event)
        if first is not None:
            raise first
        if self.backlog and not late:
            return self.drain()
        return self.failure is not None or bool(self.outbox)

    def drain(self) -> bool:
        """Deliver what waits in the backlog, up to what has to be awaited."""
        while self.backlog and (self.loop is None or not self.backlog[0][1].asynchronous):
            event, handlers = self.backlog.popleft()
            if handlers.asynchronous:
                handlers = self._refuse(event, handlers)
            self.deliver(event, handlers, late=True)
        return self.failure is not None or bool(self.backlog or self.outbox)

    def hand_to(self, take: Callable[[Any], object] | None) -> None:
        """Give the puller events by `take`, the moment they happen; with `None` by the outbox."""
        if take is not None or self.live:
            self.take, self.live = take or self.outbox.append, take is not None
            self.touch()

    def _to_puller(self, event: Event) -> None:
        if self.consumer == "events":
            self.take(event)
        elif type(event) is Chunk and event.kind == "output":
            self.take(event.data)

    def _refuse(self, event: Event, handlers: Handlers) -> Handlers:
        """Report the async handlers of a sync run, each once, and leave them out."""
        for handler in handlers.asynchronous:
            if handler not in self._refused:
                self._refused.append(handler)
                self.handler_failed(
                    handler,
                    event,
                    TypeError(
                        f"Handler {name_of(handler)} is async, but the run is sync: nothing can "
                        "await it. Use a plain function, or run the flow with run_async."
                    ),
                )
        return handlers.plain()

    def flush(self) -> Effects:
        """Do what `deliver` left to do: await async handlers, hand events to the puller.

        Raises `Failed` for a handler's error where that fails the run.
        """
        if self.backlog:
            yield Await(self.flush_handlers())
            if self.cancelled is not None and not self.cancel_seen:
                self.cancel_seen = True
                raise self.cancelled
        if self.failure is not None:
            raise Failed(self.failure)
        if self.outbox:
            yield TAKE

    async def flush_handlers(self) -> None:
        """Deliver the backlog, awaiting the async handlers, one event after the other.

        One track does it at a time; another that comes meanwhile waits until it is done. Parallel
        items have it done by a task, which goes on when one of them is cancelled.
        """
        while self.flushing is not None and not self.flushing.done():
            await asyncio.wait([self.flushing])
        if not self.backlog:
            return
        if current_track.get() in (self.main, None):
            done = self.flushing = asyncio.get_running_loop().create_future()
            try:
                await self._flush_backlog()
            finally:
                self.flushing = None
                wake(done)
        else:
            await asyncio.wait([self._flush_in_task()])

    def _flush_in_task(self) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._flush_for_others())
        if not task.done():  # an eager task may have ended already
            self.flushing = task
            task.add_done_callback(self._flushed)
        return task

    def stop_flushing(self) -> None:
        """The run's task was cancelled: handlers that are awaited beside it are not waited for."""
        if isinstance(self.flushing, asyncio.Task):
            self.flushing.cancel()

    def flush_plainly(self) -> None:
        """Deliver the backlog where nothing can be awaited any more, to plain handlers only."""
        if self.flushing is not None and self.backlog:  # its first is being delivered
            self.backlog.popleft()
        while self.backlog:
            event, handlers = self.backlog.popleft()
            self.deliver(event, handlers.plain(), late=True)

    def _flushed(self, task: asyncio.Task[None]) -> None:
        if self.flushing is task:  # it was cancelled before it began
            self.flushing = None

    async def _flush_for_others(self) -> None:
        try:
            await self._flush_backlog()
        except BaseException as error:
            self.failure = self.failure or error
            self.touch()
            wake(self.taking)
        finally:
            self.flushing = None

    async def _flush_backlog(self) -> None:
        while self.backlog:
            first = self.backlog[0]
            try:
                await self._hand_awaiting(*first)
            finally:
                if self.backlog and self.backlog[0] is first:
                    self.backlog.popleft()

    async def _hand_awaiting(self, event: Event, handlers: Handlers) -> None:
        first: BaseException | None = None
        self.delivering = True
        for handler in handlers.calls:
            try:
                result = handler(event)
                if handler in handlers.asynchronous:
                    await result  # type: ignore[misc]
            except Exception as error:
                self.handler_failed(handler, event, error)
            except BaseException as error:
                first = first or error
        self.delivering = False
        if self.consumer is not None:
            self._to_puller(event)
        if first is not None:
            raise first

    def handler_failed(self, handler: object, event: Event, error: Exception) -> None:
        """Log what a handler raised, or keep it to fail the run at the next border."""
        if self.raise_handler_errors:
            if self.failure is None:
                self.failure = error
                self.touch()
            return
        logger.error(
            "Handler %s failed on %s (seq %s) of run %s",
            name_of(handler),
            type(event).__name__,
            event.seq,
            self.run_id,
            exc_info=error,
        )

    def clean(self, value: Any) -> Any:
        """What may be seen of a value: what `redact` makes of it."""
        if self.redact is None or value is None:
            return value
        try:
            return self.redact(value)
        except Exception as error:
            logger.error(
                "redact failed in run %s; the value is left out", self.run_id, exc_info=error
            )
            return "[redact failed]"

    def error_text(self, error: BaseException) -> str:
        """The `error` field for an exception: redacted as a whole, then cut."""
        text = self.clean(describe_error(error, limit=None))
        return str(text)[:MAX_ERROR] or type(error).__name__

    # -- borders ------------------------------------------------------------------------------

    def border(self) -> Effects:
        """What the engine does where `version` changed: see what came in, stop if it must."""
        self.empty_inbox()
        if self.cancelled is not None:
            self.cancel_seen = True
            raise self.cancelled
        if self.failure is not None:
            raise Failed(self.failure)
        if self.backlog or self.outbox:
            yield from self.flush()

    def empty_inbox(self) -> None:
        """Deliver what other threads have left: before anything that comes after it."""
        while self.inbox:
            self.inbox.popleft()()

    def take_in(self) -> None:
        """Deliver what other threads have left, on the loop, while the engine waits for something.

        What has to be awaited is, by a task: the node's code may wait for just that.
        """
        self.empty_inbox()
        if self.backlog and self.flushing is None:
            self._flush_in_task()

    def count_step(self, plan: Plan) -> None:
        """Count a step of a run with `max_steps`. Raises `TooManySteps` for one too many."""
        self.steps += 1
        if self.max_steps is not None and self.steps > self.max_steps:
            raise TooManySteps(
                f"Run {self.run_id} took its max_steps={self.max_steps} steps; the next would be "
                f"{plan.path!r}. Is there a loop without an end?"
            )

    def plain_ended(self) -> None:
        """The engine goes on after plain code: other threads must wait for its borders again."""
        self.plain = False
        if self.guests:
            self.await_guests()

    def await_guests(self) -> None:
        """Wait until other threads have delivered what they began to."""
        with self.lock:
            pass

    def stopping(self) -> BaseException | None:
        """The cancellation that is under way, which wins over any error raised meanwhile."""
        if self.cancelled is not None:
            return self.cancelled
        return asyncio.CancelledError() if self.stopped_by_task() else None

    def stopped_by_task(self) -> bool:
        """Whether the task that drives an async run, or an item of it, is being cancelled."""
        if self.loop is None or (task := current_task()) is None:
            return False
        return cancels_of(task) > (self.task_cancels if task is self.task else 0)

    def cancel(self) -> None:
        """Ask the engine to stop at its next border."""
        self.cancelled = Cancelled(f"run {self.run_id} was cancelled")
        woken = self.woken
        if woken is not None:
            woken.set()
        self.touch()

    def sleep(self, seconds: float) -> None:
        """Wait in a sync run, but not longer than until a cancel."""
        self.woken = threading.Event()  # first this, then the look: `cancel` does it the other way
        if self.cancelled is not None:
            self.woken.set()
        self.clock.sleep(seconds, self.woken)


def _nothing() -> None:
    return None


def current_task() -> asyncio.Task[Any] | None:
    """The task that runs, if one does."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def cancels_of(task: asyncio.Task[Any] | None) -> int:
    """How often the task was asked to cancel and has not taken it back; from CPython 3.11 on."""
    cancelling = getattr(task, "cancelling", None)
    return 0 if cancelling is None else int(cancelling())


def name_of(handler: object) -> str:
    """A handler's qualified name, for logs and errors."""
    inner: Any = handler
    while hasattr(inner, "func"):
        inner = inner.func
    name = getattr(inner, "__qualname__", None)
    return f"{inner.__module__}.{name}" if name else repr(handler)
