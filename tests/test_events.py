"""The typed events: what they hold, and their JSON there and back."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowevents
from flowevents import (
    Action,
    Chunk,
    Event,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    Progress,
    Reply,
    Retry,
    UnknownEvent,
    signals,
)
from flowevents.events import EVENT_TYPES, decode, describe_error, encode
from flowevents.testing import capture_events

FREE = ("data", "value", "result", "prompt", "choices", "schema", "metadata")
BASE: dict[str, Any] = {"run_id": "r", "seq": 3, "time": 1.5, "span": 2, "node": "A"}

# -- what may be in an event ----------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
statuses = st.sampled_from(["ok", "error", "cancelled"])
common: dict[str, st.SearchStrategy[Any]] = {
    "run_id": st.text(min_size=1),
    "seq": st.integers(1, 2**53),
    "time": finite,
    "span": st.integers(1, 2**53),
    "node": st.text(),
    "items": st.lists(st.integers(0, 2**53)).map(tuple),
    "step": st.integers(0, 2**53),
    "attempt": st.integers(0, 2**53),
}
own: dict[type[Event], dict[str, st.SearchStrategy[Any]]] = {
    FlowStart: {
        "parent": st.integers(0, 2**53),
        "flow": st.text(),
        "metadata": st.dictionaries(st.text(), json_values, max_size=3),
    },
    NodeStart: {"parent": st.integers(0, 2**53)},
    ItemStart: {
        "parent": st.integers(0, 2**53),
        "total": st.none() | st.integers(0, 2**53),
        "label": st.text(),
    },
    Chunk: {"data": json_values, "kind": st.text()},
    Progress: {"done": finite, "total": st.none() | finite, "label": st.text()},
    Retry: {"error": st.text(), "wait": finite, "fallback": st.booleans()},
    Interrupt: {
        "id": st.text(),
        "prompt": json_values,
        "choices": st.none() | st.lists(json_values, max_size=3),
        "schema": st.none() | st.dictionaries(st.text(), json_values, max_size=3),
        "expires": st.none() | finite,
    },
    Reply: {"id": st.text(), "value": json_values},
    ItemEnd: {
        "status": statuses,
        "duration": finite,
        "error": st.none() | st.text(),
        "done": st.integers(0, 2**53),
        "total": st.none() | st.integers(0, 2**53),
    },
    NodeEnd: {
        "status": statuses,
        "duration": finite,
        "error": st.none() | st.text(),
        "result": json_values,
    },
    Action: {
        "action": st.none() | st.text(),
        "target": st.none() | st.text(),
        "known": st.booleans(),
    },
    FlowEnd: {
        "status": statuses,
        "duration": finite,
        "action": st.none() | st.text(),
        "error": st.none() | st.text(),
    },
}
any_event = st.one_of([st.builds(kind, **common, **fields) for kind, fields in own.items()])


def chunk(data: object) -> Chunk:
    """A chunk of this data."""
    return Chunk(**BASE, data=data)


def there_and_back(data: object) -> Any:
    """What is read of a chunk with this data."""
    read = decode(encode(chunk(data)))
    assert isinstance(read, Chunk)
    return read.data


# -- the table ------------------------------------------------------------------------------------


def test_each_event_has_its_signal() -> None:
    """The types are those of the design's table, in its order."""
    assert [kind.signal for kind in EVENT_TYPES] == [
        *("flow_start", "node_start", "item_start", "chunk", "progress", "retry"),
        *("interrupt", "reply", "item_end", "node_end", "action", "flow_end"),
    ]
    for kind in EVENT_TYPES:
        assert getattr(signals, kind.signal).event_type is kind
        assert getattr(flowevents, kind.__name__) is kind
        assert set(own[kind]) | set(common) == set(kind.__struct_fields__)
        assert kind.__struct_fields__[: len(common)] == tuple(common)


@given(any_event)
def test_an_event_is_frozen(event: Event) -> None:
    """No field of an event can be set, and it gets no others."""
    for name in (*event.__struct_fields__, "another"):
        with pytest.raises(AttributeError):
            setattr(event, name, None)


def test_an_event_takes_its_own_fields_by_keyword_only() -> None:
    """Fields can be added to a type without another meaning of an old call."""
    positional: Any = Chunk
    common = ("r", 3, 1.5, 2, "A", (), 1, 1)
    assert positional(*common, data=1) == positional(
        run_id="r", seq=3, time=1.5, span=2, node="A", step=1, attempt=1, data=1
    )
    with pytest.raises(TypeError):
        positional(*common, 1)
    with pytest.raises(TypeError, match="data"):
        positional(**BASE)
    with pytest.raises(TypeError, match="another"):
        positional(**BASE, data=1, another=2)


