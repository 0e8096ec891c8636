"""Questions and answers as people write them."""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import Any, Literal

import pytest

from flowevents.asking import Ask
from flowevents.events import Interrupt
from flowevents.observers.questions import choices_of, hint, parse, wording
from tests.hostile import HOSTILE


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: int


def question(kind: Any = None, *, choices: list[Any] | None = None) -> Interrupt:
    """What a run sends for it."""
    ask = Ask("?", type=kind, choices=choices)
    return Interrupt(
        run_id="r",
        seq=3,
        time=0.0,
        span=2,
        node="N",
        id="q",
        prompt=ask.prompt,
        choices=ask.choices,
        schema=ask.schema,
    )


LINES: list[tuple[Any, str, Any]] = [
    (None, "any text ", "any text "),
    (None, "", ""),
    (str, "12", "12"),
    (bool, "y", True),
    (bool, " No ", False),
    (bool, "TRUE", True),
    (int, " 12", 12),
    (float, "1.5", 1.5),
    (float, "3", 3.0),
    (list[str], '["a", "b"]', ["a", "b"]),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (Point, '{"x": 1, "y": 2}', {"x": 1, "y": 2}),
    (int | None, "", None),
    (int | None, "7", 7),
    (int | str, "7", 7),
    (int | str, "seven", "seven"),
    (str | None, "", None),
    (str | None, "x", "x"),
    (Colour, "red", "red"),
    (Colour, "2", "red"),
    (Literal[1, 2], "2", 2),
    (Any, '{"a": [1]}', {"a": [1]}),
    (Any, "plain", "plain"),
]


@pytest.mark.parametrize(
    ("kind", "line", "value"), LINES, ids=[f"{kind}-{line!r}" for kind, line, _ in LINES]
)
def test_a_line_is_what_the_type_needs(kind: Any, line: str, value: Any) -> None:
    """And the question takes it."""
    found = parse(question(kind), line)
    assert found == value
    assert type(found) is type(value)
    Ask("?", type=kind).check(found)


@pytest.mark.parametrize(
    ("kind", "line", "reason"),
    [
        (bool, "perhaps", "'perhaps' is not yes or no."),
        (int, "1.5", "'1.5' is not a whole number."),
        (float, "nan", "'nan' is not a number."),
        (int | None, "x", "'x' is not a whole number or nothing."),
        (list[int], "1, 2", "'1, 2' is not a JSON array."),
        (list[int], '{"a": 1}', "'{\"a\": 1}' is not a JSON array."),
        (Point, "[1, 2]", "'[1, 2]' is not a JSON object."),
    ],
)
def test_what_is_not_understood_says_what_would_be(kind: Any, line: str, reason: str) -> None:
    """In a sentence with the line and the kind of value."""
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        parse(question(kind), line)


MIXED: list[Any] = ["Yes, all", "Yes, one", {"cents": 3}, None, True]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("1", "Yes, all"),
        ("Yes, one", "Yes, one"),
        (" yes, ONE ", "Yes, one"),
        ('{"cents":3}', {"cents": 3}),
        ("3", {"cents": 3}),
        ("null", None),
        ("n", None),
        ("4", None),
        ("5", True),
        ("true", True),
    ],
)
def test_a_choice_is_named_by_number_text_or_beginning(line: str, value: Any) -> None:
    """Whatever JSON value it is."""
    assert parse(question(choices=MIXED), line) == value


@pytest.mark.parametrize(
    ("choices", "line", "reason"),
    [
        (MIXED, "yes", "'yes' could be several choices. Type a number from 1 to 5, or the text."),
        (MIXED, "6", "'6' is no choice. Type a number from 1 to 5, or the text."),
        (MIXED, "", "'' is no choice. Type a number from 1 to 5, or the text."),
        ([10, 2, 1], "3", "'3' is no choice. Type 10, 2, 1."),
    ],
)
def test_what_is_no_choice_says_what_is(choices: list[Any], line: str, reason: str) -> None:
    """Numbers are not numbered: there a number is the choice itself."""
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        parse(question(choices=choices), line)
    assert parse(question(choices=[10, 2, 1]), "1") == 1


def test_what_is_wanted_is_said() -> None:
    """In words; nothing for a text, nor where there are choices."""
    assert [hint(question(each)) for each in (None, str, bool, int | None, list[str])] == [
        "",
        "",
        "yes or no",
        "a whole number, nothing",
        "a JSON array",
    ]
    assert hint(question(choices=["a", "b"])) == ""
    assert choices_of(question(Colour)) == ["blue", "red"]


def test_any_value_can_be_worded() -> None:
    """As text, as JSON, or by its type."""
    assert [wording(each) for each in ("a b", None, True, [1], object())] == [
        "a b",
        "null",
        "true",
        "[1]",
        "<object>",
    ]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": 3},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"anyOf": [None, 3]},
        {"enum": "x"},
        {"type": ["integer", "null"]},
        {"$defs": 1, "$ref": "#/x"},
    ],
)
def test_no_schema_raises_anything_else(schema: dict[str, Any]) -> None:
    """Whatever a record holds: a value, or a `ValueError`."""
    asked = Interrupt(
        run_id="r", seq=3, time=0.0, span=2, node="N", id="q", prompt=None, schema=schema
    )
    hint(asked)
    for line in (*HOSTILE.values(), "1", "", "[" * 100_000):
        try:
            parse(asked, line)
        except ValueError:
            pass
