"""The AI SDK: `DefaultChatTransport` and `readUIMessageStream` of `ai` talk to a server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hostile import HOSTILE
from tests.web.node import Client, needs_clients
from tests.web.servers import serving, until

pytestmark = needs_clients

APP = "tests.web.talking:app"
HI = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server."""
    with serving(tmp_path_factory.mktemp("server"), APP) as server:
        yield server.url


@pytest.fixture(scope="module", params=["ai", "ai-5"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client: of the newest version, and of the first that has this protocol."""
    with Client("ai_sdk.mjs", request.param) as client:
        yield client


def parts_of(came: dict[str, Any], kind: str) -> list[Any]:
    """The parts of the message of that type: the text, or the data."""
    parts = came["message"]["parts"]
    return [each.get("data", each.get("text")) for each in parts if each["type"] == kind]


def log_of(url: str, run_id: str) -> list[dict[str, Any]]:
    """The events of a run."""
    lines = httpx.get(f"{url}/runs/{run_id}/events", headers={"Accept": "application/x-ndjson"})
    return [httpx.Response(200, content=line).json() for line in lines.text.splitlines()]


def runs_of(url: str) -> list[str]:
    """The ids of all runs."""
    return [each["id"] for each in httpx.get(f"{url}/runs?limit=10000").json()]


def status_of(url: str, run_id: str) -> str:
    """Whether a run has ended, and how."""
    return str(httpx.get(f"{url}/runs/{run_id}").json()["status"])


# -- a run -----------------------------------------------------------------------------------------


def test_a_chat(url: str, client: Client) -> None:
    """`body.shared` is the run's `shared`, with the messages in it; the run is a message."""
    body = {"shared": {"greeting": "Heard"}, "metadata": {"user": "Ada"}}
    came = client.ask(url=f"{url}/ai-sdk/echo", body=body, text="Hello")
    assert (came["error"], came["errors"]) == (None, [])
    assert came["headers"]["x-vercel-ai-ui-message-stream"] == "v1"
    assert came["headers"]["content-type"].startswith("text/event-stream")
    run_id = came["message"]["id"]
    assert came["message"]["role"] == "assistant"
    assert came["message"]["metadata"] == {"run": run_id, "status": "done", "action": "said"}
    assert parts_of(came, "text") == ["Heard: Hello"]
    (node,) = parts_of(came, "data-node")
    assert (node["node"], node["status"]) == ("Echo", "ok")
    summary = httpx.get(f"{url}/runs/{run_id}").json()
    assert (summary["status"], summary["metadata"]) == (
        "done",
        {"user": "Ada", "chat": "chat"},
    )
    assert [each["type"] for each in came["chunks"]] == [
        "start",
        "data-node",
        "text-start",
        "text-delta",
        "text-delta",
        "text-end",
        "data-node",
        "finish",
    ]


@pytest.mark.parametrize("flow", ["empty", "retries", "much", "rounds", "counts"])
def test_the_client_takes_all_that_is_sent(url: str, client: Client, flow: str) -> None:
    """Nested flows, parallel items, retries, progress, and a run that says nothing."""
    came = client.ask(url=f"{url}/ai-sdk/{flow}")
    assert (came["error"], came["errors"]) == (None, [])
    assert came["message"]["metadata"]["status"] == "done"
    events = log_of(url, came["message"]["id"])
    began = [each for each in events if each["type"].endswith("Start")]
    nodes = parts_of(came, "data-node")
    assert len(nodes) == len(began) - 1
    assert {each["status"] for each in nodes} == {"ok"}
    texts: dict[tuple[int, int], str] = {}
    for each in events:
        if each["type"] == "Chunk" and each["kind"] == "output" and isinstance(each["data"], str):
            key = each["span"], each["attempt"]
            texts[key] = texts.get(key, "") + each["data"]
    assert parts_of(came, "text") == list(texts.values())


def test_what_is_no_text(url: str, client: Client) -> None:
    """Other chunks are parts of their own; progress and items that ended are told of the node."""
    came = client.ask(url=f"{url}/ai-sdk/much")
    assert [(each["kind"], each["data"]) for each in parts_of(came, "data-chunk")] == [
        ("source", {"title": "a source"}),
        ("thought", "a thought"),
        ("output", {"no": "text"}),
    ]
    nodes = {(each["node"], *each["items"]): each for each in parts_of(came, "data-node")}
    assert nodes["Work",]["progress"] == {"done": 2, "total": 2, "label": "whole"}
    assert (nodes["AsyncFlow/Read",]["done"], nodes["AsyncFlow/Read",]["total"]) == (3, 3)
    assert nodes["AsyncFlow/Read", 1]["label"] == "page 1"
    assert nodes["AsyncFlow/Read", 1]["attempt"] == 2


def test_void_text_is_named(url: str, client: Client) -> None:
    """By what its parts say of themselves."""
    came = client.ask(url=f"{url}/ai-sdk/retries")
    void = [id for each in parts_of(came, "data-retry") for id in each["texts"]]
    texts = [each for each in came["message"]["parts"] if each["type"] == "text"]
    kept = [
        each["text"] for each in texts if each["providerMetadata"]["flowevents"]["id"] not in void
    ]
    assert len(texts) == 3
    assert kept == ["try 2 done"]


def test_a_run_that_fails(url: str, client: Client) -> None:
    """The client hears why, after all that was said."""
    came = client.ask(url=f"{url}/ai-sdk/fails")
    assert came["errors"] == ["Error: ValueError: no page"]
    assert parts_of(came, "text") == ["half"]
    assert came["message"]["metadata"]["status"] == "failed"
    assert [each["status"] for each in parts_of(came, "data-node")] == ["ok", "error"]


def cancelled(url: str, client: Client, flow: str, *, asking: bool) -> dict[str, Any]:
    """What came of a run that was cancelled while it went on, or asked."""
    with ThreadPoolExecutor(1) as pool:
        talk = pool.submit(client.ask, url=f"{url}/ai-sdk/{flow}", chat="to be cancelled")

        def going() -> list[str]:
            runs = httpx.get(f"{url}/runs?status=running").json()
            mine = [each for each in runs if each["metadata"] == {"chat": "to be cancelled"}]
            return [each["id"] for each in mine if bool(each["interrupts"]) is asking]

        (run_id,) = until(going, "the run is there")
        assert httpx.post(f"{url}/runs/{run_id}/cancel").status_code == 202
        came: dict[str, Any] = talk.result()
    assert (came["error"], came["errors"]) == (None, [])
    assert [each["type"] for each in came["chunks"][-2:]] == ["abort", "finish"]
    assert came["message"]["metadata"]["status"] == "cancelled"
    return came


def test_a_run_that_is_cancelled(url: str, client: Client) -> None:
    """The message is aborted, and everything in it is closed."""
    came = cancelled(url, client, "forever", asking=False)
    texts = [each for each in came["message"]["parts"] if each["type"] == "text"]
    assert {each["state"] for each in texts} == {"done"}
    assert [each["status"] for each in parts_of(came, "data-node")] == ["cancelled"]


def test_a_run_that_is_cancelled_while_it_asks(url: str, client: Client) -> None:
    """Nobody can answer any more."""
    came = cancelled(url, client, "asks", asking=True)
    assert [each["open"] for each in parts_of(came, "data-interrupt")] == [False]


def test_who_leaves_changes_nothing(url: str, client: Client) -> None:
    """A client that aborts is a viewer that leaves: the run goes on to its end."""
    came = client.ask(url=f"{url}/ai-sdk/counts", abortAfter=5)
    run_id = came["chunks"][0]["messageId"]
    until(lambda: status_of(url, run_id) == "done", "the run ends")
    assert len(log_of(url, run_id)) > 50


# -- questions -------------------------------------------------------------------------------------


def test_questions_are_answered_while_the_stream_is_open(url: str, client: Client) -> None:
    """At /runs/{id}/replies; the part then has the answer, and is not open any more."""
    form = {"title": "A", "copies": 2}
    came = client.ask(url=f"{url}/ai-sdk/asks", answers=["yes", form])
    assert (came["error"], came["errors"], came["replies"]) == (None, [], [202, 202])
    assert parts_of(came, "text") == ["before ", "yes ", "2 of A"]
    kinds = [each["type"] for each in came["message"]["parts"] if each["type"] != "data-node"]
    assert kinds == ["text", "data-interrupt", "text", "data-interrupt", "text"]
    choice, which = parts_of(came, "data-interrupt")
    assert (choice["prompt"], choice["choices"]) == ("Ship it?", ["yes", "no"])
    assert (choice["run"], choice["id"]) == (came["message"]["id"], "1")
    assert (choice["open"], choice["value"]) == (False, "yes")
    assert which["schema"]["$defs"]["Form"]["required"] == ["title", "copies"]
    assert which["value"] == form


def test_items_ask_and_speak_at_the_same_time(url: str, client: Client) -> None:
    """Each has a text of its own."""
    came = client.ask(url=f"{url}/ai-sdk/team", answers=["yes", "no"])
    counted = "".join(f"{index} " for index in range(20))
    assert sorted(parts_of(came, "text")) == sorted(
        ["0 begins ", "0 yes", "1 begins ", "1 no", f"2 begins {counted}"]
    )
    assert [each["open"] for each in parts_of(came, "data-interrupt")] == [False, False]


def test_a_question_that_expires(url: str, client: Client) -> None:
    """It is not open any more as soon as its step goes on, and has no answer."""
    came = client.ask(url=f"{url}/ai-sdk/late")
    (question,) = parts_of(came, "data-interrupt")
    assert question["open"] is False
    assert "value" not in question
    assert parts_of(came, "text") == ["nobody"]
    told = [
        each["type"] for each in came["chunks"] if each["type"] in ("data-interrupt", "text-end")
    ]
    assert told == ["data-interrupt", "data-interrupt", "text-end"]


# -- going on --------------------------------------------------------------------------------------


def test_a_stream_that_was_left_is_gone_on_with(url: str, client: Client) -> None:
    """The chat's run, while it goes on, from its beginning and as the same message."""
    address = f"{url}/ai-sdk/forever"
    left = client.ask(url=address, chat="left", abortAfter=5)
    run_id = left["chunks"][0]["messageId"]
    came = client.ask(url=address, chat="left", reconnect=True, abortAfter=20)
    assert (came["error"], came["code"]) == (None, 200)
    assert came["headers"]["x-vercel-ai-ui-message-stream"] == "v1"
    assert came["chunks"][:5] == left["chunks"]
    deltas = [each["delta"] for each in came["chunks"] if each["type"] == "text-delta"]
    assert deltas == [f"{index} " for index in range(17)]
    assert httpx.post(f"{url}/runs/{run_id}/cancel").status_code == 202
    until(lambda: status_of(url, run_id) == "cancelled", "the run ends")
    again = client.ask(url=address, chat="left", reconnect=True)
    assert (again["code"], again["message"]) == (204, None)


def test_a_question_is_answered_where_a_stream_is_gone_on_with(url: str, client: Client) -> None:
    """Whoever comes back finds it open."""
    client.ask(url=f"{url}/ai-sdk/asks", chat="asked", abortAfter=5)
    answers = ["no", {"title": "B", "copies": 1}]
    came = client.ask(url=f"{url}/ai-sdk/asks", chat="asked", reconnect=True, answers=answers)
    assert parts_of(came, "text") == ["before ", "no ", "1 of B"]


def test_chats_without_a_run(url: str, client: Client) -> None:
    """Of another flow, or of none that goes on: there is nothing to go on with."""
    client.ask(url=f"{url}/ai-sdk/asks", chat="mine", abortAfter=2)
    for flow, chat in (("echo", "mine"), ("asks", "nobody's"), ("asks", "a/b?c#d %2f")):
        came = client.ask(url=f"{url}/ai-sdk/{flow}", chat=chat, reconnect=True)
        assert (came["error"], came["code"]) == (None, 204)
    assert client.ask(url=f"{url}/ai-sdk/nothing", chat="x", reconnect=True)["status"] == 404


def test_a_server_that_stops(tmp_path: Path, client: Client) -> None:
    """The stream ends at once, with an error that says that the run may go on."""
    database = tmp_path / "runs.db"
    with serving(tmp_path, APP, RUNS_DB=database) as server, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.ask, url=f"{server.url}/ai-sdk/forever")
        until(lambda: httpx.get(f"{server.url}/runs").json(), "the run is there")
        server.end(signal.SIGTERM)
        came = asking.result()
    assert came["errors"] == ["Error: The server tells no more of this run, which may go on."]


# -- requests --------------------------------------------------------------------------------------


def test_hostile_text(url: str, client: Client) -> None:
    """It comes as it is, and forges nothing."""
    came = client.ask(url=f"{url}/ai-sdk/hostile", answers=[""])
    assert (came["error"], came["errors"], came["replies"]) == (None, [], [202])
    text = "".join(HOSTILE.values()) + "data: forged\n\nevent: end\r\rid: 1\r\n\r\n"
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert parts_of(came, "text") == [expected]
    assert came["message"]["metadata"]["status"] == "done"


def test_a_refusal_reaches_the_client(url: str, client: Client) -> None:
    """With its status and its sentence."""
    came = client.ask(url=f"{url}/ai-sdk/nothing")
    assert came["status"] == 404
    assert "There is no flow 'nothing'" in came["error"]


def test_requests_that_make_no_sense(url: str) -> None:
    """Each is refused with a sentence, and starts nothing."""
    before = runs_of(url)
    address = f"{url}/ai-sdk/echo"
    refused = [
        (415, httpx.post(address, content=b"{}")),
        (400, httpx.post(address, content=b"{", headers={"Content-Type": "application/json"})),
        (422, httpx.post(address, json={})),
        (422, httpx.post(address, json=[])),
        (422, httpx.post(address, json={"messages": "Hi"})),
        (422, httpx.post(address, json={"messages": ["Hi"]})),
        (422, httpx.post(address, json={"messages": [HI], "shared": [1]})),
        (422, httpx.post(address, json={"messages": [HI], "metadata": [1]})),
        (404, httpx.post(f"{url}/ai-sdk/nothing", json={"messages": [HI]})),
        (405, httpx.get(address)),
    ]
    for status, response in refused:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["detail"]
    assert runs_of(url) == before


def test_a_stream_ends_with_done(url: str) -> None:
    """Which is what the protocol says; messages of other forms are as they are."""
    body = {"id": "x", "messages": [{"role": "user", "content": "As it was"}]}
    lines = httpx.post(f"{url}/ai-sdk/echo", json=body).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert "As it was" in "".join(lines)


def test_authorize_is_asked(url: str) -> None:
    """To start, and to go on with a stream; before anything is looked up."""
    for flow in ("echo", "nothing"):
        address = f"{url}/ai-sdk/{flow}"
        assert httpx.post(address, headers={"x-may": "watch"}).status_code == 403
        assert httpx.get(f"{address}/x/stream", headers={"x-may": "watch"}).status_code == 403
    address = f"{url}/ai-sdk/forever"
    with httpx.stream("POST", address, json={"id": "secret", "messages": [HI]}) as stream:
        next(stream.iter_bytes())
        runs = httpx.get(f"{url}/runs?status=running").json()
        again = f"{address}/secret/stream"
        with httpx.stream("GET", again, headers={"x-may": "list"}) as response:
            assert response.status_code == 403
        for each in runs:
            httpx.post(f"{url}/runs/{each['id']}/cancel")


def test_shared_is_made_of_the_request(tmp_path: Path) -> None:
    """By the server's own function, of the request and its body."""
    with serving(tmp_path, "tests.web.talking:greeting") as server:
        body = {"id": "x", "messages": [HI]}
        assert (
            "From ['id', 'messages']: " in httpx.post(f"{server.url}/ai-sdk/echo", json=body).text
        )
