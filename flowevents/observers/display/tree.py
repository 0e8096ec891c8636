"""The tree of a run: a line for each node, nested flows indented, items below their batch."""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len

from flowevents.events import Interrupt
from flowevents.observers import figures
from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.line import Line
from flowevents.observers.display.phrases import STYLES, add_bar, add_move, spinner
from flowevents.observers.display.speech import Block, labelled
from flowevents.observers.display.state import Row, Run, Step
from flowevents.observers.questions import wording

__all__ = ["FINISHED", "ITEM", "OPEN", "ROOT", "Weighed", "tree_lines"]

FINISHED, ITEM, OPEN, ROOT = range(4)
"""What a line is worth where there is no room for all; the least goes first."""

Weighed = tuple[int, Line]

_LABEL: Final = 30  # characters of an item's label that are shown
_WORD: Final = 12  # characters within which a cut text goes on to the next word


def tree_lines(
    run: Run, canvas: Canvas, number: int, now: float | None = None, max_items: int = 0
) -> list[Weighed]:
    """A run with a line for each node and, while it is under way, for each item beside others.

    Args:
        now: The display's clock; `None` for a run that is not followed any more.
        max_items: Of how many items in all.
    """
    tree = _Tree(canvas, now, max_items)
    tree.add_run(run, number)
    return tree.lines


