"""Where a run begins: with a flow, or with a node by itself, in a loop or without one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from flowevents.engine.drivers import AsyncDriver, SyncDriver, claim_id
from flowevents.engine.frame import Frame
from flowevents.engine.graph import Vertex
from flowevents.engine.options import Options
from flowevents.engine.plan import Plan, plan_of
from flowevents.engine.shape import node_name, shape_of
from flowevents.engine.state import State
from flowevents.engine.step import Step, Track
from flowevents.engine.walk import walk
from flowevents.engine.whose import Root
from flowevents.errors import ObserverError
from flowevents.messages import name_of
from flowevents.signals import Receiver, is_async_callable
from flowevents.status import Lifecycle

__all__ = ["begin", "root_plan"]


class _Alone:
    """A flow of a single node, which is how a node runs by itself."""

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
    life: Lifecycle,
    state: State,
    flow: Any,
    observers: Sequence[tuple[object, dict[str, Receiver]]],
    loop: asyncio.AbstractEventLoop | None,
    frames: list[Frame] | None = None,
) -> SyncDriver | AsyncDriver:
    """Begin a run in that loop, or a sync one; return its driver.

    It goes on where `frames` stand, where there are some.

    Raises what a sync run cannot do, before anything has begun.
    """
    if loop is None:
        _check_sync(state.options, observers)
    plan = root_plan(flow, state.options.name) if frames is None else frames[0].plan
    recorder = state.options.recorder
    if recorder is None:
        claim_id(state)
    elif recorder.released:  # the journal knows which ids are taken
        options = state.options
        recorder.begin(
            options.run_id,
            plan.name,
            state.shared,
            state.questions,
            capture=options.capture,
            max_steps=options.max_steps,
            name=options.name,
            metadata=options.metadata,
        )
    if frames is None:
        frames = [Frame(plan, plan.node, Step(state, plan, next(state.delivery.numbers), (), 0))]
    for observer, handlers in observers:
        state.audience.add_observer(observer, handlers)
    state.door.belong_to(loop)
    track = Track()
    engine = walk(state, track, frames)
    root = Root(frames[0].step, track, engine, flow)
    life.move("running")
    driver: SyncDriver | AsyncDriver
    if loop is None:
        driver = SyncDriver(life, state, root, engine)
    else:
        driver = AsyncDriver(life, state, root, engine, track)
    if recorder is not None:
        recorder.listen(driver.cancel, driver.lose)
        if loop is not None:
            recorder.await_stores()
    return driver


def root_plan(node: Any, name: str | None = None) -> Plan:
    """Return the plan of a run of this flow, or of this node by itself; see `plan_of`.

    It has the name that is given, or its own.

    The object itself runs, as in PocketFlow, not a copy.
    """
    shape = shape_of(node)
    if shape.is_flow:
        root = plan_of(node, name)
        if shape.nests:
            return root
    alone = _Alone(node)
    plan = Plan(alone, Vertex(alone, alone.node_name, alone.node_name, ""), name)
    plan.stand_alone(node)
    return plan


def _check_sync(options: Options, observers: Sequence[tuple[object, dict[str, Receiver]]]) -> None:
    """Raise for what only an async run can do."""
    if options.offload:
        raise ValueError(
            "offload=True is for async runs: use run_async, run_stream_async, wait_async "
            "or `async for`, or leave it out."
        )
    for _, handlers in observers:
        for name, handler in handlers.items():
            if is_async_callable(handler):
                raise ObserverError(
                    f"Observer {name_of(handler)} (for {name!r}) is async, but the run is "
                    "sync: nothing can await it. Use a plain function, or run_async."
                )