def test_metadata_are_an_events_own() -> None:
    """Two events share no default."""
    one, other = (FlowStart(**BASE, parent=0, flow="F") for _ in range(2))
    assert one.metadata == {}
    assert one.metadata is not other.metadata


@given(any_event)
def test_an_event_can_be_copied_and_pickled(event: Event) -> None:
    """It goes to threads and processes as it is."""
    assert copy.copy(event) == copy.deepcopy(event) == pickle.loads(pickle.dumps(event)) == event


def test_the_fields_of_an_event_have_types_that_can_be_read() -> None:
    """Type hints resolve at run time, as tools that read them expect."""
    for kind in (*EVENT_TYPES, UnknownEvent):
        assert get_type_hints(kind)["items"] == tuple[int, ...]


# -- there and back -------------------------------------------------------------------------------


@given(any_event)
def test_an_event_of_plain_values_comes_back_as_it_was(event: Event) -> None:
    """Every field of every type survives JSON, read as bytes or as text."""
    raw = encode(event)
    assert type(raw) is bytes
    assert b"\n" not in raw
    assert decode(raw) == event
    assert decode(raw.decode()) == event
    assert type(decode(raw)) is type(event)
    assert json.loads(raw)["type"] == type(event).__name__
    assert list(json.loads(raw)) == ["type", *event.__struct_fields__]


def test_the_json_of_an_event_is_as_written_here() -> None:
    """One example, to the letter: what is stored is read by others for years."""
    event = Chunk(**BASE, items=(0, 2), step=1, attempt=2, data={"a": [1, "ü", None]})
    assert encode(event).decode() == (
        '{"type":"Chunk","run_id":"r","seq":3,"time":1.5,"span":2,"node":"A","items":[0,2],'
        '"step":1,"attempt":2,"data":{"a":[1,"ü",null]},"kind":"output"}'
    )


def test_fields_with_defaults_may_be_missing() -> None:
    """An event that an older version wrote can be read."""
    raw = b'{"type":"ItemEnd","run_id":"r","seq":3,"time":1,"span":2,"node":"A",'
    event = decode(raw + b'"status":"ok","duration":1}')
    expected = ItemEnd(**BASE, status="ok", duration=1.0)
    assert event == msgspec.structs.replace(expected, time=1.0)


# -- what JSON cannot hold ------------------------------------------------------------------------


class Odd:
    """Nothing that JSON knows."""


class Breaks:
    """Fails whatever is asked of it."""

    def __iter__(self) -> Iterator[object]:
        raise RuntimeError("not to be looked at")

    def __repr__(self) -> str:
        raise RuntimeError("not to be looked at")

    __str__ = __repr__
    keys = items = __len__ = __iter__


@dataclasses.dataclass
class Holder:
    held: object


@dataclasses.dataclass
class Slotted:
    __slots__ = ("held",)
    held: object


ODD = {"$type": f"{__name__}.Odd"}


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (Odd(), ODD),
        ([1, {"a": Odd()}], [1, {"a": ODD}]),
        ((Odd(),), [ODD]),
        (Odd, {"$type": "builtins.type"}),
        (Breaks(), {"$type": f"{__name__}.Breaks"}),
        (ValueError("x"), {"$type": "builtins.ValueError"}),
        (print, {"$type": "builtins.builtin_function_or_method"}),
        (3 + 4j, {"$type": "builtins.complex"}),
        (range(3), {"$type": "builtins.range"}),
        (Holder(Odd()), {"held": ODD}),
        (Holder("\ud800"), {"held": "\ufffd"}),
        (chunk(Odd()), json.loads(encode(chunk(Odd())))),
        ({1: "a", 2.5: "b", None: "c"}, {"1": "a", "2.5": "b", "None": "c"}),
        ({(1, 2): "a"}, {"builtins.tuple": "a"}),
        ({"a": {Odd(): 1}}, {"a": {f"{__name__}.Odd": 1}}),
        ("\ud800", "\ufffd"),
        ("a\udfff\ud800b", "a\ufffd\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ({"\udcff": ["\udcff"]}, {"\ufffd": ["\ufffd"]}),
        (["\ud800", Odd()], ["\ufffd", ODD]),
        (b"\xff", "/w=="),
        (2**70, 2**70),
    ],
)
def test_data_that_json_cannot_hold_is_named(data: object, read: object) -> None:
    """An object becomes its type's name, a lone surrogate U+FFFD; what is around it stays."""
    assert there_and_back(data) == read


class Text(str):
    """A text of its own kind, as those of template engines and models' clients."""


