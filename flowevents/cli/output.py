"""Where a command writes, which may be a full disk or a pipe whose reader has left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flowevents.errors import RecordError
from flowevents.escape import escape_controls
from flowevents.events import Event

__all__ = ["Guarded", "Output", "say", "why"]


class Output:
    """The standard output, which remembers why it took no more.

    Attributes:
        error: The first error, if any; some observers let it be.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write."""
        return int(self._noting(self._file.write, text))

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._noting(self._file.flush)

    def discard(self) -> None:
        """Have what is left written nowhere, so that the process does not fail as it ends."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._file.fileno())
            os.close(nowhere)

    def _noting(self, call: Callable[..., Any], *given: object) -> Any:
        try:
            return call(*given)
        except OSError as error:
            self.error = self.error or error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


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
