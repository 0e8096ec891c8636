"""Nodes that only ask: their `exec_res` is the answer."""

from __future__ import annotations

from typing import Any

from flowevents.asking import Ask
from flowevents.engine.ask import ask_here, cannot_wait
from flowevents.engine.shape import node_name
from flowevents.nodes.async_node import AsyncNode
from flowevents.nodes.node import Node

__all__ = ["AskNode", "AsyncAskNode"]


class AskNode(Node):
    """A node that asks what its `question` gives; `post` gets the answer."""

    def question(self, prep_res: Any, /) -> Ask:
        """Return the question. Has to be overridden."""
        raise NotImplementedError(
            f"{node_name(self)!r} has no question: override `question(self, prep_res)` and "
            "return an Ask."
        )

    def _try(self, prep_res: Any) -> Any:
        cannot_wait(self, self.question(prep_res))


class AsyncAskNode(AsyncNode):
    """`AskNode` in an async flow; its `question` may be `question_async`, which is awaited."""

    def question(self, prep_res: Any, /) -> Ask:
        """Return the question. This or `question_async` has to be overridden."""
        return AskNode.question(self, prep_res)  # type: ignore[arg-type]

    async def question_async(self, prep_res: Any, /) -> Ask:
        """Return the question: by default, what `question` gives."""
        return self.question(prep_res)

    async def _try_async(self, prep_res: Any) -> Any:
        return await ask_here(self, await self.question_async(prep_res))
