"""What each peer costs before it does anything: the time to import it, and its size on the disk."""

from __future__ import annotations

import compileall
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

from ..footprint import children_seconds
from .runner import ROOT, Effort, Progress, Surveyed


def import_milliseconds(
    peers: Sequence[Surveyed], effort: Effort, tell: Progress
) -> dict[str, float]:
    """Processor time of a process that imports asyncio and the peer, beyond one that imports
    asyncio alone: the median of the differences of all rounds, by the peer's name."""
    spent: dict[str, list[float]] = {peer.name: [] for peer in peers}
    compileall.compile_dir(ROOT / "flowevents", quiet=1)  # as pip does with what it installs
    for peer in peers:
        _seconds(peer.imports)
    rounds = 3 * effort.rounds  # an import is short
    for turn in range(rounds):
        first = turn * len(peers) // rounds
        for peer in (*peers[first:], *peers[:first]):
            tell(f"import: round {turn + 1} of {rounds}, {peer.name}")
            spent[peer.name].append(_seconds(peer.imports) - _seconds("asyncio"))
    return {name: median(seconds) * 1e3 for name, seconds in spent.items()}


def _seconds(module: str) -> float:
    begin = children_seconds()
    subprocess.run([sys.executable, "-c", f"import asyncio, {module}"], check=True)
    return children_seconds() - begin
