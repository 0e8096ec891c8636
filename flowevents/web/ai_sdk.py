"""`POST /ai-sdk/{flow}`: runs as the chat messages of the Vercel AI SDK, for its `useChat`.

A request starts a run, whose `shared` is the request's `shared` with its `messages`, and gets its
events up to the run's end; what the run asks meanwhile is answered at `/runs/{id}/replies`. Where
the SDK looks for a stream to go on with, the chat's run is told from its beginning.
"""

from __future__ import annotations

from typing import Any, Final

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowevents.events import Event
from flowevents.journal.journal import Journal
from flowevents.web.ai_sdk_parts import DONE, UIMessageParts, failure, frames
from flowevents.web.bodies import object_of
from flowevents.web.driving import Runs
from flowevents.web.protocol import (
    SharedOf,
    check_flow,
    conversation,
    metadata_of,
    shared_of,
    stream,
)

__all__ = ["ai_sdk_routes"]

_MOST: Final = 1_000  # runs that have not ended, of which one may be a chat's


def ai_sdk_routes(runs: Runs, shared: SharedOf | None = None) -> list[Route]:
    """The routes of the AI SDK; `shared` makes a run's `shared` of a request."""

    async def start(request: Request) -> Response:
        await runs.authorize(request, "start")
        flow = request.path_params["flow"]
        check_flow(runs, flow)
        body = await object_of(request)
        own = conversation(body, "shared")
        own["messages"] = [{"content": _text(each), **each} for each in own["messages"]]
        given = await shared_of(shared, request, body, own)
        chat = body.get("id")
        metadata = metadata_of(body, **({"chat": chat} if isinstance(chat, str) else {}))
        summary = await runs.start(flow, given, None, metadata)
        return await _told(runs, summary.id)

    async def go_on(request: Request) -> Response:
        await runs.authorize(request, "list")
        flow, chat = request.path_params["flow"], request.path_params["chat"]
        check_flow(runs, flow)
        run_id = await run_sync(_newest, runs.journal, flow, chat)
        if run_id is None:
            return Response(status_code=204)
        await runs.authorize(request, "watch", run_id)
        return await _told(runs, run_id)

    return [
        Route("/ai-sdk/{flow}", start, methods=["POST"]),
        Route("/ai-sdk/{flow}/{chat:path}/stream", go_on, methods=["GET"]),
    ]


def _text(message: dict[str, Any]) -> str:
    """The text of a message, which the SDK has in parts, in one piece."""
    parts = message.get("parts")
    texts = [each.get("text") for each in parts or () if isinstance(each, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _newest(journal: Journal, flow: str, chat: str) -> str | None:
    """The run of a chat that began last, where it has not ended."""
    going = [*journal.runs("running", _MOST), *journal.runs("paused", _MOST)]
    mine = [each for each in going if each.flow == flow and each.metadata.get("chat") == chat]
    return max(mine, key=lambda each: each.started).id if mine else None


async def _told(runs: Runs, run_id: str) -> Response:
    follower = await run_sync(runs.journal.follow, run_id)
    teller = _Teller(UIMessageParts(run_id))
    return stream(runs, run_id, follower, teller, x_vercel_ai_ui_message_stream="v1")


class _Teller:
    """Tells of a run by these parts."""

    may_have_ended = False

    def __init__(self, parts: UIMessageParts) -> None:
        self._parts = parts

    @property
    def has_ended(self) -> bool:
        return self._parts.has_ended

    def begin(self) -> bytes:
        return frames(self._parts.begin())

    async def tell(self, event: Event) -> bytes:
        told = frames(self._parts.translate(event))
        return told + DONE if self.has_ended else told

    async def end(self) -> bytes:
        return frames([failure("The server tells no more of this run, which may go on.")]) + DONE
