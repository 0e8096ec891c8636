"""Where a run begins: with a flow, or with a node by itself, in a loop or without one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from flowevents.engine.delivery import name_of
from flowevents.engine.drivers import AsyncDriver, SyncDriver, claim_id
from flowevents.engine.frame import Frame
from flowevents.engine.graph import Plan, plan_of
from flowevents.engine.options import Options
from flowevents.engine.shape import node_name, shape_of
from flowevents.engine.state import State
from flowevents.engine.step import Step, Track
from flowevents.engine.walk import walk
from flowevents.engine.whose import Root
from flowevents.errors import ObserverError
from flowevents.signals import Receiver, is_async_callable
from flowevents.status import Lifecycle

__all__ = ["begin"]


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
    shared: Any,
    observers: Sequence[tuple[object, dict[str, Receiver]]],
    loop: asyncio.AbstractEventLoop | None,
) -> SyncDriver | AsyncDriver:
    """Begin a run in that loop, or a sync one; return its driver.

    Raises what a sync run cannot do, before anything has begun.
    """
    if loop is None:
        _check_sync(state.options, observers)
    plan = _plan(flow)
    claim_id(state)
    for observer, handlers in observers:
        state.audience.add_observer(observer, handlers)
    state.door.belong_to(loop)
    track = Track()
    step = Step(state, plan, next(state.delivery.numbers), (), 0)
    engine = walk(state, track, [Frame(plan, plan.node, step, shared)])
    root = Root(step, track, engine, flow)
    life.move("running")
    if loop is None:
        return SyncDriver(life, state, root, engine)
    return AsyncDriver(life, state, root, engine, track)


def _plan(node: Any) -> Plan:
    """Return the plan of a run of this flow, or of this node by itself.

    The object itself runs, as in PocketFlow, not a copy.
    """
    if shape_of(node).nests:
        return plan_of(node)
    alone = _Alone(node)
    plan = Plan(alone, alone.node_name, "")
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
