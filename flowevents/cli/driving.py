"""A run, driven from the command line to its end, or to a question that nobody answers."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any

from flowevents.run import Run

__all__ = ["drive"]


def drive(run: Run, *, is_async: bool) -> Exception | None:
    """Run it to its end, or to a question that nobody answers. Gives what it failed with.

    Ctrl-C ends it as cancelled and is raised, as `KeyboardInterrupt`; in an async run, once the
    nodes have had their `CancelledError`. A second Ctrl-C does not wait for them.
    """
    try:
        if is_async:
            _run_async(_wait(run))
        else:
            with run:  # a question that nobody answers ends it, too
                run.wait()
    except Exception as error:
        return error
    return None


async def _wait(run: Run) -> None:
    async with run:
        await run.wait_async()


def _run_async(main: Coroutine[Any, Any, None]) -> None:
    """Do what `asyncio.run` does from CPython 3.11 on: Ctrl-C cancels the task.

    Before, it interrupts whatever code runs at that moment, the loop's and the engine's too.
    """
    if (
        sys.version_info >= (3, 11)
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        asyncio.run(main)
        return
    interrupted = False

    async def cancel_when_interrupted() -> None:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        assert task is not None

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            nonlocal interrupted
            if interrupted or task.done():
                raise KeyboardInterrupt
            interrupted = True
            task.cancel()
            loop.call_soon_threadsafe(lambda: None)  # wakes a loop that sleeps

        signal.signal(signal.SIGINT, interrupt)
        await main

    try:
        asyncio.run(cancel_when_interrupted())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
