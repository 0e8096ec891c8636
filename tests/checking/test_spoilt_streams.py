"""Good streams, spoilt: what is wrong with them is noticed."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowevents import (
    Action,
    Chunk,
    Event,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeStart,
    Progress,
    Reply,
    Retry,
)
from flowevents.events import EVENT_TYPES
from flowevents.testing import check_events
from tests.checking.runs import AWAITED, CLOSING, PLAIN, recorded, status, stream_of

PARALLEL = {name for name in AWAITED if "parallel" in name}


def whole(name: str) -> bool:
    """Whether that run ended well."""
    return status(name) == "ok"


OPENING = (FlowStart, NodeStart, ItemStart)

MOST = 40  # events at the beginning of a stream of which each is tried at each place

LOOSE = (Chunk, Progress)  # which may come anywhere between the start and the end of their span

NAMES = st.sampled_from([*PLAIN, *AWAITED])


def renumbered(stream: list[Event]) -> list[Event]:
    """The same events, numbered as they stand; what refers to another one still does."""
    at: dict[int, int] = {}
    for place, event in enumerate(stream, 1):
        at.setdefault(event.seq, place)
    at[0] = 0
    told: list[Event] = []
    for place, event in enumerate(stream, 1):
        changes: dict[str, Any] = {"seq": place, "span": at.get(event.span, 10_000)}
        if isinstance(event, OPENING):
            changes["span"] = place if event.span == event.seq else changes["span"]
            changes["parent"] = at.get(event.parent, 10_000)
        told.append(msgspec.structs.replace(event, **changes))
    return told


def refused(stream: list[Event], what: str) -> None:
    """Check that `check_events` finds fault with it."""
    with pytest.raises(AssertionError) as caught:
        check_events(stream)
        pytest.fail(f"{what} was not noticed:\n" + "\n".join(map(str, stream)))
    assert str(caught.value).startswith("seq ")


STREAMS = [*PLAIN, *AWAITED, "a question"]


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_that_is_lost_is_noticed(name: str) -> None:
    """Any event may be missing: its number is."""
    stream = stream_of(name)
    for place, event in enumerate(stream):
        refused(stream[:place] + stream[place + 1 :], f"the loss of {event}")


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_that_comes_twice_is_noticed(name: str) -> None:
    """Any event may come again, later or at once."""
    stream = stream_of(name)
    for place, event in enumerate(stream):
        refused([*stream[: place + 1], event, *stream[place + 1 :]], f"a second {event}")
        refused([*stream, event], f"another {event} at the end")


@pytest.mark.parametrize("name", STREAMS)
def test_two_events_in_the_wrong_order_are_noticed(name: str) -> None:
    """Any two events may have changed places."""
    stream = stream_of(name)
    for one, other in itertools.combinations(range(min(len(stream), MOST)), 2):
        swapped = list(stream)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        refused(swapped, f"the order of {swapped[one]} and {swapped[other]}")


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_that_was_never_sent_is_noticed(name: str) -> None:
    """Where the numbers have no hole, everything but a chunk or a progress is missed."""
    stream = stream_of(name)
    for place, event in enumerate(stream):
        if isinstance(event, LOOSE):
            continue
        if isinstance(event, Interrupt) and event.expires is not None:
            continue  # nobody answered it
        if isinstance(event, Action) and not whole(name):
            continue  # the flow may have failed before it
        refused(renumbered(stream[:place] + stream[place + 1 :]), f"the absence of {event}")


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_that_was_sent_twice_is_noticed(name: str) -> None:
    """Where the numbers go on, the double of all but a chunk or a progress is noticed anywhere."""
    stream = stream_of(name)
    for event in stream[:MOST]:
        if not isinstance(event, LOOSE):
            double = msgspec.structs.replace(event, seq=-1)
            if event.span == event.seq:
                double = msgspec.structs.replace(double, span=-1)
            for place in range(1, min(len(stream), MOST) + 1):
                doubled = [*stream[:place], double, *stream[place:]]
                refused(renumbered(doubled), f"the double of {event}")


@pytest.mark.parametrize("name", STREAMS)
def test_neighbours_in_the_wrong_order_are_noticed(name: str) -> None:
    """Where the numbers fit, two neighbours that belong together cannot change places."""
    stream = stream_of(name)
    for place, (one, other) in enumerate(itertools.pairwise(stream)):
        loose = (*LOOSE, Interrupt, Reply)
        question = isinstance(one, Interrupt) and isinstance(other, Reply)
        if isinstance(one, loose) and isinstance(other, loose) and not question:
            continue
        if one.span != other.span and (
            name in PARALLEL
            or isinstance(one, LOOSE)
            or isinstance(other, LOOSE)
            or (isinstance(one, ItemEnd) and isinstance(other, ItemStart))
        ):
            continue  # strands of their own
        swapped = [*stream[:place], other, one, *stream[place + 2 :]]
        refused(renumbered(swapped), f"the order of {other} and {one}")


def bound(one: Event, other: Event) -> bool:
    """Whether they have an order: nothing that is loose does, nor what is of different items."""
    if isinstance(one, LOOSE) or isinstance(other, LOOSE):
        return False
    if isinstance(one, (Interrupt, Reply)) and isinstance(other, (Interrupt, Reply)):
        return one.id == other.id
    return all(index == another for index, another in zip(one.items, other.items, strict=False))


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_that_came_too_early_or_too_late_is_noticed(name: str) -> None:
    """Where the numbers fit, none can have passed one with which it has an order."""
    stream = stream_of(name)
    for place, event in enumerate(stream[:MOST]):
        others = stream[:place] + stream[place + 1 :]
        for later in range(min(len(stream), MOST)):
            passed = stream[min(place, later) : max(place, later) + 1]
            if any(bound(event, each) for each in passed if each is not event):
                moved = [*others[:later], event, *others[later:]]
                refused(renumbered(moved), f"at place {later}, {event}")


OWN: dict[str, Any] = {"parent": 1, "flow": "F", "data": 1, "prompt": 1, "value": 1, "id": "new"}
OWN |= {"done": 1, "error": "E", "status": "ok", "duration": 0.0, "action": None}


def retyped(event: Event, kind: type[Event]) -> Event:
    """An event of another type that says as much of the same as it can."""
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    fields = OWN | {name: value for name, value in fields.items() if value is not None}
    fields["span"] = event.seq if kind in OPENING else fields["span"]
    return kind(**{name: fields[name] for name in kind.__struct_fields__ if name in fields})


def given_up(stream: list[Event], place: int) -> bool:
    """Whether the code that spoke there failed, so that a question of it has no answer."""
    for event in stream[place + 1 :]:
        if event.span == stream[place].span and isinstance(event, (Retry, *CLOSING)):
            return isinstance(event, Retry) or event.status != "ok"
    return True


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_of_another_type_is_noticed(name: str) -> None:
    """No event can stand for one of another type, but what is loose, or asked and given up."""
    stream = stream_of(name)
    for place, event in enumerate(stream):
        loose = isinstance(event, LOOSE) or bool(getattr(event, "expires", None))
        for kind in EVENT_TYPES:
            if kind is type(event) or (loose and kind in LOOSE):
                continue
            if loose and kind is Interrupt and given_up(stream, place):
                continue
            edited = [*stream[:place], retyped(event, kind), *stream[place + 1 :]]
            refused(edited, f"{kind.__name__} in place of {event}")


@pytest.mark.parametrize("name", STREAMS)
def test_a_field_of_another_type_is_noticed(name: str) -> None:
    """All but those that may hold anything hold what their type says."""
    free = ("data", "value", "result", "prompt", "schema", "metadata")
    stream = stream_of(name)
    for place, event in enumerate(stream):
        for field in set(event.__struct_fields__) - set(free):
            for value in ({"odd": 1}, [None] if field != "choices" else 1):
                changed = msgspec.structs.replace(event, **{field: value})
                refused([*stream[:place], changed, *stream[place + 1 :]], f"{changed}")


NO_NUMBERS = st.sampled_from([float("nan"), float("inf"), -float("inf")])

EDITS: dict[str, st.SearchStrategy[Any]] = {
    "run_id": st.text(),
    "seq": st.integers(),
    "span": st.integers(),
    "parent": st.integers(),
    "node": st.text() | st.sampled_from(["", "Plan", "Talk", "Flow/Talk", "Talk#2", "Talk/"]),
    "items": st.lists(st.integers(-1, 5), max_size=3).map(tuple),
    "step": st.integers(),
    "attempt": st.integers(),
    "total": st.none() | st.integers(),
    "done": st.integers(),
    "done of a progress": NO_NUMBERS,
    "expires": NO_NUMBERS,
    "time": NO_NUMBERS,
    "duration": st.floats(max_value=0, exclude_max=True) | st.just(float("nan")),
    "wait": st.floats(max_value=0, exclude_max=True) | st.just(float("inf")),
    "id": st.text(),
    "target": st.text(),
    "error": st.just("") | st.text(min_size=2_001, max_size=2_100),
    "status": st.text(),
}


@given(st.sampled_from(STREAMS), st.data())
def test_a_field_that_says_something_else_is_noticed(name: str, data: st.DataObject) -> None:
    """A number, a name or a place that differs in a single event is noticed."""
    stream = stream_of(name)
    place = data.draw(st.integers(0, len(stream) - 1), label="place")
    event = stream[place]
    fields = [field for field in event.__struct_fields__ if field in EDITS]
    if isinstance(event, Progress):  # these say what the node wants them to, but for a number
        fields = [field for field in fields if field not in ("done", "total")]
        fields += ["done of a progress"]
    if isinstance(event, Action) and not whole(name):
        fields.remove("target")  # the target may not have begun
    if isinstance(event, Interrupt) and event.expires is not None:
        fields.remove("id")  # nobody answered it
    field = data.draw(st.sampled_from(fields), label="field")
    value = data.draw(EDITS[field], label="value")
    field = field.partition(" ")[0]
    assume(value != getattr(event, field))
    edited = [
        *stream[:place],
        msgspec.structs.replace(event, **{field: value}),
        *stream[place + 1 :],
    ]
    refused(edited, f"{field}={value!r} of {event}")


@pytest.mark.parametrize("name", STREAMS)
def test_an_end_that_says_another_status_is_noticed(name: str) -> None:
    """An end that is ok and one that failed cannot change places, their errors left alone."""
    other = {"ok": "error", "error": "ok", "cancelled": "ok"}
    stream = stream_of(name)
    for place, event in enumerate(stream):
        if isinstance(event, CLOSING) and (event.error or event.status != "cancelled"):
            edited = list(stream)
            edited[place] = msgspec.structs.replace(event, status=other[event.status])
            refused(edited, f"{other[event.status]!r} as the status of {event}")


@given(NAMES, st.data())
def test_two_runs_in_one_stream_are_noticed(name: str, data: st.DataObject) -> None:
    """An event of another run is, wherever it comes."""
    stream = list(recorded(name))
    foreign = [msgspec.structs.replace(event, run_id="another") for event in stream]
    place = data.draw(st.integers(0, len(stream)))
    refused(stream[:place] + foreign[place:] if 0 < place < len(stream) else stream + foreign, name)
