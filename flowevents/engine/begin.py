"""Where the engine begins: with a flow, or with a node by itself."""

from __future__ import annotations

from typing import Any

from flowevents.engine.effects import Effects
from flowevents.engine.frame import Frame
from flowevents.engine.graph import Plan, node_name, shape_of
from flowevents.engine.state import State
from flowevents.engine.step import Step, Track
from flowevents.engine.walk import walk

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


def begin(state: State, track: Track, node: Any, shared: Any) -> Effects:
    """Return the engine of one run: the walk over a flow, or over a node run by itself.

    The object itself runs, as in PocketFlow, not a copy.
    """
    shape = shape_of(node)
    if shape.is_flow and not shape.overrides:
        plan = Plan(node, node_name(node), "", (), shape)
    else:
        flow = _Alone(node)
        plan = Plan(flow, flow.node_name, "", ())
        plan.child(node).run_itself()
        node = flow
    step = Step(state, plan, next(state.delivery.numbers), (), 0)
    return walk(state, track, [Frame(plan, node, step, shared)])
