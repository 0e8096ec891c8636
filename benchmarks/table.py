"""A row of the table, and the rows as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

COLUMNS = ("work", "flowevents", "reference", "ratio", "target", "met?")


@dataclass(frozen=True)
class Row:
    """One work measured.

    `flowevents` and `reference` are amounts of `unit`; `judged` is what is held against
    `target`: their ratio or, where `ratio` is false, their difference in `unit`; without a
    reference, the amount itself. Without a target the row explains another one. `rounds` is how
    often both were measured.
    """

    work: str
    unit: str
    flowevents: float
    reference: float | None
    judged: float
    target: float | None
    rounds: int
    ratio: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the target is reached, if there is one."""
        return None if self.target is None else self.judged <= self.target

    def cells(self) -> tuple[str, ...]:
        """The texts of the row, in the order of `COLUMNS`."""
        judged, target, reference = "–", "–", "–"
        unit, more = ("", "") if self.ratio else (f" {self.unit}", " more")
        if self.reference is None:
            more = ""
        else:
            reference = f"{self.reference:.3f} {self.unit}"
            judged = f"{self.judged:.2f}" if self.ratio else f"{self.judged:+.2f}{unit}"
        if self.target is not None:
            target = f"≤ {self.target:g}{unit}{more}"
        return (
            self.work,
            f"{self.flowevents:.3f} {self.unit}",
            reference,
            judged,
            target,
            {True: "yes", False: "**no**", None: "–"}[self.met],
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
