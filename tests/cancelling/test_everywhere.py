"""Runs of every kind, stopped in every way at every event."""

from __future__ import annotations

import gc
import types
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowevents
from flowevents import Run
from tests.cancelling.nodes import ASYNC_SHAPES, SYNC_SHAPES, is_open
from tests.cancelling.ways import STREAMED, WAYS, Case, Make, stop_and_check
from tests.driving import Driver, driving
from tests.graphs import Graph, graphs
from tests.made_graphs import build, new_shared


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SYNC_SHAPES)
def test_a_sync_run_is_stopped_at_every_event(shape: str, way: str) -> None:
    """Each kind of flow of sync nodes, in each way."""
    with driving("sync") as driver:
        _stop_everywhere(driver, SYNC_SHAPES[shape], way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", ASYNC_SHAPES)
def test_an_async_run_is_stopped_at_every_event(loop: Driver, shape: str, way: str) -> None:
    """Each kind of flow of async nodes, with parallel items, in each way."""
    _stop_everywhere(loop, ASYNC_SHAPES[shape], way)


def _stop_everywhere(driver: Driver, make: Make, way: str) -> None:
    whole = len(driver.pull(Run(make(), {})))
    for at in range(1, whole + 1):
        case = Case(driver, make(), {}, at)
        stop_and_check(case, way)
        assert is_open.count == 0
        early = at < (whole if way not in STREAMED else 2)
        if early and "soon" not in way and "task" not in way:
            assert case.seen.ends()[-1] == "cancelled"
            assert case.run is None or case.run.status == "cancelled"
        if way in STREAMED and case.seen.ends()[-1] == "ok":
            break


def open_generators() -> list[Any]:
    """The streams of nodes of drawn graphs that have begun and not ended."""
    kinds = (types.GeneratorType, types.AsyncGeneratorType)
    found = []
    for each in gc.get_objects():
        if isinstance(each, kinds) and each.__name__ in ("exec_stream", "exec_stream_async"):
            frame = each.gi_frame if isinstance(each, types.GeneratorType) else each.ag_frame
            if frame is not None:
                found.append(each)
    return found


def _stop_a_graph(spec: Graph, way: str, at: int, how: str) -> None:
    with warnings.catch_warnings(), driving(how) as driver:
        warnings.simplefilter("ignore", UserWarning)  # of flows that end without a successor
        shared = new_shared()
        case = Case(driver, build(spec, flowevents, shared), shared, at)
        stop_and_check(case, way)
        assert open_generators() == []


@given(graphs(streams=True), st.sampled_from(sorted(WAYS)), st.integers(1, 40))
def test_any_sync_run_can_be_stopped_anywhere(spec: Graph, way: str, at: int) -> None:
    """Whatever the graph, the way and the event."""
    _stop_a_graph(spec, way, at, "sync")


@given(graphs(streams=True, asynchronous=True), st.sampled_from(sorted(WAYS)), st.integers(1, 40))
def test_any_async_run_can_be_stopped_anywhere(spec: Graph, way: str, at: int) -> None:
    """With async nodes, parallel items, and errors and retries of their own."""
    _stop_a_graph(spec, way, at, "async")
