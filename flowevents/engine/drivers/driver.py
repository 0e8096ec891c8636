"""What the sync and the async driver have in common: who drives, how a run pauses and how it ends.

A run has one driver at a time, one who drives at a time, and is settled once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from flowevents.engine.state import State
from flowevents.engine.whose import Root
from flowevents.errors import JournalError, RunStateError
from flowevents.status import Lifecycle

if TYPE_CHECKING:
    from flowevents.engine.recorder import Recorder

__all__ = ["Consumer", "Driver", "claim_id", "settle"]

Consumer = Literal["events", "output"] | None
"""What whoever iterates over a run gets: every event, the data of output chunks, or nothing."""


class Driver:
    """Drives the engine of one run.

    Attributes:
        life, state: The run's.
        root: The object that runs.
        driven_by: A thread's number or a task, while one drives.
    """

    __slots__ = ("_at_end", "driven_by", "life", "root", "state")

    def __init__(self, life: Lifecycle, state: State, root: Root) -> None:
        self.life: Lifecycle = life
        self.state: State = state
        self.root: Root = root
        self.driven_by: object = None
        self._at_end: tuple[Callable[[], None], ...] = ()

    def claim(self, what: str, who: object, consumer: Consumer) -> bool:
        """Become the one who drives the run; `False` where only its last events are to come.

        Raises `RunStateError` where the run has ended, or somebody else drives it.
        """
        life, state = self.life, self.state
        with life.lock:
            if life.is_over:
                if state.outcome.reported and not state.delivery.outbox:
                    raise life.ended(what)
                return False
            if self.driven_by is not None:
                raise life.driven(what)
            if state.audience.consumer != consumer:
                state.audience.consumer = consumer
                state.audience.touch()
            if life.status == "paused":
                life.move("running")
                if state.options.recorder is not None:
                    self._take_again(state.options.recorder)
                state.outcome.report(False)
                state.questions.release()
            self.driven_by = who
            return True

    def hand_to(self, who: object) -> None:
        """Note who drives the run from here on; `None` where nobody does."""
        self.driven_by = who

    def call_at_end(self, call: Callable[[], None]) -> None:
        """Have this called when the run has ended; one thread at a time says so."""
        self._at_end = (*self._at_end, call)

    def pauses(self) -> bool:
        """Pause the run, in which nothing can go on, unless a question was settled meanwhile."""
        questions = self.state.questions
        questions.want_pause(False)
        with self.life.lock:
            if self.state.stop.asked is not None or not questions.open or not questions.hold():
                return False
            if self.state.options.recorder is not None and not self._let_go(
                self.state.options.recorder
            ):
                questions.release()
                return False
            self.life.move("paused")
            self.driven_by = None
            return True

    def _let_go(self, recorder: Recorder) -> bool:
        """Give the lease up, because the run pauses; whether it does, and goes on in no other."""
        try:
            return recorder.pause()
        except JournalError as error:
            self.lose(error)
            return False

    def _take_again(self, recorder: Recorder) -> None:
        try:
            recorder.go_on_after_pause()
        except JournalError as error:
            self.lose(error)

    def lose(self, error: JournalError) -> None:
        """Have the run stop, because nothing of it can be stored any more; from any thread."""
        self.state.delivery.lose(error)

    def settle(self, error: BaseException | None) -> None:
        """Note how the engine ended."""
        if settle(self.life, self.state, error):
            self.root.end()
            at_end, self._at_end = self._at_end, ()
            for each in at_end:
                each()


def settle(life: Lifecycle, state: State, error: BaseException | None) -> bool:
    """Note how a run ended; whether that is news. Nothing that it has connected stays behind."""
    with life.lock:
        if life.is_over:
            return False
        life.move(state.outcome.settle(life.run_id, error))
        state.audience.close()
        state.stop.drive_by(None)
        state.questions.withdraw()
        if state.options.named and _named.get(life.run_id) is state:
            del _named[life.run_id]
        if state.options.recorder is not None:
            state.options.recorder.release()
        return True


_named: Final[weakref.WeakValueDictionary[str, State]] = weakref.WeakValueDictionary()


def claim_id(state: State) -> None:
    """Have the run's id to itself, where it was given. Raises `RunStateError` where it is taken."""
    id = state.options.run_id
    if state.options.named and _named.setdefault(id, state) is not state:
        raise RunStateError(
            f"Cannot begin run {id!r}: another run with that id has not ended. "
            "Give each run an id of its own, or none."
        )
