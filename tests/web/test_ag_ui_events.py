"""The events of any run, translated into AG-UI's: what @ag-ui/client says to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flowevents import (
    Action,
    Chunk,
    Event,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeEnd,
    NodeStart,
    Reply,
    Retry,
)
from flowevents.events import UnknownEvent
from flowevents.testing import check_events
from flowevents.web.ag_ui_events import AgUiEvents, frames
from flowevents.web.waiting import PATIENCE, told_before
from tests.graphs import Graph, graphs
from tests.hostile import HOSTILE
from tests.web.node import Client, needs_clients
from tests.web.told import events_of, stored, texts_of
from tests.whole_run import full_record, hostile_record

pytestmark = needs_clients


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client."""
    with Client("ag_ui.mjs") as client:
        yield client


def answered_late(events: list[Event]) -> list[Event]:
    """The same, with a second before each answer."""
    replies = 0
    late = []
    for event in events:
        replies += isinstance(event, Reply)
        late.append(replace(event, time=event.time + replies))
    return late


def requests_of(events: list[Event]) -> list[list[Any]]:
    """What each request tells of a run, whose client answers all interrupts of one in the next.

    No request tells what another has told, and each knows from the log where the one before ended.
    """
    events = answered_late(events)
    requests: list[list[Any]] = []
    told, asked = 0, set[str]()
    while True:
        before = told_before(events, asked) if asked else []
        assert len(before) == told
        telling = AgUiEvents("run", "thread", f"request {len(requests)}", asked)
        parts = telling.begin(before)
        requests.append(parts)
        while not telling.has_ended:
            event = events[told]
            if telling.may_have_ended and event.time - events[told - 1].time > PATIENCE:
                # The server either knows by the time that has passed, or by that of the next event.
                parts += telling.wait() if told % 2 else telling.translate(event)
                assert telling.has_ended
            else:
                parts += telling.translate(event)
                told += 1
        outcome = getattr(parts[-1], "outcome", None)
        if getattr(outcome, "type", None) != "interrupt":
            assert told == len(events)
            return requests
        asked = {each.id.partition(":")[2] for each in outcome.interrupts}  # type: ignore[union-attr]


def check(client: Client, events: list[Event]) -> None:
    """The client takes every request, and all together say what the run said."""
    said = ""
    void: list[str] = []
    for parts in requests_of(events):
        (turn,) = (came := client.ask(stream=frames(parts).decode()))["turns"]
        assert (turn["error"], came["said"]) == (None, [])
        assert len(turn["events"]) == len(parts)
        last = turn["events"][-1]
        assert last["type"] in ("RUN_FINISHED", "RUN_ERROR")
        opened = [each["type"] for each in turn["events"]]
        assert opened.count("STEP_STARTED") == opened.count("STEP_FINISHED")
        assert opened.count("TEXT_MESSAGE_START") == opened.count("TEXT_MESSAGE_END")
        for each in turn["events"]:
            said += each.get("delta", "")
            if each.get("name") == "retry":
                void += each["value"]["messageIds"]
    assert sorted(said) == sorted(texts_of(events))
    assert len(void) == len(set(void))


@given(graphs(streams=True, asks=True))
def test_any_run(client: Client, spec: Graph) -> None:
    """Told over as many requests as it has questions, everything once."""
    check(client, events_of(spec, "sync"))


@given(graphs(streams=True, asynchronous=True, asks=True), st.integers(0, 3))
def test_any_async_run(client: Client, spec: Graph, together: int) -> None:
    """With parallel items too, whose questions are answered one by one or together."""
    check(client, events_of(spec, "async", together))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_anywhere(client: Client, text: str) -> None:
    """In names, labels, errors, prompts, choices and ids: the client takes it all."""
    events = [replace(each, run_id="run") for each in hostile_record(text)]  # it is checked before
    check(client, [stored(each) for each in events])


def test_a_run_in_which_everything_happens(client: Client) -> None:
    """Its parts, in short."""
    requests = requests_of(full_record())
    short = [[f"{each.type.value}{_about(each)}" for each in parts] for parts in requests]
    assert short == [
        [
            "RUN_STARTED",
            "STEP_STARTED Plan 1",
            "TEXT_MESSAGE_START run:3",
            "TEXT_MESSAGE_CONTENT half",
            "TEXT_MESSAGE_END run:3",
            "CUSTOM retry",
            "TEXT_MESSAGE_START run:5",
            "TEXT_MESSAGE_CONTENT whole",
            "TEXT_MESSAGE_END run:5",
            "STEP_FINISHED Plan 1",
            "STEP_STARTED Ask 1",
            "CUSTOM interrupt",
            "STEP_FINISHED Ask 1",
            "RUN_FINISHED interrupt",
        ],
        [
            "RUN_STARTED",
            "STEP_STARTED Ask 1",
            "CUSTOM reply",
            "STEP_FINISHED Ask 1",
            "STEP_STARTED Team 1",
            "STEP_STARTED Team/Read 1",
            "STEP_STARTED Team/Read 1[0]",
            "STEP_STARTED Team/Read 1[1]",
            "ACTIVITY_SNAPSHOT run:15:progress",
            "TEXT_MESSAGE_START run:18",
            "TEXT_MESSAGE_CONTENT text",
            "STEP_FINISHED Team/Read 1[0]",
            "TEXT_MESSAGE_END run:18",
            "STEP_FINISHED Team/Read 1[1]",
            "STEP_FINISHED Team/Read 1",
            "STEP_FINISHED Team 1",
            "RUN_ERROR ValueError: no page",
        ],
    ]
    check(client, full_record())


