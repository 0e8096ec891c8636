"""The events of a run as they are stored: as Server-Sent Events, or as lines of JSON.

The format of the former is that of the HTML standard, section 9.2. `EventSourceResponse` sees to
comments, to clients that leave, and to the stop of the server.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable
from typing import Final

import anyio
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

__all__ = ["COMMENT", "COMMENT_EVERY", "GRACE", "close_at", "sse_frame", "watch"]

COMMENT: Final = "still here"
COMMENT_EVERY: Final = 15  # seconds

_logger: Final = logging.getLogger("flowevents")
_LINES: Final = "application/x-ndjson"
_STREAM: Final = "text/event-stream"
_WEIGHT: Final = re.compile(r"q=[01](\.[0-9]{0,3})?")
GRACE: Final = 1.0  # seconds in which a stream ends when the server stops

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
    as_lines = _wants_lines(request.headers.get("accept", ""))
    stopping = anyio.Event()
    return EventSourceResponse(
        _written(runs, run_id, follower, _line if as_lines else sse_frame, stopping),
        media_type=_LINES if as_lines else _STREAM,
        headers={"Vary": "Accept"},
        ping=0 if as_lines else COMMENT_EVERY,
        ping_message_factory=lambda: ServerSentEvent(comment=COMMENT, sep="\n"),
        shutdown_event=stopping,
        shutdown_grace_period=GRACE,
    )


def _after(request: Request) -> int:
    last = request.headers.get("last-event-id")
    if last is not None:
        return whole_number(last, "Last-Event-ID")
    return whole_number(request.query_params.get("after", "0"), "after")


def _wants_lines(accept: str) -> bool:
    """Whether lines are named, and nothing says that Server-Sent Events are wanted more.

    The syntax is that of RFC 9110, section 12.5.1.
    """
    wanted = {_LINES: 0.0, _STREAM: 0.0}
    for each in accept.lower().split(","):
        kind, *parameters = [part.strip() for part in each.split(";")]
        weights = [part[2:] for part in parameters if _WEIGHT.fullmatch(part)]
        wanted[kind] = float(weights[0]) if weights else 1.0
    return wanted[_LINES] > 0 and wanted[_LINES] >= wanted[_STREAM]


async def _written(
    runs: Runs, run_id: str, events: Follower, form: Form, stopping: anyio.Event
) -> AsyncGenerator[bytes, None]:
    stop = asyncio.create_task(close_at(stopping, events))
    try:
        with runs.watched(run_id), events:
            async for event in events:
                yield b"".join([form(each) for each in (event, *events.ready())])
    except JournalError as error:  # it was deleted, or the store failed: who comes back is told
        _logger.warning("The events of run %s end here: %s", run_id, error)
    finally:
        stop.cancel()


async def close_at(stopping: anyio.Event, events: Follower) -> None:
    """End a stream of events when the server stops."""
    await stopping.wait()
    events.close()


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
