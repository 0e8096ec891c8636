"""What can be asked of runs: to start, list, watch, answer, cancel and pause them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args
from urllib.parse import quote

import msgspec
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowevents.status import RunStatus
from flowevents.web.bodies import ReplyBody, StartBody, check_id, read, whole_number
from flowevents.web.driving import Runs
from flowevents.web.protocol import SharedOf, shared_of
from flowevents.web.watching import watch

__all__ = ["run_routes"]


def run_routes(runs: Runs, shared: SharedOf | None = None) -> list[Route]:
    """The routes of runs; `shared` makes a run's `shared` of a request."""
    journal, route = runs.journal, runs.access.route

    async def start(request: Request) -> Response:
        body = await read(request, StartBody)
        check_id(body.id)
        given = await shared_of(shared, request, msgspec.to_builtins(body), body.shared)
        summary = await runs.start(body.flow, given, body.id, body.metadata)
        root = request.scope.get("root_path", "").rstrip("/")
        return _json(summary, 201, {"Location": f"{root}/runs/{quote(summary.id)}"})

    async def list_(request: Request) -> Response:
        status: Any = request.query_params.get("status")
        if status is not None and status not in get_args(RunStatus):
            raise HTTPException(400, f"status is {status!r}; give {_either(get_args(RunStatus))}.")
        limit = whole_number(request.query_params.get("limit", "100"), "limit")
        return _json(await run_sync(journal.runs, status, min(limit, 10_000)))

    async def summary(request: Request) -> Response:
        return _json(await run_sync(journal.summary, request.path_params["id"]))

    async def events(request: Request) -> Response:
        return await watch(runs, request)

    async def reply(request: Request) -> Response:
        body = await read(request, ReplyBody)
        await run_sync(runs.reply, request.path_params["id"], body.value, body.id)
        return Response(status_code=202)

    async def cancel(request: Request) -> Response:
        return await _tell(request, journal.cancel)

    async def pause(request: Request) -> Response:
        return await _tell(request, journal.pause)

    return [
        route("/runs", start, "start", ["POST"]),
        route("/runs", list_, "list"),
        route("/runs/{id}", summary, "watch"),
        route("/runs/{id}/events", events, "watch"),
        route("/runs/{id}/replies", reply, "reply", ["POST"]),
        route("/runs/{id}/cancel", cancel, "cancel", ["POST"]),
        route("/runs/{id}/pause", pause, "pause", ["POST"]),
    ]


async def _tell(request: Request, what: Callable[[str], None]) -> Response:
    await run_sync(what, request.path_params["id"])
    return Response(status_code=202)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def _either(words: tuple[str, ...]) -> str:
    return ", ".join(map(repr, words))
