"""A terminal for tests: what stands on its screen, and above it, after all that was written."""

from __future__ import annotations

import io
import re
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from flowevents.observers.display import TerminalDisplay
from tests.hostile import CONTROLS

_CODE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen(io.StringIO):
    """A file that is a terminal. It knows the codes that a display may write, and no others.

    Attributes:
        lines: All lines, those that have scrolled away too.
        frames: How often something was written.
        longest: The cells of the widest line that there ever was.
    """

    encoding = "utf-8"

    def __init__(self, width: int = 80, height: int = 24) -> None:
        super().__init__()
        self.width = width
        self.height = height
        self.lines: list[str] = [""]
        self.row = 0
        self._cursor = True
        self.frames = 0
        self.longest = 0
        self._fresh = True  # the cursor is at the beginning of its line

    def isatty(self) -> bool:
        return True

    def console(self, **options: Any) -> Console:
        """A console that draws on it."""
        settings: dict[str, Any] = {
            "force_terminal": True,
            "color_system": "standard",
            "width": self.width,
            "height": self.height,
            **options,
        }
        return Console(file=self, **settings)

    def write(self, text: str) -> int:
        """Do what a terminal does, or fail on what it is not expected to be told."""
        self.frames += 1
        place = 0
        while place < len(text):
            found = _CODE.match(text, place)
            assert found is not None, f"What is {text[place : place + 20]!r}?"
            place = found.end()
            self._do(found[1], found[2], found[3] or found[4])
        return super().write(text)

    def _do(self, argument: str | None, code: str | None, text: str | None) -> None:
        if code == "A":
            self.row -= int(argument or 1)
            assert self.row >= 0
            assert len(self.lines) - self.row <= self.height, "It draws above the screen's edge."
        elif code == "K":
            assert argument == "2"
            self.lines[self.row] = ""
        elif code in ("h", "l"):
            assert argument == "?25"
            self._cursor = code == "h"
        elif text == "\n":
            self.row += 1
            self._fresh = True
            if self.row == len(self.lines):
                self.lines.append("")
        elif text == "\r":
            self._fresh = True
        elif text is not None:
            self._put(text)
        else:
            assert code == "m", f"What is code {code!r}?"

    def _put(self, text: str) -> None:
        assert not CONTROLS & set(text)
        if self._fresh:
            assert not self.lines[self.row], "It writes over a line that it has not erased."
        self._fresh = False
        self.lines[self.row] += text
        wide = cell_len(self.lines[self.row])
        self.longest = max(self.longest, wide)
        assert wide <= self.width, f"{self.lines[self.row]!r} does not fit {self.width} cells."

    def has_cursor(self) -> bool:
        """Whether the cursor is visible."""
        return self._cursor

    @property
    def shown(self) -> str:
        """All lines, without what is empty at the end."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip()


def still(screen: Screen, **options: Any) -> TerminalDisplay:
    """A display that draws only when it must, or is told to."""
    return TerminalDisplay(console=screen.console(), refresh_per_second=0, **options)
