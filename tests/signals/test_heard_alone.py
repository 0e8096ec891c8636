"""Who hears one type of event alone is told the same as among those who hear them all."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import msgspec
import pytest
from hypothesis import given

import flowevents
from flowevents import Clock, Event
from flowevents.events import EVENT_TYPES
from tests.graphs import Graph, Halt, graphs
from tests.made_graphs import build, new_shared

NUMBERS = ("run_id", "seq", "span", "parent")
"""What says how many events were made before, and of which run."""


class CallsMade(Clock):
    """A clock that moves on by a second with each call of a node's code."""

    def __init__(self, shared: dict[str, Any]) -> None:
        self._log = shared["log"]

    def time(self) -> float:
        return float(sum(map(len, self._log.values())))

    def monotonic(self) -> float:
        return self.time()


def heard(spec: Graph, signals: tuple[str, ...]) -> list[dict[str, Any]]:
    """The events of these signals in a run of the graph, which nobody else hears."""
    events: list[Event] = []
    observer = type(
        "Observer", (), {f"on_{name}": lambda _, event: events.append(event) for name in signals}
    )
    shared = new_shared()
    options: Any = {"observers": [observer()], "clock": CallsMade(shared)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        node = build(spec, flowevents, shared)
        try:
            if spec.is_async:
                asyncio.run(node.run_async(shared, **options))
            else:
                node.run(shared, **options)
        except (Exception, Halt):
            pass
    fields = [{"type": type(each), **msgspec.structs.asdict(each)} for each in events]
    return [{name: each[name] for name in each if name not in NUMBERS} for each in fields]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_signal_alone(asynchronous: bool) -> None:
    """Each type of event says the same, its duration too, whatever else is heard."""

    @given(graphs(asynchronous=asynchronous, streams=True))
    def of_any_graph(spec: Graph) -> None:
        together = heard(spec, tuple(kind.signal for kind in EVENT_TYPES))
        for kind in EVENT_TYPES:
            expected = [each for each in together if each["type"] is kind]
            assert heard(spec, (kind.signal,)) == expected, kind.signal

    of_any_graph()