class _Tree:
    """The lines of a tree while they are made."""

    def __init__(self, canvas: Canvas, now: float | None, max_items: int) -> None:
        self.canvas = canvas
        self.now = now or 0.0
        self.max_items = max_items
        self.still = now is None  # nothing moves any more: no spinners and no items
        self.lines: list[Weighed] = []

    def add_run(self, run: Run, number: int) -> None:
        line = Line((f"({number}) " if number else "", "dim"))
        self._complete(line, run.root)
        if number:
            line.add(f"  run {self.canvas.line(run.id)}", "dim")
        self.lines.append((ROOT, self.canvas.fit(line)))
        self._add_below(run.root, "")

    def _add_below(self, above: Row, guide: str) -> None:
        signs = self.canvas.signs
        if not self.still:
            self._add_items(above, guide + (signs["bar"] if above.rows else "  "))
        if len(guide) > self.canvas.width // 2:  # nested too deep to be seen
            return
        for row in above.rows:
            is_last = row is above.rows[-1]
            line = Line((guide + signs["last" if is_last else "branch"], "dim"))
            self._complete(line, row)
            self.lines.append((OPEN if row.open else FINISHED, self.canvas.fit(line)))
            self._add_below(row, guide + ("  " if is_last else signs["bar"]))

    # -- nodes --------------------------------------------------------------------------------

    def _complete(self, line: Line, row: Row) -> None:
        """Add what is known of a node to its line."""
        signs = self.canvas.signs
        steps = list(row.open.values())
        questions = [each for step in steps for each in step.questions.values()]
        style = "bold" if steps else ""
        if questions:
            line.add(signs["asks"], "bold yellow")
        elif steps:
            line.add(signs["left"] if self.still else spinner(self.now, self.canvas), "cyan")
        else:
            line.add(signs[row.status or "left"], STYLES.get(row.status or "", "dim"))
            style = STYLES["error"] if row.status == "error" else ""
        line.add(" ")
        line.add(self.canvas.line(row.name), style)
        if row.started > 1:
            line.add(f" {signs['times']}{row.started}", "cyan")
        if not steps:
            self._add_outcome(line, row)
        elif self.still:
            line.add("  waits for an answer" if questions else "  not ended", "yellow")
        else:
            self._add_work(line, steps, questions)

    def _add_work(self, line: Line, steps: list[Step], questions: list[Interrupt]) -> None:
        if len(steps) > 1:
            line.add(f"  {len(steps)} at work", "dim")
        line.add(f"  {figures.short(self.now - steps[0].seen)}", "dim")
        for question in questions[:1]:
            line.add(f"  {self.canvas.line(wording(question.prompt))}", "bold yellow")
        self._add_state(line, steps[-1])

    def _add_state(self, line: Line, step: Step) -> None:
        """Add how far a step is: its attempt, its items or its progress."""
        if step.attempt > 1:
            line.add(f"  attempt {step.attempt}", "yellow")
        if step.retry is not None:
            line.add(f"  {self.canvas.line(step.retry.error)}", "yellow")
        batch, way = step.batch, step.way
        if batch.done or batch.open:
            add_bar(line, batch.done, batch.total, self.now - step.seen, self.canvas)
        elif way is not None:
            progress, spent = way.progress, self.now - way.seen
            add_bar(line, progress.done, progress.total, spent, self.canvas)
            if progress.label:
                line.add(f"  {self.canvas.line(progress.label)}", "dim")

    def _add_outcome(self, line: Line, row: Row) -> None:
        dot = self.canvas.signs["dot"]
        if row.status is not None:
            line.add(f"  {figures.short(row.spent)}", "dim")
        if row.items:
            line.add(f" {dot} {row.items} item{'s' * (row.items != 1)}", "dim")
        if row.retries:
            line.add(f" {dot} {row.retries} {'retry' if row.retries == 1 else 'retries'}", "yellow")
        if row.status == "cancelled":
            line.add("  cancelled", "yellow")
        elif row.status == "ok" and row.moved is not None:
            add_move(line, row.moved, self.canvas)

    # -- items --------------------------------------------------------------------------------

    def _add_items(self, row: Row, guide: str) -> None:
        """Add the items that are at work beside others, up to the limit."""
        items = [
            item
            for step in row.open.values()
            if step.batch.open > 1 or step.is_crowded
            for item in step.inside.values()
            if item.kind == "item"
        ]
        for item in items[: self.max_items]:
            self.lines.append((ITEM, self._item(item, guide)))
        more = len(items) - self.max_items
        if more > 0:
            text = f"{guide}{self.canvas.signs['more']} {more} more item{'s' * (more != 1)} at work"
            self.lines.append((ITEM, self.canvas.fit(Line((text, "dim")))))

    def _item(self, item: Step, guide: str) -> Line:
        """An item: what works in it, for how long, how far, and the end of what it says."""
        canvas = self.canvas
        line = Line((guide, "dim"), (figures.items(item.items), "cyan"))
        if item.label:
            label = canvas.line(item.label)
            more = canvas.signs["more"] if len(label) > _LABEL else ""
            line.add(f" {label[:_LABEL]}{more}", "cyan")
        step = item
        while step.inside:
            step = next(reversed(step.inside.values()))
        if step.node != item.node:
            line.add(f" {canvas.line(step.node.rpartition('/')[2])}", "bold")
        line.add(f" {figures.short(self.now - item.seen)}", "dim")
        for question in list(step.questions.values())[:1]:
            asked = canvas.line(wording(question.prompt))
            line.add(f"  {canvas.signs['asks']} {asked}", "bold yellow")
        self._add_state(line, step)
        room = canvas.width - line.cells - 2
        if step.speech.blocks and room > len(canvas.signs["more"]):
            line.add(f"  {_end_of(step.speech.blocks[-1], room, canvas)}")
        return canvas.fit(line)


def _end_of(block: Block, room: int, canvas: Canvas) -> str:
    """As much of the end of a text as fits into so many cells of one line."""
    said = block.text()[-4 * room :] if block.is_text else labelled(block, block.text())
    words = canvas.line(" ".join(said.split()))
    if cell_len(words) <= room:
        return words
    room -= len(canvas.signs["more"])
    place = max(len(words) - room, 0)
    while (wide := cell_len(words[place:])) > room:
        place += max((wide - room) // 2, 1)
    space = words.find(" ", place, place + _WORD)
    end = words[place if space < 0 else space + 1 :]
    return canvas.signs["more"] + end.lstrip("\u200d\ufe0f")  # of a cluster that was split
