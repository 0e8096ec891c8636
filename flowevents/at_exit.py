"""What is closed at the end of the process: the runs, the journals, the queues, the displays.

The rules of this file:

* What comes earlier in that order speaks to what comes later: the ends of a run go to a journal and
  through a queue to a display. Within a stage, what was registered last is closed first.
* `atexit` calls first what was registered with it last. So all of this has one place there, which
  is given up for one before all others whenever somebody else has registered something since: what
  an observer has registered for itself still works when the last events come to it. Only then,
  because CPython before 3.14 never uses a place again.
* A process that was forked closes nothing but what it has registered itself.
* There is no lock that the garbage collector could find taken: each step is one call on a dict.
"""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

__all__ = ["Stage", "close_at_exit"]

Stage = Literal["runs", "journals", "queues", "displays"]
"""In this order they are closed."""

T = TypeVar("T")

_Owners = dict[int, tuple["weakref.ref[Any]", Callable[[Any], object]]]

_logger: Final = logging.getLogger("flowevents")
_owners: Final[dict[Stage, _Owners]] = {"runs": {}, "journals": {}, "queues": {}, "displays": {}}
_count: Final[Callable[[], int]] = getattr(atexit, "_ncallbacks", lambda: 0)  # CPython's own
_counted = -1  # what it was when this took its place


def close_at_exit(stage: Stage, owner: T, close: Callable[[T], object]) -> None:
    """Have `close(owner)` called at the end of the process, if the owner is still there then.

    From any thread, as often as one likes: a later call replaces what an earlier one of the same
    owner in this stage said. Every call also makes all stages come before whatever has been
    registered with `atexit` until now, by anybody; so it is worth another one where something is
    left behind for good. What `close` raises is logged, and stops nothing else.

    Args:
        stage: When: the runs are closed first, then the journals, the queues and the displays.
        owner: Is held weakly.
        close: Is held until the owner is gone, which it must not hold itself: a function of the
            owner's class, not a method bound to it.
    """
    global _counted
    owners, key = _owners[stage], id(owner)
    owners[key] = weakref.ref(owner, lambda _: owners.pop(key, None)), close
    if _count() != _counted:
        atexit.unregister(_close_all)
        atexit.register(_close_all)
        _counted = _count()


def _close_all() -> None:
    for owners in _owners.values():
        for key in reversed(owners.copy()):
            found = owners.pop(key, None)
            owner = None if found is None else found[0]()
            if found is not None and owner is not None:
                _close(owner, found[1])


def _close(owner: Any, close: Callable[[Any], object]) -> None:
    try:
        close(owner)
    except BaseException:  # also a Ctrl-C: it gives up this one
        _logger.exception("%r could not be closed at the end of the process", owner)


def _forget() -> None:
    for owners in _owners.values():
        owners.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
