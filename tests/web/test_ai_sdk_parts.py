"""The events of any run, translated into parts of a UI message: what `ai` makes of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from msgspec.structs import replace

from flowevents import Chunk, Event
from flowevents.events import UnknownEvent
from flowevents.web.ai_sdk_parts import DONE, UIMessageParts, frames
from tests.graphs import Graph, graphs
from tests.hostile import HOSTILE
from tests.web.node import Client, needs_clients
from tests.web.told import events_of, stored, texts_of
from tests.whole_run import full_record, hostile_record

pytestmark = needs_clients


@pytest.fixture(scope="module", params=["ai", "ai-5"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client: of the newest version, and of the first that has this protocol."""
    with Client("ai_sdk.mjs", request.param) as client:
        yield client


def check(client: Client, events: list[Event]) -> None:
    """The client takes it, and its message says what the run said, with nothing open in it."""
    telling = UIMessageParts("run")
    parts = [*telling.begin(), *(part for each in events for part in telling.translate(each))]
    assert telling.has_ended
    came = client.ask(stream=(frames(parts) + DONE).decode())
    errors = [part["errorText"] for part in parts if part["type"] == "error"]
    assert (came["error"], came["errors"]) == (None, [f"Error: {each}" for each in errors])
    made = came["message"]["parts"]
    texts = [each for each in made if each["type"] == "text"]
    assert sorted("".join(each["text"] for each in texts)) == sorted(texts_of(events))
    assert {each["state"] for each in texts} <= {"done"}
    data = [each["data"] for each in made if each["type"].startswith("data-")]
    assert "running" not in [each.get("status") for each in data]
    assert True not in [each.get("open") for each in data]
    ids = [each["providerMetadata"]["flowevents"]["id"] for each in texts]
    void = [id for each in data for id in each.get("texts", ())]
    assert len(set(ids)) == len(ids)
    assert set(void) <= set(ids)


@given(graphs(streams=True, asks=True))
def test_any_run(client: Client, spec: Graph) -> None:
    """Is one message."""
    check(client, events_of(spec, "sync"))


@given(graphs(streams=True, asynchronous=True, asks=True))
def test_any_async_run(client: Client, spec: Graph) -> None:
    """With parallel items, too."""
    check(client, events_of(spec, "async"))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_anywhere(client: Client, text: str) -> None:
    """In names, labels, errors, prompts, choices and ids: the client takes it all."""
    check(client, [stored(replace(each, run_id="run")) for each in hostile_record(text)])


def test_a_run_in_which_everything_happens(client: Client) -> None:
    """Its parts, in short."""
    telling = UIMessageParts("run")
    parts = [part for each in full_record() for part in telling.translate(each)]
    assert [
        " ".join(
            str(each)
            for each in (
                part["type"],
                part.get("data", {}).get("node", part.get("id", "")),
                part.get("data", {}).get("status", part.get("delta", "")),
            )
        ).strip()
        for part in parts
    ] == [
        "data-node Plan running",
        "text-start run:3",
        "text-delta run:3 half",
        "text-end run:3",
        "data-retry Plan",
        "data-node Plan running",
        "text-start run:5",
        "text-delta run:5 whole",
        "text-end run:5",
        "data-node Plan ok",
        "data-node Ask running",
        "data-interrupt Ask",
        "data-interrupt Ask",
        "data-node Ask ok",
        "data-node Team running",
        "data-node Team/Read running",
        "data-node Team/Read running",
        "data-node Team/Read running",
        "data-node Team/Read running",
        "text-start run:18",
        "text-delta run:18 text",
        "data-node Team/Read error",
        "data-node Team/Read running",
        "text-end run:18",
        "data-node Team/Read cancelled",
        "data-node Team/Read running",
        "data-node Team/Read error",
        "data-node Team error",
        "error",
        "finish",
    ]
    check(client, full_record())


def test_what_nobody_began_says_nothing() -> None:
    """A chunk of a step that is not open, and an event of a type that is not known."""
    telling = UIMessageParts("run")
    assert telling.translate(Chunk("run", 2, 0.0, 1, "Plan", data="text")) == []
    assert telling.translate(UnknownEvent("run", 3, 0.0, 1, "Plan")) == []
