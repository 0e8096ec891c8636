"""ReactiveX: a subject and its subscribers."""

from __future__ import annotations

from collections.abc import Sequence

from reactivex.subject import Subject

from .peer import Handler, Peer

PEER = Peer("reactivex", "reactivex", "reactivex")


@PEER.dispatches(units=500_000)
def send(handlers: Sequence[Handler], times: int) -> None:
    subject, event = Subject[object](), object()
    for handler in handlers:
        subject.subscribe(on_next=handler)
    for _ in range(times):
        subject.on_next(event)
