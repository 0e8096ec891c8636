"""The async nodes: `prep_async`, `exec_async` and `post_async`, alone and in batches."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flowevents.asking import Ask
from flowevents.engine.ask import ask_here
from flowevents.engine.attempts import pause_after, retries_on
from flowevents.engine.publish import in_opaque_step
from flowevents.engine.shape import node_name
from flowevents.errors import AsyncNodeError
from flowevents.nodes.node import BatchNode, Node
from flowevents.run import Run

__all__ = ["AsyncBatchNode", "AsyncNode", "AsyncParallelBatchNode"]


P = TypeVar("P", bound=Callable[..., Any])


def part_of_run_async(part: P) -> P:
    """`part_of_run` for a `_run_async`."""

    @functools.wraps(part)
    async def _run_async(node: Any, shared: Any) -> Any:
        if getattr(node._run_async, "__func__", None) is not _run_async or in_opaque_step(node):
            return await part(node, shared)
        return await Run(node, shared).wait_async()

    return cast("P", _run_async)


class AsyncNode(Node):
    """A node whose methods are awaited; it needs an async run."""

    async def prep_async(self, shared: Any, /) -> Any:
        """Take from `shared` what `exec_async` needs."""

    async def exec_async(self, prep_res: Any, /) -> Any:
        """Do the work, without `shared`: it may be tried again."""

    async def exec_fallback_async(self, prep_res: Any, exc: Exception, /) -> Any:
        """Return a result after the last attempt failed with `exc`, or raise, as this one does."""
        raise exc

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any, /) -> Any:
        """Write to `shared`, and return the action: a string, or `None` for `"default"`."""

    async def ask(
        self,
        prompt: Any,
        *,
        choices: Iterable[Any] | None = None,
        type: Any = None,
        expires: float | None = None,
    ) -> Any:
        """Ask, wait for the answer, and return it; arguments as of `Ask`.

        It is awaited in the code of the node itself. Raises `Expired` where nobody answers in
        time, and `RuntimeError` outside of a run or in a task that the code has made.
        """
        return await ask_here(self, Ask(prompt, choices=choices, type=type, expires=expires))

    # -- PocketFlow's private methods: called by overrides, and by its own flows --------------

    @part_of_run_async
    async def _run_async(self, shared: Any) -> Any:
        prep_res = await self.prep_async(shared)
        exec_res = await self._exec(prep_res)
        return await self.post_async(shared, prep_res, exec_res)

    async def _exec(self, prep_res: Any) -> Any:
        for retry in range(self.max_retries):
            self.cur_retry = retry
            try:
                return await self._try_async(prep_res)
            except Exception as error:
                if retry == self.max_retries - 1 or not retries_on(self, error):
                    return await self.exec_fallback_async(prep_res, error)
                pause = pause_after(self, retry + 1, error)
                if pause > 0:
                    await asyncio.sleep(pause)
        return None

    async def _try_async(self, prep_res: Any) -> Any:
        return await self.exec_async(prep_res)

    def _run(self, shared: Any) -> Any:
        raise AsyncNodeError(
            f"Use run_async: {node_name(self)!r} ({type(self).__name__}) is async. An AsyncFlow of "
            "pocketflow runs only pocketflow's own async classes: put it into a "
            "flowevents.AsyncFlow, or run the flow with flowevents.Run(flow, shared)."
        )


class AsyncBatchNode(AsyncNode, BatchNode):
    """An async node whose items are run one after the other."""

    if TYPE_CHECKING:

        async def prep_async(self, shared: Any, /) -> Iterable[Any] | None:
            """Return the items, or nothing."""
            ...

    async def _exec(self, prep_res: Any) -> Any:
        results: list[Any] = []
        for item in prep_res or []:
            try:
                results.append(await super()._exec(item))
            except Exception as error:
                if not self.return_exceptions:
                    raise
                results.append(error)
        return results


class AsyncParallelBatchNode(AsyncNode, BatchNode):
    """An async node whose items are run at the same time, each in a task of its own.

    When one fails the others are cancelled and awaited before its error is raised.

    Attributes:
        max_concurrency: The most items that run at once, here or with an `executor`, or `None`.
            Under it they are taken lazily, one as another ends.
    """

    _runs_together = True

    if TYPE_CHECKING:

        async def prep_async(self, shared: Any, /) -> Iterable[Any] | None:
            """Return the items, or nothing."""
            ...

    async def _exec(self, prep_res: Any) -> Any:
        tries = (super(AsyncParallelBatchNode, self)._exec(item) for item in (prep_res or []))
        return await asyncio.gather(*tries, return_exceptions=self.return_exceptions)
