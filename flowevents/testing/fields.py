"""What a single event may say, whatever came before it, and how a rule that it breaks is told."""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from flowevents.events import MAX_ERROR, Event, FlowEnd
from flowevents.opened import End

__all__ = [
    "broken",
    "check_error",
    "check_finite",
    "check_name",
    "check_outcome",
    "check_path",
    "check_types",
    "expect",
    "name_of",
]

_NAME: Final = re.compile(r"[^/#]+(#([2-9]|[1-9]\d+))?")


def check_outcome(event: End) -> None:
    """Check that what an end says goes together."""
    if event.status == "ok" and event.error is not None:
        raise broken(event, f"status is 'ok', but error is {event.error!r}")
    if event.status == "error" or event.error is not None:
        check_error(event, event.error)
    check_finite(event, "duration", least=0)
    if isinstance(event, FlowEnd) and event.status != "ok" and event.action is not None:
        raise broken(event, f"status is {event.status!r}, but action is {event.action!r}")


def check_types(event: Event) -> None:
    """Check that each field holds what its type says, as who decodes the event relies on."""
    try:
        msgspec.convert(msgspec.structs.asdict(event), type(event))
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `")
        name = re.findall(r"\$\.(\w+)", place)[0]
        raise broken(event, f"{name} is {getattr(event, name)!r}: {what}") from None


def check_finite(event: Event, *fields: str, least: float = -math.inf) -> None:
    """Check that these are numbers from `least` on, or `None` where that may be."""
    for name in fields:
        number = getattr(event, name)
        if number is not None and not (math.isfinite(number) and number >= least):
            raise broken(event, f"{name} is {number!r}, no number that it can be")


def check_error(event: Event, error: str | None) -> None:
    """Check that it is the text of an error."""
    if not error or len(error) > MAX_ERROR:
        said = repr(error) if not error else f"{len(error)} characters long"
        raise broken(event, f"error is {said}, not a text of at most {MAX_ERROR} characters")


def check_path(event: Event, path: str, above: str, field: str) -> None:
    """Check that it is the path of a node of the flow whose path is `above`."""
    prefix = f"{above}/" if above else ""
    if not path.startswith(prefix):
        raise broken(event, f"{field} is {path!r}, which is not in the flow {above!r}")
    check_name(event, path[len(prefix) :], field)


def check_name(event: Event, name: str, field: str) -> None:
    """Check that a node can have it as its name."""
    if not _NAME.fullmatch(name):
        raise broken(event, f"{field} ends with the name {name!r}, which no node can have")


def expect(event: Event, why: str, **fields: object) -> None:
    """Check that its fields have these values."""
    for name, expected in fields.items():
        found = getattr(event, name)
        if found != expected:
            raise broken(event, f"{name} is {found!r}, not {expected!r}, {why}")


def name_of(event: Event) -> str:
    """What an event is called in what is said of another."""
    return f"{type(event).__name__} {event.seq}"


def broken(event: Event, what: str) -> AssertionError:
    """What is raised where this event breaks a rule."""
    items = f", items {event.items!r}" if event.items else ""
    return AssertionError(
        f"seq {event.seq!r}: {type(event).__name__} of node {event.node!r}{items}: {what}."
    )
