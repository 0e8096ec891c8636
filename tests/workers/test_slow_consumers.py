"""Whoever takes the events is slower than the workers."""

from __future__ import annotations

from pathlib import Path

from flowevents import Chunk, Event, Run
from tests.driving import Driver
from tests.workers.engines import Engine
from tests.workers.nodes import made, until
from tests.workers.watching import items_of

MOST = 1_000


def test_the_worker_waits(live: Engine, driver: Driver, tmp_path: Path) -> None:
    """No item is ever more than 1,000 events ahead of what was delivered, and all of them come."""
    items = ["a", "b"]
    node = made("Counting", driver.loop is not None, tmp_path, executor=live.executor)
    node.max_concurrency = 2
    events: list[Event] = []
    delivered = dict.fromkeys(items, 0)

    def made_of(item: str) -> int:
        path = tmp_path / f"made {item}"
        return int(path.read_bytes() or 0) if path.exists() else 0

    def take(event: Event) -> None:
        events.append(event)
        if isinstance(event, Chunk):
            item = items[event.items[0]]
            ahead = made_of(item) - delivered[item]
            assert ahead <= MOST + 1
            delivered[item] += 1
            if delivered[item] == 1:  # it comes as far as it may, while nothing is taken
                until(lambda: made_of(item) >= MOST - 300, f"{item} comes as far as it may")

    driver.each(Run(node, {"items": items}), take)
    assert delivered == dict.fromkeys(items, 5_000)
    items_of(events)
