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
from types import TracebackType
from typing import Any, Final

from flowevents.escape import escape_controls

__all__ = ["add_note", "name_of", "place_of", "traceback_text", "trim", "warn"]

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


# -- errors -----------------------------------------------------------------------------------


def add_note(error: BaseException, place: str, run: str) -> None:
    """Add a note (PEP 678) that says where an error of a run came from: once for each run."""
    run = escape_controls(run, one_line=True)
    try:
        if not any(note.endswith(run) for note in getattr(error, "__notes__", ())):
            error.add_note(f"{escape_controls(place, one_line=True)}, {run}")
    except Exception:  # it takes none
        return


def trim(error: BaseException) -> None:
    """Leave out of the tracebacks of an error, and of what led to it, the package's own frames.

    Those that come after the user's last one stay: they say what went wrong.
    """
    seen: set[int] = set()
    part: BaseException | None = error
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        part.with_traceback(_trimmed(part.__traceback__))
        part = part.__cause__ or part.__context__


def _trimmed(trace: TracebackType | None) -> TracebackType | None:
    entries: list[TracebackType] = []
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    kept: TracebackType | None = None
    after = True  # behind the user's last frame
    for entry in reversed(entries):
        is_ours = entry.tb_frame.f_code.co_filename.startswith(_SKIPPED)
        if after or not is_ours:
            kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
        after = after and is_ours
    return kept


def traceback_text(error: BaseException, *, whole: bool = True, message: bool = True) -> str:
    """An error's traceback, escaped.

    Args:
        whole: With the package's own frames.
        message: With what the error says, behind its traceback; its notes stay.
    """
    told = traceback.TracebackException.from_exception(error)
    if not whole:
        _leave_out_ours(told)
    text = "".join(told.format())
    if not message:
        text = text.removesuffix("".join(told.format_exception_only()))
        text += "".join(f"{note}\n" for note in getattr(error, "__notes__", ()))
    return escape_controls(text)


def _leave_out_ours(told: traceback.TracebackException) -> None:
    told.stack[:] = [frame for frame in told.stack if not frame.filename.startswith(_SKIPPED)]
    for part in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if part is not None:
            _leave_out_ours(part)


# -- log records ------------------------------------------------------------------------------


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


def name_of(handler: object) -> str:
    """Return a handler's qualified name, for logs and errors."""
    inner: Any = handler
    while hasattr(inner, "func"):
        inner = inner.func
    name = getattr(inner, "__qualname__", None)
    return f"{inner.__module__}.{name}" if name else repr(handler)
