"""Clients: what a run's events look like to somebody who reads them off the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import msgspec

from flowevents.events import Event, decode
from tests.web.servers import http

__all__ = ["Frame", "Viewer", "frames", "problem", "started", "watching"]


class Frame(NamedTuple):
    """One event of a stream; `comment` where it is none."""

    id: str | None = None
    event: str | None = None
    data: str | None = None
    comment: str | None = None


def frames(lines: Iterable[str]) -> Iterator[Frame]:
    """The events in the lines of a stream, read more strictly than a browser does.

    Each field comes once, and there are no others than we send.
    """
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            yield Frame(**fields)
            fields = {}
            continue
        name, colon, value = line.partition(":")
        assert colon, f"A line without a field: {line!r}"
        name = name or "comment"
        assert name in Frame._fields, f"A field that nobody sends: {line!r}"
        assert name not in fields, f"A field that comes twice: {line!r}"
        fields[name] = value.removeprefix(" ")
    assert not fields, f"A frame that was cut: {fields}"


@contextmanager
def watching(url: str, run_id: str, **headers: str) -> Iterator[Iterator[Frame]]:
    """The frames of a run's events, as they come."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    with http.stream("GET", f"{url}/runs/{run_id}/events", headers=given) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield frames(_lines(answer))


def _lines(answer: httpx.Response) -> Iterator[str]:
    """Lines as the format has them: httpx's own also end at U+2028, a form feed and others."""
    rest = b""
    for raw in answer.iter_raw():
        *lines, rest = (rest + raw).split(b"\n")
        for line in lines:
            assert b"\r" not in line
            yield line.decode()
    assert not rest


class Viewer:
    """Somebody who watches a run and comes back where he was, as an `EventSource` does.

    Attributes:
        events: What he has seen.
        ended: Whether he was told that nothing more will come.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id: str = run_id
        self.events: list[Event] = []
        self.ended: bool = False

    @property
    def last(self) -> int:
        """The number of the last event that he has seen."""
        return self.events[-1].seq if self.events else 0

    def look(self, url: str, most: int | None = None) -> None:
        """Watch until the stream ends, or he has seen so many more."""
        came_back = {"last_event_id": str(self.last)} if self.last else {}
        with watching(url, self.run_id, **came_back) as stream:
            for count, frame in enumerate(stream, 1):
                self.take(frame)
                if count == most:
                    return

    def take(self, frame: Frame) -> None:
        """See one frame."""
        if frame.event == "end":
            assert frame.id is None
            assert frame.data is not None
            self.ended = True
        elif frame.comment is None:
            event = decode(frame.data or "")
            assert frame.id == str(event.seq) == str(self.last + 1), frame
            assert frame.event == event.signal
            self.events.append(event)


def started(url: str, flow: str, shared: Mapping[str, Any] | None = None, **body: Any) -> str:
    """The id of a run that is started."""
    given = {"flow": flow, "shared": dict(shared or {}), **body}
    answer = http.post(f"{url}/runs", json=given)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


class _Problem(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    title: str
    status: int
    detail: str


def problem(answer: httpx.Response, status: int, *words: str) -> None:
    """A refusal with this status is as RFC 9457 wants it, and its sentence has these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = msgspec.json.decode(answer.content, type=_Problem)
    assert said.status == status
    assert said.title
    assert len(said.detail) > 10
    assert "Traceback" not in said.detail
    for word in words:
        assert word in said.detail, said.detail
