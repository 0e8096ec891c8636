"""Refusals as `application/problem+json` (RFC 9457): a status and a sentence, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from flowevents.errors import (
    EventsLost,
    FlowEventsError,
    JournalError,
    MissingExtra,
    ReplyError,
    RunStateError,
    UnknownRun,
)

__all__ = ["HANDLERS", "problem"]

_logger: Final = logging.getLogger("flowevents")
_MOST: Final = 2_000  # characters of a sentence that may quote what was sent

_STATUS: Final[tuple[tuple[type[FlowEventsError], HTTPStatus], ...]] = (
    (UnknownRun, HTTPStatus.NOT_FOUND),
    (EventsLost, HTTPStatus.GONE),
    (ReplyError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (RunStateError, HTTPStatus.CONFLICT),
    (MissingExtra, HTTPStatus.NOT_IMPLEMENTED),
)
"""Errors whose text is for the client; the first that fits."""


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal.

    Args:
        status: The status code.
        detail: Why, in a sentence; cut where it is very long.
        headers: What else is to be said.
    """
    title = HTTPStatus(status).phrase
    said = {"type": "about:blank", "title": title, "status": int(status), "detail": detail[:_MOST]}
    return Response(
        msgspec.json.encode(said), status, headers, media_type="application/problem+json"
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail, headers = str(error.detail), dict(error.headers or {})
    if detail == HTTPStatus(error.status_code).phrase:  # the router's own
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = f"There is nothing at {request.url.path!r}."
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_allowed(request))
            detail = f"{request.method} is not for {request.url.path!r}; use {headers['Allow']}."
    return problem(error.status_code, detail, headers)


def _allowed(request: Request) -> list[str]:
    """The methods of all routes at a path, where the router tells those of the first."""
    routes = [each for each in request.app.routes if isinstance(each, Route)]
    here = [each for each in routes if each.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for each in here for method in each.methods or ()})


async def _refused_by_runs(request: Request, error: Exception) -> Response:
    if isinstance(error, ReplyError) and not error.asked:
        return problem(HTTPStatus.CONFLICT, str(error))
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return problem(status, str(error))
    _logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    if isinstance(error, JournalError):
        return problem(503, "The journal of the runs failed. The log of the server says why.")
    return problem(500, "The server failed. Its log says why.")


async def _left(request: Request, error: Exception) -> Response:
    return problem(400, "The body was not sent to its end.")


async def _failed(request: Request, error: Exception) -> Response:
    return problem(500, "The server failed. Its log says why.")


HANDLERS: Final[dict[Any, Any]] = {
    HTTPException: _refused,
    ClientDisconnect: _left,
    FlowEventsError: _refused_by_runs,
    Exception: _failed,
}
"""What Starlette shall answer where one of these is raised."""
