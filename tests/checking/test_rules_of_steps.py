"""One test per rule: steps, attempts, actions, statuses and questions."""

from __future__ import annotations

import re
from typing import Any

import pytest

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
    events,
)
from flowevents.testing import check_events
from tests.checking.runs import AWAITED, PLAIN, recorded, run_of
from tests.checking.script import Script, flow, names_the_first


def test_a_step_counts_the_executions_in_its_flow() -> None:
    """It begins at 1 in each execution of the flow and in each item of a batch flow."""
    script = flow()
    script.add(Action, script.node("A", 1), action=None, target="A")
    script.start(NodeStart, node="A", parent=1, step=1)
    names_the_first(script, "step is 1, not 2")
    script = flow()
    for index in (0, 1):
        item = script.start(ItemStart, parent=1, index=index)
        node = script.start(NodeStart, node="A", parent=item, items=(index,), step=index + 1)
        if index == 0:
            script.add(NodeEnd, node)
            script.add(Action, node, action=None)
            script.add(ItemEnd, item)
    names_the_first(script, "step is 2, not 1")


def test_an_attempt_is_what_the_retries_make_it() -> None:
    """It is 1 at first, one more after each retry, and never that of another item."""
    script = flow()
    script.start(NodeStart, node="A", parent=1, attempt=2)
    names_the_first(script, "attempt is 2, not 1")
    for kind, fields in ((Chunk, {"data": 1}), (Progress, {"done": 1}), (NodeEnd, {})):
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.add(Retry, 2, error="E")
        script.add(kind, 2, **fields)
        names_the_first(script, "attempt is 1, not 2")
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    one, other = (script.start(ItemStart, parent=2, index=index) for index in (0, 1))
    script.add(Retry, one, error="E")
    script.add(ItemEnd, other, attempt=2)
    names_the_first(script, "attempt is 2, not 1")
    script = flow()
    script.start(FlowStart, node="G", parent=1, flow="G", attempt=1)
    names_the_first(script, "attempt is 1, not 0")


def test_a_fallback_is_the_last_attempt() -> None:
    """No retry follows it."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(Retry, 2, error="E", fallback=True)
    script.add(Retry, 2, error="E", attempt=2)
    names_the_first(script, "comes after the Retry with fallback=True")


def test_flows_and_whole_batches_are_not_tried_again() -> None:
    """A retry is of a node or of an item of it."""
    script = flow()
    script.add(Retry, 1, error="E")
    names_the_first(script, "not tried again")
    script = flow()
    script.add(Retry, script.start(ItemStart, parent=1), error="E")
    names_the_first(script, "not tried again")
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(ItemEnd, script.start(ItemStart, parent=2, total=1))
    script.add(Retry, 2, error="E")
    names_the_first(script, "not tried again")
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(Retry, 2, error="E")
    script.start(ItemStart, parent=2)
    names_the_first(script, "which is no batch")


def test_a_step_that_is_ok_has_one_action() -> None:
    """It comes before the next start of the flow and before the flow's end that is ok."""
    script = flow()
    script.node("A", 1)
    script.start(NodeStart, node="B", parent=1)
    names_the_first(script, "begins before the Action of NodeEnd 3")
    script.events.pop()
    script.add(FlowEnd, 1)
    names_the_first(script, "comes before the Action of NodeEnd 3")
    script.events.pop()
    script.add(Action, 2, action=None)
    script.add(Action, 2, action=None)
    names_the_first(script, "NodeEnd 3 has no Action, or has had it")


def test_only_a_step_that_is_ok_has_an_action() -> None:
    """A failed one, an item, and what is open or no start have none."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(Action, 2, action=None)
    names_the_first(script, "span is 2, which is still open")
    script.events.pop()
    script.add(Action, 7, action=None)
    names_the_first(script, "span is 7, which is no start")
    script.events.pop()
    item = script.start(ItemStart, parent=2)
    script.add(ItemEnd, item)
    script.add(Action, item, action=None)
    names_the_first(script, "ItemEnd 4 has no Action")
    script.events.pop()
    script.add(NodeEnd, 2, status="error", error="E")
    script.add(Action, 2, action=None)
    names_the_first(script, "NodeEnd 5 has no Action")


def test_an_action_is_missing_where_the_run_fails_before_it() -> None:
    """A flow that is not ok may lack its last one, which cannot come later either."""
    script = flow()
    inner = script.start(FlowStart, node="G", parent=1, flow="G")
    node = script.node("G/A", inner)
    script.add(FlowEnd, inner, status="error", error="E")
    script.add(FlowEnd, 1, status="error", error="E")
    check_events(script.events)
    script.events.pop()
    script.add(Action, node, action=None)
    names_the_first(script, "NodeEnd 4 has no Action, or has had it")


def test_an_action_agrees_with_the_end_before_it() -> None:
    """Its place, step and attempt are the end's."""
    wrong: dict[str, Any] = {"node": "B", "items": (1,), "step": 2, "attempt": 2}
    for field, value in wrong.items():
        script = flow()
        script.add(Action, script.node("A", 1), action=None, **{field: value})
        names_the_first(script, f"{field} is {value!r}")


