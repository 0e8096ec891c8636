"""Watch a graph of LLM nodes: stream it, show it, log it, trace it, stop it and go on.

The layers; each module imports only from those below it:

    cli/          the command line, `python -m flowevents`
    testing/      checks and stand-ins for users' tests
    flow.py       flows: nodes made of nodes
    nodes/        what users write: prep, exec and post as steps of the engine
    stream.py     a run's output as a stream, or to a callback
    mermaid.py    a flow as a picture, named as in its events
    run.py        Run, as its users see it; observers/ beside it: consumers, each a file
    live.py       a run in the background, and its events as they come
    engine/       the one engine: a generator of effects, its drivers, the walk over a graph
    signals/      one blinker signal per event type, senders, observe
    status.py     the states of a run; beside it opened.py, what of a run is open, and asking.py,
                  what a node asks and a handler answers
    events.py     the typed events and their JSON; beside it errors.py, clock.py, retrying.py,
                  at_exit.py, and messages.py: what else is said, escaped by escape.py
    plain.py      any value as JSON can hold it
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final

from flowevents import events, signals
from flowevents.asking import Answer, Ask, Result
from flowevents.clock import Clock
from flowevents.errors import (
    AsyncNodeError,
    Expired,
    FlowEventsError,
    GraphError,
    ObserverError,
    Paused,
    ReplyError,
    RunCancelled,
    RunStateError,
    TooManySteps,
)
from flowevents.events import (
    Action,
    Chunk,
    Event,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeEnd,
    NodeStart,
    Progress,
    Reply,
    Retry,
    UnknownEvent,
)
from flowevents.flow import (
    AsyncBatchFlow,
    AsyncFlow,
    AsyncParallelBatchFlow,
    BatchFlow,
    Flow,
    StreamFlow,
)
from flowevents.live import LiveEvents
from flowevents.nodes import (
    AskNode,
    AsyncAskNode,
    AsyncBatchNode,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BaseNode,
    BatchNode,
    Node,
    StreamNode,
)
from flowevents.run import Run
from flowevents.signals import ANY, Subscription, observe, on
from flowevents.stream import AsyncStream, Stream

if TYPE_CHECKING:
    from flowevents.mermaid import to_mermaid
    from flowevents.observers.chrome_trace import to_chrome_trace
    from flowevents.observers.console import ConsoleAnswers
    from flowevents.observers.display import TerminalDisplay
    from flowevents.observers.jsonlines import JsonLines, read_events
    from flowevents.observers.logs import LogObserver
    from flowevents.observers.queued import Gap, queued
    from flowevents.observers.timeline import timeline_svg
    from flowevents.observers.traces import TraceObserver as TraceObserver
    from flowevents.retrying import backoff

__version__ = "0.1.0"

_LATER: Final = {
    "ConsoleAnswers": "observers.console",
    "Gap": "observers.queued",
    "JsonLines": "observers.jsonlines",
    "LogObserver": "observers.logs",
    "TerminalDisplay": "observers.display",
    "TraceObserver": "observers.traces",
    "backoff": "retrying",
    "queued": "observers.queued",
    "read_events": "observers.jsonlines",
    "timeline_svg": "observers.timeline",
    "to_chrome_trace": "observers.chrome_trace",
    "to_mermaid": "mermaid",
}
"""What is imported when it is first used: an import of the package does without it."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    names = {*globals(), *_LATER}
    if importlib.util.find_spec("opentelemetry") is None:
        names.discard("TraceObserver")  # `help` and the like get all that is listed
    return sorted(names)


# Without `TraceObserver`: `from flowevents import *` shall work where its extra is not installed.
__all__ = [
    "ANY",
    "Action",
    "Answer",
    "Ask",
    "AskNode",
    "AsyncAskNode",
    "AsyncBatchFlow",
    "AsyncBatchNode",
    "AsyncFlow",
    "AsyncNode",
    "AsyncNodeError",
    "AsyncParallelBatchFlow",
    "AsyncParallelBatchNode",
    "AsyncStream",
    "AsyncStreamNode",
    "BaseNode",
    "BatchFlow",
    "BatchNode",
    "Chunk",
    "Clock",
    "ConsoleAnswers",
    "Event",
    "Expired",
    "Flow",
    "FlowEnd",
    "FlowEventsError",
    "FlowStart",
    "Gap",
    "GraphError",
    "Interrupt",
    "ItemEnd",
    "ItemStart",
    "JsonLines",
    "LiveEvents",
    "LogObserver",
    "Node",
    "NodeEnd",
    "NodeStart",
    "ObserverError",
    "Paused",
    "Progress",
    "Reply",
    "ReplyError",
    "Result",
    "Retry",
    "Run",
    "RunCancelled",
    "RunStateError",
    "Stream",
    "StreamFlow",
    "StreamNode",
    "Subscription",
    "TerminalDisplay",
    "TooManySteps",
    "UnknownEvent",
    "backoff",
    "events",
    "observe",
    "on",
    "queued",
    "read_events",
    "signals",
    "timeline_svg",
    "to_chrome_trace",
    "to_mermaid",
]
