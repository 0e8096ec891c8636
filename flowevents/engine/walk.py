"""The walk over a graph: from node to node, into nested flows and out again.

The rules of this file:

* It is a loop over an explicit stack of frames, one per open flow; a million steps, and a flow
  in a flow in a flow, need no deeper call stack. Each frame says by its cursor where it stands.
* A step opens its frame or its record before its start event is published, so that whatever
  happens after that finds it open.
* All ways out but the good one meet in `unwind`.
* The step of a plain node, its first attempt, is written out here: what `run_step` does, without
  a generator in between. It takes numbers, opens the door and publishes by itself. That buys a
  fifth of what an unheard step costs (`python -m benchmarks --only step`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from flowevents.engine.attempts import attempts
from flowevents.engine.effects import Await, Effects
from flowevents.engine.frame import Frame, Place
from flowevents.engine.groups import Blocked, Group, drive, limit_of
from flowevents.engine.items import end_item, label_next, start_item
from flowevents.engine.routes import is_known, routed, tell_unknown
from flowevents.engine.state import State, hand_over, safe_point
from flowevents.engine.step import Here, Items, Step, Track
from flowevents.engine.steps import action_text, enter, leave, run_step
from flowevents.engine.unwind import unwind
from flowevents.events import Action, Event, NodeEnd, NodeStart

__all__ = ["walk"]


def walk(state: State, track: Track, stack: list[Frame]) -> Effects:
    """Go on where the frames stand, to the end of the first one; return its last action.

    That is the run's own flow, or one pass over a flow's graph, which is an item of its batch.
    """
    unwound = False
    try:
        try:
            return (yield from _walk(state, track, stack))
        except BaseException as error:
            final = yield from unwind(state, track, stack, error)
            unwound = True
            if final is error:
                raise
            raise final from final.__cause__
    except BaseException as error:
        if not unwound:  # a Ctrl-C came in the middle of that
            yield from unwind(state, track, stack, error)
        raise


def _walk(state: State, track: Track, stack: list[Frame]) -> Effects:
    bottom, frame = stack[0], stack[-1]
    shared = state.shared
    audience, delivery, options, door = state.audience, state.delivery, state.options, state.door
    limited, is_async = options.max_steps is not None, door.loop is not None
    run_id, numbers, now = options.run_id, delivery.numbers, options.clock.time
    monotonic = options.clock.monotonic
    notes = None if options.recorder is None else options.recorder.notes
    deliver = delivery.deliver_stored if options.recorder is None else delivery.deliver
    new: Callable[[type], Any] = object.__new__
    version: object = None
    place: Place | None = None  # of the node to run
    params: Any = None
    batch: Items | None = None
    parent, items = 0 if frame is bottom else stack[-2].span, frame.step.within
    batch = frame.batch
    routes = False  # the flow says by itself what comes next
    moved = True  # to another frame, or to another item of a batch
    resumed: tuple[Step, Place] | None = None
    if not frame.step.span and frame.cursor.stands != "enter":
        from flowevents.engine.anew import begin_anew  # only a fork does

        yield from begin_anew(state, track, stack)
    while True:
        if moved:
            passes, resumed = frame.passes, frame.resumed
            if frame.cursor.stands in ("enter", "prep"):
                passes = yield from enter(track, frame, parent)
            if passes is not None:
                yield Await(_parallel(frame, passes))
                frame.passes = None
            place, params = frame.next, frame.cursor.params
            parent, items = frame.span, frame.items
            batch, routes, moved = frame.batch, frame.plan.shape.routes, False
        if resumed is not None:  # a run goes on, at a step that is open or has just ended
            step, place = resumed
            ended, resumed, frame.resumed = step, None, None
            track.step = step
            if audience.version is not version:
                yield from safe_point(state)
                version = audience.version
            node = place.plan.copy(params, step)
            action = frame.cursor.action
            if step.open:
                if is_async:
                    track.stand(step)
                action = yield from run_step(track, step, node, shared, parent)
            listeners = step.listeners()
        elif place is None:  # at the end of a pass
            if audience.version is not version:
                yield from safe_point(state)
                version = audience.version
            if batch is not None:
                plan = frame.plan
                listeners = plan.known if plan.version is version else plan.listeners(audience)
                heard = listeners.anybody
                if heard and (item := batch.locate()) is not None:
                    yield from end_item(item)
                if frame.take_next(batch, numbers, heard):
                    if heard:
                        assert batch.current is not None
                        yield from start_item(batch.current, track)
                    place, params = frame.next, frame.cursor.params
                    parent, items = frame.span, frame.items
                    continue
            elif frame.step.member_of is not None:
                track.leave()
                return frame.cursor.action
            moved = True
            frame.cursor.stands = "leave"
            action = yield from leave(track, frame, frame is bottom)
            stack.pop()
            if frame is bottom:
                return action
            ended, node, place = frame.step, frame.flow, frame.place
            listeners = ended.listeners()
            frame = stack[-1]
            routes = frame.plan.shape.routes
        else:
            if audience.version is not version:
                if state.is_disturbed():
                    yield from safe_point(state)
                version = audience.version
            plan = place.plan
            if limited:
                state.count_step(plan.path)
            place.count = count = place.count + 1
            span = next(numbers)
            step = ended = Step(state, plan, span, items, count)
            original = plan.node
            if plan.copies_plainly:  # what `Plan.copy` does, but faster
                node = new(type(original))
                node.__dict__ = attributes = original.__dict__.copy()
                attributes["params"] = params
                attributes["_flowevents_step"] = step
            else:
                node = plan.copy(params, step)
                if is_async:
                    track.stand(step)
            listeners = plan.known if plan.version is version else plan.listeners(audience)
            if plan.inline:
                track.step = step
                if listeners.anybody:
                    step.began = monotonic()
                    if (handlers := listeners.node_start) is not None:
                        event: Event = NodeStart(
                            run_id, span, now(), span, plan.path, items, count, 1, parent=parent
                        )
                        if deliver(event, handlers):
                            yield from hand_over(state)
                door.open = True
                prep_res = node.prep(shared)
                while True:  # once: what fails goes on below, where its error is not handled
                    try:
                        exec_res = node.exec(prep_res)
                        break
                    except Exception as error:
                        failed = error
                    door.shut()
                    exec_res = yield from attempts(step, node, prep_res, failed)
                    door.open = True
                    break
                if audience.version is not version:
                    door.shut()
                    yield from safe_point(state)
                    door.open = True
                action = node.post(shared, prep_res, exec_res)
                door.open = False
                if door.inside:
                    door.wait()
                if audience.version is not version:
                    yield from safe_point(state)
                    version = audience.version
                    listeners = plan.listeners(audience)
                if notes is not None:
                    notes.action(action, plan.path)
                if (handlers := listeners.node_end) is None:
                    step.open = False
                else:
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
                        duration=0.0 if step.began is None else monotonic() - step.began,
                    )
                    try:
                        step.open = False
                        due = deliver(event, handlers)
                    except BaseException:
                        step.open = not delivery.has(event.seq)
                        raise
                    if due:
                        yield from hand_over(state)
                if delivery.outbox and delivery.is_due():
                    yield from hand_over(state)
            elif plan.shape.nests:
                frame = Frame(plan, node, step, place)
                stack.append(frame)
                moved = True
                continue
            else:
                track.enter(step)
                action = yield from run_step(track, step, node, shared, parent)
                listeners = plan.listeners(audience)
        following = None
        if routes:
            following = routed(frame.flow, node, ended.plan.path, action)
        elif successors := node.successors:
            try:
                following = successors[action or "default"]
            except (KeyError, TypeError):
                tell_unknown(node, ended.plan.path, successors, action)
        after = None
        if following is not None:
            assert place is not None
            after = place.after
            if after is None or after.plan.node is not following:
                after = place.after = frame.place_of(following)
        place = after
        if audience.version is not version:  # somebody came while the end was delivered
            listeners = ended.listeners()
        if (handlers := listeners.action) is not None:
            text = action_text(action)  # before it takes a number, because that may raise
            event = Action(
                run_id,
                next(numbers),
                now(),
                ended.span,
                ended.plan.path,
                ended.within,
                ended.number,
                ended.attempt,
                action=text,
                target=None if place is None else place.plan.path,
                known=(place is not None and not routes) or is_known(node.successors, action),
            )
            if deliver(event, handlers):
                yield from hand_over(state)
        if moved or place is None:
            frame.next, frame.cursor.action = place, action


# -- batch flows ----------------------------------------------------------------------------------


async def _parallel(frame: Frame, passes: Iterable[list[Frame]]) -> None:
    """Run the items of a parallel batch flow at the same time, each on a track of its own."""
    await Group(frame.step.state).run(_work, passes, limit_of(frame.plan, frame.flow))


async def _work(blocked: Blocked, index: int, stack: list[Frame]) -> None:
    track = Track(None, blocked, asyncio.current_task())
    track.stand_at(Here(track))
    try:
        await drive(stack[0].step.state.delivery, _pass(track, stack))
    finally:
        track.end()


def _pass(track: Track, stack: list[Frame]) -> Effects:
    item = stack[0].step
    try:
        if not item.span:  # else it has begun before
            assert item.member_of is not None
            if "item_label" not in stack[0].plan.shape.idle and item.listeners().anybody:
                label_next(item.member_of, item, stack[0].flow, stack[0].cursor.prep_res)
            item.span = stack[0].span = next(item.state.delivery.numbers)
            if item.listeners().anybody:
                yield from start_item(item, track)
        yield from walk(item.state, track, stack)
        yield from end_item(item)
    except BaseException as error:
        yield from end_item(item, error)
        raise
