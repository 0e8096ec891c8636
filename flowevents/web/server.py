"""RunServer: runs over HTTP, as an ASGI app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, Unpack

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from flowevents.engine.options import ResumeOptions
from flowevents.engine.shape import is_node, why_no_node
from flowevents.errors import GraphError
from flowevents.journal.journal import Journal
from flowevents.journal.memory import MemoryJournal
from flowevents.web.access import Access, Authorize
from flowevents.web.ag_ui import ag_ui_routes
from flowevents.web.ai_sdk import ai_sdk_routes
from flowevents.web.driving import Runs
from flowevents.web.guard import LOOPBACK, Guard
from flowevents.web.page import page_routes
from flowevents.web.problems import HANDLERS
from flowevents.web.protocol import SharedOf
from flowevents.web.rounds import Rounds
from flowevents.web.routes import run_routes

__all__ = ["RunServer"]


class RunServer:
    """An ASGI app that starts runs, and lets them be watched, answered and cancelled; with a page.

    Runs live in the server, not in a request: async flows as tasks of its loop, sync ones in
    threads. Mounted in another app it begins with the first request; `lifespan` has it begin, and
    end, with that app.

    Args:
        flows: The flows and nodes that can be run, by name: it is the `flow` of their runs.
        journal: Where the runs are; several servers may share one. By default a `MemoryJournal`
            that keeps the last 1,000 runs that have ended.
        resume: At the start, and every few seconds, go on with what is due of these flows.
        max_runs: How many runs may live here at once.
        unwatched: `"continue"`, or after how many seconds a run is cancelled that nobody watches,
            or ever did.
        allowed_hosts: The names of the server, without ports: `"example.com"`, `"*.example.com"`
            for all below, `"*"` for any. By default those of loopback.
        allowed_origins: The origins of the pages that may use it beside its own, such as
            `"https://example.com"`.
        authorize: `authorize(request, action, run_id)`, plain or async, is asked for everything
            before anything is looked up. `action` is `"start"`, `"list"`, `"watch"`, `"reply"`,
            `"cancel"` or `"pause"`; `run_id` is `None` where there is none yet. It refuses by an
            exception: an `HTTPException` with its own status, any other with 403.
        shared: `shared(request, body)`, plain or async, makes a run's `shared` of a request and the
            JSON object in its body; an `HTTPException` refuses it.
        options: `observers`, `redact`, `clock`, `on_handler_error`, `offload` and `state_types`, as
            of `Run`, for every run.

    Attributes:
        journal: Where the runs are.
        routes: What can be asked.

    Raises `GraphError` where a flow is no node, and `ValueError` for what makes no sense.
    """

    def __init__(
        self,
        flows: Mapping[str, Any],
        *,
        journal: Journal | None = None,
        resume: bool = True,
        max_runs: int = 64,
        unwatched: float | Literal["continue"] = "continue",
        allowed_hosts: Iterable[str] = LOOPBACK,
        allowed_origins: Iterable[str] = (),
        authorize: Authorize | None = None,
        shared: SharedOf | None = None,
        **options: Unpack[ResumeOptions],
    ) -> None:
        if type(max_runs) is not int or max_runs < 1:
            raise ValueError(f"max_runs={max_runs!r}: how many runs may live here; at least 1.")
        if unwatched != "continue" and not (
            isinstance(unwatched, (int, float)) and 0 < unwatched < float("inf")
        ):
            raise ValueError(f"unwatched={unwatched!r}: 'continue', or seconds above 0.")
        self.journal: Journal = MemoryJournal() if journal is None else journal
        self._runs = Runs(
            _checked(flows),
            self.journal,
            Access(authorize),
            max_runs=max_runs,
            forgets=journal is None,
            options=options,
        )
        self._rounds = Rounds(
            self._runs,
            resume=resume,
            unwatched=None if unwatched == "continue" else float(unwatched),
        )
        self._going: asyncio.Task[None] | None = None
        self.routes: list[Route] = [
            *run_routes(self._runs, shared),
            *page_routes(self._runs),
            *ag_ui_routes(self._runs, shared),
            *ai_sdk_routes(self._runs, shared),
        ]
        app = Starlette(routes=self.routes, exception_handlers=HANDLERS, lifespan=self.lifespan)
        app.router.redirect_slashes = False
        self._app = Guard(app, allowed_hosts, allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see the ASGI specification, version 3."""
        if scope["type"] == "http":
            self._begin()
        await self._app(scope, receive, send)

    def _begin(self) -> None:
        """Begin with what is done every few seconds, in this loop."""
        if self._going is None or self._going.get_loop() is not asyncio.get_running_loop():
            self._going = asyncio.create_task(self._rounds.go(), name="flowevents rounds")

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Go on with what is due while the block runs, and let all runs go at its end.

        For the lifespan of the app that it is mounted in: `FastAPI(lifespan=server.lifespan)`, or
        `async with server.lifespan():` inside of your own.
        """
        self._begin()
        try:
            yield
        finally:
            if self._going is not None:
                self._going.cancel()
                await asyncio.wait([self._going])
                self._going = None
            await self._runs.leave()


def _checked(flows: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(flows, Mapping) or not flows:
        raise ValueError(f"flows={flows!r}: a dict of flows by their names, at least one.")
    for name, flow in flows.items():
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"The name of a flow is a text without '/', not {name!r}.")
        if not is_node(flow):
            raise GraphError(
                f"flows[{name!r}] is no flow and no node: {flow!r}.{why_no_node(flow)}"
            )
    return dict(flows)
