"""What the server refuses: hosts, origins, bodies and ids; each with a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from flowevents import Node
from flowevents.errors import GraphError
from flowevents.web import RunServer
from tests.web.servers import http, until
from tests.web.streams import Viewer, problem, started

JSON = {"content-type": "application/json"}
START = b'{"flow": "words"}'
MIB = 1 << 20


def start(url: str, content: bytes | Iterator[bytes] = START, **headers: str) -> httpx.Response:
    """The answer to a request that would start a run."""
    given = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return http.post(f"{url}/runs", content=content, headers=given)


# -- hosts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.",
        "127.0.0.1@evil",
        "localhost evil",
        "[::2]",
        "127.0.0.2",
        "",
        "localhost:x",
        "evil.localhost",
    ],
)
def test_a_foreign_host(url: str, host: str) -> None:
    """Whoever was led here by a name that is not ours gets nothing, whatever the request."""
    for method, path in (("GET", "/"), ("GET", "/runs"), ("POST", "/runs"), ("GET", "/nope")):
        problem(http.request(method, f"{url}{path}", headers={"host": host}), 421)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8321", "LocalHost:99"])
def test_our_hosts(url: str, host: str) -> None:
    """The names of loopback are ours, with any port."""
    assert http.get(f"{url}/runs", headers={"host": host}).status_code == 200


def test_hosts_that_are_named(apart: str) -> None:
    """`allowed_hosts` are the only ones; a `*.` is for all below a name, not for itself."""
    for host, status in {
        "example.com": 200,
        "EXAMPLE.com:443": 200,
        "a.b.example.org": 200,
        "example.org": 421,
        "evilexample.org": 421,
        "example.com.evil": 421,
        "[::1]": 200,
        "127.0.0.1": 421,
    }.items():
        answer = http.get(f"{apart}/named/runs", headers={"host": host})
        assert answer.status_code == status, host


# -- origins ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://localhost", "file://"]
)
def test_a_foreign_origin(url: str, origin: str) -> None:
    """A page of another origin changes nothing: no start, no answer, no cancel."""
    run_id = started(url, "choice")
    for path in ("", f"/{run_id}/replies", f"/{run_id}/cancel", f"/{run_id}/pause"):
        answer = http.post(f"{url}/runs{path}", headers={**JSON, "origin": origin}, content=START)
        problem(answer, 403, repr(origin))
    answer = http.get(f"{url}/runs/{run_id}", headers={"origin": origin})
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_our_own_origin(url: str) -> None:
    """It is that of the address that the page came from: scheme, host and port."""
    assert start(url, origin=url).status_code == 201
    assert start(url, host="localhost:99", origin="http://localhost:99").status_code == 201
    assert start(url, host="localhost", origin="http://localhost").status_code == 201
    assert start(url, host="localhost:80", origin="http://localhost").status_code == 201
    problem(start(url, origin=url.replace("http:", "https:")), 403)
    problem(start(url, host="localhost:99", origin="http://localhost:98"), 403)


def test_an_allowed_origin(apart: str) -> None:
    """Its pages may do all, and read what they get; a preflight says so, to nobody else."""
    url, page = f"{apart}/open", {"origin": "https://app.example"}
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "x-mine"}
    said = http.options(f"{url}/runs", headers={**page, **asks})
    assert said.status_code == 200
    assert said.headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in said.headers["access-control-allow-methods"]
    assert "x-mine" in said.headers["access-control-allow-headers"]
    answer = start(url, origin=page["origin"])
    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "Location" in answer.headers["access-control-expose-headers"]
    assert "origin" in answer.headers["vary"].lower()
    refused = start(url, b"", origin=page["origin"])
    problem(refused, 400)
    assert refused.headers["access-control-allow-origin"] == "https://app.example"
    for origin in ("https://evil.example", "null", "http://app.example", "https://app.example:1"):
        refused = http.options(f"{url}/runs", headers={"origin": origin, **asks})
        problem(refused, 403)
        assert "access-control-allow-origin" not in refused.headers
    refused = http.options(
        f"{url}/runs", headers={**page, "access-control-request-method": "DELETE"}
    )
    problem(refused, 405, "DELETE")


# -- bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx", "text/json"],
)
def test_another_content_type(url: str, content_type: str) -> None:
    """What a form of any page could send is not taken."""
    problem(start(url, content_type=content_type), 415, repr(content_type))
    run_id = started(url, "choice")
    answer = http.post(
        f"{url}/runs/{run_id}/replies",
        content=b'{"value": 1}',
        headers={"content-type": content_type},
    )
    problem(answer, 415)


def test_json_may_say_its_charset(url: str) -> None:
    """It is JSON all the same."""
    assert start(url, content_type="Application/JSON; charset=utf-8").status_code == 201


def pieces(size: int) -> Iterator[bytes]:
    """A body of that size whose length nobody is told."""
    yield b'{"flow": "words", "shared": {"text": "'
    left = size - 41
    while left > 0:
        yield b"x" * min(left, 10_000)
        left -= 10_000
    yield b'"}}'


def test_a_body_that_is_too_large(url: str) -> None:
    """A mebibyte is the most, whether its length is said before or not."""
    whole = b"".join(pieces(MIB))
    assert len(whole) == MIB
    assert start(url, whole).status_code == 201
    assert start(url, pieces(MIB)).status_code == 201
    problem(start(url, whole + b" "), 413, "1,048,576")
    problem(start(url, pieces(MIB + 1)), 413, "1,048,576")
    run_id = started(url, "choice")
    problem(http.post(f"{url}/runs/{run_id}/cancel", content=b"x" * (MIB + 1)), 413)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{}x",
        b"\xff\xfe",
        b'{"flow": NaN}',
        b"{'flow': 1}",
        b'{"flow": "\\ud800"}',
        b"nul",
    ],
)
def test_no_json(url: str, content: bytes) -> None:
    """Nothing is guessed."""
    problem(start(url, content), 400, "JSON")


@pytest.mark.parametrize(
    "content",
    [
        *(b"null", b"[]", b'"words"', b"{}", b'{"flow": 1}', b'{"flow": null}'),
        *(b'{"flow": "words", "shared": []}', b'{"flow": "words", "shared": null}'),
        *(b'{"flow": "words", "metadata": 1}', b'{"flow": "words", "id": 17}'),
        *(b'{"flow": "words", "sharde": {}}', b'{"flow": "nope"}', b'{"flow": ""}'),
    ],
)
def test_wrong_types(url: str, content: bytes) -> None:
    """The sentence says where."""
    problem(start(url, content), 422)


@pytest.mark.parametrize("content", [b"{}", b"[]", b'{"value": 1, "id": 1}', b'{"valu": 1}', b"1"])
def test_replies_of_wrong_types(url: str, content: bytes) -> None:
    """They are refused before any question is looked at."""
    run_id = started(url, "choice")
    problem(http.post(f"{url}/runs/{run_id}/replies", content=content, headers=JSON), 422)
    problem(http.post(f"{url}/runs/nope/replies", content=content, headers=JSON), 422)


@pytest.mark.parametrize("deep", [101, 10_000, 500_000])
@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}")])
def test_json_that_is_too_deep(url: str, deep: int, pair: tuple[str, str]) -> None:
    """It breaks nothing."""
    before, after = pair
    nested = (before * deep + "1" + after * deep)[: MIB - 50]
    problem(
        start(url, b'{"flow": "words", "shared": {"a": ' + nested.encode() + b"}}"), 422, "deep"
    )


@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}")])
def test_json_as_deep_as_may_be(url: str, pair: tuple[str, str]) -> None:
    """A run of it goes on to its end."""
    before, after = pair
    nested = (before * 97 + "1" + after * 97).encode()
    answer = start(url, b'{"flow": "words", "shared": {"a": ' + nested + b"}}")
    assert answer.status_code == 201
    viewer = Viewer(answer.json()["id"])
    viewer.look(url)
    assert viewer.events[-1].status == "ok"  # type: ignore[attr-defined]


def test_a_refusal_is_short(url: str) -> None:
    """Also where it quotes what was sent."""
    run_id = started(url, "choice")
    until(lambda: http.get(f"{url}/runs/{run_id}").json()["interrupts"], "it asks")
    answer = http.post(f"{url}/runs/{run_id}/replies", json={"value": "x" * 100_000})
    problem(answer, 422, "xxx")
    assert len(answer.content) < 3_000


@pytest.mark.parametrize(
    "run_id",
    [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "a\nb",
        "a b",
        "é",
        "x" * 129,
        "a%2fb",
        "\x00",
        "a?b",
        "a\r\nX: y",
    ],
)
def test_ids_that_cannot_be(url: str, run_id: str) -> None:
    """An id must be a piece of a path as it is."""
    problem(http.post(f"{url}/runs", json={"flow": "words", "id": run_id}), 422)


def test_unknown_runs(url: str) -> None:
    """Nothing can be done with what is not there."""
    for path in ("replies", "cancel", "pause"):
        problem(http.post(f"{url}/runs/nope/{path}", json={"value": 1}), 404, "nope")
    for path in ("", "/events"):
        problem(http.get(f"{url}/runs/nope{path}"), 404, "nope")


def test_other_paths_and_methods(url: str) -> None:
    """The router refuses in the same way, and says what can be done."""
    run_id = started(url, "words")
    for path in (
        "/nope",
        "/runs/",
        f"/runs/{run_id}/",
        f"/runs/{run_id}/nope",
        "//runs",
        "/runs/a/b/c",
    ):
        problem(http.get(f"{url}{path}"), 404)
    for method, path, allowed in (
        ("DELETE", "/runs", "GET, HEAD, POST"),
        ("PUT", f"/runs/{run_id}", "GET, HEAD"),
        ("GET", f"/runs/{run_id}/cancel", "POST"),
        ("POST", f"/runs/{run_id}/events", "GET, HEAD"),
        ("OPTIONS", "/runs", "GET, HEAD, POST"),
    ):
        answer = http.request(method, f"{url}{path}")
        problem(answer, 405, method)
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("query", ["status=nope", "limit=x", "limit=-1", "status=", "limit="])
def test_queries_that_make_no_sense(url: str, query: str) -> None:
    """They are not ignored."""
    problem(http.get(f"{url}/runs?{query}"), 400)


def test_more_runs_than_may_live_here(apart: str) -> None:
    """One too many is told when to come again, and may, when another has ended."""
    url = f"{apart}/small"
    run_id = started(url, "choice")
    answer = start(url)
    problem(answer, 429)
    assert int(answer.headers["retry-after"]) > 0
    problem(http.post(f"{url}/runs", json={"flow": "words", "id": run_id}), 429)
    http.post(f"{url}/runs/{run_id}/cancel")
    until(lambda: start(url).status_code == 201, "there is room")


def test_a_start_that_is_refused_takes_no_room(apart: str) -> None:
    """However often."""
    url = f"{apart}/small"
    until(lambda: http.post(f"{url}/runs", json={"flow": "words", "id": "mine"}).is_success, "room")
    for _ in range(3):
        until(lambda: _refused(url) == 409, "the id is taken, and not the room")


def _refused(url: str) -> int:
    return http.post(f"{url}/runs", json={"flow": "words", "id": "mine"}).status_code


# -- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_runs": 0}, "max_runs=0"),
        ({"max_runs": True}, "max_runs=True"),
        ({"unwatched": 0}, "unwatched=0"),
        ({"unwatched": "stop"}, "unwatched='stop'"),
        ({"unwatched": float("nan")}, "unwatched=nan"),
        ({"allowed_hosts": "localhost"}, "one text"),
        ({"allowed_hosts": ["localhost:80"]}, "without a port"),
        ({"allowed_hosts": ["http://localhost"]}, "no host"),
        ({"allowed_origins": "https://a.example"}, "one text"),
        ({"allowed_origins": ["*"]}, "no origin"),
        ({"allowed_origins": ["null"]}, "no origin"),
        ({"allowed_origins": ["https://a.example/"]}, "no origin"),
        ({"allowed_origins": ["a.example"]}, "no origin"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    """They are refused where they are given."""
    with pytest.raises(ValueError, match=words):
        RunServer({"a": Node()}, **options)


@pytest.mark.parametrize("flows", [{}, None, [], {"": Node()}, {"a/b": Node()}, {1: Node()}])
def test_flows_that_are_none(flows: Any) -> None:
    """There is something to serve, and its name can be a piece of a path."""
    with pytest.raises(ValueError, match="flow"):
        RunServer(flows)


def test_what_is_no_flow() -> None:
    """A class, for one."""
    with pytest.raises(GraphError, match="flows\\['a'\\]"):
        RunServer({"a": Node})
