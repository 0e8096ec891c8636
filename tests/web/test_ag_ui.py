"""AG-UI: `HttpAgent` of @ag-ui/client, with its verification, talks to a server."""

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

HI = [{"id": "1", "role": "user", "content": "Hi"}]
APP = "tests.web.talking:app"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server."""
    with serving(tmp_path_factory.mktemp("server"), APP) as server:
        yield server.url


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client."""
    with Client("ag_ui.mjs") as client:
        yield client


def run_of(turn: dict[str, Any]) -> str:
    """The run that a turn is of."""
    return str(turn["events"][0]["metadata"]["run"])


def named(turn: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The events of that type, or of that name."""
    return [each for each in turn["events"] if kind in (each["type"], each.get("name"))]


def said(turn: dict[str, Any]) -> list[str]:
    """The texts of the assistant's messages."""
    return [each["content"] for each in turn["messages"] if each["role"] == "assistant"]


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


def post(url: str, flow: str = "echo", headers: Any = None, **given: Any) -> httpx.Response:
    """What a request gets, whole."""
    body = {"threadId": "t", "runId": "r", "messages": HI, **given}
    return httpx.post(f"{url}/ag-ui/{flow}", json=body, headers=headers, timeout=30)


def answer(interrupt: str, payload: Any = None, status: str = "resolved") -> dict[str, Any]:
    """An entry of `resume`."""
    return {"interruptId": interrupt, "status": status, "payload": payload}


def asked(url: str, flow: str = "asks") -> tuple[str, str]:
    """A run that asks, and the id of its interrupt."""
    last = post(url, flow).text.rstrip().rpartition("data: ")[2]
    outcome = httpx.Response(200, content=last).json()["outcome"]
    id = outcome["interrupts"][0]["id"]
    return id.partition(":")[0], id


# -- a run -----------------------------------------------------------------------------------------


def test_a_chat(url: str, client: Client) -> None:
    """`state` is the run's `shared`, with the messages in it; what the run says is a message."""
    state = {"greeting": "Heard", "kept": [1, None, {"a": True}]}
    came = client.ask(url=f"{url}/ag-ui/echo", state=state, messages=HI)
    (turn,) = came["turns"]
    assert came["said"] == []
    assert turn["error"] is None
    assert turn["result"] == "said"
    assert turn["state"] == {**state, "messages": HI, "answer": "Heard: Hi"}
    assert [each["content"] for each in turn["messages"]] == ["Hi", "Heard: Hi"]
    assert turn["messages"][1]["name"] == "Echo"
    begin, end = turn["events"][0], turn["events"][-1]
    assert (begin["type"], end["type"]) == ("RUN_STARTED", "RUN_FINISHED")
    assert begin["protocolVersion"] == "1.0"
    assert begin["runId"] == end["runId"]
    assert begin["threadId"] == end["threadId"] == "thread"
    summary = httpx.get(f"{url}/runs/{run_of(turn)}").json()
    assert (summary["status"], summary["metadata"]) == ("done", {"thread": "thread"})


@pytest.mark.parametrize("flow", ["empty", "retries", "much", "rounds", "counts"])
def test_the_client_takes_all_that_is_sent(url: str, client: Client, flow: str) -> None:
    """Nested flows, parallel items, retries, progress, and a run that says nothing."""
    came = client.ask(url=f"{url}/ag-ui/{flow}", messages=HI)
    (turn,) = came["turns"]
    assert (turn["error"], came["said"]) == (None, [])
    assert turn["events"][-1]["outcome"] == {"type": "success"}
    events = log_of(url, run_of(turn))
    began = [each for each in events if each["type"].endswith("Start")]
    assert len(named(turn, "STEP_STARTED")) == len(named(turn, "STEP_FINISHED")) == len(began) - 1
    texts: dict[tuple[int, int], str] = {}
    for each in events:
        if each["type"] == "Chunk" and each["kind"] == "output" and isinstance(each["data"], str):
            key = each["span"], each["attempt"]
            texts[key] = texts.get(key, "") + each["data"]
    assert said(turn) == list(texts.values())
    retries = [each for each in events if each["type"] == "Retry"]
    assert [each["value"]["seq"] for each in named(turn, "retry")] == [
        each["seq"] for each in retries
    ]


def test_what_is_no_text(url: str, client: Client) -> None:
    """Other chunks are CUSTOM events with the run's own event, progress is an activity."""
    (turn,) = client.ask(url=f"{url}/ag-ui/much", messages=HI)["turns"]
    chunks = [each["value"] for each in named(turn, "chunk")]
    assert [(each["kind"], each["data"]) for each in chunks] == [
        ("source", {"title": "a source"}),
        ("thought", "a thought"),
        ("output", {"no": "text"}),
    ]
    (activity,) = [each for each in turn["messages"] if each["role"] == "activity"]
    assert activity["activityType"] == "progress"
    assert activity["content"]["label"] == "whole"
    labels = {each["metadata"].get("label") for each in named(turn, "STEP_STARTED")}
    assert labels == {None, "page 0", "page 1", "page 2"}


def test_void_text_is_named(url: str, client: Client) -> None:
    """A client that removes the messages which `retry` names keeps what is said in the end."""
    (turn,) = client.ask(url=f"{url}/ag-ui/retries", messages=HI, drop=True)["turns"]
    assert said(turn) == ["try 2 done"]
    (turn,) = client.ask(url=f"{url}/ag-ui/retries", messages=HI)["turns"]
    assert said(turn) == ["try 0 void", "try 1 void", "try 2 done"]


def test_a_run_that_fails(url: str, client: Client) -> None:
    """What it said is closed, its error is told, and nothing comes after it."""
    (turn,) = client.ask(url=f"{url}/ag-ui/fails", messages=HI)["turns"]
    assert turn["error"] is None  # the client gives it to who listens
    assert turn["events"][-1]["type"] == "RUN_ERROR"
    assert turn["events"][-1]["message"] == "ValueError: no page"
    assert turn["events"][-1]["code"] == "failed"
    ends = [each["metadata"]["status"] for each in named(turn, "STEP_FINISHED")]
    assert ends == ["ok", "error"]


def test_a_run_that_is_cancelled(url: str, client: Client) -> None:
    """That is its outcome, and nothing is left open."""
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(
            client.ask, url=f"{url}/ag-ui/forever", messages=HI, runId="to-be-cancelled"
        )
        until(
            lambda: httpx.post(f"{url}/runs/to-be-cancelled/cancel").status_code == 202,
            "the run is there",
        )
        (turn,) = asking.result()["turns"]
    assert turn["error"] is None
    assert turn["events"][-1]["outcome"] == {"type": "cancelled"}
    assert run_of(turn) == "to-be-cancelled"


def test_who_leaves_changes_nothing(url: str, client: Client) -> None:
    """A client that aborts is a viewer that leaves: the run goes on to its end."""
    came = client.ask(url=f"{url}/ag-ui/counts", messages=HI, abortAfter=5)
    run_id = run_of(came["turns"][0])
    until(lambda: status_of(url, run_id) == "done", "the run ends")
    assert len(log_of(url, run_id)) > 50


# -- questions -------------------------------------------------------------------------------------


def test_questions_are_interrupts(url: str, client: Client) -> None:
    """Each ends a request; its answer goes on with the same run, where it stands."""
    form = {"title": "A", "copies": 2}
    came = client.ask(url=f"{url}/ag-ui/asks", messages=HI, answers=[["yes"], [form]])
    first, second, third = came["turns"]
    assert [each["error"] for each in came["turns"]] == [None] * 3
    assert came["said"] == []
    run_id = run_of(first)
    assert run_of(second) == run_of(third) == run_id
    (choice,), (which,) = first["pending"], second["pending"]
    assert choice["id"] == f"{run_id}:1"
    assert choice["message"] == "Ship it?"
    assert choice["responseSchema"] == {"enum": ["yes", "no"]}
    assert choice["metadata"]["node"] == "Asks"
    assert which["id"] == f"{run_id}:2"
    assert which["responseSchema"]["$defs"]["Form"]["required"] == ["title", "copies"]
    assert first["events"][-1]["outcome"]["type"] == "interrupt"
    assert third["events"][-1]["outcome"] == {"type": "success"}
    assert said(third) == ["before ", "yes ", "2 of A"]
    assert [each["value"]["value"] for each in named(second, "reply")] == ["yes"]
    for turn in came["turns"]:
        assert len(named(turn, "STEP_STARTED")) == len(named(turn, "STEP_FINISHED")) == 1
        assert turn["events"][-2]["type"] == "STATE_SNAPSHOT"
    told = [each["value"]["seq"] for turn in came["turns"] for each in named(turn, "CUSTOM")]
    assert told == sorted(set(told))


def test_items_ask_together(url: str, client: Client) -> None:
    """One request ends with the questions of both, another answers both."""
    came = client.ask(url=f"{url}/ag-ui/pair", messages=HI, answers=[["yes", "no"]])
    first, second = came["turns"]
    assert [each["message"] for each in first["pending"]] == ["Item 0?", "Item 1?"]
    assert second["events"][-1]["outcome"] == {"type": "success"}
    assert second["state"]["answers"] == ["yes", "no"]
    assert said(second) == ["Both: ", "yes and no"]


def test_items_ask_before_others_begin(url: str, client: Client) -> None:
    """A request waits for these a little; everything is told once, in whichever request."""
    came = client.ask(url=f"{url}/ag-ui/team", messages=HI, always="yes")
    *asking, last = came["turns"]
    assert [each["error"] for each in came["turns"]] == [None] * len(came["turns"])
    asked = [each["message"] for turn in asking for each in turn["pending"]]
    assert asked == ["Item 0?", "Item 1?"]
    counted = "".join(f"{index} " for index in range(20))
    assert sorted(said(last)) == sorted(
        ["0 begins ", "0 yes", "1 begins ", "1 yes", f"2 begins {counted}"]
    )


def test_items_ask_one_after_the_other(url: str, client: Client) -> None:
    """Where each begins when the one before has ended, so do the requests."""
    came = client.ask(url=f"{url}/ag-ui/queue", messages=HI, answers=[["yes"], ["no"], ["yes"]])
    *asking, last = came["turns"]
    assert [[each["message"] for each in turn["pending"]] for turn in asking] == [
        ["Item 0?"],
        ["Item 1?"],
        ["Item 2?"],
    ]
    assert last["state"]["answers"] == ["yes", "no", "yes"]
    assert said(last) == ["0 ", "yes", "1 ", "no", "2 ", "yes"]


def test_a_refused_answer(url: str, client: Client) -> None:
    """The client is told why, and may answer again."""
    came = client.ask(url=f"{url}/ag-ui/asks", messages=HI, answers=[["perhaps"], ["yes"]])
    first, refused, accepted = came["turns"]
    assert refused["status"] == 422
    assert "the choices are 'yes', 'no'" in refused["error"]
    assert refused["pending"] == first["pending"]
    assert accepted["error"] is None
    assert said(accepted) == ["before ", "yes "]


def test_an_answer_that_only_the_node_refuses(url: str, client: Client) -> None:
    """Its own type takes less than the schema says: that is told, too, and it can be sent again."""
    forms = [{"title": "A", "copies": copies} for copies in (0, 3)]
    came = client.ask(
        url=f"{url}/ag-ui/asks", messages=HI, answers=[["yes"], [forms[0]], [forms[1]]]
    )
    *_, refused, accepted = came["turns"]
    assert refused["status"] == 422
    assert "does not take this answer to 'Which?'" in refused["error"]
    assert said(accepted) == ["before ", "yes ", "3 of A"]


def test_an_answer_that_another_has_given(url: str) -> None:
    """The others are taken all the same: it goes on with the run."""
    last = post(url, "pair").text.rstrip().rpartition("data: ")[2]
    outcome = httpx.Response(200, content=last).json()["outcome"]
    first, second = (each["id"] for each in outcome["interrupts"])
    run_id, _, question = first.partition(":")
    reply = {"id": question, "value": "no"}
    assert httpx.post(f"{url}/runs/{run_id}/replies", json=reply).status_code == 202
    response = post(url, "pair", resume=[answer(first, "yes"), answer(second, "yes")])
    assert response.status_code == 200
    assert '"answers":["no","yes"]' in response.text


def test_answers_are_taken_together(url: str, client: Client) -> None:
    """Where one is refused, the other is not given either: both can be sent again."""
    came = client.ask(
        url=f"{url}/ag-ui/pair", messages=HI, answers=[["yes", "perhaps"], ["no", "yes"]]
    )
    assert [each["status"] for each in came["turns"]] == [None, 422, None]
    assert came["turns"][-1]["state"]["answers"] == ["no", "yes"]


def test_an_interrupt_that_is_abandoned(url: str, client: Client) -> None:
    """A run that shall not get its answer is cancelled."""
    first, second = client.ask(url=f"{url}/ag-ui/asks", messages=HI, answers=[[None]])["turns"]
    assert second["error"] is None
    assert second["events"][-1]["outcome"] == {"type": "cancelled"}
    assert second["pending"] == []
    assert status_of(url, run_of(first)) == "cancelled"


def test_an_interrupt_that_expires(url: str, client: Client) -> None:
    """It says when; it cannot be answered then, but abandoned: the run has gone on without."""
    run_id, id = asked(url, "late")
    until(lambda: status_of(url, run_id) == "done", "the question expires")
    late = post(url, "late", resume=[answer(id, "yes")])
    assert late.status_code == 409, late.text
    gone = post(url, "late", resume=[answer(id, status="cancelled")])
    assert gone.status_code == 200
    (turn,) = client.ask(stream=gone.text)["turns"]
    assert said(turn) == ["nobody"]
    assert turn["events"][-1]["outcome"] == {"type": "success"}
    (turn,) = client.ask(url=f"{url}/ag-ui/late", messages=HI)["turns"]
    assert turn["pending"][0]["expiresAt"].endswith("Z")


def test_answers_that_nobody_asked_for(url: str) -> None:
    """Each is refused with a sentence."""
    run_id, id = asked(url)
    other, another = asked(url)
    refused = {
        404: [
            ("asks", [answer(f"{run_id}:99", "yes")]),
            ("asks", [answer("nobody:1", "yes")]),
            ("pair", [answer(id, "yes")]),
            ("nothing", [answer(id, "yes")]),
        ],
        422: [
            ("asks", [answer("no-colon", "yes")]),
            ("asks", [answer(id, "yes"), answer(another, "yes")]),
            ("asks", [answer(id, "yes"), answer(id, "no")]),
            ("asks", [{"interruptId": id}]),
        ],
    }
    for status, requests in refused.items():
        for flow, resume in requests:
            response = post(url, flow, resume=resume)
            assert response.status_code == status, response.text
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["detail"].endswith(".")
    assert status_of(url, run_id) == status_of(url, other) == "running"
    assert post(url, "asks", resume=[answer(id, "yes")]).status_code == 200
    assert post(url, "asks", resume=[answer(id, "yes")]).status_code == 409


def test_an_ended_run_takes_no_answer(url: str) -> None:
    """That it has ended is said."""
    run_id, id = asked(url)
    assert httpx.post(f"{url}/runs/{run_id}/cancel").status_code == 202
    until(lambda: status_of(url, run_id) == "cancelled", "the run ends")
    response = post(url, "asks", resume=[answer(id, "yes")])
    assert response.status_code == 409
    assert "cancelled" in response.json()["detail"]


def test_a_server_that_is_killed_while_a_question_is_open(tmp_path: Path, client: Client) -> None:
    """Another answers it: what was said before is void, and said again."""
    with serving(tmp_path, APP, RUNS_DB=tmp_path / "runs.db") as server:
        run_id, id = asked(server.url)
        server.end(signal.SIGKILL)
        server.start()
        response = post(server.url, "asks", resume=[answer(id, "yes")])
        assert response.status_code == 200, response.text
        came = client.ask(stream=response.text)["turns"][0]
    assert came["error"] is None
    assert [each["value"]["messageIds"] for each in named(came, "retry")] == [[f"{run_id}:3"]]
    assert said(came) == ["before ", "yes "]
    assert came["pending"][0]["message"] == "Which?"


def test_a_server_that_stops(tmp_path: Path, client: Client) -> None:
    """The stream ends at once, with an error that says that the run may go on."""
    with (
        serving(tmp_path, APP, RUNS_DB=tmp_path / "runs.db") as server,
        ThreadPoolExecutor(1) as pool,
    ):
        asking = pool.submit(client.ask, url=f"{server.url}/ag-ui/forever", messages=HI, runId="on")
        until(lambda: httpx.get(f"{server.url}/runs/on").status_code == 200, "the run is there")
        server.end(signal.SIGTERM)
        (turn,) = asking.result()["turns"]
    assert turn["events"][-1]["type"] == "RUN_ERROR"
    assert turn["events"][-1]["code"] == "lost"


# -- requests --------------------------------------------------------------------------------------


def test_hostile_text(url: str, client: Client) -> None:
    """It comes as it is, and forges nothing."""
    came = client.ask(url=f"{url}/ag-ui/hostile", messages=HI)
    (turn,) = came["turns"]
    assert turn["error"] is None
    text = "".join(HOSTILE.values()) + "data: forged\n\nevent: end\r\rid: 1\r\n\r\n"
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert "".join(said(turn)) == expected
    assert turn["events"][-1]["outcome"]["type"] == "interrupt"


def test_requests_that_make_no_sense(url: str) -> None:
    """Each is refused with a sentence, and starts nothing."""
    before = runs_of(url)
    address = f"{url}/ag-ui/echo"
    refused = [
        (415, httpx.post(address, content=b"{}")),
        (400, httpx.post(address, content=b"{", headers={"Content-Type": "application/json"})),
        (422, httpx.post(address, json={})),
        (422, httpx.post(address, json=[])),
        (422, post(url, messages="Hi")),
        (422, post(url, messages=[{"role": "nobody"}])),
        (422, post(url, state=[1])),
        (404, post(url, "nothing")),
        (405, httpx.get(address)),
    ]
    for status, response in refused:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["detail"]
    assert runs_of(url) == before


def test_a_run_has_the_id_of_the_request_where_it_can(url: str) -> None:
    """One that is taken, or is none for a run, is told all the same."""
    for run_id, same in (("mine", True), ("mine", False), ("no: id/", False)):
        events = post(url, runId=run_id).text.split("\n\n")
        began = httpx.Response(200, content=events[0].removeprefix("data: ")).json()
        assert began["runId"] == run_id
        assert (began["metadata"]["run"] == run_id) is same


def test_a_run_has_the_metadata_that_the_client_forwards(url: str) -> None:
    """And its thread, whatever these say of it."""
    given = {"metadata": {"user": "Ada", "thread": "another"}}
    assert post(url, runId="hers", forwardedProps=given).status_code == 200
    metadata = httpx.get(f"{url}/runs/hers").json()["metadata"]
    assert metadata == {"user": "Ada", "thread": "t"}
    assert post(url, forwardedProps={"metadata": "Ada"}).status_code == 422
    assert post(url, forwardedProps=["anything else"]).status_code == 200


def test_authorize_is_asked(url: str) -> None:
    """To start, to answer, to cancel and to watch; before anything is looked up."""
    assert post(url, headers={"x-may": "watch"}).status_code == 403
    assert post(url, "nothing", headers={"x-may": "watch"}).status_code == 403
    assert httpx.post(f"{url}/ag-ui/echo", headers={"x-may": "watch"}).status_code == 403
    _, id = asked(url)
    for may in ("start watch", "start reply"):
        response = post(url, "asks", {"x-may": may}, resume=[answer(id, "yes")])
        assert response.status_code == 403
        response = post(url, "asks", {"x-may": may}, resume=[answer("nobody:1", "yes")])
        assert response.status_code == 403
    abandoned = [answer(id, status="cancelled")]
    assert post(url, "asks", {"x-may": "reply watch"}, resume=abandoned).status_code == 403
    assert post(url, "asks", {"x-may": "reply watch"}, resume=[answer(id, "no")]).status_code == 200


def test_shared_is_made_of_the_request(tmp_path: Path) -> None:
    """By the server's own function, of the request and its body."""
    with serving(tmp_path, "tests.web.talking:greeting") as server:
        assert "Welcome: " in post(server.url, headers={"x-greeting": "Welcome"}).text
        assert "From ['messages', 'runId', 'threadId']: " in post(server.url).text


def test_who_is_told_of_a_run_watches_it(tmp_path: Path, client: Client) -> None:
    """A run that nobody watches any more is cancelled, where the server is to do so."""
    with serving(tmp_path, "tests.web.talking:impatient") as server:
        (turn,) = client.ask(url=f"{server.url}/ag-ui/counts", messages=HI)["turns"]
        assert turn["events"][-1]["outcome"] == {"type": "success"}
        came = client.ask(url=f"{server.url}/ag-ui/forever", messages=HI, abortAfter=5)
        run_id = run_of(came["turns"][0])
        until(lambda: status_of(server.url, run_id) == "cancelled", "the run is cancelled")


def test_a_server_without_the_package(tmp_path: Path) -> None:
    """It says which extra is missing, to who may start a run, and serves everything else."""
    with serving(tmp_path, APP, WITHOUT="ag_ui") as server:
        response = post(server.url)
        assert response.status_code == 501
        assert "pip install flowevents[agui]" in response.json()["detail"]
        assert post(server.url, headers={"x-may": "watch"}).status_code == 403
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        assert httpx.post(f"{server.url}/ai-sdk/echo", json=body).status_code == 200
