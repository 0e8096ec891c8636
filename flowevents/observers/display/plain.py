"""Lines for where nothing can be drawn: a pipe, a file, a log of CI, a dumb terminal.

Each start, end, action, retry, question and answer is a line, and so is each line of a text; a
progress is one at each tenth. Nothing else is written: no control codes, no colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from flowevents import events as ev
from flowevents.escape import escape_controls
from flowevents.events import Event
from flowevents.observers import figures
from flowevents.observers.display.speech import OUTPUT, Block, labelled
from flowevents.observers.display.state import Answered, Asked, Ended, Entry, Run, Said, Step
from flowevents.observers.display.watch import Watch, result_of
from flowevents.observers.questions import choices_of, wording
from flowevents.opened import End, Start, ends

__all__ = ["Lines"]

_LONGEST: Final = 1_000  # characters of a text without an end of line, after which one is made


class Lines:
    """Events as lines, above what a `Watch` knows of them; not thread-safe.

    What a step has said stays in its speech until it is written.

    Args:
        watch: What is known so far.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def take(self, event: Event) -> list[str]:
        """The lines that an event completes, without their ends."""
        run = self.watch.run_of(event, 0.0)
        if run is None:
            return []
        step, name = run.opens.of(event), self._name(run, event)
        told = [f"{name}{each}" for each in _told(event, run, step)]
        if isinstance(event, ev.NodeEnd) and (result := result_of(step, event)) is not None:
            told = _spoken(name, _lines(result.text())) + told
        left = [] if isinstance(event, ev.Chunk) else _left_by(event, run, step)
        lines = self._rests(run, left)
        self.watch.take(event, 0.0)
        self.watch.entries.clear()
        if isinstance(event, ev.Chunk):
            return _said(run.steps[event.span], name)
        asks = isinstance(event, (ev.Interrupt, ev.Reply))
        return lines + told if asks or run.rows.get(event.node, run.root) else lines

    def kept(self) -> list[str]:
        """What was to stay on a screen, and nobody has shown yet."""
        entries, self.watch.entries = self.watch.entries, []
        for run in self.watch.runs.values():
            entries += [said for _, said in run.late.values()]
            run.late.clear()
        return [line for entry in entries for line in _kept(entry)]

    def leave(self) -> list[str]:
        """What has begun of the runs that are open."""
        runs = self.watch.runs.values()
        return [line for run in runs for line in self._rests(run, run.steps.values())]

    def _name(self, run: Run, event: Event | Step) -> str:
        number = self.watch.number(run)
        node = _line(event.node or run.root.name)
        return f"{_number(number)}{node}{figures.items(event.items)}"

    def _rests(self, run: Run, steps: Iterable[Step]) -> list[str]:
        """What has begun of what they say, which something else follows."""
        return [line for each in steps for line in _said(each, self._name(run, each), all=True)]


def _left_by(event: Event, run: Run, step: Step | None) -> Iterator[Step]:
    """What says no more, or something else first: in an end all that is open in it."""
    if isinstance(event, ev.FlowEnd) and not event.node:
        yield from run.steps.values()
    elif step is not None:
        yield step
        if ends(event):
            for each in step.inside.values():
                yield from _left_by(event, run, each)


def _said(step: Step, name: str, *, all: bool = False) -> list[str]:
    """The lines of what a step has said and nobody has written; the last has to be complete."""
    lines: list[str] = []
    for block in step.speech.blocks:
        if lines and not lines[-1]:  # the one before ended with a newline
            lines.pop()
        lines += _lines(labelled(block, block.text()))
    rest = lines.pop() if lines and step.speech.blocks[-1].is_text else ""
    step.speech.blocks = []
    while len(rest) > _LONGEST:
        place = rest.rfind(" ", 1, _LONGEST) + 1 or _LONGEST
        lines.append(rest[:place])
        rest = rest[place:]
    if rest and all:
        lines.append(rest)
    elif rest:
        step.speech.blocks = [Block(OUTPUT, [rest], True)]
    return _spoken(name, lines)


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").split("\n")


def _spoken(name: str, lines: Iterable[str]) -> list[str]:
    return [f"{name} | {_line(each)}" if each else f"{name} |" for each in lines]


def _number(run: int) -> str:
    return f"({run}) " if run else ""


def _kept(entry: Entry) -> Iterator[str]:
    """The lines of something that was to stay on the screen."""
    number = _number(entry.run)
    name = f"{number}{_line(entry.node)}{figures.items(entry.items)}"
    event: Event | None = None
    if isinstance(entry, Asked) and entry.about is not None:
        yield from _kept(entry.about)
    if isinstance(entry, Said):
        for block in entry.blocks:
            yield from _spoken(name, _lines(labelled(block, block.text()).rstrip("\n")))
        if entry.error is not None and entry.retry is None:
            yield f"{name}: {_line(entry.error)}"
        event = entry.retry
    elif isinstance(entry, Asked):
        event = entry.question
    elif isinstance(entry, Answered):
        event = entry.reply
    elif isinstance(entry, Ended) and entry.whole.root.status is not None:
        root = entry.whole.root
        yield f"{number}{_line(root.name)}: {root.status} in {figures.short(root.spent)}"
    if event is not None:
        yield from (f"{name}{each}" for each in _told(event))


def _told(event: Event, run: Run | None = None, step: Step | None = None) -> list[str]:
    """What a line says of an event, after the name."""
    if isinstance(event, ev.FlowStart) and not event.node:
        return [f": start, run {_line(event.run_id)}"]
    if isinstance(event, ev.ItemStart) and event.label:
        return [f": start, {_line(event.label)}"]
    if isinstance(event, Start):
        return [": start"]
    if isinstance(event, End):
        return [_ended(event, run)]
    if isinstance(event, ev.Action):
        action = "" if event.action is None else f" ({_line(event.action)})"
        return [f" -> {_line(event.target or 'end')}{action}"]
    if isinstance(event, ev.Retry):
        follows = "fallback" if event.fallback else f"attempt {event.attempt + 1}"
        wait = f" in {figures.short(event.wait)}" if event.wait > 0 else ""
        return [f": attempt {event.attempt} is void, {follows} follows{wait}: {_line(event.error)}"]
    if isinstance(event, ev.Interrupt):
        choices = choices_of(event)
        known = "" if choices is None else f" [{', '.join(map(wording, choices))}]"
        return [f": asks: {_line(wording(event.prompt) + known)}"]
    if isinstance(event, ev.Reply):
        return [f": answered: {_line(wording(event.value))}"]
    return _progress(event, step) if isinstance(event, ev.Progress) else []


def _ended(event: End, run: Run | None) -> str:
    told = f": {event.status} in {figures.short(event.duration)}"
    if isinstance(event, ev.ItemEnd):
        of = "" if event.total is None else f" of {event.total}"
        told += f", {event.done}{of} done"
    if event.error and (run is None or event.error != run.error or isinstance(event, ev.ItemEnd)):
        told += f": {_line(event.error)}"
    return told


def _progress(event: ev.Progress, step: Step | None) -> list[str]:
    before = _tenth(step.way.progress) if step is not None and step.way is not None else None
    if event.total is None or _tenth(event) in (None, before):
        return []
    label = f" {_line(event.label)}" if event.label else ""
    return [f": {figures.count(event.done)} of {figures.count(event.total)}{label}"]


def _tenth(event: ev.Progress) -> int | None:
    """How far it is, where it says of how much."""
    if not event.total or not event.total > 0 or not event.done >= 0:
        return None
    return int(min(event.done / event.total, 1.0) * 10)


def _line(text: str) -> str:
    return escape_controls(text, one_line=True)
