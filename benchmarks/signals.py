"""A signal sent by hand to 0, 1 and 10 handlers, against `blinker.Signal.send` with the same
handlers.

Both hold their handlers strongly (blinker's `weak=False`, the cheaper way) and give each one
positional argument.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

import blinker

from flowevents import signals
from flowevents.events import Chunk

from .measure import Comparison, Counter, expect

SIZE = 50_000
EVENT = Chunk(
    run_id="run", seq=3, time=0.0, span=2, node="Talk", items=(), step=1, attempt=1, data="token "
)


def send(signal: Any, handlers: int, times: int) -> None:
    """Send the event `times` times to so many handlers."""
    counters = [Counter() for _ in range(handlers)]
    for counter in counters:
        signal.connect(counter.handler, weak=False)
    try:
        send_one = signal.send
        results: Any = None
        for _ in repeat(None, times):
            results = send_one(EVENT)
    finally:
        for counter in counters:
            signal.disconnect(counter.handler)
    expect(
        [counter.count() for counter in counters], [times] * handlers, "the calls of each handler"
    )
    expect(len(results), handlers, "the number of results")


def _comparison(handlers: int, target: float) -> Comparison:
    return Comparison(
        f"`signals.chunk.send(event)` to {handlers} handler{'' if handlers == 1 else 's'}",
        target,
        SIZE,
        lambda times: send(signals.chunk, handlers, times),
        lambda times: send(blinker.Signal(), handlers, times),
    )


WORKS = tuple(_comparison(handlers, target) for handlers, target in ((0, 0.6), (1, 0.4), (10, 0.2)))
