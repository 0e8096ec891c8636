"""Where a command writes, which may be a full disk or a pipe whose reader has left."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from flowevents.errors import RecordError
from flowevents.escape import escape_controls
from flowevents.events import Event

__all__ = ["Guarded", "guarded_output", "say", "why"]


class Output(io.FileIO):
    """What is under the standard output: it is written to until that fails, then nothing is.

    Attributes:
        error: Why it takes no more.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write, or let it be."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return len(data)


@contextmanager
def guarded_output() -> Iterator[Output | None]:
    """Put it under `sys.stdout` while the block runs, where that is a file of the system."""
    found, given = None, sys.stdout
    with suppress(AttributeError, OSError, ValueError):
        given.flush()
        found = Output(given.fileno(), "w", closefd=False)
    if found is None:
        yield None
        return
    at_once = getattr(given, "write_through", False)  # as with `python -u`
    file = io.TextIOWrapper(
        found if at_once else io.BufferedWriter(found),
        given.encoding,
        given.errors,
        line_buffering=bool(given.line_buffering),
        write_through=at_once,
    )
    with redirect_stdout(file):
        try:
            yield found
        finally:
            file.flush()


class Guarded:
    """An observer that writes, until that fails; the run goes on.

    Attributes:
        name: Where it writes.
        error: Why it writes no more.
    """

    def __init__(self, observer: Callable[[Event], object], name: str) -> None:
        self._observer = observer
        self.name = name
        self.error: Exception | None = None

    def __call__(self, event: Event) -> None:
        """Hand an event on."""
        if self.error is None:
            try:
                self._observer(event)
            except (OSError, RecordError) as error:
                self.error = error


def say(text: str) -> None:
    """Say something on stderr, in a line."""
    with suppress(OSError):
        print(f"flowevents: {escape_controls(text, one_line=True)}", file=sys.stderr)


def why(name: str, error: Exception) -> str:
    """What is said of a file that cannot be written."""
    reason = error.strerror if isinstance(error, OSError) else error
    return f"{name} cannot be written: {reason}".rstrip(".") + "."
