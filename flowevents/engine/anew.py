"""How a fork begins: the flows and items that were open in the other run are started again."""

from __future__ import annotations

from flowevents.engine.effects import Effects
from flowevents.engine.frame import Frame
from flowevents.engine.items import start_item
from flowevents.engine.state import hand_over
from flowevents.engine.step import Step, Track
from flowevents.events import FlowStart

__all__ = ["begin_anew", "begin_item_anew"]


def begin_anew(track: Track, stack: list[Frame]) -> Effects:
    """Publish the starts of frames that have none yet, and keep where each stands."""
    parent = 0
    for frame in stack:
        if not frame.step.span and frame.cursor.stands != "enter":  # else that begins by itself
            yield from _begin(track, frame, parent)
        parent = frame.span


def _begin(track: Track, frame: Frame, parent: int) -> Effects:
    step, cursor = frame.step, frame.cursor
    state, recorder = step.state, step.state.options.recorder
    assert recorder is not None
    frame.span = step.span = next(state.delivery.numbers)
    step.open, step.attempt = True, 0
    if step.batch is not None:
        step.batch.span = step.span
    metadata = state.options.metadata if frame.plan.path == "" else {}
    handlers = step.listeners().flow_start
    if step.start(handlers, FlowStart, parent, flow=frame.plan.name, metadata=metadata):
        yield from hand_over(state)
    recorder.keep_prep(step.span, cursor.prep_res, frame.plan.path)
    recorder.keep_cursor(cursor.anew[0].cursor(step.span))
    item = None if frame.batch is None else frame.batch.current
    if item is not None:
        yield from begin_item_anew(track, frame, item)


def begin_item_anew(track: Track, frame: Frame, item: Step) -> Effects:
    """Publish the start of an item of a batch flow, and keep where its pass stands."""
    recorder = item.state.options.recorder
    item.span, item.open = next(item.state.delivery.numbers), True
    frame.span, frame.items = item.span, item.items
    if item.listeners().anybody:
        yield from start_item(item, track)
    if recorder is not None and frame.cursor.anew:
        recorder.keep_cursor(frame.cursor.anew[-1].cursor(item.span))
