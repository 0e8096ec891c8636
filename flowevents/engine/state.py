"""What of a run its engine and its drivers share: its parts, each with one owner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from flowevents.engine.delivery import MAX_WAITING, Delivery
from flowevents.engine.door import Door
from flowevents.engine.effects import TAKE, Await, Cancelled, Effects, Failed
from flowevents.engine.flushing import flushed
from flowevents.engine.options import Options
from flowevents.engine.outcome import Outcome
from flowevents.engine.questions import Questions
from flowevents.engine.stop import Stop
from flowevents.errors import TooManySteps
from flowevents.signals import Audience

if TYPE_CHECKING:
    from flowevents.engine.recorder import Recorder

__all__ = ["State", "hand_over", "release_by", "safe_point"]


class State:
    """The parts of one run.

    Attributes:
        options: What it was told.
        audience: Who listens.
        stop: Why it is to stop.
        door: How other threads come in.
        delivery: Its events.
        questions: Its questions.
        outcome: How it ended.
        steps: How many steps began, where they are counted.
        shared: What the nodes get.
    """

    __slots__ = (
        "__weakref__",
        "audience",
        "delivery",
        "door",
        "options",
        "outcome",
        "questions",
        "shared",
        "steps",
        "stop",
    )

    def __init__(self, options: Options, audience: Audience, shared: Any) -> None:
        self.options: Options = options
        self.audience: Audience = audience
        self.stop: Stop = Stop()
        self.door: Door = Door()
        self.delivery: Delivery = Delivery(options, audience, self.door, self.stop)
        self.questions: Questions = Questions(options.clock.time, options.waits)
        self.outcome: Outcome = Outcome()
        self.steps: int = 0
        self.shared: Any = shared

    @property
    def is_async(self) -> bool:
        """Whether it goes on in an event loop."""
        return self.door.loop is not None

    def is_disturbed(self) -> bool:
        """Whether something is to be done at a safe point."""
        stop, delivery = self.stop, self.delivery
        return (
            stop.asked is not None
            or stop.failure is not None
            or bool(self.door.inbox or delivery.outbox or delivery.backlog)
        )

    def cancel(self) -> None:
        """Ask the engine to stop at its next safe point; from any thread."""
        self.stop.ask(self.options.run_id)
        self.audience.touch()

    def stopping(self) -> BaseException | None:
        """Return the cancel that is under way, which wins over any error raised meanwhile."""
        return self.stop.under_way(self.door.loop is not None)

    def count_steps(self, steps: int) -> None:
        """Go on after so many steps, in a run that goes on."""
        self.steps = steps

    def count_step(self, path: str) -> None:
        """Count a step of a run with `max_steps`. Raises `TooManySteps` for one too many."""
        self.steps += 1
        limit = self.options.max_steps
        if limit is not None and self.steps > limit:
            raise TooManySteps(
                f"Run {self.options.run_id} took its max_steps={limit} steps; the next would be "
                f"{path!r}. Is there a loop without an end?"
            )


def safe_point(state: State) -> Effects:
    """Do what came in, and stop if the run is to stop; between two pieces of a node's code."""
    state.door.empty()
    state.stop.check()
    if state.delivery.is_due():
        yield from hand_over(state)


def hand_over(state: State) -> Effects:
    """Let async handlers and the consumer take what waits for them.

    Raises `Failed` for a handler's error where that fails the run.
    """
    delivery, stop = state.delivery, state.stop
    if delivery.backlog:
        yield Await(flushed(delivery))
        if stop.asked is not None and not stop.seen:
            raise stop.see()
    if stop.failure is not None:
        stop.check()
    if delivery.outbox:
        crowded = len(delivery.outbox) >= MAX_WAITING
        yield TAKE
        if crowded:  # the loop has a turn, too
            yield Await(asyncio.sleep(0))


def release_by(state: State, recorder: Recorder, error: BaseException) -> None:
    """Let a run with a journal go, where what is under way is no failure and no `Run.cancel`."""
    if recorder.lost is not None:
        recorder.release()
    if isinstance(error, (Exception, Failed)):
        return
    if isinstance(error, Cancelled):
        releases = error.releases
    elif isinstance(error, asyncio.CancelledError):
        releases = state.stop.asked is None and not state.stop.by_item()
    else:
        releases = True
    if releases:
        recorder.release()
