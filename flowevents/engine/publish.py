"""What nodes publish themselves, from any thread: `emit` and `progress`, and for which step."""

from __future__ import annotations

import itertools
import math
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from flowevents.engine.effects import Effects
from flowevents.engine.flushing import flush_beside
from flowevents.engine.state import State
from flowevents.engine.step import Step, Track, current_track
from flowevents.events import Chunk, Event, Progress
from flowevents.signals import NO_HANDLERS, Handlers

__all__ = ["Root", "after_delivery", "attempt_of", "emit", "pause_requested", "progress", "step_of"]


# -- for which step -------------------------------------------------------------------------------


class Root:
    """The object of a run that runs itself, and not as a copy, while the run goes on.

    What the object publishes belongs to the run. It is held weakly here, because a run that was
    left is to go when nobody has it.
    """

    __slots__ = ("__weakref__", "_key", "engine", "order", "state", "track")

    def __init__(self, state: State, track: Track, engine: Effects, node: object) -> None:
        self.state: State = state
        self.track: Track = track
        self.engine: weakref.ref[Effects] = weakref.ref(engine)
        self.order: int = next(_orders)
        self._key = id(node)
        with _lock:
            _roots[self._key] = (*_roots.get(self._key, ()), weakref.ref(self))

    def end(self) -> None:
        """What the object publishes belongs to the run no more."""
        with _lock:
            known = _roots.get(self._key, ())
            others = tuple(each for each in known if each() not in (self, None))
            if others:
                _roots[self._key] = others
            else:
                _roots.pop(self._key, None)

    def delivers_here(self) -> bool:
        """Whether this thread is in the middle of one of its events."""
        door, here = self.state.door, threading.get_ident()
        return self.state.delivery.delivering and (door.thread == here or here in door.inside)

    def runs_here(self) -> bool:
        """Whether the engine of this sync run called the code that runs in this thread now."""
        door = self.state.door
        if door.loop is not None or door.thread != threading.get_ident():
            return False
        engine = self.engine()
        return engine is not None and bool(getattr(engine, "gi_running", False))


_roots: dict[int, tuple[weakref.ref[Root], ...]] = {}  # by the id of the object
_orders: Final = itertools.count()
_lock = threading.RLock()  # reentrant: a run may be dropped, and end, while it is held


def after_delivery(call: Callable[[], None]) -> bool:
    """Have this called when the event was delivered that this thread is in the middle of.

    `False` where there is none. So it is with the ends of a run that the garbage collector comes
    upon, wherever it does: no handler gets them in the middle of its own work.
    """
    for root in _all_roots():
        if root.delivers_here():
            door = root.state.door
            if door.loop is None:
                door.leave(call)
                root.state.audience.touch()
            else:
                door.loop.call_soon_threadsafe(call)
            return True
    return False


def _forked() -> None:
    """A run belongs to the process in which it began: in a forked one nobody hears of it."""
    global _lock
    _lock = threading.RLock()
    for root in _all_roots():
        root.state.audience.silence()
        root.state.delivery.backlog.clear()
        root.state.delivery.outbox.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)


def step_of(node: Any) -> Step | None:
    """Return the step or item to which an event belongs that this node publishes now, if any.

    It is that of the calling context; else the one that the object, a copy, was made for.
    """
    own: Step | None = node.__dict__.get("_flowevents_step")
    track = current_track.get()
    here = track.step if track is not None else None
    if own is not None:
        if here is not None and here.member_of is not None and here.member_of is own.batch:
            return here
        return _open_item(own)
    # Of the object itself, which is no copy and knows none.
    roots = [each for each in (known() for known in _roots.get(id(node), ())) if each is not None]
    running = _latest_here(roots)
    if running is None and here is None:
        running = _latest_here(_all_roots())
    if running is not None:
        here = running.track.step
    elif here is None and len(roots) == 1:  # as in a thread that the node has started
        here = roots[0].track.step
    return None if here is None else _open_item(here)


def _open_item(step: Step) -> Step:
    """Return the item that is open, of a step whose items run one after the other."""
    item = None if step.batch is None else step.batch.locate()
    return step if item is None else item


def _all_roots() -> Iterator[Root]:
    for known in list(_roots.values()):
        for each in known:
            root = each()
            if root is not None:
                yield root


def _latest_here(roots: Iterable[Root]) -> Root | None:
    return max((each for each in roots if each.runs_here()), key=_order, default=None)


def _order(root: Root) -> int:
    return root.order


def attempt_of(node: Any) -> int:
    """Return which attempt the node's code is in that asks; 1 outside a run."""
    step = step_of(node)
    if step is None:
        return 1
    return step.attempt if step.batch is None else step.batch.attempt or step.attempt


def pause_requested(node: Any) -> bool:
    """Whether the run that this node is part of was asked to pause."""
    step = step_of(node)
    return step is not None and step.state.questions.pause_requested


# -- emit and progress ----------------------------------------------------------------------------


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
    """Return a number as an event can hold it."""
    try:
        number = value if type(value) is int else float(value)
    except (TypeError, ValueError):
        raise TypeError(f"progress: {name} is {value!r}, not a number.") from None
    if not math.isfinite(number):
        raise ValueError(f"progress: {name} is {value!r}; it has to be finite.")
    return number


def _from_node(step: Step, kind: type[Event], own: dict[str, Any]) -> None:
    state = step.state
    door = state.door
    if threading.get_ident() == door.thread:
        _cancel_here(step)
        with door.lock:
            door.empty()
            _publish(step, kind, own)
    elif door.loop is not None:
        _cancel_worker(state)
        # The engine may come to its next safe point before the loop comes to the call.
        door.leave(lambda: _publish(step, kind, own))
        state.audience.touch()
        try:
            door.loop.call_soon_threadsafe(_take_in, state)
        except RuntimeError:  # the loop is closed, and the step with it
            door.inbox.clear()
            _warn_ended(step)
    elif not door.enter(lambda: _publish(step, kind, own), at_once=not step.open):
        state.audience.touch()


def _cancel_here(step: Step) -> None:
    """Raise a cancel that the code does not know of; what it publishes later is heard."""
    stop = step.state.stop
    if stop.asked is not None and not stop.seen and step.open:
        track = current_track.get()
        if track is None or track.blocked is None:  # an item's task is cancelled by its group
            raise stop.see()


def _cancel_worker(state: State) -> None:
    """Raise a cancel in a worker thread that does not know of it."""
    here, stop = threading.get_ident(), state.stop
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


def _publish(step: Step, kind: type[Event], own: dict[str, Any]) -> None:
    if not step.open:
        _warn_ended(step)
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


def _warn_ended(step: Step) -> None:
    if step.state.delivery.first_time(step.span):
        warnings.warn(
            f"Node {step.plan.path or step.plan.name!r} published an event after its step had "
            f"ended, in run {step.state.options.run_id}; it is dropped, and so are later ones.",
            RuntimeWarning,
            stacklevel=5,
        )
