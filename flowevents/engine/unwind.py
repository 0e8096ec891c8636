"""The ways out of a run but the good one: they meet here, and end everything that is open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from flowevents.engine.effects import Await, Cancelled, Effects, pep479
from flowevents.engine.flushing import cut_short, flushed
from flowevents.engine.frame import Frame
from flowevents.engine.items import end_item
from flowevents.engine.state import State
from flowevents.engine.step import Step, Track
from flowevents.engine.steps import end_flow, end_step
from flowevents.engine.whose import after_delivery

__all__ = ["unwind"]

logger: Final = logging.getLogger("flowevents")


def unwind(
    state: State, track: Track, stack: list[Frame], step: Step | None, error: BaseException
) -> Effects:
    """End everything that is open, innermost first; return the error that the run ends with.

    `step` is the open step of a node. A cancellation wins over an error that is raised meanwhile;
    what is no `Exception` wins over what is.
    """
    delivery = state.delivery
    # The garbage collector may close it, in the middle of anything.
    if isinstance(error, GeneratorExit) and after_delivery(partial(delivery.hold, False)):
        delivery.hold(True)
    if track.blocked is None:
        yield from _flush(state, error)  # whoever hears of what came before may still cancel
    stopping = state.stopping()
    if stopping is not None and isinstance(error, Exception):
        logger.error(
            "An error in run %s while it was cancelled", state.options.run_id, exc_info=error
        )
        error = stopping
    error = pep479(error)
    ends: list[Callable[[BaseException], Effects]] = []
    if step is not None:
        _add_item(ends, step)
        ends.append(partial(end_step, step, None))
    for frame in reversed(stack):
        _add_item(ends, frame.step)
        if frame.step.member_of is None:  # an item's pass is ended by what runs it
            ends.append(partial(end_flow, frame.step))
    track.step = None
    for each in ends:
        try:
            yield from each(error)
        except BaseException as later:
            if isinstance(error, Exception) and not isinstance(later, Exception):
                error = later
    if track.blocked is None:
        yield from _flush(state, error)
    return error


def _add_item(ends: list[Callable[[BaseException], Effects]], step: Step) -> None:
    """Have the open item of a sequential batch ended."""
    item = None if step.batch is None else step.batch.locate()
    if item is not None:
        ends.append(partial(end_item, item))


def _flush(state: State, error: BaseException) -> Effects:
    """Have all that waits delivered: no schedule of repeated cancels loses an end."""
    delivery = state.delivery
    if delivery.delivering:
        return  # it is held
    if not state.is_async:
        delivery.drain()
    elif isinstance(error, GeneratorExit):
        delivery.drain_plainly()
    while delivery.backlog:
        try:
            yield Await(flushed(delivery))
        except Cancelled:
            continue  # a handler has asked for that; it goes on all the same
        except asyncio.CancelledError:
            cut_short(delivery)
