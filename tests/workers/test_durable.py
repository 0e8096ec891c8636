"""Runs with a journal, whose driver is lost while workers run their items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowevents import Event, ItemEnd, MemoryJournal, Retry, Run, SQLiteJournal
from tests.driving import Driver
from tests.workers.child import ITEMS
from tests.workers.conftest import Kill
from tests.workers.engines import Engine
from tests.workers.nodes import made, until
from tests.workers.watching import items_of


def is_gone(pid: int) -> bool:
    """Whether a process has ended, also where nobody has asked how."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def runs_of(folder: Path, item: str) -> list[int]:
    """The processes in which an item has begun."""
    path = folder / f"runs {item}"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_its_workers_end(apart: Engine, lost: Path) -> None:
    """A worker whose driver is gone ends by itself."""
    pids = {pid for item in ITEMS for pid in runs_of(lost, item)}
    until(lambda: all(is_gone(pid) for pid in pids), f"{pids} end")


def test_idle_workers_end(apart: Engine, tmp_path: Path, kill_when: Kill) -> None:
    """So does one of a pool of its own that waits for more when its driver is gone."""
    for item in ITEMS:
        (tmp_path / f"go {item}").touch()
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        kill_when(
            lambda: [each.status for each in journal.runs()] == ["done"],
            [apart.name, "sync", str(tmp_path)],
        )
    pids = {pid for item in ITEMS for pid in runs_of(tmp_path, item)}
    until(lambda: all(is_gone(pid) for pid in pids), f"{pids} end")


def test_finished_items_do_not_run_again(apart: Engine, driver: Driver, lost: Path) -> None:
    """The others do, as the next attempt after a `Retry`; what still runs there is not heard."""
    for item in ITEMS:
        (lost / f"go {item}").touch()
    node = made("Resuming", driver.loop is not None, lost, executor=apart.executor)
    with SQLiteJournal(lost / "runs.db") as journal:
        run = Run.resume(node, journal, "the-run", take_over=True)
        driver.wait(run)
        events: list[Event] = list(journal.read("the-run"))
        assert journal.state("the-run")["results"] == [f"result of {item}" for item in ITEMS]
    assert [len(runs_of(lost, item)) for item in ITEMS] == [1, 1, 2, 2]
    items_of(events)
    retries = [each for each in events if isinstance(each, Retry)]
    assert {each.items for each in retries} == {(2,), (3,)}
    assert all(each.error.startswith("Lost") for each in retries)


def test_a_run_that_was_left(live: Engine, driver: Driver, tmp_path: Path) -> None:
    """Leaving it stops its workers; it goes on with the items that had not ended."""
    (tmp_path / "go a").touch()
    node = made("Resuming", driver.loop is not None, tmp_path, executor=live.executor)
    with MemoryJournal() as journal:
        run = Run(node, {"items": ["a", "b"]}, journal=journal, id="the-run")
        driver.each(run, lambda event: isinstance(event, ItemEnd))
        driver.close(run)
        (tmp_path / "go b").touch()
        driver.wait(Run.resume(node, journal, "the-run"))
        assert journal.state("the-run")["results"] == ["result of a", "result of b"]
        items_of(list(journal.read("the-run")))
    assert len(runs_of(tmp_path, "a")) == 1


def test_an_item_that_has_failed_is_finished(live: Engine, driver: Driver, tmp_path: Path) -> None:
    """With `return_exceptions` it does not run again, and what it failed with is its result."""
    options: dict[str, Any] = {"executor": live.executor, "return_exceptions": True}
    with MemoryJournal() as journal:
        node = made("Deadly", driver.loop is not None, tmp_path, **options)
        shared: dict[str, Any] = {"items": [["fails", 0], ["a", 0]], "results": None}
        run = Run(node, shared, journal=journal, id="the-run", transient={"results"})

        def leave(event: Event) -> bool:
            return isinstance(event, ItemEnd) and event.status == "error"

        driver.each(run, leave)
        driver.close(run)
        shared = {"results": None}
        driver.wait(Run.resume(node, journal, "the-run", shared=shared))
        events = list(journal.read("the-run"))
    begins = [each for each in events if getattr(each, "data", None) == "fails begins, retry 0"]
    assert len(begins) == 1
    items_of(events)


def test_an_item_that_has_failed_before(here: Engine, driver: Driver, tmp_path: Path) -> None:
    """Its failures count for the worker that goes on with it."""
    with MemoryJournal() as journal:
        shared: dict[str, Any] = {"items": [["tries", 0]]}
        node = made(
            "Deadly", driver.loop is not None, tmp_path, executor=here.executor, max_retries=2
        )
        run = Run(node, shared, journal=journal, id="the-run")
        driver.each(run, lambda event: isinstance(event, Retry))
        driver.close(run)
        events = driver.pull(Run.resume(node, journal, "the-run"))
        data = [getattr(event, "data", None) for event in events if event.items]
        assert "tries begins, retry 1" in data
        assert "tries begins, retry 0" not in data
        items_of(list(journal.read("the-run")))
