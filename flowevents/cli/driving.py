"""A run, driven from the command line to its end, or to a question that nobody answers."""

from __future__ import annotations

import asyncio

from flowevents.run import Run

__all__ = ["drive"]


def drive(run: Run, *, is_async: bool) -> Exception | None:
    """Run it to its end, or to a question that nobody answers. Gives what it failed with.

    Ctrl-C ends it as cancelled and is raised, as `KeyboardInterrupt`; in an async run, once the
    nodes have had their `CancelledError`. A second Ctrl-C does not wait for them.
    """
    try:
        if is_async:
            asyncio.run(_wait(run))
        else:
            with run:  # a question that nobody answers ends it, too
                run.wait()
    except Exception as error:
        return error
    return None


async def _wait(run: Run) -> None:
    async with run:
        await run.wait_async()
