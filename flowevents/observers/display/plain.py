"""Lines for where nothing can be drawn: a pipe, a file, a log of CI, a dumb terminal.

Each start, end, action, retry, question and answer is a line, and so is each line of a text; a
progress is one at each tenth. Nothing else is written: no control codes, no colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from flowevents.observers.display.speech import labelled
from flowevents.observers.display.state import Answered, Asked, Ended, Entry, Said, Step
from flowevents.observers.display.watch import Watch
from flowevents.observers.questions import choices_of, wording
from flowevents.plain import text_in

__all__ = ["Lines"]

_LONGEST: Final = 1_000  # characters of a text without an end of line, after which one is made


@dataclass(slots=True)
class _Open:
    """A run that is open.

    Attributes:
        begun: The lines of texts that have no end yet, by span.
        tenths: The tenth of each span's progress that was told last.
        spoke: The steps and items that have said something, each by its path and items.
        error: The last error that was told; it is not told again of what that ended, too.
    """

    name: str
    number: int
    begun: dict[int, str] = field(default_factory=dict)
    tenths: dict[int, int] = field(default_factory=dict)
    spoke: set[tuple[str, tuple[int, ...]]] = field(default_factory=set)
    error: str | None = None


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
                run.spoke |= {(event.node, event.items), (event.node, event.items[:-1])}
                lines = self._chunk(run, event, name)
            else:
                lines = self._rest(run, event.span, name)
                lines += _result(event, run, name)
                lines += [f"{name}{each}" for each in _told(event, run)]
        if isinstance(event, FlowEnd) and not event.node:
            lines = [*self._all_rests(run), *lines]
            del self.runs[event.run_id]
            self._several = self._several and bool(self.runs)
        return lines

    def take_over(self, watch: Watch) -> list[str]:
        """Go on with runs that cannot be drawn: the lines of what nobody has shown yet."""
        for run in watch.runs.values():
            self.runs[run.id] = _Open(_line(run.root.name), run.number)
            self._numbers = max(self._numbers, run.number)
        self._several = watch.several
        lines = [line for entry in watch.entries for line in _kept(entry)]
        for known in watch.runs.values():
            lines += [line for _, said in known.late.values() for line in _kept(said)]
            for step in known.steps.values():
                name = self._name(self.runs[known.id], step)
                for block in step.speech.blocks:
                    if block.is_text:
                        lines += self._text(self.runs[known.id], step.span, name, block.text())
                    else:
                        lines.append(f"{name} | {_line(labelled(block, block.text()))}")
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

    def _name(self, run: _Open, event: Event | Step) -> str:
        node = _line(event.node) if event.node else run.name
        return f"{self._number(run)}{node}{figures.items(event.items)}"

    def _chunk(self, run: _Open, event: Chunk, name: str) -> list[str]:
        text = text_in(event.data)
        if text is None:
            mark = "" if event.kind == "output" else f"{event.kind}: "
            value = _line(mark + figures.value(event.data))
            return [*self._rest(run, event.span, name), f"{name} | {value}"]
        if event.kind != "output":
            said = _joined(f"{event.kind}: ", text)
            return [*self._rest(run, event.span, name), *(f"{name} | {_line(s)}" for s in said)]
        return self._text(run, event.span, name, text)

    def _text(self, run: _Open, span: int, name: str, text: str) -> list[str]:
        """The lines of a text that are complete."""
        *whole, last = _joined(run.begun.get(span, ""), text)
        while len(last) > _LONGEST:
            place = last.rfind(" ", 1, _LONGEST) + 1 or _LONGEST
            whole.append(last[:place])
            last = last[place:]
        run.begun[span] = last
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


def _result(event: Event, run: _Open, name: str) -> list[str]:
    """What a step that said nothing has returned, where its run captures that."""
    if not isinstance(event, (NodeEnd, ItemEnd)):
        return []
    spoke = (event.node, event.items) in run.spoke
    run.spoke.discard((event.node, event.items))
    if spoke or isinstance(event, ItemEnd) or event.result is None:
        return []
    return [f"{name} | {_line(each)}" for each in _joined("", figures.value(event.result))]


def _kept(entry: Entry) -> Iterator[str]:
    """The lines of something that was to stay on the screen."""
    number = f"({entry.run}) " if entry.run else ""
    name = f"{number}{_line(entry.node)}{figures.items(entry.items)}"
    event: Event | None = None
    if isinstance(entry, Asked) and entry.about is not None:
        yield from _kept(entry.about)
    if isinstance(entry, Said):
        for block in entry.blocks:
            for line in _joined("", labelled(block, block.text()).rstrip("\n")):
                yield f"{name} | {_line(line)}"
        if entry.error is not None and entry.retry is None:
            yield f"{name}: {_line(entry.error)}"
        event = entry.retry
    elif isinstance(entry, Asked):
        event = entry.question
    elif isinstance(entry, Answered):
        event = entry.reply
    elif isinstance(entry, Ended) and entry.whole.root.status is not None:
        root = entry.whole.root
        yield f"{number}{_line(root.name)}: {root.status} in {durations.short(root.spent)}"
    if event is not None:
        yield from (f"{name}{each}" for each in _told(event, _Open("", 0)))


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
        return [_ended(event, run)]
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
    return _progress(event, run.tenths) if isinstance(event, Progress) else []


def _ended(event: FlowEnd | NodeEnd | ItemEnd, run: _Open) -> str:
    told = f": {event.status} in {durations.short(event.duration)}"
    if isinstance(event, ItemEnd):
        of = "" if event.total is None else f" of {event.total}"
        told += f", {event.done}{of} done"
    if event.error and (event.error != run.error or isinstance(event, ItemEnd)):
        told += f": {_line(event.error)}"
        run.error = event.error
    return told


def _progress(event: Progress, tenths: dict[int, int]) -> list[str]:
    if not event.total or not event.total > 0 or not event.done >= 0:
        return []
    tenth = int(min(event.done / event.total, 1.0) * 10)
    if tenths.get(event.span) == tenth:
        return []
    tenths[event.span] = tenth
    label = f" {_line(event.label)}" if event.label else ""
    return [f": {figures.count(event.done)} of {figures.count(event.total)}{label}"]


def _line(text: str) -> str:
    return escape_controls(text, one_line=True)
