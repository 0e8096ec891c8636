"""How a fork begins: the flows and items that were open in the other run are started again.

All of their starts are stored in one commit, so that a fork that is lost knows where each stands.
"""

from __future__ import annotations

from flowevents.engine.effects import Effects
from flowevents.engine.frame import Frame
from flowevents.engine.items import start_item
from flowevents.engine.recorder import Recorder
from flowevents.engine.state import State, hand_over
from flowevents.engine.step import Step, Track
from flowevents.events import FlowStart

__all__ = ["begin_anew"]


def begin_anew(state: State, track: Track, stack: list[Frame]) -> Effects:
    """Publish the starts of these frames, and keep where each stands."""
    recorder = state.options.recorder
    assert recorder is not None
    recorder.hold()
    yield from _begin(recorder, track, stack, 0)
    if state.delivery.deliver_held():
        yield from hand_over(state)


def _begin(recorder: Recorder, track: Track, stack: list[Frame], parent: int) -> Effects:
    for frame in stack:
        if frame.cursor.stands == "enter":  # it begins by itself
            return
        step = frame.step
        if step.member_of is not None:
            yield from _begin_item(recorder, track, frame, step)
        else:
            yield from _begin_flow(recorder, frame, parent)
            if frame.batch is not None and frame.batch.current is not None:
                yield from _begin_item(recorder, track, frame, frame.batch.current)
        for each in () if frame.passes is None else frame.passes.begun:
            yield from _begin(recorder, track, each, 0)
        parent = frame.span


def _begin_flow(recorder: Recorder, frame: Frame, parent: int) -> Effects:
    step = frame.step
    state = step.state
    frame.begin_anew(next(state.delivery.numbers))
    step.attempt = 0
    if step.batch is not None:
        step.batch.span = step.span
    recorder.notes.prep(step.span, frame.cursor.prep_res, frame.plan.path)
    recorder.notes.cursor(frame.cursor.anew[0].begun_anew(step.span))
    metadata = state.options.metadata if frame.plan.path == "" else {}
    handlers = step.listeners().flow_start
    if step.start(handlers, FlowStart, parent, flow=frame.plan.name, metadata=metadata):
        yield from hand_over(state)


def _begin_item(recorder: Recorder, track: Track, frame: Frame, item: Step) -> Effects:
    item.span, item.open = next(item.state.delivery.numbers), True
    frame.span, frame.items = item.span, item.items
    recorder.notes.cursor(frame.cursor.anew[-1].begun_anew(item.span))
    yield from start_item(item, track)
