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
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from flowevents.at_exit import close_at_exit
from flowevents.clock import SYSTEM, Clock
from flowevents.engine.begin import begin, plan_run
from flowevents.engine.delivery import name_of
from flowevents.engine.drivers import AsyncDriver, Consumer, SyncDriver, claim_id, pull, settle
from flowevents.engine.options import options_of
from flowevents.engine.publish import Root
from flowevents.engine.shape import is_node, node_name, shape_of
from flowevents.engine.state import State
from flowevents.engine.step import Track
from flowevents.errors import GraphError, ObserverError, Paused, ReplyError
from flowevents.escape import escape_controls
from flowevents.events import Event, Interrupt
from flowevents.live import Background, Channel, LiveEvents
from flowevents.signals import Audience, handlers_of, is_async_callable
from flowevents.status import Lifecycle, RunStatus

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Run", "RunOptions", "RunStatus"]

logger: Final = logging.getLogger("flowevents")


class RunOptions(TypedDict, total=False):
    """The keyword options of `Run`, which every `run…` method of a node or flow takes too."""

    observers: Iterable[object]
    id: str | None
    metadata: Mapping[str, Any] | None
    capture: bool
    max_steps: int | None
    on_handler_error: Literal["log", "raise"]
    on_pause: Literal["return", "wait"]
    offload: bool
    redact: Callable[[Any], Any] | None
    clock: Clock


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
        self._options = options_of(
            id, metadata, capture, max_steps, on_handler_error, on_pause, offload, redact, clock
        )
        self._observers = [(observer, handlers_of(observer)) for observer in observers]
        self._flow = flow
        self._shared = shared
        run_id = self._options.run_id
        self._life = Lifecycle(run_id)
        self._audience = Audience(("run", run_id), special=self._options.offload)
        self._state = State(self._options, self._audience)
        self._driver: SyncDriver | AsyncDriver | None = None
        self._background: Background | None = None  # what drives it, after `start`

    # -- what it is ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id, as in its events."""
        return self._options.run_id

    @property
    def shared(self) -> Any:
        """What the nodes get."""
        return self._shared

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
        return self._audience

    def __repr__(self) -> str:
        return f"<Run {self.id} of {node_name(self._flow)!r}, {self.status}>"

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
        if not self._life.is_over:
            self._wait_here()
        self._state.delivery.outbox.clear()
        return self._result()

    def _wait_here(self) -> None:
        for _ in pull(self._drive_sync, None, self._is_left):
            pass

    def _pull(
        self, what: str, consumer: Consumer, left: Callable[[], None] | None = None
    ) -> Generator[Any, None, Any]:
        """What a loop over it gets; `left` is called where that is left before the end."""
        self._check_drivable(what)
        close_at_exit("runs", self, Run._end_at_exit)  # an iterator may be left, anywhere
        return pull(self._drive_sync, consumer, left or self._is_left)

    def _drive_sync(self) -> SyncDriver:
        """The sync driver; with the first one who asks for it the run begins."""
        self._check_foreground("run it")
        driver = self._driver or self._begin(None)
        driver.check("run it", None)
        assert isinstance(driver, SyncDriver)
        return driver

    def _is_left(self) -> None:
        close_at_exit("runs", self, Run._end_at_exit)

    # -- driving it, async --------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Event]:
        """Every event from here on, as it comes; raises at the end what the run failed with."""
        self._check_drivable("iterate over it")
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
        return self._drive_async("iterate over it", consumer).pull(consumer)

    def _drive_async(self, what: str, consumer: Consumer) -> AsyncDriver:
        """The async driver; with the first one who asks for it the run begins."""
        self._check_foreground(what)
        driver = self._driver
        if type(driver) is AsyncDriver:
            return driver
        if driver is None:
            driver = self._begin(asyncio.get_running_loop())
            assert isinstance(driver, AsyncDriver)
            if consumer is not None:  # later it may stand in the middle of a node's code
                driver.keep_context()
                close_at_exit("runs", self, Run._end_at_exit)
            return driver
        raise self._life.began_sync(what)

    # -- in the background --------------------------------------------------------------------

    def start(self) -> Self:
        """Drive it in the background, and return it: `wait` or `wait_async` waits for its end.

        An async flow goes on in a task of the running loop, or, without one, in a thread and a loop
        of its own; any other in a thread. Nodes find the caller's context variables. Where a node
        asks it waits inside, as with `on_pause="wait"`.

        Raises `RunStateError` where somebody drives it already, or it has ended.
        """
        loop = asyncio._get_running_loop() if self._is_async() else None
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

    def _is_async(self) -> bool:
        """Whether it goes on, or will begin, in a loop, where it is driven in the background."""
        if self._driver is None:
            return shape_of(self._flow).is_async
        return type(self._driver) is AsyncDriver

    def _start_thread(self, what: str, channel: Channel | None) -> None:
        loop = asyncio.new_event_loop() if self._is_async() else None
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
            if self._life.is_over:
                raise self._life.ended(what)
            driver = self._driver or self._begin(loop)
            if self._background is not None:
                raise self._life.driven(what)
            driver.check(what, loop)
            self._background = Background(self, driver, channel, what)
        close_at_exit("runs", self, Run._end_at_exit)
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
        if id is not None and not isinstance(id, str):
            raise ReplyError(f"id={id!r}: a question's id is a string, the `id` of its Interrupt.")
        questions = self._state.questions
        if not questions.any_asked() or (self._life.is_over and not questions.knows(id)):
            if self.status in ("running", "paused"):
                raise ReplyError(f"No question is open in run {self.id}.")
            raise self._life.refusal("reply", ".")
        if type(self._driver) is AsyncDriver and self._driver.has_lost_its_loop():
            raise self._life.without_loop("reply")
        questions.reply(value, id)

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
        with self._life.lock:
            if self._life.is_over:
                return
            if self._driver is None:
                self._state.cancel()
                settle(self._life, self._state, self._state.stop.asked)
                return
        (self._background or self._driver).cancel()

    def close(self) -> None:
        """Cancel the run if it has not ended, quietly; its ends are delivered before this returns.

        Called by the run's own code it only asks for that. Raises `RunStateError` for an async
        run that has begun, unless it goes on in the background, in another thread: use `aclose`.
        """
        driver = self._driver
        if self._background is not None:
            self._background.close()
        elif isinstance(driver, SyncDriver):
            driver.close()
        elif driver is None or driver.has_lost_its_loop():
            self.cancel()
        elif not self._life.is_over:
            raise self._life.refusal("close it like this", " and async. Use aclose.")

    async def aclose(self) -> None:
        """`close` in a loop, also for an async run."""
        if self._background is not None:
            await self._background.aclose()
        elif type(self._driver) is not AsyncDriver or self._driver.is_elsewhere():
            self.close()
        else:
            await self._driver.close()

    def _end_at_exit(self) -> None:
        if self._background is not None:
            self._background.finish()
            self._background.tell_of_failure()
        elif self.status in ("running", "paused"):
            self.cancel()

    def __del__(self) -> None:
        life: Lifecycle | None = getattr(self, "_life", None)
        if life is None or sys.is_finalizing():  # nothing can be delivered any more
            return
        if life.status == "paused" and not self._state.outcome.reported:
            logger.warning("%s Nobody has it any more: it is cancelled.", self._open_questions())
        if life.status in ("running", "paused"):  # nobody can go on with it any more
            self.cancel()
        if self._background is not None:
            self._background.tell_of_failure()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # -- its beginning and its end ------------------------------------------------------------

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> SyncDriver | AsyncDriver:
        """Begin the run in that loop, or a sync one; its driver."""
        life, state = self._life, self._state
        with life.lock:
            if self._driver is not None:
                return self._driver
            if life.is_over:  # it was cancelled before
                if state.outcome.reported:
                    raise life.ended("run it")
                self._result()
            if loop is None:
                self._check_sync()
            plan = plan_run(self._flow)
            claim_id(state)
            for observer, handlers in self._observers:
                self._audience.add_observer(observer, handlers)
            self._observers.clear()
            state.door.belong_to(loop)
            track = Track()
            engine = begin(state, track, plan, self._shared)
            root = Root(state, track, engine, self._flow)
            life.move("running")
            if loop is None:
                self._driver = SyncDriver(life, state, root, engine)
            else:
                self._driver = AsyncDriver(life, state, root, engine, track)
            return self._driver

    def _check_sync(self) -> None:
        """Raise for what only an async run can do."""
        if self._options.offload:
            raise ValueError(
                "offload=True is for async runs: use run_async, run_stream_async, wait_async "
                "or `async for`, or leave it out."
            )
        for _, handlers in self._observers:
            for name, handler in handlers.items():
                if is_async_callable(handler):
                    raise ObserverError(
                        f"Observer {name_of(handler)} (for {name!r}) is async, but the run is "
                        "sync: nothing can await it. Use a plain function, or run_async."
                    )

    def _check_drivable(self, what: str) -> None:
        outcome, outbox = self._state.outcome, self._state.delivery.outbox
        if self._life.is_over and outcome.reported and not outbox:
            raise self._life.ended(what)

    def _open_questions(self) -> str:
        """That the run waits for answers, and to what, as text that is safe to show."""
        asked = "; ".join(
            f"{each.node or 'its flow'} asks {escape_controls(str(each.prompt), one_line=True)!r} "
            f"(id {each.id!r})"
            for each in self.interrupts
        )
        return f"Run {self.id} is paused: {asked or 'no question of it is open any more'}."

    def _result(self) -> Any:
        if self.status != "paused":
            return self._state.outcome.result()
        self._state.outcome.report()
        close_at_exit("runs", self, Run._end_at_exit)  # who gets it may never look at it
        wait = ".run.wait()" if isinstance(self._driver, SyncDriver) else "await .run.wait_async()"
        raise Paused(
            f"{self._open_questions()} Answer with .run.reply(…), then go on with {wait} or "
            "another loop over .run.",
            self,
        )


class _AsyncEvents(AsyncIterator[Event]):
    """Every event of an async run; it can be left and another one go on."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __anext__(self) -> Coroutine[Any, Any, Event]:
        return self._run._next("events")
