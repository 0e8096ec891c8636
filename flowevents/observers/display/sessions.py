"""From the first event to the end of the last run: pictures, or plain lines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from rich.console import Console

from flowevents.events import Chunk, Event, FlowEnd, Interrupt, Reply
from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.entries import entry_lines
from flowevents.observers.display.line import Line
from flowevents.observers.display.notebook import Notebook
from flowevents.observers.display.plain import Lines
from flowevents.observers.display.region import live_lines
from flowevents.observers.display.state import Asked, Entry
from flowevents.observers.display.terminal import Terminal
from flowevents.observers.display.watch import Watch
from flowevents.observers.tty import Tty, write

__all__ = ["Drawn", "Options", "Session", "Written", "is_urgent"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a `TerminalDisplay` was made with."""

    console: Console | None
    transient: bool
    shows: Callable[[str], bool] | None
    get_time: Callable[[], float]
    per_second: float
    max_items: int
    answers_here: bool
    markdown: bool


class Written:
    """Plain lines, each written when it is there; not thread-safe.

    Args:
        watch: What is known; the lines begin with what it kept for a picture.
    """

    def __init__(self, target: IO[str], watch: Watch) -> None:
        self.watch: Watch = watch
        self._target = target
        self._lines = Lines(watch)
        self._write(self._lines.kept())

    def take(self, event: Event, now: float) -> None:
        """Write the lines that an event completes."""
        self._write(self._lines.take(event))

    def draw(self) -> None:
        """Everything is written already."""

    def step_aside(self, question: Interrupt) -> None:
        """It never is in the way."""

    def close(self) -> None:
        """Write what has begun."""
        self._write(self._lines.leave())

    def _write(self, lines: list[str]) -> None:
        if lines:
            write(self._target, "".join(f"{line}\n" for line in lines))


class Drawn:
    """A picture on a surface; not thread-safe.

    Args:
        tty: The terminal that it shares with those who read.
    """

    def __init__(self, surface: Terminal | Notebook, options: Options, tty: Tty) -> None:
        self.watch: Watch = Watch(options.shows)
        self._surface = surface
        self._options = options
        self._tty = tty
        self._standing: tuple[str, str] | None = None  # the question on the screen, to be answered

    def take(self, event: Event, now: float) -> None:
        """Fold an event in."""
        self.watch.take(event, now)

    def draw(self) -> None:
        """Draw what is known now; nothing while a question stands on the screen."""
        now = self._options.get_time()
        waiting = self._open_questions(now)
        if self._standing in waiting or (self._surface.is_typed_on and self._tty.reads):
            return
        self._standing = next(iter(waiting), None)
        canvas = self._surface.canvas()
        region = [] if waiting else live_lines(self.watch, now, canvas, self._options.max_items)
        self._show(waiting, region, canvas)

    def step_aside(self, question: Interrupt) -> None:
        """Draw up to the question, where it does not stand there, and take the region away."""
        now = self._options.get_time()
        if question.run_id in self.watch.runs:  # perhaps before it comes as an event
            self.watch.take(question, now)
        if not self._surface.is_typed_on:
            self.draw()
            return
        self._standing = question.run_id, question.id
        if self._tty.last == self._standing:
            self._surface.draw([], [])
        else:
            self._show(self._open_questions(now), [], self._surface.canvas())

    def _open_questions(self, now: float) -> list[tuple[str, str]]:
        """Those for whose answers it stands still, in the order in which they were asked."""
        if not (self._surface.is_typed_on and self._options.answers_here):
            return []
        return [key for key, until in self.watch.questions.items() if now < until]

    def close(self) -> None:
        """Draw what has ended, each run with its tree."""
        self.watch.leave()
        try:
            self._show([], [], self._surface.canvas())
        finally:
            self._surface.close()

    def give_up(self) -> None:
        """Leave the screen as it is."""
        with suppress(Exception):  # it may be what has failed
            self._surface.close()

    def _show(self, waiting: list[tuple[str, str]], region: list[Line], canvas: Canvas) -> None:
        """Draw the entries, which stay, and the region below them.

        Of the questions that wait only the one on the screen is shown, the last; the others follow
        when it is their turn.
        """
        shown: list[Entry] = []
        later: list[Entry] = []
        for entry in self.watch.entries:
            waits = isinstance(entry, Asked) and entry.key in waiting
            (later if waits and not self._is_standing(entry) else shown).append(entry)
        shown.sort(key=self._is_standing)
        if self._options.transient:
            shown = [each for each in shown if isinstance(each, Asked)]
        asked = shown[-1] if shown and isinstance(shown[-1], Asked) else None
        if asked is not None:
            asked.waiting = self._tty.behind(asked.key, waiting)
        markdown = self._options.markdown
        above = [line for entry in shown for line in entry_lines(entry, canvas, markdown)]
        self._surface.draw(above, region)
        self.watch.entries = later  # what was shown is not forgotten before
        if shown:
            self._tty.last = None if asked is None else asked.key

    def _is_standing(self, entry: Entry) -> bool:
        return isinstance(entry, Asked) and entry.key == self._standing


Session = Written | Drawn
"""What a display does with events."""


def is_urgent(event: Event) -> bool:
    """Whether it has to be taken at once, and not when something is drawn next.

    Questions and the ends of runs are to be seen, and data may change.
    """
    if isinstance(event, Chunk):
        return not isinstance(event.data, str)
    return isinstance(event, (Interrupt, Reply)) or (isinstance(event, FlowEnd) and not event.node)
