"""What is seen of a run whose items are in workers."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from flowevents import Event, ItemEnd
from flowevents.testing import check_events

__all__ = ["items_of", "logged"]

_OF_THE_WHOLE = {"run_id", "seq", "time", "span", "parent", "duration"}


def items_of(events: list[Event]) -> dict[int, list[dict[str, Any]]]:
    """What was said of each item, in order, without what depends on the others."""
    check_events(events)
    items: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        if event.items:
            fields = {"type": type(event).__name__, **structs.asdict(event)}
            left_out = _OF_THE_WHOLE | ({"done"} if isinstance(event, ItemEnd) else set())
            said = {name: value for name, value in fields.items() if name not in left_out}
            items.setdefault(event.items[-1], []).append(said)
    return items


def logged(journal: Any, kind: type[Event]) -> set[int]:
    """Of which items the log has such an event."""
    if not any(each.id == "the-run" for each in journal.runs()):
        return set()
    return {each.items[0] for each in journal.read("the-run") if isinstance(each, kind)}
