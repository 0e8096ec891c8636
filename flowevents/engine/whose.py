"""Whose event it is that a node publishes: of which step or item, and of which attempt.

The rules of this file:

* Nothing is guessed. What cannot be known, or belongs to what has ended, is dropped and said once.
* A copy of a node knows the step that it was made for. The code that the engine itself calls there
  belongs to the item and the attempt that are open; what that code has started, to those in whose
  context (`Here`) it was started, and a bare thread, which has none, to the step alone.
* The object of a run that runs itself is no copy, and may be in several runs. The engine that calls
  the code, or the context, says which; a bare thread is heard in the first run of the object, as
  long as there was no other.
* Any other object publishes for the code that calls it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from threading import get_ident
from types import FrameType
from typing import Any, Final

from flowevents.engine.effects import Effects
from flowevents.engine.here import current_here
from flowevents.engine.shape import node_name
from flowevents.engine.state import State
from flowevents.engine.step import Here, Step, Track
from flowevents.messages import warn
from flowevents.signals import Identity

__all__ = ["Root", "Whose", "after_delivery", "step_of", "warn_late", "whose"]

Whose = tuple[Step, int | None]
"""A step or an item, and the attempt; `None` is a bare thread's, of which that is not known."""


class Root:
    """The object of a run that runs itself, and not as a copy, while the run goes on.

    It is held weakly here, because a run that was left is to go when nobody has it.
    """

    __slots__ = ("__weakref__", "_key", "_past", "engine", "state", "step", "track")

    def __init__(self, step: Step, track: Track, engine: Effects, node: Any) -> None:
        self.state: State = step.state
        self.step: Step | None = step  # that of the run's own flow, until it ends
        self.track: Track = track
        self.engine: weakref.ref[Effects] = weakref.ref(engine)
        self._key = id(node)
        identity: Identity | None = getattr(node, "_sender_key", None)
        self._past: _Past | None = None
        with _lock:
            if "_flowevents_step" in getattr(node, "__dict__", ()):
                _copies.add(self._key)
            _roots.setdefault(self._key, {})[id(self)] = weakref.ref(self)
            if identity is not None:
                self._past = past = getattr(identity, "past", None) or _Past()
                identity.past = past
                past.runs += 1

    def end(self) -> None:
        """What the object publishes belongs to the run no more."""
        key, self.step = self._key, None
        with _lock:
            known = _roots.get(key, {})
            known.pop(id(self), None)
            if not known:
                _roots.pop(key, None)
                _copies.discard(key)
        if self._past is not None:
            self._past.thread = self.state.door.thread

    def delivers_here(self) -> bool:
        """Whether this thread is in the middle of one of its events."""
        door, here = self.state.door, get_ident()
        return self.state.delivery.delivering and (door.thread == here or here in door.inside)

    def frame_here(self) -> FrameType | None:
        """The engine's frame, where in this sync run it has called the code that runs here."""
        door = self.state.door
        if door.loop is not None or door.thread != get_ident():
            return None
        engine: Any = self.engine()
        return engine.gi_frame if engine is not None and engine.gi_running else None

    def is_only(self) -> bool:
        """Whether its object was in no other run."""
        return self._past is not None and self._past.runs == 1

    def step_of(self, node: object) -> Step | None:
        """Return the step that the object itself runs now."""
        for step in (self.step, self.track.step):
            if step is not None and step.plan.node is node:
                return step
        return None


class _Past:
    """How many runs of an object have begun, and the thread of the last that has ended."""

    __slots__ = ("runs", "thread")

    def __init__(self) -> None:
        self.runs = 0
        self.thread: int | None = None  # as where it is said that something came too late


_roots: dict[int, dict[int, weakref.ref[Root]]] = {}  # by the ids of the object and of its own
_copies: Final[set[int]] = set()  # those of them that are copies, which know a step of another run
_lock = threading.RLock()  # reentrant: a run may be dropped, and end, while it is held


def _roots_of(node: object) -> list[Root]:
    return _living(_roots.get(id(node), {}))


def _living(known: dict[int, weakref.ref[Root]]) -> list[Root]:
    return [root for each in list(known.values()) if (root := each()) is not None]


def _all_roots() -> Iterator[Root]:
    for known in list(_roots.values()):
        yield from _living(known)


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


