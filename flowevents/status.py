"""The states of a run: the one table of transitions, and how a call is refused that does not fit.

          ┌──────> paused
          v          │   │
ready ──> running <──┘   │
  │        ├──────> done │
  │        ├──────> failed
  └────────┴──────> cancelled
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final, Literal

from flowevents.errors import RunStateError

__all__ = ["Lifecycle", "RunStatus"]

RunStatus = Literal["ready", "running", "paused", "done", "failed", "cancelled"]

_NEXT: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    "ready": frozenset({"running", "paused", "cancelled"}),  # paused: a run that goes on
    "running": frozenset({"paused", "done", "failed", "cancelled"}),
    "paused": frozenset({"running", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""The only transitions that there are."""


class Lifecycle:
    """The state that a run is in.

    Attributes:
        run_id: The run's id.
        status: Its state; moved by `move` alone.
        is_over: Whether it has ended.
        lock: Held where what is done depends on the state.
    """

    __slots__ = ("is_over", "lock", "run_id", "status")

    def __init__(self, run_id: str) -> None:
        self.run_id: str = run_id
        self.status: RunStatus = "ready"
        self.is_over: bool = False
        self.lock: Final = threading.RLock()

    def move(self, status: RunStatus) -> None:
        """Go to this state. Raises `RunStateError` where the table has no such transition."""
        following = _NEXT[self.status]
        if status not in following:
            raise RunStateError(f"Run {self.run_id} cannot go from {self.status} to {status}.")
        self.status = status
        self.is_over = not _NEXT[status]

    def refusal(self, what: str, why: str) -> RunStateError:
        """Return the error that says what cannot be done, in which state, and why."""
        return RunStateError(f"Cannot {what}: run {self.run_id} is {self.status}{why}")

    def ended(self, what: str) -> RunStateError:
        """Return the error for a call that comes after the end."""
        return self.refusal(what, ". Make another Run.")

    def driven(self, what: str) -> RunStateError:
        """Return the error for a second one who wants to drive it."""
        return self.refusal(what, " and already driven by another loop, thread or task.")

    def own(self, what: str) -> RunStateError:
        """Return the error for code of a run that would wait for itself."""
        return self.refusal(what, ", and this is its own code. Do it elsewhere.")

    def began_sync(self, what: str) -> RunStateError:
        """Return the error for driving a sync run in a loop."""
        return self._like_this(what, "sync: use wait or `for`")

    def began_async(self, what: str) -> RunStateError:
        """Return the error for driving an async run outside of its loop."""
        return self._like_this(what, "async, in its loop: use wait_async or `async for` there")

    def _like_this(self, what: str, began: str) -> RunStateError:
        run = f"run {self.run_id} is {self.status}"
        return RunStateError(f"Cannot {what} like this: {run} and began {began}.")

    def without_loop(self, what: str) -> RunStateError:
        """Return the error for an async run whose event loop is closed."""
        return self.refusal(
            what,
            ", and its event loop is closed, so that it cannot go on. Answer it in its loop; "
            "cancel() ends it.",
        )
