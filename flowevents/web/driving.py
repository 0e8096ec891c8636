"""The runs that live in the server, whoever watches them.

The rules of this file:

* An async run goes on in a task of the server's loop, a sync one in a thread. Both wait inside
  where they ask.
* What the journal does goes to threads; but an async run begins in its loop.
* Everything else is done on the loop, so that no lock is needed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import anyio
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request

from flowevents.engine.options import ResumeOptions
from flowevents.engine.shape import shape_of
from flowevents.errors import Conflict, FlowEventsError, JournalError, RunCancelled
from flowevents.journal.journal import Journal
from flowevents.journal.mail import check_answer
from flowevents.journal.records import ENDED, RunSummary
from flowevents.plain import plain
from flowevents.run import Run
from flowevents.web.access import Access, RunAction
from flowevents.web.viewers import Viewers

__all__ = ["Runs"]

_logger: Final = logging.getLogger("flowevents")
_GRACE: Final = 5.0  # seconds in which runs may close when the server stops
_KEPT: Final = 1_000  # ended runs, where no journal was given
_RETRY_AFTER: Final = "5"  # seconds


class Runs:
    """Starts runs, goes on with others, and knows which live here.

    Args:
        flows: The flows, by their names.
        journal: Where the runs are.
        access: Who may do what.
        max_runs: How many may live here at once.
        forgets: Keep the last 1,000 of those that have ended.
        options: As of `Run`, for each.

    Attributes:
        viewers: Who watches which run.
        live: Those that live here, by their ids.
        stuck: Those that could not go on here, and when that was, by the monotonic clock.
    """

    def __init__(
        self,
        flows: Mapping[str, Any],
        journal: Journal,
        access: Access,
        *,
        max_runs: int,
        forgets: bool,
        options: ResumeOptions,
    ) -> None:
        self.flows: Mapping[str, Any] = flows
        self.journal: Journal = journal
        self.access: Access = access
        self.viewers: Viewers = Viewers()
        self.live: dict[str, Run] = {}
        self.stuck: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds them weakly
        self._room = max_runs
        self._ended: dict[str, None] | None = {} if forgets else None  # in order
        self._options = options

    # -- what a request may do, and says ----------------------------------------------------------

    async def authorize(
        self, request: Request, action: RunAction, run_id: str | None = None
    ) -> None:
        """Raise `HTTPException` where that is refused."""
        await self.access.ask(request, action, run_id)

    def watched(self, run_id: str) -> AbstractContextManager[None]:
        """Somebody watches this run, as long as the block runs."""
        return self.viewers.watching(run_id)

    def state(self, run_id: str) -> Any:
        """`shared` of a run as its last record left it, in plain values; for a thread."""
        return plain(self.journal.state(run_id, self._options.get("state_types", ())))

    def reply(self, run_id: str, value: Any, id: str | None) -> None:
        """Answer a question; for a thread.

        Of a run that lives here the node's own type is asked, too: it may take less than the JSON
        schema says. Raises as `Journal.reply`.
        """
        run = self.live.get(run_id)
        if run is None or run.status in ENDED:
            self.journal.reply(run_id, value, id)
            return
        asked = [each for each in run.interrupts if id in (None, each.id)]
        if len(asked) == 1:
            check_answer(asked[0], value)  # first, so that all servers give the same reasons
        run.reply(value, id)

    # -- starting ---------------------------------------------------------------------------------

    async def start(
        self,
        flow: str,
        shared: Any,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> RunSummary:
        """Start a run, and give what the journal says of it.

        Raises `HTTPException` where there is no such flow, and where as many runs live here as may,
        and `RunStateError` where the id is taken.
        """
        if flow not in self.flows:
            known = ", ".join(map(repr, self.flows))
            raise HTTPException(422, f"There is no flow {flow!r}; there is {known}.")
        with self._taking_room():
            run = Run(
                self.flows[flow],
                shared,
                id=id,
                name=flow,
                metadata=metadata,
                journal=self.journal,
                **self._options_for(flow),
            )
            await self._drive(run, flow)
        return await run_sync(self.journal.summary, run.id)

    async def go_on(self, run_id: str, flow: str) -> None:
        """Go on with a run of this flow that is due.

        Raises as `Run.resume`, and `HTTPException` where as many live here as may.
        """
        with self._taking_room():
            options = self._options_for(flow)
            run = await run_sync(
                lambda: Run.resume(self.flows[flow], self.journal, run_id, **options)
            )
            await self._drive(run, flow)

    def _options_for(self, flow: str) -> ResumeOptions:
        if self._is_async(flow):
            return self._options
        return ResumeOptions(**{**self._options, "offload": False})  # which has no meaning there

    def _is_async(self, flow: str) -> bool:
        return shape_of(self.flows[flow]).is_async

    async def _drive(self, run: Run, flow: str) -> None:
        if self._is_async(flow):
            run.start()
        else:
            await run_sync(run.start)
        self.live[run.id] = run
        self.stuck.pop(run.id, None)
        self.viewers.seen(run.id)
        task = asyncio.create_task(self._until_end(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextmanager
    def _taking_room(self) -> Iterator[None]:
        if not self.has_room():
            raise HTTPException(
                429,
                "As many runs live here as may. Try again later.",
                headers={"Retry-After": _RETRY_AFTER},
            )
        self._room -= 1
        try:
            yield
        except BaseException:
            self._room += 1
            raise

    def has_room(self) -> bool:
        """Whether another run may live here."""
        return self._room > 0

    # -- their ends -------------------------------------------------------------------------------

    async def _until_end(self, run: Run) -> None:
        try:
            await run.wait_async()
        except RunCancelled:
            pass
        except Conflict as error:
            _logger.warning("Run %s goes on elsewhere: %s", run.id, error)
        except JournalError as error:
            self.stick(run.id, error)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # it is the node's
            _logger.error("Run %s failed", run.id, exc_info=error)
        finally:
            self.live.pop(run.id, None)
            self.viewers.forget(run.id)
            self._room += 1
        if self._ended is not None:
            await self._forget_after(run.id)

    def stick(self, run_id: str, error: FlowEventsError) -> None:
        """Note that a run cannot go on here, as it is."""
        self.stuck[run_id] = time.monotonic()
        _logger.warning("Run %s cannot go on here: %s", run_id, error)

    async def _forget_after(self, run_id: str) -> None:
        assert self._ended is not None
        self._ended[run_id] = None
        while len(self._ended) > _KEPT:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            await run_sync(self.journal.delete, oldest)

    async def leave(self) -> None:
        """Let all runs go, so that another process can go on with them."""
        with anyio.move_on_after(_GRACE):
            async with anyio.create_task_group() as leaving:
                for run in list(self.live.values()):
                    leaving.start_soon(run.aclose)
