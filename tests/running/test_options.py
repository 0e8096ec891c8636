"""The options of a run."""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Callable, Generator
from typing import Any

import pytest

from flowevents import (
    AsyncParallelBatchFlow,
    BatchFlow,
    BatchNode,
    Chunk,
    Flow,
    FlowEnd,
    FlowStart,
    GraphError,
    ItemEnd,
    Node,
    NodeEnd,
    Retry,
    Run,
    StreamNode,
    TooManySteps,
)
from flowevents.testing import ManualClock
from tests.driving import Driver, Seen, status_of
from tests.running.writers import Step, Write, two_nodes
from tests.stock import Fail


class Again(Node):
    """Runs for ever, where it is its own successor."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["count"] = shared.get("count", 0) + 1


def endless() -> Again:
    """A node in a loop without an end."""
    again = Again()
    again >> again
    return again


def test_a_name_is_what_the_flow_is_called(driver: Driver) -> None:
    """In its first event; that of a node by itself stays the node's."""
    for what in (driver.flow(Step()), Step()):
        first, second, *_ = driver.pull(Run(what, {}, name="chat"))
        assert isinstance(first, FlowStart)
        assert (first.flow, first.node, second.node) == ("chat", "", "Step")


def test_an_id_is_in_every_event(driver: Driver) -> None:
    """The one that was given, or 128 random bits."""
    run = Run(driver.flow(Step()), {}, id="mine")
    assert run.id == "mine"
    assert {event.run_id for event in driver.pull(run)} == {"mine"}
    ids = {Run(driver.flow(Step()), {}).id for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)


def test_metadata_is_in_the_first_event_only(driver: Driver) -> None:
    """A copy of it: what is changed later is not in it."""
    metadata = {"user": "ada", "tags": ["x"]}
    run = Run(driver.flow(driver.flow(Step())), {}, metadata=metadata)
    metadata["user"] = "eve"
    starts = [event for event in driver.pull(run) if isinstance(event, FlowStart)]
    assert [start.metadata for start in starts] == [{"user": "ada", "tags": ["x"]}, {}]


@pytest.mark.parametrize("capture", [False, True])
def test_capture_puts_results_into_ends(driver: Driver, capture: bool) -> None:
    """Each step's `exec_res`, of streams too."""
    seen = Seen()
    driver.run(driver.flow(two_nodes()[0]), {}, capture=capture, observers=[seen])
    results = [["a", "b", "c"], "stepped"] if capture else [None, None]
    assert [end.result for end in seen.of(NodeEnd)] == results


def test_a_step_that_failed_has_no_result(driver: Driver) -> None:
    """There is none to capture."""
    seen = Seen()
    with pytest.raises(ValueError, match="broken"):
        driver.run(driver.flow(Fail()), {}, capture=True, observers=[seen])
    assert [end.result for end in seen.of(NodeEnd)] == [None]


def test_max_steps_bounds_a_loop(driver: Driver) -> None:
    """It fails with `TooManySteps`, which names the run, the limit and the node."""
    shared: dict[str, Any] = {}
    seen = Seen()
    said = r"Run r1 took its max_steps=7 steps.*'Again'.*loop without an end"
    with pytest.raises(TooManySteps, match=said):
        driver.run(driver.flow(endless()), shared, max_steps=7, id="r1", observers=[seen])
    assert shared == {"count": 7}
    assert seen.ends() == ["ok"] * 7 + ["error"]
    seen.check()


def test_max_steps_is_the_most_that_is_allowed(driver: Driver) -> None:
    """A run that needs no more goes well."""
    assert driver.run(driver.flow(two_nodes()[0]), {}, max_steps=2) == "next"
    assert driver.run(Step(), {}, max_steps=1) == "next"
    with pytest.raises(TooManySteps):
        driver.run(driver.flow(two_nodes()[0]), {}, max_steps=1)


def test_max_steps_counts_nested_flows_and_their_nodes(driver: Driver) -> None:
    """A nested flow is a step, and so is each node in it."""
    nested = driver.flow(driver.flow(Step()))
    assert driver.run(nested, {}, max_steps=2) == "next"
    seen = Seen()
    with pytest.raises(TooManySteps, match="Flow/Step"):
        driver.run(nested, {}, max_steps=1, observers=[seen])
    assert seen.ends() == ["error", "error"]
    seen.check()


