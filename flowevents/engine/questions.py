"""The open questions of a run, and what makes one of them settled.

The rules of this file:

* A question is settled by an answer, once, or by the time at which it expires.
* Answers come from any thread: one lock decides which is the first, and whether the run pauses.
* While a run is paused its questions are `held`: an answer is accepted, but what waits for it goes
  on only when somebody drives the run again.

Only this file writes the fields of `Question` and `Questions`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from flowevents.asking import Ask
from flowevents.errors import Expired, ReplyError
from flowevents.escape import escape_controls
from flowevents.events import Interrupt

__all__ = ["Question", "Questions"]


class Question:
    """An open question of a run.

    Attributes:
        event: Its `Interrupt`.
        answered: An answer was accepted.
        wakes: Lets go on what waits for it, from any thread.
    """

    __slots__ = ("_asked", "_questions", "_value", "answered", "event", "wakes")

    def __init__(self, asked: Ask, event: Interrupt, questions: Questions) -> None:
        self._asked = asked
        self._questions = questions
        self._value: Any = None
        self.event: Final = event
        self.answered: bool = False
        self.wakes: Callable[[], None] | None = None

    def accept(self, value: Any) -> None:
        """Take this answer. Raises `ReplyError` where it is none, or comes too late."""
        value = self._asked.check(value)
        with self._questions.lock:
            if not self.waits():
                raise ReplyError(self._questions.why_not(self.event.id), asked=False)
            if self.expired():
                raise ReplyError(_expired(self.event.id), asked=False)
            self.answered, self._value = True, value
            self.wake()

    def check(self, value: Any) -> None:
        """Raise `ReplyError` where this is no answer to it."""
        self._asked.check(value)

    def expired(self) -> bool:
        """Whether it is too late for an answer."""
        expires = self.event.expires
        return expires is not None and self._questions.now() >= expires

    def waits(self) -> bool:
        """Whether it is open, and not answered."""
        return not self.answered and self.event.id in self._questions.open

    def settled(self) -> bool:
        """Whether its code can go on."""
        return not self._questions.held and (self.answered or self.expired())

    def result(self) -> Any:
        """Return the answer. Raises `Expired` where there is none."""
        if self.answered:
            return self._value
        raise Expired(
            f"Nobody answered {self.event.prompt!r} (question {self.event.id!r}) within "
            f"{self._asked.expires} s."
        )

    def wait_by(self, wakes: Callable[[], None] | None) -> None:
        """Have what waits for it let go on by this call; `None` when nothing waits any more."""
        self.wakes = wakes

    def wake(self) -> None:
        """Let what waits look again, unless the run is paused; from any thread."""
        wakes = self.wakes
        if wakes is not None and not self._questions.held:
            wakes()


class Questions:
    """The questions of one run.

    Attributes:
        open: Those whose code has not gone on yet, by id, in the order in which they were asked.
        held: The run is paused, so that nothing that waits goes on.
        pausing: Nothing of the run can go on until one is settled: its driver is to look.
        pause_requested: `Run.pause` was called, and no node has asked since.
        waits: For answers inside, instead of pausing.
        lock: Who has it decides whether an answer is the first, and whether the run pauses.
        now: The run's time, in seconds since the epoch.
        recalled: Of a run that goes on: those in its log that were open, until they are asked
            again.
    """

    __slots__ = (
        "_count",
        "_lapsed",
        "held",
        "lock",
        "now",
        "open",
        "pause_requested",
        "pausing",
        "recalled",
        "waits",
    )

    def __init__(self, now: Callable[[], float], waits: bool) -> None:
        self.open: dict[str, Question] = {}
        self.held: bool = False
        self.pausing: bool = False
        self.pause_requested: bool = False
        self.waits: bool = waits
        self.lock: Final = threading.RLock()
        self.now: Final = now
        self.recalled: Sequence[Interrupt] = ()
        self._count = 0
        self._lapsed: dict[str, str] = {}  # why those that were not answered are closed

    def go_on(self, asked: int, still_open: list[Interrupt]) -> None:
        """Go on after so many questions, in a run that goes on, of which these are open."""
        self._count, self.recalled = asked, still_open

    # -- asked by the engine --------------------------------------------------------------------

    def next_id(self) -> str:
        """Return the id of the next question: `"1"`, `"2"` and so on."""
        with self.lock:
            self._count += 1
            return str(self._count)

    def ask(self, asked: Ask, event: Interrupt) -> Question:
        """Open a question; a node that asks has answered a request to pause."""
        question = self.open[event.id] = Question(asked, event, self)
        self.forget(event.span)
        self.pause_requested = False
        return question

    def forget(self, span: int) -> None:
        """Recall no question of that step any more: it asks another one, or has ended."""
        if self.recalled:
            self.recalled = [each for each in self.recalled if each.span != span]

    def may_take(self, id: str) -> bool:
        """Whether that one is open, or may be asked again."""
        return id in self.open or any(each.id == id for each in self.recalled)

    def close(self, question: Question) -> None:
        """Close one: its code has gone on, or was left."""
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
        """Close them all: the run has ended."""
        if self.open:
            with self.lock:
                for each in list(self.open.values()):
                    self.close(each)

    # -- pausing --------------------------------------------------------------------------------

    def want_pause(self, wanted: bool = True) -> None:
        """Tell the driver that nothing can go on, or take it back."""
        self.pausing = wanted

    def request_pause(self) -> None:
        """Ask the running node to ask."""
        self.pause_requested = True

    def wait_inside(self) -> None:
        """Have questions waited for inside from here on: nobody takes a paused run up again."""
        self.waits = True

    def ready(self) -> bool:
        """Whether the code of one of them can go on, once the run is driven."""
        with self.lock:
            return any(each.answered or each.expired() for each in self.open.values())

    def hold(self) -> bool:
        """Hold them, unless one is settled; whether they are held.

        What waits looks again, and waits without a time: that would keep a run that nobody has.
        """
        with self.lock:
            self.held = not self.ready()
            for each in self.open.values() if self.held else ():
                if each.wakes is not None:
                    each.wakes()
            return self.held

    def release(self) -> None:
        """Let go on what was settled meanwhile: the run is driven again."""
        with self.lock:
            self.held = False
            for each in self.open.values():
                each.wake()

    # -- answered from outside ------------------------------------------------------------------

    def waiting(self) -> list[Question]:
        """Return those that still take an answer."""
        with self.lock:
            return [each for each in self.open.values() if not each.answered]

    def interrupts(self) -> list[Interrupt]:
        """Return the events of those that still take an answer."""
        return [*(each.event for each in self.waiting()), *self.recalled]

    def describe(self, run_id: str) -> str:
        """Return that the run waits for answers, and to what, as text that is safe to show."""
        asked = "; ".join(
            f"{each.event.node or 'its flow'} asks "
            f"{escape_controls(str(each.event.prompt), one_line=True)!r} (id {each.event.id!r})"
            for each in self.waiting()
        )
        return f"Run {run_id} is paused: {asked or 'no question of it is open any more'}."

    def reply(self, value: Any, id: str | None) -> None:
        """Answer one of them. Raises `ReplyError` where that cannot be."""
        with self.lock:
            question = self._the_only() if id is None else self.open.get(id)
            if question is None:
                raise ReplyError(self.why_not(id), asked=False)
        question.accept(value)

    def check(self, value: Any, id: str | None) -> None:
        """Raise `ReplyError` where a question that is open here does not take this answer."""
        with self.lock:
            question = self._the_only() if id is None and self.open else self.open.get(id or "")
        if question is not None:
            question.check(value)

    def any_asked(self) -> bool:
        """Whether the run has asked anything yet."""
        return self._count > 0

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
            raise ReplyError(f"Question {answered!r} is answered already.", asked=False)
        raise ReplyError("No question is open.", asked=False)

    def why_not(self, id: str | None) -> str:
        """Return why the question with that id takes no answer."""
        if id in self._lapsed:
            return self._lapsed[id]
        if self.knows(id):
            return f"Question {id!r} is answered already."
        known = ", ".join(repr(each.event.id) for each in self.waiting()) or "none"
        return f"There is no question {id!r}. Open are: {known}."


def _expired(id: str) -> str:
    return f"Question {id!r} has expired; its node has been told, or will be."
