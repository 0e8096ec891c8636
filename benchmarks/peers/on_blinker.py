"""blinker: the signals on which those of flowevents stand."""

from __future__ import annotations

from collections.abc import Sequence

import blinker

from .peer import Handler, Peer

PEER = Peer("blinker", "blinker", "blinker")


@PEER.dispatches(units=1_000_000)
def send(handlers: Sequence[Handler], times: int) -> None:
    signal, event = blinker.Signal(), object()
    for handler in handlers:
        signal.connect(handler, weak=False)
    for _ in range(times):
        signal.send(event)
