"""The terminal as a surface: lines that stay, and below them a region that is drawn again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, cast

from rich.ansi import AnsiDecoder
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment

from flowevents.observers.display.canvas import Canvas
from flowevents.observers.display.line import Line
from flowevents.observers.display.others import Others, others_on

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
    """Draws on a terminal through `rich.live.Live`.

    What others write there meanwhile appears above the region; where there are no
    pseudo-terminals, only what is written to `sys.stdout` and `sys.stderr`. Not thread-safe.
    """

    is_typed_on = True

    def __init__(self, console: Console) -> None:
        self._console = console
        self._region = Sheet()
        self._live: Live | None = None
        self._others: Others | None = None
        self._file: IO[str] | None = None  # what the console wrote to before
        self._decoder = AnsiDecoder()

    def canvas(self) -> Canvas:
        """What it is like now."""
        if self._others is not None:
            self._others.resize()
        size = self._console.size
        return Canvas(size.width, size.height, self._console.encoding)

    def draw(self, above: list[Line], region: list[Line]) -> None:
        """Add lines that stay, and draw the region below them, in one write."""
        if region and self._live is None:
            self._begin()
        elif not region and self._others is not None:
            self._others.release()
        self._region.lines = self._with_rest(region)
        others = self._others
        written = b"" if others is None else others.written(to_the_end=not region)
        if others is not None and written:
            lines = others.text(written).split("\n")
            printed = [_decoded(each, self._decoder, self._console) for each in lines]
            # They may be wider than the terminal, which breaks them.
            self._console.print(Sheet([*printed, *above]), end="", crop=False)
        elif above:
            self._console.print(Sheet(above), end="")
        elif self._live is not None:
            self._live.refresh()
        if others is not None:
            others.forget(written)
        if not region:
            self._end()

    def close(self) -> None:
        """Take the region away, and give the cursor and the standard streams back."""
        others = self._others
        try:
            self._end()
        finally:
            self._others = None
            if others is not None:
                others.close()

    def _begin(self) -> None:
        if self._others is None:
            self._others = others_on(self._console.file)
        self._live = Live(
            self._region,
            console=self._console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
            redirect_stdout=self._others is None,
            redirect_stderr=self._others is None,
        )
        if self._others is not None:
            self._file = getattr(self._console, "_file", None)  # `None`: whatever `sys.stdout` is
            self._console.file = self._others.terminal
            self._others.hold()
        self._live.start()

    def _end(self) -> None:
        live, self._live = self._live, None
        if live is None:
            return
        try:
            if self._others is not None:
                self._others.release()
            live.stop()
        except BaseException:  # of what it does before it gives the cursor back
            self._console.show_cursor()
            raise
        finally:
            if self._others is not None:
                self._console.file = cast("IO[str]", self._file)

    def _with_rest(self, region: list[Line]) -> list[Line]:
        """The region below a line that others have begun, such as a prompt of theirs."""
        rest = self._others.rest() if self._others is not None and region else ""
        if not rest:
            return region
        canvas = self.canvas()
        line = canvas.fit(_decoded(rest, AnsiDecoder(), self._console))
        return [line, *region[: canvas.height - 2]]


def _decoded(text: str, decoder: AnsiDecoder, console: Console) -> Line:
    """A line with its colours, and without any other commands."""
    decoded = decoder.decode_line(text)
    decoded.end = ""
    line = Line()
    line.segments = list(decoded.render(console))
    return line
