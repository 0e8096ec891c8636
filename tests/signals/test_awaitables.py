"""Handlers and callbacks that are no coroutine functions, but return something to be awaited."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    ItemEnd,
    Node,
    Run,
    StreamNode,
    signals,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, Seen

Log = list[Any]


class Talk(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield from "ab"


class TalkAsync(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        for letter in "ab":
            yield letter


class Emits(Node):
    def exec(self, prep_res: Any) -> None:
        self.emit("a")
        self.emit("b")


class EmitsAsync(AsyncNode):
    async def exec_async(self, prep_res: Any) -> None:
        self.emit("a")
        self.emit("b")
        await asyncio.sleep(0)


class AtOnce(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "ab"

    async def exec_async(self, item: Any) -> None:
        self.emit(item)
        await asyncio.sleep(0)


NODES = [Talk, TalkAsync, Emits, EmitsAsync, AtOnce]


async def send(log: Log, data: Any) -> None:
    """Takes its time."""
    log.append(f"{data} begins")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    log.append(f"{data} ends")


class Later:
    """Neither a coroutine nor a future."""

    def __init__(self, log: Log, data: Any) -> None:
        self.log, self.data = log, data

    def __await__(self) -> Generator[Any, Any, None]:
        return send(self.log, self.data).__await__()


def decorated(call: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
    """As a decorator does that knows nothing of `async def`."""

    @functools.wraps(call)
    def wrapper(*args: Any) -> Any:
        return call(*args)

    return wrapper


MAKE: dict[str, Callable[[Log, Any], Any]] = {
    "lambda": lambda log, data: send(log, data),
    "decorated": decorated(send),
    "task": lambda log, data: asyncio.get_running_loop().create_task(send(log, data)),
    "future": lambda log, data: asyncio.ensure_future(Later(log, data)),
    "object": Later,
}


@pytest.mark.parametrize("pulled", [False, True])
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("how", MAKE)
@pytest.mark.parametrize("kind", NODES)
def test_what_a_handler_returns_is_awaited(kind: Any, how: str, others: bool, pulled: bool) -> None:
    """Before the handlers after it get the event, and before the run's next one."""
    log: Log = []
    seen = Seen()

    class Before:
        def on_chunk(self, event: Chunk) -> None:
            log.append(f"{event.data} before")

    class Asks:
        def on_chunk(self, event: Chunk) -> Any:
            return MAKE[how](log, event.data)

    class After:
        def on_chunk(self, event: Chunk) -> None:
            log.append(f"{event.data} after")

        async def on_node_end(self, event: Event) -> None:
            log.append("end")

    async def main() -> None:
        observers = [Before(), Asks(), After(), seen] if others else [Asks(), seen]
        run = Run(AsyncFlow(kind()), {}, observers=observers)
        if pulled:
            assert [event async for event in run] == seen.events
        else:
            await run.wait_async()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    seen.check()
    of_each = ["before", "begins", "ends", "after"] if others else ["begins", "ends"]
    assert log == [f"{data} {what}" for data in "ab" for what in of_each] + ["end"] * others


@pytest.mark.parametrize("how", MAKE)
@pytest.mark.parametrize("kind", NODES)
def test_what_a_callback_returns_is_awaited(kind: Any, how: str) -> None:
    """Before the next chunk."""
    log: Log = []

    def callback(data: Any, node: str) -> Any:
        return MAKE[how](log, data)

    asyncio.run(AsyncFlow(kind()).run_stream_async({}, callback))
    assert log == ["a begins", "a ends", "b begins", "b ends"]


@pytest.mark.parametrize("kind", NODES)
def test_what_a_callbacks_awaitable_raises_cancels_the_run(kind: Any) -> None:
    """And is raised, as what the callback itself raises."""
    seen = Seen()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("no socket")

    with pytest.raises(LookupError, match="no socket"):
        asyncio.run(
            AsyncFlow(kind()).run_stream_async({}, lambda data, node: fail(), observers=[seen])
        )
    seen.check()
    assert seen.ends()[-1] == "cancelled"


