"""Watch a graph of LLM nodes: stream it, show it, log it, trace it, stop it and go on.

The layers; each module imports only from those below it:

    cli/          the command line, `python -m flowevents`
    web/          runs over HTTP, and the page; gradio/ beside it: a chat
    testing/      checks and stand-ins for users' tests
    flow.py       flows: nodes made of nodes
    nodes/        what users write: prep, exec and post as steps of the engine
    stream.py     a run's output as a stream, or to a callback
    mermaid.py    a flow as a picture, named as in its events; instrument.py beside it:
                  pocketflow's own runs, observed
    run.py        Run, as its users see it; observers/ beside it: consumers, each a file
    driven.py     how a run is driven for them; resuming.py beside it: from a log to a run
    live.py       a run in the background, and its events as they come
    engine/       the one engine: a generator of effects, its drivers, the walk over a graph
    workers/      items of a batch in threads, processes, machines; how their events come back
    journal/      the durable log of runs: what every store does alike, and each store a file
    signals/      one blinker signal per event type, senders, observe
    status.py     the states of a run; beside it opened.py, what of a run is open, and asking.py,
                  what a node asks and a handler answers
    events.py     the typed events and their JSON; beside it errors.py, clock.py, retrying.py,
                  at_exit.py, and messages.py: what else is said, escaped by escape.py
    plain.py      any value as JSON can hold it
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

from flowevents import events, signals
from flowevents.asking import Answer, Ask, Result
from flowevents.clock import Clock
from flowevents.errors import (
    AsyncNodeError,
    Conflict,
    EventsLost,
    Expired,
    FlowEventsError,
    GraphError,
    JournalError,
    ObserverError,
    Paused,
    ReplyError,
    RunCancelled,
    RunStateError,
    TooManySteps,
    UnknownRun,
    WorkerLost,
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
    from flowevents.instrument import observe_pocketflow
    from flowevents.journal.journal import Journal
    from flowevents.journal.memory import MemoryJournal
    from flowevents.journal.records import RunSummary
    from flowevents.journal.redis import RedisJournal as RedisJournal
    from flowevents.journal.sqlite import SQLiteJournal
    from flowevents.mermaid import to_mermaid
    from flowevents.observers.chrome_trace import to_chrome_trace
    from flowevents.observers.console import ConsoleAnswers
    from flowevents.observers.display import TerminalDisplay
    from flowevents.observers.jsonlines import JsonLines, read_events
    from flowevents.observers.logs import JsonFormatter, LogObserver
    from flowevents.observers.queued import Gap, queued
    from flowevents.observers.timeline import timeline_svg
    from flowevents.observers.traces import TraceObserver as TraceObserver
    from flowevents.retrying import backoff
    from flowevents.workers.ray import RayRunner as RayRunner

__version__ = "0.1.0"

_LATER: Final = {
    "ConsoleAnswers": "observers.console",
    "Gap": "observers.queued",
    "Journal": "journal.journal",
    "JsonFormatter": "observers.logs",
    "JsonLines": "observers.jsonlines",
    "LogObserver": "observers.logs",
    "MemoryJournal": "journal.memory",
    "RayRunner": "workers.ray",
    "RedisJournal": "journal.redis",
    "RunSummary": "journal.records",
    "SQLiteJournal": "journal.sqlite",
    "TerminalDisplay": "observers.display",
    "TraceObserver": "observers.traces",
    "backoff": "retrying",
    "observe_pocketflow": "instrument",
    "queued": "observers.queued",
    "read_events": "observers.jsonlines",
    "timeline_svg": "observers.timeline",
    "to_chrome_trace": "observers.chrome_trace",
    "to_mermaid": "mermaid",
}
"""What is imported when it is first used: an import of the package does without it."""


_OF_EXTRAS: Final = {"RayRunner": "ray", "RedisJournal": "redis", "TraceObserver": "opentelemetry"}
"""The names that need a package of an extra."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    from importlib.util import find_spec  # nobody else needs it

    names = {*globals(), *_LATER}
    for name, package in _OF_EXTRAS.items():
        if find_spec(package) is None:
            names.discard(name)  # `help` and the like get all that is listed
    return sorted(names)


# Without those of extras: `from flowevents import *` shall work where they are not installed.
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
    "Conflict",
    "ConsoleAnswers",
    "Event",
    "EventsLost",
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
    "Journal",
    "JournalError",
    "JsonFormatter",
    "JsonLines",
    "LiveEvents",
    "LogObserver",
    "MemoryJournal",
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
    "RunSummary",
    "SQLiteJournal",
    "Stream",
    "StreamFlow",
    "StreamNode",
    "Subscription",
    "TerminalDisplay",
    "TooManySteps",
    "UnknownEvent",
    "UnknownRun",
    "WorkerLost",
    "asyncio",
    "backoff",
    "copy",
    "events",
    "observe",
    "observe_pocketflow",
    "on",
    "queued",
    "read_events",
    "signals",
    "time",
    "timeline_svg",
    "to_chrome_trace",
    "to_mermaid",
    "warnings",
]
"""With four modules, which `from pocketflow import *` gives as well."""
