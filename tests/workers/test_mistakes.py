"""What cannot be sent to a worker, and other mistakes: each says what, where, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowevents import (
    AsyncParallelBatchNode,
    BatchNode,
    Event,
    FlowEventsError,
    GraphError,
    ItemStart,
    Run,
)
from tests.driving import Driver
from tests.workers.engines import Engine
from tests.workers.nodes import Asking, AsyncAsking, Giving, made


class Counted(Executor):
    """Counts what it is given."""

    def __init__(self) -> None:
        self.calls = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        raise AssertionError("nothing is to be submitted")


def test_an_attribute_that_cannot_be_pickled(driver: Driver) -> None:
    """It is named before anything is submitted."""
    executor = Counted()
    node = made("Program", driver.loop is not None, executor=executor)
    node.lock = threading.Lock()
    with pytest.raises(FlowEventsError, match=r"its attribute 'lock' is a _thread.lock, which"):
        driver.run(node, {"items": [1, 2]})
    assert executor.calls == 0


def test_an_item_that_cannot_be_pickled(driver: Driver) -> None:
    """It is named before anything is submitted."""
    executor = Counted()
    node = made("Program", driver.loop is not None, executor=executor)
    with pytest.raises(FlowEventsError, match=r"Item 1 of node '\w+' is a _thread.lock, which"):
        driver.run(node, {"items": [1, threading.Lock()]})
    assert executor.calls == 0


def test_a_class_that_cannot_be_imported(driver: Driver) -> None:
    """One in a function is told to go to the top of a module."""

    class Local(BatchNode):
        def prep(self, shared: Any) -> list[int]:
            return [1]

    with pytest.raises(FlowEventsError, match=r"Local cannot be pickled.*top of a module"):
        driver.run(Local(executor=Counted()), {})


def test_a_class_of_another_main(apart: Engine, driver: Driver) -> None:
    """A worker whose `__main__` lacks it says that this is why."""
    import __main__

    class Mine(BatchNode):
        def prep(self, shared: Any) -> list[int]:
            return [1]

    Mine.__module__, Mine.__qualname__ = "__main__", "Mine"
    __main__.__dict__["Mine"] = Mine
    try:
        with pytest.raises(FlowEventsError, match=r"Node 'Mine' cannot be unpickled.*__main__"):
            driver.run(Mine(executor=apart.executor), {})
    finally:
        del __main__.__dict__["Mine"]


def test_a_main_module_without_its_guard(tmp_path: Path) -> None:
    """Processes that are spawned cannot begin; the error says what is missing."""
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from tests.workers.nodes import made\n"
        "pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn'))\n"
        "made('Program', False, executor=pool).run({'items': [1]})\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    said = done.stderr.rpartition("WorkerLost: ")[2]
    assert "No worker had begun it: a process that is spawned imports" in said


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        ("chunk", "A chunk is a _thread.lock, which cannot be pickled"),
        ("result", "The result of item 0 of node 'Giving' is a _thread.lock, which cannot"),
    ],
)
def test_what_cannot_come_back(apart: Engine, driver: Driver, gives: str, said: str) -> None:
    """A chunk or a result that cannot be pickled fails the item, and is not tried again."""
    node = Giving(executor=apart.executor, max_retries=3)
    with pytest.raises(FlowEventsError, match=said) as raised:
        driver.run(node, {"items": [gives]}, id="the run")
    assert "item 0, attempt 1, run the run" in raised.value.__notes__[0]


def test_threads_pickle_nothing(driver: Driver, here: Engine) -> None:
    """What runs here may hold and give anything."""
    node = Giving(executor=here.executor)
    node.lock = lock = threading.Lock()
    shared: dict[str, Any] = {"items": ["own", "result"]}
    driver.run(node, shared)
    assert shared["results"][0] is lock


def test_a_question_in_a_worker(engine: Engine, driver: Driver) -> None:
    """Nobody can answer there, which the error says; no retry and no fallback hides it."""
    is_async = driver.loop is not None
    node = (AsyncAsking if is_async else Asking)(executor=engine.executor, max_retries=3)
    events: list[Event] = []
    with pytest.raises(RuntimeError, match=r"asked 'Well\?' in a worker, where nobody can answer"):
        driver.each(Run(node, {"items": [1]}), events.append)
    assert [type(event).__name__ for event in events if event.items] == ["ItemStart", "ItemEnd"]


@pytest.mark.parametrize("kind", [BatchNode, AsyncParallelBatchNode])
def test_what_is_no_executor(kind: Any) -> None:
    """It is refused where it is given."""
    with pytest.raises(TypeError, match=r"executor= 3, which is no executor: give"):
        kind(executor=3)
    with pytest.raises(ValueError, match=r"max_lost must be a whole number from 1, not 0"):
        kind(executor=Counted(), max_lost=0)
    with pytest.raises(ValueError, match=r"grace must be 0 or more, not -1"):
        kind(executor=Counted(), grace=-1)
    with pytest.raises(ValueError, match=r"max_concurrency must be at least 1, not 0"):
        kind(executor=Counted(), max_concurrency=0)


def test_a_limit_of_nothing() -> None:
    """A sequential batch has no concurrency, which is said."""
    with pytest.raises(ValueError, match=r"max_concurrency=2 .* needs an executor="):
        BatchNode(max_concurrency=2)


def test_an_exec_of_its_own() -> None:
    """It runs all items itself, wherever."""

    class Own(BatchNode):
        def _exec(self, prep_res: Any) -> Any:
            return [self.exec(item) for item in prep_res]

    with pytest.raises(GraphError, match=r"Own has an _exec of its own, .* cannot have an exec"):
        Own(executor=Counted())
    Own()


def test_a_function_that_makes_no_executor(driver: Driver) -> None:
    """What it made is named."""
    node = made("Program", driver.loop is not None, executor=lambda: 3)
    with pytest.raises(TypeError, match=r"made 3, which is no executor"):
        driver.run(node, {"items": [1]})


def test_an_executor_that_was_shut_down(driver: Driver) -> None:
    """Its own error says so."""
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    node = made("Program", driver.loop is not None, executor=executor)
    with pytest.raises(RuntimeError, match="after shutdown"):
        driver.run(node, {"items": [1]})


def test_items_of_a_generator_that_fails(engine: Engine, driver: Driver) -> None:
    """What has begun is ended before its error is raised."""

    def items() -> Generator[int, None, None]:
        yield from range(4)
        raise OSError("no more items")

    node = made("Program", driver.loop is not None, executor=engine.executor, max_concurrency=1)
    with pytest.raises(OSError, match="no more items"):
        driver.run(node, {"items": items()})


def test_no_items(engine: Engine, driver: Driver) -> None:
    """Nothing is submitted."""
    none: list[Any] = [[], None]
    for items in none:
        shared: dict[str, Any] = {"items": items}
        node = made("Program", driver.loop is not None, executor=engine.executor)
        events = driver.pull(Run(node, shared))
        assert shared["results"] == []
        assert not [event for event in events if isinstance(event, ItemStart)]
