"""Flows for the tests of the server, and their apps.

`RUNS_DB` names the file of their journal, or a Redis server; without it runs are kept in memory.
`COMMENT_EVERY` is how many seconds a stream is silent before there is a comment.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route

from flowevents import (
    Ask,
    AskNode,
    AsyncAskNode,
    AsyncFlow,
    AsyncNode,
    AsyncStreamNode,
    Flow,
    FlowEnd,
    Journal,
    Node,
    RedisJournal,
    Run,
    SQLiteJournal,
    StreamNode,
)
from flowevents.web import RunServer, sse, watching
from tests.hostile import HOSTILE

Shared = dict[str, Any]


class Words(AsyncStreamNode):
    """Says `words` words, with `pause` seconds between them."""

    async def prep_async(self, shared: Shared) -> tuple[int, float]:
        return shared.get("words", 3), shared.get("pause", 0.0)

    async def exec_stream_async(self, prep_res: tuple[int, float]) -> AsyncIterator[str]:
        words, pause = prep_res
        for word in range(words):
            await asyncio.sleep(pause)
            yield f"{word} "


class PlainWords(StreamNode):
    """The same, in a thread."""

    def prep(self, shared: Shared) -> tuple[int, float]:
        return shared.get("words", 3), shared.get("pause", 0.0)

    def exec_stream(self, prep_res: tuple[int, float]) -> Iterator[str]:
        words, pause = prep_res
        for word in range(words):
            time.sleep(pause)
            yield f"{word} "


class Choice(AskNode):
    """Asks for a choice."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("Ship it?", choices=["yes", "no"])

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> str:
        shared["answer"] = exec_res
        return str(exec_res)


class AsyncChoice(AsyncAskNode):
    """The same, in the loop."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("Ship it?", choices=["yes", "no"])

    async def post_async(self, shared: Shared, prep_res: Any, exec_res: Any) -> str:
        shared["answer"] = exec_res
        return str(exec_res)


class Address(Struct):
    """What a form asks for."""

    street: str
    number: int

    def __post_init__(self) -> None:
        if self.number == 13:
            raise ValueError("nobody lives there")


class Form(AsyncAskNode):
    """Asks for something with a schema."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("Where to?", type=Address)


class Fails(Node):
    """Fails with what it is told."""

    def prep(self, shared: Shared) -> str:
        return str(shared.get("why", "no reason"))

    def exec(self, prep_res: str) -> None:
        raise ValueError(prep_res)


class Says(StreamNode):
    """Says what a model might say to harm who reads it."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        for text in HOSTILE.values():
            yield text
            self.emit({text: [text]}, kind=text)
            self.progress(1, label=text)


class Asks(AskNode):
    """Asks with the same."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("\n".join(HOSTILE.values()), choices=list(HOSTILE.values()))


class Seen(Node):
    """Fails with what it gets: what `RunServer(shared=…)` has made."""

    def exec(self, prep_res: Any) -> None:
        pass

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        return repr(shared)


def count(counts: str, done: int) -> None:
    """Write down what was done, outside of the run."""
    with Path(counts).open("a", encoding="utf-8") as file:
        file.write(f"{done}\n")


class Step(AsyncNode):
    """Counts in a file what was done, as something in the world outside."""

    async def prep_async(self, shared: Shared) -> str:
        return str(shared["counts"])

    async def exec_async(self, prep_res: str) -> str:
        await asyncio.sleep(0.1)
        return prep_res

    async def post_async(self, shared: Shared, prep_res: str, exec_res: str) -> str:
        shared["done"] = shared.get("done", 0) + 1
        count(prep_res, shared["done"])
        return "ask" if shared["done"] % 5 == 0 else "step"


def _then(first: Any, second: Any) -> Any:
    first >> second
    return first


def _steps() -> AsyncFlow:
    step, choice = Step(), AsyncChoice()
    step - "step" >> step
    step - "ask" >> choice
    choice - "no" >> step
    choice - "yes" >> Node()
    return AsyncFlow(step)


