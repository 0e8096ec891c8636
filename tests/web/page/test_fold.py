"""`fold.js`: what the events of a run come to, whatever they say, and how much of it is kept."""

from __future__ import annotations

import json
import random
from typing import Any, Final

import pytest
from playwright.sync_api import Page

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
    Progress,
    Reply,
    Retry,
    UnknownEvent,
)
from flowevents.events import encode
from tests.web.page.site import Site

FOLD: Final = """async (events) => {
    const fold = await import(new URL("page/fold.js", location));
    const run = fold.newRun(), statuses = [];
    for (const event of events) { fold.fold(run, event); statuses.push(fold.statusOf(run)); }
    const told = ({ parent, inside, children, ...rest }) =>
        ({ ...rest, children: children.map(told) });
    return { statuses, lost: run.lost, open: run.open.size, steps: run.steps.map(told),
             rows: run.rows.size, failure: run.root?.error ?? null, seq: run.seq };
}"""


@pytest.fixture
def model(page: Page, site: Site) -> Any:
    """What events come to."""
    page.goto(site.url)
    return lambda events: page.evaluate(FOLD, [json.loads(encode(each)) for each in events])


class Log:
    """Writes events by hand, all of one run."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.root = self.add(FlowStart, parent=0, flow="f")

    def add(self, event: type[Event], /, span: int = 0, node: str = "", **fields: Any) -> int:
        """One more event, by default with a span of its own; gives that."""
        seq = len(self.events) + 1
        given: dict[str, Any] = {"items": (), "step": 1, "attempt": 1} | fields
        self.events.append(event("r", seq, 0.0, span or seq, node, **given))
        return span or seq

    def step(self, node: str, parent: int = 1) -> int:
        """A node that begins and ends."""
        span = self.add(NodeStart, node=node, parent=parent)
        self.add(NodeEnd, span, node, status="ok", duration=1.0)
        return self.add(Action, span, node, action=None)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7])
def test_whatever_is_missing_nothing_throws(model: Any, part: float) -> None:
    """A record may lack any part; what it has is folded, and what comes twice counts once."""
    source = random.Random(1)
    log = Log()
    batch = log.add(NodeStart, node="B", parent=1)
    for number in range(20):
        item = log.add(ItemStart, node="B", items=(number,), parent=batch, total=20)
        for kind, fields in (
            (Chunk, {"data": "x"}),
            (Progress, {"done": 1.0}),
            (Interrupt, {"id": f"q{number}", "prompt": "?"}),
            (Reply, {"id": f"q{number}", "value": 1}),
            (Retry, {"error": "E"}),
            (Chunk, {"data": {"a": 1}, "kind": "found"}),
        ):
            log.add(kind, item, "B", items=(number,), **fields)
        log.add(ItemEnd, item, "B", items=(number,), status="ok", duration=0.0, done=number + 1)
    log.add(NodeEnd, batch, "B", status="ok", duration=1.0)
    log.add(FlowEnd, 1, status="ok", duration=1.0)
    kept = [event for event in log.events if source.random() >= part]
    twice = [each for event in kept for each in (event, event)]
    once, again = model(kept), model(twice)
    assert again.pop("statuses")[::2] == once["statuses"]
    assert again == {name: once[name] for name in again}
    if part == 0.0:
        (step,) = once["steps"]
        assert [len(item["entries"]) for item in step["children"]] == [3] * 20
        assert (step["done"], step["total"], once["open"]) == (20, 20, 0)
        assert once["statuses"][-1] == "done"


def test_statuses(model: Any) -> None:
    """A run is paused where all that is open waits for an answer, and only there."""
    log = Log()
    batch = log.add(NodeStart, node="B", parent=1)
    one, two = (log.add(ItemStart, node="B", items=(n,), parent=batch) for n in (0, 1))
    log.add(Interrupt, one, "B", id="q", prompt="?")
    log.add(Interrupt, two, "B", id="p", prompt="?")
    log.add(Reply, one, "B", id="q", value=1)
    log.add(ItemEnd, one, "B", status="ok", duration=1.0)
    log.add(ItemEnd, two, "B", status="cancelled", duration=1.0)
    log.add(NodeEnd, batch, "B", status="cancelled", duration=1.0)
    log.add(FlowEnd, 1, status="cancelled", duration=1.0)
    assert model(log.events)["statuses"] == [
        *["running"] * 5,
        *["paused", "running", "paused", "running", "running", "cancelled"],
    ]


def test_a_step_that_is_resumed_at_its_question(model: Any) -> None:
    """It is asked again, by its id, and stands where it is asked now; what it said is void."""
    log = Log()
    step = log.add(NodeStart, node="A", parent=1)
    log.add(Chunk, step, "A", data="before")
    log.add(Interrupt, step, "A", id="q", prompt="?")
    log.add(Retry, step, "A", error="Lost: its process is gone")
    log.add(Chunk, step, "A", data="again", attempt=2)
    log.add(Interrupt, step, "A", id="q", prompt="?", attempt=2)
    told = model(log.events)
    assert told["statuses"] == [*["running"] * 3, "paused", "running", "running", "paused"]
    (row,) = told["steps"]
    assert [each["type"] for each in row["entries"]] == ["void", "text", "question"]
    assert row["entries"][0]["text"] == "before"
    assert (row["entries"][2]["state"], row["entries"][2]["times"]) == ("open", 2)
    assert row["attempt"] == 2


def test_a_retry_of_a_batch_begins_its_items_again(model: Any) -> None:
    """They are void, and counted from the beginning."""
    log = Log()
    batch = log.add(NodeStart, node="B", parent=1)
    for status in ("ok", "cancelled"):
        item = log.add(ItemStart, node="B", items=(0,), parent=batch, total=2)
        log.add(ItemEnd, item, "B", items=(0,), status=status, duration=1.0, done=1, total=2)
    log.add(Retry, batch, "B", error="Lost: other items")
    (row,) = model(log.events)["steps"]
    assert (row["children"], row["done"]) == ([], 0)


def test_what_is_kept_is_bounded(model: Any) -> None:
    """Of steps, items, entries and texts the last ones, and what is open."""
    log = Log()
    first = log.add(NodeStart, node="first", parent=1)
    for number in range(1_000):
        log.step(f"N{number}")
    batch = log.add(NodeStart, node="B", parent=1)
    for number in range(1_000):
        item = log.add(ItemStart, node="B", items=(number,), parent=batch)
        if number:
            log.add(ItemEnd, item, "B", items=(number,), status="ok", duration=1.0, done=number)
    for number in range(1_000):
        log.add(Chunk, first, "first", data=number, kind="found")
    for _ in range(100):
        log.add(Chunk, batch, "B", data="x" * 9_999 + "\n")
    told = model(log.events)
    steps = {step["node"]: step for step in told["steps"]}
    assert len(steps) == told["rows"] == 400
    assert told["lost"] == 602
    assert {"first", "N999", "B"} <= steps.keys()
    assert len(steps["first"]["entries"]) == 200
    assert steps["first"]["entries"][-1]["text"] == "999"
    assert [item["items"] for item in steps["B"]["children"]] == [
        [0],
        *([number] for number in range(801, 1_000)),
    ]
    assert steps["B"]["lost"] == 800
    (text,) = steps["B"]["entries"]
    assert 100_000 <= len(text["text"]) <= 200_000
    assert text["from"] + len(text["text"]) == 1_000_000


def test_errors_are_told_once_above(model: Any) -> None:
    """Of a flow that fails with what its node has failed with only the node and the run say so."""
    log = Log()
    flow = log.add(FlowStart, node="F", parent=1, flow="F")
    node = log.add(NodeStart, node="F/A", parent=flow)
    log.add(NodeEnd, node, "F/A", status="error", duration=1.0, error="ValueError: no")
    log.add(FlowEnd, flow, "F", status="error", duration=1.0, error="ValueError: no")
    log.add(FlowEnd, 1, status="error", duration=1.0, error="ValueError: no")
    told = model(log.events)
    assert [step["error"] for step in told["steps"]] == [None, "ValueError: no"]
    assert (told["failure"], told["statuses"][-1]) == ("ValueError: no", "failed")


def test_an_item_of_a_flow_that_fails_by_itself(model: Any) -> None:
    """Its error stands with the flow, because it has no row of its own."""
    log = Log()
    item = log.add(ItemStart, items=(1,), parent=1, total=2)
    log.add(ItemEnd, item, items=(1,), status="error", duration=1.0, error="KeyError: 'a'", done=1)
    (row,) = model(log.events)["steps"]
    assert row["entries"] == [{"type": "value", "kind": "item 2", "text": "KeyError: 'a'"}]


def test_unknown_events(model: Any) -> None:
    """A newer server may send them, by any name; they take their numbers."""
    log = Log()
    for name in ("Future", "constructor", "__proto__", "toString"):
        log.add(UnknownEvent, fields={"type": name, "run_id": "r", "seq": len(log.events) + 1})
    told = model(log.events)
    assert (told["seq"], told["statuses"]) == (5, ["running"] * 5)


def test_actions_that_lead_nowhere(model: Any) -> None:
    """Only of these a row speaks."""
    log = Log()
    node = log.step("A")
    log.add(Action, node, "A", action="lost", known=False)
    log.step("B")
    assert [step["astray"] for step in model(log.events)["steps"]] == ["lost", None]
