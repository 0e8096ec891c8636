"""What a journal keeps comes back equal and of the same type, or is refused by its key."""

from __future__ import annotations

import enum
import math
import string
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowevents import JournalError
from flowevents.journal.codec import Codec


class Point(msgspec.Struct):
    """A Struct that changes what it is given, where it is made."""

    x: int
    tags: list[str] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        self.x += 1


class Frozen(msgspec.Struct, frozen=True, rename="camel", tag=True, kw_only=True):
    """A frozen one."""

    the_x: Any


@dataclass
class Document:
    """A dataclass whose fields are not all given, and that checks them."""

    name: str
    parts: Any = field(default_factory=list, init=False)
    made: ClassVar[int] = 0

    def __post_init__(self) -> None:
        Document.made += 1


@dataclass(frozen=True, slots=True, order=True)
class Slots:
    """One without a `__dict__`."""

    a: Any
    b: Any = None
    kind: ClassVar[str] = "slots"


class Model(pydantic.BaseModel):
    """A pydantic model."""

    name: str
    inner: Any = None
    _secret: int = pydantic.PrivateAttr(default=1)


class Open(pydantic.BaseModel, extra="allow", frozen=True):
    """One that takes more than it says."""

    at: int = 0


class Color(enum.Enum):
    """An enum with values that no journal keeps."""

    RED = object()
    BLUE = "blue"
    AZURE = "blue"  # noqa: PIE796


class Level(enum.IntEnum):
    """One whose members are numbers."""

    LOW = 1


class Text(enum.StrEnum):
    """One whose members are texts."""

    HELLO = "hello"


class Rights(enum.Flag):
    """One whose members are joined."""

    READ = 1
    WRITE = 2


TYPES = [Point, Frozen, Document, Slots, Model, Open, Color, Level, Text, Rights]


