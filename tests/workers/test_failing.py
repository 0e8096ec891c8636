"""An item fails in a worker."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

from flowevents import FlowEventsError, ItemEnd, Run
from tests.driving import Driver, Seen
from tests.workers.engines import Engine
from tests.workers.nodes import made
from tests.workers.watching import items_of


def test_its_siblings_are_gone(live: Engine, driver: Driver, tmp_path: Path) -> None:
    """Who waits is cancelled, who runs is closed, before the error is raised; then all is still."""
    node = made("Ticking", driver.loop is not None, tmp_path, executor=live.executor)
    seen = Seen()

    def both_run(event: Any) -> None:
        if getattr(event, "data", None) == 5:
            (tmp_path / "fail").touch()

    with pytest.raises(LookupError, match="it fails") as raised:
        driver.run(
            node, {"items": ["fails", "a", *"bcdefgh"]}, observers=[seen, both_run], id="the run"
        )
    begun = [path.name for path in tmp_path.glob("ticks *")]
    assert begun
    for name in begun:
        assert (tmp_path / name.replace("ticks", "closed")).exists()
    counts = {name: (tmp_path / name).read_bytes() for name in begun}
    ends = {each.items[0]: each.status for each in seen.of(ItemEnd)}
    assert ends[0] == "error"
    assert set(ends.values()) == {"error", "cancelled"}
    assert "item 0 (item fails), attempt 1, run the run" in raised.value.__notes__[0]
    items_of(seen.events)
    assert counts == {name: (tmp_path / name).read_bytes() for name in begun}


def test_the_error_comes_back(engine: Engine, driver: Driver) -> None:
    """It has its type, its note, and says where in the worker it was raised."""
    node = made("Failing", driver.loop is not None, executor=engine.executor)
    with pytest.raises(LookupError, match="not there") as raised:
        driver.run(node, {"items": ["plain"]}, id="the run")
    assert raised.value.__notes__ == [
        f"In node '{type(node).__name__}', item 0 (item plain), attempt 1, run the run"
    ]
    assert "in steps" in "".join(traceback.format_exception(raised.value))


def test_an_error_that_cannot_be_pickled(apart: Engine, driver: Driver) -> None:
    """It is told as text, with its type and its note."""
    node = made("Failing", driver.loop is not None, executor=apart.executor)
    with pytest.raises(FlowEventsError, match=r"tests.workers.nodes.Odd: 1 and 2") as raised:
        driver.run(node, {"items": ["odd"]}, id="the run")
    assert "item 0 (item odd), attempt 1, run the run" in raised.value.__notes__[0]


def test_exceptions_are_results(engine: Engine, driver: Driver) -> None:
    """With `return_exceptions` the others go on, and `post` finds it at its place."""
    node = made(
        "Failing", driver.loop is not None, executor=engine.executor, return_exceptions=True
    )
    shared: dict[str, Any] = {"items": ["plain", "stop", "plain"]}
    events = driver.pull(Run(node, shared))
    assert [type(each) for each in shared["results"]] == [LookupError, RuntimeError, LookupError]
    assert [e.status for e in events if isinstance(e, ItemEnd)] == ["error"] * 3
    items_of(events)


def test_a_retry_is_heard_while_its_wait_lasts(live: Engine, driver: Driver) -> None:
    """What `wait`, a function, gives is waited for in the worker."""
    node = made(
        "Failing", driver.loop is not None, executor=live.executor, max_retries=2, wait=wait_long
    )
    run = Run(node, {"items": ["plain"]})

    def cancel(event: Any) -> bool:
        return type(event).__name__ == "Retry"

    driver.each(run, cancel)
    driver.close(run)
    assert run.status == "cancelled"


def wait_long(attempt: int, error: Exception) -> float:
    """Longer than any test."""
    return 1_000.0


def test_what_is_not_tried_again(engine: Engine, driver: Driver) -> None:
    """`retry_on` is asked in the worker."""
    node = made(
        "Failing",
        driver.loop is not None,
        executor=engine.executor,
        max_retries=3,
        retry_on=ValueError,
        return_exceptions=True,
    )
    events = driver.pull(Run(node, {"items": ["plain"]}))
    assert [type(event).__name__ for event in events if event.items] == [
        "ItemStart",
        "Chunk",
        "ItemEnd",
    ]
