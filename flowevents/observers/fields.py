"""The fields of an event as plain values that can be written anywhere, their texts escaped."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from flowevents.escape import escape_controls
from flowevents.events import Event, UnknownEvent, encode

__all__ = ["as_attribute", "as_integer", "as_json", "as_text", "escaped", "fields_of"]

_DEEPEST: Final = 50


def fields_of(event: Event, *, one_line: bool = True) -> dict[str, Any]:
    """The event's fields and its `type` as JSON has them: texts, numbers, lists and so on.

    Args:
        event: Of an unknown type too, whose fields are all that it came with.
        one_line: Escape newlines in texts too, as in `escape_controls`.

    What lies more than 50 containers deep is left out.
    """
    plain = msgspec.json.decode(encode(event))
    plain |= {"run_id": event.run_id, "node": event.node}  # an unknown event may lack them
    fields: dict[str, Any] = escaped(plain, one_line)
    return fields


def escaped(value: Any, one_line: bool = True, depth: int = 0) -> Any:
    """A plain value with the texts in it escaped."""
    if isinstance(value, str):
        return escape_controls(value, one_line=one_line)
    if isinstance(value, (dict, list)) and depth > _DEEPEST:
        return "…"
    if isinstance(value, dict):
        return {
            escaped(key, one_line, depth): escaped(each, one_line, depth + 1)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [escaped(each, one_line, depth + 1) for each in value]
    return value


def as_json(fields: dict[str, Any]) -> str:
    """Fields of any kind as a line of JSON, their texts escaped."""
    whole = UnknownEvent(run_id="", seq=0, time=0.0, span=0, node="", fields=fields)
    plain = escaped(msgspec.json.decode(encode(whole)), one_line=False)
    line = msgspec.json.encode(plain).decode()
    return line.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def as_text(value: Any) -> str:
    """A text as it is, another plain value as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def as_integer(value: int) -> int:
    """A whole number of 64 bits: the nearest that there is."""
    return max(-(2**63), min(value, 2**63 - 1))


def as_attribute(value: Any) -> str | bool | int | float | list[str]:
    """A plain value as OpenTelemetry's attributes can hold it."""
    if isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return as_integer(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    return as_text(value)
