"""What an event's data become in JSON: nothing fails, and what JSON can hold is there."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import io
import json
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import attrs
import pydantic
import pytest
from rich.console import Console

from flowevents import Ask, JsonLines, LogObserver, Run, StreamNode, TerminalDisplay, read_events
from flowevents.events import Chunk, Interrupt, UnknownEvent, decode, encode

BASE: dict[str, Any] = {"run_id": "r", "seq": 3, "time": 1.5, "span": 2, "node": "A"}


def there_and_back(data: object) -> Any:
    """What a reader gets for it."""
    event = decode(encode(Chunk(**BASE, data=data)))
    assert isinstance(event, Chunk)
    return event.data


class Stubborn(str):
    """A text that cannot be written in Python's own ways."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __getitem__ = __radd__ = __str__  # type: ignore[assignment]


class StubbornNumber(int):
    """A number of which the same is true."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __index__ = __int__ = __str__  # type: ignore[assignment]


class Proxy:
    """Says that it is what it stands for, and gives that where it is asked to."""

    def __init__(self, of: Any) -> None:
        self.of = of

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.of)

    def __str__(self) -> str:
        return str(self.of)

    def __int__(self) -> int:
        return int(self.of)

    def __float__(self) -> float:
        return float(self.of)

    def __bool__(self) -> bool:
        return bool(self.of)

    def __iter__(self) -> Any:
        return iter(self.of)

    def __eq__(self, other: object) -> bool:
        return bool(self.of == other)

    def __hash__(self) -> int:
        return hash(self.of)


class Liar:
    """Only says so."""

    __class__ = int  # type: ignore[assignment]


LIAR = {"$type": f"{__name__}.Liar"}
A_MOCK = {"$type": "unittest.mock.MagicMock"}


CLAIMS: list[tuple[object, object]] = [
    (Stubborn("a"), "a"),
    (Stubborn("\ud800"), "\ufffd"),
    ({Stubborn("a"): [Stubborn("b")]}, {"a": ["b"]}),
    (StubbornNumber(3), 3),
    (Proxy("text"), "text"),
    (Proxy(3), 3),
    (Proxy(2.5), 2.5),
    (Proxy(True), True),
    ([Proxy("\ud800"), {Proxy("key"): 1}], ["\ufffd", {"key": 1}]),
    (Liar(), LIAR),
    *((mock.MagicMock(spec=kind), A_MOCK) for kind in (str, int, float, bool, dict, list)),
    (mock.MagicMock(), A_MOCK),
]


@pytest.mark.parametrize("claim", range(len(CLAIMS)))
def test_what_claims_to_be_plain(claim: int) -> None:
    """It is what it says where that is so, and its type's name otherwise; nothing fails."""
    data, read = CLAIMS[claim]
    assert there_and_back(data) == read
    assert there_and_back(["\ud800", data]) == ["\ufffd", read]


@pytest.mark.parametrize("digits", [20, 4_299, 4_301, 30_000])
def test_whole_numbers_of_any_size(digits: int) -> None:
    """Beyond what Python reads, by default 4,300 digits, their digits are a text."""
    for number in (10 ** (digits - 1) + 7, -(10 ** (digits - 1)) - 7):
        text = "-" * (number < 0) + "1" + "0" * (digits - 2) + "7"
        read = number if digits <= 4_300 else text
        assert there_and_back([number, "\ud800"]) == [read, "\ufffd"]
        assert there_and_back(number) == read
        assert there_and_back({number: 1}) == {text: 1}


TUPLES = ("builtins.tuple", "builtins.tuple#2", "builtins.tuple#3")
DATES = [datetime.date(2024, 1, day) for day in (1, 2)]


