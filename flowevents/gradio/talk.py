"""A run in a chat, from the message that begins it over questions and answers to its end.

The rules of this file:

* A turn is what comes between two messages of the person: until the run ends, or asks.
* A run is driven while its turn is shown, and only then: one that waits costs no thread.
* A turn that is left before its end cancels the run.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import anyio
import msgspec

from flowevents.at_exit import close_at_exit
from flowevents.engine.shape import shape_of
from flowevents.errors import Paused, ReplyError, RunCancelled, RunStateError
from flowevents.events import Event, Interrupt
from flowevents.gradio.history import metadata_of
from flowevents.gradio.messages import Message, Messages, failure, question_id
from flowevents.observers.questions import choices_of, parse, wording
from flowevents.run import Run, RunOptions

__all__ = ["Talk"]

logger: Final = logging.getLogger("flowevents")

_TICK: Final = 1 / 20
"""Seconds between two updates."""

_STILL: Final = 20
"""Updates after which the same is given again: then Gradio looks whether somebody is there."""

_GRACE: Final = 5
"""Seconds that a run has to end at the end of the process."""


class Talk:
    """A run that is talked about; see `chat` for what it is given."""

    def __init__(self, flow: Any, shared: Any, messages: Messages, options: RunOptions) -> None:
        self._events: deque[Event] = deque()
        observers = [self._events.append, *(options.get("observers") or ())]
        self._is_async: bool = shape_of(flow).is_async
        given: RunOptions = {"offload": self._is_async, **options, "observers": observers}
        self._run: Run | None = Run(flow, shared, **given)
        self._messages = messages
        self._asked: Interrupt | None = None
        self._idle = threading.Event()  # nobody drives it
        self._idle.set()
        close_at_exit("runs", self, Talk._end_at_exit)

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, as far as this was told."""
        return self._run is None

    def waits_for(self, history: Sequence[Message]) -> bool:
        """Whether the next message is an answer: the last one said is the question here."""
        last = history[-1] if history else {}
        return self._asked is not None and metadata_of(last).get("id") == question_id(self._asked)

    def cancel(self) -> None:
        """Cancel the run, if it has not ended; from any thread."""
        run = self._run
        if run is not None:
            run.cancel()

    async def turn(self, text: str) -> AsyncGenerator[list[Message]]:
        """Take what was typed; gives all messages of the turn whenever there is something new.

        A refused answer is asked again, with the reason. An error is told. To be called for the
        first message, then while `waits_for` says so.
        """
        run, messages = self._run, self._messages
        assert run is not None
        try:
            messages.begin()
            refused = self._answer(run, text)
            if refused is not None:
                messages.say(str(refused))
            if not (isinstance(refused, ReplyError) and refused.asked):
                self._asked = None
                messages.go_on()
                self._idle.clear()
                driving = asyncio.create_task(self._drive(run))
                async for _ in self._updates(driving):
                    yield messages.shown()
                if (told := driving.result()) is not None:
                    messages.add(told)
            if run.status == "paused":
                self._asked, *others = run.interrupts
                messages.ask(self._asked, len(others))
            else:
                self._run = None
            yield messages.shown()
        except BaseException:
            self.cancel()
            self._run = self._asked = None
            raise

    def _answer(self, run: Run, text: str) -> ReplyError | RunStateError | None:
        """Answer the open question, if there is one; returns why the answer is refused."""
        if self._asked is None:
            return None
        refused: list[ReplyError | RunStateError] = []
        for value in _readings(self._asked, text):
            try:
                run.reply(value, self._asked.id)
            except (ReplyError, RunStateError) as error:
                refused.append(error)
            else:
                return None
        return refused[0]

    async def _drive(self, run: Run) -> Message | None:
        """Go on to the end or the next question; returns what there is to tell of the end."""
        try:
            if self._is_async:
                await run.wait_async()
            else:
                await anyio.to_thread.run_sync(run.wait, limiter=anyio.CapacityLimiter(1))
        except Paused:
            pass
        except RunCancelled:
            return {"role": "assistant", "content": "*(cancelled)*"}
        except Exception as error:
            logger.error("Run %s failed", run.id, exc_info=error)
            return failure(error)
        finally:
            self._idle.set()
        return None

    def _end_at_exit(self) -> None:
        self.cancel()
        self._idle.wait(_GRACE)  # Gradio does not wait for what its server is at

    async def _updates(self, driving: asyncio.Task[Any]) -> AsyncGenerator[None]:
        """Until the driving ends: whenever events have come, but not more often than it may be."""
        still = 0
        while not driving.done():
            await asyncio.wait([driving], timeout=_TICK)
            still += 1
            if self._events or still == _STILL:
                still = 0
                self._take_events()
                yield
        self._take_events()  # what has come since the last update

    def _take_events(self) -> None:
        while self._events:
            self._messages.take(self._events.popleft())


def _readings(question: Interrupt, text: str) -> Iterator[Any]:
    """What a typed answer may mean, in the order in which it is tried."""
    for choice in choices_of(question) or ():
        if wording(choice).strip() == text.strip():
            yield choice
    with suppress(msgspec.DecodeError, UnicodeError, RecursionError):
        yield msgspec.json.decode(text)
    yield text
    with suppress(ValueError):
        yield parse(question, text)  # "yes" for true, the beginning of a choice
