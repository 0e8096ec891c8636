"""Timelines: valid and harmless SVG whatever is in the record, and small whatever its length."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
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
)
from flowevents.observers.figures import duration
from flowevents.observers.timeline import timeline_svg
from tests.hostile import CONTROLS, HOSTILE
from tests.test_spans import broken_records
from tests.whole_run import full_record, hostile_record

SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "style", "defs", "pattern", "rect", "g", "path", "text", "tspan"}
ATTRIBUTES = {
    "class",
    "d",
    "dx",
    "fill",
    "fill-opacity",
    "height",
    "id",
    "role",
    "width",
    "x",
    "y",
} | {
    "patternTransform",
    "patternUnits",
    "stroke",
    "stroke-dasharray",
    "viewBox",
}


def parsed(picture: str) -> ElementTree.Element:
    """The picture's root, once every element and attribute is one that can do no harm."""
    root = ElementTree.fromstring(picture)
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in ELEMENTS
        assert set(element.attrib) <= ATTRIBUTES
        assert "url(" not in str(element.attrib).replace("url(#void)", "")
    (style,) = root.iter(f"{SVG}style")
    assert "url" not in str(style.text)
    assert "@" not in str(style.text)
    return root


def texts(root: ElementTree.Element) -> list[str]:
    """What is written in the picture, from top to bottom."""
    found = (each for text in root.iter(f"{SVG}text") for each in (list(text) or [text]))
    return [each.text or "" if each.tag != f"{SVG}title" else each.tail or "" for each in found]


def hints(root: ElementTree.Element) -> list[list[str]]:
    """What is shown when each bar is pointed at, in lines."""
    return [str(group[0].text).split("\n") for group in root.iter(f"{SVG}g")]


def test_what_a_timeline_says() -> None:
    """Names as rows with their durations, and in the hints all that is known."""
    root = parsed(timeline_svg(full_record()))
    shown = texts(root)[7:]  # after the legend's
    assert shown[:3] == [
        "Main",
        "error · 10 s · began 1970-01-01 00:01:40 UTC · run run",
        "ValueError: no page",
    ]
    rows = [("Main", "10 s"), ("Plan", "3 s"), ("Ask", "5 s"), ("Team", "1.5 s"), ("Read", "1.5 s")]
    rows.append(("items", "×2 · 3 s"))
    found = iter(shown)
    assert all(text in found for row in rows for text in row), shown
    assert "Go on?" in shown
    assert hints(root) == [
        ["Main", "error, 10 s", "ValueError: no page"],
        [
            "Plan",
            "ok, 3 s",
            "attempt 1: first chunk after 500 ms",
            "attempt 1: OSError: reset",
            "attempt 2: first chunk after 500 ms",
            "chunks: 2",
            "action: ask",
        ],
        ["Ask", "ok, 5 s", "asked: Go on?", "answer: yes, after 4 s", "action: default"],
        ["Team", "error, 1.5 s", "ValueError: no page"],
        ["Team/Read", "error, 1.5 s", "ValueError: no page"],
        ["Team/Read, item 0 a.pdf", "error, 1.5 s", "ValueError: no page"],
        ["Team/Read, item 1 b.pdf", "cancelled, 1.5 s", "first chunk after 1 s", "chunks: 1"],
    ]


def boxes(root: ElementTree.Element, name: str) -> list[tuple[str | None, float, float]]:
    """The rectangles of a bar: fill, left edge and width in hundredths of the run."""
    (group,) = (each for each in root.iter(f"{SVG}g") if str(each[0].text).startswith(name))
    return [
        (
            rect.get("fill"),
            round((float(rect.get("x", 0)) - 316) / 8.68),
            round(float(rect.get("width", 0)) / 8.68),
        )
        for rect in group.iter(f"{SVG}rect")
    ]


def test_where_things_are_drawn() -> None:
    """A void attempt is hatched, a wait for the first chunk light, a question yellow."""
    root = parsed(timeline_svg(full_record()))
    light, full = "#bfe3cc", "#2f8f57"
    assert boxes(root, "Plan") == [
        (light, 0, 30),
        ("url(#void)", 0, 10),
        (light, 15, 5),
        (full, 20, 10),
    ]
    assert boxes(root, "Ask") == [(light, 30, 50), (full, 30, 50), ("#f0b429", 35, 40)]
    marks = [each.get("d", "") for each in root.iter(f"{SVG}path") if each.get("class") == "t"]
    assert len(marks) == 4  # one of the legend, two of Plan, one of an item


def test_several_runs_stand_below_one_another() -> None:
    """Each with its heading, however their events are interleaved."""
    other = [msgspec.structs.replace(each, run_id="other") for each in full_record()]
    mixed = [each for pair in zip(full_record(), other, strict=True) for each in pair]
    headings = [text for text in texts(parsed(timeline_svg(mixed))) if " · run " in text]
    assert [text.split(" · ")[-1] for text in headings] == ["run run", "run other"]


