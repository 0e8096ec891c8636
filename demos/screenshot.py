"""Draws the README's picture: what the agent leaves on the screen, as an SVG.

`.venv/bin/python demos/screenshot.py docs/display.svg` runs the agent with the stand-in model on
this project, keeps its events, and draws them.
"""

from __future__ import annotations

import io
import re
import sys
from contextlib import closing
from pathlib import Path

from rich.console import Console

from demos.agent import PROJECT, QUESTION, run
from demos.model import open_model
from demos.passages import Passages
from demos.screen import start
from flowevents import Event
from flowevents.observers.display import Picture

WIDTH = 88  # columns


def main() -> None:
    """Write the picture to the file that is named."""
    if len(sys.argv) != 2:
        raise SystemExit("Name the file to write: screenshot.py docs/display.svg")
    events: list[Event] = []
    with (
        closing(Passages(PROJECT, PROJECT / "README.md", PROJECT / "docs")) as passages,
        open_model() as model,
    ):
        run(QUESTION, passages, model, events.append)
    console = Console(file=io.StringIO(), record=True, width=WIDTH)
    console.print(Picture(events))
    svg = console.export_svg(title=f"make demo  ·  {QUESTION}", unique_id="display")
    plain = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # asks no other host
    Path(sys.argv[1]).write_text(plain, encoding="utf-8")


if __name__ == "__main__":
    start(main)
