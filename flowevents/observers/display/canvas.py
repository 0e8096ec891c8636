"""How text gets onto a screen of a given size: cleaned, wrapped and cut by the cells it takes.

Everything that an event holds passes `Canvas.text` or `Canvas.line`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from rich import get_console
from rich.cells import cell_len
from rich.text import Text

from flowevents.escape import escape_controls
from flowevents.observers.display.line import Line

__all__ = ["Canvas", "wrap"]

_BREAKS: Final = re.compile("[\u2028\u2029]")
_LONE_JOINERS: Final = re.compile(r"(?<!\S)\u200d+|(?<=\u200d)\u200d+")
"""What joins nothing, and of which rich's own functions disagree how wide it makes a text."""

_TAB: Final = 4
_NARROW: Final = 10  # cells; below, nothing is indented
_SIGNS: Final = {  # each in Unicode, and in ASCII
    "ok": ("✓", "+"),
    "error": ("✗", "x"),
    "cancelled": ("⊘", "-"),
    "asks": ("?", "?"),
    "retry": ("↻", "~"),
    "left": ("·", "."),
    "branch": ("├ ", "|-"),
    "last": ("└ ", "`-"),
    "bar": ("│ ", "| "),
    "to": ("→", "->"),
    "times": ("×", "x"),
    "more": ("…", "..."),
    "done": ("━", "#"),
    "rest": ("─", "-"),
    "dot": ("·", "-"),
    "spinner": ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"),
}


class Canvas:
    """What is known of the screen when something is drawn.

    Args:
        width, height: In cells and lines.
        encoding: What the screen can show; what it cannot is written as escapes.

    Attributes:
        signs: The signs that it can show, by name.
        indent: What stands before a text below its heading.
    """

    def __init__(self, width: int, height: int, encoding: str = "utf-8") -> None:
        self.width: int = max(width, 1)
        self.height: int = max(height, 4)
        self.encoding: str = encoding
        self.unicode: bool = encoding.lower().startswith("utf")
        self.signs: dict[str, str] = {
            name: sign if self.unicode else ascii for name, (sign, ascii) in _SIGNS.items()
        }
        self.indent: str = "  " if width >= _NARROW else ""

    def text(self, text: str) -> str:
        """A text of several lines that may have been written by a model."""
        return self._clean(escape_controls(_BREAKS.sub("\n", text)).expandtabs(_TAB))

    def line(self, text: str) -> str:
        """The same in one line: newlines are escaped."""
        return self._clean(escape_controls(text, one_line=True))

    def fit(self, line: Line) -> Line:
        """The line, cut to the width."""
        line.cut(self.width, self.signs["more"])
        return line

    def _clean(self, text: str) -> str:
        """The text as rich can measure it, and the screen show it."""
        if text.isascii():
            return text
        text = _LONE_JOINERS.sub(lambda found: r"\u200d" * len(found.group()), text)
        if self.unicode:
            return text
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)


def wrap(text: str, width: int) -> Iterator[str]:
    """Yield the lines of a text, none wider than `width` cells; no grapheme cluster is split.

    Lines are broken at spaces; a word that is wider than a line is broken anywhere.
    """
    for paragraph in text.split("\n"):
        if len(paragraph) <= width and cell_len(paragraph) <= width:
            yield paragraph
        else:
            for line in Text(paragraph).wrap(get_console(), width, overflow="fold"):
                yield line.plain.rstrip()
