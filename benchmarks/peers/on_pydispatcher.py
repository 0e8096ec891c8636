"""PyDispatcher: signals and senders of any kind, one table for all of the process."""

from __future__ import annotations

from collections.abc import Sequence

from pydispatch import dispatcher

from .peer import Handler, Peer

PEER = Peer("PyDispatcher", "PyDispatcher", "pydispatch.dispatcher")


@PEER.dispatches(units=200_000)
def send(handlers: Sequence[Handler], times: int) -> None:
    sender, event = object(), object()
    for handler in handlers:
        dispatcher.connect(handler, signal="event", sender=sender, weak=False)
    for _ in range(times):
        dispatcher.send("event", sender, event)
