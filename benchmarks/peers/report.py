"""What was measured, as Markdown and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from .runner import Measured
from .works import Target, Work

PLAIN, OURS = "plain Python", "flowevents"
NOTHING = "–"


@dataclass(frozen=True)
class Row:
    """One way of a peer to do a work.

    Attributes:
        units: How many were measured at a time.
        processor: Microseconds of processor time per unit; `wall` likewise, as the clock on the
            wall counts. Medians of the rounds.
        memory: How much more memory the process took at its peak, in MB, if that is told.
        plain: The median, over the rounds, of the ratio to plain Python; `ours` likewise, to the
            fastest way of flowevents in that round. `None` where that was not measured.
        failed: Why there are no figures, or nothing.
    """

    work: str
    peer: str
    way: str
    units: int
    rounds: int = 0
    processor: float | None = None
    wall: float | None = None
    memory: float | None = None
    plain: float | None = None
    ours: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class Verdict:
    """A target, and what was reached; `value` is `None` where it was not measured."""

    work: str
    way: str
    against: str
    value: float | None
    target: float

    @property
    def faster(self) -> bool:
        """Whether more is better: a peer's cost as a multiple of ours."""
        return self.against != PLAIN

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; `None` where that is not known."""
        if self.value is None:
            return None
        return self.value >= self.target if self.faster else self.value <= self.target


# -- from figures to rows -------------------------------------------------------------------------


def rows_of(work: Work, measured: Sequence[Measured]) -> list[Row]:
    """A row for each way."""
    plain, ours = _fastest(measured, PLAIN), _fastest(measured, OURS)
    return [_row(work, each, plain, ours) for each in measured]


def _row(work: Work, measured: Measured, plain: list[float], ours: list[float]) -> Row:
    row = Row(work.name, measured.peer, measured.way, measured.units, failed=measured.failed)
    if measured.failed:
        return row
    costs, rounds = _costs(measured), measured.rounds
    memory = [figures["memory"] / 1e6 for figures in rounds if "memory" in figures]
    return Row(
        row.work,
        row.peer,
        row.way,
        row.units,
        len(rounds),
        processor=median(costs) * 1e6,
        wall=median(figures["wall"] for figures in rounds) / measured.units * 1e6,
        memory=median(memory) if memory and work.memory else None,
        plain=_ratio(costs, plain),
        ours=_ratio(costs, ours),
    )


def _costs(measured: Measured) -> list[float]:
    """The seconds of processor time per unit, in each round."""
    return [figures["processor"] / measured.units for figures in measured.rounds]


def _fastest(measured: Iterable[Measured], peer: str) -> list[float]:
    """In each round, the costs of a peer's fastest way; empty where there is none."""
    ways = [_costs(each) for each in measured if each.peer == peer and not each.failed]
    return [min(costs) for costs in zip(*ways, strict=True)]


def _ratio(costs: Sequence[float], reference: Sequence[float]) -> float | None:
    if not reference:
        return None
    return median(a / b for a, b in zip(costs, reference, strict=True))


def verdicts_of(target: Target, measured: Sequence[Measured]) -> list[Verdict]:
    """What one way of flowevents reached: against plain Python, then against the peers."""
    judged = [
        _costs(each)
        for each in measured
        if each.peer == OURS and each.way == target.way and not each.failed
    ]
    costs = judged[0] if judged else []
    wanted = {PLAIN: target.floor, **target.faster}
    found = []
    for against, at_least in wanted.items():
        theirs = _fastest(measured, against)
        value = None
        if costs and theirs:
            value = _ratio(costs, theirs) if against == PLAIN else _ratio(theirs, costs)
        found.append(Verdict(target.work.name, target.way, against, value, at_least))
    return found


# -- Markdown -------------------------------------------------------------------------------------


def detail(work: Work, rows: Sequence[Row]) -> str:
    """All ways to do one work."""
    memory = any(row.memory is not None for row in rows)
    heads = ["", "measured", "per unit", "× plain Python", "× flowevents"]
    lines = [[*heads, "memory"] if memory else heads]
    for row in rows:
        cells = [
            f"{row.peer}, {row.way}" if row.way else row.peer,
            f"{row.units:,}",
            NOTHING if row.processor is None else f"{row.processor:.3g} µs",
            _times(row.plain),
            _times(row.ours),
        ]
        if row.failed:
            cells[2] = "failed"
        if memory:
            cells.append(NOTHING if row.memory is None else f"{row.memory:.1f} MB")
        lines.append(cells)
    return f"### {work.name[0].upper()}{work.name[1:]}\n\n{work.about}\n\n{table(lines)}"


def overview(
    works: Sequence[Work],
    rows: Sequence[Row],
    peers: Sequence[str],
    imports: dict[str, float],
    sizes: dict[str, int],
) -> str:
    """The works by the peers: the multiple of plain Python that each peer's fastest way costs."""
    lines = [["", *(peer for peer in peers)]]
    for work in works:
        lines.append([work.name, *(_cell(work, peer, rows) for peer in peers)])
    if imports:
        lines.append(["import", *(_amount(imports.get(peer), "ms") for peer in peers)])
        megabytes = {name: size / 1e6 for name, size in sizes.items()}
        lines.append(["installed", *(_amount(megabytes.get(peer), "MB") for peer in peers)])
    return table(lines)


def _cell(work: Work, peer: str, rows: Iterable[Row]) -> str:
    ways = [row for row in rows if row.work == work.name and row.peer == peer]
    costs = [row.processor for row in ways if row.processor is not None]
    if not costs:
        return "failed" if ways else NOTHING
    if peer == PLAIN:
        return f"{min(costs):.3g} µs"
    ratios = [row.plain for row in ways if row.plain is not None]
    return _times(min(ratios)) if ratios else f"{min(costs):.3g} µs"


def _amount(value: float | None, unit: str) -> str:
    if not value:
        return NOTHING
    if value < 1:  # less than what the difference of two processes can tell
        return f"< 1 {unit}" if unit == "ms" else f"{value:.2f} {unit}"
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"


def _times(ratio: float | None) -> str:
    if ratio is None:
        return NOTHING
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def judged(verdicts: Sequence[Verdict]) -> str:
    """The targets, and whether they are met."""
    lines = [["flowevents", "against", "reached", "target", "met?"]]
    for verdict in verdicts:
        way = f"{verdict.work}: {verdict.way}" if verdict.way else verdict.work
        sign, words = ("≥", " × faster") if verdict.faster else ("≤", " ×")
        reached = NOTHING if verdict.value is None else f"{_times(verdict.value)}{words}"
        met = {None: "not measured", True: "yes", False: "**no**"}[verdict.met]
        lines.append([way, verdict.against, reached, f"{sign} {verdict.target:g}{words}", met])
    known = [verdict for verdict in verdicts if verdict.met is not None]
    count = f"{sum(bool(verdict.met) for verdict in known)} of {len(known)} targets met."
    return f"{table(lines)}\n\n{count}"


def table(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first line is its head."""
    head, *rest = lines
    rule = ["---", *("--:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rest))


# -- JSON -----------------------------------------------------------------------------------------


def as_json(verdict: Verdict) -> dict[str, object]:
    """A target as plain values."""
    return {**asdict(verdict), "met": verdict.met}
