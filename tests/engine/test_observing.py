"""Observing changes nothing: whoever listens, pulls or records, the same code runs in one order."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pocketflow
from hypothesis import assume, given
from hypothesis import strategies as st

import flowevents
from flowevents import (
    Event,
    Run,
    observe,
)
from tests.driving import Seen, driving
from tests.engine.races import Entry, Races, graphs, made, new_shared, racing, torn

Form = Callable[[Any, Any], Coroutine[Any, Any, Any]]
"""A way to run a flow over a `shared`; it gives the action."""

MOST = 900
"""Events of a run, and well below how many of them wait for who is slow to take them."""


# -- the ways to run it ---------------------------------------------------------------------------


async def unobserved(flow: Any, shared: Any) -> Any:
    """As pocketflow's users do."""
    return await flow.run_async(shared)


async def waited_for(flow: Any, shared: Any) -> Any:
    """As a `Run`."""
    return await Run(flow, shared).wait_async()


async def captured(flow: Any, shared: Any) -> Any:
    """With what `exec` gives in its end."""
    return await flow.run_async(shared, capture=True, observers=[Seen()])


async def observed(flow: Any, shared: Any) -> Any:
    """With an observer of everything."""
    seen = Seen()
    try:
        return await flow.run_async(shared, observers=[seen])
    finally:
        seen.check()
        assume(len(seen.events) < MOST)


async def observed_by_all(flow: Any, shared: Any) -> Any:
    """With an observer of all runs."""
    with observe(Seen()):
        return await flow.run_async(shared)


def observed_by_async(turns: int) -> Form:
    """With an observer that is awaited, and takes so many turns for each event."""

    async def form(flow: Any, shared: Any) -> Any:
        seen = Seen()

        async def observer(event: Event) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            seen(event)

        try:
            return await flow.run_async(shared, observers=[observer])
        finally:
            seen.check()

    return form


async def in_the_background(flow: Any, shared: Any) -> Any:
    """As a task of its own."""
    return await Run(flow, shared, observers=[Seen()]).start().wait_async()


async def called_back(flow: Any, shared: Any) -> Any:
    """With a callback, which is awaited."""

    async def callback(data: Any, node: str) -> None:
        await asyncio.sleep(0)

    return await flow.run_stream_async(shared, callback)


def pulled(turns: int = 0, **options: Any) -> Form:
    """By a consumer that takes so many turns for each event."""

    async def form(flow: Any, shared: Any) -> Any:
        seen = Seen()
        run = Run(flow, shared, **options)
        try:
            async for event in run:
                for _ in range(turns):
                    await asyncio.sleep(0)
                seen(event)
        finally:
            seen.check()
        return run.action

    return form


async def left_and_waited_for(flow: Any, shared: Any) -> Any:
    """By a consumer that has seen enough after a few events."""
    run = Run(flow, shared)
    async for event in run:
        if event.seq > 5:
            break
    return await run.wait_async()


async def streamed(flow: Any, shared: Any) -> Any:
    """By a consumer of the output."""
    stream = flow.run_stream_async(shared)
    async for _ in stream:
        pass
    return stream.run.action


UNPULLED: dict[str, Form] = {
    "unobserved": unobserved,
    "waited for": waited_for,
    "captured": captured,
    "observed": observed,
    "observed by all": observed_by_all,
    "observed by async": observed_by_async(0),
    "observed by slow async": observed_by_async(1),
    "in the background": in_the_background,
    "called back": called_back,
}
PULLED: dict[str, Form] = {
    "pulled": pulled(),
    "pulled slowly": pulled(1),
    "pulled very slowly": pulled(7),
    "pulled and captured": pulled(1, capture=True, observers=[Seen()]),
    "left and waited for": left_and_waited_for,
    "streamed": streamed,
}
FORMS = UNPULLED | PULLED
BUSY = {"pulled slowly", "pulled very slowly", "pulled and captured"}
"""Those who pull and await other things: where they are busy when what a node has awaited is done,
the run stands behind that node's code until they come back."""


