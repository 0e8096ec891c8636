"""A line of a picture: parts with styles, and the cells that they take."""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

__all__ = ["Line"]

_PLAIN: Final = Style.null()


class Line:
    """Parts of one line, left to right: `Line("a", ("b", "bold red"))`.

    `rich.text.Text` does more than is needed here, at many times the cost.

    Args:
        parts: Texts that are clean already, each with the words of a `rich.style.Style` or none.

    Attributes:
        segments: What is written.
    """

    __slots__ = ("segments",)

    def __init__(self, *parts: str | tuple[str, str]) -> None:
        self.segments: list[Segment] = []
        for part in parts:
            if isinstance(part, str):
                self.add(part)
            else:
                self.add(*part)

    @property
    def cells(self) -> int:
        """How wide it is."""
        return sum(cell_len(each.text) for each in self.segments)

    @property
    def plain(self) -> str:
        """Its text."""
        return "".join(each.text for each in self.segments)

    def add(self, text: str, style: str = "") -> None:
        """Add a part."""
        self.segments.append(Segment(text, Style.parse(style) if style else _PLAIN))

    def cut(self, width: int, more: str) -> None:
        """Make it no wider than this, with a sign that there is more."""
        if self.cells > width:
            more = more[:width]
            room = width - cell_len(more)
            self.segments = Segment.adjust_line_length(self.segments, room, pad=False)
            self.add(more)
