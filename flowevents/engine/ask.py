"""A node asks and waits, where it stands, until its question is settled.

The rules of this file:

* A question is open from before its `Interrupt` is delivered until its code goes on or is left.
* A track that waits cannot go on. A sync run, and the main track of an async one, then say so to
  their driver by `pausing` and `TAKE`; an item of a parallel batch says it to its group, which
  does so once all of its items wait. With `on_pause="wait"` the engine itself waits instead.
"""

from __future__ import annotations

import asyncio
from typing import Any

from flowevents.asking import Ask
from flowevents.engine.drivers import perform
from flowevents.engine.effects import TAKE, Await, Effects
from flowevents.engine.publish import step_of
from flowevents.engine.questions import Question, Questions
from flowevents.engine.sequencer import Sequencer
from flowevents.engine.step import Step, current_track
from flowevents.events import Reply

__all__ = ["ask", "ask_here"]


def ask(scope: Step, asked: Ask) -> Effects:
    """Publish a question, wait until it is settled, and give the answer.

    Raises `Expired` where nobody answered in time, and `RuntimeError` outside of a run and in a
    task that a node's code has made: the run could not know whether the rest of it can go on.
    """
    sequencer = scope.sequencer
    yield from sequencer.border()
    _check_place(scope, asked)
    scope.locate()
    if sequencer.questions is None:
        sequencer.questions = Questions()
    question = Question(scope, asked, sequencer.questions)
    sequencer.pause_requested = False
    try:
        heard = scope.listeners().interrupt
        if heard is not None and sequencer.deliver(question.event, question.put_to(heard)):
            yield from sequencer.flush()
        yield from sequencer.border()
        while not question.settled():
            yield from _wait(sequencer, question)
            yield from sequencer.border()
    except BaseException as error:
        looking = question.close()
        if looking and not isinstance(error, GeneratorExit):
            yield Await(asyncio.wait(looking))
        raise
    looking = question.close()
    if looking:
        yield Await(asyncio.wait(looking))
    answer = question.result()
    heard = scope.listeners().reply
    if heard is not None:
        value = sequencer.clean(answer)
        if scope.publish(heard, Reply, id=question.event.id, value=value):
            yield from sequencer.flush()
    return answer


def _wait(sequencer: Sequencer, question: Question) -> Effects:
    """Let the driver, the group or the loop have control until the question may be settled."""
    if sequencer.loop is None:
        if sequencer.waits:
            question.block()
        else:
            sequencer.pausing = True
            yield TAKE
        return
    track = current_track.get()
    group = None if track is None else track.group
    if sequencer.waits or question.looking:
        yield Await(question.changed())
    elif group is None:
        sequencer.pausing = True
        yield TAKE
    else:
        group.stuck(1)
        try:
            yield Await(question.changed())
        finally:
            group.stuck(-1)


def _check_place(scope: Step | None, asked: Ask, node: Any = None) -> None:
    if scope is None or not scope.open or not scope.sequencer.run_id:
        name = type(node if scope is None else scope.plan.node).__name__
        raise RuntimeError(
            f"{name} asked {asked.prompt!r}, but no run of it is under way: ask in its exec, while "
            "that runs."
        )
    sequencer, track = scope.sequencer, current_track.get()
    if sequencer.loop is not None and (
        track is None or asyncio.current_task() is not (track.task or sequencer.task)
    ):
        raise RuntimeError(
            f"Node {scope.plan.path!r} asked {asked.prompt!r} in a task of its own (made by "
            "asyncio.gather, create_task or wait_for). Await self.ask(…) in exec_async itself; to "
            "ask several questions at the same time, make each an item of an "
            "AsyncParallelBatchNode."
        )


async def ask_here(node: Any, asked: Ask) -> Any:
    """`ask` for the code of an async node, which awaits it."""
    step = step_of(node)
    if step is None or not step.open:
        _check_place(step, asked, node)
    assert step is not None
    effects, track = ask(step, asked), current_track.get()
    group = None if track is None else track.group
    return await (perform(effects) if group is None else group.drive(effects))
