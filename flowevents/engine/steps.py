"""One step: a node with all that it may be, or a flow's beginning and end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from flowevents.engine.attempts import begin_again
from flowevents.engine.batches import execute
from flowevents.engine.calls import call, end, invoke, require_await
from flowevents.engine.effects import Await, Effects
from flowevents.engine.frame import Frame
from flowevents.engine.items import begin_items, item_of, iterator_of, merged
from flowevents.engine.state import hand_over, safe_point
from flowevents.engine.step import Items, Step, Track
from flowevents.events import FlowEnd, FlowStart, NodeEnd, NodeStart
from flowevents.messages import warn

__all__ = ["action_text", "begin_pass", "end_flow", "end_step", "enter", "leave", "run_step"]


def run_step(track: Track, step: Step, node: Any, shared: Any, parent: int) -> Effects:
    """Run one node, whoever listens; return its action."""
    state, shape = step.state, step.plan.shape
    listeners = step.listeners()
    lost = step.lost()
    if lost is not None:
        if not lost.items:  # else those go on, where they are the same
            yield from begin_again(step)
    elif listeners.anybody:
        if step.start(listeners.node_start, NodeStart, parent):
            yield from hand_over(state)
        if listeners.contexts:
            step.ask_context(track if state.is_async else None, NodeStart, parent)
    require_await(step)
    exec_res: Any = None
    if "run" in shape.overrides:
        run = node._run_async if shape.is_async else node._run
        action = yield from invoke(step, run, shared)
    else:
        prep_res = None
        if "prep_async" not in shape.idle:
            prep = node.prep_async if shape.is_async else node.prep
            prep_res = yield from invoke(step, prep, shared)
            if state.delivery.is_due():
                yield from hand_over(state)
        if state.options.capture or listeners.captures is not None:
            track.given = prep_res
        if shape.is_flow:
            prep_res, exec_res = yield from _overridden_walk(step, node, shared, prep_res)
        elif "exec" in shape.overrides:
            exec_res = yield from invoke(step, node._exec, prep_res)
        else:
            exec_res = yield from execute(track, step, node, prep_res)
        if state.is_disturbed():
            yield from safe_point(state)
        action = None
        if "post_async" not in shape.idle:
            post = node.post_async if shape.is_async else node.post
            action = yield from invoke(step, post, shared, prep_res, exec_res)
        elif shape.is_flow:
            action = exec_res
    if state.delivery.is_due():
        yield from hand_over(state)
    recorder = state.options.recorder
    if recorder is not None:
        recorder.notes.action(action, step.plan.path)
    yield from end_step(step, exec_res, given=track.given)
    track.given = None
    return action


def _overridden_walk(step: Step, flow: Any, shared: Any, prep_res: Any) -> Effects:
    """Return `prep_res` and `exec_res` of a flow with an `_orch` of its own, run as one step."""
    shape = step.plan.shape
    orch = flow._orch_async if shape.is_async else flow._orch
    if shape.batch is None:
        return prep_res, (yield from invoke(step, orch, shared))
    prep_res = prep_res or []
    passes = ({**flow.params, **params} for params in prep_res)
    if shape.batch == "parallel":
        together = asyncio.gather(*(call(step, orch, shared, params) for params in passes))
        yield Await(together)
    else:
        for params in passes:
            yield from invoke(step, orch, shared, params)
    return prep_res, None


def end_step(
    step: Step, exec_res: Any, error: BaseException | None = None, *, given: Any = None
) -> Effects:
    """Publish the end of a node's step; `given` is its `prep_res`."""
    own: dict[str, Any] = {}
    options, listeners = step.state.options, step.listeners()
    if options.capture or listeners.captures is not None:
        own = {"result": options.clean(exec_res), "input": options.clean(given)}
    return end(step, NodeEnd, listeners.node_end, error, own)


# -- flows ----------------------------------------------------------------------------------------


