"""What handlers of `interrupt` return, taken for answers to the question that they heard of."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from functools import partial
from typing import Any

from flowevents.asking import Answer
from flowevents.engine.delivery import Delivery
from flowevents.engine.questions import Question
from flowevents.errors import ReplyError
from flowevents.events import Interrupt
from flowevents.messages import name_of
from flowevents.signals import Handlers, Receiver

__all__ = ["Answers"]


class Answers:
    """The handlers of one question's `Interrupt`, and what they return.

    Attributes:
        awaited: What plain handlers of an async run gave to be awaited, beside the run.
    """

    __slots__ = ("_delivery", "_question", "awaited")

    def __init__(self, question: Question, delivery: Delivery) -> None:
        self._question = question
        self._delivery = delivery
        self.awaited: set[asyncio.Future[object]] = set()

    def handlers(self, found: Handlers) -> Handlers:
        """Return these handlers, such that an `Answer` which one returns is taken."""
        if not found.calls:
            return found
        calls = [
            _AsyncAsked(self, each) if each in found.asynchronous else _Asked(self, each)
            for each in found.calls
        ]
        return Handlers(tuple(calls), tuple([each for each in calls if type(each) is _AsyncAsked]))

    def take(self, answer: object) -> object:
        """Take what a handler returned, if it is an answer and nobody was faster.

        Returns what the handler gave instead: something to await, or what means nothing.
        """
        question = self._question
        while isinstance(answer, Answer) and question.waits():
            try:
                question.accept(answer.value)
                return None
            except ReplyError as refused:
                if answer.refused is None:
                    raise
                answer = answer.refused(refused)
        return answer

    def take_later(self, handler: object, answer: object) -> None:
        """Await, beside the run, what a plain handler of an async run returned.

        Raises `TypeError` in a sync run, where nothing can await it.
        """
        if answer is None or not inspect.isawaitable(answer):
            return
        if self._delivery.door.loop is not None:
            self._await(handler, answer)
            return
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError(
            f"Handler {name_of(handler)} returned an awaitable, but the run is sync: nothing can "
            "await it. Return an Answer, or run the flow with run_async."
        )

    def _await(self, handler: object, answer: Awaitable[object]) -> None:
        awaited = asyncio.ensure_future(answer)
        self.awaited.add(awaited)
        awaited.add_done_callback(partial(self._done, handler))

    def _done(self, handler: object, awaited: asyncio.Future[object]) -> None:
        self.awaited.discard(awaited)
        if not awaited.cancelled():
            try:
                rest = self.take(awaited.result())
                if inspect.isawaitable(rest):
                    self._await(handler, rest)
            except Exception as error:
                self._delivery.handler_failed(handler, self._question.event, error)
        self._question.wake()

    def cancel(self) -> set[asyncio.Future[object]]:
        """Cancel what is still awaited: the question is closed. Returns it."""
        for each in self.awaited:
            each.cancel()
        return self.awaited


class _Asked:
    """A handler of `interrupt` whose answer is taken for the question."""

    def __init__(self, answers: Answers, handler: Receiver) -> None:
        self._answers = answers
        self.func = handler

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self.func == other.func

    def __hash__(self) -> int:
        return hash(self.func)

    def __call__(self, event: Interrupt) -> Any:
        self._answers.take_later(self.func, self._answers.take(self.func(event)))


class _AsyncAsked(_Asked):
    """The same of an `async def` handler."""

    async def __call__(self, event: Interrupt) -> None:
        answer = self.func(event)
        while inspect.isawaitable(answer):  # also where it is answered already: all hear of it
            answer = self._answers.take(await answer)
