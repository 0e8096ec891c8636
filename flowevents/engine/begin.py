"""Where the engine begins: with a flow, or with a node by itself."""

from __future__ import annotations

from typing import Any

from flowevents.engine.effects import Effects
from flowevents.engine.frame import Frame
from flowevents.engine.graph import Plan, check_graph, plan_of
from flowevents.engine.shape import node_name, shape_of
from flowevents.engine.state import State
from flowevents.engine.step import Step, Track
from flowevents.engine.walk import walk

__all__ = ["begin", "plan_run"]


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


def plan_run(node: Any) -> Plan:
    """Return the plan of a run of this flow, or of this node by itself; see `plan_of`.

    The object itself runs, as in PocketFlow, not a copy.
    """
    if shape_of(node).nests:
        return plan_of(node)
    check_graph(node)
    alone = _Alone(node)
    plan = Plan(alone, alone.node_name, "")
    plan.stand_alone(node)
    return plan


def begin(state: State, track: Track, plan: Plan, shared: Any) -> Effects:
    """Return the engine of one run: the walk over the flow that was planned."""
    step = Step(state, plan, next(state.delivery.numbers), (), 0)
    return walk(state, track, [Frame(plan, plan.node, step, shared)])