@pytest.mark.parametrize(
    ("data", "read"),
    [
        ({(1, 2): "a", (3, 4): "b"}, dict(zip(TUPLES, "ab", strict=False))),
        ({(1,): 1, (): [], (3,): 3}, dict(zip(TUPLES, [1, [], 3], strict=True))),
        (
            dict(zip(["\ud800", "\ud801", "\ufffd"], "abc", strict=True)),
            {"\ufffd": "a", "\ufffd#2": "b", "\ufffd#3": "c"},
        ),
        (
            {(): 1, DATES[0]: 2, DATES[1]: 3},
            {"builtins.tuple": 1, "2024-01-01": 2, "2024-01-02": 3},
        ),
    ],
)
def test_keys_that_would_be_the_same_are_told_apart(data: object, read: object) -> None:
    """No value of a dict is lost."""
    assert there_and_back(data) == read


class Array:
    """What numpy, torch and jax have: scalars and arrays with a type, a shape and `tolist`."""

    dtype = "float32"

    def __init__(self, value: Any, *shape: int) -> None:
        self.value = value
        self.shape = shape

    def tolist(self) -> Any:
        return self.value


def test_numbers_of_numeric_libraries() -> None:
    """A scalar is a number, a small array a list, a large one its type."""
    assert there_and_back({"score": Array(0.5)}) == {"score": 0.5}
    assert there_and_back(Array([[1, 2], [3, 4]], 2, 2)) == [[1, 2], [3, 4]]
    assert there_and_back(Array([0] * 1_001, 1_001)) == {"$type": f"{__name__}.Array"}


def test_numpy() -> None:
    """The same, of the library itself."""
    numpy = pytest.importorskip("numpy")
    assert there_and_back([numpy.float32(0.5), numpy.int64(3), numpy.bool_(True)]) == [0.5, 3, True]
    assert there_and_back({"at": numpy.array([[1.5, 2], [3, 4]])}) == {"at": [[1.5, 2], [3, 4]]}
    assert there_and_back(numpy.zeros(2_000)) == {"$type": "numpy.ndarray"}
    assert there_and_back([numpy.float64("nan"), numpy.datetime64("2024-01-01")])[0] is None


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, extra="allow")

    name: str = "m"
    of: Any = None
    secret: str = pydantic.Field(default="s", exclude=True)


@attrs.define
class Attributes:
    of: object


@dataclasses.dataclass(slots=True)
class Slotted:
    of: object
    later: int = dataclasses.field(init=False)


ODD = object()
NAMED = {"$type": "builtins.object"}


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (Model(of=Model(of=ODD)), {"name": "m", "of": {"name": "m", "of": NAMED}}),
        (
            Model.model_validate({"of": "\ud800", "more": [1]}),
            {"name": "m", "of": "\ufffd", "more": [1]},
        ),
        (Attributes(ODD), {"of": NAMED}),
        (Attributes("\ud800"), {"of": "\ufffd"}),
        (Slotted([ODD, "\ud800"]), {"of": [NAMED, "\ufffd"]}),
        (types.MappingProxyType({"a": ODD}), {"a": NAMED}),
        (collections.UserDict(a=["\ud800"]), {"a": ["\ufffd"]}),
        (collections.deque([1, ODD]), [1, NAMED]),
    ],
)
def test_what_has_fields_or_items_is_these(data: object, read: object) -> None:
    """Models, data classes and other kinds of dicts and lists, whatever is in them."""
    assert there_and_back(data) == read
    assert there_and_back({"in": [data]}) == {"in": [read]}


CHUNK: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "Hello", "role": "assistant"}}],
}


class Streamed(pydantic.BaseModel):
    """As LiteLLM's chunks: fields of any type, more than are declared, one of them taken away."""

    model_config = pydantic.ConfigDict(extra="allow", protected_namespaces=())

    id: str
    choices: list[dict[str, Any]] = []
    usage: int | None = None

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        del self.usage


def test_the_chunks_of_models_clients() -> None:
    """A record of what a model streamed can be read."""
    openai = pytest.importorskip("openai.types.chat")  # it comes with the demos
    chunk = openai.ChatCompletionChunk.model_validate(CHUNK)
    read = there_and_back(chunk)
    assert read["model"] == "m"
    assert read["choices"][0]["delta"]["content"] == "Hello"
    assert there_and_back([Streamed(**CHUNK)])[0] == CHUNK