class Number(float):
    """A number of its own kind, as those of numeric libraries."""


class Whole(int):
    """A whole number of its own kind."""


@pytest.mark.parametrize(
    ("data", "read"),
    [(Text("a"), "a"), (Text("\ud800"), "\ufffd"), (Number(0.5), 0.5), (Whole(3), 3)],
)
def test_kinds_of_texts_and_numbers_are_texts_and_numbers(data: object, read: object) -> None:
    """JSON can hold them, as Python's own `json` does; also as keys and within others."""
    assert there_and_back(data) == read
    assert there_and_back([data, Odd()]) == [read, ODD]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_know_does_not_fail(number: float) -> None:
    """Written it is a `null`."""
    assert there_and_back([number, 1.0]) == [None, 1.0]


def test_data_that_hold_themselves_are_named_where_they_do() -> None:
    """A cycle ends at its second sight; what is seen twice without one is written twice."""
    cycle: list[Any] = [1]
    cycle.append({"again": cycle})
    assert there_and_back(cycle) == [1, {"again": {"$type": "builtins.list"}}]
    holder = Holder(None)
    holder.held = holder
    assert there_and_back(holder) == {"held": {"$type": f"{__name__}.Holder"}}
    twice = ["\ud800"]
    assert there_and_back([twice, twice]) == [["\ufffd"], ["\ufffd"]]


@pytest.mark.parametrize("depth", [10, 100, 1_000, 10_000, 100_000])
def test_data_of_any_depth_are_written_and_read(depth: int) -> None:
    """Nesting beyond what can be written is cut, not an error.

    From CPython 3.14 on only the C stack is a limit, and reading takes more of it than writing.
    """
    too_deep = depth > 10_000 and sys.version_info >= (3, 14)
    for innermost in ("\ud800", 1):
        nested: list[Any] = [innermost]
        for _ in range(depth):
            nested = [nested]
        with suppress(RecursionError) if too_deep else nullcontext():
            there_and_back(nested)


def test_unwritable_values_are_named_in_every_free_field() -> None:
    """Not only in `data`: answers, results, prompts, choices, schemas and metadata too."""
    odd = Odd()
    free: list[Event] = [
        FlowStart(**BASE, parent=0, flow="F", metadata={"a": odd}),
        Interrupt(**BASE, id="q", prompt=odd, choices=[odd], schema={"a": odd}),
        Reply(**BASE, id="q", value=odd),
        NodeEnd(**BASE, status="ok", duration=0.0, result=odd),
    ]
    for event in free:
        for name in set(FREE) & set(event.__struct_fields__):
            read = getattr(decode(encode(event)), name)
            assert read in (ODD, [ODD], {"a": ODD}), name


def test_surrogates_are_replaced_in_every_text() -> None:
    """Names, errors, labels and ids may hold them too, as texts from a model do."""
    lone = "a\ud800"
    texts: dict[str, Any] = {**BASE, "run_id": lone, "node": lone}
    events: list[Event] = [
        FlowStart(**texts, parent=0, flow=lone),
        Chunk(**texts, data=lone, kind=lone),
        Progress(**texts, done=1, label=lone),
        Retry(**texts, error=lone),
        Reply(**texts, id=lone, value=lone),
        Action(**texts, action=lone, target=lone),
        FlowEnd(**texts, status="error", duration=0.0, error=lone),
    ]
    for event in events:
        replaced = {
            name: "a\ufffd" for name in event.__struct_fields__ if getattr(event, name) == lone
        }
        assert decode(encode(event)) == msgspec.structs.replace(event, **replaced)


