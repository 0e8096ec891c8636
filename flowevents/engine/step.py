"""What of a run is open: its steps, the items of their batches, and the tracks that they run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Any

import msgspec

from flowevents.engine.here import current_here
from flowevents.engine.plan import Plan
from flowevents.engine.state import State
from flowevents.events import Event, FlowStart, ItemStart, NodeStart
from flowevents.signals import Handlers, Listeners

if TYPE_CHECKING:
    from flowevents.journal.standing import Tried

__all__ = ["Here", "Items", "Step", "Track", "current_track", "on_track"]

StartEvent = type[FlowStart] | type[NodeStart] | type[ItemStart]


class Step(msgspec.Struct, weakref=True):
    """An open start: an execution of a node or a flow, or an item of its batch.

    Attributes:
        state, plan: The run, and the node that is executed.
        span: `seq` of its start event.
        within: The `items` of the start around it.
        number, attempt: As `step` and `attempt` in its events.
        index: Which item of the batch it is, or -1.
        began: When it began, on the clock's monotonic time; `None` where nobody listens.
        open: Its end has not come.
        context: Where to make the calls into its code, if an observer said.
        batch: The items of its batch, where it has some.
        member_of: The items that it is one of.
    """

    state: State
    plan: Plan
    span: int
    within: tuple[int, ...]
    number: int
    attempt: int = 1
    index: int = -1
    began: float | None = None
    open: bool = True
    context: Context | None = None
    batch: Items | None = None
    member_of: Items | None = None

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _no_step, ()  # a copy in another process, or a deep one, runs no step

    @property
    def items(self) -> tuple[int, ...]:
        """The indexes of the items that its events belong to."""
        return self.within if self.index < 0 else (*self.within, self.index)

    def listeners(self) -> Listeners:
        """Return who listens to its node now."""
        plan, audience = self.plan, self.state.audience
        return plan.known if plan.version is audience.version else plan.listeners(audience)

    def lost(self) -> Tried | None:
        """Return what the log knows of it, where it was open when its run was lost."""
        recorder = self.state.options.recorder
        return None if recorder is None else recorder.notes.lost(self.span)

    def counted(self, attempt: int) -> int:
        """Return which one an attempt is without those that were lost with their process."""
        lost = self.lost()
        return attempt if lost is None else max(1, attempt - lost.losses)

    def make(self, kind: type[Event], seq: int, /, **own: Any) -> Event:
        """Return an event of this step, with this number."""
        options = self.state.options
        return kind(
            options.run_id,
            seq,
            options.clock.time(),
            self.span,
            self.plan.path,
            self.items,
            self.number,
            self.attempt,
            **own,
        )

    def publish(self, handlers: Handlers, kind: type[Event], /, **own: Any) -> bool:
        """Make an event of this step, number it and deliver it; see `Delivery.deliver`."""
        delivery = self.state.delivery
        return delivery.deliver(self.make(kind, next(delivery.numbers), **own), handlers)

    def start(
        self, handlers: Handlers | None, kind: StartEvent, parent: int, /, **own: Any
    ) -> bool:
        """Deliver its start event, whose number it already has; `parent` is the start around it."""
        self.began = self.state.options.clock.monotonic()
        if handlers is None:
            return False
        event = self.make(kind, self.span, parent=parent, **own)
        try:
            return self.state.delivery.deliver(event, handlers)
        except BaseException:
            self.open = self.state.delivery.has(self.span)
            raise

    def ask_context(
        self, track: Track | None, kind: StartEvent, parent: int, /, **own: Any
    ) -> None:
        """Ask the observers in which context its code shall run; the first that says wins."""
        for ask in self.listeners().contexts:
            event = self.make(kind, self.span, parent=parent, **own)
            try:
                context = ask(event)
            except Exception as error:
                self.state.delivery.handler_failed(ask, event, error)
            else:
                if isinstance(context, Context):
                    self.context = on_track(context, track)
                    return

    def duration(self) -> float:
        """Return how long it has been open, in seconds."""
        began = self.began
        return 0.0 if began is None else max(0.0, self.state.options.clock.monotonic() - began)


def _no_step() -> None:
    return None


class Items:
    """The items of one batch, of a node or a flow.

    Attributes:
        span: That of the step whose batch it is: the `parent` of its items.
        list: They are in this one, which may change while they run.
        total: How many there are, where that is known; `done` is how many have ended.
        results: What those of a batch node gave, in order.
        current: The one that is open, where they run one after the other.
        index, number: Which one that is, and its number, where nobody hears of them and all share
            one `Step` (`locate`); else the index is -1.
        attempt: The attempt of the last one that ended.
        label: What its node calls the one that is about to begin.
        rest: What is still to be taken, of a batch flow.
    """

    __slots__ = (
        "attempt",
        "current",
        "done",
        "index",
        "label",
        "list",
        "number",
        "rest",
        "results",
        "span",
        "total",
    )

    def __init__(self, span: int, batch: object) -> None:
        self.span: int = span
        self.list: list[Any] | None = batch if isinstance(batch, list) else None
        self.total: int | None = _length_of(batch)
        self.done: int = 0
        self.results: list[Any] = []
        self.current: Step | None = None
        self.index: int = -1
        self.number: int = 0
        self.attempt: int = 0
        self.label: str = ""
        self.rest: Iterator[Any] = iter(())

    def known_total(self) -> int | None:
        """Return how many there are, unless the list has turned out to change."""
        if self.list is not None and len(self.list) != self.total:
            self.list = self.total = None
        return self.total

    def locate(self) -> Step | None:
        """Return the item that is open, with the index and the number that it has now."""
        current = self.current
        if current is not None and self.index >= 0:
            current.span, current.index = self.number, self.index
        return current


def _length_of(batch: object) -> int | None:
    """Return how many items a batch has, where it knows."""
    try:
        return len(batch)  # type: ignore[arg-type]
    except TypeError:
        return None


class Track:
    """A strand of a run in which one thing happens after the other: the run, or an item of it.

    Attributes:
        step: The step that is open and whose code may run; cleared at the end.
        given: What its `prep` has returned, where that is captured.
        task: The task in which it runs, where that is its own.
        blocked: Tells what the track is a part of that one more thing there waits for an answer
            (1), or one less (-1); `None` for the run itself.
        here: In an async run, where its code stands.
        opened: In an async run, the part of the engine that it runs and what that awaits.
        context: The run's own context, where its code runs in one.
        carry_on: Goes on with the run, in the task in which code of its own has just ended.
    """

    __slots__ = ("blocked", "carry_on", "context", "given", "here", "opened", "step", "task")

    def __init__(
        self,
        step: Step | None = None,
        blocked: Callable[[int], None] | None = None,
        task: asyncio.Task[Any] | None = None,
    ) -> None:
        self.step: Step | None = step
        self.given: Any = None
        self.blocked: Callable[[int], None] | None = blocked
        self.task: asyncio.Task[Any] | None = task
        self.here: Here | None = None
        self.opened: list[Any] | None = None
        self.context: Context | None = None
        self.carry_on: Callable[[], None] | None = None

    def enter(self, step: Step) -> None:
        """This step's code may run from here on."""
        self.step = step
        if self.here is not None:
            self.stand(step)

    def stand(self, step: Step) -> None:
        """Have the code of an async run, and what it starts, belong to this step as it is now."""
        self.here = here = Here(self, step, step.attempt)
        current_here.set(here)
        if step.context is not None:
            step.context.run(current_here.set, here)

    def leave(self, *, elsewhere: bool = False) -> None:
        """No step's code runs now; `elsewhere` this is called in a context that is another's."""
        self.step = None
        if self.here is not None:
            self.here = Here(self)
            if not elsewhere:
                current_here.set(self.here)

    def end(self) -> None:
        """Nothing runs on it any more. Its task goes without the garbage collector then."""
        self.here = self.task = None

    def stand_at(self, here: Here) -> None:
        """Have the code of an async run, and what it starts, belong there."""
        self.here = here
        current_here.set(here)
        if here.step is not None and here.step.context is not None:
            here.step.context.run(current_here.set, here)


class Here(msgspec.Struct):
    """Where code of an async run stands, for it and for the tasks and threads that it starts.

    Attributes:
        track: The track that the code is on.
        step, attempt: The step, or the item, and the attempt; both stay what they were. There is
            no step where plain nodes run inline: that says nothing of which.
    """

    track: Track
    step: Step | None = None
    attempt: int = 0


def current_track() -> Track | None:
    """Return the track whose code runs in this context: in async runs, and what they start."""
    here: Here | None = current_here.get()
    return None if here is None else here.track


def on_track(context: Context, track: Track | None) -> Context:
    """Return a context, in which the code that runs stands where that track does."""
    context.run(current_here.set, None if track is None else track.here)
    return context
