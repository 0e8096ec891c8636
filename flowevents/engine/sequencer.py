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
  some. In an async run other threads' events are delivered on the loop.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import threading
import types
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextvars import Context, ContextVar
from typing import Any, Final

import msgspec

from flowevents.engine.clock import SYSTEM, Clock
from flowevents.engine.graph import Plan
from flowevents.errors import TooManySteps
from flowevents.events import (
    MAX_ERROR,
    Chunk,
    Event,
    FlowStart,
    ItemStart,
    NodeStart,
    Progress,
    describe_error,
)
from flowevents.signals import NO_HANDLERS, Audience, Handlers, Listeners, audiences

__all__ = [
    "TAKE",
    "Await",
    "CallbackFailed",
    "Cancelled",
    "Effects",
    "Failed",
    "Sequencer",
    "Step",
    "Track",
    "attempt_of",
    "current_track",
    "emit",
    "name_of",
    "progress",
    "step_of",
    "wake",
]

logger = logging.getLogger("flowevents")

Effects = Generator[Any, Any, Any]
"""What the engine is made of: it yields `TAKE` or an event for the puller and, in async runs, an
`Await` for what is to be awaited."""


class _Take:
    def __repr__(self) -> str:
        return "TAKE"


TAKE: Final = _Take()
"""What the engine yields when the outbox holds something for the puller."""


class Await:
    """What the engine yields to have something awaited; it is sent the result.

    Attributes:
        steps: What is resumed until the result is there, as a generator or a coroutine is.
    """

    __slots__ = ("steps",)

    def __init__(self, awaitable: Any, context: Context | None = None) -> None:
        self.steps: Any = _steps(awaitable) if context is None else _in_context(awaitable, context)

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.steps
        return (yield from (steps.__await__() if hasattr(steps, "__await__") else steps))


def _steps(awaitable: Any) -> Any:
    if isinstance(awaitable, types.CoroutineType):
        return awaitable
    if (
        inspect.isgenerator(awaitable)
        and awaitable.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE
    ):
        return awaitable  # a coroutine that is made of a generator
    try:
        steps = awaitable.__await__()
    except AttributeError:
        raise TypeError(
            f"{awaitable!r} cannot be awaited: the methods of an async node are `async def`."
        ) from None
    return steps if hasattr(steps, "throw") else _delegated(steps)


def _delegated(steps: Iterator[Any]) -> Generator[Any, Any, Any]:
    return (yield from steps)


def _in_context(awaitable: Any, context: Context) -> Generator[Any, Any, Any]:
    """Each step of an awaitable, in that context."""
    steps = context.run(_steps, awaitable)
    advance: Callable[[Any], Any] = steps.send
    sent: Any = None
    while True:
        try:
            waiting = context.run(advance, sent)
        except StopIteration as end:
            return end.value
        try:
            sent = yield waiting
            advance = steps.send
        except BaseException as error:
            sent = error
            advance = steps.throw


class Cancelled(asyncio.CancelledError):
    """The run was cancelled by `Run.cancel`, not its task by the loop."""


class Failed(BaseException):
    """Carries an error that fails the run past the retries of the node where it surfaced."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


StartEvent = type[FlowStart] | type[NodeStart] | type[ItemStart]


class Step(msgspec.Struct, weakref=True):
    """An open start: an execution of a node or a flow, or an item of its batch.

    Attributes:
        sequencer, plan: The run's sequencer, and the node that is executed.
        span, parent: `seq` of its start event and of the enclosing start.
        items, number, attempt: As in its events.
        began: When it began, on the clock's monotonic time; `None` where nobody listens.
        context: Where to make the calls into its code, if an observer said.
        item: The open item of a sequential batch; `item_attempt` is the last of the last one.
        of: The step that this is an item of.
        done, total: How many of its items have ended, and of how many, where that is known.
        where: For an item of a sequential batch, what its span and items are now.
    """

    sequencer: Sequencer
    plan: Plan
    span: int
    parent: int
    items: tuple[int, ...]
    number: int
    attempt: int = 1
    began: float | None = None
    open: bool = True
    context: Context | None = None
    item: Step | None = None
    item_attempt: int = 0
    of: Step | None = None
    done: int = 0
    total: int | None = None
    where: Callable[[], tuple[int, tuple[int, ...]]] | None = None
    warned: bool = False

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _no_step, ()  # a copy in another process, or a deep one, runs no step

    def locate(self) -> None:
        """Take over the span and the items of the item that is open now."""
        if self.where is not None:
            self.span, self.items = self.where()

    def listeners(self) -> Listeners:
        """Who listens to its node now."""
        return self.plan.listeners(self.sequencer)

    def publish(self, handlers: Handlers, kind: type[Event], /, **own: Any) -> bool:
        """Make an event of this step, number it and deliver it; see `Sequencer.deliver`."""
        sequencer = self.sequencer
        event = kind(
            run_id=sequencer.run_id,
            seq=next(sequencer.numbers),
            time=sequencer.now(),
            span=self.span,
            node=self.plan.path,
            items=self.items,
            step=self.number,
            attempt=self.attempt,
            **own,
        )
        return sequencer.deliver(event, handlers)

    def start(self, handlers: Handlers | None, kind: StartEvent, /, **own: Any) -> bool:
        """Deliver its start event, whose number it already has."""
        sequencer = self.sequencer
        self.began = sequencer.monotonic()
        if handlers is None:
            return False
        event = kind(
            run_id=sequencer.run_id,
            seq=self.span,
            time=sequencer.now(),
            span=self.span,
            node=self.plan.path,
            items=self.items,
            step=self.number,
            attempt=self.attempt,
            parent=self.parent,
            **own,
        )
        return sequencer.deliver(event, handlers)

    def ask_context(self, kind: StartEvent, /, **own: Any) -> None:
        """Ask the observers in which context its code shall run; the first that says wins."""
        for ask in self.listeners().contexts:
            event = kind(
                run_id=self.sequencer.run_id,
                seq=self.span,
                time=self.sequencer.now(),
                span=self.span,
                node=self.plan.path,
                items=self.items,
                step=self.number,
                attempt=self.attempt,
                parent=self.parent,
                **own,
            )
            try:
                context = ask(event)
            except Exception as error:
                self.sequencer.handler_failed(ask, event, error)
            else:
                if isinstance(context, Context):
                    self.context = context
                    return


class CallbackFailed(BaseException):
    """Carries what a run's callback raised past the nodes: it cancels the run."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def _no_step() -> None:
    return None


