"""Lines for where nothing can be drawn: a pipe, a file, a log of CI, a dumb terminal.

Each start, end, action, retry, question and answer is a line, and so is each line of a text; a
progress is one at each tenth. Nothing else is written: no control codes, no colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from flowevents.escape import escape_controls
from flowevents.events import (
    Action,
    Chunk,
    Event,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeEnd,
    NodeStart,
    Progress,
    Reply,
    Retry,
)
from flowevents.observers import durations
from flowevents.observers.display import figures
from flowevents.observers.questions import choices_of, wording

__all__ = ["Lines"]

_LONGEST: Final = 1_000  # characters of a text without an end of line, after which one is made


@dataclass(slots=True)
class _Open:
    """A run that is open.

    Attributes:
        begun: The lines of texts that have no end yet, by span.
        tenths: The tenth of each span's progress that was told last.
    """

    name: str
    number: int
    begun: dict[int, str] = field(default_factory=dict)
    tenths: dict[int, int] = field(default_factory=dict)


class Lines:
    """A fold of events into lines; not thread-safe.

    Args:
        shows: Whether a node, named by its path, is shown. Questions always are.
    """

    def __init__(self, shows: Callable[[str], bool] | None = None) -> None:
        self.runs: dict[str, _Open] = {}
        self._shows = shows
        self._shown: dict[str, bool] = {}
        self._numbers = 0
        self._several = False

    def take(self, event: Event) -> list[str]:
        """The lines that an event completes, without their ends."""
        run = self.runs.get(event.run_id)
        if run is None:
            run = self._open(event)
        lines: list[str] = []
        if self._is_shown(event):
            name = self._name(run, event)
            if isinstance(event, Chunk):
                lines = self._chunk(run, event, name)
            else:
                lines = self._rest(run, event.span, name)
                lines += [f"{name}{each}" for each in _told(event, run)]
        if isinstance(event, FlowEnd) and not event.node:
            lines = [*self._all_rests(run), *lines]
            del self.runs[event.run_id]
            self._several = self._several and bool(self.runs)
        return lines

    def leave(self) -> list[str]:
        """What has begun of the runs that are open."""
        lines = [line for run in self.runs.values() for line in self._all_rests(run)]
        self.runs.clear()
        return lines

    def _open(self, event: Event) -> _Open:
        self._numbers += 1
        name = event.flow if isinstance(event, FlowStart) and not event.node else event.run_id
        run = self.runs[event.run_id] = _Open(_line(name), self._numbers)
        self._several = self._several or len(self.runs) > 1
        return run

    def _is_shown(self, event: Event) -> bool:
        if self._shows is None or not event.node or isinstance(event, (Interrupt, Reply)):
            return True
        if event.node not in self._shown:
            self._shown[event.node] = self._shows(event.node)
        return self._shown[event.node]

    def _number(self, run: _Open) -> str:
        return f"({run.number}) " if self._several else ""

    def _name(self, run: _Open, event: Event) -> str:
        node = _line(event.node) if event.node else run.name
        return f"{self._number(run)}{node}{figures.items(event.items)}"

    def _chunk(self, run: _Open, event: Chunk, name: str) -> list[str]:
        if not isinstance(event.data, str):
            mark = "" if event.kind == "output" else f"{event.kind}: "
            value = _line(mark + figures.value(event.data))
            return [*self._rest(run, event.span, name), f"{name} | {value}"]
        if event.kind != "output":
            said = _joined(f"{event.kind}: ", event.data)
            return [*self._rest(run, event.span, name), *(f"{name} | {_line(s)}" for s in said)]
        *whole, last = _joined(run.begun.get(event.span, ""), event.data)
        while len(last) > _LONGEST:
            place = last.rfind(" ", 1, _LONGEST) + 1 or _LONGEST
            whole.append(last[:place])
            last = last[place:]
        run.begun[event.span] = last
        return [f"{name} | {_line(each)}" if each else f"{name} |" for each in whole]

    def _all_rests(self, run: _Open) -> list[str]:
        name = self._number(run) + run.name
        return [line for span in list(run.begun) for line in self._rest(run, span, name)]

    def _rest(self, run: _Open, span: int, name: str) -> list[str]:
        """The last line of a text that something else follows."""
        begun = run.begun.pop(span, "")
        return [f"{name} | {_line(begun)}"] if begun else []


def _joined(begun: str, more: str) -> list[str]:
    return (begun + more).replace("\r\n", "\n").split("\n")


def _told(event: Event, run: _Open) -> list[str]:
    """What a line says of an event, after the name."""
    if isinstance(event, FlowStart) and not event.node:
        return [f": start, run {_line(event.run_id)}"]
    if isinstance(event, ItemStart) and event.label:
        return [f": start, {_line(event.label)}"]
    if isinstance(event, (FlowStart, NodeStart, ItemStart)):
        return [": start"]
    if isinstance(event, (FlowEnd, NodeEnd, ItemEnd)):
        run.tenths.pop(event.span, None)
        return [_ended(event)]
    if isinstance(event, Action):
        action = "" if event.action is None else f" ({_line(event.action)})"
        return [f" -> {_line(event.target or 'end')}{action}"]
    if isinstance(event, Retry):
        follows = "fallback" if event.fallback else f"attempt {event.attempt + 1}"
        wait = f" in {durations.short(event.wait)}" if event.wait > 0 else ""
        return [f": attempt {event.attempt} is void, {follows} follows{wait}: {_line(event.error)}"]
    if isinstance(event, Interrupt):
        choices = choices_of(event)
        known = "" if choices is None else f" [{', '.join(map(wording, choices))}]"
        return [f": asks: {_line(wording(event.prompt) + known)}"]
    if isinstance(event, Reply):
        return [f": answered: {_line(wording(event.value))}"]
    return _progress(event, run) if isinstance(event, Progress) else []


def _ended(event: FlowEnd | NodeEnd | ItemEnd) -> str:
    told = f": {event.status} in {durations.short(event.duration)}"
    if isinstance(event, ItemEnd):
        of = "" if event.total is None else f" of {event.total}"
        told += f", {event.done}{of} done"
    return told + (f": {_line(event.error)}" if event.error else "")


def _progress(event: Progress, run: _Open) -> list[str]:
    if not event.total or not event.total > 0 or not event.done >= 0:
        return []
    tenth = int(min(event.done / event.total, 1.0) * 10)
    if run.tenths.get(event.span) == tenth:
        return []
    run.tenths[event.span] = tenth
    label = f" {_line(event.label)}" if event.label else ""
    return [f": {figures.count(event.done)} of {figures.count(event.total)}{label}"]


def _line(text: str) -> str:
    return escape_controls(text, one_line=True)
