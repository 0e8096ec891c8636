"""The terminal as a surface: lines that stay, and below them a region that is drawn again."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment

from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.line import Line

__all__ = ["Sheet", "Terminal"]


class Sheet:
    """Lines as a renderable, one below the other, as they are."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.lines: list[Line] = list(lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from line.segments
            yield Segment.line()


class Terminal:
    """Draws on a terminal through `rich.live.Live`, which also keeps what nodes print above.

    What is printed meanwhile to `sys.stdout` and `sys.stderr` appears above the region. Not
    thread-safe.
    """

    is_typed_on = True

    def __init__(self, console: Console) -> None:
        self._console = console
        self._region = Sheet()
        self._live: Live | None = None

    def canvas(self) -> Canvas:
        """What it is like now."""
        size = self._console.size
        return Canvas(size.width, size.height, self._console.encoding)

    def draw(self, above: list[Line], region: list[Line]) -> None:
        """Add lines that stay, and draw the region below them, in one write."""
        self._region.lines = region
        if region and self._live is None:
            self._live = Live(
                self._region,
                console=self._console,
                auto_refresh=False,
                transient=True,
                vertical_overflow="crop",
            )
            self._live.start()
        if above:
            self._console.print(Sheet(above), end="")
        elif self._live is not None:
            self._live.refresh()
        if not region:
            self.close()

    def close(self) -> None:
        """Take the region away, and give the cursor and the standard streams back."""
        live, self._live = self._live, None
        if live is not None:
            try:
                live.stop()
            except BaseException:  # of what it does before it gives the cursor back
                self._console.show_cursor()
                raise
