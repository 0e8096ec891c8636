"""Nodes that say what they are, and ways to look at their runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pocketflow as released

from flowevents import AsyncBatchFlow, AsyncNode, AsyncParallelBatchFlow, BatchFlow, Node, NodeStart
from tests.watching import Watched, Way

pocketflow: Any = released  # its stubs would have ours refused


class Step(Node):
    """Says its name and params, and gives the next of its actions."""

    def __init__(self, *actions: str | None, name: str | None = None) -> None:
        super().__init__()
        self.actions: list[Any] = list(actions)
        if name is not None:
            self.node_name = name

    def exec(self, prep_res: Any) -> None:
        self.emit(dict(self.params))

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str | None:
        shared.setdefault("ran", []).append(self.node_name)
        return self.actions.pop(0) if self.actions else None  # copies have the list in common


class AsyncStep(AsyncNode):
    """The same, awaited."""

    async def exec_async(self, prep_res: Any) -> None:
        await asyncio.sleep(0)
        self.emit(dict(self.params))

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.setdefault("ran", []).append(self.node_name)


def paths(watched: Watched) -> list[str]:
    """The paths of the nodes that ran, in order."""
    return [event.node for event in watched.of(NodeStart)]


class Files(BatchFlow):
    """Runs its graph for each file."""

    files: Any = ("a", "b")

    def prep(self, shared: Any) -> Any:
        return None if self.files is None else [{"file": name} for name in self.files]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["post"] = (prep_res, exec_res)
        return "all done"


class AsyncFiles(AsyncBatchFlow):
    """The same, one after the other, in an async run."""

    files: Any = ("a", "b")

    async def prep_async(self, shared: Any) -> Any:
        return None if self.files is None else [{"file": name} for name in self.files]

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["post"] = (prep_res, exec_res)
        return "all done"


class ParallelFiles(AsyncParallelBatchFlow):
    """The same, at the same time."""

    files = AsyncFiles.files
    prep_async: Any = AsyncFiles.prep_async
    post_async: Any = AsyncFiles.post_async


def of_batch(batch: Any) -> Way:
    """The run that such a flow needs."""
    return Way("sync" if batch is Files else "async")
