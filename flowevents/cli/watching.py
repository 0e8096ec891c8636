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
from flowevents.journal.mail import check_answer
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
            asking.begin()
        async for event in events:
            display(event)
            if asking is not None:
                asking.hear(event)


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
        self._asked: dict[str, tuple[Interrupt, asyncio.Task[None]]] = {}

    def begin(self) -> None:
        """Ask what is open now."""
        for question in self._journal.summary(self._run_id).interrupts:
            self._ask(question)

    def hear(self, event: Event) -> None:
        """Take an event that comes then."""
        if isinstance(event, Interrupt):
            self._close(event.span)
            self._ask(event)
        elif isinstance(event, Reply):
            self._close(event.span, event.id)
        elif isinstance(event, _GIVE_UP):
            self._close(event.span)

    def _close(self, span: int, id: str | None = None) -> None:
        """Ask no more what a step or item has asked, or that one question of it."""
        for question, task in tuple(self._asked.values()):
            if question.span == span and id in (None, question.id):
                del self._asked[question.id]
                task.cancel()

    def _ask(self, question: Interrupt) -> None:
        self._asked[question.id] = question, asyncio.create_task(self._answer(question))

    async def _answer(self, question: Interrupt) -> None:
        try:
            found = await _awaited(self._console.on_interrupt(question))
            while found is not None and (error := _refusal(question, found.value)):
                found = await _awaited(found.refused and found.refused(error))
            if found is None:  # the end of input
                return
            self._journal.reply(self._run_id, found.value, question.id)
        except (ReplyError, MissingExtra) as error:
            say(str(error))
            return
        if self._run_id in self._journal.due():
            say(f"Nobody drives run {self._run_id}: whoever resumes it gets the answer.")


def _refusal(question: Interrupt, value: object) -> ReplyError | None:
    """Why the question does not take this answer, whoever else has answered it."""
    try:
        check_answer(question, value)
    except ReplyError as error:
        return error
    return None


async def _awaited(answer: Any) -> Answer[Any] | None:
    found = await answer if inspect.isawaitable(answer) else answer
    return found if isinstance(found, Answer) else None


_GIVE_UP: Final = (NodeEnd, ItemEnd, Retry, FlowEnd)
"""What ends an attempt, and with it what that has asked."""
