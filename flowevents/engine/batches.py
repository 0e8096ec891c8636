"""`exec_res` of a step: of its attempts, or of those of each item of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextvars import Context
from functools import partial
from typing import Any

from flowevents.engine.attempts import attempts
from flowevents.engine.calls import awaited, call, end, invoke
from flowevents.engine.drivers import Group
from flowevents.engine.effects import Effects
from flowevents.engine.step import Step, Track, current_track, on_track
from flowevents.events import ItemEnd, ItemStart

__all__ = ["end_item", "execute", "length_of", "start_item"]


def execute(track: Track, step: Step, node: Any, prep_res: Any) -> Effects:
    """Give the step's `exec_res`."""
    batch = step.plan.shape.batch
    if batch is None:
        return attempts(track, step, node, prep_res)
    if prep_res is None and not step.plan.shape.ours:
        # pocketflow 0.0.3 refuses it in its async batches, newer ones do not: let it decide.
        return invoke(step, node._exec, None)
    if batch == "parallel":
        return _parallel_batch(step, node, prep_res)
    return _batch(track, step, node, prep_res)


def length_of(items: object) -> int | None:
    """How many items a batch has, where it knows."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None


def drawn(step: Step, items: Any) -> Iterable[Any]:
    """The items of a batch, none where `prep` gave something empty, drawn in the step's context."""
    if items is None:
        return ()
    try:
        source = call(step, iter, items)
    except TypeError:
        if not items:
            return ()
        raise
    return source if step.context is None else _drawn_in(step.context, source)


def _drawn_in(context: Context, source: Iterator[Any]) -> Iterator[Any]:
    end = object()
    while (item := context.run(next, source, end)) is not end:
        yield item


def start_item(scope: Step) -> Effects:
    """Publish the start of an item, which has its number already."""
    listeners = scope.listeners()
    if scope.start(listeners.item_start, ItemStart, total=scope.total):
        yield from scope.sequencer.flush()
    if listeners.contexts:
        scope.ask_context(ItemStart, total=scope.total)


def end_item(scope: Step, error: BaseException | None = None) -> Effects:
    """Publish the end of an item."""
    parent = scope.of
    if parent is None or not scope.open:
        return
    if error is None:
        scope.sequencer.empty_inbox()  # before it is counted, because a handler may raise
    scope.locate()
    parent.done += 1
    own = {"done": parent.done, "total": scope.total}
    yield from end(scope, ItemEnd, scope.listeners().item_end, error, own)


def _batch(track: Track, step: Step, node: Any, arguments: Iterable[Any] | None) -> Effects:
    """The items of a sequential batch, drawn one by one."""
    sequencer = step.sequencer
    shape = step.plan.shape
    calls = shape.calls and not (shape.is_async or sequencer.offload)
    run, numbers = node.exec, sequencer.numbers
    scope = step.item = Step(sequencer, step.plan, 0, step.span, (), step.number)
    scope.of, scope.total, scope.context = step, length_of(arguments), step.context
    span = index = 0
    scope.where = lambda: (span, (*step.items, index))
    scope.open = False
    results: list[Any] = []
    version: object = None
    anybody = inline = tried = False
    for index, argument in enumerate(drawn(step, arguments)):
        if sequencer.version is not version:
            yield from sequencer.border()
            version = sequencer.version
            anybody = scope.listeners().anybody
            scope.open = not anybody  # where nobody hears of items, the batch is one open item
            scope.context = step.context
            inline = calls and scope.context is None
        span = next(numbers)
        if tried:
            scope.attempt, tried = 1, False
        if anybody:
            scope.open = True
            scope.context = step.context  # not the last item's
            scope.locate()
            yield from start_item(scope)
            inline = calls and scope.context is None
        if inline:
            sequencer.plain = True
            try:
                result = run(argument)
                sequencer.plain = False
                if sequencer.guests:
                    sequencer.await_guests()
            except Exception as error:
                sequencer.plain_ended()
                tried = True
                result = yield from attempts(track, scope, node, argument, error)
        else:
            tried = True
            result = yield from attempts(track, scope, node, argument)
        results.append(result)
        if anybody or sequencer.version is not version:
            step.done = index
            yield from end_item(scope)
            scope.open = not anybody
    step.item = None
    step.item_attempt = scope.attempt
    return results


def _parallel_batch(step: Step, node: Any, arguments: Iterable[Any] | None) -> Effects:
    """The items of a parallel batch, each in a task of its own."""
    total = length_of(arguments)
    limit = node.max_concurrency if step.plan.shape.ours else None
    work = partial(_parallel_item, step, total, node)
    return awaited(Group(step.sequencer).run(work, iter(drawn(step, arguments)), limit))


async def _parallel_item(
    step: Step, total: int | None, node: Any, group: Group, index: int, argument: Any
) -> Any:
    sequencer, plan = step.sequencer, step.plan
    span = next(sequencer.numbers)
    scope = Step(sequencer, plan, span, step.span, (*step.items, index), step.number)
    scope.of, scope.total = step, total
    track = Track(scope, group, asyncio.current_task(sequencer.loop))
    current_track.set(track)
    if step.context is not None:
        scope.context = on_track(step.context.copy(), track)
    version = sequencer.version
    if plan.version is not version or plan.heard.anybody or not plan.shape.calls:
        return await group.drive(_heard_item(track, scope, node, argument))
    try:  # its first attempt inline: what _heard_item does, but faster
        result = await node.exec_async(argument)
    except Exception as error:
        result = await group.drive(_heard_item(track, scope, node, argument, error))
    except BaseException as error:
        await group.drive(end_item(scope, error))
        raise
    if sequencer.version is version:  # nobody listens
        scope.open = False
        step.done += 1
        return result
    try:
        await group.drive(end_item(scope))
    except BaseException as error:
        await group.drive(end_item(scope, error))
        raise
    return result


def _heard_item(
    track: Track, scope: Step, node: Any, argument: Any, error: Exception | None = None
) -> Effects:
    try:
        if error is None:
            yield from start_item(scope)
        result = yield from attempts(track, scope, node, argument, error)
        yield from end_item(scope)
    except BaseException as failed:
        yield from end_item(scope, failed)
        raise
    return result