def enter(track: Track, frame: Frame, parent: int) -> Effects:
    """Begin a flow: its start event, its `prep`, and where its walk begins.

    Returns the items of a parallel batch flow, each a frame that stands at the beginning of its
    pass; they are still to be run.
    """
    step, shape, flow = frame.step, frame.plan.shape, frame.flow
    state = step.state
    step.attempt = 0
    track.enter(step)
    if frame.cursor.stands == "enter":  # else it has begun before
        if not step.span:
            frame.begin_anew(next(state.delivery.numbers))
        handlers = step.listeners().flow_start
        metadata = state.options.metadata if frame.plan.path == "" else {}
        if step.start(handlers, FlowStart, parent, flow=frame.plan.name, metadata=metadata):
            yield from hand_over(state)
    require_await(step)
    prep_res = None
    if "prep_async" not in shape.idle:
        prep = flow.prep_async if shape.is_async else flow.prep
        prep_res = yield from invoke(step, prep, state.shared)
        if state.delivery.is_due():
            yield from hand_over(state)
    if state.options.recorder is not None:
        if shape.batch is not None:
            prep_res = list(prep_res or ())
        state.options.recorder.notes.prep(step.span, prep_res, step.plan.path)
    track.leave()
    if flow.start_node is None:
        warn(
            f"Flow {frame.plan.name!r} has no start node: nothing runs. "
            "Use Flow(start=node) or flow.start(node)."
        )
    if shape.batch is None:
        frame.begin_pass()
    else:
        prep_res = prep_res or []
    frame.cursor.prep_res = prep_res
    if shape.batch == "sequential":
        frame.begin_batch(prep_res)
    elif shape.batch == "parallel":
        frame.cursor.stands = "leave"
        return _passes(frame, prep_res)
    return None


def _passes(frame: Frame, batch: Any) -> Iterator[list[Frame]]:
    """The items of a parallel batch flow, each a pass over its graph."""
    items = begin_items(frame.step, batch)
    for index, params in enumerate(iterator_of(frame.step, batch)):
        yield [begin_pass(frame, items, index, params)]


def begin_pass(frame: Frame, items: Items, index: int, params: Any) -> Frame:
    """Return the frame of a pass over the graph of a parallel batch flow, at its beginning."""
    item = item_of(frame.step, items, 0, index, 0)
    inner = Frame(frame.plan, frame.flow, item)
    inner.cursor.prep_res = params
    inner.begin_pass(merged(frame.step, frame.flow.params, params))
    return inner


def leave(track: Track, frame: Frame, last: bool) -> Effects:
    """End a flow that is ok: its `post`, whose action it returns, and its end event."""
    step, shape, flow = frame.step, frame.plan.shape, frame.flow
    state = step.state
    track.enter(step)
    exec_res = frame.cursor.action if shape.batch is None else None
    action = exec_res
    if "post_async" not in shape.idle:
        post = flow.post_async if shape.is_async else flow.post
        action = yield from invoke(step, post, state.shared, frame.cursor.prep_res, exec_res)
    if last and (state.delivery.backlog or state.delivery.outbox):
        yield from hand_over(state)  # no code of the run comes after this, which could wait for it
    if state.is_disturbed():
        yield from safe_point(state)
    if state.options.recorder is not None:
        state.options.recorder.notes.action(action, step.plan.path)
    track.leave()
    if last:
        state.outcome.reach(action)
    handlers = step.listeners().flow_end
    yield from end(step, FlowEnd, handlers, None, {"action": action_text(action)})
    if last and (state.delivery.backlog or state.delivery.outbox):
        yield from hand_over(state)  # the run has not ended before all of it was taken
    return action


def end_flow(step: Step, error: BaseException) -> Effects:
    """Publish the end of a flow that is not ok."""
    return end(step, FlowEnd, step.listeners().flow_end, error, {})


def action_text(action: Any) -> str | None:
    """Return an action as its event holds it."""
    return action if action is None or isinstance(action, str) else str(action)
