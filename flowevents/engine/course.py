"""One execution of a flow, from before it begins: how it begins, who may drive it, how it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowevents.engine.begin import begin, root_plan
from flowevents.engine.drivers import AsyncDriver, SyncDriver, settle
from flowevents.engine.frame import Frame
from flowevents.engine.options import Options
from flowevents.engine.shape import shape_of
from flowevents.engine.state import State
from flowevents.errors import ReplyError
from flowevents.signals import Audience, Receiver
from flowevents.status import Lifecycle

if TYPE_CHECKING:
    from flowevents.journal.lease import Lease
    from flowevents.journal.standing import Standing

__all__ = ["Course"]


class Course:
    """One execution of a flow over `shared`.

    Attributes:
        flow: What is executed.
        observers: The run's own, with their handlers, until it begins.
        life, state: The state that it is in, and its parts.
        driver: What drives it, once it has begun.
        frames: Where it stands, before it is driven, of a run that goes on.
    """

    __slots__ = ("driver", "flow", "frames", "life", "observers", "state")

    def __init__(
        self,
        flow: Any,
        shared: Any,
        observers: Sequence[tuple[object, dict[str, Receiver]]],
        options: Options,
    ) -> None:
        self.flow: Any = flow
        self.observers: Sequence[tuple[object, dict[str, Receiver]]] = observers
        self.life: Lifecycle = Lifecycle(options.run_id)
        recorded = options.recorder is not None
        special = options.offload or options.capture
        audience = Audience(("run", options.run_id), special=special, recorded=recorded)
        self.state: State = State(options, audience, shared)
        self.driver: SyncDriver | AsyncDriver | None = None
        self.frames: list[Frame] | None = None

    def go_on(self, lease: Lease, standing: Standing) -> None:
        """Stand where the log does that this lease gives the right to write.

        Raises `GraphError` where the graph lacks a node that the log still needs.
        """
        from flowevents.engine.resume import go_on  # most runs begin

        recorder = self.state.options.recorder
        assert recorder is not None
        recorder.go_on(lease, self.state.shared, self.state.questions)
        self.frames = go_on(self.state, root_plan(self.flow, self.state.options.name), standing)
        if self.state.questions.recalled and not lease.inbox():
            recorder.pause()  # one that is paused needs no lease
            self.life.move("paused")

    def fork(self, standing: Standing) -> None:
        """Begin where the log of another run stands; see `go_on`."""
        from flowevents.engine.resume import fork

        self.frames = fork(self.state, root_plan(self.flow, self.state.options.name), standing)

    # -- who drives it ----------------------------------------------------------------------------

    def begin(self, loop: asyncio.AbstractEventLoop | None) -> SyncDriver | AsyncDriver:
        """Begin it in that loop, or a sync one, if that has not been done; return its driver."""
        with self.life.lock:
            if self.driver is None:
                if self.life.is_over:  # it was cancelled before
                    if self.state.outcome.reported:
                        raise self.life.ended("run it")
                    self.state.outcome.result()
                try:
                    self.driver = begin(
                        self.life, self.state, self.flow, self.observers, loop, self.frames
                    )
                except BaseException:
                    self.state.delivery.recover()  # it may begin another time
                    raise
                self.observers = ()
            return self.driver

    def drive_sync(self) -> SyncDriver:
        """Return the sync driver. Raises `RunStateError` where it began in a loop."""
        driver = self.driver or self.begin(None)
        driver.check("run it", None)
        assert isinstance(driver, SyncDriver)
        return driver

    def drive_async(self, what: str, *, pulled: bool) -> AsyncDriver:
        """Return the async driver. Raises `RunStateError` where it began without a loop."""
        driver = self.driver
        if driver is None:
            driver = self.begin(asyncio.get_running_loop())
            assert isinstance(driver, AsyncDriver)
            if pulled:  # later it may stand in the middle of a node's code
                driver.keep_context()
        if type(driver) is not AsyncDriver:
            raise self.life.began_sync(what)
        return driver

    def drive_later(
        self, what: str, loop: asyncio.AbstractEventLoop | None
    ) -> SyncDriver | AsyncDriver:
        """Return the driver for who will drive it to its end in that loop, or a sync one."""
        if self.life.is_over:
            raise self.life.ended(what)
        driver = self.driver or self.begin(loop)
        if driver.driven_by is not None:
            raise self.life.driven(what)
        driver.check(what, loop)
        return driver

    def is_async(self) -> bool:
        """Whether it goes on in a loop, or will where nobody says otherwise."""
        if self.driver is None:
            return shape_of(self.flow).is_async
        return type(self.driver) is AsyncDriver

    def check_drivable(self, what: str) -> None:
        """Raise `RunStateError` where nothing of it is left to be driven or taken."""
        if self.life.is_over and self.state.outcome.reported and not self.state.delivery.outbox:
            raise self.life.ended(what)

    # -- answers and the end ----------------------------------------------------------------------

    def reply(self, value: Any, id: str | None) -> None:
        """Answer an open question; see `Run.reply`."""
        if id is not None and not isinstance(id, str):
            raise ReplyError(f"id={id!r}: a question's id is a string, the `id` of its Interrupt.")
        questions, life = self.state.questions, self.life
        recorder = self.state.options.recorder
        if recorder is not None and not recorder.released:
            questions.check(value, id)
            recorder.reply(value, id)
            return
        if not questions.any_asked() or (life.is_over and not questions.knows(id)):
            if life.status in ("running", "paused"):
                raise ReplyError(f"No question is open in run {life.run_id}.", asked=False)
            raise life.refusal("reply", ".")
        if type(self.driver) is AsyncDriver and self.driver.has_lost_its_loop():
            raise life.without_loop("reply")
        questions.reply(value, id)

    def cancel(self) -> None:
        """Ask it to stop; what has not begun ends here."""
        with self.life.lock:
            if self.life.is_over:
                return
            if self.driver is None:
                self.state.cancel()
                if self.frames is not None and not self.state.stop.leaving:
                    assert self.state.options.recorder is not None
                    self.state.options.recorder.cancel()
                settle(self.life, self.state, self.state.stop.asked)
                return
        self.driver.cancel()

    def close(self) -> None:
        """Cancel it, and return when it has ended. Raises `RunStateError` where it is in a loop."""
        driver = self.driver
        if isinstance(driver, SyncDriver):
            driver.close()
        elif driver is None or driver.has_lost_its_loop():
            self.cancel()
        elif not self.life.is_over:
            raise self.life.refusal("close it like this", " and async. Use aclose.")

    async def aclose(self) -> None:
        """`close` in a loop."""
        if type(self.driver) is not AsyncDriver or self.driver.is_elsewhere():
            self.close()
        else:
            await self.driver.close()
