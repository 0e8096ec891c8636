"""The ends of a run that is cancelled though nobody drives it."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from typing import Any

from hypothesis import given

import flowevents
from flowevents import Event, MemoryJournal, Run
from flowevents.events import encode
from flowevents.journal.ends import cancelled_ends
from flowevents.journal.records import Record, recorded
from flowevents.journal.standing import Standing
from flowevents.testing import check_events
from tests.graphs import Graph, Halt, graphs
from tests.made_graphs import build, new_shared
from tests.whole_run import full_record


def ends_after(events: Sequence[Event]) -> list[Event]:
    """Those that are written after these."""
    return cancelled_ends(Standing(Record(each.seq, encode(each)) for each in events), 2e9)


def check_each_cut(events: Sequence[Event]) -> None:
    """Wherever a log ends, its ends make it whole."""
    for cut in range(1, len(events) + 1):
        check_events([*events[:cut], *ends_after(events[:cut])])


def test_a_whole_run() -> None:
    """Cut after each of its events."""
    check_each_cut(full_record())
    assert ends_after(full_record()) == []
    assert ends_after([]) == []


async def events_of(made: Any, shared: dict[str, Any]) -> list[Event]:
    """Those of an async run, whatever comes of it."""
    events: list[Event] = []
    try:
        async with Run(made, shared) as run:
            async for event in run:
                events.append(event)
    except (Exception, Halt):
        pass
    return events


@given(graphs(asynchronous=True, none_successors=False, streams=True, asks=True))
def test_any_run(spec: Graph) -> None:
    """Loops, nested flows, batches in batches, parallel items, retries and questions."""
    shared = new_shared()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the graph does
        made = build(spec, flowevents, shared)
        events = asyncio.run(events_of(made, shared))
    check_each_cut(events[:200])


def test_in_a_journal() -> None:
    """Of a run with all of that, whose log is what there was of it."""
    events = full_record()
    for cut in range(1, len(events)):
        with MemoryJournal() as journal:
            lease = journal.begin("run", "agent", {})
            lease.append(*map(recorded, events[:cut]))
            lease.release()
            journal.cancel("run")
            check_events(journal.read("run"))
            assert journal.summary("run").status == "cancelled"
