"""How text that a model may have written is shown: its control characters made visible.

Chunks, actions, names, errors, prompts, choices and labels may all hold such text. Whatever writes
one of them where a terminal, a log or a person reads it passes it through `escape_controls` first:
displays, `LogObserver`, the package's own errors (`errors.py`), and `messages.py` for warnings, log
records, notes and tracebacks.
"""

from __future__ import annotations

import functools
import re
from typing import Final

__all__ = ["escape_controls", "escape_xml"]

_BIDI: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""The Bidi_Control characters of Unicode 16.0 (UAX #9)."""

_IN_LINES: Final = "\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff"
_IN_ONE_LINE: Final = "\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"

_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape_controls(text: str, *, one_line: bool = False) -> str:
    """The text with its C0, C1 and bidirectional controls written as escapes such as `\\x1b`.

    Args:
        text: Anything; a lone surrogate becomes U+FFFD.
        one_line: Escape newlines, tabs and line separators too, as a log needs it. Otherwise
            newlines and tabs stay, and a `"\\r\\n"` becomes a newline.
    """
    if not one_line:
        text = text.replace("\r\n", "\n")
    return _controls(one_line).sub(_escaped, text)


def escape_xml(text: str) -> str:
    """The text in one line, as XML, SVG and HTML take it between tags and in quoted attributes."""
    import html  # here: its tables take a millisecond, and few need it

    text = html.escape(escape_controls(text, one_line=True))
    # These two XML 1.0 (fifth edition, 2.2) has no way to write.
    return text.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


@functools.cache
def _controls(one_line: bool) -> re.Pattern[str]:
    """What is escaped; compiled at first use, which takes a millisecond."""
    return re.compile(f"[{_IN_ONE_LINE if one_line else _IN_LINES}{_BIDI}]")


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    number = ord(character)
    if 0xD800 <= number <= 0xDFFF:
        return "\ufffd"
    return _SHORT.get(character) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")
