"""Where the engine begins: with a flow, with a node by itself, or with an override's `super()`."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from flowevents.engine.batches import execute
from flowevents.engine.drivers import give
from flowevents.engine.effects import TAKE, Await, Effects
from flowevents.engine.frame import Frame
from flowevents.engine.graph import Plan, node_name, shape_of
from flowevents.engine.publish import runs_itself, step_of
from flowevents.engine.sequencer import Sequencer
from flowevents.engine.step import Step, Track
from flowevents.engine.walk import walk

__all__ = ["begin", "execute_alone", "execute_alone_async"]


class _Alone:
    """The flow of one node that a node is which is run by itself."""

    def __init__(self, node: Any) -> None:
        self.node_name = node_name(node)
        self.start_node = node
        self.successors: dict[str, Any] = {}
        self.params: dict[str, Any] = {}

    def prep(self, shared: Any) -> None:
        return None

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return exec_res

    def get_next_node(self, node: Any, action: Any) -> None:
        return None


def begin(
    sequencer: Sequencer, node: Any, shared: Any, metadata: dict[str, Any], past: str | None = None
) -> Effects:
    """The engine of one run: the walk over a flow, or over a node run by itself.

    The object itself runs, as in PocketFlow, not a copy. `past` names the private method whose
    override the run is called from, and which is therefore not run through again.
    """
    runs_itself(sequencer, node)
    shape = shape_of(node)
    if past is not None:
        shape = shape.without(past)
    if shape.is_flow and not shape.overrides:
        plan = Plan(node, node_name(node), "", (), shape)
    else:
        flow = _Alone(node)
        plan = Plan(flow, flow.node_name, "", ())
        child = plan.child(node)
        child.take_shape(shape)
        child.run_itself()
        node = flow
    step = Step(sequencer, plan, next(sequencer.numbers), 0, (), 0)
    frame = Frame(plan, node, step, shared)
    frame.metadata = metadata
    frame.routes = frame.routes or isinstance(node, _Alone)
    return walk(sequencer, sequencer.main, frame)


def execute_alone(node: Any, prep_res: Any) -> Any:
    """What PocketFlow's `_exec` does, for an override that calls it.

    Its events belong to the step that the node runs; outside a run nobody hears them. What is for
    the puller waits for the next border. Raises `RuntimeError` where it would have to wait for an
    answer, which it cannot in the middle of a call.
    """
    step = _alone(node, None)
    effects = execute(Track(step), step, node, prep_res)
    error: Exception | None = None
    while True:
        try:
            out = next(effects) if error is None else effects.throw(error)
        except StopIteration as end_of_it:
            return end_of_it.value
        error = None
        if isinstance(out, Await) or step.sequencer.pausing:
            error = _cannot_wait(step, out)
        elif out is not TAKE:
            step.sequencer.outbox.append(out)


async def execute_alone_async(node: Any, prep_res: Any) -> Any:
    """`execute_alone` in an event loop; in a run it can pause."""
    step = _alone(node, asyncio.get_running_loop())
    sequencer = step.sequencer
    effects = execute(Track(step), step, node, prep_res)
    sent, error = None, None
    while True:
        try:
            out = effects.send(sent) if error is None else effects.throw(error)
        except StopIteration as end_of_it:
            return end_of_it.value
        sent, error = None, None
        if isinstance(out, Await):
            try:
                sent = await out
            except BaseException as raised:
                error = raised
        elif sequencer.pausing:
            await give(out)
        elif out is not TAKE:
            sequencer.outbox.append(out)


def _cannot_wait(step: Step, out: object) -> RuntimeError:
    step.sequencer.pausing = False
    if isinstance(out, Await):
        out.steps.close()
    return RuntimeError(
        f"Node {step.plan.path!r} asks inside of its own `_exec`, where it cannot wait. Have a "
        "plain handler of `interrupt` answer; in a sync run on_pause='wait' helps too."
    )


def _alone(node: Any, loop: asyncio.AbstractEventLoop | None) -> Step:
    """The step that the node runs, or one of no run."""
    step = step_of(node)
    if (
        step is None
        or not step.open
        or (step.plan.node is not node and step.plan.shape is not shape_of(node))
    ):
        sequencer = Sequencer("")
        sequencer.loop = loop
        sequencer.thread = threading.get_ident()
        sequencer.close()
        step = Step(sequencer, Plan(node, node_name(node), node_name(node), ()), 0, 0, (), 1)
    return step
