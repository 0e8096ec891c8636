"""The events of a run as they are stored: as Server-Sent Events, or as lines of JSON.

The format of the former is that of the HTML standard, section 9.2.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from typing import Final

from anyio.to_thread import run_sync
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from flowevents.errors import JournalError
from flowevents.events import Event, FlowEnd, encode
from flowevents.journal.follower import Follower
from flowevents.journal.records import ENDED
from flowevents.web.bodies import whole_number
from flowevents.web.driving import Runs

__all__ = ["sse_frame", "watch"]

_logger: Final = logging.getLogger("flowevents")
_COMMENT_EVERY: Final = 15  # seconds
_LINES: Final = "application/x-ndjson"

Form = Callable[[Event], bytes]


async def watch(runs: Runs, request: Request) -> Response:
    """The events after the one that the client has, up to the run's last.

    Raises `UnknownRun`, `EventsLost` and `HTTPException`.
    """
    run_id: str = request.path_params["id"]
    after = _after(request)
    summary = await run_sync(runs.journal.summary, run_id)
    if summary.status in ENDED and after == summary.seq:
        return Response(status_code=204)
    follower = await run_sync(runs.journal.follow, run_id, after)
    as_lines = _LINES in request.headers.get("accept", "")
    return EventSourceResponse(
        _written(runs, run_id, follower, _line if as_lines else sse_frame),
        media_type=_LINES if as_lines else "text/event-stream",
        headers={"Vary": "Accept"},
        ping=0 if as_lines else _COMMENT_EVERY,
        ping_message_factory=_comment,
        sep="\n",
    )


def _after(request: Request) -> int:
    last = request.headers.get("last-event-id")
    if last is not None:
        return whole_number(last, "Last-Event-ID")
    return whole_number(request.query_params.get("after", "0"), "after")


async def _written(
    runs: Runs, run_id: str, events: Follower, form: Form
) -> AsyncGenerator[bytes, None]:
    with runs.watched(run_id), events:
        try:
            async for event in events:
                yield form(event)
        except JournalError as error:  # it was deleted, or the store failed: the client comes back
            _logger.warning("The events of run %s end here: %s", run_id, error)


def sse_frame(event: Event) -> bytes:
    """An event as Server-Sent Events have it; after a run's last one comes `event: end`."""
    kind = event.signal or "unknown"
    data = encode(event).decode()
    frame = f"id: {event.seq}\nevent: {kind}\ndata: {data}\n\n"
    if isinstance(event, FlowEnd) and not event.node:
        frame += f'event: end\ndata: {{"status":"{event.status}"}}\n\n'
    return frame.encode()


def _line(event: Event) -> bytes:
    return encode(event) + b"\n"


def _comment() -> ServerSentEvent:
    return ServerSentEvent(comment="still here", sep="\n")
