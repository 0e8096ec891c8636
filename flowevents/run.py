"""A run: one execution of a flow, with its own id, numbering, observers and state.

It is driven by whoever iterates over it or waits for it, one at a time; a driver may leave and
another go on. Nothing is computed while nobody drives. Sync driving happens in the caller's
thread, async driving in the caller's task; a run that began one way goes on that way. The states
are in `status.py`, the driving in `engine/drivers/`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from flowevents.at_exit import close_at_exit
from flowevents.clock import SYSTEM, Clock
from flowevents.engine.course import Course
from flowevents.engine.drivers import PAUSED, AsyncDriver, Consumer, SyncDriver, pull
from flowevents.engine.options import RunOptions, options_of
from flowevents.engine.publish import after_delivery
from flowevents.engine.shape import is_node, node_name
from flowevents.errors import GraphError, ObserverError, Paused
from flowevents.events import Event, Interrupt
from flowevents.live import Background, Channel, LiveEvents
from flowevents.signals import Audience, handlers_of
from flowevents.status import Lifecycle, RunStatus

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Run", "RunOptions", "RunStatus"]

logger: Final = logging.getLogger("flowevents")


class Run:
    """One execution of a flow, or of a single node, over `shared`.

    Args:
        flow: A flow or a node, ours or pocketflow's. The object itself runs, the nodes inside it
            as copies.
        shared: What `prep` and `post` get.
        observers: Callables of one event or objects with `on_<signal>` methods, which hear this
            run only, until it ends.
        id: The run's id; by default 128 random bits as 32 hexadecimal digits.
        metadata: What the first event's `metadata` holds; JSON values.
        capture: Put each step's `exec_res` into its `NodeEnd.result`.
        max_steps: The most executions of nodes and nested flows; beyond it the run fails with
            `TooManySteps`.
        on_handler_error: `"log"` what a handler raises on the logger `flowevents`, or `"raise"`
            it, which fails the run.
        on_pause: Where a node asks and no handler answers, `"return"` to whoever drives the run,
            which is then paused; or `"wait"` inside until `reply`, a cancel or the expiry.
        offload: In an async run, call `exec` and `exec_stream` of sync nodes in worker threads, so
            that the loop stays live.
        redact: Rewrites texts and data (`error`, `data`, `result` …) before anybody sees them.
        clock: The time that the run goes by.

    Iterating over it (`for` or `async for`) gives every event as it comes; leaving the loop
    leaves the run where it is. `with` and `async with` cancel it on the way out if it has not
    ended.

    Raises `GraphError` where `flow` is no node, `ObserverError` for an observer that is none and
    `ValueError` for an option that makes no sense. When it begins: `GraphError` for a successor
    that is no node and `ValueError` for a name that a path cannot hold.
    """

    def __init__(
        self,
        flow: Any,
        shared: Any,
        *,
        observers: Iterable[object] = (),
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        capture: bool = False,
        max_steps: int | None = None,
        on_handler_error: Literal["log", "raise"] = "log",
        on_pause: Literal["return", "wait"] = "return",
        offload: bool = False,
        redact: Callable[[Any], Any] | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        if not is_node(flow):
            hint = " Did you forget to make an instance of it?" if isinstance(flow, type) else ""
            raise GraphError(f"Run needs a flow or a node, not {flow!r}.{hint}")
        if type(observers) not in (tuple, list) and (
            isinstance(observers, (str, Mapping)) or not isinstance(observers, Iterable)
        ):
            raise ObserverError(f"observers={observers!r} is no list of observers; put it in one.")
        own = [(observer, handlers_of(observer)) for observer in observers]
        options = options_of(
            id, metadata, capture, max_steps, on_handler_error, on_pause, offload, redact, clock
        )
        self._course = Course(flow, shared, own, options)
        self._life, self._state = self._course.life, self._course.state
        self._background: Background | None = None  # what drives it, after `start`

    # -- what it is ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id, as in its events."""
        return self._life.run_id

    @property
    def shared(self) -> Any:
        """What the nodes get."""
        return self._course.shared

    @property
    def status(self) -> RunStatus:
        """`ready`, `running`, `paused`, `done`, `failed` or `cancelled`."""
        return self._life.status

    @property
    def action(self) -> Any:
        """The last action, once the run is done."""
        return self._state.outcome.action if self._life.is_over else None

    @property
    def error(self) -> BaseException | None:
        """What the run was ended by, if it failed or was cancelled."""
        return self._state.outcome.error

    @property
    def interrupts(self) -> tuple[Interrupt, ...]:
        """The open questions, in the order in which they were asked."""
        return tuple(each.event for each in self._state.questions.waiting())

    @property
    def _sender_key(self) -> Audience:
        return self._state.audience

    def __repr__(self) -> str:
        return f"<Run {self.id} of {node_name(self._course.flow)!r}, {self.status}>"

    # -- driving it, sync ---------------------------------------------------------------------

    def __iter__(self) -> Iterator[Event]:
        """Every event from here on, as it comes; raises at the end what the run failed with."""
        return self._pull("iterate over it", "events")

    def wait(self) -> Any:
        """Run to the end without a consumer, and return the last action.

        Of a run that was started in the background it waits for the end. Of a run that has ended
        it returns the action, or raises the error, again. Raises what a node raised,
        `RunCancelled`, `Paused` where a node waits for an answer, or `RunStateError` where another
        thread drives the run, and where it would wait for itself: in the run's code or its loop.
        """
        if self._background is not None:
            return self._background.wait()
        if not self._life.is_over and self._wait_here() is PAUSED:
            raise self._paused()
        self._state.delivery.outbox.clear()
        return self._state.outcome.result()

    def _wait_here(self) -> Any:
        waiting = pull(self._drive_sync, None, self._close_at_exit)
        try:
            while True:
                next(waiting)
        except StopIteration as end:
            return end.value

    def _pull(
        self, what: str, consumer: Consumer, left: Callable[[], None] | None = None
    ) -> Generator[Any, None, Any]:
        """What a loop over it gets; `left` is called where that is left before the end."""
        self._course.check_drivable(what)
        self._close_at_exit()  # an iterator may be left, anywhere
        return pull(self._drive_sync, consumer, left or self._close_at_exit)

    def _drive_sync(self) -> SyncDriver:
        self._check_foreground("run it")
        return self._course.drive_sync()

    # -- driving it, async --------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Event]:
        """Every event from here on, as it comes; raises at the end what the run failed with."""
        self._course.check_drivable("iterate over it")
        return _AsyncEvents(self)

    async def wait_async(self) -> Any:
        """`wait` in a loop: for an async run, which this task then drives, or in the background."""
        if self._background is not None:
            return await self._background.wait_async()
        if not self._life.is_over:
            await self._drive_async("wait for it", None).wait()
        self._state.delivery.outbox.clear()
        return self._result()

    def _next(self, consumer: Consumer) -> Coroutine[Any, Any, Any]:
        """The next thing that the consumer gets; `StopAsyncIteration` at the end, or at a pause."""
        try:
            return self._drive_async("iterate over it", consumer).pull(consumer)
        except BaseException as error:  # CPython 3.11 crashes in `anext(run, None)` otherwise
            return _raising(error)

    def _drive_async(self, what: str, consumer: Consumer) -> AsyncDriver:
        self._check_foreground(what)
        if consumer is not None and self._course.driver is None:
            self._close_at_exit()
        return self._course.drive_async(what, pulled=consumer is not None)

    # -- in the background --------------------------------------------------------------------

    def start(self) -> Self:
        """Drive it in the background, and return it: `wait` or `wait_async` waits for its end.

        An async flow goes on in a task of the running loop, or, without one, in a thread and a loop
        of its own; any other in a thread. Nodes find the caller's context variables. Where a node
        asks it waits inside, as with `on_pause="wait"`.

        Raises `RunStateError` where somebody drives it already, or it has ended.
        """
        loop = asyncio._get_running_loop() if self._course.is_async() else None
        if loop is None:
            self._start_thread("start it", None)
        else:
            self._begin_background("start it", loop, None).drive_in_task(loop)
        return self

    def in_thread(self, maxsize: int = 1000) -> LiveEvents:
        """Drive the run in a background thread, and return an iterator over its events, live.

        At most `maxsize` events wait to be taken; then the run waits. The rest is as with `start`
        where there is no loop.

        Raises `RunStateError` where somebody drives it already, or it has ended.
        """
        channel = Channel(maxsize)
        self._start_thread("run it in a thread", channel)
        return LiveEvents(channel, self)

    def _start_thread(self, what: str, channel: Channel | None) -> None:
        loop = asyncio.new_event_loop() if self._course.is_async() else None
        try:
            self._begin_background(what, loop, channel).drive_in_thread(loop)
        except BaseException:
            if loop is not None:
                loop.close()
            raise

    def _begin_background(
        self, what: str, loop: asyncio.AbstractEventLoop | None, channel: Channel | None
    ) -> Background:
        with self._life.lock:
            self._check_foreground(what)
            driver = self._course.drive_later(what, loop)
            self._background = Background(self, driver, channel, what)
        self._close_at_exit()
        return self._background

    def _check_foreground(self, what: str) -> None:
        if self._background is not None and not self._life.is_over:
            raise self._life.driven(what)

    # -- asking and answering -----------------------------------------------------------------

    def reply(self, value: Any, id: str | None = None) -> None:
        """Answer an open question; from any thread, once.

        A run that is paused stays so until it is driven again, and then goes on where it stood.

        Args:
            value: The answer, which the question's `choices` and `type` have to take.
            id: Which question, the `id` of its `Interrupt`; needed where several are open.

        Raises `ReplyError` for an answer that the question does not take (it stays open), for a
        question that is answered already or has expired, and for an unknown `id`; `RunStateError`
        for a run that has not begun or has ended.
        """
        self._course.reply(value, id)

    def pause(self) -> None:
        """Ask the running node to ask: set its `pause_requested`; from any thread.

        Nodes may look at that, and ask what to do with `yield Ask(…)`, which also takes the
        request back. Raises `RunStateError` for a run that has ended.
        """
        if self._life.is_over:
            raise self._life.refusal("pause", ".")
        self._state.questions.request_pause()

    # -- stopping it --------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop the run; from any thread, also from its own handlers and nodes.

        Running code is not killed but stops at its next event or safe point; async code gets
        `CancelledError`. A sync run that nobody drives is unwound before this returns, an async
        one is over when its loop has closed it. A run that has ended stays as it is.
        """
        (self._background or self._course).cancel()

    def close(self) -> None:
        """Cancel the run if it has not ended, quietly; its ends are delivered before this returns.

        Called by the run's own code it only asks for that. Raises `RunStateError` for an async
        run that has begun, unless it goes on in the background, in another thread: use `aclose`.
        """
        (self._background or self._course).close()

    async def aclose(self) -> None:
        """`close` in a loop, also for an async run."""
        await (self._background or self._course).aclose()

    def _close_at_exit(self) -> None:
        """Have it ended with the process: it may be left for ever."""
        close_at_exit("runs", self, Run._end_at_exit)

    def _end_at_exit(self) -> None:
        if self._background is not None:
            self._background.finish()
            self._background.tell_of_failure()
        elif self.status in ("running", "paused"):
            self.cancel()

    def _drop(self) -> None:
        """Close it, because nobody has it any more: not in the middle of what a handler does."""
        if not after_delivery(self.cancel):
            self.cancel()

    def __del__(self) -> None:
        life: Lifecycle | None = getattr(self, "_life", None)
        if life is None or sys.is_finalizing():  # nothing can be delivered any more
            return
        if life.status == "paused" and not self._state.outcome.reported:
            questions = self._state.questions.describe(self.id)
            logger.warning("%s Nobody has it any more: it is cancelled.", questions)
        if life.status in ("running", "paused"):  # nobody can go on with it any more
            self._drop()
        if self._background is not None:
            self._background.tell_of_failure()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self!r} cannot be copied or pickled: make another Run of the flow.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # -- its end ------------------------------------------------------------------------------

    def _result(self) -> Any:
        if self.status == "paused":
            raise self._paused()
        return self._state.outcome.result()

    def _paused(self) -> Paused:
        self._state.outcome.report()
        self._close_at_exit()  # who gets it may never look at it
        wait = (
            ".run.wait()" if type(self._course.driver) is SyncDriver else "await .run.wait_async()"
        )
        return Paused(
            f"{self._state.questions.describe(self.id)} Answer with .run.reply(…), then go on with "
            f"{wait} or another loop over .run.",
            self,
        )


async def _raising(error: BaseException) -> NoReturn:
    raise error


class _AsyncEvents(AsyncIterator[Event]):
    """Every event of an async run; it can be left and another one go on."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __anext__(self) -> Coroutine[Any, Any, Event]:
        return self._run._next("events")
