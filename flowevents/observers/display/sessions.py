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
from flowevents.observers.questions import last_asked

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

    def close(self) -> None:
        """Bring the screen up to date for the last time, and give it back."""
        ...

    def join(self) -> None:
        """Wait until nothing of it goes on; called by whoever holds no lock."""
        ...


class Surface(Protocol):
    """What can be drawn on."""

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
    """Plain lines, each written when it is there."""

    def __init__(self, target: IO[str], options: Options) -> None:
        self._target = target
        self._lines = Lines(options.shows)

    def is_urgent(self, event: Event) -> bool:
        """Always."""
        return True

    def take(self, event: Event, now: float) -> None:
        """Write the lines that an event completes."""
        self._write(self._lines.take(event))

    def is_over(self) -> bool:
        """Whether every run has ended."""
        return not self._lines.runs

    def draw(self) -> None:
        """Everything is written already."""

    def close(self) -> None:
        """Write what has begun."""
        self._write(self._lines.leave())

    def join(self) -> None:
        """Nothing goes on."""

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
        stands_still: Whether nothing is drawn while a question is open.
        tick: Called by a thread of its own so many times a second, until it is closed.
    """

    def __init__(
        self, surface: Surface, options: Options, stands_still: bool, tick: Callable[[], None]
    ) -> None:
        self._surface = surface
        self._options = options
        self._watch = Watch(options.shows)
        self._stands_still = stands_still
        self._still: set[tuple[str, str]] = set()  # the questions that it stood still for
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if options.per_second > 0:
            self._thread = threading.Thread(
                target=_tick,
                args=(tick, 1 / options.per_second, self._closed),
                name="flowevents display",
                daemon=True,
            )
            self._thread.start()

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
        still = {
            key
            for key, until in self._watch.questions.items()
            if self._stands_still and now < until
        }
        if still & self._still:
            return
        self._still = still
        canvas = self._surface.canvas()
        region = [] if still else live_lines(self._watch, now, canvas, self._options.max_items)
        self._show(region, canvas)

    def close(self) -> None:
        """Draw what has ended, each run with its tree, and stop the thread."""
        self._closed.set()
        self._watch.leave()
        try:
            self._show([], self._surface.canvas())
        finally:
            self._surface.close()

    def join(self) -> None:
        """Wait for the end of the thread."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _show(self, region: list[Line], canvas: Canvas) -> None:
        entries, self._watch.entries = self._watch.entries, []
        if self._options.transient:
            entries = [each for each in entries if isinstance(each, Asked)]
        entries = [each for each in entries if not _stands_already(each)]
        above = [line for entry in entries for line in entry_lines(entry, canvas)]
        with suppress(OSError, ValueError):  # the terminal is gone, or the file is closed
            self._surface.draw(above, region)
        if asked := [each for each in entries if isinstance(each, Asked)]:
            last_asked.note(asked[-1].question, by_reader=False)


def _tick(tick: Callable[[], None], seconds: float, closed: threading.Event) -> None:
    """The thread."""
    while not closed.wait(seconds):
        try:
            tick()
        except Exception:  # of a function that was given
            _logger.exception("TerminalDisplay could not be brought up to date")


def _stands_already(entry: Entry) -> bool:
    """Whether it is a question that whoever reads the answer has shown."""
    is_last = isinstance(entry, Asked) and last_asked.is_this(entry.question)
    return is_last and last_asked.by_reader
