"""Picture: what the display leaves on the screen of events that are there already, as a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Console, ConsoleOptions, RenderResult

from flowevents.events import Event
from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.entries import entry_lines
from flowevents.observers.display.terminal import Sheet
from flowevents.observers.display.watch import Watch, shower

__all__ = ["Picture"]


class Picture:
    """The final picture of events: `rich.print(Picture(events))`, on any console, also an SVG's.

    It holds the texts, failures, questions and answers in the order of the events, then the tree
    of each run. Runs may be interleaved, whole or truncated.

    Args:
        events: They are read once, when it is made.
        show, markdown: As in `TerminalDisplay`.
    """

    def __init__(
        self,
        events: Iterable[Event],
        *,
        show: str | Iterable[str] | Callable[[str], bool] | None = None,
        markdown: bool = False,
    ) -> None:
        watch = Watch(shower(show))
        for event in events:
            watch.take(event, event.time)
        watch.leave()
        self._entries = watch.entries
        self._markdown = markdown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        canvas = Canvas(options.max_width, options.size.height, options.encoding)
        yield Sheet(
            line for entry in self._entries for line in entry_lines(entry, canvas, self._markdown)
        )
