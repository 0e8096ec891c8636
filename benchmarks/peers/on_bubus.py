"""bubus: an event bus of pydantic models.

It is async, and an event can be dispatched once only: making it and awaiting its handlers counts.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Sequence

from bubus import BaseEvent, EventBus

from .peer import Handler, Peer

PEER = Peer("bubus", "bubus", "bubus")


class Sent(BaseEvent[None]):
    """The event."""


@PEER.dispatches(units=1_000)
def send(handlers: Sequence[Handler], times: int) -> None:
    async def loop() -> None:
        bus = EventBus()
        for handler in handlers:
            bus.on(Sent, handler)
        for _ in range(times):
            await bus.dispatch(Sent())
        await bus.stop()

    warnings.filterwarnings("ignore", "Handler .* already registered")
    logging.getLogger("bubus").setLevel(logging.ERROR)
    asyncio.run(loop())
