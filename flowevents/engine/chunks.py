"""The fast path of a chunk, written once: an event, its handlers, what the consumer gets.

A streaming attempt looks it up anew only where the audience's `version` changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flowevents.engine.effects import TAKE
from flowevents.engine.state import State
from flowevents.engine.step import Step
from flowevents.events import Chunk

__all__ = ["HAND_OVER", "Send", "gives_plain_output", "sender"]


class _HandOver:
    def __repr__(self) -> str:
        return "HAND_OVER"


HAND_OVER: Final = _HandOver()
"""What `Send` returns where more waits than this chunk: the attempt is to `hand_over`."""

Send = Callable[[Any], Any]
"""Delivers a chunk with these data. Returns what the attempt is to yield for the consumer, `None`
or `HAND_OVER`. Raises what a handler raised that is no `Exception`."""


def gives_plain_output(state: State) -> bool:
    """Whether a consumer of output gets the very data, where nobody else hears of a chunk."""
    options, door = state.options, state.door
    # In an async run what is yielded might be taken for the loop's.
    return state.audience.consumer == "output" and door.loop is None and options.redact is None


def sender(step: Step) -> Send | None:
    """Return how this attempt's chunks are sent, as long as `version` is the same.

    `None` where nobody hears of them, but for a consumer of plain output.
    """
    state = step.state
    heard = step.listeners().chunk
    if heard is None:
        return _output_only(state) if state.audience.consumer == "output" else None
    delivery, options = state.delivery, state.options
    clean = None if options.redact is None else options.clean
    run_id, now, numbers = options.run_id, options.clock.time, delivery.numbers
    path, span, items = step.plan.path, step.span, step.items
    execution, attempt = step.number, step.attempt
    backlog, outbox, calls = delivery.backlog, delivery.outbox, heard.calls
    waits = bool(heard.asynchronous)
    events, output = state.audience.consumer == "events", state.audience.consumer == "output"

    def send(data: Any) -> Any:
        if clean is not None:
            data = clean(data)
        event = Chunk(
            run_id, next(numbers), now(), span, path, items, execution, attempt, data=data
        )
        if waits or outbox or backlog:
            delivery.deliver(event, heard)
            return HAND_OVER
        first: BaseException | None = None
        delivery.delivering = True
        try:
            for handler in calls:
                try:
                    handler(event)
                except Exception as error:
                    delivery.handler_failed(handler, event, error)
                except BaseException as error:
                    first = first or error
        finally:
            delivery.delivering = False
        if first is not None:
            raise first
        if backlog:  # what its handlers have emitted
            if events or output:
                delivery.to_consumer(event)
            delivery.drain()
            return HAND_OVER
        if events:
            return event
        if output:
            outbox.append(data)
            return TAKE
        return None

    return send


def _output_only(state: State) -> Send | None:
    if gives_plain_output(state):
        return None
    clean, put = state.options.clean, state.delivery.outbox.append

    def send(data: Any) -> Any:
        put(clean(data))
        return TAKE

    return send
