"""Which starts are open: by their span, in what encloses them, whatever a record lacks."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowevents.events import (
    Chunk,
    Event,
    FlowEnd,
    FlowStart,
    ItemEnd,
    ItemStart,
    NodeEnd,
    NodeStart,
    Retry,
)
from flowevents.opened import Opened, OpenStarts, ends, starts
from tests.whole_run import full_record


def of_run(kind: type[Event], seq: int, span: int, node: str = "", /, **own: Any) -> Any:
    """An event of a run."""
    return kind(run_id="r", seq=seq, time=0.0, span=span, node=node, **own)


FLOW = of_run(FlowStart, 1, 1, parent=0, flow="Main")
BATCH = of_run(NodeStart, 2, 2, "Batch", parent=1, step=1, attempt=1)
FIRST = of_run(ItemStart, 3, 3, "Batch", parent=2, items=(0,), step=1, attempt=1)
SECOND = of_run(ItemStart, 4, 4, "Batch", parent=2, items=(1,), step=1, attempt=1)


def folded(*events: Event) -> OpenStarts[Opened]:
    """What is open after these events."""
    opens: OpenStarts[Opened] = OpenStarts(Opened)
    for event in events:
        take(opens, event)
    return opens


def take(opens: OpenStarts[Opened], event: Event) -> list[Opened]:
    """Fold an event in as a lenient reader does; what it closes."""
    if starts(event):
        opens.begin(event)
    elif ends(event):
        return opens.close(opens.find(event))
    return []


def spans(opened: Any) -> list[int]:
    """The spans of open starts."""
    return [each.span for each in opened]


def test_what_a_start_says() -> None:
    """Its span, node, items and step, what it is, and what encloses it."""
    opens = folded(FLOW, BATCH, FIRST, SECOND)
    flow, batch, first, second = opens.by_span.values()
    assert [each.kind for each in (flow, batch, first)] == ["flow", "node", "item"]
    assert (second.span, second.node, second.items, second.step) == (4, "Batch", (1,), 1)
    assert all(each.began for each in opens.by_span.values())
    assert (flow.parent, batch.parent, first.parent, second.parent) == (None, flow, batch, batch)
    assert (spans(flow.inside.values()), spans(batch.inside.values())) == ([2], [3, 4])
    assert opens.root is flow
    assert opens.of(of_run(Chunk, 5, 4, "Batch", items=(1,), data="x")) is second


def test_an_end_closes_its_start() -> None:
    """Whichever of several comes first; with the last one nothing is open."""
    opens = folded(FLOW, BATCH, FIRST, SECOND)
    end = of_run(ItemEnd, 5, 3, "Batch", status="ok", duration=1.0, done=1)
    (closed,) = take(opens, end)
    assert (closed.span, closed.parent.span) == (3, 2)
    assert spans(opens.by_span.values()) == [1, 2, 4]
    assert spans(opens.by_span[2].inside.values()) == [4]
    take(opens, of_run(ItemEnd, 6, 4, "Batch", status="ok", duration=1.0, done=2))
    take(opens, of_run(NodeEnd, 7, 2, "Batch", status="ok", duration=1.0))
    take(opens, of_run(FlowEnd, 8, 1, status="ok", duration=1.0))
    assert not opens.by_span
    assert opens.root is None


def test_what_is_open_in_something_that_ends_is_closed_with_it() -> None:
    """Each before what encloses it."""
    opens = folded(FLOW, BATCH, FIRST, SECOND)
    closed = take(opens, of_run(FlowEnd, 5, 1, status="cancelled", duration=1.0))
    assert sorted(spans(closed)[:2]) == [3, 4]
    assert spans(closed)[2:] == [2, 1]
    assert not opens.by_span
    opens = folded(FLOW, BATCH, FIRST, SECOND)
    assert spans(opens.close_all()) == [4, 3, 2, 1]
    assert not opens.by_span


def test_an_event_whose_start_is_missing_opens_it() -> None:
    """In the run's own flow, if that is open; what it is, is taken from the event."""
    for event, kind in (
        (of_run(Chunk, 9, 5, "Late", attempt=1, data="x"), "node"),
        (of_run(Retry, 9, 5, "Late", attempt=1, error="E", wait=0.0), "node"),
        (of_run(Chunk, 9, 5, "Late", data="x"), "flow"),
        (of_run(ItemEnd, 9, 5, "Late", items=(1,), status="ok", duration=0.0, done=1), "item"),
        (of_run(FlowEnd, 9, 5, "Late", status="ok", duration=0.0), "flow"),
    ):
        for before in ((FLOW,), ()):
            opens = folded(*before)
            opened = opens.find(event)
            assert opens.find(event) is opened
            assert (opened.kind, opened.began, opened.event) == (kind, False, event)
            assert opened.parent is opens.by_span.get(1)
            assert opens.root is opens.by_span.get(1)


def test_a_start_in_something_unknown_is_in_the_runs_flow() -> None:
    """And one of the run's own flow in nothing."""
    opens = folded(FLOW, SECOND)
    assert opens.by_span[4].parent is opens.root
    assert folded(SECOND).by_span[4].parent is None


def test_a_start_that_comes_twice_begins_anew() -> None:
    """What was open in it is closed."""
    opens = folded(FLOW, BATCH, FIRST)
    before = opens.by_span[2]
    take(opens, BATCH)
    assert opens.by_span[2] is not before
    assert spans(opens.by_span.values()) == [1, 2]
    assert spans(opens.by_span[1].inside.values()) == [2]


def test_a_start_that_encloses_itself_is_harmless() -> None:
    """It is in the run's own flow."""
    odd = of_run(NodeStart, 2, 2, "Odd", parent=2)
    opens = folded(FLOW, odd, odd)
    assert opens.by_span[2].parent is opens.root


@given(st.lists(st.sampled_from(range(len(full_record()))), max_size=30), st.booleans())
def test_any_events_leave_a_tree(places: list[int], in_order: bool) -> None:
    """Whatever is missing, twice or out of its place, each open start is in one that is open."""
    record = full_record()
    opens: OpenStarts[Opened] = OpenStarts(Opened)
    for place in sorted(places) if in_order else places:
        before = list(opens.by_span.values())
        closed = take(opens, record[place])
        for number, each in enumerate(closed):
            assert opens.by_span.get(each.span) is not each
            assert each.parent is None or each.parent not in closed[:number]
        gone = [each for each in before if opens.by_span.get(each.span) is not each]
        assert set(gone) <= {*closed} or starts(record[place])
        for each in opens.by_span.values():
            inside = [other for other in opens.by_span.values() if other.parent is each]
            assert list(each.inside.values()) == inside
            assert each.parent is None or opens.by_span.get(each.parent.span) is each.parent


def test_a_whole_run_is_closed_at_its_end() -> None:
    """And open are those that have begun and not ended, after each event."""
    opens: OpenStarts[Opened] = OpenStarts(Opened)
    begun: list[int] = []
    for event in full_record():
        take(opens, event)
        if starts(event):
            begun.append(event.span)
        elif ends(event):
            begun.remove(event.span)
        assert spans(opens.by_span.values()) == begun
    assert begun == []
