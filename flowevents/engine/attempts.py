"""One try of `exec` after the other.

A failed attempt that is not the last is a `Retry`, which voids its chunks; an own `exec_fallback`
is an attempt too. Cancellation and what fails the run are no `Exception`, so that no retry and no
`except Exception` of a node can swallow them.
"""

from __future__ import annotations

import asyncio
from typing import Any

from flowevents.asking import Ask
from flowevents.engine.ask import ask
from flowevents.engine.calls import awaited, call, invoke
from flowevents.engine.drivers import Group
from flowevents.engine.effects import Await, Effects
from flowevents.engine.offload import OffloadedStream, offload
from flowevents.engine.sequencer import Sequencer, logger
from flowevents.engine.step import Step, Track, current_track
from flowevents.engine.streams import one_chunk, stream, stream_async
from flowevents.events import Retry

__all__ = ["attempts"]


def attempts(
    track: Track, scope: Step, node: Any, argument: Any, error: Exception | None = None
) -> Effects:
    """Try until it works: `error` is what a first attempt, made inline, raised."""
    sequencer = scope.sequencer
    shape = scope.plan.shape
    tries = node.max_retries if shape.retries else 1
    if tries < 1 and error is None:  # pocketflow 0.0.3 then runs nothing
        return None
    counts = not shape.ours  # pocketflow's nodes hold the number of the retry themselves
    if counts:
        node.cur_retry = 0
    for tried in range(1, max(tries, 1) + 1):
        if error is None:
            try:
                return (yield from _attempt(scope, node, argument))
            except Exception as failed:
                error = failed
        stopping = sequencer.stopping()
        if stopping is not None:
            logger.error(
                "Node %r raised while run %s was cancelled",
                scope.plan.path,
                sequencer.run_id,
                exc_info=error,
            )
            raise stopping
        if tried >= tries:
            break
        yield from _retry(scope, error, float(node.wait), False)
        if node.wait > 0:
            if sequencer.loop is None:
                sequencer.sleep(node.wait)
            else:
                yield Await(sequencer.clock.sleep_async(node.wait))
        if sequencer.cancelled is not None:
            raise sequencer.cancelled
        if counts:
            node.cur_retry = tried
        error = None
    assert error is not None
    if not shape.fallback:
        raise error
    yield from _retry(scope, error, 0.0, True)
    fallback = node.exec_fallback_async if shape.is_async else node.exec_fallback
    return (yield from invoke(scope, fallback, argument, error))


def _retry(scope: Step, error: Exception, wait: float, fallback: bool) -> Effects:
    """Publish that this attempt failed; from here on the scope is in the next."""
    sequencer = scope.sequencer
    handlers = scope.listeners().retry
    sequencer.empty_inbox()
    scope.locate()
    if handlers is None:
        scope.attempt += 1
        return
    text = sequencer.error_text(error)
    number = next(sequencer.numbers)
    event = scope.make(Retry, number, error=text, wait=wait, fallback=fallback)
    scope.attempt += 1
    if sequencer.deliver(event, handlers):
        yield from sequencer.flush()


def _attempt(scope: Step, node: Any, argument: Any) -> Effects:
    shape = scope.plan.shape
    if shape.asks:
        return _ask(scope, node, argument)
    offloaded = scope.sequencer.offload and not (shape.is_async or "exec" in shape.overrides)
    if shape.streams:
        if offloaded:
            source = OffloadedStream(scope, node.exec_stream, argument)
            return awaited(stream_async(scope, node, source))
        if shape.is_async:
            source = call(scope, node.exec_stream_async, argument)
            return awaited(stream_async(scope, node, source))
        return stream(scope, node, argument)
    if offloaded:
        result = offload(scope, node.exec, argument)
    else:
        result = invoke(scope, node.exec_async if shape.is_async else node.exec, argument)
    if (offloaded or shape.is_async) and _in_pullers_task(scope.sequencer):
        result = _in_own_task(scope, result)
    return one_chunk(scope, result) if shape.chunked else result


def _ask(scope: Step, node: Any, argument: Any) -> Effects:
    """The answer to the question of a node that only asks."""
    method = node.question_async if scope.plan.shape.is_async else node.question
    question = yield from invoke(scope, method, argument)
    if not isinstance(question, Ask):
        raise TypeError(
            f"Node {scope.plan.path!r} gave {question!r} as its question: return an Ask, as in "
            "Ask('Ship it?', choices=['yes', 'no'])."
        )
    return (yield from ask(scope, question))


def _in_pullers_task(sequencer: Sequencer) -> bool:
    return sequencer.consumer is not None and current_track.get() is sequencer.main


def _in_own_task(scope: Step, effects: Effects) -> Effects:
    """Await code of a pulled run in a task of its own, so that the puller gets its events live.

    In the puller's task a timeout that the code has set would hit the puller.
    """

    async def item(group: Group, index: int, argument: Effects) -> Any:
        track = scope.sequencer.main
        track.group, track.task = group, asyncio.current_task()
        try:
            return await group.drive(argument)
        finally:
            track.group = track.task = None

    results = yield Await(Group(scope.sequencer).run(item, iter((effects,)), 1))
    return results[0]