FLOWS: Mapping[str, Any] = {
    "words": AsyncFlow(Words()),
    "plain words": Flow(PlainWords()),
    "choice": AsyncFlow(AsyncChoice()),
    "plain choice": Choice(),
    "form": AsyncFlow(_then(Words(), Form())),
    "fails": Flow(Fails()),
    "says": Flow(_then(Says(), Asks())),
    "seen": Seen(),
    "steps": _steps(),
}


def journal() -> Journal | None:
    """Where the runs are."""
    place = os.environ.get("RUNS_DB", "")
    if place.startswith("redis:"):
        return RedisJournal(place, lease=2.0)
    return SQLiteJournal(place, lease=2.0) if place else None


def refuses(request: Request, action: str, run_id: str | None) -> None:
    """Refuses in the way that a header says."""
    match request.headers.get("x-refuse"):
        case "teapot":
            raise HTTPException(418, "I am a teapot.", {"X-Tea": "none"})
        case "permission":
            raise PermissionError("Not on Sundays.")
        case "bug":
            raise KeyError("secret")


async def refuses_later(request: Request, action: str, run_id: str | None) -> bool:
    """Refuses all but watching, by what it returns."""
    await asyncio.sleep(0)
    return action in ("watch", "list")


def shared_of(request: Request, body: dict[str, Any]) -> Any:
    """What a run gets, of who asks for it."""
    if body.get("shared") == {"refuse": True}:
        raise HTTPException(422, "That is refused by shared.")
    if body.get("shared") == {"bug": True}:
        raise KeyError("secret")
    return {"agent": request.headers["user-agent"], "body": body}


if "COMMENT_EVERY" in os.environ:
    setattr(watching, "COMMENT_EVERY", float(os.environ["COMMENT_EVERY"]))  # noqa: B010 (it is final)

app = RunServer(
    FLOWS,
    journal=journal(),
    state_types=[Address],
    unwatched=float(os.environ["UNWATCHED"]) if "UNWATCHED" in os.environ else "continue",
)

owned = FastAPI()
_ended: list[str] = []


class Owned(AsyncStreamNode):
    """Says a word, and then nothing, for ever; notes how it ended."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        yield "one"
        await asyncio.Event().wait()


def noted(how: str) -> Callable[[FlowEnd], None]:
    """Notes that a run was cancelled."""

    def note(event: Any) -> None:
        if isinstance(event, FlowEnd) and event.status == "cancelled":
            _ended.append(how)

    return note


@owned.get("/fastapi")
async def in_fastapi() -> StreamingResponse:
    """A run that the request owns."""
    run = Run(AsyncFlow(Owned()), {}, observers=[noted("fastapi")])
    return StreamingResponse(sse(run), media_type="text/event-stream")


@owned.get("/fastapi-plain")
async def in_fastapi_plain() -> StreamingResponse:
    """The same of a sync flow, which is in its thread, and says more and more."""
    given = {"words": 10**6, "pause": 0.01}
    run = Run(Flow(PlainWords()), given, observers=[noted("fastapi plain")])
    return StreamingResponse(sse(run), media_type="text/event-stream")


@owned.get("/ended")
async def ended() -> list[str]:
    """How those were called that were cancelled."""
    return _ended


async def in_starlette(request: Request) -> StreamingResponse:
    """A run that the request owns."""
    run = Run(AsyncFlow(Owned()), {}, observers=[noted("starlette")])
    return StreamingResponse(sse(run), media_type="text/event-stream")


apart = Starlette(
    routes=[
        Route("/owned/starlette", in_starlette),
        Mount("/owned", owned),
        Mount("/small", RunServer(FLOWS, max_runs=1)),
        Mount("/left", RunServer(FLOWS, unwatched=0.6)),
        Mount("/refuses", RunServer(FLOWS, authorize=refuses)),
        Mount("/later", RunServer(FLOWS, authorize=refuses_later)),
        Mount("/shared", RunServer(FLOWS, shared=shared_of)),
        Mount("/open", RunServer(FLOWS, allowed_origins=["https://app.example"])),
        Mount("/named", RunServer(FLOWS, allowed_hosts=["example.com", "*.example.org", "::1"])),
        Mount("/runs", RunServer(FLOWS)),
    ]
)
