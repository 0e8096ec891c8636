"""What is sent while a `with` block runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flowevents.events import Event
from flowevents.signals import ANY, observe

__all__ = ["capture_events"]


@contextmanager
def capture_events(sender: object = ANY) -> Iterator[list[Event]]:
    """Collect what `sender` sends while the `with` block runs: `with capture_events() as events`.

    Args:
        sender: As in `EventSignal.connect`; `ANY` hears every run of the process.
    """
    events: list[Event] = []
    with observe(events.append, sender=sender):
        yield events
