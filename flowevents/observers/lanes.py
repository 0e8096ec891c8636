"""Where the spans of a run stand in a timeline: a row per node, in it lanes, in them bars.

All executions of a node share its row, so that a loop is one line and a thousand steps are no
longer than ten. Those that overlap, as parallel items do, take lanes below one another. Bars that
are too short or too close to be told apart are joined into one that says how many it is. So a
picture's size follows from how many nodes there are and how wide it is, not from how many events.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flowevents.observers.spans import RunSpans, Span

__all__ = ["MAX_LANES", "Bar", "Row", "bars_of", "rows_of"]

MAX_LANES: Final = 16
"""The most lanes of a row; what finds no free one shares the last."""

_TINY: Final = 3.0  # pixels; bars that are not longer may be joined
_GAP: Final = 1.0  # pixels that are left free between bars that are not joined
_JOINED: Final = 5.0  # pixels; so far do they grow, so that an error among thousands has its place

_BY_WEIGHT: Final = ("error", None, "cancelled", "ok")
"""The status that a joined bar has is the first of these that one of its spans has."""


class Row:
    """What is drawn on one line, or on several lanes below one another.

    Attributes:
        span: The first span; it names the row.
        depth: In how many others it stands.
        lanes: Spans that do not overlap, in order; the last lane of `MAX_LANES` may overlap.
        count, seconds: How many spans there are, and how long they took in all.
    """

    __slots__ = ("_ends", "children", "count", "depth", "lanes", "seconds", "span")

    def __init__(self, span: Span, depth: int) -> None:
        self.span: Span = span
        self.depth: int = depth
        self.children: list[Row] = []
        self.lanes: list[list[Span]] = []
        self.count: int = 0
        self.seconds: float = 0.0
        self._ends: list[float] = []

    def add(self, span: Span) -> None:
        """Put a span that did not start before the others into the first lane that is free."""
        self.count += 1
        self.seconds += span.end - span.start
        free = (number for number, end in enumerate(self._ends) if end <= span.start)
        number = min(next(free, len(self.lanes)), MAX_LANES - 1)
        if number == len(self.lanes):
            self.lanes.append([])
            self._ends.append(0.0)
        self.lanes[number].append(span)
        self._ends[number] = max(self._ends[number], span.end)


def rows_of(run: RunSpans) -> list[Row]:
    """A run's rows from top to bottom: each before those of what it encloses."""
    rows: dict[tuple[bool, str], Row] = {}
    roots: list[Row] = []
    spans = list(run)
    for span in spans:
        key = _key(span)
        if key not in rows:
            above = rows.get(_key(span.parent)) if span.parent else None
            rows[key] = row = Row(span, above.depth + 1 if above else 0)
            (above.children if above else roots).append(row)
    for span in sorted(spans, key=_start):
        rows[_key(span)].add(span)
    ordered: list[Row] = []
    waiting = roots[::-1]
    while waiting:
        row = waiting.pop()
        ordered.append(row)
        waiting.extend(reversed(row.children))
    return ordered


def _key(span: Span) -> tuple[bool, str]:
    return span.kind == "item", span.node


def _start(span: Span) -> float:
    return span.start


class Bar:
    """One span, or several that could not be told apart.

    Attributes:
        span: The first of them.
        left, right: Pixels.
        count: How many.
        busy: The sum of their lengths in pixels.
        status: Theirs, or that of the one that is to be noticed first.
        failed, retries, questions: How many ended in an error, were tried again, asked.
        seconds: How long they took in all.
    """

    __slots__ = (
        "busy",
        "count",
        "failed",
        "left",
        "questions",
        "retries",
        "right",
        "seconds",
        "span",
        "status",
    )

    def __init__(self, span: Span, left: float, right: float) -> None:
        self.span: Span = span
        self.left: float = left
        self.right: float = right
        self.status: str | None = span.status
        self.count: int = 0
        self.failed: int = 0
        self.retries: int = 0
        self.questions: int = 0
        self.busy: float = 0.0
        self.seconds: float = 0.0
        self._count(span, left, right)

    def takes(self, span: Span, left: float, right: float) -> bool:
        """Join the span to it if they could not be told apart. Gives whether they were joined."""
        overlaps = left < self.right - _GAP / 2
        tiny = right - left < _TINY and (self.count > 1 or self.right - self.left < _TINY)
        near = left < self.right + _GAP and right - self.left < _JOINED
        if not overlaps and not (tiny and near):
            return False
        self.right = max(self.right, right)
        self.status = min(self.status, span.status, key=_BY_WEIGHT.index)
        self._count(span, left, right)
        return True

    def _count(self, span: Span, left: float, right: float) -> None:
        self.count += 1
        self.busy += right - left
        self.failed += span.status == "error"
        self.retries += len(span.attempts) - 1
        self.questions += len(span.questions)
        self.seconds += span.end - span.start


def bars_of(lane: Iterable[Span], start: float, pixels: float) -> list[Bar]:
    """The bars of a lane.

    Args:
        lane: Spans in the order in which they start.
        start: The time at the left edge.
        pixels: How long a second is.
    """
    bars: list[Bar] = []
    for span in lane:
        left, right = (span.start - start) * pixels, (span.end - start) * pixels
        if not bars or not bars[-1].takes(span, left, right):
            bars.append(Bar(span, left, right))
    return bars
