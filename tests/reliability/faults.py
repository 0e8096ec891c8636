"""Faults that are put into random graphs: at the n-th call of a node's code, or in a handler."""

from __future__ import annotations

import asyncio
import gc
import threading
import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st

import flowevents
from flowevents import AsyncFlow, Event, Run
from flowevents.testing import check_events
from tests import graphs
from tests.driving import Driver, connected, driving
from tests.graphs import Graph
from tests.made_graphs import build

__all__ = [
    "ERRORS",
    "Broken",
    "Fault",
    "Observed",
    "faults",
    "is_from",
    "nothing_is_left",
    "run_it",
]


class Broken(Exception):
    """A fault like any other."""


ERRORS: tuple[type[BaseException], ...] = (
    Broken,
    MemoryError,
    RecursionError,
    StopIteration,
    StopAsyncIteration,
    KeyboardInterrupt,
    SystemExit,
)
"""What code may raise without meaning to."""


class Fault(dict[Any, Any]):
    """The log of a graph's nodes, which raises at its n-th entry: so the code that made it fails.

    Attributes:
        raised: What was raised, once it was.
    """

    def __init__(self, at: int, error: type[BaseException]) -> None:
        super().__init__()
        self._left = at
        self._error = error
        self._lock = threading.Lock()
        self.raised: BaseException | None = None

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The entries of a scope; called once per entry."""
        with self._lock:
            self._left -= 1
            is_due = self._left == 0
        if is_due:
            self.raised = self._error("the fault")
            raise self.raised
        return super().setdefault(key, default)


faults = st.builds(Fault, st.integers(1, 40), st.sampled_from(ERRORS))


class Observed:
    """An observer that keeps every event, and raises at its n-th.

    Attributes:
        events: Every event.
        raised: What was raised, once it was.
    """

    def __init__(self, at: int = 0, error: type[BaseException] = Broken) -> None:
        self.events: list[Event] = []
        self._at = at
        self._error = error
        self.raised: BaseException | None = None

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) == self._at:
            self.raised = self._error("the handler's fault")
            raise self.raised


def is_from(error: BaseException | None, *raised: BaseException | None) -> bool:
    """Whether an error is one of these, or what Python makes of a `StopIteration`."""
    return any(
        each is not None and (error is each or getattr(error, "__cause__", None) is each)
        for each in raised
    )


def is_the_graphs_own(error: BaseException) -> bool:
    """Whether a drawn graph raises that by itself."""
    return isinstance(error, (ValueError, KeyError, TypeError, graphs.Halt))


def run_it(
    spec: Graph,
    how: str,
    log: dict[Any, Any],
    drive: Callable[[Driver, Run], object],
    **options: Any,
) -> tuple[Run, BaseException | None]:
    """Make the graph, drive a run of it, and give the run and what came out."""
    shared: dict[str, Any] = {"log": log, "visits": Counter()}
    flow = build(spec, flowevents, shared)
    if how == "async" and not spec.is_async:
        flow = AsyncFlow(flow)
    run = Run(flow, shared, **options)
    error: BaseException | None = None
    with driving(how) as driver:
        try:
            drive(driver, run)
        except BaseException as raised:
            error = raised
            if isinstance(raised, asyncio.InvalidStateError):
                raise
        if run.status in ("running", "paused"):
            driver.close(run)
        driver.settle()
    return run, error


@contextmanager
def nothing_is_left() -> Iterator[None]:
    """No thread, receiver or open generator of a node stays behind."""
    threads = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == threads
    assert connected() == []
    left = [
        each
        for each in gc.get_objects()
        if isinstance(each, (types.GeneratorType, types.AsyncGeneratorType))
        and _code(each).co_filename == graphs.__file__
        and _is_suspended(each)
    ]
    assert left == []


def _code(generator: Any) -> types.CodeType:
    code: types.CodeType = getattr(generator, "gi_code", None) or generator.ag_code
    return code


def _is_suspended(generator: Any) -> bool:
    frame = getattr(generator, "gi_frame", None) or getattr(generator, "ag_frame", None)
    return frame is not None and frame.f_lasti > 0 and _code(generator).co_name.startswith("exec_")


def check(events: list[Event]) -> None:
    """The stream is well-formed, whatever happened."""
    check_events(events)
