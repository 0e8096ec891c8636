"""The options of a run: read and checked once, and never changed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

import msgspec

from flowevents.clock import SYSTEM, Clock
from flowevents.events import MAX_ERROR, describe_error

if TYPE_CHECKING:
    from flowevents.engine.recorder import Recorder
    from flowevents.journal.journal import Journal

__all__ = ["Options", "ResumeOptions", "RunOptions", "options_of"]

logger: Final = logging.getLogger("flowevents")


class ResumeOptions(TypedDict, total=False):
    """The keyword options of `Run.resume`, which are not in the log."""

    observers: Iterable[object]
    on_handler_error: Literal["log", "raise"]
    on_pause: Literal["return", "wait"]
    offload: bool
    redact: Callable[[Any], Any] | None
    clock: Clock
    state_types: Iterable[type]


class RunOptions(TypedDict, total=False):
    """The keyword options of `Run`, which every `run…` method of a node or flow takes too."""

    observers: Iterable[object] | None
    id: str | None
    name: str | None
    metadata: Mapping[str, Any] | None
    capture: bool
    max_steps: int | None
    on_handler_error: Literal["log", "raise"]
    on_pause: Literal["return", "wait"]
    offload: bool
    redact: Callable[[Any], Any] | None
    clock: Clock
    journal: Journal | None
    state_types: Iterable[type]
    transient: Iterable[Any]


class Options(msgspec.Struct, frozen=True):
    """What a run was told; see `Run` for what each option means.

    Attributes:
        run_id: The run's id; `named` is whether it was given.
        name: What its flow is called, where that was given.
        raise_handler_errors: `on_handler_error="raise"`.
        waits: `on_pause="wait"`.
        recorder: Stores its events, where it has a journal.
    """

    run_id: str
    named: bool
    name: str | None
    metadata: dict[str, Any]
    capture: bool
    max_steps: int | None
    raise_handler_errors: bool
    waits: bool
    offload: bool
    redact: Callable[[Any], Any] | None
    clock: Clock
    recorder: Recorder | None = None

    @property
    def journal(self) -> Journal | None:
        """Where the run is stored."""
        return None if self.recorder is None else self.recorder.journal

    def clean(self, value: Any) -> Any:
        """Return what may be seen of a value: what `redact` makes of it."""
        if self.redact is None or value is None:
            return value
        try:
            return self.redact(value)
        except Exception as error:
            logger.error(
                "redact failed in run %s; the value is left out", self.run_id, exc_info=error
            )
            return "[redact failed]"

    def error_text(self, error: BaseException) -> str:
        """Return the `error` field for an exception: redacted as a whole, then cut."""
        text = self.clean(describe_error(error, limit=None))
        return str(text)[:MAX_ERROR] or type(error).__name__


def options_of(
    id: str | None = None,
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    capture: bool = False,
    max_steps: int | None = None,
    on_handler_error: str = "log",
    on_pause: str = "return",
    offload: bool = False,
    redact: Callable[[Any], Any] | None = None,
    clock: Clock = SYSTEM,
    journal: Journal | None = None,
    state_types: Iterable[type] = (),
    transient: Iterable[Any] = (),
) -> Options:
    """Check the options of a run. Raises `ValueError` for one that makes no sense."""
    if id is not None and (not isinstance(id, str) or not id):
        raise ValueError(f"id={id!r}: a run's id is a string that is not empty, or None.")
    if name is not None and (not isinstance(name, str) or not name):
        raise ValueError(f"name={name!r}: what the flow is called, not empty, or None.")
    if max_steps is not None and (type(max_steps) is not int or max_steps < 1):
        raise ValueError(f"max_steps={max_steps!r}: a whole number from 1, or None for no limit.")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ValueError(f"metadata={metadata!r}: a dict of JSON values, or None.")
    if on_handler_error not in ("log", "raise"):
        raise ValueError(f"on_handler_error={on_handler_error!r}: 'log' or 'raise'.")
    if on_pause not in ("return", "wait"):
        raise ValueError(f"on_pause={on_pause!r}: 'return' or 'wait'.")
    if redact is not None and not callable(redact):
        raise ValueError(f"redact={redact!r}: a function of a text or data, or None.")
    run_id = _new_id() if id is None else id
    recorder = None
    if journal is not None:
        from flowevents.engine.recorder import recorder_of  # most runs have no journal

        recorder = recorder_of(journal, state_types, transient)
    return Options(
        run_id,
        id is not None,
        name,
        dict(metadata) if metadata else {},
        capture,
        max_steps,
        on_handler_error == "raise",
        on_pause == "wait",
        bool(offload),
        redact,
        clock,
        recorder,
    )


_ids: Final[list[str]] = []  # that are still to be given; asking the system for each takes longer


def _new_id() -> str:
    """Return 128 random bits as 32 hexadecimal digits."""
    try:
        return _ids.pop()
    except IndexError:
        digits = os.urandom(16 * 64).hex()
        _ids.extend(digits[at : at + 32] for at in range(32, len(digits), 32))
        return digits[:32]


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_ids.clear)