class Track:
    """A strand of a run in which one thing happens after the other: the run, or an item of it."""

    __slots__ = ("step",)

    def __init__(self, step: Step | None = None) -> None:
        self.step = step  # that is open and whose code may run; cleared at the end


current_track: ContextVar[Track | None] = ContextVar("flowevents_track", default=None)
"""The track whose code runs in this context: in async runs, and what they start."""


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
        "lock",
        "loop",
        "main",
        "max_steps",
        "monotonic",
        "now",
        "numbers",
        "outbox",
        "over",
        "plain",
        "raise_handler_errors",
        "redact",
        "root",
        "run_id",
        "steps",
        "taken",
        "taking",
        "task",
        "task_cancels",
        "thread",
        "woken",
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
    ) -> None:
        super().__init__(("run", run_id))
        self.run_id = run_id
        self.clock = clock
        self.now = clock.time
        self.monotonic = clock.monotonic
        self.raise_handler_errors = raise_handler_errors
        self.capture = capture
        self.max_steps = max_steps
        self.redact = redact
        self.numbers = itertools.count(1)
        self.steps = 0
        self.lock = threading.RLock()
        self.backlog: deque[tuple[Event, Handlers]] = deque()
        self.outbox: deque[Any] = deque()
        self.inbox: list[Callable[[], None]] = []
        self.delivering = False
        self.plain = False  # plain code of a node runs, in a sync run
        self.guests = 0  # other threads that deliver, or are about to
        self.root: object = None  # the node or flow that runs, itself and not as a copy
        self.over = False  # the last event is out
        self.cancelled: Cancelled | None = None  # asked for, by `Run.cancel`
        self.cancel_seen = False  # by the engine, or by the node's code
        self.task: asyncio.Task[Any] | None = None  # that drives it, in an async run
        self.task_cancels = 0  # of that task which came before
        self.woken: threading.Event | None = None  # set by a cancel, while something sleeps
        self.failure: BaseException | None = None  # of a handler, where that fails the run
        self.action: Any = None  # the run's last one, at its end
        self.engine: Callable[[], Any] = _nothing  # a weak reference to the engine's generator
        self.began = next(_order)
        self.thread = 0  # that drives it
        self.loop: asyncio.AbstractEventLoop | None = None  # of an async run
        self.flushing: asyncio.Future[None] | None = None  # while one track delivers the backlog
        self.taking: asyncio.Future[None] | None = None  # the group that waits for its items
        self.main = Track()
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
        if self.puller is not None:
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

    def _to_puller(self, event: Event) -> None:
        if self.puller == "events":
            self.outbox.append(event)
        elif type(event) is Chunk and event.kind == "output":
            self.outbox.append(event.data)

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
        return Handlers(tuple(each for each in handlers.calls if each not in handlers.asynchronous))

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
        while self.flushing is not None:
            await asyncio.wait([self.flushing])
        if not self.backlog:
            return
        loop = asyncio.get_running_loop()
        if current_track.get() in (self.main, None):
            done = self.flushing = loop.create_future()
            try:
                await self._flush_backlog()
            finally:
                self.flushing = None
                wake(done)
        else:
            self.flushing = loop.create_task(self._flush_for_items())
            await asyncio.wait([self.flushing])

    async def _flush_for_items(self) -> None:
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
            event, handlers = self.backlog[0]
            try:
                await self._hand_awaiting(event, handlers)
            finally:
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
        if self.puller is not None:
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
        while self.inbox:
            self.inbox.pop(0)()
        if self.cancelled is not None:
            self.cancel_seen = True
            raise self.cancelled
        if self.failure is not None:
            raise Failed(self.failure)
        if self.backlog or self.outbox:
            yield from self.flush()

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
        if self.loop is not None and (task := current_task()) is not None:
            before = self.task_cancels if task is self.task else 0
            if cancels_of(task) > before:
                return asyncio.CancelledError()
        return None

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
    inner = handler
    while hasattr(inner, "func"):
        inner = inner.func
    name = getattr(inner, "__qualname__", None)
    return f"{inner.__module__}.{name}" if name else repr(handler)


