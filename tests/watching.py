"""How tests run a node sync and in a loop, and what they see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from flowevents import Chunk, Event
from flowevents.testing import check_events

__all__ = ["Watched", "Way", "in_loop"]

T = TypeVar("T")


class Hung(BaseException):
    """A run did not end."""


def in_loop(main: Callable[[], Awaitable[T]], *, patience: float = 30) -> T:
    """Run a coroutine function in a loop of its own, as `asyncio.run`, but with a time limit.

    What does not end within `patience` seconds fails the test, also where it would swallow its
    cancellation; so does what fails unseen in the loop.
    """
    unseen: list[dict[str, Any]] = []
    ended: list[asyncio.Task[T]] = []

    async def awaited() -> T:
        return await main()

    async def watched() -> None:
        task = asyncio.create_task(awaited())
        await asyncio.wait([task], timeout=patience)
        if not task.done():
            return
        ended.append(task)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: unseen.append(context))
    try:
        loop.run_until_complete(watched())
        if not ended:
            raise Hung(f"it did not end within {patience} seconds")
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    result = ended[0].result()
    assert not unseen
    return result


class Watched:
    """What was seen of a run, which is well-formed.

    Attributes:
        events: Every event.
        returned, error: What came of it.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.returned: Any = None
        self.error: BaseException | None = None

    def data(self, kind: str = "output") -> list[Any]:
        """What its chunks hold."""
        return [e.data for e in self.events if isinstance(e, Chunk) and e.kind == kind]

    def of(self, *types: type[Event]) -> list[Any]:
        """The events of these types."""
        return [event for event in self.events if isinstance(event, types)]

    def names(self) -> list[str]:
        """The names of the signals, in order."""
        return [event.signal for event in self.events]


class Way:
    """How a test runs a node: in a sync run or in an async one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, node: Any, shared: Any = None, **options: Any) -> Any:
        """Run it as users do, and give the action."""
        shared = {} if shared is None else shared
        if self.name == "sync":
            return node.run(shared, **options)
        return in_loop(lambda: node.run_async(shared, **options))

    def watch(self, node: Any, shared: Any = None, **options: Any) -> Watched:
        """Run it observed, and check the events; an error is kept."""
        watched = Watched()
        try:
            watched.returned = self.run(node, shared, observers=[watched.events.append], **options)
        except Exception as error:
            watched.error = error
        check_events(watched.events)
        return watched

    def streamed(self, node: Any, shared: Any = None, **options: Any) -> list[Any]:
        """What its stream gives."""
        shared = {} if shared is None else shared
        if self.name == "sync":
            return list(node.run_stream(shared, **options))

        async def collect() -> list[Any]:
            return [chunk async for chunk in node.run_stream_async(shared, **options)]

        return in_loop(collect)
