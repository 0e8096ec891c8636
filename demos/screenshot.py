"""Draws the README's pictures: what the agent leaves on the screen, and where its time went.

`.venv/bin/python demos/screenshot.py docs` runs the agent with the stand-in model on this project,
keeps its events, and draws them as `docs/display.svg` and `docs/timeline.svg`.
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
from flowevents import Event, timeline_svg
from flowevents.observers.display import Picture

WIDTH = 88  # columns


def main() -> None:
    """Write the pictures to the folder that is named."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        raise SystemExit("Name the folder to write to: screenshot.py docs")
    folder = Path(sys.argv[1])
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
    (folder / "display.svg").write_text(plain, encoding="utf-8")
    (folder / "timeline.svg").write_text(timeline_svg(events, width=900), encoding="utf-8")


if __name__ == "__main__":
    start(main)