async def _given(running: Awaitable[Any]) -> Any:
    """What a run gives, or the text of its error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of flows that end without a successor
        try:
            given = await running
        except ValueError as error:
            given = str(error)
    return given


async def _alone(running: Awaitable[Any]) -> Any:
    """The same, when all that the run has left in the loop has ended."""
    given = await _given(running)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*left, return_exceptions=True)
    return given


def log_of(spec: Races, library: Any, form: Form) -> tuple[Any, list[Entry]]:
    """What a run of a drawn graph gives, and its log."""
    shared = new_shared()
    with driving("async") as driver:
        return driver.in_loop(_alone(form(made(spec, library), shared))), shared["log"]


# -- any graph ------------------------------------------------------------------------------------


@given(graphs())
def test_any_graph_runs_its_code_in_one_order(spec: Races) -> None:
    """As with pocketflow, also where items run at the same time, however it is run here."""
    expected = log_of(spec, pocketflow, unobserved)
    for name, form in FORMS.items():
        assert log_of(spec, flowevents, form) == expected, name


@given(graphs(failing=True))
def test_a_graph_that_fails_does_so_in_one_order(spec: Races) -> None:
    """pocketflow lets the other items of a parallel batch go on; here they are cancelled."""
    expected = log_of(spec, flowevents, unobserved)
    for name, form in FORMS.items():
        assert log_of(spec, flowevents, form) == expected, name
    theirs = log_of(spec, pocketflow, unobserved)
    if racing(spec):
        pieces = iter(entry.me for entry in theirs[1])
        assert all(entry.me in pieces for entry in expected[1])
    else:
        assert theirs == expected


@given(graphs(limits=True))
def test_limited_items_run_in_one_order(spec: Races) -> None:
    """When there is room for another does not hang on how fast a consumer is."""
    expected = log_of(spec, flowevents, unobserved)
    for name, form in FORMS.items():
        assert log_of(spec, flowevents, form) == expected, name


# -- beside other tasks ---------------------------------------------------------------------------


@given(graphs(beside=True))
def test_tasks_that_nodes_make_run_in_the_same_order(spec: Races) -> None:
    """Beside a run that is observed or recorded, as beside one of pocketflow."""
    expected = log_of(spec, pocketflow, unobserved)
    for name, form in UNPULLED.items():
        assert log_of(spec, flowevents, form) == expected, name


@given(graphs(beside=True))
def test_nothing_comes_between_pieces_of_a_pulled_run(spec: Races) -> None:
    """Tasks that its nodes make run between them only where the code itself awaits."""
    for name, form in PULLED.items():
        if name in BUSY:
            continue
        assert torn(log_of(spec, flowevents, form)[1]) == [], name


def log_of_both(specs: tuple[Races, Races], library: Any, forms: tuple[Form, Form]) -> Any:
    """The log of two runs at the same time, which share a count."""
    shared = [new_shared("one"), new_shared("other")]
    for common in ("log", "last", "count"):
        shared[1][common] = shared[0][common]

    async def both() -> Any:
        runs = zip(forms, specs, shared, strict=True)
        given = (_given(form(made(spec, library), each)) for form, spec, each in runs)
        return await asyncio.gather(*given)

    with driving("async") as driver:
        return driver.in_loop(both()), shared[0]["log"]


_any = st.sampled_from(sorted(FORMS.keys() - BUSY))


@given(st.tuples(graphs(), graphs()), st.tuples(_any, _any))
def test_nothing_comes_between_pieces_of_two_runs(
    specs: tuple[Races, Races], names: tuple[str, str]
) -> None:
    """Whoever pulls them: the other one runs only where the code itself awaits."""
    assert torn(log_of_both(specs, flowevents, (FORMS[names[0]], FORMS[names[1]]))[1]) == []
