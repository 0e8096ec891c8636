"""The open questions of a run, and what makes one of them settled.

The rules of this file:

* A question is settled by an answer, once, or by the time at which it expires.
* Answers come from any thread: one lock decides which is the first, and whether the run pauses.
* While a run is paused its questions are `held`: an answer is accepted, but what waits for it goes
  on only when somebody drives the run again.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable
from functools import partial
from typing import Any, Final

from flowevents.asking import Answer, Ask
from flowevents.engine.effects import wake
from flowevents.engine.sequencer import name_of
from flowevents.engine.step import Step
from flowevents.errors import Expired, ReplyError
from flowevents.events import Interrupt
from flowevents.signals import Handlers, Receiver

__all__ = ["Question", "Questions"]


class Question:
    """An open question of a run.

    Attributes:
        event: Its `Interrupt`.
        answered: An answer was accepted.
        looking: What handlers gave to be awaited for an answer, in an async run.
    """

    __slots__ = (
        "_asked",
        "_changed",
        "_questions",
        "_sequencer",
        "_value",
        "answered",
        "event",
        "looking",
    )

    def __init__(self, scope: Step, asked: Ask, questions: Questions) -> None:
        sequencer = self._sequencer = scope.sequencer
        self._questions = questions
        self._asked = asked
        self._value: Any = None
        self._changed: asyncio.Future[None] | None = None
        self.answered: bool = False
        self.looking: set[asyncio.Future[object]] = set()
        now = sequencer.now()
        self.event: Final = Interrupt(
            run_id=sequencer.run_id,
            seq=next(sequencer.numbers),
            time=now,
            span=scope.span,
            node=scope.plan.path,
            items=scope.items,
            step=scope.number,
            attempt=scope.attempt,
            id=questions.next_id(),
            prompt=sequencer.clean(asked.prompt),
            choices=asked.choices,
            schema=asked.schema,
            expires=None if asked.expires is None else now + asked.expires,
        )
        questions.open[self.event.id] = self

    @property
    def is_async(self) -> bool:
        """Whether its run is in an event loop."""
        return self._sequencer.loop is not None

    # -- its answer ---------------------------------------------------------------------------

    def accept(self, value: Any) -> None:
        """Take this answer. Raises `ReplyError` where it is none, or comes too late."""
        value = self._asked.check(value)
        with self._questions.lock:
            if not self.waits():
                raise ReplyError(self._questions.why_not(self.event.id))
            if self.expired():
                raise ReplyError(_expired(self.event.id))
            self.answered, self._value = True, value
            self.wake()

    def expired(self) -> bool:
        """Whether it is too late for an answer."""
        expires = self.event.expires
        return expires is not None and self._sequencer.now() >= expires

    def waits(self) -> bool:
        """Whether it is open, and not answered."""
        return not self.answered and self.event.id in self._questions.open

    def settled(self) -> bool:
        """Whether its code can go on."""
        return not self._questions.held and (self.answered or self.expired())

    def result(self) -> Any:
        """The answer. Raises `Expired` where there is none."""
        if self.answered:
            return self._value
        raise Expired(
            f"Nobody answered {self.event.prompt!r} (question {self.event.id!r}) within "
            f"{self._asked.expires} s."
        )

    def close(self) -> set[asyncio.Future[object]]:
        """Its code goes on, or is left. Gives what was awaited for an answer, cancelled."""
        self._questions.closed(self)
        for each in self.looking:
            each.cancel()
        return self.looking

    # -- waiting for it -----------------------------------------------------------------------

    def block(self) -> None:
        """Wait in a sync run; other threads' events are delivered meanwhile."""
        sequencer = self._sequencer
        woken = sequencer.woken = threading.Event()  # first this, then the look; `wake` after
        if sequencer.cancelled is None and not self.settled():
            sequencer.plain = True
            try:
                sequencer.clock.wait(woken, self.event.expires)
            finally:
                sequencer.plain_ended()

    async def changed(self) -> None:
        """Wait in an async run."""
        changed = self._changed = asyncio.get_running_loop().create_future()
        if self.settled():
            return
        expires = None if self._questions.held else self.event.expires
        if expires is None:
            await changed
        else:
            await self._sequencer.clock.wait_async(changed, expires)

    def wake(self) -> None:
        """Let what waits look again, unless the run is paused; from any thread."""
        if self._questions.held:
            return
        sequencer, changed = self._sequencer, self._changed
        if sequencer.woken is not None:
            sequencer.woken.set()
        if changed is None or sequencer.loop is None:
            return
        if asyncio._get_running_loop() is sequencer.loop:
            wake(changed)
        else:
            try:
                sequencer.loop.call_soon_threadsafe(wake, changed)
            except RuntimeError:  # the loop is closed: nothing waits any more
                return

    # -- its handlers -------------------------------------------------------------------------

    def put_to(self, heard: Handlers) -> Handlers:
        """These handlers, with what they return taken for an answer where it is an `Answer`."""
        if not heard.calls:
            return heard
        calls = [
            _AsyncAsked(self, each) if each in heard.asynchronous else _Asked(self, each)
            for each in heard.calls
        ]
        return Handlers(tuple(calls), tuple([each for each in calls if type(each) is _AsyncAsked]))

    def offer(self, answer: object) -> object:
        """Take what a handler returned, if it is an answer and nobody was faster; gives the rest.

        The rest is what the handler gave instead: something to await, or what means nothing.
        """
        while isinstance(answer, Answer) and self.waits():
            try:
                self.accept(answer.value)
                return None
            except ReplyError as refused:
                if answer.refused is None:
                    raise
                answer = answer.refused(refused)
        return answer

    def look(self, handler: object, answer: Awaitable[object]) -> None:
        """Await, beside the run, what a plain handler of an async run gave."""
        looking = asyncio.ensure_future(answer)
        self.looking.add(looking)
        looking.add_done_callback(partial(self._looked, handler))

    def _looked(self, handler: object, looking: asyncio.Future[object]) -> None:
        self.looking.discard(looking)
        if not looking.cancelled():
            try:
                rest = self.offer(looking.result())
                if inspect.isawaitable(rest):
                    self.look(handler, rest)
            except Exception as error:
                self._sequencer.handler_failed(handler, self.event, error)
        self.wake()


