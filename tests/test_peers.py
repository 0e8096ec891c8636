"""`python -m benchmarks.peers`: the works are done right, and the tables say what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure import WrongResult
from benchmarks.peers import on_blinker, on_flowevents, on_pocketflow, on_python, report
from benchmarks.peers.concurrent import CHUNKS, Hear, at_once
from benchmarks.peers.installed import size
from benchmarks.peers.peer import Peer, Way
from benchmarks.peers.process import measure as measure_here
from benchmarks.peers.runner import Effort, Measured, Surveyed, measure, survey
from benchmarks.peers.works import ASYNC_CHUNK, CHUNK, TARGETS, WORKS, Target

ROOT = Path(__file__).parent.parent
WAYS = [
    (module.PEER, way)
    for module in (on_python, on_flowevents, on_pocketflow, on_blinker)
    for way in module.PEER.ways
]


@pytest.mark.parametrize(
    ("peer", "way"), WAYS, ids=[f"{peer.name}: {way.work} {way.name}" for peer, way in WAYS]
)
def test_each_way_computes_a_right_result(peer: Peer, way: Way) -> None:
    """It checks itself: doing a little of it is the test."""
    assert measure_here(way.function, 30)["wall"] > 0


def test_targets_judge_ways_that_there_are() -> None:
    """A way that is renamed takes its target along."""
    ways = {(way.work, way.name) for way in on_flowevents.PEER.ways}
    assert {(target.work.name, target.way) for target in TARGETS} <= ways
    assert {target.work for target in TARGETS} <= set(WORKS)


def test_a_run_that_hears_another_is_found() -> None:
    """One text in another run's list is a wrong result, however many are right."""
    heard: list[Hear] = []

    async def run(text: str, chunks: int, hear: Hear) -> None:
        heard.append(hear)
        for _ in range(chunks):
            hear(text)
        if len(heard) == 3:
            heard[0](text)

    with pytest.raises(WrongResult, match="'text of run 0'"):
        at_once(run, 5 * CHUNKS)


def test_what_is_not_installed_is_named() -> None:
    """A peer whose package is missing says which; one that is there says what it does."""
    peer = survey("on_blinker")
    assert isinstance(peer, Surveyed)
    assert [way["work"] for way in peer.ways] == [way.work for way in on_blinker.PEER.ways]
    assert peer.size == size("blinker") > 1_000
    assert survey("on_psygnal") == "psygnal"


def test_the_installed_size_counts_what_is_required() -> None:
    """flowevents, which lies in this folder, is its own files and all its dependencies'."""
    files = (ROOT / "flowevents").rglob("*.*")
    own = sum(file.stat().st_size for file in files if file.suffix != ".pyc")
    assert size("flowevents") == own + size("blinker") + size("msgspec") + size("rich")


def test_peers_are_rotated_and_one_that_fails_gives_its_reason() -> None:
    """Each round begins with another one; without figures of one the others are measured."""
    no_way: dict[str, object] = {"work": ""}
    ways = [no_way, no_way, no_way, {"work": CHUNK.name, "name": "", "units": 1_000}]
    peers = [
        Surveyed(module, module, "", "", 0, ways)
        for module in ("on_python", "on_blinker", "on_pocketflow")  # blinker has no fourth way
    ]
    told: list[str] = []
    first, failed, last = measure(CHUNK, peers, Effort(scale=0.1, rounds=3), told.append)
    assert [text.rpartition(", ")[2] for text in told] == [
        *("on_python", "on_blinker", "on_pocketflow"),
        *("on_pocketflow", "on_python"),
        *("on_pocketflow", "on_python"),
    ]
    for measured in (first, last):
        assert measured.units == 100
        assert [figures["processor"] > 0 for figures in measured.rounds] == [True] * 3
    assert not failed.rounds
    assert "IndexError" in failed.failed


def figures(peer: str, way: str, *seconds: float) -> Measured:
    """What two units cost in each round."""
    return Measured(peer, way, 2, [{"processor": s, "wall": 2 * s, "memory": 1e6} for s in seconds])


MEASURED = [
    figures("plain Python", "", 1, 2, 4),
    figures("flowevents", "slow", 6, 10, 40),
    figures("flowevents", "fast", 4, 12, 12),
    figures("Burr", "", 12, 40, 24),
    Measured("LangGraph", "", 2, failed="no"),
]


def test_ratios_are_medians_of_the_ratios_within_a_round() -> None:
    """To plain Python, and to what was fastest of flowevents in that round."""
    plain, slow, fast, burr, failed = report.rows_of(CHUNK, MEASURED)
    assert (plain.processor, plain.wall, plain.plain, plain.rounds) == (1e6, 2e6, 1, 3)
    assert (slow.plain, fast.plain) == (6, 4)
    assert (fast.ours, slow.ours) == (1, 1.5)
    assert (burr.plain, burr.ours) == (12, 3)
    assert (failed.processor, failed.failed) == (None, "no")


def test_a_missed_target_says_no() -> None:
    """Each target is judged against plain Python and against the peers that it names."""
    wanted = {"Burr": 3.5, "LangGraph": 8}
    verdicts = report.verdicts_of(Target(CHUNK, "fast", 4, wanted), MEASURED)
    assert [(each.against, each.value, each.met) for each in verdicts] == [
        ("plain Python", 4, True),
        ("Burr", 3, False),
        ("LangGraph", None, None),
    ]
    lines = report.judged(verdicts).splitlines()
    assert lines[2] == "| a chunk, sync: fast | plain Python | 4.00 × | ≤ 4 × | yes |"
    assert lines[3] == "| a chunk, sync: fast | Burr | 3.00 × faster | ≥ 3.5 × faster | **no** |"
    assert lines[4].endswith("| not measured |")
    assert lines[-1] == "1 of 2 targets met."


def test_a_peer_that_cannot_do_a_work_has_a_dash() -> None:
    """The overview shows what the fastest way of each peer costs."""
    names = ["plain Python", "flowevents", "Burr", "LangGraph", "pluggy"]
    rows = report.rows_of(CHUNK, MEASURED)
    lines = report.overview([CHUNK, ASYNC_CHUNK], rows, names, {"Burr": 250}, {"Burr": 9_000_000})
    assert lines.splitlines()[2:] == [
        "| a chunk, sync | 1e+06 µs | 4.00 | 12.0 | failed | – |",
        "| a chunk, async | – | – | – | – | – |",
        "| import | – | – | 250 ms | – | – |",
        "| installed | – | – | 9.0 MB | – | – |",
    ]


def test_the_command_measures_what_is_installed(tmp_path: Path) -> None:
    """Tables on the standard output, what was skipped on the other, unrounded figures as JSON."""
    file = tmp_path / "figures.json"
    arguments = ("--quick", "--only", "question, in", "--peer", "pocket", "--json", str(file))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "skipped on_psygnal: psygnal is not installed here" in done.stderr
    assert "| a question, in memory |" in done.stdout
    found = json.loads(file.read_text(encoding="utf-8"))
    assert {row["peer"] for row in found["rows"]} == {"plain Python", "flowevents", "PocketFlow"}
    assert all(row["processor"] > 0 and row["rounds"] == 2 for row in found["rows"])
    assert [target["against"] for target in found["targets"]] == ["plain Python"]