surrogates = st.characters(categories=["Cs"])
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text()
    | st.text(surrogates | st.characters())
    | st.binary()
    | st.complex_numbers()
    | st.dates()
    | st.timedeltas()
    | st.decimals()
    | st.fractions()
    | st.builds(Odd)
    | st.builds(Breaks)
    | st.builds(Text, st.text(surrogates))
    | st.just(Odd)
    | st.just(...),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.builds(Holder, inner)
        | st.builds(Slotted, inner)
        | st.dictionaries(
            st.text(surrogates)
            | st.integers()
            | st.tuples(st.integers())
            | st.none()
            | st.builds(Odd),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(anything)
def test_any_data_can_be_written_and_read(data: object) -> None:
    """Nothing fails because it was observed, and the fields beside the data stay."""
    event = chunk(data)
    read = decode(encode(event))
    assert isinstance(read, Chunk)
    assert msgspec.structs.replace(read, data=None) == msgspec.structs.replace(event, data=None)
    assert there_and_back(read.data) == read.data


@given(anything, anything)
def test_whatever_a_node_publishes_can_be_read_again(data: object, kind: Any) -> None:
    """A node may give the wrong types to `emit` and `progress`: either it is told, or they work."""

    class Careless(Node):
        def exec(self, prep_res: Any) -> None:
            for method, values in (
                (self.emit, (data, kind)),
                (self.progress, (kind,)),
                (self.progress, (1, kind, kind)),
            ):
                publish: Any = method
                try:
                    publish(*values)
                except Exception:  # what is told
                    pass

    with capture_events() as caught:
        Careless().run({})
    for event in caught:
        assert type(decode(encode(event))) is type(event)


# -- what other versions wrote --------------------------------------------------------------------


def test_unknown_fields_are_ignored() -> None:
    """A newer version may add fields to a type."""
    fields = json.loads(encode(chunk(1))) | {"new": {"a": 1}}
    assert decode(json.dumps(fields)) == chunk(1)


@given(
    st.builds(dict, **common),
    st.text().filter(lambda name: name not in {kind.__name__ for kind in EVENT_TYPES}),
    st.dictionaries(st.text(), json_values, max_size=3),
)
def test_an_unknown_type_is_kept_whole(
    base: dict[str, Any], kind: str, more: dict[str, Any]
) -> None:
    """It is an `UnknownEvent`, which is placed as others are and is written as it was read."""
    fields = more | base | {"type": kind, "items": list(base["items"])}
    event = decode(json.dumps(fields))
    assert isinstance(event, UnknownEvent)
    assert event.fields == fields
    for name in common:
        assert getattr(event, name) == base[name]
    assert json.loads(encode(event)) == fields
    assert decode(encode(event)) == event


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"1",
        b"{}",
        b'{"type":5}',
        b'{"type":"Chunk"}',
        b'{"type":"Chunk","run_id":"r","seq":"3","time":1,"span":2,"node":"A","data":1}',
        b'{"type":"NodeEnd","run_id":"r","seq":3,"time":1,"span":2,"node":"A","status":"odd",'
        b'"duration":1}',
        b'{"type":"New"}',
        b'{"type":"New","run_id":5,"seq":3,"time":1,"span":2,"node":"A"}',
    ],
)
def test_json_that_is_no_event_is_refused(raw: bytes) -> None:
    """A missing or wrong field, known type or not, is a `ValidationError`."""
    with pytest.raises(msgspec.ValidationError):
        decode(raw)


@pytest.mark.parametrize("raw", [b"", b"{", b"nonsense", b'{"type":"Chunk"', b"\xff"])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    """It is a `DecodeError`."""
    with pytest.raises(msgspec.DecodeError):
        decode(raw)


# -- errors ---------------------------------------------------------------------------------------


class Failing(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("x is 5"), "ValueError: x is 5"),
        (ValueError(), "ValueError"),
        (KeyError("k"), "KeyError: 'k'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("two\nlines"), "ValueError: two\nlines"),
        (Failing(), "Failing: <its text failed with ValueError>"),
    ],
)
def test_an_error_is_its_type_and_its_text(error: BaseException, text: str) -> None:
    """As the last line of a traceback says it."""
    assert describe_error(error) == text


class Long(Node):
    """Fails twice with a text of that length."""

    def __init__(self, length: int) -> None:
        super().__init__(max_retries=2)
        self.length = length

    def exec(self, prep_res: Any) -> None:
        raise ValueError("x" * self.length)


def errors_of(node: Node, **options: Any) -> list[str | None]:
    """What the events of a failing run say of it: of its retry, its end and its flow's."""
    with capture_events() as caught, pytest.raises(ValueError):  # noqa: PT011 - a long text
        node.run({}, **options)
    return [event.error for event in caught if isinstance(event, (Retry, NodeEnd, FlowEnd))]


@pytest.mark.parametrize("length", [1_987, 1_988, 1_989, 100_000])
def test_an_error_has_at_most_2000_characters(length: int) -> None:
    """A longer text is cut at its end."""
    text = "ValueError: " + "x" * length
    assert errors_of(Long(length)) == [text[:2_000]] * 3


def test_an_error_is_redacted_before_it_is_cut() -> None:
    """So that no half of a secret is left; and what is left is never nothing."""
    assert (
        errors_of(Long(3), redact=lambda text: text.replace("x", "y" * 1_000))
        == ["ValueError: " + "y" * 1_988] * 3
    )
    assert (
        errors_of(Long(5_000), redact=lambda text: text.replace("x" * 5_000, "?"))
        == ["ValueError: ?"] * 3
    )
    assert errors_of(Long(3), redact=lambda text: "") == ["ValueError"] * 3
