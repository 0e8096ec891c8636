"""A run that one request alone owns, as Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Final

from flowevents.events import Event, FlowEnd
from flowevents.run import Run
from flowevents.signals import observe
from flowevents.web.watching import COMMENT, COMMENT_EVERY, sse_frame

__all__ = ["sse"]

_MOST: Final = 100  # events that wait to be sent; then the run waits


async def sse(run: Run) -> AsyncGenerator[bytes, None]:
    """The events of a run that has not begun, as `GET /runs/{id}/events` writes them.

    An async iterator of bytes for the streaming response of any framework, of the media type
    `text/event-stream`. The run goes on as with `Run.start`, and waits where it asks; a slow client
    slows it. Where the client is gone, which closes the iterator, it is cancelled.

    Raises `RunStateError` for a run that has begun.
    """
    sent = _Sent()
    with observe(sent.put, sender=run):
        run.start()
        try:
            while (event := await sent.next()) is None or not _is_last(event):
                yield f": {COMMENT}\n\n".encode() if event is None else sse_frame(event)
            yield sse_frame(event)
        finally:
            sent.close()
            run.cancel()
            with suppress(Exception):
                await run.wait_async()


class _Sent:
    """The bounded way of events to a loop: from a task of it, which waits, or from a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_MOST)
        self._closed = False

    def put(self, event: Event) -> Awaitable[None] | None:
        """Add an event, when there is room."""
        if self._closed:
            return None
        if asyncio._get_running_loop() is self._loop:
            return self._queue.put(event)
        added = asyncio.run_coroutine_threadsafe(self._queue.put(event), self._loop)
        with suppress(CancelledError):  # the loop ends
            added.result()
        return None

    async def next(self) -> Event | None:
        """The next event; `None` where none has come for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(COMMENT_EVERY):
                return await self._queue.get()
        return None

    def close(self) -> None:
        """Nobody takes them any more, and nobody waits for room."""
        self._closed = True
        while not self._queue.empty():
            self._queue.get_nowait()


def _is_last(event: Event) -> bool:
    return isinstance(event, FlowEnd) and not event.node
