"""Events come while the item runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowevents import Chunk
from tests.driving import Driver, Seen
from tests.workers.engines import Engine
from tests.workers.nodes import made
from tests.workers.watching import items_of


def test_they_come_at_once(live: Engine, driver: Driver, tmp_path: Path) -> None:
    """An item goes on only when what it has said was heard."""
    node = made("Waiting", driver.loop is not None, tmp_path, executor=live.executor)
    seen = Seen()

    def let_go(event: Any) -> None:
        if isinstance(event, Chunk) and event.data.startswith("begun"):
            (tmp_path / f"go {event.data.removeprefix('begun ')}").touch()

    shared: dict[str, Any] = {"items": list("abcdef")}
    driver.run(node, shared, observers=[seen, let_go])
    assert shared["results"] == list("abcdef")
    assert len(items_of(seen.events)) == 6
