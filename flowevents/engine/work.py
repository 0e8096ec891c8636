"""What a worker does: the attempts of one item of a copy of the node, by the same engine.

It has a run's parts of its own, which nobody else sees: what happens is told to the driver in
messages, and who it may concern there is not known here. No event leaves a worker: the driver alone
numbers, journals and delivers.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from flowevents.clock import SYSTEM
from flowevents.engine.attempts import attempts
from flowevents.engine.effects import Effects, Failed
from flowevents.engine.graph import Vertex
from flowevents.engine.groups import drive
from flowevents.engine.here import nowhere
from flowevents.engine.options import Options
from flowevents.engine.plan import Plan
from flowevents.engine.state import State
from flowevents.engine.step import Items, Step, Track
from flowevents.events import Chunk, Interrupt, Progress, Retry, describe_error
from flowevents.journal.standing import Tried
from flowevents.signals import Audience, Handlers, Listeners
from flowevents.workers.outlet import Outlet
from flowevents.workers.parcels import (
    BEGUN,
    CHUNK,
    PROGRESS,
    RETRY,
    Outcome,
    Task,
    loaded_task,
    packed,
    packed_error,
)

__all__ = ["work"]


def work(task: Task, outlet: Outlet) -> Outcome:
    """Run an item to its end; whatever it raises is in the outcome."""
    began = perf_counter()
    outcome = Outcome(outlet.token, 0)
    try:
        with nowhere():
            outlet.say(BEGUN)
            value = _run(task, outlet)
        outcome.value = packed(value, _result_of(task)) if task.is_pickled() else value
    except BaseException as error:
        raised = error.error if isinstance(error, Failed) else error
        outcome.stopped = isinstance(raised, asyncio.CancelledError) and outlet.stopped
        outcome.error = packed_error(raised) if task.is_pickled() else raised
    outlet.close()
    outcome.count = outlet.count
    outcome.duration = perf_counter() - began
    return outcome


def _result_of(task: Task) -> str:
    return f"The result of item {task.items[-1]} of node {task.path!r}"


def _run(task: Task, outlet: Outlet) -> Any:
    node, argument = loaded_task(task)
    item = _item(task, node, outlet)
    node._flowevents_step = item
    effects = attempts(item, node, argument)
    if item.plan.shape.is_async:
        return asyncio.run(_drive(item, effects, outlet))
    item.state.door.belong_to(None)
    outlet.on_stop(item.state.cancel)
    try:
        while True:
            next(effects)
    except StopIteration as end:
        return end.value
    finally:
        item.open = False


async def _drive(item: Step, effects: Effects, outlet: Outlet) -> Any:
    state, loop, task = item.state, asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    state.door.belong_to(loop)
    track = Track(item, _blocked, task)
    track.stand(item)

    def stop() -> None:
        state.cancel()
        try:
            loop.call_soon_threadsafe(task.cancel)
        except RuntimeError:  # the loop is closed: it has ended
            return

    outlet.on_stop(stop)
    try:
        return await drive(state.delivery, effects)
    finally:
        item.open = False


def _blocked(more: int) -> None:
    """Nothing waits for an answer here."""


def _item(task: Task, node: Any, outlet: Outlet) -> Step:
    """Return the item as the driver has it: with its place, and its failures so far."""
    options = _WorkerOptions(
        run_id=task.run_id,
        named=False,
        name=None,
        metadata={},
        capture=False,
        max_steps=None,
        raise_handler_errors=True,
        waits=False,
        offload=False,
        redact=None,
        clock=SYSTEM,
        before=Tried(losses=task.losses, failures=task.failures, error=task.error),
    )
    state = State(options, _Reporter(outlet, task.path, task.is_pickled()), None)
    name = task.path.rpartition("/")[2]
    plan = Plan(node, Vertex(node, name, name, task.path))
    return _Item(
        state,
        plan,
        1,
        task.items[:-1],
        task.step,
        1 + task.losses + task.failures,
        task.items[-1],
        member_of=Items(1, None),
    )


class _Item(Step):
    """An item in a worker."""

    def lost(self) -> Tried | None:
        """Return what the driver knows of attempts that came before, elsewhere."""
        options = self.state.options
        assert isinstance(options, _WorkerOptions)
        return options.before


class _WorkerOptions(Options, frozen=True):
    """The options of a run in a worker.

    Attributes:
        before: What came before of the item.
    """

    before: Tried | None = None

    def error_text(self, error: BaseException) -> str:
        """Return all of it: the driver redacts it as a whole, then cuts it."""
        return describe_error(error, limit=None) or type(error).__name__


class _Reporter(Audience):
    """The audience of a run in a worker: all that is heard there goes to the driver."""

    __slots__ = ()

    def __init__(self, outlet: Outlet, path: str, pickles: bool) -> None:
        self.run_key = None
        self.version = object()
        self.closed = True  # it is in no list of audiences, and is not to leave one
        self.consumer = None
        self.own = {}
        self._told = ()
        say = outlet.say

        def chunk(event: Chunk) -> None:
            say(CHUNK, packed(event.data, "A chunk") if pickles else event.data, event.kind)

        def progress(event: Progress) -> None:
            say(PROGRESS, event.done, event.total, event.label)

        def retry(event: Retry) -> None:
            say(RETRY, event.error, event.wait, event.fallback)

        def refuse(event: Interrupt) -> None:
            raise RuntimeError(
                f"Node {path!r} asked {event.prompt!r} in a worker, where nobody can answer: ask "
                "in a node without executor=, before its items or after them."
            )

        self._nobody = Listeners(  # in particular: it is who hears all
            chunk=_only(chunk),
            progress=_only(progress),
            retry=_only(retry),
            interrupt=_only(refuse),
            anybody=True,
        )

    def listeners(self, keys: object) -> Listeners:
        """Who listens to the item: the driver."""
        return self._nobody


def _only(handler: Any) -> Handlers:
    return Handlers((handler,), ())
