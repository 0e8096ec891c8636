"""What flowevents takes of a process: memory after long runs, and time to import.

Each figure comes from processes of its own.

`python -m benchmarks.footprint steps 1000` does the work of one such process and prints its
memory in bytes.
"""

from __future__ import annotations

import compileall
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from .measure import Clock, Effort
from .table import Row

ROOT = Path(__file__).resolve().parents[1]
FEW, MANY = 1_000, 1_000_000
MEGABYTE = 1e6


@dataclass(frozen=True)
class Memory:
    """Resident memory after `MANY` units in one process, against `FEW` in another.

    The median of the differences of up to three pairs of processes.
    """

    work: str
    name: str
    target: float = 2.0

    def measure(self, effort: Effort) -> Row:
        """Start the processes in turn; amounts are megabytes (1,000,000 bytes)."""
        rounds = max(1, effort.processes // 8)
        pairs = [(self._resident(effort.units(MANY)), self._resident(FEW)) for _ in range(rounds)]
        return Row(
            work=self.work,
            unit="MB",
            flowevents=median(many for many, _ in pairs),
            reference=median(few for _, few in pairs),
            judged=median(many - few for many, few in pairs),
            target=self.target,
            rounds=rounds,
            ratio=False,
        )

    def _resident(self, units: int) -> float:
        return int(python("-m", "benchmarks.footprint", self.name, str(units))) / MEGABYTE


def children_seconds() -> float:
    """The processor time of the processes that we started and that have ended."""
    import resource  # not on every system

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True)
class Import:
    """Time of a process that imports asyncio and flowevents, against one with asyncio only.

    The median of the differences of pairs of processes, alternating. All is compiled beforehand.
    Wall time is what a user waits; it grows with what else the machine does, processor time hardly.
    """

    work: str
    clock: Clock
    target: float = 20.0

    def measure(self, effort: Effort) -> Row:
        """Start the processes in turn; amounts are milliseconds."""
        compileall.compile_dir(ROOT / "flowevents", quiet=1)
        for modules in ("asyncio, flowevents", "asyncio"):
            self._milliseconds(modules)
        ours: list[float] = []
        bare: list[float] = []
        for turn in range(effort.processes):
            if turn % 2:
                bare.append(self._milliseconds("asyncio"))
                ours.append(self._milliseconds("asyncio, flowevents"))
            else:
                ours.append(self._milliseconds("asyncio, flowevents"))
                bare.append(self._milliseconds("asyncio"))
        return Row(
            work=self.work,
            unit="ms",
            flowevents=median(ours),
            reference=median(bare),
            judged=median(a - b for a, b in zip(ours, bare, strict=True)),
            target=self.target,
            rounds=len(ours),
            ratio=False,
        )

    def _milliseconds(self, modules: str) -> float:
        begin = self.clock()
        python("-c", f"import {modules}")
        return (self.clock() - begin) * 1e3


def python(*arguments: str) -> str:
    """The output of this Python run with the arguments, finding the packages where we do."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def resident_bytes() -> int:
    """The memory of this process: resident now, on Linux; elsewhere the most it ever was."""
    gc.collect()
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "VmRSS":
                return int(value.split()[0]) * 1024
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(name: str, units: int) -> None:
    """Do one work in this process and print the memory it has then."""
    from . import chunks, steps  # here, because the parent needs neither

    works: dict[str, Callable[[int], None]] = {
        "steps": steps.unobserved,
        "observed steps": steps.observed,
        "chunks": partial(chunks.unheard, chunks.ForgetfulTalk),
        "handled chunks": partial(chunks.to_handler, chunks.ForgetfulTalk),
    }
    works[name](units)
    print(resident_bytes())


WORKS = (
    Memory(
        "memory after 1,000,000 observed steps, beyond 1,000",
        "observed steps",
    ),
    Memory(
        "memory after 1,000,000 handled chunks, none kept, beyond 1,000",
        "handled chunks",
    ),
    Import("`import flowevents`, compiled, beyond `import asyncio`: wall time", time.perf_counter),
    Import("`import flowevents`, compiled, beyond `import asyncio`: processor", children_seconds),
)

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
