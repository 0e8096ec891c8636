"""What answers questions: observers, threads, and a test between two drives of a run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flowevents import Answer, Event, FlowEnd, Interrupt, Paused, Run
from flowevents.testing import check_events
from tests.driving import PATIENCE, Driver, status_of


def pause(driver: Driver, run: Run) -> Paused:
    """Drive a run until it pauses."""
    with pytest.raises(Paused) as caught:
        driver.wait(run)
    assert caught.value.run is run
    assert status_of(run) == "paused"
    return caught.value


def open_prompts(run: Run) -> dict[str, str]:
    """The ids of the open questions, by their prompts."""
    return {str(each.prompt): each.id for each in run.interrupts}


async def asked_by(*runs: Run) -> None:
    """Let the loop go on until all of them have asked something."""
    while not all(run.interrupts for run in runs):  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)


def answered(value: Any) -> Callable[[Interrupt], Answer[Any]]:
    """A handler that answers with that."""

    def answers(event: Interrupt) -> Answer[Any]:
        return Answer(value)

    return answers


class Answering:
    """An observer that returns the next of these things from its handler of `interrupt`."""

    def __init__(self, *given: Any) -> None:
        self.given = list(given)
        self.asked: list[Interrupt] = []

    def on_interrupt(self, event: Interrupt) -> Any:
        self.asked.append(event)
        return self.given.pop(0) if self.given else None


class AnsweringAsync(Answering):
    """The same, awaited."""

    async def on_interrupt(self, event: Interrupt) -> Any:
        await asyncio.sleep(0)
        return Answering.on_interrupt(self, event)


class AnsweringLater(Answering):
    """The same, by a plain method that gives something to await."""

    def on_interrupt(self, event: Interrupt) -> Any:
        return self.later(event)

    async def later(self, event: Interrupt) -> Any:
        """The answer."""
        await asyncio.sleep(0)
        return Answering.on_interrupt(self, event)


def answer_all(driver: Driver, run: Run, answer: Callable[[Interrupt], Any]) -> list[Event]:
    """Pull a run to its end, answering each question when the run pauses."""
    pulled: list[Event] = []
    while status_of(run) in ("ready", "running", "paused"):
        pulled += driver.pull(run)
        for each in run.interrupts:
            run.reply(answer(each), each.id)
    check_events(pulled)
    return pulled


ANSWERERS = [Answering, AnsweringAsync, AnsweringLater]


def answerers(driver: Driver) -> list[Any]:
    """The forms of handlers that a run can hear."""
    return [Answering] if driver.loop is None else ANSWERERS


def replies(run: Run, answer: Callable[[Interrupt], Any]) -> tuple[Callable[[Event], None], Any]:
    """A handler that hands questions to a thread, which answers them, and that thread."""
    questions: list[Interrupt | None] = []
    changed = threading.Condition()

    def hear(event: Event) -> None:
        with changed:
            if isinstance(event, Interrupt):
                questions.append(event)
            elif isinstance(event, FlowEnd) and not event.node:
                questions.append(None)
            changed.notify()

    def work() -> None:
        while True:
            with changed:
                assert changed.wait_for(lambda: questions, PATIENCE)
                asked = questions.pop(0)
            if asked is None:
                return
            run.reply(answer(asked), asked.id)

    thread = threading.Thread(target=work)
    thread.start()
    return hear, thread
