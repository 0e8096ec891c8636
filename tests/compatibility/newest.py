"""pocketflow as its repository now is."""

from __future__ import annotations

import asyncio
import importlib.util
import warnings
from types import ModuleType
from typing import Any

__all__ = ["newest_pocketflow"]


def newest_pocketflow() -> ModuleType:
    """A second copy of the installed pocketflow 0.0.3, with what its repository has changed since.

    As of 2026: `Node` refuses `max_retries` below 1 and a negative `wait`; `>> None` ends a flow
    without a warning; async nodes count retries in `cur_retry`; async batches take `None` for no
    items.
    """
    found = importlib.util.find_spec("pocketflow")
    assert found is not None
    assert found.origin is not None
    spec = importlib.util.spec_from_file_location("newest_pocketflow", found.origin)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    released_init = module.Node.__init__

    def init(self: Any, max_retries: int = 1, wait: float = 0) -> None:
        if max_retries < 1:
            raise ValueError("max_retries must be at least 1")
        if wait < 0:
            raise ValueError("wait must be non-negative")
        released_init(self, max_retries, wait)

    def get_next_node(self: Any, curr: Any, action: Any) -> Any:
        wanted = action or "default"
        known = curr.successors
        if known and wanted not in known:
            warnings.warn(f"Flow ends: '{action}' not found in {list(known)}", stacklevel=2)
        return known.get(wanted)

    async def attempts(self: Any, prep_res: Any) -> Any:
        self.cur_retry = 0
        while True:
            try:
                return await self.exec_async(prep_res)
            except Exception as failed:
                if self.cur_retry + 1 >= self.max_retries:
                    return await self.exec_fallback_async(prep_res, failed)
            if self.wait > 0:
                await asyncio.sleep(self.wait)
            self.cur_retry += 1

    def none_is_empty(released: Any) -> Any:
        async def batch(self: Any, items: Any) -> Any:
            return await released(self, items or ())

        return batch

    module.Node.__init__ = init
    module.Flow.get_next_node = get_next_node
    module.AsyncNode._exec = attempts
    for cls in (module.AsyncBatchNode, module.AsyncParallelBatchNode):
        cls._exec = none_is_empty(cls._exec)
    return module  # type: ignore[no-any-return]
