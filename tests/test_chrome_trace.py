"""Chrome traces: the rules of the format, and what stands where."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import msgspec
import pytest
from hypothesis import given

from flowevents.events import Event, FlowStart, ItemEnd, ItemStart, NodeStart
from flowevents.observers.chrome_trace import to_chrome_trace
from tests.hostile import CONTROLS, HOSTILE
from tests.test_spans import broken_records
from tests.whole_run import full_record, hostile_record


def check_trace(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """Check a trace against its format: fields, types, and that a thread's slices nest.

    Gives its slices.
    """
    assert json.loads(json.dumps(trace, allow_nan=False)) == trace
    threads: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for event in trace["traceEvents"]:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] >= 0
            threads[event["pid"], event["tid"]].append(event)
        elif event["ph"] == "i":
            assert event["s"] == "t"
            assert event["ts"] >= 0
        else:
            assert event["ph"] == "M"
            assert set(event["args"]) == {"name"}
    for slices in threads.values():
        ends: list[int] = []
        for each in sorted(slices, key=lambda each: each["ts"]):  # stable: outer ones come first
            while ends and ends[-1] <= each["ts"]:
                ends.pop()
            end = each["ts"] + each["dur"]
            assert not ends or end <= ends[-1], each
            ends.append(end)
    return [each for slices in threads.values() for each in slices]


def test_what_stands_where() -> None:
    """A slice for each span, attempt and question; parallel items beside one another."""
    slices = check_trace(to_chrome_trace(full_record()))
    found = [(each["tid"], each["ts"] / 1e6, each["dur"] / 1e6, each["name"]) for each in slices]
    assert found == [
        (1, 0, 10, "Main"),
        (1, 0, 3, "Plan"),
        (1, 0, 1, "attempt 1"),
        (1, 1.5, 1.5, "attempt 2"),
        (1, 3, 5, "Ask"),
        (1, 3.5, 4, "question"),
        (1, 8, 1.5, "Team"),
        (1, 8, 1.5, "Read"),
        (1, 8, 1.5, "item 0 a.pdf"),
        (2, 8, 1.5, "item 1 b.pdf"),
    ]
    args = {each["name"]: each["args"] for each in slices}
    assert args["Plan"] == {
        "node": "Plan", "step": 1, "status": "ok", "action": "ask", "attempts": 2, "chunks": 2
    }  # fmt: skip
    assert args["attempt 1"] == {"error": "OSError: reset"}
    assert args["question"] == {"prompt": "Go on?", "answer": "yes"}
    assert args["item 0 a.pdf"]["error"] == "ValueError: no page"


def test_names_and_first_chunks() -> None:
    """A run is a process, what runs beside is a thread, a first chunk is an instant."""
    trace = to_chrome_trace(full_record())
    names = [each["args"]["name"] for each in trace["traceEvents"] if each["ph"] == "M"]
    assert names == ["Main run", "main", "beside 1"]
    instants = [each["ts"] / 1e6 for each in trace["traceEvents"] if each["ph"] == "i"]
    assert instants == [0.5, 2, 9]


def test_runs_are_processes_of_one_clock() -> None:
    """Times count from the first event of all."""
    late = [
        msgspec.structs.replace(each, run_id="late", time=each.time + 7) for each in full_record()
    ]
    slices = check_trace(to_chrome_trace([*full_record(), *late]))
    mains = [(each["pid"], each["ts"]) for each in slices if each["name"] == "Main"]
    assert mains == [(1, 0), (2, 7_000_000)]


def test_a_thread_is_used_again() -> None:
    """A hundred items, three at a time, take three threads."""
    record: list[Event] = [
        FlowStart(run_id="r", seq=1, time=0.0, span=1, node="", parent=0, flow="F"),
        NodeStart(run_id="r", seq=2, time=0.0, span=2, node="A", parent=1),
    ]
    for number in range(100):
        common: dict[str, Any] = {"run_id": "r", "span": number + 3, "node": "A"}
        begins, ends = float(number // 3), number // 3 + 1.0 + number % 3 / 10
        record.append(ItemStart(**common, seq=number + 3, time=begins, items=(number,), parent=2))
        record.append(ItemEnd(**common, seq=200 + number, time=ends, status="ok", duration=1.0))
    record[2:] = sorted(record[2:], key=lambda each: each.time)
    slices = check_trace(to_chrome_trace(record))
    assert max(each["tid"] for each in slices) <= 6


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_control_is_left(text: str) -> None:
    """Whatever a model wrote."""
    trace = to_chrome_trace(hostile_record(text))
    check_trace(trace)
    assert not (CONTROLS | {"\n"}) & set(json.dumps(trace, ensure_ascii=False))


@given(broken_records())
def test_any_record_gives_a_trace(record: list[Event]) -> None:
    """Slices nest, whatever is missing or wrong."""
    slices = check_trace(to_chrome_trace(record))
    assert len(slices) >= len({event.run_id for event in record if type(event) is FlowStart})


def test_no_events_give_an_empty_trace() -> None:
    """It can be opened."""
    assert to_chrome_trace([]) == {"traceEvents": [], "displayTimeUnit": "ms"}
