"""Nodes with an executor at all places of a graph, and all ways to drive and to leave a run."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import loky
import pytest

from flowevents import (
    AsyncFlow,
    AsyncParallelBatchFlow,
    BatchFlow,
    Chunk,
    Flow,
    ItemEnd,
    Run,
    TooManySteps,
)
from flowevents.testing import check_events
from tests.driving import Driver, Seen
from tests.workers.engines import Engine
from tests.workers.nodes import made, until


class Passes(BatchFlow):
    def prep(self, shared: Any) -> list[dict[str, int]]:
        return [{"pass": 1}, {"pass": 2}]


class AsyncPasses(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, int]]:
        return [{"pass": 1}, {"pass": 2}]


@pytest.fixture
def node(engine: Engine, driver: Driver) -> Any:
    """The program."""
    return made("Program", driver.loop is not None, max_retries=3, executor=engine.executor)


def test_in_passes_of_a_batch_flow(node: Any, driver: Driver) -> None:
    """Parallel passes each have items in the same pool."""
    flow: Any = Passes(node) if driver.loop is None else AsyncPasses(node)
    events = driver.pull(Run(flow, {"items": [0, 1, 2]}))
    check_events(events)
    ends = [each.items for each in events if isinstance(each, ItemEnd) and len(each.items) == 2]
    assert sorted(ends) == [(number, index) for number in (0, 1) for index in (0, 1, 2)]


def test_in_a_loop(node: Any, driver: Driver) -> None:
    """A node that runs again has items again."""
    node >> node
    flow: Any = Flow(node) if driver.loop is None else AsyncFlow(node)
    seen = Seen()
    with pytest.raises(TooManySteps):
        driver.run(flow, {"items": [0, 1]}, max_steps=3, observers=[seen])
    assert len(seen.of(ItemEnd)) == 6
    seen.check()


def test_a_stream(node: Any, driver: Driver) -> None:
    """`run_stream` gives the data of the output chunks, whose they are."""
    shared: dict[str, Any] = {"items": [0, 2, 5]}
    data = driver.rest(driver.stream(node, shared))
    chunks = ["0.0", ["last", 0], "2.0", "2.1", "2.2", ["last", 2], "5.0", ["last", 5]]
    assert sorted(map(str, data)) == sorted(map(str, chunks))


def test_a_callback(node: Any, driver: Driver) -> None:
    """What a callback raises stops the workers."""

    def refuse(data: Any, node: str) -> None:
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        driver.call_back(node, {"items": [0, 1, 2]}, refuse)


def test_redacted(node: Any, driver: Driver) -> None:
    """Chunks and errors are, before anybody sees them."""

    def redact(value: Any) -> Any:
        return value.replace("1", "x") if isinstance(value, str) else value

    events = driver.pull(Run(node, {"items": [1]}, redact=redact))
    assert [each.data for each in events if isinstance(each, Chunk) and each.kind == "output"] == [
        *("x.0", "x.x") * 2,
        ["last", 1],
    ]
    assert "item x at first" in str(events)


def test_a_handler_fails_the_run(node: Any, driver: Driver) -> None:
    """With `on_handler_error="raise"`, and no worker is left."""

    def fail(event: Any) -> None:
        if isinstance(event, Chunk):
            raise OSError("of a handler")

    with pytest.raises(OSError, match="of a handler"):
        driver.run(node, {"items": [0, 1, 2]}, observers=[fail], on_handler_error="raise")


def test_a_sync_node_in_an_async_run(engine: Engine, loop: Driver) -> None:
    """Its items leave the loop free, and it gives what it gives elsewhere."""
    node = made("Program", False, max_retries=3, executor=engine.executor)
    alone: dict[str, Any] = {"items": list(range(9))}
    made("Program", False, max_retries=3).run(alone)
    shared: dict[str, Any] = {"items": list(range(9))}
    seen = Seen()
    loop.run(AsyncFlow(node), shared, observers=[seen])
    assert shared["results"] == alone["results"]
    seen.check()


def test_async_handlers(engine: Engine, loop: Driver) -> None:
    """They are awaited in order, before the run is over."""
    node = made("Program", True, max_retries=3, executor=engine.executor)
    seen: list[Any] = []

    async def keep(event: Any) -> None:
        await asyncio.sleep(0)
        seen.append(event)

    loop.run(node, {"items": list(range(9))}, observers=[keep])
    check_events(seen)


def test_an_interrupt_while_it_waits(live: Engine, tmp_path: Path) -> None:
    """Ctrl-C ends a sync run with `cancelled` ends, and its workers."""
    node = made("Resuming", False, tmp_path, executor=live.executor)
    seen = Seen()
    threads: list[threading.Thread] = []

    def interrupt(event: Any) -> None:
        if isinstance(event, Chunk) and not threads:
            threads.append(threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)))
            threads[0].start()

    with pytest.raises(KeyboardInterrupt):
        node.run({"items": ["a", "b"]}, observers=[seen, interrupt])
    threads[0].join()
    assert {each.status for each in seen.of(ItemEnd)} == {"cancelled"}
    seen.check()


def test_a_run_that_is_dropped(live: Engine, driver: Driver, tmp_path: Path) -> None:
    """Who drops a stream stops its workers."""
    node = made("Ticking", driver.loop is not None, tmp_path, executor=live.executor)
    stream = driver.stream(node, {"items": ["a"]})
    assert driver.next(stream) == 0
    del stream
    gc.collect()
    if driver.loop is not None:
        until(partial(has_ended, driver.loop), "its loop closes it")
    assert (tmp_path / "closed a").exists()


def has_ended(loop: asyncio.AbstractEventLoop) -> bool:
    """Let a loop go on; whether it has no task left."""
    loop.run_until_complete(asyncio.sleep(0.002))
    return not asyncio.all_tasks(loop)


def test_another_thread_cancels(live: Engine, driver: Driver, tmp_path: Path) -> None:
    """A run that waits for its workers is woken."""
    node = made("Waiting", driver.loop is not None, tmp_path, executor=live.executor)
    seen: list[Any] = []
    threads: list[threading.Thread] = []
    run: Run

    def hear(event: Any) -> None:
        seen.append(event)
        if isinstance(event, Chunk) and event.data == "begun a":
            threads.append(threading.Thread(target=cancel))
            threads[0].start()

    def cancel() -> None:
        until((tmp_path / "begun a").exists, "begun a")
        run.cancel()
        (tmp_path / "go a").touch()

    run = Run(node, {"items": ["a"]}, observers=[hear])
    with pytest.raises(Exception, match="cancelled"):
        driver.wait(run)
    threads[0].join()
    assert run.status == "cancelled"
    check_events(seen)


@pytest.mark.parametrize(
    "makes", [partial(ThreadPoolExecutor, 2), partial(loky.ProcessPoolExecutor, 1)]
)
def test_an_executor_that_is_made(makes: Any, driver: Driver) -> None:
    """Each step has one of its own, which is gone when it ends; a deep copy makes others."""
    node = made("Program", driver.loop is not None, max_retries=3, executor=makes)
    for each in (node, copy.deepcopy(node)):
        shared: dict[str, Any] = {"items": [0, 1, 2]}
        driver.run(each, shared)
        assert shared["results"] == [0, 1, 4]


def test_items_are_drawn_lazily(here: Engine, driver: Driver) -> None:
    """Under a limit no more are taken than there is room for."""
    drawn: list[int] = []

    def each() -> Iterator[int]:
        for item in range(50):
            drawn.append(item)
            yield item

    node = made("Program", driver.loop is not None, executor=here.executor, max_concurrency=4)
    node.return_exceptions = True
    ended: list[int] = []

    def check(event: Any) -> None:
        if isinstance(event, ItemEnd):
            ended.append(event.items[0])
            assert len(drawn) <= len(ended) + 4

    driver.run(node, {"items": each()}, observers=[check])
    assert len(ended) == 50


def test_interrupted_again_and_again(here: Engine, tmp_path: Path) -> None:
    """A handler that raises at every end of an item, and not one of them is left out."""
    node = made("Resuming", False, tmp_path, executor=here.executor)
    seen = Seen()

    def interrupt(event: Any) -> None:
        if isinstance(event, ItemEnd) or getattr(event, "data", None) == "tick":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        node.run({"items": ["a", "b", "c"]}, observers=[seen, interrupt])
    seen.check()


@pytest.mark.usefixtures("threads_end")
def test_a_second_interrupt(here: Engine, tmp_path: Path) -> None:
    """It does not wait for workers that do not stop, and tells the ends all the same."""
    node = made("Stubborn", False, tmp_path, executor=here.executor, grace=1_000)
    seen = Seen()
    over = threading.Event()

    def again_and_again() -> None:
        while not over.wait(0.05):
            os.kill(os.getpid(), signal.SIGINT)

    threads: list[threading.Thread] = []

    def interrupt(event: Any) -> None:
        if isinstance(event, Chunk):
            threads.append(threading.Thread(target=again_and_again))
            threads[0].start()
        if isinstance(event, ItemEnd):
            over.set()

    with pytest.raises(KeyboardInterrupt):
        node.run({"items": ["a"]}, observers=[seen, interrupt])
    threads[0].join()
    (tmp_path / "end").touch()
    until((tmp_path / "ended").exists, "ended")
    assert [each.status for each in seen.of(ItemEnd)] == ["cancelled"]
    seen.check()