def whose(node: Any) -> Whose | None:
    """Return whose event it is that this node publishes now; `None` where it is nobody's."""
    own: Step | None = node.__dict__.get("_flowevents_step")
    if own is None or (_copies and id(node) in _copies):
        return _of_original(node)
    door = own.state.door
    if door.loop is None:
        if door.thread != get_ident():
            return own, None
        return (own, own.attempt) if own.batch is None else _open(own)
    here: Here | None = current_here.get()
    if here is None:
        return own, None
    step = here.step
    if step is not None and step.member_of is not None and step.member_of is own.batch:
        return step, here.attempt
    if step is own and own.batch is None:
        return own, here.attempt
    if own.batch is not None and _calls_here(here.track, own.state):
        return _open(own)
    return own, here.attempt if step is own else None


def _of_original(node: Any) -> Whose | None:
    """Whose event it is of an object that is no copy, or that runs itself."""
    roots = _roots_of(node)
    here: Here | None = current_here.get()
    running = _innermost(roots)
    if running is None and here is None:
        running = _innermost(_all_roots())
    if running is not None:
        return None if running.track.step is None else _open(running.track.step)
    if here is not None:
        now = here.track.step
        if now is not None and _calls_here(here.track, now.state):
            return _open(now)
        if here.step is not None:
            return here.step, here.attempt
        roots = [root for root in _all_roots() if root.track is here.track]
    else:  # who runs them here is not in their code
        roots = [root for root in roots if root.state.door.thread != get_ident()]
    if here is None and len(roots) == 1 and roots[0].is_only():
        step = roots[0].step_of(node)
        if step is not None:
            return step, None
    if roots:
        _warn_unknown(node, roots[-1].state)
    elif here is None:
        _warn_past(node)
    return None


def _open(step: Step) -> Whose:
    """A step, or its open item, where its items run one after the other; as they are now."""
    item = None if step.batch is None else step.batch.locate()
    if item is not None and item.open:
        step = item
    return step, step.attempt


def _calls_here(track: Track, state: State) -> bool:
    """Whether it is the engine of this async run that calls the code, on this track."""
    if state.door.thread != get_ident():
        return False
    task = track.task or state.stop.carrier or state.stop.task
    return task is not None and asyncio.current_task(state.door.loop) is task


def _innermost(roots: Iterable[Root]) -> Root | None:
    """That of these, of sync runs, whose engine has called the code that runs in this thread."""
    found = {frame: root for root in roots if (frame := root.frame_here()) is not None}
    if len(found) < 2:
        return next(iter(found.values()), None)
    called: FrameType | None = sys._getframe()
    while called is not None and called not in found:
        called = called.f_back
    return None if called is None else found[called]


def step_of(node: Any) -> Step | None:
    """Return the step or the item that this node's code is in, whichever attempt it is of."""
    found = whose(node)
    return None if found is None else found[0]


# -- what is dropped ------------------------------------------------------------------------------


def warn_late(step: Step, attempt: int | None) -> None:
    """Say once that an event came after the end of the step, the item or the attempt it is of."""
    if step.open and attempt is None:
        _warn_unknown(step.plan.node, step.state, step.span)
    elif step.state.audience.first_time(step.span):
        what = "attempt" if step.open else "step" if step.index < 0 else "item"
        name = step.plan.path or step.plan.name
        _warn(name, f"after its {what} had ended, in {_run(step.state)}")


def _warn_unknown(node: Any, state: State, of: object = "unknown") -> None:
    if state.audience.first_time(of):
        _warn(
            node_name(node),
            "from a thread or task of which nothing says in which run and attempt it was begun, "
            f"during {_run(state)}",
        )


def _warn_past(node: Any) -> None:
    """Say so where another thread than those that call a node themselves comes after all runs."""
    past, here = getattr(node._sender_key, "past", None), get_ident()
    if past is None or past.thread in (None, here) or here == threading.main_thread().ident:
        return
    past.thread = None
    _warn(node_name(node), "after its runs had ended")


def _run(state: State) -> str:
    return f"run {state.options.run_id}"


def _warn(name: str, what: str) -> None:
    warn(
        f"Node {name!r} published an event {what}; it is dropped, and so are later ones.",
        RuntimeWarning,
    )
