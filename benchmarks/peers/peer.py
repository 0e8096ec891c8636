"""A peer, and the ways in which it does the works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..measure import Counter, expect
from .works import DISPATCHES, Work

Function = Callable[[int], None]
Handler = Callable[[object], None]
Sender = Callable[[Sequence[Handler], int], None]


@dataclass(frozen=True)
class Way:
    """One way in which a peer does a work.

    Attributes:
        name: What of the peer does it; `""` where there is nothing to choose.
        units: How many units are measured with full effort. Figures are per unit.
        function: Takes a number of units, does them and checks its result.
    """

    work: str
    name: str
    units: int
    function: Function


class Peer:
    """A library, and how it does each of the works that it can do.

    Args:
        name: What it is called in the tables.
        distribution: The name of its package on the index; empty where there is none.
        imports: What a program that uses it imports.
    """

    def __init__(self, name: str, distribution: str, imports: str) -> None:
        self.name = name
        self.distribution = distribution
        self.imports = imports
        self.ways: list[Way] = []

    def does(self, work: Work, units: int, way: str = "") -> Callable[[Function], Function]:
        """Say that the decorated function is a way to do `work`."""

        def add(function: Function) -> Function:
            self.ways.append(Way(work.name, way, units, function))
            return function

        return add

    def dispatches(self, units: int) -> Callable[[Sender], Sender]:
        """Say that the decorated function sends an event to given handlers so many times.

        `units` are those of one handler.
        """

        def add(send: Sender) -> Sender:
            for handlers, work in DISPATCHES.items():
                function = _to_counters(send, handlers)
                self.ways.append(Way(work.name, "", units // max(1, handlers // 2), function))
            return send

        return add


def _to_counters(send: Sender, handlers: int) -> Function:
    def function(times: int) -> None:
        counters = [Counter() for _ in range(handlers)]
        send([counter.handler for counter in counters], times)
        calls = [counter.count() for counter in counters]
        expect(calls, [times] * handlers, "the calls of each handler")

    return function
