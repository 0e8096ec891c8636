"""An item that a worker runs, as the driver has it: what came of it, and what that makes known."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from flowevents.engine.attempts import begin_again, retried
from flowevents.engine.chunks import HAND_OVER, Send, gives_plain_output, sender
from flowevents.engine.effects import TAKE, Effects
from flowevents.engine.items import Fresh
from flowevents.engine.state import hand_over, safe_point
from flowevents.engine.step import Step
from flowevents.events import MAX_ERROR, Chunk, Event, Progress
from flowevents.journal.standing import Tried
from flowevents.workers.parcels import (
    BEGUN,
    CHUNK,
    PROGRESS,
    Group,
    Message,
    Outcome,
    Task,
    unpacked,
)

__all__ = ["Errand", "publish", "void"]

_LOST: Final = "Lost: its worker ended before this attempt did."


class Errand(msgspec.Struct, eq=False):
    """An item under way to a worker, there, or back.

    Attributes:
        index, argument: The item; `sent` is what of it is sent.
        item: Its step, since it has begun, here or in the log.
        ticket: The number of its execution with the lane, `future` that of its end.
        token, received: Which execution the messages are of, and how many have come; `voided` are
            executions of which nothing more is taken.
        outcome: How the execution has ended, while messages are missing.
        lost: How often its worker was lost.
        before: What the next execution is told of those before.
    """

    index: int
    argument: Any
    sent: Any
    item: Step | None = None
    ticket: int = 0
    future: Any = None
    token: str | None = None
    received: int = 0
    voided: set[str] = msgspec.field(default_factory=set)
    outcome: Outcome | None = None
    lost: int = 0
    before: Tried = msgspec.field(default_factory=Tried)

    def task(self, step: Step, node: Any) -> Task:
        """Return what its worker gets."""
        before = self.before
        return Task(
            node,
            self.sent,
            step.state.options.run_id,
            step.plan.path,
            (*step.items, self.index),
            step.number,
            before.losses,
            before.failures,
            before.error,
        )

    def has_begun(self) -> bool:
        """Whether its start, or that it goes on, was published."""
        return self.item is not None and self.item.began is not None

    def is_of_another(self, token: str) -> bool:
        """Whether the engine has begun another execution, by this token."""
        return self.token not in (None, token) and token not in self.voided

    def takes(self, group: Group) -> bool:
        """Whether these are the next messages of its execution; what comes after a hole is not."""
        if self.token is None and group.token not in self.voided:
            self.token = group.token
        return self.token == group.token and self.received == group.first

    def is_whole(self) -> bool:
        """Whether its execution has ended, and all its messages are here."""
        done = self.outcome
        return done is not None and (done.token, done.count) == (self.token, self.received)


def void(errand: Errand) -> Effects:
    """Publish that what came of this execution is void: another one begins."""
    if errand.token is not None:
        errand.voided.add(errand.token)
    errand.token, errand.received, errand.outcome = None, 0, None
    if errand.item is not None and errand.has_begun():
        errand.before.losses += 1
        yield from begin_again(errand.item, _LOST)


def publish(errand: Errand, kept: Fresh, step: Step, messages: list[Message]) -> Effects:
    """Publish what a worker says of its item; chunks as `stream` does, without making them again.

    Raises what the run is to stop by.
    """
    state, audience = step.state, step.state.audience
    version: object = None
    send: Send | None = None
    plain_output = False
    for message in messages:
        item = errand.item
        if item is None or message[0] != CHUNK or message[2] != "output":
            yield from _publish(errand, kept, message)
            version = None  # it may be another attempt
            continue
        if audience.version is not version:
            yield from safe_point(state)
            version = audience.version
            send, plain_output = sender(item), gives_plain_output(state)
        data = unpacked(message[1])
        if send is not None:
            out = send(data)
            if out is HAND_OVER:
                yield from hand_over(state)
            elif out is not None:
                yield out
        elif plain_output:
            state.delivery.outbox.append(data)
            yield TAKE
    yield from safe_point(state)


def _publish(errand: Errand, kept: Fresh, message: Message) -> Effects:
    kind = message[0]
    if kind == BEGUN:
        if not errand.has_begun():
            if errand.item is None:
                errand.item = kept.item(errand.index, errand.argument)
            yield from kept.start(errand.item, errand.argument)
        return
    item = errand.item
    assert item is not None
    clean = item.state.options.clean
    if kind == CHUNK:
        _, data, of_kind = message
        yield from _own(item, Chunk, {"data": clean(unpacked(data)), "kind": of_kind})
    elif kind == PROGRESS:
        _, done, total, label = message
        yield from _own(item, Progress, {"done": done, "total": total, "label": label})
    else:
        _, error, wait, fallback = message
        errand.before.failures += 1
        text = str(clean(error))[:MAX_ERROR]
        if fallback:
            errand.before.error = text
        yield from retried(item, text, wait, fallback)


def _own(item: Step, kind: type[Event], own: dict[str, Any]) -> Effects:
    handlers = getattr(item.listeners(), kind.signal)
    if handlers is not None and item.publish(handlers, kind, **own):
        yield from hand_over(item.state)
