"""What of a run is open: its steps and items, and the tracks on which they run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

import msgspec

from flowevents.engine.graph import Plan
from flowevents.events import Event, FlowStart, ItemStart, NodeStart
from flowevents.signals import Handlers, Listeners

if TYPE_CHECKING:
    from flowevents.engine.drivers import Group
    from flowevents.engine.sequencer import Sequencer

__all__ = ["Step", "Track", "current_track", "on_track"]

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

    def make(self, kind: type[Event], seq: int, /, **own: Any) -> Event:
        """An event of this step, with this number."""
        sequencer = self.sequencer
        return kind(
            sequencer.run_id,
            seq,
            sequencer.now(),
            self.span,
            self.plan.path,
            self.items,
            self.number,
            self.attempt,
            **own,
        )

    def publish(self, handlers: Handlers, kind: type[Event], /, **own: Any) -> bool:
        """Make an event of this step, number it and deliver it; see `Sequencer.deliver`."""
        sequencer = self.sequencer
        return sequencer.deliver(self.make(kind, next(sequencer.numbers), **own), handlers)

    def start(self, handlers: Handlers | None, kind: StartEvent, /, **own: Any) -> bool:
        """Deliver its start event, whose number it already has."""
        sequencer = self.sequencer
        self.began = sequencer.monotonic()
        if handlers is None:
            return False
        event = self.make(kind, self.span, parent=self.parent, **own)
        return sequencer.deliver(event, handlers)

    def ask_context(self, kind: StartEvent, /, **own: Any) -> None:
        """Ask the observers in which context its code shall run; the first that says wins."""
        for ask in self.listeners().contexts:
            event = self.make(kind, self.span, parent=self.parent, **own)
            try:
                context = ask(event)
            except Exception as error:
                self.sequencer.handler_failed(ask, event, error)
            else:
                if isinstance(context, Context):
                    self.context = on_track(context, current_track.get())
                    return


def _no_step() -> None:
    return None


class Track:
    """A strand of a run in which one thing happens after the other: the run, or an item of it.

    Attributes:
        step: The step that is open and whose code may run; cleared at the end.
        group, task: The group of which it is an item, and the task in which that runs.
        opened: In an async run, its engine and what that awaits, which its driver resumes.
    """

    __slots__ = ("group", "opened", "step", "task")

    def __init__(
        self,
        step: Step | None = None,
        group: Group | None = None,
        task: asyncio.Task[Any] | None = None,
    ) -> None:
        self.step: Step | None = step
        self.group: Group | None = group
        self.task: asyncio.Task[Any] | None = task
        self.opened: list[Any] | None = None


current_track: ContextVar[Track | None] = ContextVar("flowevents_track", default=None)
"""The track whose code runs in this context: in async runs, and what they start."""


def on_track(context: Context, track: Track | None) -> Context:
    """A context, in which the code that runs belongs to that track from here on."""
    context.run(current_track.set, track)
    return context
