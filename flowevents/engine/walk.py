"""The walk over a graph: from node to node, into nested flows and out again.

The rules of this file:

* It is a loop over an explicit stack of frames, one per open flow; a million steps, and a flow
  in a flow in a flow, need no deeper call stack.
* A step opens its frame or its record before its start event is published, so that whatever
  happens after that finds it open.
* All ways out but the good one meet in `_unwind`, which ends what is open, innermost first.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from flowevents.engine.attempts import attempts
from flowevents.engine.batches import end_item, execute, length_of, start_item
from flowevents.engine.calls import call, end, invoke, require_await
from flowevents.engine.drivers import Group, close_all
from flowevents.engine.effects import Await, Effects, unstopped
from flowevents.engine.frame import Frame, Place
from flowevents.engine.sequencer import Sequencer, logger
from flowevents.engine.step import Step, Track, current_track
from flowevents.events import Action, Event, FlowEnd, FlowStart, NodeEnd, NodeStart

__all__ = ["walk"]


def walk(sequencer: Sequencer, track: Track, frame: Frame, began: bool = False) -> Effects:
    """Run a flow to its end, and give its last action.

    With `began` the frame is that of an item of a parallel batch flow: its flow is open already,
    and the walk is one pass over its graph.
    """
    shared = frame.shared
    stack = [frame]
    bottom = frame
    limited = sequencer.max_steps is not None
    run_id, numbers, now = sequencer.run_id, sequencer.numbers, sequencer.now
    new: Callable[[type], Any] = object.__new__
    step: Step | None = None  # the open step of a node
    version: object = None
    place: Place | None = None  # of the node to run
    params: Any = None
    parent, items = 0, frame.step.items
    moved = True  # to another frame, or to another item of a batch
    try:
        if not began:
            yield from _enter(track, frame)
        while True:
            if moved:
                place, params = frame.next, frame.params
                parent, items = frame.span, frame.items
                moved = False
            if place is None:  # at the end of a pass
                moved = True
                if sequencer.version is not version:
                    yield from sequencer.border()
                    version = sequencer.version
                if frame is bottom and began:
                    track.step = None
                    return frame.last_action
                if frame.batch is not None:
                    plan = frame.plan
                    listeners = plan.heard if plan.version is version else frame.step.listeners()
                    anybody = listeners.anybody
                    if anybody:
                        yield from frame.end_item()
                    if frame.draw_item():
                        if anybody:
                            yield from frame.start_item()
                        continue
                    frame.step.item = None
                action = yield from _leave(track, frame, frame is bottom)
                stack.pop()
                if frame is bottom:
                    return action
                ended, node, place = frame.step, frame.flow, frame.place
                listeners = ended.listeners()
                frame = stack[-1]
            else:
                if sequencer.version is not version:
                    yield from sequencer.border()
                    version = sequencer.version
                plan = place.plan
                if limited:
                    sequencer.count_step(plan)
                place.count = count = place.count + 1
                span = next(numbers)
                step = ended = Step(sequencer, plan, span, parent, items, count)
                original = plan.node
                if plan.copies_plainly:  # what `Plan.copy` does, but faster
                    node = new(type(original))
                    node.__dict__ = attributes = original.__dict__.copy()
                    attributes["params"] = params
                    attributes["_flowevents_step"] = step
                else:
                    node = plan.copy(params, step)
                listeners = plan.heard if plan.version is version else plan.listeners(sequencer)
                if plan.inline:
                    # A plain node, its first attempt inline: what run_step does, but faster.
                    track.step = step
                    if (heard := listeners.node_start) is not None:
                        step.began = sequencer.monotonic()
                        event: Event = NodeStart(
                            run_id, span, now(), span, plan.path, items, count, 1, parent=parent
                        )
                        if sequencer.deliver(event, heard):
                            yield from sequencer.flush()
                    sequencer.plain = True
                    prep_res = node.prep(shared)
                    try:
                        exec_res = node.exec(prep_res)
                    except Exception as error:
                        sequencer.plain_ended()
                        exec_res = yield from attempts(track, step, node, prep_res, error)
                        sequencer.plain = True
                    if sequencer.version is not version:
                        sequencer.plain_ended()
                        yield from sequencer.border()
                        sequencer.plain = True
                    action = node.post(shared, prep_res, exec_res)
                    sequencer.plain = False
                    if sequencer.guests:
                        sequencer.await_guests()
                    if sequencer.version is not version:
                        yield from sequencer.border()
                        version = sequencer.version
                        listeners = plan.listeners(sequencer)
                    step.open = False
                    if (heard := listeners.node_end) is not None:
                        event = NodeEnd(
                            run_id,
                            next(numbers),
                            now(),
                            span,
                            plan.path,
                            items,
                            count,
                            step.attempt,
                            status="ok",
                            duration=0.0
                            if step.began is None
                            else sequencer.monotonic() - step.began,
                            result=sequencer.clean(exec_res) if sequencer.capture else None,
                        )
                        if sequencer.deliver(event, heard):
                            yield from sequencer.flush()
                    if sequencer.outbox:
                        yield from sequencer.flush()
                elif plan.nests:
                    frame = Frame(plan, node, step, shared, place)
                    step = None
                    stack.append(frame)
                    yield from _enter(track, frame)
                    moved = True
                    continue
                else:
                    track.step = step
                    action = yield from run_step(track, step, node, shared)
                    listeners = plan.listeners(sequencer)
                step = None
            following = None
            if frame.routes:
                following = frame.flow.get_next_node(node, action)
            elif successors := node.successors:
                try:
                    following = successors[action or "default"]
                except (KeyError, TypeError):
                    _no_successor(successors, ended, action)
            after = None
            if following is not None:
                assert place is not None
                after = place.after
                if after is None or after.plan.node is not following:
                    after = place.after = frame.place_of(following)
            place = after
            if (heard := listeners.action) is not None:
                text = _text(action)  # before it takes a number, because that may raise
                event = Action(
                    run_id,
                    next(numbers),
                    now(),
                    ended.span,
                    ended.plan.path,
                    ended.items,
                    ended.number,
                    ended.attempt,
                    action=text,
                    target=None if place is None else place.plan.path,
                )
                if sequencer.deliver(event, heard):
                    yield from sequencer.flush()
            if moved or place is None:
                frame.next, frame.last_action = place, action
    except BaseException as error:
        sequencer.plain_ended()
        if type(error) is GeneratorExit and track.opened is not None:
            awaited, track.opened[1:] = track.opened[1:], []
            close_all(sequencer, awaited)
        final = yield from _unwind(sequencer, track, stack, step, error, began)
        if final is error:
            raise
        raise final from final.__cause__


def _no_successor(successors: dict[Any, Any], step: Step, action: Any) -> None:
    """The flow ends: warn, as PocketFlow does. Raises `TypeError` for what is no action."""
    try:
        hash(action)
    except TypeError:
        raise TypeError(
            f"Node {step.plan.path!r} returned {action!r} from post: an action is a str or None."
        ) from None
    warnings.warn(f"Flow ends: '{action}' not found in {list(successors)}", stacklevel=2)


def _text(action: Any) -> str | None:
    return action if action is None or isinstance(action, str) else str(action)


# -- flows ------------------------------------------------------------------------------------


def _enter(track: Track, frame: Frame) -> Effects:
    """Begin a flow: its start event, its `prep`, and where its walk begins."""
    step, shape, sequencer = frame.step, frame.plan.shape, frame.step.sequencer
    step.attempt = 0
    track.step = step
    heard = step.listeners().flow_start
    if step.start(heard, FlowStart, flow=frame.plan.name, metadata=frame.metadata):
        yield from sequencer.flush()
    require_await(step)
    flow = frame.flow
    prep = flow.prep_async if shape.is_async else flow.prep
    prep_res = yield from invoke(step, prep, frame.shared)
    if sequencer.outbox or sequencer.backlog:
        yield from sequencer.flush()
    track.step = None
    if flow.start_node is None:
        warnings.warn(
            f"Flow {frame.plan.name!r} has no start node: nothing runs. "
            "Use Flow(start=node) or flow.start(node).",
            stacklevel=2,
        )
    if shape.batch is None:
        frame.begin_pass(None)
    else:
        prep_res = prep_res or []
        if shape.batch == "sequential":
            frame.batch = iter(prep_res)
            step.item = _item(frame, -1, length_of(prep_res))
            step.item.open = False
            step.item.where = frame.where
        else:
            limit = flow.max_concurrency if shape.ours else None
            passes = _parallel_passes(frame, prep_res)
            yield Await(Group(sequencer, keep=False).run(_parallel_pass, passes, limit))
    frame.prep_res = prep_res


def _leave(track: Track, frame: Frame, last: bool) -> Effects:
    """End a flow that is ok: its `post`, whose action it gives, and its end event."""
    step, shape, flow = frame.step, frame.plan.shape, frame.flow
    sequencer = step.sequencer
    track.step = step
    exec_res = frame.last_action if shape.batch is None else None
    post = flow.post_async if shape.is_async else flow.post
    action = yield from invoke(step, post, frame.shared, frame.prep_res, exec_res)
    yield from sequencer.border()
    track.step = None
    if last:
        sequencer.over, sequencer.action = True, action
    yield from end(step, FlowEnd, step.listeners().flow_end, None, {"action": _text(action)})
    return action


def _item(frame: Frame, index: int, total: int | None) -> Step:
    step = frame.step
    item = Step(step.sequencer, step.plan, 0, step.span, (*step.items, index), step.number, 0)
    item.of, item.total = step, total
    return item


def _parallel_passes(frame: Frame, batch: Any) -> Iterator[Frame]:
    """The items of a parallel batch flow, each a pass over its graph on a track of its own."""
    total = length_of(batch)
    for index, params in enumerate(batch):
        inner = Frame(frame.plan, frame.flow, _item(frame, index, total), frame.shared)
        inner.begin_pass({**frame.flow.params, **params})
        yield inner


async def _parallel_pass(group: Group, index: int, frame: Frame) -> None:
    track = Track(None, group, asyncio.current_task())
    current_track.set(track)
    await group.drive(_pass(track, frame))


def _pass(track: Track, frame: Frame) -> Effects:
    item = frame.step
    item.span = frame.span = next(item.sequencer.numbers)
    try:
        if item.listeners().anybody:
            yield from start_item(item)
        yield from walk(item.sequencer, track, frame, began=True)
        yield from end_item(item)
    except BaseException as error:
        yield from end_item(item, error)
        raise


# -- nodes ------------------------------------------------------------------------------------


def run_step(track: Track, step: Step, node: Any, shared: Any) -> Effects:
    """Run one node, with all that it may be and whoever listens; its action."""
    sequencer, shape = step.sequencer, step.plan.shape
    listeners = step.listeners()
    if listeners.anybody:
        if step.start(listeners.node_start, NodeStart):
            yield from sequencer.flush()
        if listeners.contexts:
            step.ask_context(NodeStart)
    require_await(step)
    exec_res: Any = None
    if "run" in shape.overrides:
        run = node._run_async if shape.is_async else node._run
        action = yield from invoke(step, run, shared)
    else:
        prep = node.prep_async if shape.is_async else node.prep
        prep_res = yield from invoke(step, prep, shared)
        if sequencer.outbox or sequencer.backlog:
            yield from sequencer.flush()
        if shape.is_flow:
            prep_res, exec_res = yield from _overridden_walk(step, node, shared, prep_res)
        elif "exec" in shape.overrides:
            exec_res = yield from invoke(step, node._exec, prep_res)
        else:
            exec_res = yield from execute(track, step, node, prep_res)
        yield from sequencer.border()
        post = node.post_async if shape.is_async else node.post
        action = yield from invoke(step, post, shared, prep_res, exec_res)
    if sequencer.outbox or sequencer.backlog or sequencer.failure is not None:
        yield from sequencer.flush()
    yield from _end_step(step, exec_res)
    return action


def _overridden_walk(step: Step, flow: Any, shared: Any, prep_res: Any) -> Effects:
    """`prep_res` and `exec_res` of a flow with an `_orch` of its own, run as one step."""
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


def _end_step(step: Step, exec_res: Any, error: BaseException | None = None) -> Effects:
    sequencer = step.sequencer
    own = {}
    if sequencer.capture and error is None:
        own["result"] = sequencer.clean(exec_res)
    yield from end(step, NodeEnd, step.listeners().node_end, error, own)


# -- the other ways out -----------------------------------------------------------------------


def _unwind(
    sequencer: Sequencer,
    track: Track,
    stack: list[Frame],
    step: Step | None,
    error: BaseException,
    began: bool,
) -> Effects:
    """End everything that is open, innermost first, and give the error that the run ends with.

    A cancellation wins over an error that is raised meanwhile; what is no `Exception` wins over
    what is.
    """
    stopping = sequencer.stopping()
    if stopping is not None and isinstance(error, Exception):
        logger.error("An error in run %s while it was cancelled", sequencer.run_id, exc_info=error)
        error = stopping
    error = unstopped(error)
    open_ends: list[Callable[[BaseException], Effects]] = []
    if step is not None:
        if step.item is not None:
            open_ends.append(partial(end_item, step.item))
        open_ends.append(partial(_end_step, step, None))
    for frame in reversed(stack[1:] if began else stack):
        if frame.step.item is not None:
            open_ends.append(frame.end_item)
        open_ends.append(partial(_end_flow, frame))
    track.step = None
    if sequencer.backlog:  # what plain code had emitted
        open_ends.insert(0, partial(_flush_first, sequencer))
    for each in open_ends:
        try:
            yield from each(error)
        except BaseException as later:
            if isinstance(error, Exception) and not isinstance(later, Exception):
                error = later
    return error


def _end_flow(frame: Frame, error: BaseException) -> Effects:
    return end(frame.step, FlowEnd, frame.step.listeners().flow_end, error, {})


def _flush_first(sequencer: Sequencer, error: BaseException) -> Effects:
    if sequencer.loop is None:
        sequencer.drain()
    elif isinstance(error, GeneratorExit):
        sequencer.flush_plainly()
    else:
        yield Await(sequencer.flush_handlers())