def _about(part: Any) -> str:
    names = ("step_name", "delta", "message_id", "name", "activity_type", "message")
    if getattr(part, "outcome", None) is not None:
        return f" {part.outcome.type}"
    if part.type.value.startswith("TEXT_MESSAGE_CONTENT"):
        return f" {part.delta}"
    return next((f" {getattr(part, name)}" for name in names if hasattr(part, name)), "")


def test_steps_of_all_names_are_told_apart() -> None:
    """No two of a flow's steps and items have one name, whatever the nodes are called."""
    names = ["Plan", "Plan 1", "Plan 1[0]", "Plan[0]", "Plan#2", "1", "[0]", "[0] 1", " "]
    places = [
        (name, step, items)
        for name in names
        for step in (1, 2)
        for items in ((), (0,), (1,), (0, 0), (0, 1), (10,))
    ]
    telling = AgUiEvents("run", "thread", "request")
    parts = [
        telling.translate(NodeStart("run", seq, 0.0, seq, name, items, step, 1, parent=0))
        for seq, (name, step, items) in enumerate(places, 1)
    ]
    assert len({part.step_name for (part,) in parts}) == len(places)  # type: ignore[attr-defined]


def test_what_nobody_began_says_nothing() -> None:
    """A chunk of a step that is not open, and an event of a type that is not known."""
    telling = AgUiEvents("run", "thread", "request")
    assert telling.translate(Chunk("run", 2, 0.0, 1, "Plan", data="text")) == []
    assert telling.translate(UnknownEvent("run", 3, 0.0, 1, "Plan")) == []


def test_a_batch_that_is_lost(client: Client) -> None:
    """A retry of a batch makes void what its items have said, those that have ended included."""
    events: list[Event] = [
        FlowStart("run", 1, 1.0, 1, "", parent=0, flow="Main"),
        NodeStart("run", 2, 1.0, 2, "Read", step=1, attempt=1, parent=1),
        Chunk("run", 3, 1.0, 2, "Read", step=1, attempt=1, data="Pages: "),
        ItemStart("run", 4, 1.0, 4, "Read", (0,), 1, 1, parent=2),
        Chunk("run", 5, 1.0, 4, "Read", (0,), 1, 1, data="half"),
        Retry("run", 6, 1.0, 4, "Read", (0,), 1, 1, error="OSError: reset"),
        Chunk("run", 7, 1.0, 4, "Read", (0,), 1, 2, data="whole"),
        ItemEnd("run", 8, 1.0, 4, "Read", (0,), 1, 2, status="ok", duration=0.0, done=1),
        Retry("run", 9, 1.0, 2, "Read", step=1, attempt=1, error="Lost: its process"),
        NodeEnd("run", 10, 1.0, 2, "Read", step=1, attempt=2, status="ok", duration=0.0),
        Action("run", 11, 1.0, 2, "Read", step=1, attempt=2, action=None),
        FlowEnd("run", 12, 1.0, 1, "", status="ok", duration=0.0),
    ]
    check_events(events)
    check(client, events)
    (parts,) = requests_of(events)
    void = [part.value["messageIds"] for part in parts if part.type == "CUSTOM"]
    assert void == [["run:5"], ["run:3", "run:7"]]


def test_a_question_that_is_asked_anew() -> None:
    """A request goes on where the one before ended, and tells that what was said then is void."""
    events = full_record()
    asked = next(each for each in events if isinstance(each, Interrupt))
    place = events.index(asked)
    again = [
        Retry("run", 91, 1.0, asked.span, "Ask", attempt=1, step=1, error="Lost: …"),
        Interrupt("run", 92, 1.0, asked.span, "Ask", attempt=2, step=1, id="q", prompt="Go on?"),
    ]
    lost = [*events[: place + 1], *again]
    assert told_before(lost, {"q"}) == events[: place + 1]
    telling = AgUiEvents("run", "thread", "request", {"q"})
    telling.begin(events[: place + 1])
    assert [part.name for each in again for part in telling.translate(each)] == [  # type: ignore[attr-defined]
        "retry",
        "interrupt",
    ]
    assert not telling.has_ended
