"""Watch a graph of LLM nodes: stream it, show it, log it, trace it, stop it and go on.

The layers; each module imports only from those below it:

    testing.py    checks and stand-ins for users' tests
    flow.py       flows: nodes made of nodes
    nodes/        what users write: prep, exec and post as steps of the engine
    stream.py     a run's output as a stream, or to a callback
    run.py        Run: state table, push, pull, reply, cancel
    observers/    consumers of events, each a file, beside run.py
    live.py       the events of a run in a thread, as they come
    engine/       the one engine: a generator of effects, its drivers, the walk over a graph
    signals.py    one blinker signal per event type, senders, observe
    asking.py     what a node asks and a handler answers
    events.py     the typed events and their JSON; errors.py and escape.py beside it
"""

from flowevents import events, signals
from flowevents.asking import Answer, Ask
from flowevents.engine.clock import Clock
from flowevents.engine.streams import Result
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
from flowevents.observers.queued import Gap, queued
from flowevents.run import Run
from flowevents.signals import ANY, Subscription, observe, on
from flowevents.stream import AsyncStream, Stream

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
    "LiveEvents",
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
    "TooManySteps",
    "UnknownEvent",
    "events",
    "observe",
    "on",
    "queued",
    "signals",
]
