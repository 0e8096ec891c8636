"""Runs of any graph, as a journal gives their events."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import flowevents
from flowevents import Answer, Event, Interrupt, Paused, Run
from flowevents.events import decode, encode
from tests.driving import driving
from tests.graphs import Graph, Halt
from tests.made_graphs import build, new_shared

__all__ = ["events_of", "stored", "texts_of"]


def stored(event: Event) -> Event:
    """An event as it comes out of a journal."""
    return decode(encode(event))


def reply_to(event: Interrupt) -> Any:
    """The answer that says what was asked."""
    return ["answer", *event.prompt]


def events_of(spec: Graph, how: str, together: int = 0) -> list[Event]:
    """The events of a run of a drawn graph.

    Args:
        spec: The graph.
        how: `"sync"` or `"async"`.
        together: How many questions are answered at once where nothing else goes on; with 0 a
            handler answers each.
    """
    seen: list[Event] = []

    class Answers:
        def on_interrupt(self, event: Interrupt) -> Answer[Any]:
            return Answer(reply_to(event))

    shared = new_shared()
    observers: list[Any] = [seen.append] if together else [seen.append, Answers()]
    with driving(how) as driver, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Run(build(spec, flowevents, shared), shared, observers=observers)
        with contextlib.suppress(Exception, Halt):
            while True:
                try:
                    driver.wait(run)
                    break
                except Paused:
                    for each in run.interrupts[:together]:
                        run.reply(reply_to(each), each.id)
    return [stored(each) for each in seen]


def texts_of(events: list[Event]) -> str:
    """All that was said."""
    chunks = [each for each in events if isinstance(each, flowevents.Chunk)]
    return "".join(each.data for each in chunks if each.kind == "output")
