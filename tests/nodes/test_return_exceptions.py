"""`return_exceptions`: an item that fails does not fail its batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest

from flowevents import (
    Ask,
    AsyncBatchNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchNode,
    Event,
    Flow,
    Interrupt,
    ItemEnd,
    NodeEnd,
    Retry,
    Run,
    RunCancelled,
    StreamNode,
    signals,
)
from flowevents.testing import ManualClock, capture_events, check_events
from tests.watching import Way, in_loop

ITEMS = (2, 0, 4, 0)


class Each(BatchNode):
    """Divides by each item."""

    def prep(self, shared: Any) -> Any:
        return iter(ITEMS)

    def exec(self, item: Any) -> Any:
        return 8 / item

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["result"] = exec_res


class Streamed(StreamNode, Each):
    def exec_stream(self, item: Any) -> Generator[Any, Any, Any]:
        yield "so far"
        return 8 / item


class _Async:
    async def prep_async(self, shared: Any) -> Any:
        return ITEMS

    async def exec_async(self, item: Any) -> Any:
        await asyncio.sleep(0)
        return 8 / item

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["result"] = exec_res


class Awaited(_Async, AsyncBatchNode):
    pass


class Parallel(_Async, AsyncParallelBatchNode):
    pass


class AsyncStreamed(_Async, AsyncStreamNode, AsyncBatchNode):
    pass


class ParallelStreamed(_Async, AsyncStreamNode, AsyncParallelBatchNode):
    async def exec_stream_async(self, item: Any) -> AsyncIterator[Any]:
        yield "so far"
        await asyncio.sleep(0)
        yield 8 / item


class Overridden(Each):
    def _exec(self, prep_res: Any) -> Any:
        return super()._exec(prep_res)


class AwaitedOverridden(Awaited):
    async def _exec(self, prep_res: Any) -> Any:
        return await super()._exec(prep_res)


class ParallelOverridden(Parallel):
    async def _exec(self, prep_res: Any) -> Any:
        return await super()._exec(prep_res)


KINDS: dict[type[Any], str] = {
    Each: "sync",
    Streamed: "sync",
    Overridden: "sync",
    Awaited: "async",
    Parallel: "async",
    AsyncStreamed: "async",
    ParallelStreamed: "async",
    AwaitedOverridden: "async",
    ParallelOverridden: "async",
}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    """A class of batch nodes."""
    return request.param


def check_result(result: list[Any]) -> None:
    """Every other item has failed."""
    assert [type(each) for each in result[1::2]] == [ZeroDivisionError] * 2
    assert not any(isinstance(each, Exception) for each in result[::2])


@pytest.mark.parametrize("way", ["unheard", "watched", "pulled"])
def test_the_others_go_on(kind: Any, way: str) -> None:
    """`post` finds the exception at its place; the failed items end `error`, the step `ok`."""
    node = kind(return_exceptions=True)
    shared: dict[str, Any] = {}
    of_kind = Way(KINDS[kind])
    if way == "unheard":
        of_kind.run(node, shared)
    elif way == "pulled":
        of_kind.streamed(node, shared)
    else:
        watched = of_kind.watch(node, shared)
        assert watched.error is None
        assert watched.of(NodeEnd)[0].status == "ok"
        ends = sorted(watched.of(ItemEnd), key=lambda event: event.items)
        if ends:  # an override is one opaque step
            assert [event.status for event in ends] == ["ok", "error"] * 2
            assert {event.error for event in ends[1::2]} == {"ZeroDivisionError: division by zero"}
            assert sorted(event.done for event in ends) == [1, 2, 3, 4]
    check_result(shared["result"])


def test_by_default_an_item_fails_its_batch(kind: Any) -> None:
    """As in PocketFlow."""
    with pytest.raises(ZeroDivisionError):
        Way(KINDS[kind]).run(kind())


def test_it_may_be_said_by_the_class() -> None:
    """As every attribute that a node has."""

    class Careless(Each):
        return_exceptions = True

    shared: dict[str, Any] = {}
    Careless().run(shared)
    check_result(shared["result"])


def test_an_item_fails_after_its_last_attempt(kind: Any) -> None:
    """And each has its own."""
    shared: dict[str, Any] = {}
    node = kind(max_retries=3, wait=1, return_exceptions=True)
    if "Overridden" in kind.__name__:
        node.wait = 0
    watched = Way(KINDS[kind]).watch(node, shared, clock=ManualClock())
    check_result(shared["result"])
    if watched.of(ItemEnd):
        assert sorted(event.attempt for event in watched.of(ItemEnd)) == [1, 1, 3, 3]
        assert len(watched.of(Retry)) == 4


@pytest.mark.parametrize("of", [Awaited, Parallel])
def test_a_cancel_is_no_exception(of: Any) -> None:
    """It ends the items and the run, as ever."""

    class Stuck(of):
        async def exec_async(self, item: Any) -> Any:
            run.cancel()
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("while it was cancelled")

    events: list[Event] = []
    run = Run(Stuck(return_exceptions=True), {}, observers=[events.append])
    with pytest.raises(RunCancelled):
        in_loop(run.wait_async)
    check_events(events)
    assert {event.status for event in events if isinstance(event, ItemEnd | NodeEnd)} == {
        "cancelled"
    }


def test_who_comes_in_the_middle_hears_how_the_item_ended() -> None:
    """Also of the item in which it has come, and of one that ended before it came."""

    class Announced(Each):
        def prep(self, shared: Any) -> Any:
            yield 2
            yield 0
            signals.item_end.connect(shared["ends"].append)
            yield 0

        def exec(self, item: Any) -> Any:
            if item == 0 and self.params.get("inside"):
                signals.item_end.connect(shared["ends"].append)
            return 8 / item

    for params, expected in ({}, [(2, "error", 3)]), ({"inside": 1}, [(1, "error", 2)]):
        shared: dict[str, Any] = {"ends": []}
        node = Announced(return_exceptions=True)
        node.set_params(params)
        node.run(shared)
        signals.item_end.disconnect(shared["ends"].append)
        ends = [(event.items[0], event.status, event.done) for event in shared["ends"]]
        assert ends[: len(expected)] == expected


def test_interrupts_are_asked_as_ever() -> None:
    """No question is taken for a failure."""

    class Asks(StreamNode, Each):
        def exec_stream(self, item: Any) -> Generator[Any, Any, Any]:
            answer = yield Ask(f"{item}?")
            if answer == "fail":
                raise ValueError(answer)
            return answer

    shared: dict[str, Any] = {}
    with capture_events() as events:
        run = Run(Flow(Asks(return_exceptions=True)), shared)
        for answer in ("a", "fail", "b", "fail"):
            for _ in run:
                pass
            run.reply(answer)
        run.wait()
    check_events(list(events))
    assert [str(each) for each in shared["result"]] == ["a", "fail", "b", "fail"]
    assert len([event for event in events if isinstance(event, Interrupt)]) == 4
