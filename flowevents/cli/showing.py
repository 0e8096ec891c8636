"""A flow that a command runs: who watches it, and what is said at its end."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, TextIO

from flowevents.cli.loading import WrongInput
from flowevents.cli.output import Guarded, say, why
from flowevents.engine.shape import shape_of
from flowevents.errors import MissingExtra, Paused
from flowevents.events import Event
from flowevents.messages import traceback_text
from flowevents.run import Run

__all__ = ["drive_shown"]


def drive_shown(
    flow: Any,
    begin: Callable[..., Run],
    *,
    log: bool,
    record: str | None,
    otel: bool,
) -> bool:
    """Run a flow to its end, or to a question that nobody answers. Gives whether all went well.

    Args:
        flow: What runs.
        begin: Gives the run, with the `observers` that watch it.
        log, record, otel: The options of the commands.
    """
    with ExitStack() as stack:
        observers = _observers(stack, log=log, record=record, otel=otel)
        run = begin(observers=observers)
        error = _drive(run, is_async=shape_of(flow).is_async)
    if isinstance(error, Paused):  # said when the display is done
        for asked in error.interrupts:
            say(f"{asked.node} asked {asked.prompt!r}, and nobody answered: stdin has ended.")
    elif error is not None:
        watched = log or _is_one_place(sys.stdout, sys.stderr)
        _tell(error, shown=watched and run.status == "failed")
    guarded = [each for each in observers if isinstance(each, Guarded)]
    lost = [why(each.name, each.error) for each in guarded if each.error is not None]
    for text in lost:
        say(text)
    return not lost and error is None


def _drive(run: Run, *, is_async: bool) -> Exception | None:
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


def _observers(stack: ExitStack, *, log: bool, record: str | None, otel: bool) -> list[object]:
    """Who watches a run; what they need is closed with the stack."""
    from flowevents.observers.console import ConsoleAnswers

    observers: list[object] = []
    if log:
        observers.append(Guarded(_log(), "stderr"))
    if record is not None:
        observers.append(Guarded(stack.enter_context(_recorder(record)), record))
    if otel:
        try:
            from flowevents.observers.traces import TraceObserver
        except MissingExtra as missing:
            raise WrongInput(f"--otel: {missing}") from None
        from flowevents.cli.telemetry import exporting

        stack.enter_context(exporting())
        observers.append(stack.enter_context(TraceObserver()))
    if not (log and sys.stderr.isatty()):  # both would write over one another
        from flowevents.observers.display import TerminalDisplay

        observers.append(stack.enter_context(TerminalDisplay()))
    return [*observers, ConsoleAnswers()]


def _recorder(path: str) -> Any:
    from flowevents.observers.jsonlines import JsonLines

    try:
        return JsonLines(path)
    except OSError as error:
        raise WrongInput(why(path, error)) from None


class _ToStderr(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:
        raise  # what it failed with


def _log() -> Callable[[Event], object]:
    from flowevents.observers.logs import LogObserver

    logger = logging.getLogger("flowevents.events")
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return LogObserver(logger)


def _tell(error: Exception, *, shown: bool) -> None:
    """Write an error's traceback, of the user's code only, and what it says, unless it is shown."""
    with suppress(OSError):
        text = traceback_text(error, whole=False, message=not shown)
        print(text, end="", file=sys.stderr)


def _is_one_place(one: TextIO, other: TextIO) -> bool:
    """Whether they write to the same terminal or file."""
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):
        return False
