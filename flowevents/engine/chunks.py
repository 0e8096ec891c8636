"""The fast path of a chunk, written once: an event, its handlers, what the consumer gets.

A streaming attempt looks it up anew only where the audience's `version` changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from flowevents.engine.delivery import Delivery
from flowevents.engine.effects import TAKE
from flowevents.engine.state import State
from flowevents.engine.step import Step
from flowevents.events import Chunk, Event
from flowevents.signals import Receiver

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
    handlers, consumer = step.listeners().chunk, step.state.audience.consumer
    if handlers is None:
        return _output_only(step.state) if consumer == "output" else None
    options, delivery = step.state.options, step.state.delivery
    calls = handlers.calls
    one = calls[0] if len(calls) == 1 else _one(calls, delivery)
    later = None if options.recorder is None else options.recorder.later
    if handlers.asynchronous:
        later = _never

    def send(  # what does not change are defaults: they are found fast, and stand close together
        data: Any,
        run_id: str = options.run_id,
        numbers: Iterator[int] = delivery.numbers,
        now: Callable[[], float] = options.clock.time,
        span: int = step.span,
        path: str = step.plan.path,
        items: tuple[int, ...] = step.items,
        number: int = step.number,
        attempt: int = step.attempt,
        outbox: deque[Any] = delivery.outbox,
        backlog: deque[Any] = delivery.backlog,
        call: Receiver | None = one,
        events: bool = consumer == "events",
        later: Callable[[Event], bool] | None = later,
        called: Receiver | None = None,  # from the moment of its call
    ) -> Any:
        event = Chunk(run_id, next(numbers), now(), span, path, items, number, attempt, data=data)
        if outbox or backlog or (later is not None and not later(event)):
            delivery.deliver(event, handlers)
            return HAND_OVER
        try:
            if call is not None:
                delivery.delivering = True
                if (result := (called := call)(event)) is not None:
                    delivery.puts_off(calls, event, call, result)
                delivery.delivering = False
            delivery.last = event
            if call is None or not backlog:
                if events:
                    return event
                if consumer is None:
                    return None
                outbox.append(data)
                return TAKE
        except BaseException as error:
            if called is not None and called not in calls:  # one that calls several
                called = calls[-1] if delivery.has(event.seq) else None
            delivery.go_on(calls, event, called, error)
            return HAND_OVER
        if not delivery.is_put_off(event):
            delivery.to_consumer(event)
        delivery.drain()  # what its handlers have emitted
        return HAND_OVER

    if options.redact is None:
        return send
    clean = options.clean
    return lambda data: send(clean(data))


def _never(event: Event) -> bool:
    """Have no chunk delivered at once: async handlers wait for it."""
    return False


def _one(calls: tuple[Receiver, ...], delivery: Delivery) -> Receiver | None:
    """Return one handler that calls all of these; `None` where there is none."""

    def call(event: Event) -> None:
        called: Receiver | None = None
        try:
            delivery.last = event
            for handler in calls:
                result = (called := handler)(event)
                if result is not None and delivery.puts_off(calls, event, handler, result):
                    break
        except BaseException as error:
            delivery.go_on(calls, event, called, error, given=True)

    return call if calls else None


def _output_only(state: State) -> Send | None:
    if gives_plain_output(state):
        return None
    options, put = state.options, state.delivery.outbox.append

    def send(data: Any) -> Any:
        put(data)
        return TAKE

    if options.redact is None:
        return send
    clean = options.clean
    return lambda data: send(clean(data))
