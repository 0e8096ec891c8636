"""Where the spans of a run stand in a timeline: a row per node, in it lanes, in them bars.

All executions of a node share its row, so that a loop is one line and a thousand steps are no
longer than ten. Those that overlap, as parallel items do, take lanes below one another. Bars that
are too short or too close to be told apart are joined into one that says how many it is. So a
picture's size follows from how many nodes there are and how wide it is, not from how many events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from flowevents.observers.spans import RunSpans, Span

__all__ = ["MAX_LANES", "Bar", "Row", "Scale", "bars_of", "rows_of"]

MAX_LANES: Final = 16
"""The most lanes of a row; what finds no free one shares the last."""

_TINY: Final = 3.0  # pixels; bars that are not longer may be joined
_GAP: Final = 1.0  # pixels that are left free between bars that are not joined
_JOINED: Final = 5.0  # pixels; so far do they grow, so that an error among thousands has its place

Scale = Callable[[float], float]
"""Where a time stands on the axis, in pixels."""

_BY_WEIGHT: Final = ("error", None, "cancelled", "ok")
"""The status that a joined bar has is the first of these that one of its spans has."""


@dataclass(slots=True, eq=False)
class Row:
    """What is drawn on one line, or on several lanes below one another.

    Attributes:
        span: The first span; it names the row.
        place: Those of what it stands in, and its own: rows are sorted by it.
        lanes: Spans that do not overlap, in order; the last lane of `MAX_LANES` may overlap.
    """

    span: Span
    place: tuple[int, ...]
    lanes: list[list[Span]] = field(default_factory=list)
    _ends: list[float] = field(default_factory=list)  # of the lanes

    @property
    def depth(self) -> int:
        """In how many others it stands."""
        return len(self.place) - 1

    @property
    def count(self) -> int:
        """How many spans there are."""
        return sum(map(len, self.lanes))

    @property
    def seconds(self) -> float:
        """How long they took in all."""
        return sum(span.end - span.start for lane in self.lanes for span in lane)

    def add(self, span: Span) -> None:
        """Put a span that did not start before the others into the first lane that is free."""
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
    spans = list(run)
    for span in spans:
        if _key(span) not in rows:
            above = rows.get(_key(span.parent)) if span.parent else None
            rows[_key(span)] = Row(span, (*(above.place if above else ()), len(rows)))
    for span in sorted(spans, key=lambda span: span.start):
        rows[_key(span)].add(span)
    return sorted(rows.values(), key=lambda row: row.place)


def _key(span: Span) -> tuple[bool, str]:
    return span.kind == "item", span.node


@dataclass(slots=True, eq=False)
class Bar:
    """One span, or several that could not be told apart.

    Attributes:
        spans: In the order in which they start.
        left, right: Pixels.
        busy: The sum of their lengths in pixels.
    """

    spans: list[Span]
    left: float
    right: float
    busy: float

    @property
    def status(self) -> str | None:
        """Theirs, or that of the one that is to be noticed first."""
        return min((span.status for span in self.spans), key=_BY_WEIGHT.index)

    @property
    def seconds(self) -> float:
        """How long they took in all."""
        return sum(span.end - span.start for span in self.spans)

    def takes(self, span: Span, left: float, right: float) -> bool:
        """Join the span to it if they could not be told apart. Gives whether they were joined."""
        overlaps = left < self.right - _GAP / 2
        tiny = right - left < _TINY and (len(self.spans) > 1 or self.right - self.left < _TINY)
        near = left < self.right + _GAP and right - self.left < _JOINED
        if not overlaps and not (tiny and near):
            return False
        self.spans.append(span)
        self.right = max(self.right, right)
        self.busy += right - left
        return True


def bars_of(lane: Iterable[Span], x_of: Scale) -> list[Bar]:
    """The bars of a lane.

    Args:
        lane: Spans in the order in which they start.
        x_of: Where a time stands.
    """
    bars: list[Bar] = []
    for span in lane:
        left, right = x_of(span.start), x_of(span.end)
        if not bars or not bars[-1].takes(span, left, right):
            bars.append(Bar([span], left, right, right - left))
    return bars
