"""What nodes publish themselves, from any thread: `emit` and `progress`."""

from __future__ import annotations

import math
from functools import partial
from threading import get_ident
from typing import Any

from flowevents.engine.flushing import flush_beside
from flowevents.engine.state import State
from flowevents.engine.step import Step, current_track
from flowevents.engine.whose import Whose, step_of, warn_late, whose
from flowevents.events import Chunk, Event, Progress
from flowevents.signals import NO_HANDLERS, Handlers

__all__ = ["attempt_of", "emit", "in_opaque_step", "pause_requested", "progress"]


def attempt_of(node: Any) -> int | None:
    """Return which attempt the node's code is in that asks; `None` where no step counts them."""
    found = whose(node)
    if found is None or found[0].plan.shape.overrides:
        return None
    step, attempt = found
    if step.batch is not None and step.batch.attempt:
        return step.batch.attempt
    return step.counted(attempt or step.attempt)


def in_opaque_step(node: Any) -> bool:
    """Whether this node's code is called by a step that is run through an override."""
    step = step_of(node)
    return step is not None and step.open and bool(step.plan.shape.overrides)


def pause_requested(node: Any) -> bool:
    """Whether the run that this node is part of was asked to pause."""
    step = step_of(node)
    return step is not None and step.state.questions.pause_requested


def emit(node: Any, data: Any, kind: str) -> None:
    """Publish a chunk of the step that this node runs."""
    if not isinstance(kind, str):
        raise TypeError(f"emit: kind is {kind!r}, not a str such as 'output'.")
    if (found := whose(node)) is not None:
        _from_node(found, Chunk, {"data": data, "kind": kind})


def progress(node: Any, done: float, total: float | None, label: str) -> None:
    """Publish the progress of the step that this node runs."""
    if not isinstance(label, str):
        raise TypeError(f"progress: label is {label!r}, not a str.")
    done = _finite("done", done)
    total = None if total is None else _finite("total", total)
    if (found := whose(node)) is not None:
        _from_node(found, Progress, {"done": done, "total": total, "label": label})


def _finite(name: str, value: Any) -> float:
    """Return a number as an event can hold it."""
    try:
        number = value if type(value) is int else float(value)
    except (TypeError, ValueError):
        raise TypeError(f"progress: {name} is {value!r}, not a number.") from None
    if not math.isfinite(number):
        raise ValueError(f"progress: {name} is {value!r}; it has to be finite.")
    return number


def _from_node(found: Whose, kind: type[Event], own: dict[str, Any]) -> None:
    step, attempt = found
    state = step.state
    door = state.door
    if get_ident() == door.thread:
        _cancel_here(step)
        with door.lock:
            door.empty()
            _publish(step, attempt, kind, own)
    elif not _is_open(step, attempt):
        warn_late(step, attempt)
    elif door.loop is not None:
        _cancel_worker(state)
        # The engine may come to its next safe point before the loop comes to the call.
        door.leave(partial(_publish, step, attempt, kind, own))
        state.audience.touch()
        try:
            door.loop.call_soon_threadsafe(_take_in, state)
        except RuntimeError:  # the loop is closed, and the step with it
            door.inbox.clear()
            warn_late(step, attempt)
    elif not door.enter(partial(_publish, step, attempt, kind, own)):
        state.audience.touch()


def _is_open(step: Step, attempt: int | None) -> bool:
    """Whether that attempt of the step goes on; a bare thread might be of any but the only one."""
    return step.open and (step.attempt <= 1 if attempt is None else step.attempt == attempt)


def _cancel_here(step: Step) -> None:
    """Raise a cancel that the code does not know of; what it publishes later is heard."""
    stop = step.state.stop
    if stop.asked is not None and not stop.seen and step.open:
        track = current_track()
        if track is None or track.blocked is None:  # an item's task is cancelled by its group
            raise stop.see()


def _cancel_worker(state: State) -> None:
    """Raise a cancel in a worker thread that does not know of it."""
    here, stop = get_ident(), state.stop
    if here in stop.workers:
        cancelled = stop.workers[here] or stop.asked
        if cancelled is not None:
            stop.drop_worker(here)
            raise cancelled


def _take_in(state: State) -> None:
    """Deliver what other threads have left, on the loop, while the engine waits for something.

    What has to be awaited is, by a task: the node's code may wait for just that.
    """
    state.door.empty()
    flush_beside(state.delivery)


def _publish(step: Step, attempt: int | None, kind: type[Event], own: dict[str, Any]) -> None:
    if not (step.open if attempt == step.attempt else _is_open(step, attempt)):
        warn_late(step, attempt)
        return
    state = step.state
    handlers: Handlers | None = getattr(step.listeners(), kind.signal)
    if handlers is None:
        if not (state.audience.consumer == "output" and own.get("kind") == "output"):
            return
        handlers = NO_HANDLERS
    if "data" in own and state.options.redact is not None:
        own["data"] = state.options.clean(own["data"])
    step.publish(handlers, kind, **own)
