"""`authorize`: asked of everything, before anything is looked up."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from flowevents import MemoryJournal, Node
from flowevents.web import RunServer
from tests.web.servers import http
from tests.web.streams import problem, started

pytestmark = pytest.mark.usefixtures("threads_end")

BODIES = [b"{}", b'{"flow": "a", "shared": {}}', b'{"value": 1}', b"no JSON"]


def refuse(request: Request, action: str, run_id: str | None) -> None:
    """Refuses all."""
    raise HTTPException(418, f"{action} {run_id}")


async def answers(app: RunServer, route: Route) -> list[httpx.Response]:
    """What a route says, with each of its methods, to any body."""
    transport = httpx.ASGITransport(app)
    path = route.path.replace("{", "").replace("}", "")
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return [
            await client.request(
                method, path, content=body, headers={"content-type": "application/json"}
            )
            for method in route.methods or ()
            for body in (BODIES if method == "POST" else [b""])
        ]


def test_every_route_asks() -> None:
    """Whatever is added, of whatever owner, asks before it does, reads or finds anything."""
    app = RunServer({"a": Node()}, authorize=refuse)
    assert len(app.routes) > 8
    for route in app.routes:
        for answer in asyncio.run(answers(app, route)):
            assert answer.status_code == 418, f"{route.path} does not ask"


def test_what_is_asked() -> None:
    """The action is the request's, and the run's id that of its path."""
    asked: list[tuple[str, str | None]] = []

    def note(request: Request, action: str, run_id: str | None) -> None:
        asked.append((action, run_id))

    app = RunServer({"a": Node()}, authorize=note)

    async def ask_all() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.lifespan(),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            for method, path in (
                *(("POST", "/runs"), ("GET", "/runs"), ("GET", "/runs/r1")),
                *(("GET", "/runs/r1/events"), ("POST", "/runs/r1/replies")),
                *(("POST", "/runs/r1/cancel"), ("POST", "/runs/r1/pause")),
                *(("GET", "/"), ("GET", "/runs/r1/view")),
            ):
                await client.request(method, path)

    asyncio.run(ask_all())
    assert asked == [
        *(("start", None), ("list", None), ("watch", "r1"), ("watch", "r1"), ("reply", "r1")),
        *(("cancel", "r1"), ("pause", "r1"), ("list", None), ("watch", "r1")),
    ]


def test_how_it_refuses(apart: str) -> None:
    """By its own status and headers, by 403, or by `False`; its bugs stay its own."""
    url = f"{apart}/refuses"
    run_id = started(url, "words")
    for path in ("/runs", f"/runs/{run_id}/events", "/runs/nope"):
        answer = http.get(f"{url}{path}", headers={"x-refuse": "teapot"})
        problem(answer, 418, "I am a teapot.")
        assert answer.headers["x-tea"] == "none"
        problem(http.get(f"{url}{path}", headers={"x-refuse": "permission"}), 403, "Sundays")
        answer = http.get(f"{url}{path}", headers={"x-refuse": "bug"})
        problem(answer, 403)
        assert "secret" not in answer.text


def test_an_async_one(apart: str) -> None:
    """It is awaited, and what it gives counts."""
    url = f"{apart}/later"
    assert http.get(f"{url}/runs").status_code == 200
    problem(http.get(f"{url}/runs/nope"), 404)
    problem(http.post(f"{url}/runs", json={"flow": "words"}), 403, "start")
    problem(http.post(f"{url}/runs/nope/cancel"), 403, "cancel")


@pytest.mark.parametrize("flow", ["words", "plain words"])
def test_shared_of_a_request(apart: str, flow: str) -> None:
    """`RunServer(shared=…)` sees the request and its body, and may refuse."""
    url = f"{apart}/shared"
    given: dict[str, Any] = {
        "flow": "seen",
        "shared": {"a": 1},
        "id": f"of {flow}".replace(" ", "-"),
    }
    answer = http.post(f"{url}/runs", json=given, headers={"user-agent": "me"})
    assert answer.status_code == 201
    body = {**given, "metadata": {}}
    events = http.get(f"{url}/runs/{given['id']}/events").text
    assert "me" in events
    assert http.get(f"{url}/runs/{given['id']}").json()["action"] == repr(
        {"agent": "me", "body": body}
    )
    problem(http.post(f"{url}/runs", json={**given, "shared": {"refuse": True}}), 422, "refused by")


def test_a_bug_is_nobodys_business(apart: str) -> None:
    """What goes wrong in the server is in its log, and not in its answer."""
    answer = http.post(f"{apart}/shared/runs", json={"flow": "seen", "shared": {"bug": True}})
    problem(answer, 500)
    assert "secret" not in answer.text


def test_a_journal_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The server is there, but can say nothing of runs."""
    journal = MemoryJournal()
    app = RunServer({"a": Node()}, journal=journal, resume=False)
    journal.close()

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [
                await client.get("/runs"),
                await client.get("/runs/r1/events"),
                await client.post("/runs", json={"flow": "a"}),
            ]

    for answer in asyncio.run(ask()):
        problem(answer, 503, "journal")
        assert "closed" not in answer.text
    assert "The journal is closed" in caplog.text
