"""What happens in the fresh process of one measurement.

`python -m benchmarks.peers.process MODULE` prints what the peer of that module can do, and
`python -m benchmarks.peers.process MODULE INDEX UNITS` does one of its ways and prints the figures;
both as one line of JSON, the last one printed.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from importlib import metadata
from pathlib import Path

from ..footprint import resident_bytes
from .installed import size
from .peer import Function, Peer

WARMUP = 20
"""The part of the units, as a divisor, that is done unmeasured before."""


def describe(module: str) -> dict[str, object]:
    """What the peer of a module is and does, or which import it is missing."""
    try:
        peer = _peer(module)
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    return {
        "name": peer.name,
        "imports": peer.imports,
        "version": metadata.version(peer.distribution) if peer.distribution else "",
        "size": size(peer.distribution) if peer.distribution else 0,
        "ways": [{"work": way.work, "name": way.name, "units": way.units} for way in peer.ways],
    }


def measure(function: Function, units: int) -> dict[str, float]:
    """Do it once with few units, so that what is looked up once has been, then measure it.

    `processor` and `wall` are seconds; `memory` is how much more memory the process held at its
    peak than before, in bytes, where the system tells.
    """
    function(max(2, units // WARMUP))
    gc.collect()
    before = resident_bytes()
    _forget_peak()
    wall, processor = time.perf_counter(), time.process_time()
    function(units)
    figures = {
        "processor": time.process_time() - processor,
        "wall": time.perf_counter() - wall,
    }
    peak = _peak_bytes()
    if peak:
        figures["memory"] = max(0, peak - before)
    return figures


def _peer(module: str) -> Peer:
    peer: Peer = importlib.import_module(f"{__package__}.{module}").PEER
    return peer


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    except OSError:
        pass


def _peak_bytes() -> int:
    """The most memory that the process held since `_forget_peak`; 0 where that is not told."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    return 0


def main(module: str, index: str = "", units: str = "") -> None:
    """Do as the head of this file says."""
    if not index:
        print(json.dumps(describe(module)))
        return
    way = _peer(module).ways[int(index)]
    print(json.dumps(measure(way.function, int(units))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
