"""`POST /ag-ui/{flow}`: runs for clients of the AG-UI protocol, such as `HttpAgent`; extra `agui`.

A request starts a run, or answers its questions and goes on with it. It ends with the run, or where
nothing goes on without an answer.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowevents.errors import MissingExtra
from flowevents.web.driving import Runs
from flowevents.web.protocol import SharedOf

__all__ = ["ag_ui_routes"]


def ag_ui_routes(runs: Runs, shared: SharedOf | None = None) -> list[Route]:
    """The route of the AG-UI protocol; `shared` makes a run's `shared` of a request.

    Where its package is not installed, the answer is 501.
    """

    async def ag_ui(request: Request) -> Response:
        try:
            from flowevents.web.ag_ui_requests import respond
        except MissingExtra:
            await runs.authorize(request, "start")
            raise
        return await respond(runs, shared, request)

    return [Route("/ag-ui/{flow}", ag_ui, methods=["POST"])]
