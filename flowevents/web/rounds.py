"""What a server does every few seconds: it goes on with what is due, and cancels the unwatched."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Final

from anyio.to_thread import run_sync

from flowevents.errors import FlowEventsError, JournalError, RunStateError, UnknownRun
from flowevents.web.driving import Runs

__all__ = ["Rounds"]

_logger: Final = logging.getLogger("flowevents")
_EVERY: Final = 2.0  # seconds
_AGAIN: Final = 60.0  # seconds after which a run is tried that could not go on


class Rounds:
    """What is done for the runs of a server as long as it runs.

    Args:
        runs: The runs.
        resume: Go on with those that are due.
        unwatched: After how many seconds a run is cancelled that nobody watches; `None` for never.
    """

    def __init__(self, runs: Runs, *, resume: bool, unwatched: float | None) -> None:
        self._runs = runs
        self._resume = resume
        self._unwatched = unwatched

    async def go(self) -> None:
        """Do it, again and again."""
        what = [self._again(self._go_on, _EVERY)] if self._resume else []
        if self._unwatched is not None:
            pause = min(_EVERY, self._unwatched / 3)
            what.append(self._again(partial(self._cancel_unwatched, self._unwatched), pause))
        await asyncio.gather(*what)

    async def _again(self, what: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            try:
                await what()
            except JournalError as error:
                _logger.warning("The journal of the runs failed: %s", error)
            except Exception:
                _logger.exception("What a server does every few seconds failed")
            await asyncio.sleep(seconds)

    # -- what is due ------------------------------------------------------------------------------

    async def _go_on(self) -> None:
        for run_id in await run_sync(self._runs.journal.due):
            if self._runs.has_room():
                await self._go_on_with(run_id)

    async def _go_on_with(self, run_id: str) -> None:
        runs = self._runs
        is_stuck = time.monotonic() - runs.stuck.get(run_id, -inf) < _AGAIN
        if run_id in runs.live or is_stuck:
            return
        try:
            flow = (await run_sync(runs.journal.summary, run_id)).flow
            if flow in runs.flows and runs.has_room():
                await runs.go_on(run_id, flow)
        except (RunStateError, UnknownRun):
            pass  # another process was faster
        except FlowEventsError as error:
            runs.stick(run_id, error)

    # -- what nobody watches ----------------------------------------------------------------------

    async def _cancel_unwatched(self, seconds: float) -> None:
        """Another process may have the viewers of a run: it tells whoever drives it."""
        runs, viewers, journal = self._runs, self._runs.viewers, self._runs.journal
        for run_id in viewers.here.keys() - runs.live.keys():
            await run_sync(journal.tell_watched, run_id)
        for run_id in viewers.unseen(seconds):
            if await run_sync(journal.was_watched, run_id):
                viewers.seen(run_id)
            elif run_id in runs.live and run_id not in viewers.here:
                _logger.info("Run %s is cancelled: nobody watches it", run_id)
                runs.live[run_id].cancel()
