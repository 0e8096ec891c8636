"""What nodes publish themselves, from any thread: `emit` and `progress`, and for which step."""

from __future__ import annotations

import math
import threading
import warnings
import weakref
from collections.abc import Iterable
from typing import Any

from flowevents.engine.effects import wake
from flowevents.engine.sequencer import Sequencer
from flowevents.engine.step import Step, current_track
from flowevents.events import Chunk, Event, Progress
from flowevents.signals import NO_HANDLERS, Handlers, audiences

__all__ = [
    "attempt_of",
    "emit",
    "pause_requested",
    "progress",
    "run_ended",
    "runs_itself",
    "step_of",
]


def step_of(node: Any) -> Step | None:
    """The step or item to which an event belongs that this node publishes now, if any.

    It is that of the calling context; else the one that the object, a copy, was made for.
    """
    own: Step | None = vars(node).get("_flowevents_step")
    track = current_track.get()
    here = track.step if track is not None else None
    if own is not None:
        return here if here is not None and here.of is own else own.item or own
    # Of the object itself, which is no copy and knows none.
    running = _running_here(each() for each in _sync_runs.get(id(node), ()))
    if running is None and here is None:
        running = _running_here(audiences())
    if running is not None:
        here = running.main.step
    elif here is None:  # as in a thread that the node has started
        runs = [each for each in audiences() if isinstance(each, Sequencer) and each.root is node]
        here = runs[0].main.step if len(runs) == 1 else None
    return None if here is None else here.item or here


def _running_here(runs: Iterable[object]) -> Sequencer | None:
    """The sync run, of these, whose engine called the code that runs in this thread now."""
    here = threading.get_ident()
    found: Sequencer | None = None
    for each in runs:
        if isinstance(each, Sequencer) and each.loop is None and each.thread == here:
            engine = each.engine()
            if engine is None or not engine.gi_running:
                continue
            if found is None or each.began > found.began:
                found = each
    return found


# Under way, by the object that runs; weak, because a run that was left is to go when nobody has it.
_sync_runs: dict[int, tuple[weakref.ref[Sequencer], ...]] = {}
_sync_runs_lock = threading.RLock()  # reentrant: a run may be dropped, and end, while it is held


def runs_itself(sequencer: Sequencer, node: object) -> None:
    """Note that a run of this object begins: what the object publishes belongs to it."""
    sequencer.root = node
    if sequencer.loop is None:
        with _sync_runs_lock:
            _sync_runs[id(node)] = (*_sync_runs.get(id(node), ()), weakref.ref(sequencer))


def run_ended(sequencer: Sequencer) -> None:
    """Undo `runs_itself`."""
    node, sequencer.root = sequencer.root, None
    if sequencer.loop is None:
        with _sync_runs_lock:
            runs = _sync_runs.pop(id(node), ())
            if others := tuple(each for each in runs if each() not in (sequencer, None)):
                _sync_runs[id(node)] = others


def attempt_of(node: Any) -> int:
    """Which attempt the node's code is in that asks; 1 outside a run."""
    step = step_of(node)
    return 1 if step is None else step.item_attempt or step.attempt


def pause_requested(node: Any) -> bool:
    """Whether the run that this node is part of was asked to pause."""
    step = step_of(node)
    return step is not None and step.sequencer.pause_requested


def emit(node: Any, data: Any, kind: str) -> None:
    """Publish a chunk of the step that this node runs."""
    if not isinstance(kind, str):
        raise TypeError(f"emit: kind is {kind!r}, not a str such as 'output'.")
    if (step := step_of(node)) is not None:
        _from_node(step, Chunk, {"data": data, "kind": kind})


def progress(node: Any, done: float, total: float | None, label: str) -> None:
    """Publish the progress of the step that this node runs."""
    if not isinstance(label, str):
        raise TypeError(f"progress: label is {label!r}, not a str.")
    done = _finite("done", done)
    total = None if total is None else _finite("total", total)
    if (step := step_of(node)) is not None:
        _from_node(step, Progress, {"done": done, "total": total, "label": label})


def _finite(name: str, value: Any) -> float:
    """A number as an event can hold it."""
    try:
        number = value if type(value) is int else float(value)
    except (TypeError, ValueError):
        raise TypeError(f"progress: {name} is {value!r}, not a number.") from None
    if not math.isfinite(number):
        raise ValueError(f"progress: {name} is {value!r}; it has to be finite.")
    return number


def _from_node(step: Step, kind: type[Event], own: dict[str, Any]) -> None:
    sequencer = step.sequencer
    if threading.get_ident() == sequencer.thread:
        if sequencer.cancelled is not None and not sequencer.cancel_seen and step.open:
            track = current_track.get()
            if track is None or track.group is None:  # an item's task is cancelled by its group
                sequencer.cancel_seen = True  # what it publishes while it cleans up is heard
                raise sequencer.cancelled
        with sequencer.lock:
            sequencer.empty_inbox()
            _publish(step, kind, own)
    elif sequencer.loop is not None:
        here = threading.get_ident()
        cancelled = sequencer.workers.get(here) or sequencer.cancelled
        if cancelled is not None and here in sequencer.workers:
            del sequencer.workers[here]  # its clean-up is not interrupted
            raise cancelled
        # The engine may come to its next border before the loop comes to the call.
        sequencer.inbox.append(lambda: _publish(step, kind, own))
        sequencer.touch()
        try:
            sequencer.loop.call_soon_threadsafe(sequencer.take_in)
        except RuntimeError:  # the loop is closed, and the step with it
            sequencer.inbox.clear()
            _warn_ended(step)
    else:
        with sequencer.lock:
            sequencer.guests.append(threading.get_ident())
            try:
                if sequencer.plain or not step.open:
                    _publish(step, kind, own)
                else:
                    sequencer.inbox.append(lambda: _publish(step, kind, own))
                    sequencer.touch()
            finally:
                sequencer.guests.remove(threading.get_ident())


def _publish(step: Step, kind: type[Event], own: dict[str, Any]) -> None:
    sequencer = step.sequencer
    if not step.open:
        _warn_ended(step)
        return
    step.locate()
    handlers: Handlers | None = getattr(step.listeners(), kind.signal)
    if handlers is None:
        if not (sequencer.consumer == "output" and own.get("kind") == "output"):
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
