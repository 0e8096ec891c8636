"""One blinker signal per type of event, what they can listen to, and who listens now.

    handlers.py    receivers, and the handlers that they are for the events of one type
    senders.py     what can be listened to, and the one table of what is connected to it
    audience.py    what one run knows of its listeners: there the engine looks its handlers up
    bus.py         the signals; the only module that imports blinker
    observing.py   observe, on: several signals at once

Each file uses those above it, and opens with its rules.
"""

from __future__ import annotations

from flowevents.signals.audience import Audience, audiences
from flowevents.signals.bus import (
    ANY,
    BY_NAME,
    EventSignal,
    action,
    chunk,
    flow_end,
    flow_start,
    interrupt,
    item_end,
    item_start,
    node_end,
    node_start,
    progress,
    reply,
    retry,
)
from flowevents.signals.handlers import (
    NO_HANDLERS,
    Entry,
    Handlers,
    Listeners,
    Receiver,
    is_async_callable,
    takes,
)
from flowevents.signals.observing import Subscription, handlers_of, observe, on, signals_of
from flowevents.signals.senders import Identity, sender_key

__all__ = [
    "ANY",
    "BY_NAME",
    "NO_HANDLERS",
    "Audience",
    "Entry",
    "EventSignal",
    "Handlers",
    "Identity",
    "Listeners",
    "Receiver",
    "Subscription",
    "action",
    "audiences",
    "chunk",
    "flow_end",
    "flow_start",
    "handlers_of",
    "interrupt",
    "is_async_callable",
    "item_end",
    "item_start",
    "node_end",
    "node_start",
    "observe",
    "on",
    "progress",
    "reply",
    "retry",
    "sender_key",
    "signals_of",
    "takes",
]
