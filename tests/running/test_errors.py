"""What a run raises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from flowevents import (
    Action,
    Answer,
    Ask,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncNodeError,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Chunk,
    Flow,
    FlowEnd,
    FlowEventsError,
    GraphError,
    Interrupt,
    Node,
    NodeStart,
    Result,
    Run,
    RunCancelled,
    RunStateError,
    StreamNode,
    TooManySteps,
)
from flowevents.testing import check_events
from tests.driving import Driver, Seen
from tests.running.writers import Step, Write
from tests.stock import Fail


def test_an_error_comes_after_the_ends_in_every_form(driver: Driver) -> None:
    """A node's own exception, out of each way of driving, after its `node_end` and `flow_end`."""
    nested = driver.flow(driver.flow(Fail()))
    seen: Seen
    forms: list[Callable[[], Any]] = [
        lambda: driver.run(nested, {}, observers=[seen]),
        lambda: driver.wait(Run(nested, {}, observers=[seen])),
        lambda: driver.pull(Run(nested, {}, observers=[seen])),
        lambda: driver.rest(driver.stream(nested, {}, observers=[seen])),
        lambda: driver.call_back(nested, {}, None, observers=[seen]),
        lambda: driver.call_back(nested, {}, print, observers=[seen]),
        lambda: driver.run(Fail(), {}, observers=[seen]),
        lambda: driver.rest(driver.stream(Fail(), {}, observers=[seen])),
    ]
    for form in forms:
        seen = Seen()
        with pytest.raises(ValueError, match="broken") as caught:
            form()
        assert caught.value.__cause__ is None
        assert set(seen.ends()) == {"error"}
        assert [end.error for end in seen.of(FlowEnd)][-1] == "ValueError: broken"
        assert isinstance(seen.events[-1], FlowEnd)
        seen.check()


def test_an_error_is_raised_after_the_consumer_has_the_ends(driver: Driver) -> None:
    """The loop's body sees all of them before the exception leaves the loop."""
    run = Run(driver.flow(Fail()), {})
    iterator: Any = iter(run) if driver.loop is None else run.__aiter__()
    taken = [type(driver.next(iterator)).__name__ for _ in range(4)]
    assert taken == ["FlowStart", "NodeStart", "NodeEnd", "FlowEnd"]
    with pytest.raises(ValueError, match="broken"):
        driver.next(iterator)
    assert driver.next(iterator) is None


@pytest.mark.parametrize("method", ["prep", "exec", "post", "exec_stream"])
@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
def test_a_stop_iteration_does_not_look_like_an_end(
    driver: Driver, method: str, error: type[Exception]
) -> None:
    """It becomes a `RuntimeError` with it as the cause, as in any generator."""

    def raises(self: Any, *args: Any) -> Any:
        raise error("stop")

    class Base(StreamNode if method == "exec_stream" else Node):  # type: ignore[misc]
        pass

    node: Any = type("Stops", (Base,), {method: raises})()
    forms: list[Callable[[Any], Any]] = [
        lambda flow: driver.run(flow, {}, observers=[seen]),
        lambda flow: driver.pull(Run(flow, {}, observers=[seen])),
        lambda flow: driver.rest(driver.stream(flow, {}, observers=[seen])),
    ]
    for form in forms:
        for flow in (driver.flow(node), node):
            seen = Seen()
            with pytest.raises(RuntimeError) as caught:
                form(flow)
            assert isinstance(caught.value.__cause__, error)
            assert set(seen.ends()) == {"error"}
            seen.check()


@pytest.mark.parametrize("kind", [AsyncNode, AsyncBatchNode, AsyncParallelBatchNode])
@pytest.mark.parametrize("method", ["prep_async", "exec_async", "post_async"])
@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
def test_a_stop_iteration_of_async_code(
    kind: type[AsyncNode], method: str, error: type[Exception]
) -> None:
    """In parallel items too: an exhausted `await anext(…)` is no result."""

    async def raises(self: Any, *args: Any) -> Any:
        await asyncio.sleep(0)
        raise error("stop")

    async def items(self: Any, shared: Any) -> list[int]:
        return [1, 2]

    methods = {"prep_async": items, method: raises}
    for flow in (AsyncFlow(type("Stops", (kind,), methods)()), type("Stops", (kind,), methods)()):
        for observed in (True, False):
            seen = Seen()
            with pytest.raises(RuntimeError) as caught:
                asyncio.run(flow.run_async({}, observers=[seen] if observed else []))
            assert isinstance(caught.value.__cause__, error)
            assert set(seen.ends()) <= {"error"}
            seen.check()


