"""The errors of flowevents, in one tree.

    FlowEventsError
    ├── RunStateError (RuntimeError)    a call that the run's state does not allow
    ├── RunCancelled                    the run was cancelled while this code drove it
    ├── Paused                          the run waits for an answer; `.run` is the run
    ├── ReplyError (ValueError)         an answer that an open question does not take
    ├── Expired (TimeoutError)          nobody answered in time; raised in the node that asked
    ├── TooManySteps                    a run went beyond its `max_steps`
    ├── WorkerLost                      an item was lost with its worker, again and again
    ├── AsyncNodeError (RuntimeError)   an async node or flow where only plain code can run
    ├── GraphError (TypeError)          what is not a node where one belongs, or cannot be run
    ├── ObserverError (TypeError)       an observer or handler that cannot be connected
    ├── RecordError (ValueError)        a file that does not hold what it should; names the line
    ├── JournalError                    a journal that fails, or cannot hold what it should
    │   ├── Conflict                    somebody else goes on with the run: this one has lost it
    │   ├── EventsLost                  the log lacks events that a reader, or the run, has had
    │   └── UnknownRun                  the journal has no run of that id
    └── MissingExtra (ImportError)      an optional package is not there; says what to install

An error that a node's own code raises is never wrapped: it leaves the run as it was raised.
"""

from __future__ import annotations

from typing import Any

from flowevents.escape import escape_controls

__all__ = [
    "AsyncNodeError",
    "Conflict",
    "EventsLost",
    "Expired",
    "FlowEventsError",
    "GraphError",
    "JournalError",
    "MissingExtra",
    "ObserverError",
    "Paused",
    "RecordError",
    "ReplyError",
    "RunCancelled",
    "RunStateError",
    "TooManySteps",
    "UnknownRun",
    "WorkerLost",
]


class FlowEventsError(Exception):
    """The root of every error that flowevents itself raises; its text is one line, escaped."""

    def __str__(self) -> str:
        return escape_controls(super().__str__(), one_line=True)


class RunStateError(FlowEventsError, RuntimeError):
    """A call on a run that its state does not allow; the text names the call and the state."""


class RunCancelled(FlowEventsError):
    """The run was cancelled; raised to whoever drives it, after its last event."""


class Paused(FlowEventsError):
    """A run waits for an answer that nobody gave while `run` or `wait` drove it.

    Answer with `.run.reply(…)`, then go on with `.run.wait()`, in an async run with
    `await .run.wait_async()`, or with another loop over it.

    Attributes:
        run: The `Run` that is paused.
        interrupts: The questions that were open, each an `Interrupt`.
    """

    def __init__(self, text: str, run: Any) -> None:
        super().__init__(text)
        self.run: Any = run
        self.interrupts: tuple[Any, ...] = run.interrupts


class ReplyError(FlowEventsError, ValueError):
    """An answer that a question does not take, or to a question that is not open.

    The question, where there is one, stays open.

    Attributes:
        asked: Whether it is open, so that another answer may do; not where it is unknown, answered,
            expired or withdrawn.
    """

    def __init__(self, text: str, *, asked: bool = True) -> None:
        super().__init__(text)
        self.asked: bool = asked


class Expired(FlowEventsError, TimeoutError):
    """Nobody answered before the question's `expires`; raised in the node that asked."""


class TooManySteps(FlowEventsError):
    """A run executed more nodes and nested flows than its `max_steps` allows."""


class WorkerLost(FlowEventsError):
    """A worker ended before its item did, too often, or took with it what is not made anew.

    The text names the item. What the executor itself said is the `__cause__`.
    """


class AsyncNodeError(FlowEventsError, RuntimeError):
    """An async node or flow was reached by code that cannot await it.

    It is a `RuntimeError`, as the one that PocketFlow raises there.
    """


class GraphError(FlowEventsError, TypeError):
    """Something in the graph is not a node, or cannot be run; the text names it and says why."""


class ObserverError(FlowEventsError, TypeError):
    """An observer, a handler or a sender that signals cannot work with."""


class RecordError(FlowEventsError, ValueError):
    """A file of recorded events holds something else; the text names the file and the line."""


class JournalError(FlowEventsError):
    """A journal that fails, is no journal, or cannot hold what it is given.

    Where the store fails, its own error is the `__cause__`.
    """


class Conflict(JournalError):
    """Somebody else has written the run's log, or has its lease: nothing more is stored here."""


class EventsLost(JournalError):
    """The log does not have events that were there, or that a reader says it has had."""


class UnknownRun(JournalError):
    """The journal has no run of that id."""


class MissingExtra(FlowEventsError, ImportError):
    """A module was imported whose optional package is not installed; the text says the extra."""