def _same(one: Any, other: Any) -> bool:
    """Whether they are equal, of the same types all the way down, and in the same order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and (
            one == other or (one != one and other != other)
        )
    if isinstance(one, dict):
        return len(one) == len(other) and all(map(_same, one.items(), other.items()))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and _same(sorted(one, key=repr), sorted(other, key=repr))
    if isinstance(one, datetime | time):
        return (one.isoformat(), one.fold) == (other.isoformat(), other.fold)
    if isinstance(one, Decimal):
        return str(one) == str(other)
    if isinstance(one, Slots | Frozen):
        return all(
            _same(getattr(one, n), getattr(other, n))
            for n in ("a", "b", "the_x")
            if hasattr(one, n)
        )
    return bool(one == other)


def _returned(value: Any) -> Any:
    return Codec(TYPES).decode(Codec(TYPES).encode(value, "value"))


def _document() -> Document:
    document = Document("a")
    document.parts = [Slots((1,), {2}), Color.RED]
    return document


def _model() -> Model:
    model = Model(name="a", inner=[Open(at=3, more=(1, 2))])  # type: ignore[call-arg]
    model._secret = 7
    return model


PLAIN: list[Any] = [
    *(None, True, False, 0, -1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**64), 1 << 5000),
    *(0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, math.nan, math.inf, -math.inf),
    *("", "a", "\x00", "é", "\ud800", "a\udfff", "$", '"$"', "\u2028"),
    *(b"", b"\x00\xff"),
    *([], [1, [2.0]], (), (1, (2,)), [()], set(), {1, "a"}, frozenset(), {frozenset({(1,)})}),
    *({}, {"a": {"b": 1}}, {"$": 1}, {"$": ["tuple", [1]]}, {1: "int"}, {"1": "str", 1: "int"}),
    *({None: 0, 2: 0, 1.5: 0, "x": 0, b"y": 0, math.inf: 0}, {"\ud800": 1}, {True: 1}),
    *({date(2024, 2, 29): 1, UUID(int=7): 2}, {Decimal("1.0"): (1,)}),
    *(date.min, date.max, datetime.max, time.max, time(1, 2, 3, 4, fold=1)),
    *(timedelta.min, timedelta.max, timedelta(microseconds=-1)),
    datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime(2024, 10, 27, 2, 30, tzinfo=timezone(timedelta(hours=-3, seconds=7))),
    time(1, tzinfo=ZoneInfo("Europe/Berlin")),
    *(datetime(1, 1, 1), Decimal("1.10"), Decimal("NaN"), Decimal("-Infinity"), Decimal("1E+9")),
    UUID(int=2**128 - 1),
]


@pytest.mark.parametrize("value", PLAIN, ids=map(str, range(len(PLAIN))))
def test_every_built_in_type_comes_back(value: Any) -> None:
    """By itself, and inside of what else there is."""
    for whole in (value, [value], (value,), {"a": value}, {"$": value}, [[(value, 1)]]):
        assert _same(_returned(whole), whole)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Frozen(the_x=(1, 2)),
        _document,
        lambda: Slots(1, [Slots(b"x")]),
        _model,
        lambda: Open(at=1),
        lambda: Color.RED,
        lambda: Color.AZURE,
        lambda: Level.LOW,
        lambda: Text.HELLO,
        lambda: Rights.READ | Rights.WRITE,
        lambda: Rights(0),
        lambda: {Slots(1, 2), Slots(1, 3)},
        lambda: {frozenset({Level.LOW})},
    ],
    ids=map(str, range(13)),
)
def test_classes_of_state_types_come_back(make: Callable[[], Any]) -> None:
    """Each kind of them, with what is inside."""
    value = make()
    assert _same(_returned([value])[0], value)


def test_equal_sets_are_kept_alike() -> None:
    """Whatever their order is: in another process it is another one for texts."""
    one, two = set[Any]([0, 8, "b"]), set[Any]([8, "b", 0])
    assert list(one) != list(two)
    for kind in (set, frozenset):
        assert Codec().encode(kind(one), "one") == Codec().encode(kind(two), "two")


def test_nothing_is_made_twice() -> None:
    """What `__post_init__` does was done when the object was made first."""
    point, document, model = Point(1), _document(), _model()
    made = Document.made
    assert _returned(point) == point
    assert _returned(document) == document
    assert Document.made == made
    back = _returned(model)
    assert (back._secret, back.model_fields_set) == (7, {"name", "inner"})
    assert back.inner[0].more == (1, 2)


class Pair(NamedTuple):
    """A subclass of a built-in class."""

    a: int


class Words(list[str]):
    """Another."""


def _cycle() -> list[Any]:
    values: list[Any] = [1]
    values.append({"again": values})
    return values


def _deep() -> Any:
    value: Any = ()
    for _ in range(100_000):
        value = (value,)
    return value


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (object(), "v is an object"),
        ({"faiss": [1, print]}, r"v\['faiss'\]\[1\] is a builtin_function_or_method"),
        ([{"a": (1, {2: Words()})}], r"v\[0\]\['a'\]\[1\]\[2\] is a tests.*Words"),
        (Pair(1), "v is a tests.*Pair"),
        (Counter("a"), "v is a collections.Counter"),
        (OrderedDict(a=1), "v is a collections.OrderedDict"),
        ({"a": defaultdict(list)}, r"v\['a'\] is a collections.defaultdict"),
        (bytearray(b"a"), "v is a bytearray"),
        (1j, "v is a complex"),
        (range(3), "v is a range"),
        ([iter(())], r"v\[0\] is a tuple_iterator"),
        ([int], r"v\[0\] is a type"),
        ({(1, 2): 3}, r"v has the key \(1, 2\)"),
        ({"a": {Level.LOW: 1}}, r"v\['a'\] has the key <Level"),
        (_cycle(), r"v\[1\]\['again'\] contains itself"),
        (_deep(), "v is nested too deeply"),
        (Document("a"), "v is a tests.*Document"),
        (Level.LOW, "v is a tests.*Level"),
        ({"a": [Text.HELLO]}, r"v\['a'\]\[0\] is a tests.*Text"),
        (True + 0j, "v is a complex"),
        (datetime(2024, 1, 1, tzinfo=type("Zone", (ZoneInfo,), {})("UTC")), "v is a time in"),
    ],
    ids=map(str, range(21)),
)
def test_what_cannot_be_kept_is_refused_by_its_key(value: Any, where: str) -> None:
    """With the ways out."""
    with pytest.raises(JournalError, match=where) as caught:
        Codec().encode(value, "v")
    assert "deeply" in where or "transient={…}" in str(caught.value)


def test_state_types_are_checked() -> None:
    """They are classes of which a journal knows what they are made of, each name once."""

    def made() -> Any:
        class Local(enum.Enum):
            A = 1

        return Local

    first, second = made(), made()
    for wrong in ([int], [Words], ["Document"], [Document("a")], [object]):
        with pytest.raises(JournalError, match="state_types: "):
            Codec(wrong)  # type: ignore[arg-type]
    with pytest.raises(JournalError, match="two classes"):
        Codec([first, second])
    assert Codec([first, first]).encode(first["A"], "v")
    with pytest.raises(JournalError, match=r"v is a tests.*Local"):
        Codec([first]).encode(second["A"], "v")


def test_a_log_does_not_say_what_is_imported() -> None:
    """What is not in `state_types` is an error that names it."""
    raw = Codec(TYPES).encode({"a": Slots(1)}, "v")
    with pytest.raises(JournalError, match=r"class tests.durable.test_codec.Slots"):
        Codec().decode(raw)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.sampled_from(["$", "tuple", "type"]),
    st.binary(),
    st.datetimes(timezones=st.none() | st.timezones() | st.just(UTC)),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
HASHED = st.recursive(
    SCALARS.filter(lambda value: value == value),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
VALUES = st.recursive(
    SCALARS | st.sampled_from([Color.RED, Level.LOW, Rights.READ | Rights.WRITE]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(HASHED, max_size=3),
        st.frozensets(HASHED, max_size=3),
        st.dictionaries(SCALARS, inner, max_size=3),
        st.dictionaries(st.text(string.ascii_letters + "$", max_size=2), inner, max_size=3),
        st.builds(Slots, inner, inner),
        st.builds(lambda x: Frozen(the_x=x), inner),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_value_comes_back(value: Any) -> None:
    """Whatever it is made of, and as one line."""
    raw = Codec(TYPES).encode(value, "value")
    assert b"\n" not in raw
    assert _same(Codec(TYPES).decode(raw), value)
