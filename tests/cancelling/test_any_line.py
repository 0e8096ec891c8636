"""A Ctrl-C before any line of the engine, and handlers that stop each delivery."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from linecache import getline
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import flowevents
from flowevents import (
    BatchFlow,
    BatchNode,
    Event,
    Flow,
    FlowEnd,
    Node,
    Run,
    StreamNode,
)
from flowevents.testing import check_events
from tests.cancelling.nodes import ASYNC_SHAPES, SYNC_SHAPES
from tests.driving import Driver, Seen
from tests.stock import chain

ENGINE = str(Path(flowevents.__file__).parent / "engine")

Trace = Callable[[FrameType, str, Any], Any]


class Interrupt:
    """Raises `KeyboardInterrupt` before the n-th line of the engine, from the walk's first on."""

    def __init__(self, line: int) -> None:
        self.left = line
        self.walks = False
        self.at: tuple[str, int] | None = None

    def trace(self, frame: FrameType, event: str, arg: Any) -> Trace | None:
        """Follow calls into the engine."""
        code = frame.f_code
        if not code.co_filename.startswith(ENGINE):
            return None
        self.walks = self.walks or code.co_name == "walk"
        return self.count if self.walks else None

    def count(self, frame: FrameType, event: str, arg: Any) -> Trace:
        """Count lines.

        But not those of a `with`: raised where one is left, it keeps the lock. No signal comes
        there, because CPython looks for them at calls and jumps.
        """
        file, line = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and not getline(file, line).lstrip().startswith("with "):
            self.left -= 1
            if self.left == 0:
                self.at = (file.removeprefix(ENGINE), line)
                raise KeyboardInterrupt
        return self.count

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Trace what is done meanwhile."""
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(before)


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """What the garbage collector calls may raise nothing."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# -- small runs -----------------------------------------------------------------------------------


class Says(Node):
    def exec(self, prep_res: Any) -> None:
        self.emit("a")
        self.progress(1, 2)


class Streams(StreamNode):
    def exec_stream(self, prep_res: Any) -> Generator[str, None, str]:
        yield "a"
        yield "b"
        return "ab"


class Retries(Node):
    def __init__(self) -> None:
        super().__init__(max_retries=2)

    def exec(self, prep_res: Any) -> None:
        if self.cur_retry == 0:
            raise ValueError("no")


class Fails(Node):
    def exec(self, prep_res: Any) -> None:
        raise ValueError("no")


class Items(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 2]

    def exec(self, prep_res: Any) -> int:
        return int(prep_res)


class Streamed(StreamNode, BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 2]

    def exec_stream(self, prep_res: Any) -> Iterator[int]:
        yield prep_res


class Passes(BatchFlow):
    def prep(self, shared: Any) -> list[dict[str, int]]:
        return [{"a": 1}, {"a": 2}]


MADE: dict[str, Callable[[], Any]] = {
    "two": lambda: Flow(chain(Node(), Node())),
    "emit": lambda: Flow(Says()),
    "alone": Says,
    "stream": lambda: Flow(Streams()),
    "retry": lambda: Flow(Retries()),
    "fail": lambda: Flow(Flow(Fails())),
    "batch": lambda: Flow(Items()),
    "streamed batch": lambda: Flow(Streamed()),
    "nested": lambda: Flow(Flow(Node())),
    "batch flow": lambda: Passes(Node()),
}


def _ended(events: list[Event]) -> None:
    """Each start has its end, numbered without a hole."""
    check_events(events)
    assert not events or isinstance(events[-1], FlowEnd)


@pytest.mark.parametrize("observers", [1, 2])
@pytest.mark.parametrize("pulled", [False, True])
@pytest.mark.parametrize("name", MADE)
def test_a_ctrl_c_before_any_line_of_the_engine(
    name: str, pulled: bool, observers: int, no_garbage_collection: None
) -> None:
    """All ends come, and no number is missing; the event under way may get lost."""
    line = 0
    while True:
        line += 1
        seen = [Seen() for _ in range(observers)]
        taken: list[Event] = []
        run = Run(MADE[name](), {}, observers=[each.__call__ for each in seen])
        interrupt = Interrupt(line)
        raised: BaseException | None = None
        try:
            with interrupt.under_way():
                if pulled:
                    taken.extend(run)
                else:
                    run.wait()
        except (KeyboardInterrupt, ValueError) as error:
            raised = error
        if interrupt.at is None:
            break
        assert isinstance(raised, KeyboardInterrupt), interrupt.at
        if pulled and run.status != "running":
            with suppress(BaseException):
                taken.extend(run)  # what it has left
        for events in (*(each.events for each in seen), *([taken] if pulled else [])):
            try:
                _ended(events)
            except AssertionError as error:
                raise AssertionError(f"before line {interrupt.at}: {error}") from error
        if run.status == "running":
            assert seen[0].events == []  # it had not begun; it can still be closed
            run.close()
    assert line > 50


# -- handlers that stop each delivery --------------------------------------------------------------

STOPS = [KeyboardInterrupt, SystemExit, asyncio.CancelledError]


@pytest.mark.parametrize("error", STOPS)
@pytest.mark.parametrize("emits", [False, True])
@pytest.mark.parametrize("shape", SYNC_SHAPES)
def test_a_handler_that_stops_each_delivery(
    shape: str, emits: bool, error: type[BaseException]
) -> None:
    """All handlers hear all ends, also of events that wait behind others."""
    total = len(list(Run(SYNC_SHAPES[shape](), {})))
    for first in range(total):
        seen, late = Seen(), Seen()
        node = SYNC_SHAPES[shape]()

        def stop(event: Event, first: int = first, node: Any = node) -> None:
            if emits and event.seq == 1:
                for word in ("x", "y", "z"):
                    node.emit(word)  # they wait for their turn
            if event.seq > first:
                raise error

        with pytest.raises(error):
            Run(node, {}, observers=[seen, stop, late]).wait()
        _ended(seen.events)
        assert seen.events == late.events


@pytest.mark.parametrize("error", STOPS)
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("pulled", [False, True])
@pytest.mark.parametrize("shape", ASYNC_SHAPES)
def test_a_handler_that_stops_each_delivery_of_an_async_run(
    loop: Driver, shape: str, pulled: bool, plain: bool, error: type[BaseException]
) -> None:
    """So it is there, whether it is awaited or not."""
    total = len(loop.pull(Run(ASYNC_SHAPES[shape](), {})))
    for first in range(total):
        seen, late = Seen(), Seen()

        def stop(event: Event, first: int = first) -> None:
            if event.seq > first:
                raise error

        async def stop_async(event: Event, first: int = first) -> None:
            stop(event, first)

        run = Run(ASYNC_SHAPES[shape](), {}, observers=[seen, stop if plain else stop_async, late])
        with pytest.raises(error):
            (loop.pull if pulled else loop.wait)(run)
        loop.settle()
        _ended(seen.events)
        assert seen.events == late.events
