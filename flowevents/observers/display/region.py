"""What is under way: the newest text of what streams, and below it the trees of the runs."""

from __future__ import annotations

from flowevents.observers import figures
from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.entries import indented
from flowevents.observers.display.line import Line
from flowevents.observers.display.phrases import add_speed, path, spinner
from flowevents.observers.display.speech import labelled
from flowevents.observers.display.state import Step
from flowevents.observers.display.tree import FINISHED, ITEM, OPEN, ROOT, Weighed, tree_lines
from flowevents.observers.display.watch import Watch

__all__ = ["live_lines"]


def live_lines(watch: Watch, now: float, canvas: Canvas, max_items: int = 8) -> list[Line]:
    """What is under way: on top the newest text of what streams, below it the tree of each run.

    It is at least one line lower than the screen. Texts get half of it, or more where the trees
    leave it; of the trees, what finished first goes first.
    """
    runs = [(watch.number(run), run) for run in watch.runs.values()]
    room = canvas.height - 1
    trees = [tree_lines(run, canvas, number, now, max_items) for number, run in runs]
    speaking = [
        (number, step)
        for number, run in runs
        for step in run.steps.values()
        if step.speech.blocks and not step.is_crowded  # an item beside others has a line
    ]
    above = _texts(speaking, room // 2, now, canvas)
    lines = _squeezed(trees, room - len(above), canvas)
    if len(above) < room - len(lines):  # the trees leave more than half
        above = _texts(speaking, room - len(lines), now, canvas)
    return [*above, *lines]


def _squeezed(trees: list[list[Weighed]], room: int, canvas: Canvas) -> list[Line]:
    """The lines of the trees, without the least important where there are too many."""
    lines = [each for tree in trees for each in tree]
    for least in (FINISHED, ITEM, OPEN):
        surplus = len(lines) - room
        if surplus <= 0:
            break
        kept: list[Weighed] = []
        dropped = 0
        for weight, line in lines:
            if weight == least and dropped <= surplus:  # one more, for the line that says so
                dropped += 1
            else:
                kept.append((weight, line))
        if dropped:
            words = {FINISHED: "finished before", ITEM: "more items", OPEN: "more at work"}
            said = f"  {canvas.signs['more']} {dropped} {words[least]}"
            note = canvas.fit(Line((said, "dim")))
            place = next((n for n, (weight, _) in enumerate(lines) if weight == least), 0)
            kept.insert(min(place, len(kept)), (ROOT, note))
        lines = kept
    return [line for _, line in lines[:room]]


def _texts(speaking: list[tuple[int, Step]], room: int, now: float, canvas: Canvas) -> list[Line]:
    """The newest text of what streams, each below its heading, in no more lines than there are."""
    shown = speaking[-max(room // 2, 1) :] if room > 1 else []
    lines: list[Line] = []
    for place, (number, step) in enumerate(shown):
        share = (room - len(lines)) // (len(shown) - place)
        lines.append(_heading(number, step, now, canvas))
        lines += _newest(step, share - 1, canvas)
    return lines


def _heading(number: int, step: Step, now: float, canvas: Canvas) -> Line:
    speech = step.speech
    line = Line((spinner(now, canvas), "cyan"), " ")
    line.add(path(number, step.node, step.items, canvas), "bold")
    line.add(f"  {figures.short(now - step.seen)}", "dim")
    if step.attempt > 1:
        line.add(f"  attempt {step.attempt}", "yellow")
    if speech.chunks:
        add_speed(line, speech.rate(), step.first.seconds, canvas)
    return canvas.fit(line)


def _newest(step: Step, room: int, canvas: Canvas) -> list[Line]:
    lines: list[Line] = []
    for block in reversed(step.speech.blocks):
        if len(lines) >= room:
            break
        end = block.tail((room + 2) * canvas.width)
        text = end if block.is_text else labelled(block, end)
        lines[:0] = indented(text, canvas, "" if block.is_text else "dim", room - len(lines))
    return lines