class _Asked:
    """A handler of `interrupt` whose answer is offered to the question."""

    def __init__(self, question: Question, handler: Receiver) -> None:
        self._question = question
        self.func = handler

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self.func == other.func

    def __hash__(self) -> int:
        return hash(self.func)

    def __call__(self, event: Interrupt) -> Any:
        rest = self._question.offer(self.func(event))
        if rest is None or not inspect.isawaitable(rest):
            return
        if self._question.is_async:
            self._question.look(self.func, rest)
            return
        if inspect.iscoroutine(rest):
            rest.close()
        raise TypeError(
            f"Handler {name_of(self.func)} returned an awaitable, but the run is sync: nothing can "
            "await it. Return an Answer, or run the flow with run_async."
        )


class _AsyncAsked(_Asked):
    """The same of an `async def` handler."""

    async def __call__(self, event: Interrupt) -> None:
        answer = self.func(event)
        while inspect.isawaitable(answer):  # also where it is answered already: all hear of it
            answer = self._question.offer(await answer)


def _expired(id: str) -> str:
    return f"Question {id!r} has expired; its node has been told, or will be."


class Questions:
    """The questions of one run.

    Attributes:
        open: Those whose code has not gone on yet, by id, in the order in which they were asked.
        held: The run is paused, so that nothing that waits goes on.
        lock: Who has it decides whether an answer is the first, and whether the run pauses.
    """

    def __init__(self) -> None:
        self.open: dict[str, Question] = {}
        self.held: bool = False
        self.lock: Final = threading.RLock()
        self._count = 0
        self._lapsed: dict[str, str] = {}  # why those that were not answered are closed

    def next_id(self) -> str:
        """The id of the next question: `"1"`, `"2"` and so on."""
        with self.lock:
            self._count += 1
            return str(self._count)

    def waiting(self) -> list[Question]:
        """Those that still take an answer."""
        with self.lock:
            return [each for each in self.open.values() if not each.answered]

    def ready(self) -> bool:
        """Whether the code of one of them can go on, once the run is driven."""
        with self.lock:
            return any(each.answered or each.expired() for each in self.open.values())

    def hold(self) -> bool:
        """Hold them, unless one is settled; whether they are."""
        with self.lock:
            self.held = not self.ready()
            return self.held

    def release(self) -> None:
        """The run is driven again: what was settled meanwhile goes on."""
        with self.lock:
            self.held = False
            for each in self.open.values():
                each.wake()

    def closed(self, question: Question) -> None:
        """Its code has gone on, or was left."""
        with self.lock:
            id = question.event.id
            self.open.pop(id, None)
            if not question.answered:
                self._lapsed[id] = (
                    _expired(id)
                    if question.expired()
                    else f"Question {id!r} was withdrawn: the code that asked it has ended."
                )

    def withdraw(self) -> None:
        """The run has ended: none of them takes an answer any more."""
        with self.lock:
            for each in list(self.open.values()):
                self.closed(each)

    def reply(self, value: Any, id: str | None) -> None:
        """Answer one of them. Raises `ReplyError` where that cannot be."""
        with self.lock:
            question = self._the_only() if id is None else self.open.get(id)
            if question is None:
                raise ReplyError(self.why_not(id))
        question.accept(value)

    def knows(self, id: str | None) -> bool:
        """Whether that is the id of a question that was asked."""
        return id is not None and id.isdecimal() and 1 <= int(id) <= self._count

    def _the_only(self) -> Question:
        waiting = self.waiting()
        if len(waiting) == 1:
            return waiting[0]
        if waiting:
            ids = ", ".join(f"{each.event.id!r} ({each.event.prompt!r})" for each in waiting)
            raise ReplyError(f"Several questions are open: say which by id=: {ids}.")
        for answered in self.open:
            raise ReplyError(f"Question {answered!r} is answered already.")
        raise ReplyError("No question is open.")

    def why_not(self, id: str | None) -> str:
        """Why the question with that id takes no answer."""
        if id in self._lapsed:
            return self._lapsed[id]
        if self.knows(id):
            return f"Question {id!r} is answered already."
        known = ", ".join(repr(each.event.id) for each in self.waiting()) or "none"
        return f"There is no question {id!r}. Open are: {known}."
