"""A run: one execution of a flow, with its own id, numbering, observers and state.

It is driven by whoever iterates over it or waits for it, one at a time; a driver may leave and
another go on. Nothing is computed while nobody drives. Sync driving happens in the caller's
thread, async driving in the caller's task; a run that began one way goes on that way. The states
are in `status.py`, the driving in `engine/drivers/`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from flowevents.clock import SYSTEM, Clock
from flowevents.driven import AsyncEvents, Driven
from flowevents.engine.course import Course
from flowevents.engine.drivers import PAUSED
from flowevents.engine.options import ResumeOptions, RunOptions, options_of
from flowevents.engine.shape import is_node, node_name, why_no_node
from flowevents.errors import GraphError, ObserverError
from flowevents.escape import escape_controls
from flowevents.events import Event, Interrupt
from flowevents.live import Channel, LiveEvents
from flowevents.signals import Audience, handlers_of
from flowevents.status import RunStatus

if TYPE_CHECKING:
    from typing import Self, Unpack

    from flowevents.journal.follower import Follower
    from flowevents.journal.journal import Journal

__all__ = ["ResumeOptions", "Run", "RunOptions", "RunStatus"]

logger: Final = logging.getLogger("flowevents")


class Run(Driven):
    """One execution of a flow, or of a single node, over `shared`.

    Args:
        flow: A flow or a node, ours or pocketflow's. The object itself runs, the nodes inside it
            as copies.
        shared: What `prep` and `post` get.
        observers: Callables of one event or objects with `on_<signal>` methods, which hear this
            run only, until it ends; `None` is none.
        id: The run's id; by default 128 random bits as 32 hexadecimal digits.
        name: What the flow is called in its first event and in a journal; by default its own name.
        metadata: What the first event's `metadata` holds; JSON values.
        capture: Put each step's `prep_res` and `exec_res` into its `NodeEnd`, as `input` and
            `result`.
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
        journal: Where it is stored as it goes on, so that another process can, too.
        state_types: Which classes `shared` may hold beside the built-in types, for a journal.
        transient: The keys of `shared` that a journal does not keep.

    Iterating over it (`for` or `async for`) gives every event as it comes; leaving the loop
    leaves the run where it is. `with` and `async with` cancel it on the way out if it has not
    ended; one with a journal they let go, and it can be resumed.

    Raises `GraphError` where `flow` is no node, `ObserverError` for an observer that is none and
    `ValueError` for an option that makes no sense. Where it reaches something that is no node it
    fails with a `GraphError`.
    """

    def __init__(
        self,
        flow: Any,
        shared: Any,
        *,
        observers: Iterable[object] | None = (),
        id: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        capture: bool = False,
        max_steps: int | None = None,
        on_handler_error: Literal["log", "raise"] = "log",
        on_pause: Literal["return", "wait"] = "return",
        offload: bool = False,
        redact: Callable[[Any], Any] | None = None,
        clock: Clock = SYSTEM,
        journal: Journal | None = None,
        state_types: Iterable[type] = (),
        transient: Iterable[Any] = (),
    ) -> None:
        if not is_node(flow):
            raise GraphError(f"Run needs a flow or a node, not {flow!r}.{why_no_node(flow)}")
        if observers is None:
            observers = ()
        if type(observers) not in (tuple, list) and (
            isinstance(observers, (str, Mapping)) or not isinstance(observers, Iterable)
        ):
            raise ObserverError(f"observers={observers!r} is no list of observers; put it in one.")
        own = [(observer, handlers_of(observer)) for observer in observers]
        options = options_of(
            id,
            name,
            metadata,
            capture,
            max_steps,
            on_handler_error,
            on_pause,
            offload,
            redact,
            clock,
            journal,
            state_types,
            transient,
        )
        super().__init__(Course(flow, shared, own, options))

    @classmethod
    def resume(
        cls,
        flow: Any,
        journal: Journal,
        run_id: str,
        *,
        shared: Mapping[Any, Any] | None = None,
        take_over: bool = False,
        **options: Unpack[ResumeOptions],
    ) -> Self:
        """Return a run that stands where its log does, `paused` or `ready`, to be driven.

        Finished steps do not run again. One that was open runs again from its `prep`, as its next
        attempt.

        Args:
            flow: The flow or node as it was run first; its graph may have grown.
            journal, run_id: Where its log is.
            shared: The values of the keys that are `transient`.
            take_over: Also where it is alive elsewhere, which then is stopped.
            options: `observers`, `redact`, `clock`, `on_pause`, `on_handler_error`, `offload` and
                `state_types`, as of `Run`, anew; the other options come from the log.

        Raises `UnknownRun`, `RunStateError` for a run that has ended or is alive elsewhere,
        `GraphError` where the graph lacks a node that the log still needs, and `JournalError` for
        a log that cannot be read, or where a transient key is missing.
        """
        from flowevents.resuming import completed, restored  # most programs never do

        lease = journal.take(run_id, take_over=take_over)
        try:
            standing = completed(journal, lease)
            state, kept = restored(standing, shared, options)
            run = cls(flow, state, id=run_id, journal=journal, **kept)
            run._course.go_on(lease, standing)
        except BaseException:
            lease.release()
            raise
        return run

    @classmethod
    def fork(
        cls,
        flow: Any,
        journal: Journal,
        run_id: str,
        at: int | None = None,
        id: str | None = None,
        *,
        shared: Mapping[Any, Any] | None = None,
        **options: Unpack[ResumeOptions],
    ) -> Self:
        """Return a new run that begins with the state of another one, after a finished step.

        Its log is its own, and holds nothing of the past. Its first event says in its metadata
        where it comes from: `"forked_from": {"run_id": …, "seq": …}`.

        Args:
            flow, journal, run_id, shared, options: As of `resume`.
            at: After the last step that had finished at or before this `seq`; before the first one
                it begins with the first `shared`. By default the last one of all.
            id: The new run's; by default 128 random bits.

        Raises `UnknownRun`, `EventsLost` for an `at` beyond the log, and otherwise as `resume`.
        """
        from flowevents.resuming import past_of, restored

        standing, seq = past_of(journal, run_id, at)
        state, kept = restored(standing, shared, options)
        kept["metadata"] = {**kept["metadata"], "forked_from": {"run_id": run_id, "seq": seq}}
        run = cls(flow, state, id=id, journal=journal, **kept)
        if seq:
            run._course.fork(standing)
        return run

    # -- what it is ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id, as in its events."""
        return self._life.run_id

    @property
    def shared(self) -> Any:
        """What the nodes get."""
        return self._state.shared

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
        return tuple(self._state.questions.interrupts())

    @property
    def _sender_key(self) -> Audience:
        return self._state.audience

    def __repr__(self) -> str:
        id = escape_controls(self.id, one_line=True)
        return f"<Run {id} of {node_name(self._course.flow)!r}, {self.status}>"

    def follow(self, after: int = 0, *, timeout: float | None = None) -> Follower:
        """Give the events of its log, then those to come, each once: see `Journal.follow`.

        Raises `RunStateError` for a run without a journal, and `UnknownRun` before it has begun.
        """
        journal = self._state.options.journal
        if journal is None:
            raise self._life.refusal("follow it", ", and has no journal: use Run(…, journal=…).")
        return journal.follow(self.id, after, timeout=timeout)

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
        __tracebackhide__ = True
        if self._background is not None:
            return self._background.wait()
        if not self._life.is_over and self._wait_here() is PAUSED:
            raise self._paused()
        self._state.delivery.outbox.clear()
        return self._state.outcome.result()

    # -- driving it, async --------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Event]:
        """Every event from here on, as it comes; raises at the end what the run failed with."""
        self._course.check_drivable("iterate over it")
        return AsyncEvents(self)

    async def wait_async(self) -> Any:
        """`wait` in a loop: for an async run, which this task then drives, or in the background."""
        __tracebackhide__ = True
        if self._background is not None:
            return await self._background.wait_async()
        if not self._life.is_over:
            await self._drive_async("wait for it", None).wait()
        self._state.delivery.outbox.clear()
        return self._result()

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
        self._state.stop.leave()
        (self._background or self._course).close()

    async def aclose(self) -> None:
        """`close` in a loop, also for an async run."""
        self._state.stop.leave()
        await (self._background or self._course).aclose()

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
