"""psygnal: signals as in Qt, compiled."""

from __future__ import annotations

from collections.abc import Sequence

from psygnal import Signal

from .peer import Handler, Peer

PEER = Peer("psygnal", "psygnal", "psygnal")


class Sender:
    """Has the signal."""

    sent = Signal(object)


@PEER.dispatches(units=1_000_000)
def send(handlers: Sequence[Handler], times: int) -> None:
    sender, event = Sender(), object()
    for handler in handlers:
        sender.sent.connect(handler)
    for _ in range(times):
        sender.sent.emit(event)