@pytest.mark.parametrize("on_handler_error", ["log", "raise"])
def test_what_is_awaited_may_fail(on_handler_error: Any, caplog: pytest.LogCaptureFixture) -> None:
    """As an async handler; it is named."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("no socket")

    def returns(event: Chunk) -> Any:
        return fail()

    seen = Seen()
    run = AsyncFlow(Talk()).run_async({}, observers=[seen], on_handler_error=on_handler_error)
    with signals.chunk.connected_to(returns):
        if on_handler_error == "raise":
            with pytest.raises(LookupError):
                asyncio.run(run)
        else:
            asyncio.run(run)
            assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
            assert "returns failed on Chunk" in caplog.text
    seen.check()


@pytest.mark.parametrize("pulled", [False, True])
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("kind", NODES)
@pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError, SystemExit])
def test_beside_a_handler_that_raises_each_time(
    error: type[BaseException], kind: Any, place: int, pulled: bool
) -> None:
    """What is returned is awaited all the same, and each event goes to all, once."""
    log: Log = []
    taken: Log = []
    seen = Seen()
    ends: list[Event] = []

    def fail(event: Event) -> None:
        raise error

    def returns(event: Event) -> Any:
        async def later() -> None:
            await asyncio.sleep(0)
            log.append(event)

        return later()

    async def main() -> None:
        observers: list[Any] = [seen, returns, ends.append]
        observers.insert(place + 1, fail)
        run = Run(AsyncFlow(kind()), {}, observers=observers)
        with suppress(asyncio.CancelledError):
            if pulled:
                async for event in run:
                    taken.append(event)
            else:
                await run.wait_async()

    with suppress(SystemExit):
        asyncio.run(asyncio.wait_for(main(), PATIENCE))
    seen.check()
    assert log == ends == seen.events
    assert taken == (seen.events[: len(taken)] if pulled else [])


def test_an_end_is_awaited_too() -> None:
    """The run's last one; and of a run that is cancelled, all of them."""
    log: Log = []

    async def main(cancel: bool) -> None:
        def hear(event: Event) -> Any:
            if isinstance(event, Chunk) and cancel:
                run.cancel()
            ends = isinstance(event, (FlowEnd, ItemEnd))
            return send(log, type(event).__name__) if ends else None

        run = Run(AsyncFlow(AtOnce()), {}, observers=[hear])
        await asyncio.wait([asyncio.ensure_future(run.wait_async())])

    for cancel in (False, True):
        log.clear()
        asyncio.run(asyncio.wait_for(main(cancel), PATIENCE))
        assert log == [
            f"{name} {what}"
            for name in ("ItemEnd", "ItemEnd", "FlowEnd")
            for what in ("begins", "ends")
        ]


def test_what_nothing_can_await_any_more_is_let_go() -> None:
    """Of a run that nobody has, in a loop that is closed or not: the others hear of its ends."""
    seen = Seen()
    log: Log = []

    def hear(event: Event) -> Any:
        return send(log, event)

    async def main() -> None:
        run = Run(AsyncFlow(TalkAsync()), {}, observers=[hear, seen])
        async for event in run:
            if isinstance(event, Chunk):
                break
        log.clear()
        del run, event
        gc.collect()

    asyncio.run(main())
    seen.check()
    assert seen.ends()[-1] == "cancelled"


# -- in a sync run --------------------------------------------------------------------------------


class Each(BatchNode):
    def prep(self, shared: Any) -> Any:
        return "ab"

    def exec(self, item: Any) -> None:
        self.emit(item)


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("how", ["lambda", "decorated", "object"])
@pytest.mark.parametrize("kind", [Talk, Emits, Each])
@pytest.mark.parametrize("form", ["handler", "observer", "callback"])
def test_a_sync_run_says_once_that_nothing_awaits(
    form: str, kind: Any, how: str, others: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the handler, says what to do, and goes on."""
    log: Log = []
    seen = Seen()

    def returns(*args: Any) -> Any:
        return MAKE[how](log, args[0])

    class Observer:
        on_chunk = staticmethod(returns)

    flow = Flow(kind())
    observers: list[Any] = [seen]
    if others:
        observers.append(lambda event: None)
    if form == "handler":
        with signals.chunk.connected_to(returns):
            flow.run({}, observers=observers)
    elif form == "observer":
        flow.run({}, observers=[*observers, Observer()])
    else:
        flow.run_stream({}, returns, observers=observers)
    seen.check()
    assert len(seen.of(Chunk)) == 2
    assert log == []
    assert len(caplog.records) == 1
    assert "returns failed on Chunk" in caplog.text
    assert "run_async" in caplog.text


def test_a_sync_run_may_fail_by_it() -> None:
    """With `on_handler_error="raise"`."""
    seen: list[Event] = []

    def hear(event: Event) -> Any:
        seen.append(event)
        return send([], "x") if isinstance(event, Chunk) else None

    with pytest.raises(TypeError, match=r"hear returned .*run_async"):
        Flow(Talk()).run({}, observers=[hear], on_handler_error="raise")
    check_events(seen)


def test_a_handler_may_return_anything_else() -> None:
    """It means nothing."""
    for value in (0, "text", [1], object(), iter(())):
        seen = Seen()
        Flow(Talk()).run({}, observers=[seen, lambda event, value=value: value])
        asyncio.run(AsyncFlow(Talk()).run_async({}, observers=[lambda event, value=value: value]))
        seen.check()


# -- by hand --------------------------------------------------------------------------------------


def test_a_signal_that_is_sent_by_hand_awaits_it() -> None:
    """`send_async` gives what came of it."""
    log: Log = []
    event = next(each for each in Run(Flow(Talk()), {}) if isinstance(each, Chunk))

    def returns(event: Chunk) -> Any:
        return send(log, event.data)

    async def main() -> None:
        with signals.chunk.connected_to(returns):
            assert await signals.chunk.send_async(event) == [(returns, None)]

    asyncio.run(main())
    assert log == ["a begins", "a ends"]
