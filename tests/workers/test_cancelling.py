"""A run is cancelled, closed or left while its items are in workers."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flowevents import Chunk, ItemEnd, Run, RunCancelled
from tests.driving import Driver, Seen
from tests.workers.engines import Engine
from tests.workers.nodes import made, until
from tests.workers.watching import items_of


def ticks(folder: Path) -> dict[str, bytes]:
    """How far each item has come."""
    return {path.name: path.read_bytes() for path in folder.glob("ticks *")}


@pytest.mark.parametrize("by", ["handler", "close"])
def test_no_worker_goes_on(live: Engine, driver: Driver, tmp_path: Path, by: str) -> None:
    """It is over when those that run have been closed; what waited has never begun."""
    node = made("Ticking", driver.loop is not None, tmp_path, executor=live.executor)
    seen = Seen()
    run = Run(node, {"items": list("abcdefghij")}, observers=[seen])

    def enough(event: Any) -> bool:
        if isinstance(event, Chunk) and event.data == 5 and by == "handler":
            run.cancel()
        return isinstance(event, Chunk) and event.data == 5

    if by == "handler":
        run = Run(node, {"items": list("abcdefghij")}, observers=[seen, enough])
        with pytest.raises(RunCancelled):
            driver.wait(run)
    else:
        driver.each(run, enough)
        driver.close(run)
    assert run.status == "cancelled"
    done = ticks(tmp_path)
    assert done
    for name in done:
        assert (tmp_path / name.replace("ticks", "closed")).exists()
    assert {each.status for each in seen.of(ItemEnd)} == {"cancelled"}
    assert len(seen.of(ItemEnd)) <= len(done) < 10
    items_of(seen.events)
    assert ticks(tmp_path) == done


def test_who_does_not_stop_is_given_up(live: Engine, driver: Driver, tmp_path: Path) -> None:
    """After `grace` seconds the run is over, whatever its worker still does."""
    node = made("Stubborn", driver.loop is not None, tmp_path, executor=live.executor, grace=0.2)
    seen = Seen()
    run: Run

    def cancel(event: Any) -> None:
        if isinstance(event, Chunk):
            run.cancel()

    run = Run(node, {"items": ["a"]}, observers=[seen, cancel])
    began = time.monotonic()
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert time.monotonic() - began < 20
    assert [each.status for each in seen.of(ItemEnd)] == ["cancelled"]
    items_of(seen.events)
    if not live.survives:  # who is killed does not end
        assert not (tmp_path / "ended").exists()
        (tmp_path / "end").touch()
        until((tmp_path / "ended").exists, "ended")
        until(lambda: "flowevents outlet" not in {each.name for each in threading.enumerate()}, "")
