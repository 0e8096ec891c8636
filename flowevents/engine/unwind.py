"""The ways out of a run but the good one: they meet here, and end everything that is open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from flowevents.engine.delivery import Delivery
from flowevents.engine.effects import Await, Cancelled, Effects, Failed, pep479
from flowevents.engine.flushing import cut_short, flushed, store_now
from flowevents.engine.frame import Frame
from flowevents.engine.items import end_item, end_lost_items
from flowevents.engine.state import State
from flowevents.engine.step import Step, Track
from flowevents.engine.steps import end_flow, end_step
from flowevents.engine.trampoline import close_all
from flowevents.engine.whose import after_delivery

__all__ = ["unwind"]

End = Callable[[BaseException], Effects]
"""Ends something that is open by an error."""

logger: Final = logging.getLogger("flowevents")


def unwind(state: State, track: Track, stack: list[Frame], error: BaseException) -> Effects:
    """End everything that is open, innermost first; return the error that the run ends with.

    A cancellation wins over an error that is raised meanwhile; what is no `Exception` wins over
    what is. Where a Ctrl-C comes in the middle of it, it can be done again.
    """
    delivery = state.delivery
    state.door.shut()
    frames = [frame.step for frame in reversed(stack)]
    if type(error) is GeneratorExit:
        if track.opened is not None:
            awaited, track.opened[1:] = track.opened[1:], []
            close_all(state.options.run_id, awaited)
        # The garbage collector may close it, in the middle of anything.
        if after_delivery(partial(_deliver_plainly, delivery)):
            delivery.hold(True)
    elif track.blocked is None:
        _recover(delivery, track.step, frames)
    if track.blocked is None:
        yield from _flush(state, error)  # whoever hears of what came before may still cancel
    stopping = state.stopping()
    if stopping is not None and isinstance(error, Exception):
        logger.error(
            "An error in run %s while it was cancelled", state.options.run_id, exc_info=error
        )
        error = stopping
    error = pep479(error)
    inner = None if any(track.step is each for each in frames) else track.step
    for each in list(_ends(stack, inner, track.given)):
        try:
            yield from each(error)
        except BaseException as later:
            if isinstance(error, Exception) and not isinstance(later, Exception):
                error = later
                if track.blocked is None:
                    _recover(delivery, track.step, frames)
            yield from each(error)  # unless it is out
    track.leave(elsewhere=isinstance(error, GeneratorExit))
    if track.blocked is None:
        yield from _flush(state, error)
    return error


def _recover(delivery: Delivery, step: Step | None, frames: list[Step]) -> None:
    """Go on after what an interrupt has left half done.

    A start that was about to be heard and reached nobody has no end.
    """
    steps = frames if step is None else [step, *frames]
    items = (None if each.batch is None else each.batch.locate() for each in steps)
    steps = [*steps, *(each for each in items if each is not None)]
    lost = delivery.recover({each.span for each in steps if not _is_heard(each)})
    for each in steps:
        if each.span == lost:
            each.open = False


def _is_heard(step: Step) -> bool:
    """Whether somebody hears the start of this step or item."""
    listeners = step.listeners()
    if step.member_of is not None:
        return listeners.item_start is not None
    if step.plan.shape.nests:
        return listeners.flow_start is not None
    return listeners.node_start is not None


def _ends(stack: list[Frame], step: Step | None, given: Any = None) -> Iterator[End]:
    """What ends all that is open in these frames, innermost first."""
    if step is not None:
        yield from _ends_of_items(step)
        yield partial(end_step, step, None, given=given)
    for frame in reversed(stack):
        for inner in () if frame.passes is None else frame.passes.begun:
            resumed = inner[-1].resumed
            for each in _ends(inner, None if resumed is None else resumed[0]):
                yield partial(_left, each)
            yield partial(_left, partial(end_item, inner[0].step))
        yield from _ends_of_items(frame.step)
        if frame.step.member_of is None:  # an item's pass is ended by what runs it
            yield partial(end_flow, frame.step)


def _ends_of_items(step: Step) -> Iterator[End]:
    """What ends the open item of a sequential batch, and what was lost and has not gone on."""
    item = None if step.batch is None else step.batch.locate()
    if item is not None:
        yield partial(end_item, item)
    yield partial(_left, partial(end_lost_items, step))


def _left(end: End, error: BaseException) -> Effects:
    """End what has not gone on: it has not failed itself."""
    failed = isinstance(error, (Exception, Failed))
    return end(Cancelled("what it is a part of has failed") if failed else error)


def _deliver_plainly(delivery: Delivery) -> None:
    """Deliver what was held while something else was being delivered."""
    store_now(delivery)
    delivery.hold(False)


def _flush(state: State, error: BaseException) -> Effects:
    """Have all that waits delivered: no schedule of repeated cancels loses an end."""
    delivery = state.delivery
    if delivery.delivering:
        return  # it is held
    if not state.is_async:
        delivery.drain()
    elif isinstance(error, GeneratorExit):
        store_now(delivery)
        delivery.drain(plainly=True)
    while delivery.backlog:
        try:
            yield Await(flushed(delivery))
        except Cancelled:
            continue  # a handler has asked for that; it goes on all the same
        except asyncio.CancelledError:
            cut_short(delivery)
