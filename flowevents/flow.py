"""Flows: nodes that are made of nodes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flowevents.engine.graph import is_node, node_name
from flowevents.errors import GraphError
from flowevents.nodes.async_node import AsyncNode, at_least_one
from flowevents.nodes.node import BaseNode
from flowevents.run import Run

__all__ = [
    "AsyncBatchFlow",
    "AsyncFlow",
    "AsyncParallelBatchFlow",
    "BatchFlow",
    "Flow",
    "StreamFlow",
]


class Flow(BaseNode):
    """A graph of nodes, run from its start node along the actions they return.

    It is a node itself: in another flow it is one step, whose action is what its `post` returns,
    by default the last node's.
    """

    def __init__(self, start: Any = None) -> None:
        super().__init__()
        self.start_node = None if start is None else self._checked(start)

    def start(self, start: Any) -> Any:
        """Begin at this node. Gives it. Raises `GraphError` where it is none."""
        self.start_node = self._checked(start)
        return start

    def _checked(self, start: Any) -> Any:
        if not is_node(start):
            hint = " Did you forget to make an instance of it?" if isinstance(start, type) else ""
            raise GraphError(
                f"The start of flow {node_name(self)!r} is {start!r}, which is not a node.{hint}"
            )
        return start

    def get_next_node(self, curr: Any, action: Any) -> Any:
        """The node after `curr` for that action, or `None` at the end. May be overridden."""
        key = action or "default"
        if key not in curr.successors:
            if curr.successors:
                warnings.warn(
                    f"Flow ends: '{action}' not found in {list(curr.successors)}", stacklevel=2
                )
            return None
        return curr.successors[key]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Give the flow's action; `exec_res` is the last node's."""
        return exec_res

    # -- PocketFlow's private method, for overrides -------------------------------------------

    def _orch(self, shared: Any, params: dict[str, Any] | None = None) -> Any:
        return Run(_pass_over(self, Flow, params), shared).wait()


def _pass_over(flow: Any, kind: type[Flow], params: dict[str, Any] | None) -> Flow:
    """One pass over a flow's graph, as a flow without its `prep` and `post`."""

    class Pass(kind):  # type: ignore[valid-type, misc]
        node_name = node_name(flow)

        def get_next_node(self, curr: Any, action: Any) -> Any:
            return flow.get_next_node(curr, action)

    one = Pass(flow.start_node)
    one.params = params or {**flow.params}
    return one


class BatchFlow(Flow):
    """A flow that is run once for each of the params that its `prep` gives."""

    if TYPE_CHECKING:

        def prep(self, shared: Any) -> Iterable[Mapping[str, Any]] | None:
            """Give the items, or nothing."""
            ...


class StreamFlow(Flow):
    """A `Flow`, under the name that says what for; every flow can stream."""


class AsyncFlow(Flow, AsyncNode):
    """A flow of sync and async nodes, with `prep_async` and `post_async` of its own."""

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Give the flow's action; `exec_res` is the last node's."""
        return exec_res

    async def _orch_async(self, shared: Any, params: dict[str, Any] | None = None) -> Any:
        return await Run(_pass_over(self, AsyncFlow, params), shared).wait_async()


class AsyncBatchFlow(AsyncFlow, BatchFlow):
    """An async flow that is run once for each of its params, one after the other."""

    if TYPE_CHECKING:

        async def prep_async(self, shared: Any) -> Iterable[Mapping[str, Any]] | None:
            """Give the items, or nothing."""
            ...


class AsyncParallelBatchFlow(AsyncFlow, BatchFlow):
    """An async flow that is run for all of its params at the same time.

    Attributes:
        max_concurrency: The most items that run at once, or `None`. Under it they are drawn
            lazily, one as another ends.
    """

    if TYPE_CHECKING:

        async def prep_async(self, shared: Any) -> Iterable[Mapping[str, Any]] | None:
            """Give the items, or nothing."""
            ...

    def __init__(self, start: Any = None, *, max_concurrency: int | None = None) -> None:
        super().__init__(start)
        self.max_concurrency: int | None = at_least_one(max_concurrency)
