"""From the first event to the end of the last run: pictures that a thread draws, or plain lines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Final, Protocol

from rich.console import Console

from flowevents.events import Chunk, Event, FlowEnd, Interrupt, Reply
from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.entries import entry_lines
from flowevents.observers.display.line import Line
from flowevents.observers.display.plain import Lines
from flowevents.observers.display.region import live_lines
from flowevents.observers.display.state import Asked, Entry
from flowevents.observers.display.watch import Watch
from flowevents.observers.tty import Tty

__all__ = ["Drawn", "Options", "Session", "Surface", "Written"]

_logger: Final = logging.getLogger("flowevents")


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


class Session(Protocol):
    """What a display does with events; only one thread at a time calls it."""

    def is_urgent(self, event: Event) -> bool:
        """Whether an event has to be taken at once, and not when something is drawn next."""
        ...

    def take(self, event: Event, now: float) -> None:
        """Take an event, which came at this time on the display's clock."""
        ...

    def is_over(self) -> bool:
        """Whether every run that it has seen has ended."""
        ...

    def draw(self) -> None:
        """Bring the screen up to date."""
        ...

    def step_aside(self, question: Interrupt) -> None:
        """Show all there is, with a question of a run that is shown, because somebody will type."""
        ...

    def close(self) -> threading.Thread | None:
        """Bring the screen up to date for the last time, and give it back; the thread that ends."""
        ...


class Surface(Protocol):
    """What can be drawn on.

    Attributes:
        is_typed_on: Whether an answer would be typed where it draws.
    """

    is_typed_on: bool

    def canvas(self) -> Canvas:
        """Its size now, and what it can show."""
        ...

    def draw(self, above: list[Line], region: list[Line]) -> None:
        """Add lines that stay, and draw the region below them again."""
        ...

    def close(self) -> None:
        """Take the region away and give back what was taken."""
        ...


class Written:
    """Plain lines, each written when it is there.

    Args:
        watch: What a picture that cannot be drawn any more knew; the lines go on from there.
    """

    def __init__(self, target: IO[str], options: Options, watch: Watch | None = None) -> None:
        self._target = target
        self._lines = Lines(watch or Watch(options.shows))
        self._write(self._lines.kept())

    def is_urgent(self, event: Event) -> bool:
        """Always."""
        return True

    def take(self, event: Event, now: float) -> None:
        """Write the lines that an event completes."""
        self._write(self._lines.take(event))

    def is_over(self) -> bool:
        """Whether every run has ended."""
        return not self._lines.watch.runs

    def draw(self) -> None:
        """Everything is written already."""

    def step_aside(self, question: Interrupt) -> None:
        """It never is in the way."""

    def close(self) -> None:
        """Write what has begun."""
        self._write(self._lines.leave())

    def _write(self, lines: list[str]) -> None:
        if not lines:
            return
        encoding = getattr(self._target, "encoding", None) or "utf-8"
        text = "".join(f"{line}\n" for line in lines)
        with suppress(OSError, ValueError):  # who reads it has left, or it is closed
            self._target.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._target.flush()


class Drawn:
    """A picture on a surface.

    Args:
        tty: The terminal that it shares with those who read.
        tick: Called by a thread of its own so many times a second, until it is closed.
    """

    def __init__(
        self, surface: Surface, options: Options, tty: Tty, tick: Callable[[], None]
    ) -> None:
        self._surface = surface
        self._options = options
        self._tty = tty
        self._watch = Watch(options.shows)
        self._standing: tuple[str, str] | None = None  # the question on the screen, to be answered
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if options.per_second > 0:
            thread = threading.Thread(
                target=_tick,
                args=(tick, 1 / options.per_second, self._closed),
                name="flowevents display",
                daemon=True,
            )
            with suppress(RuntimeError):  # at the end of the process none can start any more
                thread.start()
                self._thread = thread

    def is_urgent(self, event: Event) -> bool:
        """Questions and the ends of runs, which are to be seen, and data that may change."""
        if isinstance(event, Chunk):
            return not isinstance(event.data, str)
        return isinstance(event, (Interrupt, Reply)) or (
            isinstance(event, FlowEnd) and not event.node
        )

    def take(self, event: Event, now: float) -> None:
        """Fold an event in."""
        self._watch.take(event, now)

    def is_over(self) -> bool:
        """Whether every run has ended."""
        return not self._watch.runs

    def draw(self) -> None:
        """Draw what is known now; nothing while a question stands on the screen."""
        now = self._options.get_time()
        waiting = self._open_questions(now)
        if self._standing in waiting or (self._surface.is_typed_on and self._tty.reads):
            return
        self._standing = next(iter(waiting), None)
        canvas = self._surface.canvas()
        region = [] if waiting else live_lines(self._watch, now, canvas, self._options.max_items)
        self._show(waiting, region, canvas)

    def step_aside(self, question: Interrupt) -> None:
        """Draw up to the question, where it does not stand there, and take the region away."""
        now = self._options.get_time()
        self._watch.hear(question, now)
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
        return [key for key, until in self._watch.questions.items() if now < until]

    def close(self) -> threading.Thread | None:
        """Draw what has ended, each run with its tree, and stop the thread."""
        self._closed.set()
        self._watch.leave()
        try:
            self._show([], [], self._surface.canvas())
        finally:
            self._surface.close()
        return self._thread

    def give_up(self) -> Watch:
        """Leave the screen as it is; what is known, and was not shown."""
        self._closed.set()
        with suppress(Exception):  # it may be what has failed
            self._surface.close()
        return self._watch

    def _show(self, waiting: list[tuple[str, str]], region: list[Line], canvas: Canvas) -> None:
        """Draw the entries, which stay, and the region below them.

        Of the questions that wait only the one on the screen is shown, the last; the others follow
        when it is their turn.
        """
        shown: list[Entry] = []
        later: list[Entry] = []
        for entry in self._watch.entries:
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
        self._watch.entries = later  # what was shown is not forgotten before
        if shown:
            self._tty.last = None if asked is None else asked.key

    def _is_standing(self, entry: Entry) -> bool:
        return isinstance(entry, Asked) and entry.key == self._standing


def _tick(tick: Callable[[], None], seconds: float, closed: threading.Event) -> None:
    """The thread."""
    while not closed.wait(seconds):
        try:
            tick()
        except Exception:  # of a function that was given, such as `show`
            _logger.exception("TerminalDisplay could not be brought up to date")
