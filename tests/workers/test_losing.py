"""Workers are killed while they run items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowevents import Chunk, Event, ItemEnd, Retry, Run, WorkerLost
from tests.driving import Driver, Seen
from tests.workers.engines import Engine
from tests.workers.nodes import made
from tests.workers.watching import items_of


def hearing(folder: Path) -> Callable[[Event], None]:
    """Lets a worker go on to kill itself, once it was heard."""
    heard: dict[str, int] = {}

    def hear(event: Event) -> None:
        if isinstance(event, Chunk) and "begins" in event.data:
            name = event.data.partition(" ")[0]
            if name not in ("tries", "doomed") or event.attempt > 1:
                heard[name] = heard.get(name, 0) + 1
                (folder / f"heard {name} {heard[name]}").touch()

    return hear


def test_a_killed_worker_is_replaced(surviving: Engine, driver: Driver, tmp_path: Path) -> None:
    """What came of its item is void, by a `Retry` that begins with `Lost`; the item runs again."""
    node = made("Deadly", driver.loop is not None, tmp_path, executor=surviving.executor)
    seen = Seen()
    shared: dict[str, Any] = {"items": [("a", 0), ("dies", 1), *((f"b{n}", 0) for n in range(6))]}
    driver.run(node, shared, observers=[seen, hearing(tmp_path)])
    assert shared["results"] == [name for name, _ in shared["items"]]
    items_of(seen.events)
    lost = [each for each in seen.of(Retry) if each.items == (1,)]
    assert [each.error.startswith("Lost") for each in lost] == [True]
    said = [each.data for each in seen.of(Chunk) if each.items == (1,) and each.attempt == 2]
    assert said == ["dies begins, retry 0", "dies ends"]


def test_failures_before_it_count(surviving: Engine, driver: Driver, tmp_path: Path) -> None:
    """A loss is no failed attempt, but what has failed before has."""
    node = made(
        "Deadly", driver.loop is not None, tmp_path, executor=surviving.executor, max_retries=2
    )
    seen = Seen()
    driver.run(node, {"items": [("tries", 1)]}, observers=[seen, hearing(tmp_path)])
    assert [each.error.partition(":")[0] for each in seen.of(Retry)] == ["ValueError", "Lost"]
    assert [each.data for each in seen.of(Chunk)] == [
        "tries begins, retry 0",
        "tries begins, retry 1",
        "tries begins, retry 1",
        "tries ends",
    ]
    items_of(seen.events)


@pytest.mark.parametrize(
    ("name", "retries"), [("fails", ["Lost", "ValueError"]), ("doomed", ["ValueError", "Lost"])]
)
def test_an_item_that_is_lost_and_fails(
    surviving: Engine, driver: Driver, tmp_path: Path, name: str, retries: list[str]
) -> None:
    """It is tried as often as it may fail, and its error says in which attempt it was."""
    node = made(
        "Deadly", driver.loop is not None, tmp_path, executor=surviving.executor, max_retries=2
    )
    seen = Seen()
    with pytest.raises(ValueError, match="in the end") as raised:
        driver.run(node, {"items": [(name, 1)]}, observers=[seen, hearing(tmp_path)], id="the run")
    assert [each.error.partition(":")[0] for each in seen.of(Retry)] == retries
    assert raised.value.__notes__ == [
        f"In node '{type(node).__name__}', item 0 (item ('{name}', 1)), attempt 3, run the run"
    ]
    items_of(seen.events)


def test_again_and_again(surviving: Engine, driver: Driver, tmp_path: Path) -> None:
    """After `max_lost` times the node fails, and the error names the item that is to blame."""
    node = made("Deadly", driver.loop is not None, tmp_path, executor=surviving.executor)
    seen = Seen()
    shared = {"items": [("a", 0), ("dies", 9), *((f"b{n}", 0) for n in range(9))]}
    with pytest.raises(WorkerLost, match=r"Item 1 \(item .*dies.* of node .*Deadly.*3 times"):
        driver.run(node, shared, observers=[seen, hearing(tmp_path)])
    items_of(seen.events)
    assert [each.status for each in seen.of(ItemEnd) if each.items == (1,)] == ["error"]
    assert (tmp_path / "killed dies").read_text() == "3"


@pytest.mark.parametrize("name", ["processes", "loky"])
def test_a_pool_of_others_is_not_made_anew(
    name: str, find_fresh: Callable[[str], Engine], driver: Driver, tmp_path: Path
) -> None:
    """The error names the item and says what to do."""
    executor = find_fresh(name).executor
    node = made("Deadly", driver.loop is not None, tmp_path, executor=executor)
    seen = Seen()
    with pytest.raises(WorkerLost, match=r"Item 0 .*give executor= a function that makes one"):
        driver.run(node, {"items": [("dies", 1)]}, observers=[seen, hearing(tmp_path)])
    items_of(seen.events)


def test_a_journal_knows(surviving: Engine, driver: Driver, tmp_path: Path) -> None:
    """The log has the loss, and that it is no failure."""
    from flowevents import MemoryJournal

    node = made("Deadly", driver.loop is not None, tmp_path, executor=surviving.executor)
    shared: dict[str, Any] = {"items": [["a", 0], ["dies", 1]]}
    with MemoryJournal() as journal:
        run = Run(driver.flow(node), shared, journal=journal, observers=[hearing(tmp_path)])
        driver.wait(run)
        events = list(journal.read(run.id))
    items_of(events)
    assert shared["results"] == ["a", "dies"]
    assert "Lost" in [each.error.partition(":")[0] for each in events if isinstance(each, Retry)]
