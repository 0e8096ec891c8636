"""What the protocols of others have in common: how a request becomes `shared`, and their stream."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from flowevents.web.driving import Runs

__all__ = ["SharedOf", "check_flow", "conversation", "shared_of", "stream"]

_COMMENT_EVERY: Final = 15  # seconds

SharedOf = Callable[[Request, dict[str, Any]], Any]
"""Makes a run's `shared` of a request and its JSON body; plain or async. An `HTTPException` that it
raises refuses the request."""


def check_flow(runs: Runs, flow: str) -> None:
    """Raise `HTTPException` where there is no such flow."""
    if flow not in runs.flows:
        known = ", ".join(map(repr, runs.flows))
        raise HTTPException(404, f"There is no flow {flow!r}; there is {known}.")


async def shared_of(make: SharedOf | None, request: Request, body: dict[str, Any], own: Any) -> Any:
    """What a run gets: what `make` makes of the request, or else `own`."""
    if make is None:
        return own
    made = make(request, body)
    return await made if inspect.isawaitable(made) else made


def conversation(body: dict[str, Any], field: str) -> dict[str, Any]:
    """The object in this field of a body, with the body's `messages` in it.

    Raises `HTTPException` where the field is no object, or the messages are no array of objects.
    """
    given, messages = body.get(field), body.get("messages")
    if not isinstance(given, dict | None):
        raise HTTPException(422, f"{field!r} is {given!r}; give an object: what the nodes get.")
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise HTTPException(422, "'messages' is missing, or is no array of objects.")
    return {**(given or {}), "messages": messages}


def stream(frames: AsyncIterator[bytes], **headers: str) -> Response:
    """These frames as Server-Sent Events, with a comment where nothing comes for a while."""
    return EventSourceResponse(
        frames,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        ping=_COMMENT_EVERY,
        ping_message_factory=lambda: ServerSentEvent(comment="still here", sep="\n"),
        sep="\n",
    )