def test_an_action_leads_to_what_begins_next() -> None:
    """Its target is a path of the same flow; that node begins, unless the run fails before."""
    script = flow()
    script.add(Action, script.node("A", 1), action=None, target="B")
    script.start(NodeStart, node="C", parent=1)
    names_the_first(script, "begins after Action 4 with target 'B'")
    script.events.pop()
    script.add(FlowEnd, 1)
    names_the_first(script, "comes before 'B', the target of Action 4")
    script.events.pop()
    script.add(FlowEnd, 1, status="cancelled")
    check_events(script.events)
    script = flow()
    script.add(Action, script.node("A", 1), action=None)
    script.start(NodeStart, node="B", parent=1)
    names_the_first(script, "with target None")
    script = flow()
    script.add(Action, script.node("A", 1), action=None, target="G/B")
    names_the_first(script, "target ends with the name 'G/B'")


def test_a_status_and_its_error_agree() -> None:
    """What is ok has no error; what failed has one, of at most 2,000 characters."""
    for fields, text in (
        ({"error": "E"}, "status is 'ok', but error is 'E'"),
        ({"status": "error"}, "error is None"),
        ({"status": "error", "error": ""}, "error is ''"),
        ({"status": "error", "error": "E" * 2_001}, "error is 2001 characters long"),
        ({"status": "cancelled", "error": ""}, "error is ''"),
        ({"status": "done"}, "status is 'done'"),
    ):
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.add(NodeEnd, 2, **fields)
        names_the_first(script, text)
    script = flow()
    script.add(FlowEnd, 1, status="cancelled", action="go")
    names_the_first(script, "status is 'cancelled', but action is 'go'")
    for error in ("", "E" * 2_001):
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.add(Retry, 2, error=error)
        names_the_first(script, "not a text of at most 2000 characters")


def test_times_are_times() -> None:
    """A duration or a wait is a number of seconds from 0."""
    for duration in (-1e-9, float("nan"), float("inf")):
        script = flow()
        script.add(FlowEnd, 1, duration=duration)
        names_the_first(script, f"duration is {duration!r}")
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.add(Retry, 2, error="E", wait=duration)
        names_the_first(script, f"wait is {duration!r}")


