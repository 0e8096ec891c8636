"""Events as records of the standard `logging`: a line to read, and fields for machines.

A record's message is one line, whatever a model has written. Its fields are attributes of the
record, as those of `extra=` are, under the event's names with the prefix `flowevents_`, so that
they never collide with those of `logging`. Formatters that write JSON pick them up.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from flowevents import events as ev
from flowevents.errors import ObserverError
from flowevents.events import EVENT_TYPES, Event
from flowevents.observers.fields import as_json, as_text, fields_of
from flowevents.opened import End

__all__ = ["LEVELS", "PREFIX", "JsonFormatter", "LogObserver"]

PREFIX: Final = "flowevents_"
"""What the names of a record's fields begin with."""

LEVELS: Final[Mapping[type[Event], int | None]] = {
    ev.FlowStart: logging.INFO,
    ev.NodeStart: logging.INFO,
    ev.ItemStart: logging.DEBUG,
    ev.Chunk: None,
    ev.Progress: logging.DEBUG,
    ev.Retry: logging.WARNING,
    ev.Interrupt: logging.INFO,
    ev.Reply: logging.INFO,
    ev.ItemEnd: logging.DEBUG,
    ev.NodeEnd: logging.INFO,
    ev.Action: logging.DEBUG,
    ev.FlowEnd: logging.INFO,
}
"""At which level each type of event is logged; `None` for not at all."""

_FAILED: Final = {"error": logging.ERROR, "cancelled": logging.WARNING}
_SHORT: Final = 200  # characters of a text that a message shows; the fields hold all of it


class LogObserver:
    """Logs each event: `flow.run(shared, observers=[LogObserver()])`.

    Args:
        logger: Where to; by default the logger `flowevents.events`.
        levels: Levels by event type, such as `{Chunk: logging.DEBUG, Action: None}`, which
            replace those of `LEVELS`. A type whose level is `None` is not listened to.

    A node's or flow's end with status `"error"` is logged at `ERROR` at least, one that was
    cancelled at `WARNING` at least. It may be used for several runs, and from any thread.

    Raises `ObserverError` for a key that is no event type and a level that is no number.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        *,
        levels: Mapping[type[Event], int | None] | None = None,
    ) -> None:
        self._logger = logging.getLogger("flowevents.events") if logger is None else logger
        self._levels = {**LEVELS, **_checked(levels or {})}
        for kind in EVENT_TYPES:  # an observer hears what it has a method for
            if self._levels[kind] is not None:
                setattr(self, f"on_{kind.signal}", self)

    def __call__(self, event: Event) -> None:
        """Log the event; one of a type that this version does not know at `DEBUG`."""
        level = self._levels.get(type(event), logging.DEBUG)
        if level is None:
            return
        if isinstance(event, (ev.NodeEnd, ev.FlowEnd)):
            level = max(level, _FAILED.get(event.status, level))
        if self._logger.isEnabledFor(level):
            fields = fields_of(event)
            extra = {PREFIX + name: value for name, value in fields.items()}
            self._logger.log(level, _message(event, fields), extra=extra)


class JsonFormatter(logging.Formatter):
    """Writes each record, of whatever logger, as one line of JSON.

    It holds `time` (ISO 8601, UTC), `level`, `logger` and `message`, `exception` and `stack` where
    there are some, and all that was given as `extra`, a `LogObserver`'s fields with it. What JSON
    cannot hold becomes `{"$type": …}`, and controls are escaped, whoever wrote them.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            told["stack"] = self.formatStack(record.stack_info)
        told |= {name: value for name, value in vars(record).items() if name not in _OF_LOGGING}
        return as_json(told)


_OF_LOGGING: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _checked(levels: Mapping[type[Event], int | None]) -> Mapping[type[Event], int | None]:
    for kind, level in levels.items():
        if kind not in LEVELS:
            known = ", ".join(each.__name__ for each in EVENT_TYPES)
            raise ObserverError(f"LogObserver: {kind!r} in levels is no event type. Give {known}.")
        if level is not None and (isinstance(level, bool) or not isinstance(level, int)):
            raise ObserverError(
                f"LogObserver: the level of {kind.__name__} is {level!r}; give a number such as "
                "logging.DEBUG, or None for not at all."
            )
    return levels


# -- messages ---------------------------------------------------------------------------------


def _message(event: Event, fields: Mapping[str, Any]) -> str:
    place = fields["node"] or "The flow"
    items = "".join(f"[{index}]" for index in event.items)
    step = f" (step {event.step})" if event.step > 1 else ""
    return f"{place}{items}{step} {_said(event, fields)} (run {fields['run_id']})"


def _said(event: Event, fields: Mapping[str, Any]) -> str:
    if isinstance(event, ev.FlowStart):
        return "begins" if event.node else f"begins: {fields['flow']}"
    if isinstance(event, ev.NodeStart):
        return "begins"
    if isinstance(event, ev.ItemStart):
        of = "" if event.total is None else f", one of {event.total}"
        return f"begins{of}: {_shown(fields['label'])}" if event.label else f"begins{of}"
    if isinstance(event, End):
        verb = {"error": "failed", "cancelled": "was cancelled"}.get(event.status, "ended")
        because = f": {fields['error']}" if event.error else ""
        return f"{verb} after {event.duration:.3f} s{because}"
    if isinstance(event, ev.Action):
        by = "" if event.action is None else f" by {_shown(fields['action'])}"
        unknown = "" if event.known else ", which is no successor"
        return f"-> {fields['target'] or 'the end'}{by}{unknown}"
    if isinstance(event, ev.Retry):
        what = "falls back" if event.fallback else "tries again"
        wait = f" in {event.wait:g} s" if event.wait else ""
        return f"{what}{wait} after attempt {event.attempt}: {fields['error']}"
    if isinstance(event, ev.Progress):
        of = "" if event.total is None else f" of {_number(event.total)}"
        label = f" {fields['label']}" if event.label else ""
        return f"is at {_number(event.done)}{of}{label}"
    if isinstance(event, ev.Interrupt):
        choices = "" if event.choices is None else f" {_shown(fields['choices'])}"
        return f"asks: {_shown(fields['prompt'])}{choices}"
    if isinstance(event, ev.Reply):
        return f"gets the answer: {_shown(fields['value'])}"
    if isinstance(event, ev.Chunk):
        return f"gives {fields['kind']}: {_shown(fields['data'])}"
    return f"sends {fields.get('type')}"


def _shown(value: Any) -> str:
    """A text, or what it is as JSON, of a length that fits into a line."""
    text = as_text(value)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)