def steps(names: list[str], seconds: float = 0.5) -> list[Event]:
    """A run of these steps, one after the other."""
    record: list[Event] = [
        FlowStart(run_id="r", seq=1, time=0.0, span=1, node="", parent=0, flow="F")
    ]
    for number, name in enumerate(names):
        common: dict[str, Any] = {"run_id": "r", "span": len(record) + 1, "node": name}
        at = number * seconds
        record.append(NodeStart(**common, seq=len(record) + 1, time=at, parent=1))
        record.append(Chunk(**common, seq=len(record) + 1, time=at + seconds / 4, data="x"))
        record.append(
            NodeEnd(
                **common,
                seq=len(record) + 1,
                time=at + seconds * 0.9,
                status="error" if number == 7 else "ok",
                duration=seconds * 0.9,
            )
        )
    end = len(names) * seconds
    common = {"run_id": "r", "seq": len(record) + 1, "span": 1, "node": ""}
    record.append(FlowEnd(**common, time=end, status="ok", duration=end))
    return record


def height(root: ElementTree.Element) -> int:
    """The picture's height in pixels."""
    return int(root.get("height", 0))


def test_a_loop_of_two_thousand_steps_is_two_rows() -> None:
    """What is too short to be told apart is one bar; what went wrong in it is not lost."""
    picture = timeline_svg(steps(["Plan", "Act"] * 1_000))
    root = parsed(picture)
    assert height(root) < 200
    assert len(picture) < 200_000
    assert {"×1,000 · 7 min 30 s"} <= set(texts(root))
    (failed,) = (hint for hint in hints(root) if "1 errors, 0 retries, 0 questions" in hint)
    assert re.match(r"\d of Act, together \d", failed[0])
    wide = parsed(timeline_svg(steps(["Plan", "Act"] * 1_000), width=20_000))
    assert len(hints(wide)) == 2_001


def test_two_thousand_different_nodes_end_in_a_line_that_says_what_is_left_out() -> None:
    """A browser shows fifteen hundred lines; the times stand above each forty of them."""
    root = parsed(timeline_svg(steps([f"Step {number}" for number in range(2_000)])))
    assert height(root) < 1_600 * 22 + 45 * 22
    assert texts(root)[-1] == "Not shown: 503 more rows and 0 more runs."
    assert texts(root).count("0 s") == 38


def test_a_thousand_runs_end_in_that_line_too() -> None:
    """They are no longer than one that is long."""
    runs = [
        msgspec.structs.replace(each, run_id=str(number))
        for number in range(1_000)
        for each in full_record()
    ]
    root = parsed(timeline_svg(runs))
    assert texts(root)[-1].endswith("more runs.")
    assert height(root) < 60_000


def test_a_parallel_batch_has_a_bounded_height() -> None:
    """Items that find no lane share the last one, as one bar that counts them."""
    record: list[Event] = [
        FlowStart(run_id="r", seq=1, time=0.0, span=1, node="", parent=0, flow="F"),
        NodeStart(run_id="r", seq=2, time=0.0, span=2, node="A", parent=1),
    ]
    for number in range(500):
        common: dict[str, Any] = {"run_id": "r", "span": number + 3, "node": "A"}
        record.append(ItemStart(**common, seq=number + 3, time=number / 500, parent=2))
    for number in range(500):
        common = {"run_id": "r", "span": number + 3, "node": "A", "seq": 600 + number}
        record.append(ItemEnd(**common, time=2 + number / 500, status="ok", duration=2.0))
    root = parsed(timeline_svg(record))
    assert height(root) < 450
    assert any(hint[0].startswith("485 of A, together ") for hint in hints(root))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_can_do_harm(text: str) -> None:
    """Whatever a model wrote is text: no element, no attribute, no control character."""
    picture = timeline_svg(hostile_record(text))
    parsed(picture)
    assert not CONTROLS & set(picture)
    assert max(len(line) for line in picture.splitlines()) < 60_000
    picture.encode()


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_text_gives_valid_xml(text: str) -> None:
    """Noncharacters and lone surrogates, too."""
    parsed(timeline_svg(hostile_record(text)))


@given(broken_records())
def test_any_record_gives_a_picture(record: list[Event]) -> None:
    """Whatever is missing or wrong in it; and no number in it is none."""
    picture = timeline_svg(record)
    parsed(picture)
    assert not re.search(r'="-?(nan|inf)', picture)


def test_a_part_of_a_run_says_so() -> None:
    """A record may begin or end in the middle."""
    root = parsed(timeline_svg(full_record()[15:19]))
    assert "(a part of a run)" in texts(root)
    assert any("its start is not in the record" in hint for hint in hints(root))
    assert any(hint[1].startswith("no end in the record") for hint in hints(root))


def test_no_events_give_a_picture_that_says_so() -> None:
    """It is no error."""
    assert texts(parsed(timeline_svg([])))[-1] == "No events."


def test_a_width_that_is_too_small_is_an_error() -> None:
    """The text says what to give."""
    with pytest.raises(ValueError, match="width=500: give at least 720 pixels"):
        timeline_svg([], width=500)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (4e-4, "0.4 ms"), (0.0123, "12 ms"), (0.5, "500 ms"), (0.9999, "1 s"),
        (1.254, "1.25 s"), (12.34, "12.3 s"), (59.99, "1 min"), (60, "1 min"),
        (125, "2 min 5 s"), (3599.9, "1 h"), (7260, "2 h 1 min"), (1e7, "2,777 h 47 min"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    """Two or three digits, in the unit that fits."""
    assert duration(seconds) == text
