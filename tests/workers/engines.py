"""The engines on which items run: real pools, each made once for all tests and warm.

To add one, write a function that yields an `Engine`, and name it in `ENGINES`.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Final

__all__ = ["ENGINES", "Engine", "warm"]

PATIENCE: Final = 30


class Engine:
    """Where items run.

    Attributes:
        name: How tests call it.
        executor: What a node is given as `executor=`; `None` runs its items in the driver.
        is_live: Events come while the item runs.
        is_apart: Workers are processes of their own, which can be killed.
        survives: A killed worker is replaced, so that its item runs again.
    """

    def __init__(
        self,
        name: str,
        executor: Any,
        *,
        is_live: bool = True,
        is_apart: bool = True,
        survives: bool = False,
    ) -> None:
        self.name = name
        self.executor = executor
        self.is_live = is_live
        self.is_apart = is_apart
        self.survives = survives


@contextmanager
def threads() -> Iterator[Engine]:
    """A thread pool."""
    with ThreadPoolExecutor(4) as executor:
        warm(executor, 4)
        yield Engine("threads", executor, is_apart=False)


@contextmanager
def processes() -> Iterator[Engine]:
    """A process pool."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        executor.submit(_nothing).result(PATIENCE)
        yield Engine("processes", executor)


@contextmanager
def loky() -> Iterator[Engine]:
    """One of loky's pools."""
    from loky import ProcessPoolExecutor as Loky

    with Loky(2, timeout=None) as executor:
        executor.submit(_nothing).result(PATIENCE)
        yield Engine("loky", executor)


@contextmanager
def made() -> Iterator[Engine]:
    """A process pool that is made for each step, and anew where it breaks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.workers.nodes"])
    yield Engine("made", partial(ProcessPoolExecutor, 2, mp_context=context), survives=True)


@contextmanager
def unknown() -> Iterator[Engine]:
    """An executor of which nothing is known but that it is one."""
    with ThreadPoolExecutor(4) as pool:
        warm(pool, 4)
        yield Engine("unknown", _Unknown(pool), is_live=False, is_apart=False)


class _Unknown(Executor):
    """Runs calls elsewhere."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._pool.submit(fn, *args, **kwargs)


def warm(executor: Executor, workers: int) -> None:
    """Have so many threads of a pool started: no test is to start one."""
    barrier = threading.Barrier(workers)
    for each in [executor.submit(barrier.wait, PATIENCE) for _ in range(workers)]:
        each.result(PATIENCE)


def _nothing() -> None:
    """Runs in a worker."""


ENGINES: Final[dict[str, Callable[[], AbstractContextManager[Engine]]]] = {
    "threads": threads,
    "processes": processes,
    "loky": loky,
    "made": made,
    "unknown": unknown,
}
"""All of them, by name."""
