"""What is Dask's own: its keys, what its scheduler keeps, its clients of a loop."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from flowevents import Chunk, ItemEnd, Run, RunCancelled
from tests.driving import Driver, Seen
from tests.workers.engines import Engine
from tests.workers.nodes import made, until
from tests.workers.watching import items_of


def client_of(engine: Engine) -> Any:
    """The client of the tests."""
    return engine.executor._client


def kept(dask_scheduler: Any) -> list[str]:
    """What the scheduler has of us; it runs there."""
    extensions = dask_scheduler.extensions
    locks, events = extensions["multi_locks"], extensions["events"]
    places = [
        dask_scheduler.tasks,
        dask_scheduler._broker._topics,
        locks.locks,
        locks.requests,
        locks.requests_left,
        events._events,
    ]
    return [str(each) for place in places for each in place if "flowevents" in str(each)] + [
        key for key in dask_scheduler.tasks if "run_on_cluster" in str(key)
    ]


def test_the_scheduler_keeps_nothing(engine: Engine, driver: Driver, tmp_path: Path) -> None:
    """After a run, and after one that was left: no result, no topic, no lock, no event."""
    node = made("Counting", driver.loop is not None, tmp_path, executor=engine.executor)
    run = Run(node, {"items": list("abcdefgh")})
    driver.each(run, lambda event: isinstance(event, ItemEnd))
    assert client_of(engine).run_on_scheduler(kept) != []
    driver.close(run)
    driver.run(node, {"items": ["a"]})
    until(lambda: client_of(engine).run_on_scheduler(kept) == [], "it keeps nothing")


def test_what_has_ended_is_let_go(engine: Engine, driver: Driver) -> None:
    """The client holds no result that it has got, or Dask would make it again where it is lost."""
    node = made("Program", driver.loop is not None, max_retries=3, executor=engine.executor)
    held: list[int] = []

    def count(event: Any) -> None:
        if isinstance(event, ItemEnd):
            held.append(len(client_of(engine).futures))

    driver.run(node, {"items": list(range(40))}, observers=[count])
    assert held[-1] <= 3


def test_equal_items_are_each_run(engine: Engine, driver: Driver) -> None:
    """Even by an executor without `pure=False`, and in a run of the same id."""
    executor = client_of(engine).get_executor()
    node = made("Program", driver.loop is not None, max_retries=3, executor=executor)
    for _ in range(2):
        seen = Seen()
        shared: dict[str, Any] = {"items": [2, 2, 2]}
        driver.run(node, shared, observers=[seen], id="the-run")
        assert shared["results"] == [4, 4, 4]
        assert len(items_of(seen.events)) == 3


def test_what_waits_never_begins(engine: Engine, driver: Driver, tmp_path: Path) -> None:
    """Of a hundred items those that run are told to stop, no other one runs then or later."""
    node = made("Ticking", driver.loop is not None, tmp_path, executor=engine.executor)
    run: Run

    def cancel(event: Any) -> None:
        if isinstance(event, Chunk):
            run.cancel()

    run = Run(node, {"items": list(range(100))}, observers=[cancel])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    begun = {path.name for path in tmp_path.glob("ticks *")}
    assert 1 <= len(begun) <= 3
    after = made("Program", driver.loop is not None, max_retries=3, executor=engine.executor)
    driver.run(after, {"items": list(range(4))})
    assert {path.name for path in tmp_path.glob("ticks *")} == begun


def test_a_busy_cluster(engine: Engine, driver: Driver, tmp_path: Path) -> None:
    """Where no item could begin yet a cancelled run is over at once."""
    client, go = client_of(engine), tmp_path / "go"
    busy = [client.submit(wait_for, str(go), number, pure=False) for number in range(2)]
    options: dict[str, Any] = {"executor": engine.executor, "grace": 20}
    run = Run(made("Ticking", driver.loop is not None, tmp_path, **options), {"items": [1, 2, 3]})

    def cancel() -> None:
        until(lambda: len(client.run_on_scheduler(kept)) >= 3, "they wait")
        run.cancel()

    thread = threading.Thread(target=cancel)
    began = time.monotonic()
    thread.start()
    with pytest.raises(RunCancelled):
        driver.wait(run)
    thread.join()
    assert time.monotonic() - began < 15
    go.touch()
    client.gather(busy)
    assert list(tmp_path.glob("ticks *")) == []


def wait_for(path: str, number: int) -> None:
    """Keeps a worker busy until there is a file."""
    until(Path(path).exists, path)


def test_a_client_is_no_executor(engine: Engine, driver: Driver) -> None:
    """The error says what to give."""
    node = made("Program", driver.loop is not None, executor=client_of(engine))
    with pytest.raises(TypeError, match=r"give client\.get_executor\(pure=False\)"):
        driver.run(node, {"items": [1]})


def test_a_client_of_the_loop(engine: Engine) -> None:
    """An async client, which has its connections in the loop of the run."""
    make_client: Any = Client

    async def run() -> Any:
        address = client_of(engine).scheduler.address
        async with make_client(address, asynchronous=True, set_as_default=False) as client:
            executor = client.get_executor(pure=False)
            shared: dict[str, Any] = {"items": list(range(8))}
            node = made("Program", True, max_retries=3, executor=executor)
            await Run(node, shared).wait_async()
            return shared["results"]

    assert asyncio.run(run())[:4] == [0, 1, 4, 9]


def test_a_client_that_is_closed(engine: Engine, driver: Driver) -> None:
    """Dask's own error says so."""
    make_client: Any = Client
    with make_client(client_of(engine).scheduler.address, set_as_default=False) as client:
        executor = client.get_executor(pure=False)
    node = made("Program", driver.loop is not None, executor=executor)
    with pytest.raises(Exception, match="closed"):
        driver.run(node, {"items": [1]})
