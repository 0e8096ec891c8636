"""Runs of any graph, as a journal gives their events."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import flowevents
from flowevents import Answer, Event, Interrupt, Run
from flowevents.events import decode, encode
from tests.driving import driving
from tests.graphs import Graph, Halt
from tests.made_graphs import build, new_shared

__all__ = ["events_of", "stored", "texts_of"]


def stored(event: Event) -> Event:
    """An event as it comes out of a journal."""
    return decode(encode(event))


def events_of(spec: Graph, how: str) -> list[Event]:
    """The events of a run of a drawn graph whose questions a handler answers."""
    seen: list[Event] = []

    class Watches:
        def on_interrupt(self, event: Interrupt) -> Answer[Any]:
            return Answer(["answer", *event.prompt])

    shared = new_shared()
    with driving(how) as driver, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Run(build(spec, flowevents, shared), shared, observers=[seen.append, Watches()])
        with contextlib.suppress(Exception, Halt):
            driver.wait(run)
    return [stored(each) for each in seen]


def texts_of(events: list[Event]) -> str:
    """All that was said."""
    chunks = [each for each in events if isinstance(each, flowevents.Chunk)]
    return "".join(each.data for each in chunks if each.kind == "output")
