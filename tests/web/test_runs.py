"""Runs over HTTP: started, listed, watched, answered, paused and cancelled."""

from __future__ import annotations

import pytest

from flowevents.testing import check_events
from tests.web.servers import http, until
from tests.web.streams import Viewer, problem, started

FIELDS = {
    *("id", "flow", "status", "action", "error", "started", "updated", "seq", "metadata"),
    "interrupts",
}


@pytest.mark.parametrize("flow", ["words", "plain words"])
def test_a_run_from_its_start_to_its_end(url: str, flow: str) -> None:
    """It is started, watched to its end as a well-formed stream, and done."""
    body = {"flow": flow, "shared": {"words": 20}, "metadata": {"for": "Ada"}}
    answer = http.post(f"{url}/runs", json=body)
    assert answer.status_code == 201
    summary = answer.json()
    assert answer.headers["location"] == f"/runs/{summary['id']}"
    assert set(summary) == FIELDS
    assert (summary["flow"], summary["metadata"]) == (flow, {"for": "Ada"})
    viewer = Viewer(summary["id"])
    viewer.look(url)
    check_events(viewer.events)
    assert viewer.ended
    text = "".join(each.data for each in viewer.events if each.signal == "chunk")  # type: ignore[attr-defined]
    assert text == "".join(f"{word} " for word in range(20))
    done = http.get(f"{url}{answer.headers['location']}").json()
    assert (done["status"], done["seq"]) == ("done", viewer.last)


def test_all_runs_are_an_array_the_newest_first(url: str) -> None:
    """`GET /runs` gives summaries, of one status or so many of them where that is asked."""
    first, second = (started(url, "choice") for _ in range(2))
    runs = http.get(f"{url}/runs").json()
    assert [each["id"] for each in runs[:2]] == [second, first]
    assert all(set(each) == FIELDS for each in runs)
    assert [each["id"] for each in http.get(f"{url}/runs?limit=1").json()] == [second]
    until(lambda: _asked(url, first), "it asks")
    http.post(f"{url}/runs/{first}/cancel")
    until(lambda: _status(url, first) == "cancelled", "it is cancelled")
    listed = http.get(f"{url}/runs", params={"status": "cancelled"}).json()
    assert first in [each["id"] for each in listed]
    assert second not in [each["id"] for each in listed]


def test_an_id_is_the_clients(url: str) -> None:
    """It may be chosen, once, from letters, digits and four signs."""
    for run_id in ("order-17", "A.b_c~d", "...", "x" * 128):
        assert started(url, "words", id=run_id) == run_id
    answer = http.post(f"{url}/runs", json={"flow": "words", "id": "order-17"})
    problem(answer, 409, "order-17")


@pytest.mark.parametrize("flow", ["choice", "plain choice"])
def test_a_question_is_answered(url: str, flow: str) -> None:
    """A wrong answer is refused with the reason, the right one taken, and a second one refused."""
    run_id = started(url, flow)
    asked = until(lambda: _asked(url, run_id), "it asks")[0]
    assert asked["choices"] == ["yes", "no"]
    replies = f"{url}/runs/{run_id}/replies"
    problem(http.post(replies, json={"value": "perhaps"}), 422, "perhaps", "yes", "no")
    problem(http.post(replies, json={"value": "yes", "id": "no such"}), 409, "no such")
    answer = http.post(replies, json={"value": "yes", "id": asked["id"]})
    assert (answer.status_code, answer.content) == (202, b"")
    until(lambda: _status(url, run_id) == "done", "it goes on")
    problem(http.post(replies, json={"value": "yes", "id": asked["id"]}), 409)
    problem(http.post(replies, json={"value": "yes"}), 409, "done")
    assert http.get(f"{url}/runs/{run_id}").json()["action"] == "yes"


def test_a_form_is_answered(url: str) -> None:
    """Its question says the schema; what does not fit it, or the node's own type, is refused."""
    run_id = started(url, "form")
    asked = until(lambda: _asked(url, run_id), "it asks")[0]
    assert "street" in str(asked["schema"])
    replies = f"{url}/runs/{run_id}/replies"
    problem(http.post(replies, json={"value": {"street": 1, "number": 1}}), 422, "string")
    problem(http.post(replies, json={"value": {"street": "Main"}}), 422, "number")
    unlucky = {"street": "Main", "number": 13}
    for body in ({"value": unlucky}, {"value": unlucky, "id": asked["id"]}):
        problem(http.post(replies, json=body), 422, "nobody lives there")
    fits = http.post(replies, json={"value": {"street": "Main", "number": 1}})
    assert fits.status_code == 202
    until(lambda: _status(url, run_id) == "done", "it goes on")


@pytest.mark.parametrize("flow", ["choice", "plain choice", "words", "plain words"])
def test_a_run_is_cancelled(url: str, flow: str) -> None:
    """Whatever it does, its ends are written, its viewers see them, and it cannot be again."""
    run_id = started(url, flow, {"words": 100_000, "pause": 0.01})
    for what in ("pause", "cancel"):
        answer = http.post(f"{url}/runs/{run_id}/{what}")
        assert (answer.status_code, answer.content) == (202, b"")
    viewer = Viewer(run_id)
    viewer.look(url)
    check_events(viewer.events)
    assert viewer.events[-1].status == "cancelled"  # type: ignore[attr-defined]
    assert _status(url, run_id) == "cancelled"
    for what in ("pause", "cancel"):
        problem(http.post(f"{url}/runs/{run_id}/{what}"), 409, "cancelled")


def test_a_run_that_fails(url: str) -> None:
    """It says why in its summary and in its last event."""
    run_id = started(url, "fails", {"why": "no paper"})
    viewer = Viewer(run_id)
    viewer.look(url)
    check_events(viewer.events)
    summary = http.get(f"{url}/runs/{run_id}").json()
    assert (summary["status"], summary["error"]) == ("failed", "ValueError: no paper")


def test_head(url: str) -> None:
    """It says what `GET` would, without a body, also of events, which never end."""
    run_id = started(url, "choice")
    for path in ("/runs", f"/runs/{run_id}", f"/runs/{run_id}/events"):
        answer = http.head(f"{url}{path}")
        assert (answer.status_code, answer.content) == (200, b"")


def _asked(url: str, run_id: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = http.get(f"{url}/runs/{run_id}").json()["interrupts"]
    return found


def _status(url: str, run_id: str) -> str:
    return str(http.get(f"{url}/runs/{run_id}").json()["status"])
