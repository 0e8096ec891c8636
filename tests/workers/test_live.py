"""Events come while the item runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowevents import Chunk, ItemEnd
from tests.driving import Driver, Seen
from tests.workers.engines import Engine
from tests.workers.nodes import made
from tests.workers.watching import items_of


def test_they_come_at_once(live: Engine, driver: Driver, tmp_path: Path) -> None:
    """An item goes on only when the last thing that it has said was heard."""
    node = made("Answered", driver.loop is not None, tmp_path, executor=live.executor)
    seen = Seen()

    def let_go(event: Any) -> None:
        if isinstance(event, Chunk) and isinstance(event.data, str):
            (tmp_path / event.data).touch()

    shared: dict[str, Any] = {"items": list("abcdef")}
    driver.run(node, shared, observers=[seen, let_go])
    assert shared["results"] == list("abcdef")
    assert len(items_of(seen.events)) == 6


def test_how_long_an_item_took(engine: Engine, driver: Driver) -> None:
    """That is measured by the worker, also where its events come all at once."""
    node = made("Slow", driver.loop is not None, executor=engine.executor)
    seen = Seen()
    driver.run(node, {"items": [0.05]}, observers=[seen])
    assert [each.duration >= 0.05 for each in seen.of(ItemEnd)] == [True]