# -- what nodes publish themselves ------------------------------------------------------------


def step_of(node: Any) -> Step | None:
    """The step or item to which an event belongs that this node publishes now, if any.

    It is that of the calling context; else the one that the object, a copy, was made for.
    """
    own: Step | None = vars(node).get("_flowevents_step")
    running = _running_here()
    if running is not None:
        track: Track | None = running.main
    else:
        track = current_track.get()
    here = track.step if track is not None else None
    if own is not None:
        return here if here is not None and here.of is own else own.item or own
    if here is None:  # as in a thread that the node has started: what runs this object, if one does
        runs = [each for each in audiences() if isinstance(each, Sequencer) and each.root is node]
        here = runs[0].main.step if len(runs) == 1 else None
    return None if here is None else here.item or here


def _running_here() -> Sequencer | None:
    """The sync run whose engine called the code that runs in this thread now."""
    here = threading.get_ident()
    found: Sequencer | None = None
    for each in audiences():
        if isinstance(each, Sequencer) and each.loop is None and each.thread == here:
            engine = each.engine()
            if (
                engine is not None
                and engine.gi_running
                and (found is None or each.began > found.began)
            ):
                found = each
    return found


def attempt_of(node: Any) -> int:
    """Which attempt the node's code is in that asks; 1 outside a run."""
    step = step_of(node)
    return 1 if step is None else step.item_attempt or step.attempt


def emit(node: Any, data: Any, kind: str) -> None:
    """Publish a chunk of the step that this node runs."""
    if (step := step_of(node)) is not None:
        _from_node(step, Chunk, {"data": data, "kind": kind})


def progress(node: Any, done: float, total: float | None, label: str) -> None:
    """Publish the progress of the step that this node runs."""
    if (step := step_of(node)) is not None:
        _from_node(step, Progress, {"done": done, "total": total, "label": label})


def _from_node(step: Step, kind: type[Event], own: dict[str, Any]) -> None:
    sequencer = step.sequencer
    if threading.get_ident() == sequencer.thread:
        if sequencer.cancelled is not None and not sequencer.cancel_seen and step.open:
            sequencer.cancel_seen = True  # what it publishes while it cleans up is heard
            raise sequencer.cancelled
        with sequencer.lock:
            _publish(step, kind, own)
    elif sequencer.loop is not None:
        try:
            sequencer.loop.call_soon_threadsafe(_publish, step, kind, own)
        except RuntimeError:  # the loop is closed, and the step with it
            _warn_ended(step)
    else:
        with sequencer.lock:
            sequencer.guests += 1
            try:
                if sequencer.plain or not step.open:
                    _publish(step, kind, own)
                else:
                    sequencer.inbox.append(lambda: _publish(step, kind, own))
                    sequencer.touch()
            finally:
                sequencer.guests -= 1


def _publish(step: Step, kind: type[Event], own: dict[str, Any]) -> None:
    sequencer = step.sequencer
    if not step.open:
        _warn_ended(step)
        return
    step.locate()
    handlers: Handlers | None = getattr(step.listeners(), kind.signal)
    if handlers is None:
        if not (sequencer.puller == "output" and own.get("kind") == "output"):
            return
        handlers = NO_HANDLERS
    if "data" in own and sequencer.redact is not None:
        own["data"] = sequencer.clean(own["data"])
    if step.publish(handlers, kind, **own) and sequencer.taking is not None:
        wake(sequencer.taking)


def _warn_ended(step: Step) -> None:
    if step.warned:
        return
    step.warned = True
    warnings.warn(
        f"Node {step.plan.path or step.plan.name!r} published an event after its step had ended, "
        f"in run {step.sequencer.run_id}; it is dropped, and so are later ones.",
        RuntimeWarning,
        stacklevel=5,
    )


def wake(waiting: asyncio.Future[None] | None) -> None:
    """Let go on who waits for this future, if somebody still does."""
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
