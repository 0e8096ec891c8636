"""Why a run is to stop, and how much of it knows already.

Only this file writes the fields of `Stop`.
"""

from __future__ import annotations

import asyncio
import threading
import weakref

from flowevents.clock import Clock
from flowevents.engine.effects import Cancelled, Failed

__all__ = ["Stop", "cancels_of"]


class Stop:
    """Why and how far a run is to stop.

    Attributes:
        asked: What is raised in the engine once somebody has asked for a cancel.
        leaving: Who asks next does not cancel a run with a journal, but lets it go.
        seen: The engine, or the code of a node, has been told of it.
        failure: What a handler raised, where that fails the run.
        driving: The task that drives an async run, which is not kept by it: an error that has ended
            that keeps what it has iterated over. `task_cancels` are those of its cancels that came
            before, which are not meant for the run.
        carrier: The task that goes on with the run instead, while one does.
        woken: Set by a cancel while a sync run sleeps or waits.
        workers: The worker threads that are told of a cancel at their next event, each with what
            its own attempt was cancelled by.
    """

    __slots__ = (
        "asked",
        "carrier",
        "driving",
        "failure",
        "leaving",
        "seen",
        "task_cancels",
        "woken",
        "workers",
    )

    def __init__(self) -> None:
        self.asked: Cancelled | None = None
        self.leaving: bool = False
        self.seen: bool = False
        self.failure: BaseException | None = None
        self.driving: weakref.ref[asyncio.Task[object]] | None = None
        self.task_cancels: int = 0
        self.carrier: asyncio.Task[object] | None = None
        self.woken: threading.Event | None = None
        self.workers: dict[int | None, asyncio.CancelledError | None] = {}

    def leave(self) -> None:
        """Note that the run is closed, or nobody has it any more: that is about to stop it."""
        self.leaving = True

    def ask(self, run_id: str, error: BaseException | None = None) -> None:
        """Ask the run to stop at its next safe point, with that error; from any thread."""
        if self.asked is None:
            releases = self.leaving or error is not None
            self.asked = Cancelled(f"run {run_id} was cancelled", releases=releases, error=error)
        if self.woken is not None:
            self.woken.set()

    def see(self) -> Cancelled:
        """Return what was asked for; whoever calls this raises it."""
        assert self.asked is not None
        self.seen = True
        return self.asked

    def fail(self, error: BaseException) -> bool:
        """Have the run fail with what a handler raised; only the first such error counts."""
        if self.failure is None:
            self.failure = error
            return True
        return False

    def check(self) -> None:
        """Raise what the run is to stop by."""
        if self.asked is not None:
            raise self.see()
        if self.failure is not None:
            raise Failed(self.failure)

    # -- by its task ----------------------------------------------------------------------------

    def drive_by(self, task: asyncio.Task[object] | None) -> None:
        """Note the task that drives an async run from here on."""
        self.driving = None if task is None else weakref.ref(task)
        self.task_cancels = cancels_of(task)

    @property
    def task(self) -> asyncio.Task[object] | None:
        """That task, while somebody keeps it."""
        return None if self.driving is None else self.driving()

    def carry_by(self, task: asyncio.Task[object] | None) -> None:
        """Note the task that goes on with the run for a while; `None` when it has done so."""
        self.carrier = task

    def by_task(self) -> bool:
        """Whether the task that runs, which drives the run or an item of it, is being cancelled."""
        task = _current_task()
        if task is None:
            return False
        return cancels_of(task) > (self.task_cancels if task is self.task else 0)

    def by_item(self) -> bool:
        """Whether the task that runs is that of an item, which is being cancelled by its group."""
        task = _current_task()
        return task is not None and task not in (self.task, self.carrier) and cancels_of(task) > 0

    def under_way(self, is_async: bool) -> BaseException | None:
        """Return the cancel that is under way, which wins over any error raised meanwhile."""
        if self.asked is not None:
            return self.asked
        return asyncio.CancelledError() if is_async and self.by_task() else None

    # -- what waits in a sync run ---------------------------------------------------------------

    def waker(self) -> threading.Event:
        """Return an event that a cancel sets: first it is there, then the cancel is looked for."""
        self.woken = threading.Event()
        if self.asked is not None:
            self.woken.set()
        return self.woken

    def sleep(self, clock: Clock, seconds: float) -> None:
        """Wait in a sync run, but not longer than until a cancel."""
        clock.sleep(seconds, self.waker())

    # -- worker threads -------------------------------------------------------------------------

    def add_worker(self, ident: int) -> None:
        """Tell this worker thread of a cancel at its next event."""
        self.workers[ident] = None

    def cancel_worker(self, ident: int | None, error: asyncio.CancelledError) -> None:
        """Cancel the attempt that runs in a worker thread, if it has not been told yet."""
        if ident in self.workers:
            self.workers[ident] = error

    def drop_worker(self, ident: int | None) -> None:
        """Tell this worker thread no more: its clean-up is not interrupted."""
        self.workers.pop(ident, None)


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def cancels_of(task: asyncio.Task[object] | None) -> int:
    """How often the task was asked to cancel and has not taken it back."""
    return 0 if task is None else task.cancelling()
