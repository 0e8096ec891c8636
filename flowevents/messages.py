"""What the package says beside its events: warnings, log records, notes and tracebacks.

Each may hold text that a model has written, and goes through `escape_controls`. A warning points at
the user's line, never into the package.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
import warnings
from typing import Any, Final

from flowevents.escape import escape_controls

__all__ = ["place_of", "traceback_text", "warn"]

_OURS: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep
_SKIPPED: Final = (_OURS, os.path.dirname(asyncio.__file__) + os.sep, threading.__file__)
"""Where the code is whose lines say nothing of a user's mistake."""

Place = tuple[str, int, dict[str, Any]]
"""A file, a line, and the globals of the module."""


# -- warnings ---------------------------------------------------------------------------------


def warn(
    text: str,
    category: type[Warning] = UserWarning,
    *,
    at: object = None,
    always: bool = False,
) -> None:
    """Warn at the user's line: that of a function of theirs, or of their call into the package.

    With `always` it is said each time, else once for each place, as Python does.
    """
    file, line, names = place_of(at)
    module = names.get("__name__", "<string>")
    registry = {} if always else names.setdefault("__warningregistry__", {})
    text = escape_controls(text, one_line=True)
    warnings.warn_explicit(text, category, file, line, module, registry)


def place_of(function: Any = None) -> Place:
    """Where a function of the user's is; without one, where they called into the package."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    if code is not None and not code.co_filename.startswith(_OURS):
        return code.co_filename, code.co_firstlineno, getattr(function, "__globals__", {})
    frame = sys._getframe()
    while frame.f_code.co_filename.startswith(_SKIPPED) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno, frame.f_globals


# -- log records and tracebacks ---------------------------------------------------------------


def traceback_text(error: BaseException) -> str:
    """An error's traceback, escaped."""
    return escape_controls("".join(traceback.format_exception(error)))


class _Escape(logging.Filter):
    """Escapes what the logger `flowevents` is given: the message into one line.

    The traceback is indented, so that no line of an error's text looks like a record of its own.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = escape_controls(record.getMessage(), one_line=True), ()
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            lines = traceback_text(record.exc_info[1]).rstrip("\n").split("\n")
            record.exc_text = "\n".join(f"  {line}" for line in lines)
        return True


logging.getLogger("flowevents").addFilter(_Escape())
