"""How things end: the one verdict on what ends a step, a flow, an item or the run."""

from __future__ import annotations

import asyncio
from typing import Any

from flowevents.engine.effects import Cancelled, CancelledBy, Failed, again, pep479
from flowevents.engine.options import Options
from flowevents.errors import RunCancelled
from flowevents.events import Status
from flowevents.messages import trim
from flowevents.status import RunStatus

__all__ = ["Outcome", "outranks", "verdict"]


def verdict(options: Options, error: BaseException) -> tuple[Status, str | None]:
    """Return the status and the `error` text of what ends with this: in its event, and of a run.

    May raise what `redact`, or the error's own text, raises and is no `Exception`.
    """
    if isinstance(error, Failed):
        error = error.error
    if isinstance(error, Exception):
        return "error", options.error_text(error)
    if isinstance(error, CancelledBy):
        return "cancelled", options.error_text(error.error)
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "cancelled", None
    return "cancelled", options.error_text(error)


def outranks(later: BaseException, first: BaseException) -> bool:
    """Whether a later error is what something ends by, instead of the first one.

    An interrupt wins over an `Exception`; a cancellation does not.
    """
    stops = isinstance(later, (Exception, asyncio.CancelledError, GeneratorExit))
    return isinstance(first, Exception) and not stops


class Outcome:
    """How a run ended.

    Only this file writes its fields.

    Attributes:
        over: The run's last event is out, or about to be.
        action: Its last action, once it is over; `None` where it did not end well.
        error: What ended it.
        first, later: That, for whom it is told first, and for who asks another time: there a
            `CancelledError` would say that their own task is cancelled.
        reported: Somebody who drove it got the action, the error, or that it is paused.
    """

    __slots__ = ("action", "error", "first", "later", "over", "reported")

    def __init__(self) -> None:
        self.over: bool = False
        self.action: Any = None
        self.error: BaseException | None = None
        self.first: BaseException | None = None
        self.later: BaseException | None = None
        self.reported: bool = False

    def reach(self, action: Any) -> None:
        """The run ends well, with this action: what comes later is too late."""
        self.over, self.action = True, action

    def settle(self, run_id: str, error: BaseException | None) -> RunStatus:
        """Note what the engine ended with, and return the run's status."""
        if error is None:
            return "done"
        if isinstance(error, Failed):
            error = error.error
        status: RunStatus = "failed" if isinstance(error, Exception) else "cancelled"
        if isinstance(error, CancelledBy):
            error = error.error
        elif isinstance(error, (Cancelled, GeneratorExit)) and self.over:
            error = None  # it came too late
        elif isinstance(error, Cancelled):
            error = error.error or _cancelled(run_id)
        if error is None:
            return "done"
        self.error, self.action = pep479(error), None
        self.first = self.later = self.error
        if isinstance(error, asyncio.CancelledError):
            self.later = _cancelled(run_id)
            self.later.__cause__ = error
        return status

    def tell_task(self) -> None:
        """The task that was cancelled has its own error."""
        self.first = self.later

    def report(self, told: bool = True) -> None:
        """Note that somebody was told of it; or that there is news, which nobody knows."""
        self.reported = told

    def result(self) -> Any:
        """Return the action, or raise the error, to whoever drove the run or asks again."""
        __tracebackhide__ = True  # from IPython and pytest; also in what leads here
        error = self.later if self.reported else self.first
        self.reported = True
        if error is not None:
            trim(error)
            again(error)
        return self.action


def _cancelled(run_id: str) -> RunCancelled:
    return RunCancelled(f"Run {run_id} was cancelled.")
