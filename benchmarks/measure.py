"""How two functions are compared.

Both do the same number of units of work in the same process. After one unmeasured call each they
are measured in rounds; a round measures both, one right after the other, and the next round in the
other order, so that a noisy moment meets both. The figure is the median over the rounds of the
ratio within a round: of what we tried (the ratio of the minima, of the medians) it moved least when
the machine was busy. The clock counts the processor time of this process, not the time that others
took from it; nothing measured here sleeps. The garbage collector is on, as in any user's program,
and runs to the end before each measurement.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from .table import Row

Clock = Callable[[], float]


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    `scale` multiplies the units of work of each function; `seconds` is what one row may take,
    but there are at least `rounds` rounds; `processes` is the number of rounds where each takes
    new processes.
    """

    scale: float
    seconds: float
    rounds: int
    processes: int

    def units(self, size: int) -> int:
        """The units of work to do where `size` is the full number: at least two."""
        return max(2, round(size * self.scale))


FULL = Effort(scale=1, seconds=4, rounds=7, processes=25)
QUICK = Effort(scale=1, seconds=0.3, rounds=3, processes=15)
SMOKE = Effort(scale=0.002, seconds=0, rounds=1, processes=1)


class Work(Protocol):
    """A line of the table that can be measured."""

    @property
    def work(self) -> str:
        """What is measured: the first column."""
        ...

    def measure(self, effort: Effort) -> Row:
        """Measure it; a `WrongResult` where what was measured did not do its work."""
        ...


class WrongResult(AssertionError):
    """A measured function did not do its work."""


def expect(actual: object, expected: object, what: str) -> None:
    """Raise `WrongResult` where the two differ; `what` names them in the text."""
    if actual != expected:
        raise WrongResult(f"Expected {what} to be {expected!r}, got {actual!r}.")


@dataclass(frozen=True)
class Comparison:
    """flowevents against a reference.

    Each function takes a number of units of work, does them and checks its result.
    """

    work: str
    target: float | None
    size: int
    flowevents: Callable[[int], None]
    reference: Callable[[int], None]
    clock: Clock = time.process_time

    def measure(self, effort: Effort) -> Row:
        """Measure both in alternating rounds; amounts are microseconds per unit."""
        units = effort.units(self.size)
        sides = (self.flowevents, self.reference)
        for side in sides:
            side(units)
        ours: list[float] = []
        theirs: list[float] = []
        end = time.monotonic() + effort.seconds
        while len(ours) < effort.rounds or time.monotonic() < end:
            if len(ours) % 2:
                theirs.append(seconds(self.reference, units, self.clock))
                ours.append(seconds(self.flowevents, units, self.clock))
            else:
                ours.append(seconds(self.flowevents, units, self.clock))
                theirs.append(seconds(self.reference, units, self.clock))
        return Row(
            work=self.work,
            unit="µs",
            flowevents=median(ours) / units * 1e6,
            reference=median(theirs) / units * 1e6,
            judged=median(a / b for a, b in zip(ours, theirs, strict=True)),
            target=self.target,
            rounds=len(ours),
        )


def seconds(function: Callable[[int], None], units: int, clock: Clock) -> float:
    gc.collect()
    begin = clock()
    function(units)
    return clock() - begin


class Counter:
    """A handler that counts its calls: the lightest whose work can be checked.

    `handler` is a plain function, and flowevents and the reference get the same one. `count()`
    is the number of its calls.
    """

    handler: Callable[[object], None]
    count: Callable[[], int]

    def __init__(self) -> None:
        calls = 0

        def handler(_: object) -> None:
            nonlocal calls
            calls += 1

        self.handler = handler
        self.count = lambda: calls
