"""TerminalDisplay: the observer that shows runs, whatever it is that it is shown on."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Self

import rich
from rich.console import Console

from flowevents.at_exit import close_at_exit
from flowevents.events import Event, Interrupt
from flowevents.observers.display.notebook import Notebook
from flowevents.observers.display.sessions import (
    Drawn,
    Options,
    Session,
    Written,
    is_urgent,
)
from flowevents.observers.display.terminal import Terminal
from flowevents.observers.display.watch import Watch, shower
from flowevents.observers.tty import Tty, tty_of

__all__ = ["TerminalDisplay"]

_logger: Final = logging.getLogger("flowevents")
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
        markdown: Whether what nodes say is Markdown, which it then shows as such when they have
            ended.

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
        markdown: bool = False,
    ) -> None:
        if not 0 <= refresh_per_second <= _MOST:
            raise ValueError(
                f"TerminalDisplay: refresh_per_second={refresh_per_second!r}; give a number from "
                f"0 to {_MOST}."
            )
        self._options = Options(
            console,
            transient,
            shower(show),
            get_time,
            refresh_per_second,
            max_items,
            answers_here,
            markdown,
        )
        self._noted: deque[tuple[Event, float]] = deque()  # to be taken, each with when it came
        self._lock = threading.RLock()  # of who takes and draws
        self._is_at_work = False
        self._session: Session | None = None
        self._tty: Tty | None = None  # on which it draws
        self._ticker: _Ticker | None = None
        self._ending: list[_Ticker] = []  # those that are over
        self._is_kept = False

    def __call__(self, event: Event) -> None:
        """Take an event: the handler of all signals, live or sent by hand, and for lists."""
        self._noted.append((event, self._options.get_time()))
        if not isinstance(self._session, Drawn) or is_urgent(event):
            self._work(_draw if isinstance(event, Interrupt) else None)

    def start(self) -> None:
        """Begin now, and go on after the last run, until `stop`."""
        self._is_kept = True
        with self._lock:
            if self._session is None:
                self._open()

    def stop(self) -> None:
        """Show what there is, runs that have not ended as they are, and give the terminal back.

        A second call does nothing.
        """
        self._is_kept = False
        self._work(self._close)

    def refresh(self) -> None:
        """Draw now."""
        self._work(_draw)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _work(self, then: Callable[[Session], None] | None = None) -> None:
        """Take what was noted, and do something with the session that there is then."""
        with self._lock:
            if self._is_at_work:  # the garbage collector has brought an event here, which is noted
                return
            self._is_at_work = True
            try:
                while self._noted:
                    session = self._session or self._open()
                    session.take(*self._noted.popleft())
                    if not session.watch.runs and not self._is_kept:
                        self._do(session, self._close)
                if self._session is not None and then is not None:
                    self._do(self._session, then)
            finally:
                self._is_at_work = False
            ending, self._ending = self._ending, []
        for each in ending:
            if each is not threading.current_thread():
                each.join()

    def _do(self, session: Session, then: Callable[[Session], None]) -> None:
        """Do it, or go on with plain lines where it cannot be drawn."""
        try:
            then(session)
        except Exception:
            if not isinstance(session, Drawn):
                raise
            session.give_up()
            self._leave()
            _logger.exception("TerminalDisplay cannot draw; plain lines follow")
            written = Written(self._console().file, session.watch)
            if written.watch.runs or self._is_kept:
                self._session = written

    def _step_aside(self, question: Interrupt) -> None:
        self._work(lambda session: session.step_aside(question))

    def _console(self) -> Console:
        return self._options.console or rich.get_console()

    def _open(self) -> Session:
        console = self._console()
        session: Session
        if console.is_jupyter or _can_draw(console, own=self._options.console is None):
            surface = Notebook(console) if console.is_jupyter else Terminal(console)
            self._tty = tty_of(console.file)
            self._tty.drawers.append(self._step_aside)
            _on_screen.add(self)
            session = Drawn(surface, self._options, self._tty)
            if self._options.per_second > 0:
                ticker = _Ticker(self.refresh, 1 / self._options.per_second)
                with suppress(RuntimeError):  # at the end of the process none can start any more
                    ticker.start()
                    self._ticker = ticker
        else:
            session = Written(console.file, Watch(self._options.shows))
        self._session = session
        close_at_exit("displays", self, TerminalDisplay.stop)
        return session

    def _close(self, session: Session) -> None:
        try:
            session.close()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Have no session any more."""
        self._session = None
        if self._ticker is not None:
            self._ticker.over.set()
            self._ending.append(self._ticker)
            self._ticker = None
        if self._tty is not None:
            self._tty.drawers.remove(self._step_aside)
            self._tty = None
            _on_screen.discard(self)


_on_screen: Final[set[TerminalDisplay]] = set()  # is not to be lost before it gave the cursor back


class _Ticker(threading.Thread):
    """Brings a display up to date, again and again after so many seconds, until it is `over`."""

    def __init__(self, tick: Callable[[], None], seconds: float) -> None:
        super().__init__(name="flowevents display", daemon=True)
        self.over = threading.Event()
        self._tick = tick
        self._seconds = seconds

    def run(self) -> None:
        """The thread."""
        while not self.over.wait(self._seconds):
            try:
                self._tick()
            except Exception:  # of a function that was given, such as `show`
                _logger.exception("TerminalDisplay could not be brought up to date")


def _draw(session: Session) -> None:
    session.draw()


def _can_draw(console: Console, own: bool) -> bool:
    """Whether the console has a cursor that can be moved.

    A console that was made for the purpose is believed; ours may only have been told to use
    colours, as by `FORCE_COLOR` where the output is a pipe.
    """
    return console.is_interactive and (not own or console.file.isatty())
