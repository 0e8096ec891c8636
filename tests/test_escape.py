"""Control characters are made visible, and nothing else is changed."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from flowevents.escape import escape_controls, escape_xml
from tests.hostile import CONTROLS, HOSTILE


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_control_is_left(text: str) -> None:
    """Whatever the text; and what is left can be written as UTF-8."""
    lines, line = escape_controls(text), escape_controls(text, one_line=True)
    assert not CONTROLS & set(lines)
    assert not (CONTROLS | set("\n\t\u2028\u2029")) & set(line)
    assert escape_controls(lines) == lines
    assert escape_controls(line, one_line=True) == line
    (lines + line).encode()


def test_each_control_is_written_as_its_escape() -> None:
    """As Python would write it in a string."""
    assert escape_controls("\x1b[31m \x9b \u202e \ud800") == "\\x1b[31m \\x9b \\u202e \ufffd"
    assert escape_controls("a\nb\tc\r\nd\re") == "a\nb\tc\nd\\re"
    assert escape_controls("a\nb\tc\r\nd\u2028", one_line=True) == "a\\nb\\tc\\r\\nd\\u2028"


def test_what_is_no_control_stays() -> None:
    """Backslashes, markup, wide and joined characters."""
    text = "C:\\new [red] <b> 日本語 👩‍👩‍👧‍👦 é"
    assert escape_controls(text) == escape_controls(text, one_line=True) == text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_xml_holds_any_text(text: str) -> None:
    """Between tags and in quotes, without a character that XML cannot hold."""
    escaped = escape_xml(text)
    assert not (CONTROLS | set("<>\"'\n\t\u2028\u2029\ufffe\uffff")) & set(escaped)
    element = ElementTree.fromstring(f'<a b="{escaped}">{escaped}</a>')
    assert element.get("b", "") == (element.text or "")
    if "\ufffe" not in text:
        assert element.get("b") == escape_controls(text, one_line=True)
