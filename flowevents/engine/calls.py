"""Calls into a node's code, in the step's context, and the end of what was begun."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowevents.engine.effects import Await, Effects
from flowevents.engine.groups import in_own_task
from flowevents.engine.outcome import verdict
from flowevents.engine.state import hand_over, release_by
from flowevents.engine.step import Step, Track, current_track
from flowevents.errors import AsyncNodeError
from flowevents.events import Event, Status
from flowevents.messages import add_note
from flowevents.signals import Handlers

__all__ = ["call", "end", "invoke", "note", "require_await"]


def call(step: Step, method: Callable[..., Any], *args: Any) -> Any:
    """Call plain code of the step's node."""
    door = step.state.door
    door.open = True
    try:
        return method(*args) if step.context is None else step.context.run(method, *args)
    finally:
        door.shut()


def invoke(step: Step, method: Callable[..., Any], *args: Any) -> Effects:
    """Call a method of the step's node, and await what it returns if the node is async."""
    shape = step.plan.shape
    if not shape.is_async:
        return call(step, method, *args)
    track = own_track(step)
    if track is None:
        return (yield Await(call(step, method, *args), step.context))
    return (yield from in_own_task(step.state, track, _awaited_call(step, method, args)))


def _awaited_call(step: Step, method: Callable[..., Any], args: tuple[Any, ...]) -> Effects:
    return (yield Await(call(step, method, *args), step.context))


def own_track(step: Step) -> Track | None:
    """Return the run's own track, where its code needs a task of its own: in a pulled run."""
    if step.state.audience.consumer is None:
        return None
    track = current_track()
    return track if track is not None and track.blocked is None else None


def require_await(step: Step) -> None:
    """Raise `AsyncNodeError` for an async node in a sync run."""
    if step.plan.shape.is_async and step.state.door.loop is None:
        what = "flow" if step.plan.shape.is_flow else "node"
        raise AsyncNodeError(
            f"Async {what} {step.plan.path or step.plan.name!r} "
            f"({type(step.plan.node).__name__}) was reached in a sync run. "
            "Use run_async, run_stream_async, wait_async or `async for`."
        )


def end(
    step: Step,
    kind: type[Event],
    handlers: Handlers | None,
    error: BaseException | None,
    own: dict[str, Any],
) -> Effects:
    """Publish the end of an open step.

    One that is not ok waits in the outbox and in the backlog, so that the way out of a failed or
    cancelled run never stops at a consumer. Where the run's loop is closed nobody hears of it.
    """
    if not step.open:
        return
    state = step.state
    recorder = state.options.recorder
    if recorder is not None:
        state.questions.forget(step.span)
        if error is not None:
            release_by(state, recorder, error)
    if isinstance(error, Exception):
        note(step, error)
    if error is not None and isinstance(error, GeneratorExit) and state.door.is_closed():
        step.open = False
        return
    raised: BaseException | None = None
    try:
        if state.door.inbox:
            state.door.empty()
    except BaseException as of_a_handler:
        if error is None:  # this ends with it
            raise
        raised = of_a_handler
    if handlers is not None:
        status: Status = "ok"
        text: str | None = None
        try:
            if error is not None:
                status, text = verdict(state.options, error)
        except BaseException as of_text:  # of `redact`, or of the error's own text
            status, text, raised = "cancelled", None, raised or of_text
        duration = step.duration()
        seq = next(state.delivery.numbers)
        event = step.make(kind, seq, status=status, duration=duration, error=text, **own)
        try:
            step.open = False
            due = state.delivery.deliver(event, handlers)
        except BaseException:
            step.open = not state.delivery.has(seq)
            raise
        if due and error is None:
            yield from hand_over(state)
    step.open = False
    if raised is not None:
        raise raised


def note(step: Step, error: Exception, label: str = "") -> None:
    """Say where an error came from: the innermost that ends by it is told first, and alone."""
    plan, run_id = step.plan, step.state.options.run_id
    place = f"node {plan.path!r}" if plan.path else f"flow {plan.name!r}"
    items = "".join(f", item {index}" for index in step.items)
    items += f" ({label})" if label else ""
    attempt = f", attempt {step.attempt}" if step.attempt else ""
    add_note(error, f"In {place}{items}{attempt}", f"run {run_id}")
