"""A run of another process: shown as it goes on, and its questions answered where it is shown."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, Final

from flowevents.asking import Answer
from flowevents.cli.output import say
from flowevents.errors import MissingExtra, ReplyError
from flowevents.events import Event, FlowEnd, Interrupt, ItemEnd, NodeEnd, Reply, Retry
from flowevents.journal.journal import Journal
from flowevents.observers.console import ConsoleAnswers
from flowevents.observers.display import TerminalDisplay

__all__ = ["watch_run"]


def watch_run(journal: Journal, run_id: str, *, answer: bool) -> None:
    """Show a run from its beginning to its end, whoever drives it.

    Args:
        journal, run_id: The run.
        answer: Whether its questions are asked here.
    """
    clock = _Clock()
    asking = _Asking(journal, run_id) if answer else None
    with TerminalDisplay(answers_here=answer, get_time=clock) as display:
        asyncio.run(_watch(journal, run_id, display, clock, asking))


async def _watch(
    journal: Journal,
    run_id: str,
    display: Callable[[Event], object],
    clock: _Clock,
    asking: _Asking | None,
) -> None:
    last = 0
    for event in journal.read(run_id):
        last, clock.past = event.seq, event.time
        display(event)
    clock.past = None
    with journal.follow(run_id, last) as events:
        if asking is not None:
            asking.look()
        async for event in events:
            display(event)
            if asking is not None and isinstance(event, _CHANGES):
                asking.look()


class _Clock:
    """The display's: the time of what is past, then the system's; seconds since the epoch.

    Attributes:
        past: When the event came that is shown now; `None` for those that come live.
    """

    def __init__(self) -> None:
        self.past: float | None = 0.0
        self._last = 0.0

    def __call__(self) -> float:
        """The time, which never goes back."""
        past = self.past
        self._last = max(self._last, time.time() if past is None else past)
        return self._last


class _Asking:
    """The open questions of a run, each asked by a task until it has an answer or is given up."""

    def __init__(self, journal: Journal, run_id: str) -> None:
        self._journal = journal
        self._run_id = run_id
        self._console = ConsoleAnswers()
        self._asked: dict[str, asyncio.Task[None]] = {}

    def look(self) -> None:
        """Ask what is open now, and what is not any more no longer."""
        now = time.time()
        waiting = self._journal.unanswered(self._run_id)
        open = {each.id: each for each in waiting if each.expires is None or each.expires > now}
        for id in self._asked.keys() - open.keys():
            self._asked.pop(id).cancel()
        for id, question in open.items():
            if id not in self._asked:
                self._asked[id] = asyncio.create_task(self._answer(question))

    async def _answer(self, question: Interrupt) -> None:
        found = await _awaited(self._console.on_interrupt(question))
        while found is not None:  # else it is the end of input
            try:
                self._journal.reply(self._run_id, found.value, question.id)
            except ReplyError as error:
                if error.asked and found.refused is not None:
                    found = await _awaited(found.refused(error))
                    continue
                say(str(error))
            except MissingExtra as error:
                say(str(error))
            else:
                if self._run_id in self._journal.due():
                    say(f"Nobody drives run {self._run_id}: whoever resumes it gets the answer.")
            return


async def _awaited(answer: Any) -> Answer[Any] | None:
    found = await answer if inspect.isawaitable(answer) else answer
    return found if isinstance(found, Answer) else None


_CHANGES: Final = (Interrupt, Reply, Retry, ItemEnd, NodeEnd, FlowEnd)
"""After which other questions may be open."""
