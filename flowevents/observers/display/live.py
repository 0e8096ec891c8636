"""TerminalDisplay: the observer that shows runs, whatever it is that it is shown on."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterable
from typing import Final

import rich
from rich.console import Console

from flowevents.events import Event, Interrupt
from flowevents.observers.display.notebook import Notebook
from flowevents.observers.display.sessions import Drawn, Session, Surface, Written
from flowevents.observers.display.shown import shower
from flowevents.observers.display.terminal import Terminal
from flowevents.observers.display.watch import Watch
from flowevents.observers.turns import Turns

__all__ = ["TerminalDisplay"]

_MOST: Final = 10  # pictures per second, whatever the rate of events


class TerminalDisplay:
    """An observer that shows runs: `flow.run(shared, observers=[TerminalDisplay()])`.

    In a terminal it shows the nodes of each run as a tree, above it what they say as it comes, and
    leaves all of that on the screen. In a notebook it draws in the cell. Where nothing can be
    drawn (a pipe, a file, `TERM=dumb`) it writes plain lines.

    It begins with the first event that it hears and stops when every run that it has heard of has
    ended; or keep it over several runs by `with`, or `start` and `stop`. At the end of the
    process it gives the cursor back in any case.

    Handlers only note what happened, and may be called from any thread; a thread draws. While a
    question is open a terminal stands still, so that an answer can be typed there.

    Args:
        console: Where to draw, by default `rich.get_console()`.
        transient: Leave nothing in the terminal or the cell at the end, but the questions.
        show: Which nodes: a path or several, in which `*` matches anything, or a function of a
            path. Questions are always shown.
        get_time: A clock in seconds that never goes back, for how long something is under way.
        refresh_per_second: How often to draw, at most 10; with 0 only on `refresh`, questions and
            the end.
        max_items: How many items of a parallel batch have a line of their own.
        answers_here: Whether questions are answered in this terminal; with `False` it does not
            stand still.

    Raises `ValueError` for a `refresh_per_second` that is not from 0 to 10.
    """

    def __init__(
        self,
        *,
        console: Console | None = None,
        transient: bool = False,
        show: str | Iterable[str] | Callable[[str], bool] | None = None,
        get_time: Callable[[], float] = time.monotonic,
        refresh_per_second: float = _MOST,
        max_items: int = 8,
        answers_here: bool = True,
    ) -> None:
        if not 0 <= refresh_per_second <= _MOST:
            raise ValueError(
                f"TerminalDisplay: refresh_per_second={refresh_per_second!r}; give a number from "
                f"0 to {_MOST}."
            )
        self._console = console
        self._transient = transient
        self._shows = shower(show)
        self._get_time = get_time
        self._per_second = refresh_per_second
        self._max_items = max_items
        self._answers_here = answers_here
        self._turns = Turns()
        self._drawing = Turns()
        self._session: Session | None = None
        self._is_kept = False

    def __call__(self, event: Event) -> None:
        """Take an event: the handler of all signals, live or sent by hand, and for lists."""
        if self._turns.postpones(self, event):
            return
        ended = self._turns.do(self._take, event)
        if ended is not None:
            self._close(ended)
        elif isinstance(event, Interrupt):
            self.refresh()

    def _take(self, event: Event) -> Session | None:
        """Fold an event in, and give the session that it ends."""
        session = self._session or self._open()
        session.take(event)
        if self._is_kept or not session.is_over():
            return None
        self._session = None
        return session

    def start(self) -> None:
        """Begin now, and go on after the last run, until `stop`."""
        if not self._turns.postpones(self.start):
            self._turns.do(self._keep)

    def _keep(self) -> None:
        self._is_kept = True
        if self._session is None:
            self._open()

    def stop(self) -> None:
        """Show what there is, runs that have not ended as they are, and give the terminal back.

        A second call does nothing.
        """
        if self._turns.postpones(self.stop):
            return
        session = self._turns.do(self._leave)
        if session is not None:
            self._close(session)

    def _leave(self) -> Session | None:
        session, self._session, self._is_kept = self._session, None, False
        return session

    def refresh(self) -> None:
        """Draw now."""
        session = self._session
        if session is not None:
            session.draw()

    def __enter__(self) -> TerminalDisplay:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _open(self) -> Session:
        console = self._console or rich.get_console()
        surface: Surface
        if console.is_jupyter:
            surface = Notebook(console)
        elif _can_draw(console, own=self._console is None):
            surface = Terminal(console)
        else:
            self._session = Written(console.file, self._shows)
            return self._session
        self._session = Drawn(
            surface,
            Watch(self._shows),
            turns=self._turns,
            drawing=self._drawing,
            get_time=self._get_time,
            per_second=self._per_second,
            max_items=self._max_items,
            transient=self._transient,
            stands_still=self._answers_here and isinstance(surface, Terminal),
        )
        _on_screen.add(self)
        return self._session

    def _close(self, session: Session) -> None:
        try:
            session.close()
        finally:
            _on_screen.discard(self)


_on_screen: Final[set[TerminalDisplay]] = set()


@atexit.register
def _stop_all() -> None:
    """At the end of the process, give the cursors back.

    What is registered with `atexit` first is called last: here, after runs that were left.
    """
    for each in list(_on_screen):
        each.stop()


def _can_draw(console: Console, own: bool) -> bool:
    """Whether the console has a cursor that can be moved.

    A console that was made for the purpose is believed; ours may only have been told to use
    colours, as by `FORCE_COLOR` where the output is a pipe.
    """
    return console.is_interactive and (not own or console.file.isatty())
