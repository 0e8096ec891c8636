"""Runs as a waterfall on a time axis: an SVG that a browser shows and a page can hold.

The picture stands for itself: no script, no link, nothing that is loaded. What an event says is
text in it, through `escape_xml`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from flowevents.escape import escape_controls, escape_xml
from flowevents.events import Event
from flowevents.observers.figures import duration
from flowevents.observers.lanes import Bar, Row, Scale, bars_of, rows_of
from flowevents.observers.spans import Attempt, RunSpans, Span, read_spans

__all__ = ["timeline_svg"]

MAX_LINES: Final = 1_500
"""The most lines of a picture, lanes and headings counted; what is left out is said below them."""

MIN_WIDTH: Final = 720  # pixels, below which bars would have no room beside their names
_NAMES: Final = 300  # pixels for names, counts and durations
_MARGIN: Final = 16
_LEFT: Final = _MARGIN + _NAMES  # where the time axis begins
_LINE: Final = 22  # the height of a row's first lane
_LANE: Final = 16  # that of its other lanes
_BAR: Final = 12  # that of a bar
_PER_AXIS: Final = 40  # rows, after which the axis is drawn again
_MARKED: Final = 8  # pixels from which on a bar has room for marks
_LONGEST: Final = 500  # characters of an event's text in what is shown when pointed at

_LOOKS: Final[dict[str | None, tuple[str, str, str]]] = {
    "ok": ("ok", "#bfe3cc", "#2f8f57"),
    "error": ("error", "#f3c1bd", "#c22f26"),
    "cancelled": ("cancelled", "#dcdce1", "#85858f"),
    None: ("no end in the record", "#c6daf8", "#3a78d4"),
}
"""Of each status: what it is called, its light colour and its full one."""

_STEPS: Final = (
    *(digit * 10.0**power for power in range(-9, 1) for digit in (1, 2, 5)),
    *(10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400),
    *(digit * 10.0**power for power in range(5, 12) for digit in (1, 2, 5)),
)
"""Seconds that may lie between two times of an axis."""

_ASKED: Final = "#f0b429"
_STYLE: Final = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}"
    ".h{font-weight:600;font-size:14px}.d{fill:#6b7280}.e{fill:#c22f26}.r{text-anchor:end}"
    ".g{stroke:#e5e7eb}.t{stroke:#1f2328;stroke-width:1.5}.w{fill:#fff}.s{font-size:10px}"
)
_VOID: Final = (
    '<pattern id="void" width="5" height="5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="5" height="5" fill="#f8dcd9"/>'
    '<rect width="2" height="5" fill="#c22f26"/></pattern>'
)


def timeline_svg(events: Iterable[Event], *, width: int = 1200) -> str:
    """The runs that the events tell of, one below the other, as an SVG document.

    Each run has a time axis of its own, which begins with it. All executions of a node share a row;
    what overlaps, as parallel items do, stands in lanes below one another. A bar is a flow (thin),
    a step or an item. It is light until the first chunk, which a mark shows, hatched where an
    attempt failed, and yellow while a question waits for its answer. Steps that are too short to be
    told apart are one bar, the fuller the busier; a wider picture shows them apart. What is pointed
    at shows its details.

    Args:
        events: Of any number of runs, complete or not, interleaved or not.
        width: Of the picture in pixels, at least 720. The height follows from how many nodes ran,
            not from how often: up to 1,500 lines.

    Raises `ValueError` for a width below that.
    """
    if width < MIN_WIDTH:
        raise ValueError(f"width={width!r}: give at least {MIN_WIDTH} pixels.")
    page = _Page(width)
    runs = read_spans(events)
    for run in runs:
        page.draw_run(run)
    if not runs:
        page.write_line("No events.")
    return page.svg()


class _Page:
    """The elements of a picture, from top to bottom."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._elements: list[str] = []
        self._y = _MARGIN
        self._right = width - _MARGIN  # where the time axis ends
        self._lines = 0
        self._hidden_rows = self._hidden_runs = 0
        self._draw_legend()

    def svg(self) -> str:
        """The document."""
        if self._hidden_rows or self._hidden_runs:
            self.write_line(
                f"Not shown: {self._hidden_rows:,} more rows and {self._hidden_runs:,} more runs."
            )
        height = self._y + _MARGIN
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self._width}" height="{height}" '
            f'viewBox="0 0 {self._width} {height}" role="img">'
            f"<title>Timeline of runs</title><style>{_STYLE}</style><defs>{_VOID}</defs>"
            f'<rect class="w" width="{self._width}" height="{height}"/>'
            f"{''.join(self._elements)}</svg>\n"
        )

    def write_line(self, text: str) -> None:
        """Write a line of text below all else."""
        self._y += _LINE
        self._text(_MARGIN, self._y - 6, text, "d")

    def draw_run(self, run: RunSpans) -> None:
        """Draw a run: its heading, its axis, its rows."""
        if self._lines >= MAX_LINES:
            self._hidden_runs += 1
            return
        rows = rows_of(run)
        shown = 0
        self._lines += 2
        for row in rows:
            self._lines += len(row.lanes)
            shown += self._lines <= MAX_LINES
        self._hidden_rows += len(rows) - shown
        self._draw_heading(run)
        pixels = (self._right - _LEFT) / max(run.end - run.start, 1e-6)

        def x_of(time: float) -> float:
            return _LEFT + (time - run.start) * pixels

        for first in range(0, shown, _PER_AXIS):
            page = rows[first : min(first + _PER_AXIS, shown)]
            self._draw_axis(run, x_of, sum(map(_height, page)))
            for row in page:
                self._draw_row(row, x_of)
        self._y += _MARGIN

    # -- what stands above the rows -----------------------------------------------------------

    def _draw_legend(self) -> None:
        x = float(_MARGIN)
        y = self._y
        swatches = [(name, f'fill="{full}"') for name, _, full in _LOOKS.values()]
        swatches += [
            ("failed attempt", 'fill="url(#void)"'),
            ("asks and waits", f'fill="{_ASKED}"'),
        ]
        for name, look in swatches:
            self._add(f'<rect x="{x:.1f}" y="{y}" width="14" height="{_BAR}" {look}/>')
            self._text(x + 19, y + 10, name, "d")
            x += 34 + 6.2 * len(name)
        self._mark(x + 4, y)
        self._text(x + 13, y + 10, "first chunk", "d")
        self._y += _LINE

    def _draw_heading(self, run: RunSpans) -> None:
        flow = run.flow
        status = flow.status if flow else None
        self._y += _LINE
        began = datetime.fromtimestamp(run.start, UTC)
        facts = [
            _LOOKS[status][0],
            duration(run.end - run.start),
            f"began {began:%Y-%m-%d %H:%M:%S} UTC",
            f"run {_cut(run.run_id, 40)}",
        ]
        name = escape_xml(_cut(run.name or "(a part of a run)", 50))
        beside = f'<tspan class="d" dx="14">{escape_xml(" · ".join(facts))}</tspan>'
        self._add(f'<text x="{_MARGIN}" y="{self._y - 4}"><tspan class="h">{name}</tspan>')
        self._add(f"{beside}</text>")
        if flow is not None and flow.error is not None:
            self._y += _LINE - 4
            self._text(_MARGIN, self._y - 4, _cut(flow.error, self._width // 8), "e")

    def _draw_axis(self, run: RunSpans, x_of: Scale, height: int) -> None:
        """Draw the times, and their lines down through the rows below."""
        self._y += _LINE
        for seconds in _ticks(run.end - run.start):
            x = x_of(run.start + seconds)
            self._add(f'<path class="g" d="M{x:.1f} {self._y - 4}v{height + 4}"/>')
            last = x > self._right - 40
            self._text(x, self._y - 7, duration(seconds), "d s r" if last else "d s")

    # -- rows ---------------------------------------------------------------------------------

    def _draw_row(self, row: Row, x_of: Scale) -> None:
        y = self._y
        self._add(f'<path class="g" d="M{_MARGIN} {y}H{self._right}"/>')
        counted = f"×{row.count:,} · " if row.count > 1 else ""
        facts = counted + duration(row.seconds)
        indent = 14 * min(row.depth, 8)
        room = (_NAMES - indent - 7 * len(facts) - 20) // 7
        name = _row_name(row)
        self._text(_MARGIN + indent, y + 15, _cut(name, room), hint=name)
        self._text(_LEFT - 10, y + 15, facts, "d r")
        for number, lane in enumerate(row.lanes):
            bars = bars_of(lane, x_of)
            self._draw_lane(bars, y + 5 + number * _LANE, x_of)
            if row.count > 1:
                self._draw_durations(bars, y + 5 + number * _LANE)
        self._y += _height(row)

    def _draw_lane(self, bars: list[Bar], y: int, x_of: Scale) -> None:
        for bar in bars:
            facts = "\n".join(escape_xml(_cut(each, _LONGEST)) for each in _facts(bar))
            self._add(f"<g><title>{facts}</title>")
            if len(bar.spans) > 1:
                self._draw_joined(bar, y)
            else:
                self._draw_span(bar, y, x_of)
            self._add("</g>")

    def _draw_joined(self, bar: Bar, y: int) -> None:
        """Draw a bar that stands for many: the more of it they fill, the fuller."""
        width = max(bar.right - bar.left, 2.0)
        full = 0.35 + 0.65 * min(bar.busy / width, 1.0)
        color = _LOOKS[bar.status][2]
        self._rect(bar.left, bar.left + width, y, f'fill="{color}" fill-opacity="{full:.2f}"')

    def _draw_span(self, bar: Bar, y: int, x_of: Scale) -> None:
        (span,) = bar.spans
        _, light, full = _LOOKS[span.status]
        if span.kind == "flow":
            self._rect(bar.left, bar.right, y + 3, f'fill="{full}" fill-opacity="0.6"', _BAR - 6)
        else:
            self._rect(bar.left, bar.right, y + 5, f'fill="{light}"', 2)  # seen in a pause
            for attempt in span.attempts:
                self._draw_attempt(attempt, span, y, x_of)
        for question in span.questions:
            left, right = x_of(question.start), x_of(question.end)
            self._rect(left, right, y, f'fill="{_ASKED}"')
            if right - left > 30:
                prompt = _cut(question.prompt, int(right - left - 6) // 6)
                self._text(left + 4, y + 10, prompt, "s")
        if span.status is None or not span.began:
            x = bar.right if span.status is None else bar.left
            self._add(
                f'<path d="M{x:.1f} {y - 2}v{_BAR + 4}" stroke="{full}" stroke-dasharray="2"/>'
            )

    def _draw_attempt(self, attempt: Attempt, span: Span, y: int, x_of: Scale) -> None:
        left, right = x_of(attempt.start), x_of(attempt.end)
        _, light, full = _LOOKS[span.status]
        first = None if attempt.first_chunk is None else x_of(attempt.first_chunk)
        if attempt.error is not None:
            self._rect(left, right, y, 'fill="url(#void)"')
        elif any(child.kind == "item" for child in span.children):
            self._rect(left, right, y, f'fill="{light}"')  # its items are drawn below it
        elif first is None:
            self._rect(left, right, y, f'fill="{full}"')
        else:
            self._rect(left, first, y, f'fill="{light}"')
            self._rect(first, right, y, f'fill="{full}"')
        if first is not None and right - left > _MARKED:
            self._mark(first, y)

    def _draw_durations(self, bars: list[Bar], y: int) -> None:
        """Write how long each bar took beside it, where there is room."""
        for number, bar in enumerate(bars):
            after = bars[number + 1].left if number + 1 < len(bars) else float(self._right)
            text = duration(bar.seconds) if len(bar.spans) == 1 else f"×{len(bar.spans):,}"
            right = max(bar.right, bar.left + 2)
            if right + 6 * len(text) + 8 < after:
                self._text(right + 5, y + 10, text, "d s")

    # -- elements -----------------------------------------------------------------------------

    def _add(self, element: str) -> None:
        self._elements.append(element)

    def _rect(self, left: float, right: float, y: int, look: str, height: int = _BAR) -> None:
        """A rectangle on the time axis; it is always wide enough to be seen."""
        width = max(right - left, 1.5)
        self._add(f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{height}" {look}/>')

    def _mark(self, x: float, y: int) -> None:
        self._add(f'<path class="t" d="M{x:.1f} {y}v{_BAR}"/>')
        self._add(f'<path d="M{x - 3.5:.1f} {y - 3}h7l-3.5 5z"/>')

    def _text(self, x: float, y: float, text: str, look: str = "", hint: str = "") -> None:
        shown = escape_xml(text)
        title = f"<title>{escape_xml(hint)}</title>" if hint and hint != text else ""
        self._add(f'<text x="{x:.1f}" y="{y}" class="{look}">{title}{shown}</text>')


def _height(row: Row) -> int:
    return _LINE + _LANE * (len(row.lanes) - 1)


def _row_name(row: Row) -> str:
    span = row.span
    name = span.name if row.depth else span.node or span.name
    if span.kind == "item":
        return "items" if row.depth else f"{name}: items"
    return name or "(flow)"


def _facts(bar: Bar) -> Iterator[str]:
    """What is shown when a bar is pointed at."""
    span = bar.spans[0]
    if len(bar.spans) > 1:
        failed = sum(each.status == "error" for each in bar.spans)
        retries = sum(len(each.attempts) - 1 for each in bar.spans)
        questions = sum(len(each.questions) for each in bar.spans)
        yield f"{len(bar.spans):,} of {span.node or span.name}, together {duration(bar.seconds)}"
        yield f"{failed:,} errors, {retries:,} retries, {questions:,} questions"
        return
    item = f", item {'/'.join(map(str, span.items))}" if span.items else ""
    item += f" {span.label}" if span.label else ""
    yield f"{span.node or span.name}{item}" + (f", step {span.step}" if span.step > 1 else "")
    yield f"{_LOOKS[span.status][0]}, {duration(span.end - span.start)}"
    if not span.began:
        yield "its start is not in the record"
    for attempt in span.attempts:
        number = f"attempt {attempt.number}: " if len(span.attempts) > 1 else ""
        if attempt.first.seconds is not None:
            yield f"{number}first chunk after {duration(attempt.first.seconds)}"
        if attempt.error is not None:
            yield f"{number}{attempt.error}"
    if span.chunks:
        yield f"chunks: {span.chunks:,}"
    for question in span.questions:
        answer = "no answer" if question.answer is None else f"answer: {question.answer}"
        yield f"asked: {question.prompt}"
        yield f"{answer}, after {duration(question.end - question.start)}"
    if span.error is not None:
        yield span.error
    if span.moved:
        yield f"action: {span.action or 'default'}"


def _columns(text: str) -> int:
    """How many columns a text takes, about; those of wide characters count twice."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def _cut(text: str, columns: int) -> str:
    """The text in at most so many columns, with what its controls are escaped to counted."""
    text = escape_controls(text[: _LONGEST * 2], one_line=True)
    if _columns(text) <= columns:
        return text
    left = max(columns, 1) - 1
    for number, each in enumerate(text):
        left -= _columns(each)
        if left < 0:
            return text[:number] + "…"
    return text


def _ticks(seconds: float) -> Iterator[float]:
    """Round times from 0 on, about eight of them."""
    if seconds <= 0:
        yield 0.0
        return
    step = next(each for each in _STEPS if seconds / 9 <= each)
    for number in range(int(seconds / step) + 1):
        yield number * step
