"""A notebook's cell as a surface: one output that is replaced, without any widgets."""

from __future__ import annotations

import importlib
import io
from typing import Any

from rich.console import Console

from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.line import Line
from flowevents.observers.display.terminal import Sheet

__all__ = ["Notebook", "as_html"]

_FRAME = '<pre style="white-space:pre;overflow-x:auto;line-height:normal">{}</pre>'


class Notebook:
    """Draws into the output of the cell that runs; not thread-safe."""

    is_typed_on = False  # a question has a box of its own

    def __init__(self, console: Console) -> None:
        self._ipython: Any = importlib.import_module("IPython.display")  # a notebook has it
        self._width = console.width
        self._kept: list[str] = []  # HTML of what stays, each made once
        self._handle: Any = None

    def canvas(self) -> Canvas:
        """What it is like: a page has no end."""
        return Canvas(self._width, 50)

    def draw(self, above: list[Line], region: list[Line]) -> None:
        """Add lines that stay, and replace the region below them."""
        if above:
            self._kept.append(as_html(above, self._width))
        page = self._ipython.HTML(_FRAME.format("".join(self._kept) + as_html(region, self._width)))
        if self._handle is None:
            self._handle = self._ipython.display(page, display_id=True)
        else:
            self._handle.update(page)

    def close(self) -> None:
        """Nothing is to be given back: the last picture is saved with the notebook."""


def as_html(lines: list[Line], width: int) -> str:
    """Lines as HTML with inline styles, everything in them escaped."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        force_jupyter=False,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    console.print(Sheet(lines), end="")
    return console.export_html(inline_styles=True, code_format="{code}")
