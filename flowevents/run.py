"""A run: one execution of a flow, with its own id, numbering, observers and state.

              ┌──────> paused
              v          │   │
    ready ──> running <──┘   │
      │        ├──────> done │
      │        ├──────> failed
      └────────┴──────> cancelled

A run is driven by whoever iterates over it or waits for it, one at a time; a driver may leave and
another go on. Nothing is computed while nobody drives. Sync driving happens in the caller's
thread, async driving in the caller's task; a run that began one way goes on that way.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import weakref
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

from flowevents.engine.begin import begin
from flowevents.engine.clock import SYSTEM, Clock
from flowevents.engine.drivers import AsyncDriver, Ended, drive
from flowevents.engine.effects import CallbackFailed, Cancelled, Effects, Failed, unstopped, wake
from flowevents.engine.graph import check_graph, is_node, node_name, shape_of
from flowevents.engine.publish import run_ended
from flowevents.engine.sequencer import Sequencer, cancels_of, logger, name_of
from flowevents.engine.step import current_track
from flowevents.errors import (
    GraphError,
    ObserverError,
    Paused,
    ReplyError,
    RunCancelled,
    RunStateError,
)
from flowevents.escape import escape_controls
from flowevents.events import Event, Interrupt
from flowevents.live import LiveEvents, close_live, end_loop
from flowevents.signals import Audience, audiences, handlers_of, is_async_callable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Puller", "Run", "RunOptions", "RunStatus"]

Puller = Literal["events", "output"] | None

RunStatus = Literal["ready", "running", "paused", "done", "failed", "cancelled"]

_NEXT: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    "ready": frozenset({"running", "cancelled"}),
    "running": frozenset({"paused", "done", "failed", "cancelled"}),
    "paused": frozenset({"running", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""The only transitions that there are."""


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
        _past: str | None = None,
    ) -> None:
        if not is_node(flow):
            hint = " Did you forget to make an instance of it?" if isinstance(flow, type) else ""
            raise GraphError(f"Run needs a flow or a node, not {flow!r}.{hint}")
        if isinstance(observers, (str, Mapping)) or not isinstance(observers, Iterable):
            raise ObserverError(f"observers={observers!r} is no list of observers; put it in one.")
        if id is not None and (not isinstance(id, str) or not id):
            raise ValueError(f"id={id!r}: a run's id is a string that is not empty, or None.")
        if max_steps is not None and (type(max_steps) is not int or max_steps < 1):
            raise ValueError(
                f"max_steps={max_steps!r}: a whole number from 1, or None for no limit."
            )
        if metadata is not None and not isinstance(metadata, Mapping):
            raise ValueError(f"metadata={metadata!r}: a dict of JSON values, or None.")
        if on_handler_error not in ("log", "raise"):
            raise ValueError(f"on_handler_error={on_handler_error!r}: 'log' or 'raise'.")
        if on_pause not in ("return", "wait"):
            raise ValueError(f"on_pause={on_pause!r}: 'return' or 'wait'.")
        if redact is not None and not callable(redact):
            raise ValueError(f"redact={redact!r}: a function of a text or data, or None.")
        self._observers = [(observer, handlers_of(observer)) for observer in observers]
        self._named = id is not None
        self._id: Final = os.urandom(16).hex() if id is None else id
        self._flow = flow
        self._shared = shared
        self._metadata = dict(metadata or {})
        self._past = _past
        self._sequencer = Sequencer(
            self._id,
            clock=clock,
            raise_handler_errors=on_handler_error == "raise",
            capture=capture,
            max_steps=max_steps,
            redact=redact,
            waits=on_pause == "wait",
            offload=bool(offload),
        )
        self._status: RunStatus = "ready"
        self._action: Any = None
        self._error: BaseException | None = None
        self._told = False  # somebody who drove it got the action, the error, or `Paused`
        self._engine: Effects | None = None
        self._driver: AsyncDriver | None = None
        self._driven_by: object = None  # a thread's number or a task, while one drives
        self._closing: asyncio.Task[None] | None = None
        self._own_loop: asyncio.AbstractEventLoop | None = None  # of an async run in a thread
        self._own_loop_lock = threading.Lock()
        self._at_end: list[asyncio.Future[None]] = []  # who waits for the end, on the loop
        self._lock = threading.RLock()
        self._leavable: str | None = None  # what `_may_be_left` knows of it
        self._ended: threading.Event | None = None  # set at the end, where a thread waits for it

    # -- what it is ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id, as in its events."""
        return self._id

    @property
    def status(self) -> RunStatus:
        """`ready`, `running`, `paused`, `done`, `failed` or `cancelled`."""
        return self._status

    @property
    def action(self) -> Any:
        """The last action, once the run is done."""
        return self._action

    @property
    def error(self) -> BaseException | None:
        """What the run was ended by, if it failed or was cancelled."""
        return self._error

    @property
    def interrupts(self) -> tuple[Interrupt, ...]:
        """The open questions, in the order in which they were asked."""
        questions = self._sequencer.questions
        return () if questions is None else tuple(each.event for each in questions.waiting())

    @property
    def _sender_key(self) -> Audience:
        return self._sequencer

    def __repr__(self) -> str:
        return f"<Run {self._id} of {node_name(self._flow)!r}, {self._status}>"

    # -- driving it, sync ---------------------------------------------------------------------

    def __iter__(self) -> Iterator[Event]:
        """Every event from here on, as it comes; raises at the end what the run failed with."""
        self._may_be_driven("iterate over it")
        return self._pull("events")

    def wait(self) -> Any:
        """Run to the end without a puller, and give the last action.

        Of a run that has ended it gives the action, or raises the error, again. Raises what a
        node raised, `RunCancelled`, `Paused` where a node waits for an answer, or `RunStateError`
        where another thread drives the run.
        """
        if not self._is_over():
            for _ in self._pull():
                pass
        self._sequencer.outbox.clear()
        return self._result()

    def _pull(
        self,
        puller: Puller = None,
        *,
        closes: bool = False,
        take: Callable[[Any], object] | None = None,
    ) -> Generator[Any, None, Any]:
        engine = self._claim("run it", threading.get_ident(), None, puller)
        sequencer = self._sequencer
        if take is not None:
            sequencer.hand_to(take)
        if puller is None:
            sequencer.outbox.clear()
        else:
            _may_be_left(self, "begun")  # as an iterator may be, anywhere
        sequencer.thread = threading.get_ident()
        paused = False  # from then on another thread may drive it

        def pauses() -> bool:
            nonlocal paused
            paused = self._pauses()
            return paused

        try:
            yield from drive(sequencer, engine, self._settle, pauses)
        finally:
            if not paused:
                self._release()
                if closes:
                    self.close()
                elif self._status == "running":
                    _may_be_left(self, "left")
        if not paused:
            return self._result()
        if puller is None:
            raise self._paused()
        return None

    def in_thread(self, maxsize: int = 1000) -> LiveEvents:
        """Drive the run in a background thread, and give an iterator over its events, live.

        An async flow gets a loop of its own there. At most `maxsize` events wait to be taken; then
        the run waits. Where the run pauses the iterator ends; after `reply`, another `in_thread`
        goes on.
        """
        self._may_be_driven("run it in a thread")
        if self._driven_by is not None:
            raise self._driven("run it in a thread")
        _may_be_left(self, "begun")
        return LiveEvents(self._drive_live, self.cancel, maxsize)

    def _drive_live(self, put: Callable[[Event], None]) -> None:
        """Put every event, also what plain code emits, which does not wait in the outbox then."""
        if shape_of(self._flow).is_async:
            self._in_own_loop(self._pull_into(put))
        else:
            try:
                for event in self._pull("events", take=put):
                    put(event)
            finally:
                self._stop_putting(put)

    def _stop_putting(self, put: Callable[[Event], None]) -> None:
        """Who took the events has left, of a run that may be paused and go on otherwise."""
        with self._lock:
            if self._sequencer.take is put:
                self._sequencer.hand_to(None)

    async def _pull_into(self, put: Callable[[Event], None]) -> None:
        self._claim_async("run it in a thread", "events")
        self._driven_by = None  # `_next` takes it
        self._sequencer.hand_to(put)
        try:
            async for event in self:
                put(event)
        finally:
            self._stop_putting(put)

    def _in_own_loop(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run this in the loop that the run has for itself, which a pause leaves as it is."""
        with self._own_loop_lock:  # who has just paused it may not have left it yet
            loop = self._own_loop = self._own_loop or asyncio.new_event_loop()
            try:
                loop.run_until_complete(coroutine)
            finally:
                if self._sequencer.loop is not loop or self._status not in ("running", "paused"):
                    loop.run_until_complete(end_loop())
                    loop.close()
                    self._own_loop = None

    # -- driving it, async --------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Event]:
        """Every event from here on, as it comes; raises at the end what the run failed with."""
        self._may_be_driven("iterate over it")
        return _AsyncEvents(self)

    async def wait_async(self) -> Any:
        """`wait` for an async run: run to the end in this task, and give the last action."""
        sequencer = self._sequencer
        while not self._is_over():
            sequencer.outbox.clear()
            if self._closing is not None:
                await asyncio.wait([self._closing])
                continue
            driver = self._take_driver("wait for it", None)
            try:
                await driver.advance()
            except BaseException as error:
                self._left_by(error)
            finally:
                self._driven_by = None
            if sequencer.pausing and self._pauses():
                break
        sequencer.outbox.clear()
        return self._result()

    async def _next(self, puller: Puller) -> Any:
        """The next thing that the puller gets; `StopAsyncIteration` at the end, or at a pause."""
        sequencer = self._sequencer
        outbox = sequencer.outbox
        while not outbox:
            if self._status != "running" and self._is_over():
                if not self._told:
                    self._result()
                raise StopAsyncIteration
            if self._closing is not None:
                await asyncio.wait([self._closing])
                continue
            driver = self._take_driver("iterate over it", puller)
            try:
                await driver.advance()
            except BaseException as error:
                self._left_by(error)
            finally:
                self._driven_by = None
            if sequencer.pausing and not outbox and self._pauses():
                raise StopAsyncIteration
        return outbox.popleft()

    def _take_driver(self, what: str, puller: Puller) -> AsyncDriver:
        """Become the one who drives until there is something for the puller."""
        sequencer, driver = self._sequencer, self._driver
        if (
            driver is None
            or self._status != "running"
            or self._driven_by is not None
            or sequencer.thread != threading.get_ident()  # asking for the running loop takes longer
            or sequencer.task is not asyncio.current_task(sequencer.loop)
            or sequencer.consumer != puller
        ):
            driver = self._claim_async(what, puller)
        self._driven_by = sequencer.task
        return driver

    def _left_by(self, error: BaseException) -> None:
        """Note how the engine ended; one whose driver was dropped has not."""
        if isinstance(error, GeneratorExit) and self._driver and not self._driver.is_closed():
            raise error
        if isinstance(error, Ended):
            self._settle(None)
            return
        stopped = self._sequencer.stopped_by_task()
        late = stopped and self._sequencer.over and isinstance(error, asyncio.CancelledError)
        self._settle(None if late else error)
        if stopped and (late or isinstance(self._error, (RunCancelled, asyncio.CancelledError))):
            raise asyncio.CancelledError  # the task was cancelled as well, which it must see

    def _claim_async(self, what: str, puller: Puller) -> AsyncDriver:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        engine = self._claim(what, task, loop, puller)
        sequencer = self._sequencer
        sequencer.task, sequencer.task_cancels = task, cancels_of(task)
        sequencer.thread = threading.get_ident()
        if self._driver is None:
            self._driver = AsyncDriver(sequencer, engine)
            if puller is not None:  # later it may stand in the middle of a node's code
                self._driver.keep_context()
                _may_be_left(self, "begun")
        return self._driver

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
        questions = self._sequencer.questions
        if questions is None or (self._is_over() and not questions.knows(id)):
            if self._status in ("running", "paused"):
                raise ReplyError(f"No question is open in run {self._id}.")
            raise RunStateError(f"Cannot reply: run {self._id} is {self._status}.")
        if self._has_lost_its_loop():
            raise self._refusal_without_loop("reply")
        questions.reply(value, id)

    def pause(self) -> None:
        """Ask the running node to ask: set its `pause_requested`; from any thread.

        Nodes may look at that, and ask what to do with `yield Ask(…)`, which also takes the
        request back. Raises `RunStateError` for a run that has ended.
        """
        if self._is_over():
            raise RunStateError(f"Cannot pause: run {self._id} is {self._status}.")
        self._sequencer.pause_requested = True

    def _pauses(self) -> bool:
        """Nothing of the run can go on: pause it, unless a question was settled meanwhile."""
        sequencer = self._sequencer
        sequencer.pausing = False
        with self._lock:
            if sequencer.cancelled is not None or sequencer.questions is None:
                return False
            if not sequencer.questions.hold():
                return False
            self._move("paused")
            self._driven_by = None
            _may_be_left(self, "left")
            return True

    # -- stopping it --------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop the run; from any thread, also from its own handlers and nodes.

        Running code is not killed but stops at its next event or border; async code gets
        `CancelledError`. A sync run that nobody drives is unwound before this returns, an async
        one is over when its loop has closed it. A run that has ended stays as it is.
        """
        with self._lock:
            if self._is_over():
                return
            sequencer = self._sequencer
            sequencer.cancel()
            if self._status == "ready":
                self._settle(sequencer.cancelled)
                return
            idle = sequencer.loop is None and self._is_idle()
            if idle:
                self._driven_by = threading.get_ident()
        if idle:
            self._unwind()
        elif sequencer.loop is None:
            return
        elif asyncio._get_running_loop() is sequencer.loop:
            self._cancel_on_loop()
        elif sequencer.loop is self._own_loop and self._status == "paused":
            closing = threading.Thread(target=self._in_own_loop, args=(self.aclose(),))
            closing.start()  # because in this thread another loop may run
            closing.join()
        else:
            try:
                sequencer.loop.call_soon_threadsafe(self._cancel_on_loop)
            except RuntimeError:  # the loop is closed: nothing of the run can go on
                self._unwind_without_loop()

    def _engine_runs(self) -> bool:
        return self._engine is not None and bool(getattr(self._engine, "gi_running", False))

    def _is_idle(self) -> bool:
        """Whether this thread may unwind a sync run: nothing of it runs, nobody else drives it."""
        return not self._engine_runs() and self._driven_by in (None, threading.get_ident())

    def _unwind(self) -> None:
        assert self._engine is not None
        assert self._sequencer.cancelled is not None
        self._sequencer.cancel_seen = True
        try:
            self._engine.throw(self._sequencer.cancelled)
        except BaseException as error:
            self._settle(error)
        finally:
            self._driven_by = None

    def _unwind_without_loop(self) -> None:
        sequencer = self._sequencer
        with self._lock:
            driver, self._driver = self._driver, None
        if driver is None:  # another thread does it
            return
        sequencer.thread = threading.get_ident()
        sequencer.cancel_seen = True
        try:
            driver.close()
        finally:
            self._settle(sequencer.cancelled)

    def _cancel_on_loop(self) -> None:
        if self._is_over() or self._driver is None:
            return
        flushing = self._sequencer.flushing
        if flushing is not None:  # handlers that are awaited come first
            flushing.add_done_callback(lambda _: self._cancel_on_loop())
        elif self._driver.advancing:
            self._driver.cancel()
        elif self._closing is None:
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._finish_cancelled(self._driver))
            if not task.done():  # an eager task may have ended already
                self._closing = task

    async def _finish_cancelled(self, driver: AsyncDriver) -> None:
        """Let an async run that nobody drives come to its end."""
        outbox = self._sequencer.outbox
        left = list(outbox)
        outbox.clear()
        try:
            if driver.is_closed():
                self._settle(self._sequencer.cancelled)
            while not self._is_over():
                await driver.advance()
                left.extend(outbox)
                outbox.clear()
        except BaseException as error:
            self._left_by(error)
        finally:
            self._closing = None
            if self._sequencer.consumer is not None:
                outbox.extendleft(reversed(left))

    def close(self) -> None:
        """Cancel the run if it has not ended, quietly; its ends are delivered before this returns.

        Called by the run's own code it only asks for that. Raises `RunStateError` for an async
        run that has begun: use `aclose`.
        """
        if self._began_async() and not self._has_own_loop():
            raise RunStateError(
                f"Cannot close it like this: run {self._id} is {self._status} and async. "
                "Use aclose."
            )
        self.cancel()
        here = threading.get_ident()
        if self._driven_by == here or here in self._sequencer.guests:
            return
        with self._lock:
            if self._is_over():
                return
            self._ended = self._ended or threading.Event()
        self._ended.wait()

    def _began_async(self) -> bool:
        """Whether only its loop can end it."""
        began = self._status in ("running", "paused") and self._sequencer.loop is not None
        return began and not self._has_lost_its_loop()

    def _has_own_loop(self) -> bool:
        """Whether its loop is one of its own, and another than that of the caller."""
        loop = self._sequencer.loop
        return loop is self._own_loop and loop is not asyncio._get_running_loop()

    async def aclose(self) -> None:
        """`close` for an async run."""
        if self._status in ("running", "paused") and (
            not self._began_async() or self._has_own_loop()
        ):
            self.close()
            return
        driver, sequencer = self._driver, self._sequencer
        stands = self._closing is None and sequencer.flushing is None and not self._is_over()
        if driver is not None and not driver.advancing and stands:
            task = asyncio.current_task()
            sequencer.task, sequencer.task_cancels = task, cancels_of(task)
            sequencer.cancel()
            await self._finish_cancelled(driver)
            return
        self.cancel()
        if self._is_own_task():
            return
        if self._closing is not None:
            await asyncio.wait([self._closing])
        elif not self._is_over():
            over = asyncio.get_running_loop().create_future()
            self._at_end.append(over)
            await over

    def _is_own_task(self) -> bool:
        """Whether the task that runs is the run's: its end cannot be awaited there."""
        task, track = asyncio.current_task(), current_track.get()
        if track is not None and track.group is not None and track.task is task:
            return track.group.sequencer is self._sequencer
        return task in (self._driven_by, self._closing, self._sequencer.flushing)

    def __del__(self) -> None:
        if sys.is_finalizing():  # `_cancel_left` has been; nothing can be delivered any more
            return
        status = getattr(self, "_status", None)
        if status == "paused" and not self._told:
            logger.warning("%s Nobody has it any more: it is cancelled.", self._open_questions())
        if status in ("running", "paused"):  # nobody can go on with it any more
            self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # -- its state ----------------------------------------------------------------------------

    def _refusal(self, what: str) -> RunStateError:
        return RunStateError(f"Cannot {what}: run {self._id} is {self._status}. Make another Run.")

    def _refusal_without_loop(self, what: str) -> RunStateError:
        return RunStateError(
            f"Cannot {what}: run {self._id} is {self._status}, and its event loop is closed, so "
            "that it cannot go on. Answer it in its loop; cancel() ends it."
        )

    def _has_lost_its_loop(self) -> bool:
        """Whether it cannot go on, because the loop in which it began is closed."""
        loop = self._sequencer.loop
        return loop is not None and loop.is_closed() and not self._is_over()

    def _driven(self, what: str) -> RunStateError:
        return RunStateError(
            f"Cannot {what}: run {self._id} is {self._status} and already driven by another loop, "
            "thread or task."
        )

    def _may_be_driven(self, what: str) -> None:
        if self._is_over() and self._told and not self._sequencer.outbox:
            raise self._refusal(what)

    def _claim(
        self, what: str, who: object, loop: asyncio.AbstractEventLoop | None, puller: Puller
    ) -> Effects:
        """Become the one who drives the run, which begins with the first."""
        with self._lock:
            if self._is_over():
                if self._told and not self._sequencer.outbox:
                    raise self._refusal(what)
                return _ended()  # its last events, or what it failed with, are still to come
            if self._driven_by is not None:
                raise self._driven(what)
            self._sequencer.hand_to(None)
            if self._sequencer.consumer != puller:
                self._sequencer.consumer = puller
                self._sequencer.touch()
            if self._status == "ready":
                self._begin(loop)
            elif self._sequencer.loop is not loop:
                if self._has_lost_its_loop():
                    raise self._refusal_without_loop(what)
                began = "sync: use wait or `for`"
                if self._sequencer.loop is not None:
                    began = "async, in its loop: use wait_async or `async for` there"
                raise RunStateError(
                    f"Cannot {what} like this: run {self._id} is {self._status} and began {began}."
                )
            elif self._status == "paused":
                self._move("running")
                self._told = False
                if self._sequencer.questions is not None:
                    self._sequencer.questions.release()
            self._driven_by = who
            assert self._engine is not None
            return self._engine

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop is None:
            if self._sequencer.offload:
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
        check_graph(self._flow)
        if self._named and any(
            isinstance(each, Sequencer)
            and each.run_id == self._id
            and each.engine() is not None
            and each is not self._sequencer
            for each in audiences()
        ):
            raise RunStateError(
                f"Cannot begin run {self._id!r}: another run with that id has not ended. "
                "Give each run an id of its own, or none."
            )
        for observer, handlers in self._observers:
            self._sequencer.add_observer(observer, handlers)
        self._sequencer.loop = loop
        self._engine = begin(self._sequencer, self._flow, self._shared, self._metadata, self._past)
        self._sequencer.engine = weakref.ref(self._engine)
        self._move("running")

    def _release(self) -> None:
        """Nobody drives a sync run now; one that was cancelled meanwhile is unwound."""
        with self._lock:
            cancelled = self._sequencer.cancelled is not None and not self._is_over()
            self._driven_by = threading.get_ident() if cancelled else None
        if cancelled:
            self._unwind()

    def _is_over(self) -> bool:
        return not _NEXT[self._status]

    def _move(self, status: RunStatus) -> None:
        if status not in _NEXT[self._status]:
            raise RunStateError(f"Run {self._id} cannot go from {self._status} to {status}.")
        self._status = status

    def _settle(self, error: BaseException | None) -> None:
        """Note how the engine ended."""
        with self._lock:
            if self._is_over():
                return
            if isinstance(error, Failed):
                error = error.error
            status: RunStatus = "failed" if isinstance(error, Exception) else "cancelled"
            if isinstance(error, CallbackFailed):
                error = error.error
            elif isinstance(error, (Cancelled, GeneratorExit)) and self._sequencer.over:
                error = None  # it came too late
            elif isinstance(error, Cancelled):
                error = RunCancelled(f"Run {self._id} was cancelled.")
            self._error = None if error is None else unstopped(error)
            self._action = self._sequencer.action if error is None else None
            self._move("done" if error is None else status)
            self._sequencer.close()
            self._sequencer.task = None
            if self._sequencer.questions is not None:
                self._sequencer.questions.withdraw()
            run_ended(self._sequencer)
            self._observers.clear()
            if self._ended is not None:
                self._ended.set()
        for waiting in self._at_end:
            wake(waiting)

    def _open_questions(self) -> str:
        """That the run waits for answers, and to what, as text that is safe to show."""
        asked = "; ".join(
            f"{each.node or 'its flow'} asks {escape_controls(str(each.prompt), one_line=True)!r} "
            f"(id {each.id!r})"
            for each in self.interrupts
        )
        return f"Run {self._id} is paused: {asked or 'no question of it is open any more'}."

    def _paused(self) -> Paused:
        self._told = True
        wait = ".run.wait()" if self._sequencer.loop is None else "await .run.wait_async()"
        return Paused(
            f"{self._open_questions()} Answer with .run.reply(…), then go on with {wait} or "
            "another loop over .run.",
            self,
        )

    def _result(self) -> Any:
        if self._status == "paused":
            raise self._paused()
        self._told = True
        if self._error is not None:
            raise self._error
        return self._action


_left: Final[weakref.WeakSet[Run]] = weakref.WeakSet()  # that nobody drives, maybe for ever


def _may_be_left(run: Run, where: str) -> None:
    """Have it cancelled at the end of the process, before its observers are closed.

    What is registered with `atexit` last is called first: so anew, after an observer of a kind that
    has not been there. Not for each run: the places of what was registered are never given back.
    """
    if run._leavable == where:
        return
    run._leavable = where
    _left.add(run)
    kinds = [type(observer) for observer, _ in run._observers]
    places = {where, *(f"{where} {each.__module__}.{each.__qualname__}" for each in kinds)}
    if not places <= _places:
        _places.update(places)
        atexit.unregister(_cancel_left)
        atexit.register(_cancel_left)


_places: Final[set[str]] = set()


def _cancel_left() -> None:
    close_live()
    for run in list(_left):
        if run.status in ("running", "paused"):
            run.cancel()


def _ended() -> Effects:
    """An engine that has nothing more to do."""
    yield from ()


class _AsyncEvents(AsyncIterator[Event]):
    """Every event of an async run; it can be left and another one go on."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __anext__(self) -> Coroutine[Any, Any, Event]:
        return self._run._next("events")
