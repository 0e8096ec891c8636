"""Clients that hang up, say too much, or say it too late: the server takes no notice."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flowevents import Flow, Run, SQLiteJournal
from tests.driving import PATIENCE
from tests.web.served import FLOWS
from tests.web.servers import Server, http, serving, until
from tests.web.streams import problem, started, watching


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that has nothing to say in its log."""
    with serving(tmp_path, RUNS_DB=tmp_path / "runs.db") as server:
        yield server
        assert http.get(f"{server.url}/runs").status_code == 200
        assert server.log() == ""


def connected(server: Server) -> socket.socket:
    """A connection to it."""
    port = urlsplit(server.url).port
    return socket.create_connection(("127.0.0.1", port or 0), timeout=PATIENCE)


def head(method: str, path: str, *lines: str) -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize("length", ["Content-Length: 1000", CHUNKED])
@pytest.mark.parametrize("path", ["/runs", "/ag-ui/words", "/ai-sdk/words"])
def test_a_body_that_never_ends(server: Server, path: str, length: str) -> None:
    """Whoever hangs up in the middle of it is gone."""
    for sent in (b"", b'32\r\n{"flow": "words", "sh'):
        with connected(server) as client:
            client.sendall(head("POST", path, JSON, length) + sent)
    assert http.get(f"{server.url}/runs").json() == []


def test_a_viewer_that_talks(server: Server) -> None:
    """Nobody listens to what he sends while he watches, however much it is."""
    run_id = started(server.url, "choice")
    with connected(server) as client:
        client.sendall(head("GET", f"/runs/{run_id}/events", CHUNKED))
        seen = client.recv(10_000)
        assert b" 200 " in seen
        for _ in range(100):
            client.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        client.sendall(b"0\r\n\r\n")
        http.post(f"{server.url}/runs/{run_id}/cancel")
        while b"event: end" not in seen:
            raw = client.recv(10_000)
            assert raw
            seen += raw


def test_a_run_that_is_deleted_while_it_is_watched(tmp_path: Path) -> None:
    """The stream ends, the log says why, and who comes back is told that there is no such run."""
    database = tmp_path / "runs.db"
    with SQLiteJournal(database) as journal, serving(tmp_path, RUNS_DB=database) as server:
        run = Run(Flow(FLOWS["plain choice"]), {}, journal=journal)
        for _ in run:
            pass
        with watching(server.url, run.id) as stream:
            assert [next(stream).event for _ in range(3)][-1] == "interrupt"
            run.close()
            journal.delete(run.id)
            assert list(stream) == []
        until(lambda: run.id in server.log(), "the log says why")
        assert "Traceback" not in server.log()
        problem(http.get(f"{server.url}/runs/{run.id}/events"), 404)


def test_pipelined_and_half_requests(server: Server) -> None:
    """One after the other on one connection, the last without its end."""
    body = json.dumps({"flow": "words"}).encode()
    post = head("POST", "/runs", JSON, f"Content-Length: {len(body)}") + body
    with connected(server) as client:
        client.sendall(post * 3 + post[:40])
        until(lambda: len(http.get(f"{server.url}/runs").json()) == 3, "three are started")
