"""A node asks and waits, where it stands, until its question is settled.

The rules of this file:

* A question is open from before its `Interrupt` is delivered until its code goes on or is left.
* A track that waits cannot go on. A sync run, and the run's own track of an async one, then say so
  to their driver by `Questions.pausing` and `TAKE`; an item of a parallel batch says it to its
  group, which does so once all of its items wait. With `on_pause="wait"` the engine itself waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import UNSET

from flowevents.asking import Ask
from flowevents.engine.answers import Answers
from flowevents.engine.effects import TAKE, Await, Effects, perform, wake
from flowevents.engine.groups import drive
from flowevents.engine.questions import Question
from flowevents.engine.shape import node_name
from flowevents.engine.state import State, hand_over, safe_point
from flowevents.engine.step import Step, current_track
from flowevents.engine.whose import step_of
from flowevents.events import Interrupt, Reply

if TYPE_CHECKING:
    from flowevents.journal.standing import Asked

__all__ = ["ask", "ask_here", "cannot_wait"]


def ask(step: Step, asked: Ask) -> Effects:
    """Publish a question, wait until it is settled, and return the answer.

    Raises `Expired` where nobody answered in time, and `RuntimeError` outside of a run and in a
    task that a node's code has made: the run could not know whether the rest of it can go on.
    """
    state = step.state
    yield from safe_point(state)
    _check_place(step, asked)
    recorder, before, count = state.options.recorder, None, 0
    if recorder is not None:
        count = recorder.notes.asks(step.span)
        same = state.options.clean(asked.prompt), asked.choices, asked.schema
        before = recorder.notes.asked_before(step.span, count, same)
        if before is not None and before.answer is not UNSET:
            return recorder.notes.read(before.answer)
    question = state.questions.ask(asked, _interrupt(step, asked, before))
    if recorder is not None:
        recorder.notes.asked(count)
    answers = Answers(question, state.delivery)
    try:
        handlers = step.listeners().interrupt
        if handlers is not None:
            state.delivery.deliver(question.event, answers.handlers(handlers))
            yield from hand_over(state)
        if recorder is not None and recorder.notes.lost(step.span) is not None:
            recorder.look()  # somebody may have answered meanwhile
        yield from safe_point(state)
        while not question.settled():
            yield from _wait(state, question, answers)
            yield from safe_point(state)
    except GeneratorExit:
        state.questions.close(question)
        answers.cancel()
        raise
    except BaseException:
        yield from _close(state, question, answers)
        raise
    yield from _close(state, question, answers)
    answer = question.result()
    handlers = step.listeners().reply
    if handlers is not None:
        value = state.options.clean(answer)
        if recorder is not None:
            recorder.notes.answer(answer, asked.prompt)
        if step.publish(handlers, Reply, id=question.event.id, value=value):
            yield from hand_over(state)
    return answer


def _interrupt(step: Step, asked: Ask, before: Asked | None) -> Interrupt:
    """Return the event of a question, which always takes a number, like a start.

    One that was asked before, in a step that was lost, has its `id` and `expires` again.
    """
    state = step.state
    now = state.options.clock.time()
    expires = None if asked.expires is None else now + asked.expires
    return Interrupt(
        run_id=state.options.run_id,
        seq=next(state.delivery.numbers),
        time=now,
        span=step.span,
        node=step.plan.path,
        items=step.items,
        step=step.number,
        attempt=step.attempt,
        id=state.questions.next_id() if before is None else before.event.id,
        prompt=state.options.clean(asked.prompt),
        choices=asked.choices,
        schema=asked.schema,
        expires=expires if before is None else before.event.expires,
    )


def _close(state: State, question: Question, answers: Answers) -> Effects:
    """Close the question: its code goes on, or is left."""
    state.questions.close(question)
    awaited = answers.cancel()
    if awaited:
        yield Await(asyncio.wait(awaited))


def _wait(state: State, question: Question, answers: Answers) -> Effects:
    """Let the driver, the group or the loop have control until the question may be settled."""
    waits = state.questions.waits
    if state.door.loop is None:
        if waits:
            _block(state, question)
        else:
            state.questions.want_pause()
            yield TAKE
        return
    track = current_track()
    blocked = None if track is None else track.blocked
    if waits or answers.awaited:
        yield Await(_changed(state, question))
    elif blocked is None:
        state.questions.want_pause()
        yield TAKE
    else:
        blocked(1)
        try:
            yield Await(_changed(state, question))
        finally:
            blocked(-1)


def _block(state: State, question: Question) -> None:
    """Wait in a sync run; other threads' events are delivered meanwhile."""
    waker = state.stop.waker()  # first this, then the look; `wake` does it the other way
    question.wait_by(waker.set)
    if state.stop.asked is None and not question.settled():
        state.door.open = True
        try:
            state.options.clock.wait(waker, question.event.expires)
        finally:
            state.door.shut()
    question.wait_by(None)


async def _changed(state: State, question: Question) -> None:
    """Wait in an async run."""
    loop = asyncio.get_running_loop()
    changed: asyncio.Future[None] = loop.create_future()

    def let_go() -> None:  # from any thread
        if asyncio._get_running_loop() is loop:
            wake(changed)
        else:
            try:
                loop.call_soon_threadsafe(wake, changed)
            except RuntimeError:  # the loop is closed: nothing waits any more
                return

    question.wait_by(let_go)
    if question.settled():
        return
    expires = None if state.questions.held else question.event.expires
    if expires is None:
        await changed
    else:
        await state.options.clock.wait_async(changed, expires)


def _under_way(step: Step | None, node: Any, asked: Ask) -> Step:
    """Return the step of the node. Raises `RuntimeError` where none is under way."""
    if step is None or not step.open:
        raise RuntimeError(
            f"{type(node).__name__} asked {asked.prompt!r}, but no run of it is under way: ask in "
            "its exec, while that runs."
        )
    return step


def _check_place(step: Step, asked: Ask) -> None:
    _under_way(step, step.plan.node, asked)
    if not step.attempt:  # a flow's own code, which is never tried again
        raise RuntimeError(
            f"Flow {step.plan.name!r} asked {asked.prompt!r} itself: have a node in it ask."
        )
    state, track = step.state, current_track()
    own = None if track is None else track.task or state.stop.carrier or state.stop.task
    if state.door.loop is not None and (own is None or asyncio.current_task() is not own):
        raise RuntimeError(
            f"Node {step.plan.path!r} asked {asked.prompt!r} in a task of its own (made by "
            "asyncio.gather, create_task or wait_for). Await self.ask(…) in exec_async itself; to "
            "ask several questions at the same time, make each an item of an "
            "AsyncParallelBatchNode."
        )


async def ask_here(node: Any, asked: Ask) -> Any:
    """`ask` for the code of an async node, which awaits it."""
    step = _under_way(step_of(node), node, asked)
    effects, track = ask(step, asked), current_track()
    if track is None or track.blocked is None:
        return await perform(effects)
    return await drive(step.state.delivery, effects)


def cannot_wait(node: Any, asked: Ask) -> NoReturn:
    """Refuse a question in an override of a plain `_exec`, which cannot wait."""
    _under_way(step_of(node), node, asked)
    raise RuntimeError(
        f"{node_name(node)!r} asks inside of its own `_exec`, where it cannot wait: "
        f"{asked.prompt!r}. Ask in a node that does not override `_exec`."
    )
