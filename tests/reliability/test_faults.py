"""Random graphs with random faults: the stream ends well-formed, and the right error comes out."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowevents import AsyncFlow, AsyncStreamNode, Flow, Node, Run, RunCancelled, StreamNode
from tests.driving import Driver, driving
from tests.graphs import Graph, Halt, graphs
from tests.reliability.faults import (
    ERRORS,
    Fault,
    Observed,
    check,
    faults,
    is_from,
    is_the_graphs_own,
    nothing_is_left,
    run_it,
)
from tests.reliability.size import examples

pytestmark = pytest.mark.filterwarnings("ignore:Flow ends:UserWarning")

SYNC = graphs(streams=True, none_successors=True)
ASYNC = graphs(streams=True, asynchronous=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that a drawn graph gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def both(test: Any) -> Any:
    """Run a test in sync runs and in async ones."""
    return pytest.mark.parametrize("how", ["sync", "async"])(test)


def drive(driver: Driver, run: Any) -> None:
    """To the end."""
    driver.wait(run)


def iterate(driver: Driver, run: Any) -> None:
    """Event by event."""
    driver.pull(run)


@both
@examples(500, 30)
@given(data=st.data(), fault=faults, pulled=st.booleans())
def test_a_nodes_code_fails_anywhere(how: str, data: Any, fault: Fault, pulled: bool) -> None:
    """What is raised is what the code raised; a retry may have caught it."""
    spec: Graph = data.draw(SYNC if how == "sync" else ASYNC)
    observer = Observed()
    with nothing_is_left(), quiet():
        run, error = run_it(spec, how, fault, iterate if pulled else drive, observers=[observer])
    check(observer.events)
    if error is not None:
        assert is_from(error, fault.raised) or is_the_graphs_own(error), repr(error)
        assert run.error is error
    if isinstance(fault.raised, (KeyboardInterrupt, SystemExit)) and not spec.has_parallel:
        assert error is fault.raised
        assert observer.events[-1].status == "cancelled"  # type: ignore[attr-defined]


@both
@examples(500, 30)
@given(
    data=st.data(),
    at=st.integers(1, 60),
    error=st.sampled_from(ERRORS),
    mode=st.sampled_from(["log", "raise"]),
)
def test_a_handler_fails_at_any_event(
    how: str, data: Any, at: int, error: type[BaseException], mode: Any
) -> None:
    """Logged, it changes nothing; otherwise it is what the run fails with."""
    spec: Graph = data.draw(SYNC if how == "sync" else ASYNC)
    with nothing_is_left(), quiet():
        _, expected = run_it(spec, how, {}, drive)
        broken, other = Observed(at, error), Observed()
        run, raised = run_it(spec, how, {}, drive, observers=[broken, other], on_handler_error=mode)
    check(other.events)
    assert len(broken.events) == len(other.events)
    if broken.raised is None or (issubclass(error, Exception) and mode == "log"):
        assert type(raised) is type(expected)
        assert str(raised) == str(expected)
    elif raised is not broken.raised:  # an error of the graph's own was under way
        assert raised is not None
        assert is_from(raised, broken.raised) or is_the_graphs_own(raised)
    assert run.error is raised


@both
@examples(500, 30)
@given(data=st.data(), at=st.integers(1, 60), pulled=st.booleans())
def test_a_run_is_cancelled_at_any_event(how: str, data: Any, at: int, pulled: bool) -> None:
    """By a handler of its own."""
    spec: Graph = data.draw(SYNC if how == "sync" else ASYNC)
    observer = Observed()
    runs: list[Any] = []

    def cancel(event: Any) -> None:
        if len(observer.events) == at:
            runs[0].cancel()

    def begin(driver: Driver, run: Any) -> None:
        runs.append(run)
        (iterate if pulled else drive)(driver, run)

    with nothing_is_left(), quiet():
        run, error = run_it(spec, how, {}, begin, observers=[observer, cancel])
    check(observer.events)
    if run.status == "cancelled":
        assert isinstance(error, (RunCancelled, Halt))  # what is no Exception is never replaced
    else:
        assert error is None or is_the_graphs_own(error)


@both
@examples(500, 30)
@given(data=st.data(), at=st.integers(0, 60))
def test_a_consumer_stops_at_any_event(how: str, data: Any, at: int) -> None:
    """It leaves its loop; the run is closed, and its ends are delivered."""
    spec: Graph = data.draw(SYNC if how == "sync" else ASYNC)
    observer = Observed()
    with nothing_is_left(), quiet():
        run, error = run_it(
            spec, how, {}, lambda driver, run: driver.pull(run, at), observers=[observer]
        )
    check(observer.events)
    assert run.status in ("cancelled", "done", "failed")
    assert error is None or is_the_graphs_own(error)


@both
def test_an_observer_that_cannot_be_made_leaves_nothing(how: str) -> None:
    """Its `__init__` raises before there is a run."""
    made: list[Any] = []

    class Cannot:
        def __init__(self) -> None:
            raise ValueError("no")

    def begin() -> None:
        from flowevents import Flow, Run, StreamNode

        made.append(Run(Flow(StreamNode()), {}, observers=[Observed(), Cannot()]))

    with nothing_is_left(), pytest.raises(ValueError, match="no"):
        begin()
    assert made == []


def closes_badly(how: str, error: type[BaseException], raised: list[BaseException]) -> Any:
    """A node whose generator raises when it ends or is closed, between two that do nothing."""

    def fail() -> None:
        raised.append(error("in finally"))
        raise raised[-1]

    class Closes(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[int]:
            try:
                yield from range(3)
            finally:
                fail()

    class ClosesAsync(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[int]:
            try:
                for index in range(3):
                    await asyncio.sleep(0)
                    yield index
            finally:
                fail()

    before = Node()
    before >> (Closes() if how == "sync" else ClosesAsync()) >> Node()
    return Flow(before) if how == "sync" else AsyncFlow(before)


@both
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("at", [None, 3, 5, 6, 8])
@pytest.mark.parametrize("stop", ["cancel", "leave"])
def test_a_generators_finally_fails(
    how: str, error: type[BaseException], at: int | None, stop: str
) -> None:
    """On its own it is the node's error; of a run that is stopped it is logged, or goes on up."""
    observer, raised = Observed(), list[BaseException]()
    run = Run(closes_badly(how, error, raised), {}, observers=[observer])
    came: BaseException | None = None

    def look(event: Any) -> bool:
        if event.seq == at and stop == "cancel":
            run.cancel()
        return event.seq == at and stop == "leave"

    with nothing_is_left(), driving(how) as driver:
        try:
            driver.each(run, look)
            if run.status == "running":
                driver.close(run)
        except BaseException as out:
            came = out
        driver.settle()
    check(observer.events)
    assert run.status in ("done", "failed", "cancelled")
    if at is None:
        assert is_from(came, *raised)
    elif came is not None:
        assert isinstance(came, RunCancelled) or is_from(came, *raised)
    if raised and isinstance(raised[0], (KeyboardInterrupt, SystemExit)) and stop == "cancel":
        assert came is raised[0]
