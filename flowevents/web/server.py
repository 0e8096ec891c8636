"""RunServer: runs over HTTP, as an ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Unpack

import anyio
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from flowevents.engine.options import ResumeOptions
from flowevents.journal.journal import Journal
from flowevents.journal.memory import MemoryJournal
from flowevents.web.access import Access, Authorize
from flowevents.web.driving import Runs
from flowevents.web.page import page_routes
from flowevents.web.problems import HANDLERS
from flowevents.web.routes import run_routes

__all__ = ["RunServer"]


class RunServer:
    """An ASGI app that starts runs and lets them be watched, answered and cancelled.

    Args:
        flows: The flows and nodes that can be run, by name.
        journal: Where the runs are kept; by default in memory.
        max_runs: How many may live here at once.
        authorize: Is asked for everything: `authorize(request, action, run_id)`.
        options: As of `Run.resume`, for every run.
    """

    def __init__(
        self,
        flows: Mapping[str, Any],
        *,
        journal: Journal | None = None,
        max_runs: int = 64,
        authorize: Authorize | None = None,
        **options: Unpack[ResumeOptions],
    ) -> None:
        self.journal: Journal = MemoryJournal() if journal is None else journal
        self._runs = Runs(dict(flows), self.journal, Access(authorize), max_runs, **options)
        self._app = Starlette(
            routes=[*run_routes(self._runs), *page_routes(self._runs)],
            exception_handlers=HANDLERS,
            lifespan=self.lifespan,
        )
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: see the ASGI specification, version 3."""
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Go on with what is due, while the block runs, and let all runs go at its end."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._runs.look)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
        await self._runs.leave()
