"""An answer in Markdown, as lines with styles. Nothing in it is a link or a command."""

from __future__ import annotations

import io

from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.line import Line

__all__ = ["markdown_lines"]


def markdown_lines(text: str, canvas: Canvas) -> list[Line] | None:
    """The lines of a text below a heading; `None` where it has to be shown as it is."""
    from markdown_it import MarkdownIt  # rich brings it; both take long to import
    from rich.console import Console
    from rich.markdown import Markdown

    width = canvas.width - len(canvas.indent)
    console = Console(file=io.StringIO(), width=width, force_jupyter=False)
    markdown = Markdown("", code_theme="ansi_dark", hyperlinks=False)
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    lines: list[Line] = []
    try:
        markdown.parsed = parser.parse(canvas.text(text))
        for segments in console.render_lines(markdown, pad=False):
            line = Line(canvas.indent)
            line.segments += segments
            lines.append(line)
    except Exception:  # rich does not take every text
        return None
    fits = all(
        each.cells <= canvas.width and canvas.line(each.plain) == each.plain for each in lines
    )
    return lines if fits else None  # an entity such as `&#x202e;` is no text that can be shown
