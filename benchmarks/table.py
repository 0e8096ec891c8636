"""A row of the table, and the rows as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

COLUMNS = ("work", "flowevents", "reference", "ratio", "target", "met?")


@dataclass(frozen=True)
class Row:
    """One work measured.

    `flowevents` and `reference` are amounts of `unit`; `judged` is what is held against
    `target`: their ratio or, where `ratio` is false, their difference in `unit`. `rounds`
    is how often both were measured.
    """

    work: str
    unit: str
    flowevents: float
    reference: float
    judged: float
    target: float
    rounds: int
    ratio: bool = True

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.judged <= self.target

    def cells(self) -> tuple[str, ...]:
        """The texts of the row, in the order of `COLUMNS`."""
        judged, target = f"{self.judged:.2f}", f"≤ {self.target:g}"
        if not self.ratio:
            judged, target = f"{self.judged:+.2f} {self.unit}", f"{target} {self.unit} more"
        return (
            self.work,
            f"{self.flowevents:.3f} {self.unit}",
            f"{self.reference:.3f} {self.unit}",
            judged,
            target,
            "yes" if self.met else "**no**",
        )


def heading() -> str:
    """The first two lines of the Markdown table."""
    return _line(COLUMNS) + "\n" + _line("---" for _ in COLUMNS)


def line(row: Row) -> str:
    """One row as a line of the Markdown table."""
    return _line(row.cells())


def as_json(row: Row) -> dict[str, object]:
    """One row as plain values, unrounded."""
    return {**asdict(row), "met": row.met}


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