@pytest.mark.parametrize("kind", ["sequential", "parallel"])
def test_max_steps_counts_in_all_items(driver: Driver, kind: str) -> None:
    """The items of a batch flow share one count; items of a node are no steps."""
    if kind == "parallel" and driver.loop is None:
        kind = "sequential"

    class Items(BatchFlow):
        def prep(self, shared: Any) -> list[dict[str, Any]]:
            return [{"n": 1}, {"n": 2}, {"n": 3}]

    class Parallel(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
            return [{"n": 1}, {"n": 2}, {"n": 3}]

    class Many(BatchNode):
        def prep(self, shared: Any) -> list[int]:
            return [1, 2, 3, 4]

    flow = Parallel if kind == "parallel" else Items
    driver.run(flow(Many()), {}, max_steps=3)
    for observers in ([], [seen := Seen()]):
        with pytest.raises(TooManySteps, match="max_steps=2"):
            driver.run(flow(Many()), {}, max_steps=2, observers=observers)
    seen.check()
    assert [end.status for end in seen.of(ItemEnd)].count("error") == 5 - 4 + (
        kind != "parallel"
    ) * 0


def test_a_handlers_error_is_logged(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """By default, with its traceback; the run and the other handlers go on."""
    seen = Seen()

    class Broken:
        def on_chunk(self, event: Chunk) -> None:
            raise ValueError("in a handler")

    driver.run(driver.flow(Write()), {}, observers=[Broken(), seen])
    assert [event.data for event in seen.of(Chunk)] == ["a", "b", "c"]
    assert [record.name for record in caplog.records] == ["flowevents"] * 3
    assert caplog.records[0].exc_info is not None


def test_a_handlers_error_fails_the_run(driver: Driver) -> None:
    """With `on_handler_error="raise"`; the rest still hears the event, and the ends."""
    seen = Seen()

    class Broken:
        def on_chunk(self, event: Chunk) -> None:
            raise ValueError("in a handler")

    run = Run(driver.flow(Write()), {}, observers=[Broken(), seen], on_handler_error="raise")
    with pytest.raises(ValueError, match="in a handler"):
        driver.wait(run)
    assert run.status == "failed"
    assert seen.kinds() == ["FlowStart", "NodeStart", "Chunk", "NodeEnd", "FlowEnd"]
    assert seen.ends() == ["error", "error"]
    seen.check()


SECRET = "sk-12345"


def hide(value: Any) -> Any:
    """A `redact` that knows one secret."""
    return value.replace(SECRET, "***") if isinstance(value, str) else value


class Leaky(StreamNode):
    """Puts a secret everywhere it can."""

    def exec_stream(self, prep_res: Any) -> Generator[str, None, str]:
        yield f"yielded {SECRET}"
        self.emit(f"emitted {SECRET}")
        if self.cur_retry == 0:
            raise ValueError(f"raised {SECRET}")
        return f"returned {SECRET}"


def test_redact_rewrites_what_is_seen(driver: Driver) -> None:
    """`data`, `error` and `result`, for handlers, consumers and streams; not what `post` gets."""

    class Careful(Leaky):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(
        *(driver.flow(Careful(max_retries=2)), shared),
        capture=True,
        redact=hide,
        observers=[seen],
    )
    assert driver.pull(run) == seen.events
    assert SECRET not in repr(seen.events)
    assert [event.error for event in seen.of(Retry)] == ["ValueError: raised ***"]
    assert {event.data for event in seen.of(Chunk)} == {"yielded ***", "emitted ***"}
    assert [event.result for event in seen.of(NodeEnd)] == ["returned ***"]
    assert shared["result"] == f"returned {SECRET}"
    stream = driver.stream(driver.flow(Leaky(max_retries=2)), {}, redact=hide)
    assert set(driver.rest(stream)) == {"yielded ***", "emitted ***"}
    heard: list[str] = []
    driver.call_back(
        *(driver.flow(Leaky(max_retries=2)), {}, lambda chunk, node: heard.append(chunk)),
        redact=hide,
    )
    assert set(heard) == {"yielded ***", "emitted ***"}


def test_redact_rewrites_the_errors_of_ends(driver: Driver) -> None:
    """What is raised is the node's own exception, unchanged."""
    seen = Seen()
    with pytest.raises(ValueError, match=SECRET):
        driver.run(driver.flow(Leaky()), {}, redact=hide, observers=[seen])
    assert SECRET not in repr(seen.events)
    assert [end.error for end in seen.of(NodeEnd)] == ["ValueError: raised ***"]


def test_redact_sees_an_error_as_a_whole(driver: Driver) -> None:
    """Before it is cut, so that no part of a secret is left at the cut."""

    class Long(Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("x" * (2000 - len("ValueError: ") - 4) + SECRET)

    seen = Seen()
    with pytest.raises(ValueError, match=SECRET):
        driver.run(driver.flow(Long()), {}, redact=hide, observers=[seen])
    assert SECRET[:4] not in repr(seen.events)
    with pytest.raises(ValueError, match=SECRET):
        driver.run(
            driver.flow(Long()), {}, redact=lambda text: text * 3, observers=[again := Seen()]
        )
    again.check()


@pytest.mark.parametrize("given", ["", None, 5, b"bytes"], ids=repr)
def test_whatever_redact_makes_of_an_error_is_a_text(driver: Driver, given: Any) -> None:
    """The stream stays well-formed."""
    seen = Seen()
    with pytest.raises(ValueError, match="broken"):
        driver.run(driver.flow(Fail()), {}, redact=lambda value: given, observers=[seen])
    seen.check()


def test_a_redact_that_fails_leaks_nothing(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """The value is left out and the failure logged; the run goes on."""

    def broken(value: Any) -> Any:
        raise RuntimeError("cannot redact")

    seen = Seen()
    run = Run(
        *(driver.flow(Leaky(max_retries=2)), {}),
        capture=True,
        redact=broken,
        observers=[seen],
    )
    taken = driver.pull(run)
    assert status_of(run) == "done"
    assert SECRET not in repr(taken)
    assert taken == seen.events
    seen.check()
    assert "redact failed" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 6
    assert (
        driver.rest(driver.stream(driver.flow(Leaky(max_retries=2)), {}, redact=broken))
        == ["[redact failed]"] * 4
    )


def test_the_clock_is_what_a_run_goes_by(driver: Driver) -> None:
    """Times, durations, and the waits before a retry."""
    clock = ManualClock(100.0)

    class Slow(Node):
        def exec(self, prep_res: Any) -> None:
            clock.advance(5)
            if self.cur_retry < 2:
                raise ValueError("again")

    taken = driver.pull(Run(driver.flow(Slow(max_retries=3, wait=60)), {}, clock=clock))
    assert clock.sleeps == [60, 60]
    assert taken[0].time == 100
    assert [event.time for event in taken if isinstance(event, Retry)] == [105, 170]
    assert [event.duration for event in taken if isinstance(event, NodeEnd | FlowEnd)] == [135, 135]
    assert taken[-1].time == 235


def test_observers_hear_their_run_only(driver: Driver) -> None:
    """In the order in which they were given, and not a later run of the same flow."""
    heard: list[str] = []
    flow = driver.flow(Write())

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def on_chunk(self, event: Chunk) -> None:
            heard.append(self.name + event.data)

    driver.run(flow, {}, observers=[Named("1"), Named("2")])
    driver.run(flow, {}, observers=iter([Named("3")]))
    driver.run(flow, {})
    assert heard == ["1a", "2a", "1b", "2b", "1c", "2c", "3a", "3b", "3c"]


def test_every_form_takes_the_options(driver: Driver) -> None:
    """`run`, `run_stream` with and without a callback, of flows and of nodes."""
    for make in (lambda: driver.flow(two_nodes()[0]), Write):
        forms: list[Callable[..., Any]] = [
            driver.run,
            functools.partial(driver.call_back, callback=None),
            lambda node, shared, **options: driver.rest(driver.stream(node, shared, **options)),
        ]
        for form in forms:
            seen = Seen()
            form(make(), {}, id="mine", metadata={"a": 1}, capture=True, observers=[seen])
            assert seen.of(FlowStart)[0].metadata == {"a": 1}
            assert seen.of(NodeEnd)[0].result == ["a", "b", "c"]
            assert seen.events[0].run_id == "mine"


@pytest.mark.parametrize("option", ["observer", "timeout"])
def test_an_option_that_does_not_exist_is_a_type_error(driver: Driver, option: str) -> None:
    """None is ignored."""
    options: dict[str, Any] = {option: None}
    flow = driver.flow(Write())
    calls: list[Callable[[], Any]] = [
        lambda: Run(flow, {}, **options),
        lambda: driver.run(flow, {}, **options),
        lambda: driver.run(Write(), {}, **options),
        lambda: driver.stream(flow, {}, **options),
        lambda: driver.call_back(flow, {}, None, **options),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=option):
            call()


def test_options_are_keywords_only() -> None:
    """Nothing but the flow and `shared` has a place."""
    with pytest.raises(TypeError):
        Run(Flow(Step()), {}, [])  # type: ignore[call-arg]
    parameters = inspect.signature(Run).parameters.values()
    assert [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD] == [
        *("flow", "shared")
    ]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"id": ""}, ValueError, "id=''"),
        ({"id": 5}, ValueError, "id=5"),
        ({"name": ""}, ValueError, "name=''"),
        ({"name": 5}, ValueError, "name=5"),
        ({"max_steps": 0}, ValueError, "max_steps=0"),
        ({"max_steps": -1}, ValueError, "max_steps=-1"),
        ({"max_steps": True}, ValueError, "max_steps=True"),
        ({"on_handler_error": "ignore"}, ValueError, "on_handler_error='ignore'"),
        ({"on_pause": "stop"}, ValueError, "on_pause='stop'"),
        ({"on_pause": None}, ValueError, "on_pause=None"),
        ({"redact": "secrets"}, ValueError, "redact='secrets'"),
        ({"observers": print}, TypeError, "observers="),
        ({"observers": "show"}, TypeError, "observers='show'"),
        ({"observers": 0}, TypeError, "observers=0"),
        ({"observers": [None]}, TypeError, "None is no observer"),
        ({"observers": [5]}, TypeError, "5 is no observer"),
    ],
)
def test_an_option_that_makes_no_sense(options: Any, error: type[Exception], said: str) -> None:
    """The error names it and its value, before anything runs."""
    with pytest.raises(error, match=said):
        Run(Flow(Step()), {}, **options)


@pytest.mark.parametrize("flow", [None, 5, "flow", Step, Flow, object()], ids=repr)
def test_what_is_no_flow_cannot_be_run(flow: Any) -> None:
    """A class is the most likely mistake, so the error asks about that."""
    hint = "instance" if isinstance(flow, type) else "needs a flow or a node"
    with pytest.raises(GraphError, match=hint):
        Run(flow, {})
