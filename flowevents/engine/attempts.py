"""One try of `exec` after the other.

A failed attempt that is not the last is a `Retry`, which voids its chunks; an own `exec_fallback`
is an attempt too. Cancellation and what fails the run are no `Exception`, so that no retry and no
`except Exception` of a node can swallow them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from flowevents.asking import Ask
from flowevents.engine.ask import ask
from flowevents.engine.calls import call, invoke, note, own_track
from flowevents.engine.effects import Await, Effects, again
from flowevents.engine.groups import in_own_task
from flowevents.engine.items import end_item
from flowevents.engine.offload import OffloadedStream, offload
from flowevents.engine.state import hand_over
from flowevents.engine.step import Step, current_track
from flowevents.engine.streams import one_chunk, stream, stream_async
from flowevents.errors import FlowEventsError
from flowevents.events import Retry

__all__ = [
    "Attempts",
    "attempts",
    "attempts_of",
    "begin_again",
    "pause_after",
    "retried",
    "retries_on",
]

Attempts = Callable[..., Effects]
"""`attempts`, or what does more about them."""

logger: Final = logging.getLogger("flowevents")

_LOST: Final = "Lost: its process ended before this attempt did, or let the run go."


def attempts(step: Step, node: Any, argument: Any, error: Exception | None = None) -> Effects:
    """Try until it works: `error` is what a first attempt, made inline, raised."""
    state, shape = step.state, step.plan.shape
    tries = getattr(node, "max_retries", 1)
    if tries < 1 and error is None:  # pocketflow 0.0.3 then runs nothing
        return None
    counts = not shape.ours  # pocketflow's nodes hold the number of the retry themselves
    failures = 0
    lost = step.lost()
    if lost is not None:
        failures = lost.failures
        error = None if lost.error is None else FlowEventsError(lost.error)
    if counts:
        node.cur_retry = failures
    for tried in range(min(failures, max(tries, 1) - (error is None)) + 1, max(tries, 1) + 1):
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
        if tried >= tries or not call(step, retries_on, node, error):
            break
        wait = call(step, pause_after, node, tried, error)
        yield from _retry(step, error, float(wait), False)
        if wait > 0:
            clock = state.options.clock
            if state.is_async:
                yield Await(clock.sleep_async(wait))
            else:
                state.stop.sleep(clock, wait)
        if state.stop.asked is not None:
            raise state.stop.asked
        if counts:
            node.cur_retry = tried
        error = None
    assert error is not None
    if not shape.fallback:
        _note_item(step, node, argument, error)
        again(error)
    if lost is None or lost.error is None:  # else that was said before it was lost
        yield from _retry(step, error, 0.0, True)
    if shape.is_async:
        fallback: Any = partial(_fall_back_async, node.exec_fallback_async)
    else:
        fallback = partial(_fall_back, node.exec_fallback)
    try:
        return (yield from invoke(step, fallback, argument, error))
    except Exception as failed:
        _note_item(step, node, argument, failed)
        raise


def _note_item(step: Step, node: Any, argument: Any, error: Exception) -> None:
    """Say which item has failed, where the node has a label for it."""
    if step.member_of is None or "item_label" in step.plan.shape.idle:
        return
    try:
        note(step, error, str(call(step, node.item_label, argument)))
    except Exception:  # where the item is heard of, that was logged
        return


def attempts_of(step: Step, node: Any) -> Attempts:
    """Return how each item of the batch is tried."""
    return _kept if step.plan.shape.ours and node.return_exceptions else attempts


def _kept(item: Step, node: Any, argument: Any, error: Exception | None = None) -> Effects:
    """Return what the attempts give; or what they raise, and then the item has ended."""
    try:
        return (yield from attempts(item, node, argument, error))
    except Exception as failed:
        if item.state.options.recorder is not None:
            item.state.options.recorder.notes.excused()
        yield from end_item(item, failed)
        return failed


def begin_again(step: Step, text: str = _LOST) -> Effects:
    """Publish that a step or an item was lost with its process: its next attempt begins."""
    state, recorder = step.state, step.state.options.recorder
    step.began = state.options.clock.monotonic()
    if recorder is not None:
        recorder.notes.loses(step.span)
    yield from _publish_retry(step, text, 0.0, False)


def _fall_back(fallback: Callable[..., Any], argument: Any, error: Exception) -> Any:
    """Fall back while the error is being handled, as in PocketFlow: what is raised comes of it."""
    try:
        again(error)
    except Exception:
        return fallback(argument, error)


async def _fall_back_async(fallback: Callable[..., Any], argument: Any, error: Exception) -> Any:
    try:
        again(error)
    except Exception:
        return await Await(fallback(argument, error))


def retries_on(node: Any, error: Exception) -> bool:
    """Whether this exception of the node is one after which it is tried again."""
    kinds = getattr(node, "retry_on", Exception)
    if isinstance(kinds, (type, tuple)):
        return isinstance(error, kinds)
    return bool(kinds(error))


def pause_after(node: Any, attempt: int, error: Exception) -> float:
    """Return how many seconds lie between this attempt of the node, which failed, and the next."""
    wait: Any = node.wait
    if callable(wait):
        wait = wait(attempt, error)
    if not wait >= 0:
        raise ValueError(f"wait gave {wait!r} after attempt {attempt}: give seconds, 0 or more.")
    seconds: float = wait
    return seconds


def _retry(step: Step, error: Exception, wait: float, fallback: bool) -> Effects:
    """Publish that this attempt failed; from here on the step is in the next."""
    heard = step.listeners().retry is not None
    text = step.state.options.error_text(error) if heard else ""
    return retried(step, text, wait, fallback)


def retried(step: Step, text: str, wait: float, fallback: bool) -> Effects:
    """Publish that an attempt failed, here or in a worker, with that error."""
    if step.state.options.recorder is not None:
        step.state.options.recorder.notes.fails(step.span)
    yield from _publish_retry(step, text, wait, fallback)


def _publish_retry(step: Step, text: str, wait: float, fallback: bool) -> Effects:
    state = step.state
    handlers = step.listeners().retry
    state.door.empty()
    if handlers is None:
        _next_attempt(step)
        return
    number = next(state.delivery.numbers)
    event = step.make(Retry, number, error=text, wait=wait, fallback=fallback)
    try:
        _next_attempt(step)
        due = state.delivery.deliver(event, handlers)
    except BaseException:
        step.attempt = event.attempt + state.delivery.has(number)
        raise
    if due:
        yield from hand_over(state)


def _next_attempt(step: Step) -> None:
    step.attempt += 1
    track, items = current_track() if step.state.is_async else None, step.member_of
    # What items share that nobody hears of is moved on, so that it says nothing of one of them.
    if track is not None and (items is None or items.index < 0):
        track.stand(step)


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
