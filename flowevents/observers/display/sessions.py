"""From the first event to the end of the last run: pictures that a thread draws, or plain lines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Protocol

from flowevents.events import Event
from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.entries import entry_lines
from flowevents.observers.display.line import Line
from flowevents.observers.display.plain import Lines
from flowevents.observers.display.region import live_lines
from flowevents.observers.display.state import Asked, Entry
from flowevents.observers.display.watch import Watch
from flowevents.observers.questions import last_asked
from flowevents.observers.turns import Turns

__all__ = ["Drawn", "Session", "Surface", "Written"]


class Session(Protocol):
    """What a display does with events. `take` and `is_over` are called under the display's lock."""

    def take(self, event: Event) -> None:
        """Note an event."""
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

    def __init__(self, target: IO[str], shows: Callable[[str], bool] | None) -> None:
        self._target = target
        self._lines = Lines(shows)

    def take(self, event: Event) -> None:
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

    def _write(self, lines: list[str]) -> None:
        if not lines:
            return
        encoding = getattr(self._target, "encoding", None) or "utf-8"
        text = "".join(f"{line}\n" for line in lines)
        with suppress(OSError, ValueError):  # who reads it has left, or it is closed
            self._target.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._target.flush()


class Drawn:
    """A picture on a surface, drawn by a thread so many times a second.

    Args:
        turns: The display's, in which events are folded in; never while something is drawn.
        drawing: Those in which something is drawn, taken before the other.
        stands_still: Whether nothing is drawn while a question is open.
    """

    def __init__(
        self,
        surface: Surface,
        watch: Watch,
        *,
        turns: Turns,
        drawing: Turns,
        get_time: Callable[[], float],
        per_second: float,
        max_items: int,
        transient: bool,
        stands_still: bool,
    ) -> None:
        self._surface = surface
        self._watch = watch
        self._turns = turns
        self._drawing = drawing
        self._get_time = get_time
        self._max_items = max_items
        self._transient = transient
        self._stands_still = stands_still
        self._still: set[tuple[str, str]] = set()  # the questions that it stood still for
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if per_second > 0:
            self._thread = threading.Thread(
                target=self._run, args=(1 / per_second,), name="flowevents display", daemon=True
            )
            self._thread.start()

    def take(self, event: Event) -> None:
        """Fold an event in."""
        self._watch.take(event, self._get_time())

    def is_over(self) -> bool:
        """Whether every run has ended."""
        return not self._watch.runs

    def draw(self) -> None:
        """Draw what is known now; nothing while a question stands on the screen."""
        if not (self._turns.postpones(self.draw) or self._drawing.postpones(self.draw)):
            self._drawing.do(self._draw)

    def _draw(self) -> None:
        if self._closed.is_set():
            return
        canvas = self._surface.canvas()
        picture = self._turns.do(self._picture, canvas)
        if picture is not None:
            self._show(*picture, canvas)

    def _picture(self, canvas: Canvas) -> tuple[list[Entry], list[Line]] | None:
        """What is new above, and the region; `None` where it stands still."""
        now = self._get_time()
        still = {
            key
            for key, until in self._watch.questions.items()
            if self._stands_still and now < until
        }
        if still & self._still:
            return None
        self._still = still
        region = [] if still else live_lines(self._watch, now, canvas, self._max_items)
        return self._new_entries(), region

    def _new_entries(self) -> list[Entry]:
        entries, self._watch.entries = self._watch.entries, []
        return entries

    def close(self) -> None:
        """Draw what has ended, each run with its tree, and stop the thread."""
        if self._turns.postpones(self.close) or self._drawing.postpones(self.close):
            return
        self._drawing.do(self._end)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _end(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        entries = self._turns.do(self._last_entries)
        try:
            self._show(entries, [], self._surface.canvas())
        finally:
            self._surface.close()

    def _last_entries(self) -> list[Entry]:
        self._watch.leave()
        return self._new_entries()

    def _show(self, entries: list[Entry], region: list[Line], canvas: Canvas) -> None:
        if self._transient:
            entries = [each for each in entries if isinstance(each, Asked)]
        entries = [each for each in entries if not _stands_already(each)]
        above = [line for entry in entries for line in entry_lines(entry, canvas)]
        with suppress(OSError, ValueError):  # the terminal is gone, or the file is closed
            self._surface.draw(above, region)
        if asked := [each for each in entries if isinstance(each, Asked)]:
            last_asked.note(asked[-1].question, by_reader=False)

    def _run(self, seconds: float) -> None:
        while not self._closed.wait(seconds):
            self.draw()


def _stands_already(entry: Entry) -> bool:
    """Whether it is a question that whoever reads the answer has shown."""
    is_last = isinstance(entry, Asked) and last_asked.is_this(entry.question)
    return is_last and last_asked.by_reader
