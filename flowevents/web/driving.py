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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Unpack

import anyio
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request

from flowevents.engine.options import ResumeOptions
from flowevents.engine.shape import shape_of
from flowevents.errors import FlowEventsError, JournalError, RunCancelled, RunStateError
from flowevents.journal.journal import Journal
from flowevents.journal.records import RunSummary
from flowevents.run import Run
from flowevents.web.access import Access, RunAction

__all__ = ["Runs"]

_logger: Final = logging.getLogger("flowevents")
_LOOK_EVERY: Final = 2.0  # seconds
_GRACE: Final = 5.0  # seconds, in which runs may close when the server stops


class Runs:
    """Starts runs, goes on with those that are due, and knows which live here.

    Args:
        flows: The flows, by their names.
        journal: Where the runs are.
        access: Who may do what.
        max_runs: How many may live here at once.
        options: As of `Run`, for each.
    """

    def __init__(
        self,
        flows: Mapping[str, Any],
        journal: Journal,
        access: Access,
        max_runs: int,
        **options: Unpack[ResumeOptions],
    ) -> None:
        self.flows: Mapping[str, Any] = flows
        self.journal: Journal = journal
        self.access: Access = access
        self._room = max_runs
        self._options = options
        self._live: dict[str, tuple[Run, asyncio.Task[None]]] = {}

    async def authorize(
        self, request: Request, action: RunAction, run_id: str | None = None
    ) -> None:
        """Raise `HTTPException` where that is refused."""
        await self.access.ask(request, action, run_id)

    # -- starting ---------------------------------------------------------------------------------

    async def start(
        self,
        flow: str,
        shared: Any,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> RunSummary:
        """Start a run, and say what the journal says of it.

        Raises `HTTPException` where there is no such flow, and where as many runs live here as may,
        and `RunStateError` where the id is taken.
        """
        if flow not in self.flows:
            known = ", ".join(map(repr, self.flows))
            raise HTTPException(422, f"There is no flow {flow!r}; there is {known}.")
        run = Run(
            self.flows[flow],
            shared,
            id=id,
            metadata=metadata,
            name=flow,
            journal=self.journal,
            **self._options,
        )
        await self._go_on(run, shape_of(self.flows[flow]).is_async)
        return await run_sync(self.journal.summary, run.id)

    async def _go_on(self, run: Run, is_async: bool) -> None:
        with self._taking_room():
            if is_async:
                run.start()
            else:
                await run_sync(run.start)
            task = asyncio.create_task(self._until_end(run))
            self._live[run.id] = run, task

    @contextmanager
    def _taking_room(self) -> Iterator[None]:
        if self._room < 1:
            raise HTTPException(
                429,
                "As many runs live here as may. Try again later.",
                headers={"Retry-After": "5"},
            )
        self._room -= 1
        try:
            yield
        except BaseException:
            self._room += 1
            raise

    async def _until_end(self, run: Run) -> None:
        try:
            await run.wait_async()
        except (RunCancelled, asyncio.CancelledError):
            pass
        except JournalError as error:
            _logger.warning("Run %s ends here: %s", run.id, error)
        except Exception as error:
            _logger.error("Run %s failed", run.id, exc_info=error)
        finally:
            self._live.pop(run.id, None)
            self._room += 1

    # -- watching ---------------------------------------------------------------------------------

    @contextmanager
    def watched(self, run_id: str) -> Iterator[None]:
        """Somebody watches this run, as long as the block runs."""
        yield

    # -- going on ---------------------------------------------------------------------------------

    async def look(self) -> None:
        """Go on with what is due, for as long as the server runs."""
        while True:
            try:
                for run_id in await run_sync(self.journal.due):
                    await self._resume(run_id)
            except JournalError as error:
                _logger.warning("The journal was not asked for what is due: %s", error)
            await anyio.sleep(_LOOK_EVERY)

    async def _resume(self, run_id: str) -> None:
        summary = await run_sync(self.journal.summary, run_id)
        flow = self.flows.get(summary.flow)
        if flow is None or run_id in self._live or self._room < 1:
            return
        try:
            run = await run_sync(lambda: Run.resume(flow, self.journal, run_id, **self._options))
            await self._go_on(run, shape_of(flow).is_async)
        except RunStateError:
            pass  # another process was faster
        except FlowEventsError as error:
            _logger.warning("Run %s cannot go on: %s", run_id, error)

    # -- the end ----------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Let all runs go, so that another process can go on with them."""
        with anyio.move_on_after(_GRACE):
            async with anyio.create_task_group() as leaving:
                for run, _ in list(self._live.values()):
                    leaving.start_soon(run.aclose)
