"""Records as spans: what a complete one gives, and that nothing is asked of an incomplete one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowevents.events import Chunk, Event, FlowEnd, FlowStart, NodeEnd, NodeStart, Retry
from flowevents.observers.spans import RunSpans, read_spans
from flowevents.testing import check_events
from tests.whole_run import full_record


def test_a_whole_record() -> None:
    """Every span has its name, its times, its status, and stands in what encloses it."""
    check_events(full_record())
    (run,) = read_spans(full_record())
    assert (run.run_id, run.name, run.start, run.end) == ("run", "Main", 100.0, 110.0)
    assert [
        (each.kind, each.name, each.items, each.start, each.end, each.status) for each in run
    ] == [
        ("flow", "Main", (), 100, 110, "error"),
        ("node", "Plan", (), 100, 103, "ok"),
        ("node", "Ask", (), 103, 108, "ok"),
        ("flow", "Team", (), 108, 109.5, "error"),
        ("node", "Read", (), 108, 109.5, "error"),
        ("item", "Read", (0,), 108, 109.5, "error"),
        ("item", "Read", (1,), 108, 109.5, "cancelled"),
    ]
    _, plan, ask, *_ = run
    assert [(each.start, each.first_chunk, each.end, each.error) for each in plan.attempts] == [
        (100, 100.5, 101, "OSError: reset"),
        (101.5, 102, 103, None),
    ]
    (question,) = ask.questions
    assert (question.prompt, question.answer) == ("Go on?", "yes")
    assert (question.start, question.end, question.open) == (103.5, 107.5, False)
    assert (plan.moved, plan.action, ask.moved, ask.action) == (True, "ask", True, None)


def test_a_record_without_its_end() -> None:
    """What is open lasts until the last event; a question that is open waits."""
    (run,) = read_spans(full_record()[:9])
    main, _, ask = run
    assert [(each.end, each.status) for each in (main, ask)] == [(103.5, None), (103.5, None)]
    assert (main.is_waiting, ask.is_waiting) == (False, True)


def test_a_record_without_its_beginning() -> None:
    """What is not known to have begun begins as its duration says, or with what names it."""
    (run,) = read_spans(full_record()[9:])
    ask, team, *rest = run
    assert (ask.name, ask.began, ask.start, ask.end) == ("Ask", False, 103, 108)
    assert (team.name, team.began, len(rest)) == ("Team", True, 4)
    assert run.name == ""
    assert (ask.attempts[0].start, ask.attempts[0].end) == (103, 108)
    (run,) = read_spans(full_record()[-1:])
    assert (run.start, run.end, [each.began for each in run]) == (100, 110, [False])


def test_a_clock_that_is_set_back_goes_on() -> None:
    """Times do not go back, and what passes after counts."""
    record = full_record()
    late = [msgspec.structs.replace(each, time=each.time - 50) for each in record[7:]]
    (run,) = read_spans(record[:7] + late)
    assert [each.end - each.start for each in run] == [10, 3, 5, 1.5, 1.5, 1.5, 1.5]


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_time_that_is_none(time: float) -> None:
    """It is that of the event before."""
    start = FlowStart(run_id="r", seq=1, time=5.0, span=1, node="", parent=0, flow="F")
    chunk = Chunk(run_id="r", seq=2, time=time, span=1, node="", data="x")
    (run,) = read_spans([start, chunk])
    assert (run.start, run.end) == (5.0, 5.0)


def test_a_value_whose_repr_fails_is_named_by_its_type() -> None:
    """A question may hold anything."""

    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    record = full_record()
    record[8] = msgspec.structs.replace(record[8], prompt=Odd())
    (run,) = read_spans(record)
    assert [each.prompt for span in run for each in span.questions] == ["<Odd>"]


def broken_records() -> st.SearchStrategy[list[Event]]:
    """Records of which events are missing, or out of order, or changed in their numbers."""
    events = st.sampled_from(full_record())
    numbers = st.fixed_dictionaries(
        {},
        optional={
            "run_id": st.sampled_from(["run", "other"]),
            "time": st.floats(),
            "span": st.integers(-1, 25),
            "parent": st.integers(-1, 25),
            "duration": st.floats(),
            "wait": st.floats(),
            "attempt": st.integers(-1, 3),
            "items": st.tuples(st.integers(0, 2)),
        },
    )

    def changed(event: Event, fields: dict[str, Any]) -> Event:
        known = {key: each for key, each in fields.items() if key in event.__struct_fields__}
        return msgspec.structs.replace(event, **known)

    shuffled = st.lists(st.builds(changed, events, numbers), max_size=40)
    missing = st.lists(st.booleans(), min_size=23, max_size=23).map(
        lambda kept: [each for each, keep in zip(full_record(), kept, strict=True) if keep]
    )
    return missing | shuffled


def check_nesting(run: RunSpans) -> None:
    """What is enclosed lies within what encloses it, and everything within the run."""
    for span in run:
        assert run.start <= span.start <= span.end <= run.end
        for child in span.children:
            assert child.start >= span.start
            assert child.end <= span.end or child.start > span.end
        for attempt in span.attempts[:1] + span.attempts[-1:]:
            assert attempt.start <= attempt.end <= span.end
        for question in span.questions:
            assert span.start <= question.start <= question.end


@given(broken_records())
def test_any_record_gives_spans(record: list[Event]) -> None:
    """Whatever is missing or wrong, nothing raises, and times make sense."""
    runs = read_spans(record)
    assert {run.run_id for run in runs} == {event.run_id for event in record}
    for run in runs:
        check_nesting(run)


def test_what_comes_after_the_end_of_all_is_put_before_it() -> None:
    """As where a record is out of order."""
    end = FlowEnd(run_id="r", seq=9, time=110.0, span=1, node="", status="ok", duration=10.0)
    start = NodeStart(run_id="r", seq=2, time=100.0, span=2, node="A", parent=1)
    retry = Retry(run_id="r", seq=3, time=101.0, span=2, node="A", error="E", wait=0.5)
    (run,) = read_spans([end, start, retry])
    check_nesting(run)
    assert [attempt.end for attempt in list(run)[1].attempts] == [110.0, 110.0]


def test_what_ends_late_in_something_open_ends_with_what_has_ended_around_it() -> None:
    """Not only what encloses it directly counts."""
    end = FlowEnd(run_id="r", seq=9, time=110.0, span=1, node="", status="ok", duration=10.0)
    start = FlowStart(run_id="r", seq=2, time=100.0, span=2, node="A", parent=1, flow="A")
    late = NodeEnd(
        run_id="r", seq=3, time=103.0, span=3, node="A/B", status="ok", duration=3.0, attempt=1
    )
    begin = NodeStart(run_id="r", seq=3, time=103.0, span=3, node="A/B", parent=2, attempt=1)
    (run,) = read_spans([end, start, begin, late])
    check_nesting(run)
    assert [each.end for each in run] == [110.0, 110.0, 110.0]


def test_interleaved_runs_are_told_apart() -> None:
    """Events of several runs may come in any order of runs."""
    other = [msgspec.structs.replace(each, run_id="other") for each in full_record()]
    mixed = [each for pair in zip(full_record(), other, strict=True) for each in pair]
    runs = read_spans(mixed)
    assert [(run.run_id, len(list(run))) for run in runs] == [("run", 7), ("other", 7)]


def test_a_step_that_starts_twice_is_one() -> None:
    """A record that was written twice does not grow."""
    start = NodeStart(run_id="r", seq=1, time=1.0, span=1, node="A", parent=0)
    end = NodeEnd(run_id="r", seq=2, time=2.0, span=1, node="A", status="ok", duration=1.0)
    (run,) = read_spans([start, start, end, end])
    assert len(list(run)) == 1
