"""The events of a run on the wire: their form, where a viewer goes on, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowevents.events import Chunk, FlowEnd, decode, encode
from flowevents.testing import check_events
from tests.hostile import HOSTILE
from tests.web.servers import http, serving, until
from tests.web.streams import Viewer, problem, started, watching

LINES = "application/x-ndjson"


@pytest.fixture(scope="module")
def done(url: str) -> str:
    """The id of a run that is done."""
    run_id = started(url, "words", {"words": 10})
    until(lambda: http.get(f"{url}/runs/{run_id}").json()["status"] == "done", "it is done")
    return run_id


def test_the_last_frame_says_that_it_is_the_end(url: str, done: str) -> None:
    """It has data, or a browser would not tell of it, and no id, so that the last one is kept."""
    with watching(url, done) as stream:
        *others, last = stream
    assert (last.event, last.id) == ("end", None)
    assert json.loads(last.data or "") == {"status": "ok"}
    assert others[-1].event == "flow_end"
    assert [each.id for each in others] == [str(seq) for seq in range(1, len(others) + 1)]


def test_a_viewer_goes_on_where_he_was(url: str, done: str) -> None:
    """`Last-Event-ID`, else `after`, is the last event that he has; after a run's last is none."""
    whole = Viewer(done)
    whole.look(url)
    events = f"{url}/runs/{done}/events"
    for after in range(whole.last):
        for headers, query in (
            ({"last-event-id": str(after)}, ""),
            ({}, f"?after={after}"),
            ({"last-event-id": str(after)}, "?after=3"),
            ({"last-event-id": str(after)}, "?after=nonsense"),
        ):
            answer = http.get(f"{events}{query}", headers={"accept": LINES, **headers})
            assert answer.status_code == 200
            assert [decode(each) for each in answer.content.splitlines()] == whole.events[after:]
    last = str(whole.last)
    for answer in (
        http.get(events, headers={"last-event-id": last}),
        http.get(events, params={"after": last}),
        http.get(events, headers={"last-event-id": last, "accept": LINES}),
    ):
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", "", "²", "1e3", "0x1", "9" * 30])
def test_what_is_no_number_is_refused(url: str, done: str, wrong: str) -> None:
    """Wherever it comes from."""
    events = f"{url}/runs/{done}/events"
    problem(http.get(events, params={"after": wrong}), 400, "after")
    problem(http.get(events, headers={b"last-event-id": wrong.encode()}), 400, "Last-Event-ID")


@pytest.mark.parametrize("beyond", ["1000", "9" * 20])
def test_what_is_beyond_the_log_is_gone(url: str, done: str, beyond: str) -> None:
    """Whoever has events that the log does not have is told, and gets no others."""
    events = f"{url}/runs/{done}/events"
    problem(http.get(events, headers={"last-event-id": beyond}), 410, beyond)


def test_lines_end_with_the_last_event(url: str, done: str) -> None:
    """With `Accept: application/x-ndjson` each event is a line, and nothing else is."""
    answer = http.get(f"{url}/runs/{done}/events", headers={"accept": LINES})
    assert answer.headers["content-type"].startswith(LINES)
    assert "accept" in answer.headers["vary"].lower()
    events = [decode(each) for each in answer.content.splitlines()]
    check_events(events)
    assert isinstance(events[-1], FlowEnd)


@pytest.mark.parametrize(
    ("accept", "lines"),
    [
        (f"{LINES};q=0.5, text/event-stream", False),
        (f"text/event-stream;q=0.5, {LINES}", True),
        (f"{LINES}; q=0.9, */*;q=0.1", True),
        (f"{LINES};q=0", False),
        (LINES.upper(), True),
        (f"{LINES};charset=utf-8", True),
        (f"{LINES}-not", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_the_form_is_the_one_that_is_wanted_more(
    url: str, done: str, accept: str, lines: bool
) -> None:
    """`Accept` names media types in any case, and how much each is wanted."""
    answer = http.get(f"{url}/runs/{done}/events", headers={"accept": accept})
    assert answer.headers["content-type"].startswith(LINES if lines else "text/event-stream")


def test_comments_keep_it_open(tmp_path: Path) -> None:
    """Where nothing comes for a while; lines have none."""
    with serving(tmp_path, COMMENT_EVERY=0.05) as server:
        run_id = started(server.url, "choice")
        path = f"{server.url}/runs/{run_id}/events"
        with http.stream("GET", path, headers={"accept": LINES}) as answer:
            lines = answer.iter_lines()
            assert [decode(next(lines)).seq for _ in range(3)] == [1, 2, 3]
            with watching(server.url, run_id) as stream:
                said = [next(stream) for _ in range(6)]
            assert [each.event for each in said[:3]] == ["flow_start", "node_start", "interrupt"]
            assert all(each.comment and not each.data and not each.id for each in said[3:])
            http.post(f"{server.url}/runs/{run_id}/cancel")
            assert [decode(each).seq for each in lines] == [4, 5]


def test_no_proxy_keeps_them_back(url: str, done: str) -> None:
    """The headers say that nothing is to be stored or buffered."""
    answer = http.get(f"{url}/runs/{done}/events")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"


def test_hostile_text_stays_in_its_field(url: str) -> None:
    """Newlines, fields of the format, scripts and lone surrogates of a model are but text."""
    why = "\r\n\r\nevent: end\ndata: {}\rid: 99\n\n: </script>\x1b[31m\x00\u2028\u2029\x85"
    run_id = started(url, "fails", {"why": why})
    viewer = Viewer(run_id)
    viewer.look(url)
    assert viewer.ended
    assert viewer.events[-1].error == f"ValueError: {why}"  # type: ignore[attr-defined]
    run_id = started(url, "says")
    viewer = Viewer(run_id)
    viewer.look(url, most=3 + 3 * len(HOSTILE))
    said = [each.data for each in viewer.events if isinstance(each, Chunk)]
    assert len(said) == 2 * len(HOSTILE)
    for text, data in zip(HOSTILE.values(), said[::2], strict=True):
        assert data == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert all(b"\n" not in encode(each) for each in viewer.events)
    http.post(f"{url}/runs/{run_id}/cancel")


def test_a_viewer_of_nothing(url: str) -> None:
    """An unknown run is not found, whatever its id looks like."""
    for run_id in ("nope", "a%0d%0ab", "%00", "%F0%9F%92%A9", "x" * 5_000, "a%3Fb", "%2e%2e"):
        problem(http.get(f"{url}/runs/{run_id}/events"), 404)
        problem(http.get(f"{url}/runs/{run_id}"), 404)


def test_many_watch_one_run_and_slow_ones_cost_nothing(url: str) -> None:
    """Who never reads holds up nobody, and a late one sees the same."""
    run_id = started(url, "words", {"words": 20_000})
    with http.stream("GET", f"{url}/runs/{run_id}/events") as idle:
        viewers = [Viewer(run_id) for _ in range(3)]
        for viewer in viewers:
            viewer.look(url)
        assert viewers[0].events == viewers[1].events == viewers[2].events
        assert idle.status_code == 200
    check_events(viewers[0].events)
