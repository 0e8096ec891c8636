"""The parts of which the lines of a picture are made: names, transitions, speeds, bars."""

from __future__ import annotations

from typing import Final

from flowevents.events import Action
from flowevents.observers import figures
from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.line import Line

__all__ = ["STYLES", "add_bar", "add_move", "add_speed", "path", "spinner"]

STYLES: Final = {"ok": "green", "error": "bold red", "cancelled": "yellow"}
"""By status."""

_BAR: Final = 20  # cells
_FRAMES: Final = 10  # of the spinner, per second


def path(run: int, node: str, items: tuple[int, ...], canvas: Canvas) -> str:
    """Which node of which run: `(2) Research/Search[3]`; without the run where it is 0."""
    number = f"({run}) " if run else ""
    return f"{number}{canvas.line(node)}{figures.items(items)}"


def spinner(now: float, canvas: Canvas) -> str:
    """The sign of something that is under way."""
    frames = canvas.signs["spinner"]
    return frames[int(now * _FRAMES) % len(frames)]


def add_move(line: Line, moved: Action, canvas: Canvas) -> None:
    """Add where it went: `→ Search (search)`, `→ end (done)`, `→ end (serach: no successor)`."""
    target = "end" if moved.target is None else moved.target.rpartition("/")[2]
    line.add(f"  {canvas.signs['to']} {canvas.line(target)}", "cyan")
    if moved.target is None and not moved.known:
        line.add(f" ({canvas.line(str(moved.action))}: no successor)", "yellow")
    elif moved.action is not None:
        line.add(f" ({canvas.line(moved.action)})", "dim")


def add_speed(line: Line, rate: float | None, first: float | None, canvas: Canvas) -> None:
    """Add the chunks per second, and the seconds to the first one. A chunk counts as a token."""
    if rate is not None:
        line.add(f"  {figures.rate(rate)} tok/s", "dim")
    if first is not None:
        line.add(f"  first {figures.short(first)}", "dim")


def add_bar(line: Line, done: float, total: float | None, spent: float, canvas: Canvas) -> None:
    """Add a bar, the count, and the rate and the time left that follow from the time spent."""
    known = total is not None and total > 0 and done >= 0
    if total is not None and known:
        cells = min(_BAR, max(canvas.width // 6, 5))
        full = round(cells * min(done / total, 1.0))
        line.add("  " + canvas.signs["done"] * full, "green")
        line.add(canvas.signs["rest"] * (cells - full), "dim")
    line.add(f"  {figures.count(done)}", "bold")
    if total is not None:
        line.add(f"/{figures.count(total)}")
    if done > 0 and spent > 0:
        line.add(f"  {figures.rate(done / spent)}/s", "dim")
        if total is not None and known and done < total:
            line.add(f", {figures.short(spent / done * (total - done))} left", "dim")
