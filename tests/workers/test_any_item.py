"""Whatever an item's code does, it says and gives the same in a worker as without one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowevents import Run
from tests.driving import driving
from tests.workers.engines import Engine
from tests.workers.nodes import made
from tests.workers.watching import items_of

values = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
steps = st.one_of(
    st.tuples(st.just("yield"), values),
    st.tuples(st.just("emit"), values),
    st.tuples(st.just("progress"), st.integers(0, 9)),
    st.tuples(st.just("raise"), st.text(max_size=3)),
    st.tuples(st.just("return"), values),
)
items = st.lists(st.lists(steps, max_size=6), min_size=2, max_size=3)
"""What an item does in each of its attempts, and in the fallback."""


@pytest.mark.parametrize("how", ["sync", "async"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.lists(items, max_size=4),
    max_retries=st.integers(1, 2),
    options=st.fixed_dictionaries(
        {
            "return_exceptions": st.just(True),
            "max_concurrency": st.none() | st.integers(1, 3),
            "retry_on": st.sampled_from([Exception, KeyError]),
        }
    ),
)
def test_any_item(
    here: Engine,
    pool: Engine,
    how: str,
    batch: list[Any],
    max_retries: int,
    options: dict[str, Any],
) -> None:
    """Results, or what they failed with, and the events of each item are equal."""
    outcomes: list[Any] = []
    with driving(how) as driver:
        for executor in (None, here.executor, pool.executor):
            told: dict[str, Any] = {**options, "executor": executor, "max_retries": max_retries}
            if executor is None and how == "sync":
                told.pop("max_concurrency")
            node = made("Scripted", how == "async", **told)
            shared: dict[str, Any] = {"items": batch}
            events = driver.pull(Run(node, shared))
            outcomes.append((list(map(repr, shared["results"])), items_of(events)))
    assert outcomes[0] == outcomes[1] == outcomes[2]
