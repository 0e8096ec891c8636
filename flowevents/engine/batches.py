"""`exec_res` of a step: of its attempts, or of those of each item of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from flowevents.engine.attempts import Attempts, attempts, attempts_of
from flowevents.engine.calls import invoke
from flowevents.engine.effects import Await, Effects
from flowevents.engine.groups import Blocked, Group, drive, limit_of
from flowevents.engine.items import (
    begin_items,
    end_item,
    item_of,
    label_next,
    start_item,
    taken,
)
from flowevents.engine.state import safe_point
from flowevents.engine.step import Items, Step, Track, on_track

__all__ = ["execute"]


def execute(track: Track, step: Step, node: Any, prep_res: Any) -> Effects:
    """Return the step's `exec_res`."""
    batch = step.plan.shape.batch
    if batch is None:
        return attempts(step, node, prep_res)
    if prep_res is None and not step.plan.shape.ours:
        # pocketflow 0.0.3 refuses it in its async batches, newer ones do not: let it decide.
        return invoke(step, node._exec, None)
    if step.plan.shape.ours and node._flowevents_workers is not None:
        from flowevents.engine.executors import execute_elsewhere  # here: few nodes need it

        return execute_elsewhere(step, node, prep_res, node._flowevents_workers)
    recorder = step.state.options.recorder
    if recorder is not None:
        from flowevents.engine.stored_batches import execute_stored  # most runs have no journal

        return execute_stored(track, step, node, prep_res, recorder)
    if batch == "parallel":
        return _parallel(step, node, prep_res)
    return _sequential(track, step, node, prep_res)


def _sequential(track: Track, step: Step, node: Any, batch: Iterable[Any] | None) -> Effects:
    """Run the items one by one.

    Where nobody hears of them, a call of `exec` is all there is to an item: it is made inline, and
    the door stays open, because no event can come in between.
    """
    state, audience, door = step.state, step.state.audience, step.state.door
    shape = step.plan.shape
    calls = shape.calls and not (shape.is_async or state.options.offload)
    labels, tries = "item_label" not in shape.idle, attempts_of(step, node)
    run, numbers = node.exec, state.delivery.numbers
    items = begin_items(step, batch)
    keep = items.results.append
    shared = items.current = item_of(step, items, 0, -1)  # by those that nobody hears of
    shared.open = False
    version: object = None
    outside = track.here
    unheard = inline = False
    index, last_retried = -1, -1
    for index, argument in enumerate(taken(step, batch)):
        if audience.version is not version:
            door.shut()
            if unheard and items.locate() is shared:  # somebody may hear the end of the last one
                yield from end_item(shared)
            yield from safe_point(state)
            version = audience.version
            unheard = not step.listeners().anybody
            inline = unheard and calls and step.context is None
            items.current = shared
            shared.open, shared.context = unheard, step.context
            door.open = inline  # until something is heard
        if inline:
            items.index, items.number = index, next(numbers)
            try:
                keep(run(argument))
                continue
            except Exception as error:
                failed = error
            door.shut()
            items.locate()
            last_retried = index
            keep((yield from tries(shared, node, argument, failed)))
            items.attempt, shared.attempt = shared.attempt, 1
            if not shared.open:  # it has failed, and ended
                version = None
            door.open = audience.version is version
        elif unheard:
            items.index, items.number, shared.attempt = index, next(numbers), 1
            items.locate()
            keep((yield from tries(shared, node, argument)))
            if not shared.open:
                version = None
        else:
            if labels:
                label_next(items, step, node, argument)
            item = items.current = item_of(step, items, next(numbers), index)
            items.index = -1
            item.context = step.context  # not the last item's
            if outside is not None:
                track.stand(item)
            yield from start_item(item, track)
            keep((yield from tries(item, node, argument)))
            yield from end_item(item)
            if outside is not None:
                track.stand_at(outside)
    door.shut()
    if unheard and audience.version is not version and items.locate() is shared:
        yield from end_item(shared)
    if not inline or last_retried != index:
        items.attempt = items.current.attempt
    items.current = None
    return items.results


def _parallel(step: Step, node: Any, batch: Iterable[Any] | None) -> Effects:
    """Run the items at the same time, each in a task of its own."""
    items = begin_items(step, batch)
    limit = limit_of(step.plan, node)
    each = _work if "item_label" in step.plan.shape.idle else _labelled
    work = partial(each, step, items, node, attempts_of(step, node))
    yield Await(Group(step.state).run(work, iter(taken(step, batch)), limit))
    return items.results


async def _labelled(step: Step, items: Items, node: Any, *rest: Any) -> None:
    """`_work`, once the node has said what its item is called."""
    if step.listeners().anybody:
        label_next(items, step, node, rest[-1])
    await _work(step, items, node, *rest)


async def _work(
    step: Step,
    items: Items,
    node: Any,
    tries: Attempts,
    blocked: Blocked,
    index: int,
    argument: Any,
) -> None:
    state, plan = step.state, step.plan
    items.results.append(None)
    item = item_of(step, items, next(state.delivery.numbers), index)
    track = Track(item, blocked, asyncio.current_task(state.door.loop))
    track.stand(item)
    if step.context is not None:
        item.context = on_track(step.context.copy(), track)
    try:
        version = state.audience.version
        if plan.version is not version or plan.known.anybody or not plan.shape.calls:
            whole = _whole(track, item, node, tries, argument)
            items.results[index] = await drive(state.delivery, whole)
            return
        result: Any = None
        failed: Exception | None = None
        try:  # its first attempt inline: what `_whole` does, but faster
            result = await node.exec_async(argument)
        except Exception as error:
            failed = error
        except BaseException as error:
            await drive(state.delivery, end_item(item, error))
            raise
        if failed is not None:
            result = await drive(state.delivery, _whole(track, item, node, tries, argument, failed))
        items.results[index] = result
        if not item.open:  # `_whole` has ended it
            return
        if state.audience.version is version:  # nobody listens
            item.open = False
            items.done += 1
            return
        try:
            await drive(state.delivery, end_item(item))
        except BaseException as error:
            await drive(state.delivery, end_item(item, error))
            raise
    finally:
        track.end()


def _whole(
    track: Track,
    item: Step,
    node: Any,
    tries: Attempts,
    argument: Any,
    error: Exception | None = None,
) -> Effects:
    """Run an item with all that it may be and whoever listens."""
    try:
        if error is None:
            yield from start_item(item, track)
        result = yield from tries(item, node, argument, error)
        yield from end_item(item)
    except BaseException as failed:
        yield from end_item(item, failed)
        raise
    return result
