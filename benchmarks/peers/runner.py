"""Measures each way of each peer in a process of its own.

In a round every way that does a work is measured once; the next round begins with another one, so
that each peer is measured early and late, and a noisy moment meets all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .works import Work

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0
"""Seconds after which a measurement is given up."""

Figures = dict[str, float]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much to measure: `scale` multiplies the units of each way."""

    scale: float
    rounds: int

    def units(self, full: int) -> int:
        """The units to do where `full` is the number with full effort."""
        return max(20, round(full * self.scale))


FULL = Effort(scale=1, rounds=5)
QUICK = Effort(scale=0.1, rounds=2)


class Failed(Exception):
    """A measurement that gave no figures; its text says why."""


@dataclass(frozen=True)
class Surveyed:
    """A peer that is installed, as its process describes it."""

    module: str
    name: str
    imports: str
    version: str
    size: int
    ways: list[dict[str, Any]]


@dataclass
class Measured:
    """One way of a peer to do a work, with the figures of all rounds, or why there are none."""

    peer: str
    way: str
    units: int
    rounds: list[Figures] = field(default_factory=list)
    failed: str = ""


def survey(module: str) -> Surveyed | str:
    """What the peer of that module can do, or the name of what is not installed."""
    found = json.loads(_last_line(f"{__package__}.process", module))
    if "missing" in found:
        return str(found["missing"])
    return Surveyed(module=module, **found)


def measure(
    work: Work, peers: Iterable[Surveyed], effort: Effort, tell: Progress
) -> list[Measured]:
    """Measure all ways of all peers to do a work, round by round."""
    sides = [
        (peer, index, Measured(peer.name, way["name"], effort.units(way["units"])))
        for peer in peers
        for index, way in enumerate(peer.ways)
        if way["work"] == work.name
    ]
    for turn in range(effort.rounds):
        first = turn * len(sides) // effort.rounds
        for peer, index, measured in (*sides[first:], *sides[:first]):
            if measured.failed:
                continue
            tell(f"{work.name}: round {turn + 1} of {effort.rounds}, {peer.name}")
            try:
                measured.rounds.append(_figures(peer.module, index, measured.units))
            except Failed as error:
                measured.failed = str(error)
    return [measured for _, _, measured in sides]


def _figures(module: str, index: int, units: int) -> Figures:
    figures: Figures = json.loads(
        _last_line(f"{__package__}.process", module, str(index), str(units))
    )
    return figures


def _last_line(*arguments: str) -> str:
    """The last line that a fresh Python prints when it runs this module with these arguments."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"It took more than {PATIENCE:g} s.") from None
    if done.returncode:
        raise Failed(done.stderr.strip() or f"Its process ended with {done.returncode}.")
    return done.stdout.rstrip().rpartition("\n")[2]
