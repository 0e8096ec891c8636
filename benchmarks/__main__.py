"""`python -m benchmarks`: measure the works and print the table."""

from __future__ import annotations

import argparse
import gc
import json
from pathlib import Path

from . import (
    batches,
    chunks,
    concurrent,
    fleets,
    footprint,
    front_ends,
    journals,
    questions,
    queues,
    signals,
    steps,
    workers,
)
from .machine import describe, pin
from .measure import FULL, QUICK, Work
from .table import as_json, heading, line

WORKS: tuple[Work, ...] = (
    *steps.WORKS,
    *chunks.WORKS,
    *concurrent.WORKS,
    *signals.WORKS,
    *batches.WORKS,
    *questions.WORKS,
    *queues.WORKS,
    *journals.WORKS,
    *fleets.WORKS,
    *front_ends.WORKS,
    *workers.WORKS,
    *footprint.WORKS,
)


def main(arguments: list[str] | None = None) -> None:
    """Print a line as soon as it is measured; with `--json` write all of them to a file at the
    end."""
    options = _parser().parse_args(arguments)
    works = [work for work in WORKS if options.only.lower() in work.work.lower()]
    effort = QUICK if options.quick else FULL
    setting = describe(pin())
    gc.collect()
    gc.freeze()  # what the imports made is not searched again while we measure
    print(*(f"- {name}: {value}" for name, value in setting.items()), sep="\n")
    if options.quick:
        print("- quick: few rounds, rough figures")
    print(f"\n{heading()}", flush=True)
    rows = []
    for work in works:
        rows.append(work.measure(effort))
        print(line(rows[-1]), flush=True)
    met = [row.met for row in rows if row.met is not None]
    print(f"\n{sum(met)} of {len(met)} targets met.")
    if options.json:
        result = {
            "setting": setting,
            "quick": options.quick,
            "rows": [as_json(row) for row in rows],
        }
        options.json.write_text(
            json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="flowevents against pocketflow, blinker and a bare loop.",
    )
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="the lines whose work contains TEXT"
    )
    parser.add_argument("--quick", action="store_true", help="about a minute, rough figures")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the figures, unrounded, to FILE as well"
    )
    return parser


if __name__ == "__main__":
    main()
