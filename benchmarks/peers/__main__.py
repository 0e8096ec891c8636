"""`python -m benchmarks.peers`: measure the peers and print the tables."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..machine import pin, setting
from . import report
from .footprint import import_milliseconds
from .runner import FULL, QUICK, Effort, Failed, Progress, Surveyed, measure, survey
from .works import DISPATCH, FLOWS, TARGETS, WORKS, Work

MODULES = (
    "on_python",
    "on_flowevents",
    "on_pocketflow",
    "on_burr",
    "on_llama_index",
    "on_langgraph",
    "on_pydantic_graph",
    "on_openai_agents",
    "on_blinker",
    "on_psygnal",
    "on_pyee",
    "on_pluggy",
    "on_reactivex",
    "on_pydispatcher",
    "on_bubus",
)
IMPORT = "import"


def main(arguments: list[str] | None = None) -> int:
    """Print a table as soon as its work is measured; 1 where a measurement failed, else 0."""
    options = _parser().parse_args(arguments)
    effort = QUICK if options.quick else FULL
    peers = _installed(options.peer)
    works = [work for work in WORKS if options.only.lower() in work.name]
    about = setting(pin(), {peer.name: peer.version for peer in peers if peer.version})
    print(*(f"- {name}: {value}" for name, value in about.items()), sep="\n")
    if options.quick:
        print("- quick: few rounds of few units, rough figures")
    tell = _progress()
    rows, verdicts = _measured(works, peers, effort, tell)
    imports: dict[str, float] = {}
    if options.only.lower() in IMPORT:
        libraries = [peer for peer in peers if peer.version]
        imports = import_milliseconds(libraries, effort, tell)
    tell("")
    _summary(works, peers, rows, verdicts, imports)
    if options.json:
        result = {
            "setting": about,
            "quick": options.quick,
            "rows": [asdict(row) for row in rows],
            "targets": [report.as_json(verdict) for verdict in verdicts],
            "import_milliseconds": imports,
            "installed_bytes": {peer.name: peer.size for peer in peers if peer.size},
        }
        text = json.dumps(result, indent=2, ensure_ascii=False)
        options.json.write_text(text + "\n", encoding="utf-8")
    return int(any(row.failed for row in rows))


def _installed(wanted: str) -> list[Surveyed]:
    """The peers that are installed and wanted; plain Python and flowevents always are."""
    found = []
    for module in MODULES:
        try:
            peer = survey(module)
        except Failed as error:
            print(f"skipped {module}, which fails: {error}", file=sys.stderr)
            continue
        if isinstance(peer, str):
            print(f"skipped {module}: {peer} is not installed here", file=sys.stderr)
        elif peer.name in (report.PLAIN, report.OURS) or wanted.lower() in peer.name.lower():
            found.append(peer)
    return found


def _measured(
    works: Sequence[Work], peers: Sequence[Surveyed], effort: Effort, tell: Progress
) -> tuple[list[report.Row], list[report.Verdict]]:
    """Measure the works, each followed by its table."""
    rows: list[report.Row] = []
    verdicts: list[report.Verdict] = []
    for work in works:
        measured = measure(work, peers, effort, tell)
        tell("")
        new = report.rows_of(work, measured)
        print(f"\n{report.detail(work, new)}", flush=True)
        for row in new:
            if row.failed:
                print(f"{row.peer}, {row.work}: {row.failed}", file=sys.stderr)
        rows += new
        for target in TARGETS:
            if target.work is work:
                verdicts += report.verdicts_of(target, measured)
    return rows, verdicts


def _summary(
    works: Sequence[Work],
    peers: Sequence[Surveyed],
    rows: Sequence[report.Row],
    verdicts: Sequence[report.Verdict],
    imports: dict[str, float],
) -> None:
    sizes = {peer.name: peer.size for peer in peers}
    for group in (FLOWS, DISPATCH):
        of_group = [work for work in works if work.group == group]
        names = {work.name for work in of_group}
        columns = [peer.name for peer in peers if any(way["work"] in names for way in peer.ways)]
        if of_group:
            print(f"\n### {group}, as multiples of plain Python\n")
            print(report.overview(of_group, rows, columns, imports, sizes))
    if not works and imports:
        print(f"\n{report.overview((), rows, list(imports), imports, sizes)}")
    if verdicts:
        print(f"\n### Targets\n\n{report.judged(verdicts)}")


def _progress() -> Progress:
    """Tells what is measured now: in one line of a terminal, else once for each work and round."""
    begin, last = time.monotonic(), ""
    terminal = sys.stderr.isatty()

    def tell(text: str) -> None:
        nonlocal last
        minutes, seconds = divmod(int(time.monotonic() - begin), 60)
        line = f"{minutes}:{seconds:02} {text}" if text else ""
        if terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr)
        elif text and (part := text.rpartition(",")[0]) != last:
            last = part
            print(line.rpartition(",")[0], file=sys.stderr)
        sys.stderr.flush()

    return tell


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="flowevents against other libraries, and all of them against plain Python.",
    )
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="the works whose name contains TEXT"
    )
    parser.add_argument(
        "--peer",
        metavar="NAME",
        default="",
        help="the peers whose name contains NAME, beside plain Python and flowevents",
    )
    parser.add_argument("--quick", action="store_true", help="two or three minutes, rough figures")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the figures, unrounded, to FILE as well"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
