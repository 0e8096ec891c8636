"""The errors of flowevents, in one tree.

    FlowEventsError
    ├── RunStateError (RuntimeError)    a call that the run's state does not allow
    ├── RunCancelled                    the run was cancelled while this code drove it
    ├── TooManySteps                    a run went beyond its `max_steps`
    ├── AsyncNodeError (RuntimeError)   an async node or flow where only plain code can run
    ├── GraphError (TypeError)          a successor or a start node that is not a node
    └── ObserverError (TypeError)       an observer or handler that cannot be connected

An error that a node's own code raises is never wrapped: it leaves the run as it was raised.
"""

from __future__ import annotations

__all__ = [
    "AsyncNodeError",
    "FlowEventsError",
    "GraphError",
    "ObserverError",
    "RunCancelled",
    "RunStateError",
    "TooManySteps",
]


class FlowEventsError(Exception):
    """The root of every error that flowevents itself raises."""


class RunStateError(FlowEventsError, RuntimeError):
    """A call on a run that its state does not allow; the text names the call and the state."""


class RunCancelled(FlowEventsError):
    """The run was cancelled; raised to whoever drives it, after its last event."""


class TooManySteps(FlowEventsError):
    """A run executed more nodes and nested flows than its `max_steps` allows."""


class AsyncNodeError(FlowEventsError, RuntimeError):
    """An async node or flow was reached by code that cannot await it.

    It is a `RuntimeError`, as the one that PocketFlow raises there.
    """


class GraphError(FlowEventsError, TypeError):
    """Something in the graph is not a node; the text names it and where it stands."""


class ObserverError(FlowEventsError, TypeError):
    """An observer, a handler or a sender that signals cannot work with."""
