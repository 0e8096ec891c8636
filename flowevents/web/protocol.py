"""What the protocols of others have in common: how a request becomes `shared`, and their stream."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from flowevents.errors import JournalError
from flowevents.events import Event
from flowevents.journal.follower import Follower
from flowevents.web.driving import Runs
from flowevents.web.waiting import PATIENCE
from flowevents.web.watching import COMMENT, COMMENT_EVERY, GRACE, close_at

__all__ = ["SharedOf", "Teller", "check_flow", "conversation", "metadata_of", "shared_of", "stream"]

_logger: Final = logging.getLogger("flowevents")

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


def metadata_of(holder: Any, **own: str) -> dict[str, Any]:
    """A run's metadata: what this object has as `metadata`, and these.

    Raises `HTTPException` where that is no object.
    """
    given = holder.get("metadata") if isinstance(holder, dict) else None
    if not isinstance(given, dict | None):
        raise HTTPException(422, f"'metadata' is {given!r}; give an object.")
    return {**(given or {}), **own}


class Teller(Protocol):
    """Tells a client what happens in a run, in the frames of a protocol."""

    @property
    def has_ended(self) -> bool:
        """Whether the last event ended the stream."""
        ...

    @property
    def may_have_ended(self) -> bool:
        """Whether it did if no other comes soon."""
        ...

    def begin(self) -> bytes:
        """What comes first."""
        ...

    async def tell(self, event: Event) -> bytes:
        """What the event says."""
        ...

    async def end(self) -> bytes:
        """What comes last, where the stream ends after an event that did not end it."""
        ...


def stream(runs: Runs, run_id: str, events: Follower, teller: Teller, **headers: str) -> Response:
    """What is told of a run, as Server-Sent Events: up to its end, or to that of the stream."""
    stopping = anyio.Event()
    return EventSourceResponse(
        _told(runs, run_id, events, teller, stopping),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        ping=COMMENT_EVERY,
        ping_message_factory=lambda: ServerSentEvent(comment=COMMENT, sep="\n"),
        shutdown_event=stopping,
        shutdown_grace_period=GRACE,
    )


async def _told(
    runs: Runs, run_id: str, events: Follower, teller: Teller, stopping: anyio.Event
) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    late: asyncio.TimerHandle | None = None
    stop = asyncio.create_task(close_at(stopping, events))
    try:
        with runs.watched(run_id), events:
            yield teller.begin()
            async for event in events:
                told = []
                for each in (event, *events.ready()):
                    told.append(await teller.tell(each))
                    if teller.has_ended:
                        break
                yield b"".join(told)
                if teller.has_ended:
                    return
                if late is not None:
                    late.cancel()
                late = loop.call_later(PATIENCE, events.close) if teller.may_have_ended else None
    except JournalError as error:
        _logger.warning("The events of run %s end here: %s", run_id, error)
    finally:
        stop.cancel()
        if late is not None:
            late.cancel()
    yield await teller.end()