# -- nesting --------------------------------------------------------------------------------------


def in_a_list(inner: object) -> Any:
    """The simplest container."""
    return [inner]


def nested(depth: int, data: Any, wrap: Callable[[Any], Any] = in_a_list) -> Any:
    """Data with that many containers around them."""
    for _ in range(depth):
        data = wrap(data)
    return data


def depth_of(data: Any) -> int:
    """How many containers lie around what lies deepest."""
    inside = data.values() if isinstance(data, dict) else data
    if not isinstance(data, (list, dict)) or "$type" in data:
        return 0
    return 1 + max(map(depth_of, inside), default=0)


WRAPS: dict[str, Callable[[Any], Any]] = {
    "list": in_a_list,
    "dict": lambda inner: {"a": inner},
    "tuple": lambda inner: (inner, 1),
    "mixed": lambda inner: {"]": [inner], "b": "\"[{'\\"},
    "attrs": Attributes,
    "pydantic": lambda inner: Model.model_construct(of=inner),
}


@pytest.mark.parametrize("innermost", [1, "\ud800", ODD])
@pytest.mark.parametrize("how", WRAPS)
def test_data_are_cut_100_containers_deep(how: str, innermost: object) -> None:
    """At the first try too, whatever the containers are."""
    wrap = WRAPS[how]
    assert depth_of(there_and_back(nested(40, innermost, wrap))) >= 40
    for depth in (101, 150, 700):
        assert depth_of(there_and_back(nested(depth, innermost, wrap))) <= 100
    assert depth_of(there_and_back(nested(100, innermost))) == 100
    assert depth_of(there_and_back(nested(101, innermost))) == 100


def test_a_reader_with_little_stack_left() -> None:
    """600 frames deep, whatever was written can be read."""
    raws = [encode(Chunk(**BASE, data=nested(depth, 1))) for depth in (100, 300, 900)]

    def read(frames: int) -> list[Any]:
        return read(frames - 1) if frames else [decode(raw) for raw in raws]

    assert len(read(600)) == 3


def test_texts_of_brackets_are_not_deep() -> None:
    """Nor is what has many containers beside one another."""
    data: Any
    for data in ("[{" * 500, ["[" * 500, '\\"[' * 500], {"{": [[], {}] * 500}, [[["]"]]] * 300):
        assert there_and_back(data) == data


def test_an_unknown_event_is_cut_too() -> None:
    """It may come from a writer that cuts nothing."""
    fields = BASE | {"type": "New", "items": [], "more": nested(300, 1)}
    event = UnknownEvent(**BASE, fields=fields)
    assert depth_of(json.loads(encode(event))["more"]) < 100


# -- who shows them -------------------------------------------------------------------------------


class Says(StreamNode):
    """Yields these, and asks with the last."""

    said: Any = ()

    def exec_stream(self, prep_res: Any) -> Any:
        yield from self.said
        yield Ask(self.said[-1], choices=[self.said[-1]])


def test_whatever_is_said_is_shown_logged_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """No observer fails for it, and each says it as far as it can."""
    node = Says()
    node.said = [Stubborn("spoken"), mock.MagicMock(spec=str), Liar(), 10**5_000, Stubborn("last")]
    screen, record = io.StringIO(), io.BytesIO()
    display = TerminalDisplay(console=Console(file=screen, width=80))
    observers = [display, LogObserver(), JsonLines(record)]
    caplog.set_level("INFO", logger="flowevents")
    run = Run(node, {}, observers=observers, on_handler_error="raise")
    with run:
        for event in run:
            if isinstance(event, Interrupt):
                break
    record.seek(0)
    assert [type(each).__name__ for each in read_events(record)].count("Chunk") == 5
    shown = screen.getvalue()
    assert "spoken" in shown
    assert "asks: last" in shown
