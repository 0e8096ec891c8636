"""Flows: nodes that are made of nodes."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flowevents.engine.routes import is_known, tell_unknown
from flowevents.engine.shape import is_node, node_name, shape_of, why_no_node
from flowevents.errors import GraphError
from flowevents.nodes.async_node import AsyncNode, part_of_run_async
from flowevents.nodes.node import BaseNode, at_least_one, part_of_run

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
        """Begin at this node. Returns it. Raises `GraphError` where it is none."""
        self.start_node = self._checked(start)
        return start

    def _checked(self, start: Any) -> Any:
        if not is_node(start):
            raise GraphError(
                f"The start of flow {node_name(self)!r} is {start!r}, which is not a node."
                f"{why_no_node(start)}"
            )
        return start

    def get_next_node(self, curr: Any, action: Any) -> Any:
        """The node after `curr` for that action, or `None` at the end. May be overridden."""
        if not is_known(curr.successors, action):
            tell_unknown(curr, node_name(curr), curr.successors, action)
        return curr.successors.get(action or "default")

    def post(self, shared: Any, prep_res: Any, exec_res: Any, /) -> Any:
        """Return the flow's action; `exec_res` is the last node's."""
        return exec_res

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Draw it in a notebook, where that draws Mermaid; called by IPython."""
        from flowevents.mermaid import to_mermaid  # an import of the package does without it

        try:
            drawn = to_mermaid(self)
        except GraphError:  # `run` says so
            return {"text/plain": repr(self)}
        fenced = f"```mermaid\n{drawn}```\n"
        return {"text/vnd.mermaid": drawn, "text/markdown": fenced, "text/plain": repr(self)}

    # -- PocketFlow's private methods: called by overrides, and by its own flows --------------

    @part_of_run
    def _run(self, shared: Any) -> Any:
        prep_res = self.prep(shared)
        exec_res = self._orch(shared)
        return self.post(shared, prep_res, exec_res)

    def _orch(self, shared: Any, params: dict[str, Any] | None = None) -> Any:
        node, params, action = copy.copy(self.start_node), params or {**self.params}, None
        while node:
            node.set_params(params)
            action = node._run(shared)
            node = copy.copy(self.get_next_node(node, action))
        return action


class BatchFlow(Flow):
    """A flow that is run once for each of the params that its `prep` gives."""

    if TYPE_CHECKING:

        def prep(self, shared: Any, /) -> Iterable[Mapping[str, Any]] | None:
            """Return the items, or nothing."""
            ...

    def item_label(self, item: Any, /) -> str:
        """Return what events call the pass with these params; by default nothing."""
        return ""

    @part_of_run
    def _run(self, shared: Any) -> Any:
        passes = self.prep(shared) or []
        for params in passes:
            self._orch(shared, {**self.params, **params})
        return self.post(shared, passes, None)


class StreamFlow(Flow):
    """A `Flow`, under the name that says what for; every flow can stream."""


class AsyncFlow(Flow, AsyncNode):
    """A flow of sync and async nodes, with `prep_async` and `post_async` of its own."""

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any, /) -> Any:
        """Return the flow's action; `exec_res` is the last node's."""
        return exec_res

    def _run(self, shared: Any) -> Any:
        return AsyncNode._run(self, shared)

    @part_of_run_async
    async def _run_async(self, shared: Any) -> Any:
        prep_res = await self.prep_async(shared)
        exec_res = await self._orch_async(shared)
        return await self.post_async(shared, prep_res, exec_res)

    async def _orch_async(self, shared: Any, params: dict[str, Any] | None = None) -> Any:
        node, params, action = copy.copy(self.start_node), params or {**self.params}, None
        while node:
            node.set_params(params)
            if shape_of(node).is_async:
                action = await node._run_async(shared)
            else:
                action = node._run(shared)
            node = copy.copy(self.get_next_node(node, action))
        return action


class AsyncBatchFlow(AsyncFlow, BatchFlow):
    """An async flow that is run once for each of its params, one after the other."""

    if TYPE_CHECKING:

        async def prep_async(self, shared: Any, /) -> Iterable[Mapping[str, Any]] | None:
            """Return the items, or nothing."""
            ...

    @part_of_run_async
    async def _run_async(self, shared: Any) -> Any:
        passes = await self.prep_async(shared) or []
        for params in passes:
            await self._orch_async(shared, {**self.params, **params})
        return await self.post_async(shared, passes, None)


class AsyncParallelBatchFlow(AsyncFlow, BatchFlow):
    """An async flow that is run for all of its params at the same time.

    Attributes:
        max_concurrency: The most items that run at once, or `None`. Under it they are taken
            lazily, one as another ends.
    """

    max_concurrency: int | None = None

    if TYPE_CHECKING:

        async def prep_async(self, shared: Any, /) -> Iterable[Mapping[str, Any]] | None:
            """Return the items, or nothing."""
            ...

    def __init__(self, start: Any = None, *, max_concurrency: int | None = None) -> None:
        super().__init__(start)
        if max_concurrency is not None:
            self.max_concurrency = at_least_one(max_concurrency)

    @part_of_run_async
    async def _run_async(self, shared: Any) -> Any:
        passes = await self.prep_async(shared) or []
        each = (self._orch_async(shared, {**self.params, **params}) for params in passes)
        await asyncio.gather(*each)
        return await self.post_async(shared, passes, None)