@pytest.mark.parametrize("place", ["call", "iter", "first", "midway", "after an answer"])
@pytest.mark.parametrize("way", ["offload", "plain iterable", "plain"])
@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
def test_a_stop_iteration_of_plain_code_that_streams(
    error: type[Exception], way: str, place: str
) -> None:
    """It is no end of the stream, but where a plain iterator ends with it."""
    if error is StopIteration and place in ("first", "midway", "after an answer"):
        return

    class Breaks:
        def __init__(self) -> None:
            self.steps = iter(["first", "midway"])

        def __iter__(self) -> Any:
            if place == "iter":
                raise error("stop")
            return self

        def __next__(self) -> Any:
            step = next(self.steps)
            if step == place:
                raise error("stop")
            return Ask("?") if place == "after an answer" else step

        def send(self, value: Any) -> Any:
            if place == "after an answer":
                raise error("stop")
            return self.__next__()

        def throw(self, *raised: Any) -> Any:
            raise raised[0]

    def stream(self: Any, prep_res: Any) -> Any:
        if place == "call":
            raise error("stop")
        return Breaks()

    def answer(event: Interrupt) -> Answer[int]:
        return Answer(1)

    bases: dict[str, type[Any]] = {"plain iterable": AsyncStreamNode}
    name = "exec_stream_async" if way in bases else "exec_stream"
    node = type("Stops", (bases.get(way, StreamNode),), {name: stream})()
    seen = Seen()
    run = AsyncFlow(node).run_async(
        {},
        offload=way == "offload",
        observers=[seen, SimpleNamespace(on_interrupt=answer)],
    )
    with pytest.raises(RuntimeError) as caught:
        asyncio.run(run)
    assert isinstance(caught.value.__cause__, error)
    assert set(seen.ends()) == {"error"}
    seen.check()


def test_an_async_node_in_a_sync_run() -> None:
    """The error names the node and says what to do, after the ends, in every form."""

    class Late(AsyncNode):
        pass

    step = Step()
    step - "next" >> Flow(Late())
    forms: list[Callable[[], Any]] = [
        lambda: Flow(step).run({}, observers=[seen]),
        lambda: list(Run(Flow(step), {}, observers=[seen])),
        lambda: list(Flow(step).run_stream({}, observers=[seen])),
        lambda: Flow(step).run_stream({}, None, observers=[seen]),
    ]
    for form in forms:
        seen = Seen()
        with pytest.raises(AsyncNodeError, match=r"'Flow/Late'.*run_async"):
            form()
        assert seen.ends() == ["ok", "error", "error", "error"]
        seen.check()
    for alone in (Late(), AsyncFlow(Step())):
        with pytest.raises(AsyncNodeError, match=r"'(Late|AsyncFlow)'.*run_async"):
            alone.run({})


def test_an_async_observer_of_a_sync_run() -> None:
    """It is refused by name before the first node runs; the run can still be run async."""
    shared: dict[str, Any] = {}

    class Watcher:
        async def on_chunk(self, event: Chunk) -> None:
            heard.append(event.data)

    heard: list[str] = []
    forms: list[Callable[[], Any]] = [
        lambda: Flow(Write()).run(shared, observers=[Watcher()]),
        lambda: next(iter(Run(Flow(Write()), shared, observers=[Watcher()]))),
        lambda: next(Flow(Write()).run_stream(shared, observers=[Watcher()])),
    ]
    for form in forms:
        with pytest.raises(TypeError, match=r"Watcher\.on_chunk.*is async.*run_async"):
            form()
    run = Run(Flow(Write()), shared, observers=[Watcher()])
    with pytest.raises(TypeError, match="is async"):
        run.wait()
    assert (run.status, shared) == ("ready", {})
    assert asyncio.run(run.wait_async()) == "written"
    assert heard == ["a", "b", "c"]


def test_a_run_that_reaches_what_is_no_node_fails(driver: Driver) -> None:
    """The error says where it stands; however the run is driven."""
    for drive in (driver.wait, driver.pull):
        step = Step()
        step.successors["next"] = "no node"
        seen = Seen()
        run = Run(driver.flow(step), {}, observers=[seen])
        with pytest.raises(GraphError, match=r"'no node'.*'Step'.*'next'"):
            drive(run)
        assert run.status == "failed"
        check_events(seen.events)


def test_all_errors_have_one_root() -> None:
    """Whoever wants to tell them from a node's errors can."""
    for error in (RunStateError, RunCancelled, TooManySteps, AsyncNodeError, GraphError):
        assert issubclass(error, FlowEventsError)
    assert issubclass(RunStateError, RuntimeError)
    assert issubclass(GraphError, TypeError)


def test_a_result_is_the_last_thing_that_is_yielded() -> None:
    """What comes after it is an error that names the node."""

    class Late(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
            yield "a"
            yield Result("b")
            yield "c"

    with pytest.raises(RuntimeError, match=r"'Late' yielded 'c' after its Result"):
        asyncio.run(AsyncFlow(Late()).run_async({}))


def test_no_action_follows_a_step_that_failed(driver: Driver) -> None:
    """The next node does not begin, and nothing says that it would."""
    fail = Fail()
    fail >> Step()
    seen = Seen()
    with pytest.raises(ValueError, match="broken"):
        driver.run(driver.flow(fail), {}, observers=[seen])
    assert seen.of(Action) == []
    assert [event.node for event in seen.of(NodeStart)] == ["Fail"]