def asking(expires: float | None = None) -> Script:
    """A node that waits for the answer to a question."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(Interrupt, 2, id="q", prompt="?", expires=expires)
    return script


def test_a_question_is_answered_before_its_code_goes_on() -> None:
    """Unless it expires, or that code failed."""
    script = asking()
    script.add(Interrupt, 2, id="p", prompt="?")
    names_the_first(script, "comes before the answer to Interrupt 3, id 'q'")
    script = asking()
    script.add(NodeEnd, 2)
    names_the_first(script, "comes before the answer to Interrupt 3, id 'q'")
    script = asking()
    script.start(ItemStart, parent=2)
    names_the_first(script, "comes before the answer to Interrupt 3, id 'q'")
    script = asking(expires=5.0)
    script.add(Interrupt, 2, id="p", prompt="?")
    check_events(script.events)
    script.add(Reply, 2, id="q", value=1)
    names_the_first(script, "id is 'q', which is answered already, or given up")
    script = asking()
    script.add(Retry, 2, error="E")
    script.add(Reply, 2, id="q", value=1, attempt=2)
    names_the_first(script, "id is 'q', which is answered already, or given up")
    script.events.pop()
    script.add(NodeEnd, 2, attempt=2)
    script.add(Action, 2, attempt=2, action=None)
    script.add(FlowEnd, 1)
    check_events(script.events)


def test_nodes_and_items_ask() -> None:
    """No flow does, nor does a batch while its items run."""
    script = flow()
    script.add(Interrupt, 1, id="q", prompt="?")
    names_the_first(script, "is of a flow: its nodes ask")
    script = flow()
    script.add(Interrupt, script.start(ItemStart, parent=1), id="q", prompt="?")
    names_the_first(script, "is of a flow: its nodes ask")
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.start(ItemStart, parent=2)
    script.add(Interrupt, 2, id="q", prompt="?")
    names_the_first(script, "asks where ItemStart 3 is open")


def test_a_nested_flow_and_its_action_agree() -> None:
    """Its end and the transition name the same action."""
    script = flow()
    inner = script.start(FlowStart, node="G", parent=1, flow="G")
    script.add(FlowEnd, inner, action="go")
    script.add(Action, inner, action="stop")
    names_the_first(script, "action is 'stop', not 'go', as of FlowEnd 3")


def test_a_field_holds_what_its_type_says() -> None:
    """A number is no text and no truth value, and those of a progress and a question are finite."""
    wrong: list[tuple[type[Event], dict[str, Any], str]] = [
        (NodeEnd, {"seq": 3.0}, "seq is 3.0"),
        (NodeEnd, {"step": True}, "step is True"),
        (NodeEnd, {"items": ("0",)}, "items is ('0',)"),
        (Progress, {"done": 1, "label": None}, "label is None"),
        (Progress, {"done": float("nan")}, "done is nan"),
        (Progress, {"done": 1, "total": float("inf")}, "total is inf"),
        (Progress, {"done": "1"}, "done is '1'"),
        (Interrupt, {"id": "q", "prompt": "?", "expires": float("nan")}, "expires is nan"),
        (Interrupt, {"id": "q", "prompt": "?", "choices": "yes"}, "choices is 'yes'"),
        (Reply, {"id": 1, "value": 1}, "id is 1"),
        (Retry, {"error": 1}, "error is 1"),
        (NodeEnd, {"duration": "1"}, "duration is '1'"),
    ]
    for kind, fields, text in wrong:
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.add(kind, 2, **fields)
        with pytest.raises(AssertionError, match=f": {re.escape(text)}"):
            check_events(script.events, complete=False)


def test_a_question_is_answered_once_by_its_own_answer() -> None:
    """An answer is that to an open question of its span."""
    script = asking()
    script.add(Interrupt, 2, id="q", prompt="?")
    names_the_first(script, "id is 'q', which was asked before")
    script = asking()
    script.add(Reply, 2, id="other", value=1)
    names_the_first(script, "id is 'other', which nothing asked")
    script = asking()
    script.add(Reply, 1, id="q", value=1)
    names_the_first(script, "id is 'q', which span 2 asked")
    script = asking()
    script.add(Reply, 2, id="q", value=1)
    script.add(Reply, 2, id="q", value=1)
    names_the_first(script, "id is 'q', which is answered already")


def test_a_paused_run_is_complete() -> None:
    """A stream may stop where everything that is open waits for an answer."""
    script = asking()
    check_events(script.events)
    script.add(Reply, 2, id="q", value=1)
    names_the_first(script, "has no end, and waits for no answer", at=2)
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    one, other = (script.start(ItemStart, parent=2, index=index) for index in (0, 1))
    script.add(Interrupt, other, id="q", prompt="?")
    names_the_first(script, "has no end, and waits for no answer", at=one)
    script.add(Interrupt, one, id="p", prompt="?")
    check_events(script.events)


def test_a_prefix_is_no_complete_stream() -> None:
    """What began and has no end is named, the innermost first."""
    script = flow()
    check_events(script.events, complete=False)
    names_the_first(script, "has no end", at=1)
    script.start(NodeStart, node="A", parent=1)
    names_the_first(script, "has no end", at=2)


def test_an_event_of_a_newer_version_only_has_to_be_numbered() -> None:
    """What this version does not know it does not judge."""
    script = flow()
    fields: dict[str, Any] = {"run_id": "r", "seq": 2, "time": 0.0, "span": 1, "node": ""}
    script.events.append(UnknownEvent(**fields))
    script.add(FlowEnd, 1)
    check_events(script.events)


def test_what_is_no_event_is_named() -> None:
    """Something else in the stream is shown as it is."""
    script: list[Any] = [*flow().events, "chunk"]
    with pytest.raises(AssertionError, match=r"^After seq 1 comes 'chunk', which is no event\.$"):
        check_events(script)


def test_a_stream_that_was_written_and_read_again_is_still_good() -> None:
    """The rules hold for decoded events as well."""
    for name in [*PLAIN, *AWAITED]:
        check_events(events.decode(events.encode(event)) for event in recorded(name))


def test_a_run_can_be_checked_while_it_is_pulled() -> None:
    """`check_events` takes any iterable, and reads it once."""
    run = run_of("a loop")
    check_events(run)
    assert run.status == "done"
