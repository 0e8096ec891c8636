"""What a `queued` handler costs the run that produces the events, against the handler itself.

Both hear every chunk. What is measured is the processor time of the producer's thread alone.
"""

from __future__ import annotations

import time
from typing import Any

from flowevents import Flow, queued

from .chunks import ForgetfulTalk
from .measure import Comparison, Counter, expect

SIZE = 100_000


class OnChunk:
    """An observer of chunks alone."""

    def __init__(self, counter: Counter) -> None:
        self.on_chunk: Any = counter.handler


def direct(chunks: int) -> None:
    """The handler itself."""
    counter = Counter()
    Flow(ForgetfulTalk()).run({"size": chunks}, observers=[OnChunk(counter)])
    expect(counter.count(), chunks, "the chunks heard")


def in_background(chunks: int) -> None:
    """The same handler, queued."""
    counter = Counter()
    with queued(OnChunk(counter), maxsize=SIZE) as handler:
        Flow(ForgetfulTalk()).run({"size": chunks}, observers=[handler])
    expect(counter.count(), chunks, "the chunks heard")


WORKS = (
    Comparison(
        "a chunk to a `queued` handler, for its producer",
        3,
        SIZE,
        in_background,
        direct,
        clock=time.thread_time,
    ),
)
