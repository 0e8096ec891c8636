"""One try of `exec` after the other.

A failed attempt that is not the last is a `Retry`, which voids its chunks; an own `exec_fallback`
is an attempt too. Cancellation and what fails the run are no `Exception`, so that no retry and no
`except Exception` of a node can swallow them.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from flowevents.asking import Ask
from flowevents.engine.ask import ask
from flowevents.engine.calls import call, invoke, own_track
from flowevents.engine.effects import Await, Effects
from flowevents.engine.groups import in_own_task
from flowevents.engine.offload import OffloadedStream, offload
from flowevents.engine.state import hand_over
from flowevents.engine.step import Step
from flowevents.engine.streams import one_chunk, stream, stream_async
from flowevents.events import Retry

__all__ = ["attempts"]

logger: Final = logging.getLogger("flowevents")


def attempts(step: Step, node: Any, argument: Any, error: Exception | None = None) -> Effects:
    """Try until it works: `error` is what a first attempt, made inline, raised."""
    state, shape = step.state, step.plan.shape
    tries = getattr(node, "max_retries", 1)
    if tries < 1 and error is None:  # pocketflow 0.0.3 then runs nothing
        return None
    counts = not shape.ours  # pocketflow's nodes hold the number of the retry themselves
    if counts:
        node.cur_retry = 0
    for tried in range(1, max(tries, 1) + 1):
        if error is None:
            try:
                return (yield from _attempt(step, node, argument))
            except Exception as failed:
                error = failed
        stopping = state.stopping()
        if stopping is not None:
            logger.error(
                "Node %r raised while run %s was cancelled",
                step.plan.path,
                state.options.run_id,
                exc_info=error,
            )
            raise stopping
        if tried >= tries:
            break
        yield from _retry(step, error, float(node.wait), False)
        if node.wait > 0:
            clock = state.options.clock
            if state.is_async:
                yield Await(clock.sleep_async(node.wait))
            else:
                state.stop.sleep(clock, node.wait)
        if state.stop.asked is not None:
            raise state.stop.asked
        if counts:
            node.cur_retry = tried
        error = None
    assert error is not None
    if not shape.fallback:
        raise error
    yield from _retry(step, error, 0.0, True)
    fallback = node.exec_fallback_async if shape.is_async else node.exec_fallback
    return (yield from invoke(step, fallback, argument, error))


def _retry(step: Step, error: Exception, wait: float, fallback: bool) -> Effects:
    """Publish that this attempt failed; from here on the step is in the next."""
    state = step.state
    handlers = step.listeners().retry
    state.door.empty()
    if handlers is None:
        step.attempt += 1
        return
    text = state.options.error_text(error)
    number = next(state.delivery.numbers)
    event = step.make(Retry, number, error=text, wait=wait, fallback=fallback)
    try:
        step.attempt += 1
        due = state.delivery.deliver(event, handlers)
    except BaseException:
        step.attempt = event.attempt + state.delivery.has(number)
        raise
    if due:
        yield from hand_over(state)


def _attempt(step: Step, node: Any, argument: Any) -> Effects:
    shape, state = step.plan.shape, step.state
    if shape.attempt == "question":
        return _ask(step, node, argument)
    offloaded = state.options.offload and not (shape.is_async or "exec" in shape.overrides)
    if shape.attempt == "stream":
        if not state.is_async:
            return stream(step, node, argument)
        return _stream(step, node, argument, offloaded)
    if offloaded:
        result = _offload(step, node, argument)
    else:
        result = invoke(step, node.exec_async if shape.is_async else node.exec, argument)
    return one_chunk(step, result) if shape.attempt == "chunk" else result


def _offload(step: Step, node: Any, argument: Any) -> Effects:
    track, work = own_track(step), offload(step, node.exec, argument)
    if track is None:
        return (yield from work)
    return (yield from in_own_task(step.state, track, work))


def _stream(step: Step, node: Any, argument: Any, offloaded: bool) -> Effects:
    """One attempt of a streaming node, before whose first chunk the consumer gets what waits."""
    if step.state.delivery.outbox and own_track(step) is not None:
        yield from hand_over(step.state)
    if offloaded:
        source: Any = OffloadedStream(step, node.exec_stream, argument)
    elif step.plan.shape.is_async:
        source = call(step, node.exec_stream_async, argument)
    else:
        return (yield from stream(step, node, argument))
    return (yield Await(stream_async(step, node, source)))


def _ask(step: Step, node: Any, argument: Any) -> Effects:
    """Return the answer to the question of a node that only asks."""
    method = node.question_async if step.plan.shape.is_async else node.question
    question = yield from invoke(step, method, argument)
    if not isinstance(question, Ask):
        raise TypeError(
            f"Node {step.plan.path!r} gave {question!r} as its question: return an Ask, as in "
            "Ask('Ship it?', choices=['yes', 'no'])."
        )
    return (yield from ask(step, question))
