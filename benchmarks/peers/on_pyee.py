"""pyee: Node.js's EventEmitter."""

from __future__ import annotations

from collections.abc import Sequence

from pyee import EventEmitter

from .peer import Handler, Peer

PEER = Peer("pyee", "pyee", "pyee")


@PEER.dispatches(units=1_000_000)
def send(handlers: Sequence[Handler], times: int) -> None:
    emitter, event = EventEmitter(), object()
    for handler in handlers:
        emitter.add_listener("event", handler)
    for _ in range(times):
        emitter.emit("event", event)
