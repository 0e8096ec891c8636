"""What an async node gave to be streamed is closed before anything else is published."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Chunk,
    Event,
    NodeEnd,
    Retry,
    Run,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE

Log = list[Any]


class Response:
    """As `openai.AsyncStream`: its iterator is an async generator, and its `close` a coroutine."""

    def __init__(self, log: Log, fails: bool) -> None:
        self.log, self.fails = log, fails

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            yield "a"
            if self.fails:
                raise ValueError("broken")
            await asyncio.Event().wait()
        finally:
            await self.wait("generator")

    async def wait(self, what: str) -> None:
        await asyncio.sleep(0)
        self.log.append(what)

    async def close(self) -> None:
        await self.wait("response")


class Acloses(Response):
    """One whose `close` cannot be awaited, but whose `aclose` can."""

    async def aclose(self) -> None:
        await self.wait("response")

    def close(self) -> Any:
        raise AssertionError("aclose is there")


class ClosesPlainly(Response):
    """One whose `close` is plain."""

    def close(self) -> Any:
        self.log.append("response")


class ClosesBadly(Response):
    """One whose clean-up raises; what comes after it is done all the same."""

    async def wait(self, what: str) -> None:
        await super().wait(what)
        raise KeyError(what)


class IsIterator(Response):
    """One that is its own iterator, and no generator."""

    def __aiter__(self) -> Any:
        self.log.append("generator")
        self.data = iter("a")
        return self

    async def __anext__(self) -> str:
        for data in self.data:
            return data
        if self.fails:
            raise ValueError("broken")
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


KINDS = [Response, Acloses, ClosesPlainly, ClosesBadly, IsIterator]


def node_of(kind: type[Response], log: Log, fails: bool, batch: bool = False) -> Any:
    """A node that streams it, twice if need be."""

    class Streams(AsyncStreamNode):
        def exec_stream_async(self, prep_res: Any) -> Any:
            return kind(log, fails)

    class StreamsAtOnce(Streams, AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return "x"

    return (StreamsAtOnce if batch else Streams)(max_retries=2)


@pytest.mark.parametrize("observed", ["context", "plainly"])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_closed_before_a_retry_and_an_end(
    kind: type[Response], batch: bool, observed: str
) -> None:
    """Its iterator first, then it, also where an observer gives a context for the code."""
    log: Log = []

    class Observer:
        def __call__(self, event: Event) -> None:
            if isinstance(event, (Chunk, Retry, NodeEnd)):
                log.append(type(event))

        def context(self, event: Event) -> contextvars.Context | None:
            return contextvars.copy_context() if observed == "context" else None

    error = KeyError if kind is ClosesBadly else ValueError  # as in any generator
    with pytest.raises(error, match=r"generator|broken"):
        asyncio.run(node_of(kind, log, True, batch).run_async({}, observers=[Observer()]))
    attempt = ["generator", "response"]
    first = [attempt[0], Chunk, attempt[1]] if kind is IsIterator else [Chunk, *attempt]
    assert log == [*first, Retry, *first, NodeEnd]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["cancel", "task", "leave"])
def test_it_is_closed_before_the_end_of_what_is_cancelled(
    kind: type[Response], batch: bool, how: str
) -> None:
    """Whoever cancels."""
    log: Log = []
    seen: list[Event] = []
    streamed = asyncio.Event()

    def note(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Chunk):
            streamed.set()
        if isinstance(event, NodeEnd):
            log.append(NodeEnd)

    async def main() -> None:
        run = Run(AsyncFlow(node_of(kind, log, False, batch)), {}, observers=[note])
        if how == "leave":
            async with run:
                async for event in run:
                    if isinstance(event, Chunk):
                        break
            return
        task = asyncio.create_task(run.wait_async())
        await streamed.wait()
        run.cancel() if how == "cancel" else task.cancel()
        await asyncio.wait([task])

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    check_events(seen)
    assert log == ["generator", "response", NodeEnd]


def test_a_cancel_while_it_is_closed_does_not_leave_the_rest_open() -> None:
    """The iterator's clean-up is cut short, and what gave it is closed."""
    log: Log = []
    cancel: list[Callable[[], object]] = []

    class Slow(Response):
        async def wait(self, what: str) -> None:
            if what == "generator":
                cancel.pop()()
                await asyncio.Event().wait()
            await super().wait(what)

    async def main() -> None:
        task = asyncio.create_task(AsyncFlow(node_of(Slow, log, True)).run_async({}))
        cancel.append(task.cancel)
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert log == ["response"]


def test_a_plain_iterable_is_closed_in_an_async_run() -> None:
    """Its iterator, then it, as in a sync run."""
    log: Log = []

    class Plain:
        def __iter__(self) -> Any:
            try:
                yield "a"
                yield "b"
            finally:
                log.append("generator")

        def close(self) -> None:
            log.append("response")

    class Streams(AsyncStreamNode):
        def exec_stream_async(self, prep_res: Any) -> Any:
            return Plain()

    async def main() -> None:
        async with Run(Streams(), {}) as run:
            async for event in run:
                if isinstance(event, Chunk):
                    break

    asyncio.run(main())
    assert log == ["generator", "response"]


def test_plain_code_that_streams_runs_in_the_context_of_an_observer() -> None:
    """Of a plain iterable, too: each step of it, and its close."""
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="outside")
    log: Log = []

    class Observer:
        def context(self, event: Event) -> contextvars.Context:
            context = contextvars.copy_context()
            context.run(var.set, "inside")
            return context

    class Streams(AsyncStreamNode):
        def exec_stream_async(self, prep_res: Any) -> Any:
            try:
                yield var.get()
            finally:
                log.append(var.get())

    async def main() -> None:
        async with Run(Streams(), {}, observers=[Observer()]) as run:
            async for event in run:
                if isinstance(event, Chunk):
                    log.append(event.data)
                    break

    asyncio.run(main())
    assert log == ["inside", "inside"]


def test_an_iterator_that_only_gives_the_next_one_will_do() -> None:
    """`async for` asks for no more than `__anext__`; and for `asend` where it asks."""

    class Bare:
        def __init__(self) -> None:
            self.data = iter("ab")

        async def __anext__(self) -> str:
            for data in self.data:
                return data
            raise StopAsyncIteration

    class Gives:
        def __aiter__(self) -> Any:
            return Bare()

    class Streams(AsyncStreamNode):
        def exec_stream_async(self, prep_res: Any) -> Any:
            return Gives()

    async def main() -> None:
        assert [each async for each in Streams().run_stream_async({})] == ["a", "b"]

    asyncio.run(main())


def test_it_is_closed_inside_of_an_override() -> None:
    """Of `_exec`, where what is yielded is emitted."""
    log: Log = []

    class Overrides(AsyncStreamNode):
        def exec_stream_async(self, prep_res: Any) -> Any:
            return Response(log, True)

        async def _exec(self, prep_res: Any) -> Any:
            return await super()._exec(prep_res)

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(AsyncFlow(Overrides()).run_async({}))
    assert log == ["generator", "response"]
