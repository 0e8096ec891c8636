"""What stays on the screen: texts, void attempts, failures, questions, answers, trees."""

from __future__ import annotations

import io
from collections.abc import Iterator

from flowevents.events import Retry
from flowevents.observers import figures
from flowevents.observers.display.canvas import Canvas, wrap
from flowevents.observers.display.line import Line
from flowevents.observers.display.phrases import STYLES, add_move, add_speed, path
from flowevents.observers.display.speech import Block, labelled
from flowevents.observers.display.state import Answered, Asked, Ended, Entry, Said
from flowevents.observers.display.tree import tree_lines
from flowevents.observers.questions import hint, listed, more_wait, wording

__all__ = ["entry_lines", "indented"]


def entry_lines(entry: Entry, canvas: Canvas, markdown: bool = False) -> Iterator[Line]:
    """The lines of something that stays on the screen, all of it.

    Args:
        markdown: Whether the texts of steps that have ended well are Markdown.
    """
    if isinstance(entry, Said):
        yield from _said(entry, canvas, markdown and entry.status == "ok")
    elif isinstance(entry, Asked):
        yield from _asked(entry, canvas)
    elif isinstance(entry, Answered):
        line = Line((canvas.signs["ok"], "green"), " ", _name(entry, canvas), " answered ")
        line.add(canvas.line(wording(entry.reply.value)), "bold")
        yield from _wrapped(line, canvas)
    elif isinstance(entry, Ended):
        yield from (line for _, line in tree_lines(entry.whole, canvas, entry.run))


def _said(entry: Said, canvas: Canvas, markdown: bool = False) -> Iterator[Line]:
    if entry.so_far:
        yield canvas.fit(Line((canvas.signs["dot"], "dim"), " ", _name(entry, canvas)))
        yield from _blocks(entry.blocks, canvas, "")
        return
    sign = "retry" if entry.retry is not None else entry.status or "left"
    style = "yellow" if entry.retry is not None else STYLES.get(sign, "")
    line = Line((canvas.signs[sign], style), " ", _name(entry, canvas))
    if entry.duration is not None:
        line.add(f"  {figures.short(entry.duration)}", "dim")
    if entry.retry is not None:
        line.add(f"  attempt {entry.retry.attempt} is void", "yellow")
        line.add(f", {_what_follows(entry.retry)}", "dim")
    elif entry.status in ("cancelled", None):
        line.add(f"  {entry.status or 'not ended'}", "yellow")
    if entry.moved is not None:
        add_move(line, entry.moved, canvas)
    add_speed(line, entry.rate, entry.first, canvas)
    yield canvas.fit(line)
    style = "strike dim" if entry.retry is not None else ""
    yield from _blocks(entry.blocks, canvas, style, markdown)
    if entry.error is not None:
        yield from indented(entry.error, canvas, "yellow" if entry.retry is not None else "red")


def _what_follows(retry: Retry) -> str:
    if retry.fallback:
        return "its fallback follows"
    wait = f" in {figures.short(retry.wait)}" if retry.wait > 0 else ""
    return f"attempt {retry.attempt + 1} follows{wait}"


def _asked(entry: Asked, canvas: Canvas) -> Iterator[Line]:
    question = entry.question
    if entry.about is not None:
        yield from _said(entry.about, canvas)
    line = Line((canvas.signs["asks"], "bold yellow"), " ", _name(entry, canvas), " asks")
    if wanted := hint(question):
        line.add(f" for {canvas.line(wanted)}", "dim")
    if question.expires is not None:
        line.add(f", within {figures.short(question.expires - question.time)}", "dim")
    yield canvas.fit(line)
    yield from indented(wording(question.prompt), canvas, "bold yellow")
    for choice in listed(question, f"{canvas.signs['dot']} "):
        yield from indented(choice, canvas, "yellow")
    if entry.waiting:
        yield from indented(more_wait(entry.waiting), canvas, "dim")


def _blocks(
    blocks: list[Block], canvas: Canvas, style: str, markdown: bool = False
) -> Iterator[Line]:
    for block in blocks:
        if block.is_text:
            lines = _markdown(block.text(), canvas) if markdown else None
            yield from indented(block.text(), canvas, style) if lines is None else lines
        else:
            yield from indented(labelled(block, block.text()), canvas, f"{style} dim")


def _markdown(text: str, canvas: Canvas) -> list[Line] | None:
    """The lines of a text in Markdown below a heading; `None` where it has to be shown as it is.

    Nothing in it is a link or a command.
    """
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


def indented(text: str, canvas: Canvas, style: str = "", last: int | None = None) -> Iterator[Line]:
    """The lines of a text below a heading, wrapped; all of them or so many of the last ones."""
    lines = list(wrap(canvas.text(text).rstrip("\n"), canvas.width - len(canvas.indent)))
    for line in lines if last is None else lines[max(len(lines) - last, 0) :]:
        yield Line(canvas.indent, (line, style))


def _wrapped(line: Line, canvas: Canvas) -> Iterator[Line]:
    """A line with styles, in one line where it fits."""
    if line.cells <= canvas.width:
        yield line
    else:
        first, *rest = wrap(line.plain, canvas.width)
        yield Line(first)
        yield from map(Line, rest)


def _name(entry: Entry, canvas: Canvas) -> tuple[str, str]:
    return path(entry.run, entry.node, entry.items, canvas), "bold"
