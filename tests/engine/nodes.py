"""Nodes that publish as they go, and observers of some types of event."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from typing import Any

import flowevents
from flowevents import AsyncNode, AsyncParallelBatchNode, BatchNode, Event, Node, StreamNode
from tests.driving import Driver
from tests.graphs import Graph, Halt
from tests.made_graphs import build, new_shared


class Say(StreamNode):
    """Yields and emits its words."""

    words: tuple[Any, ...] = ("a", "b")

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        for word in self.words:
            self.emit(f"note {word}", kind="note")
            yield word


class Ask(AsyncNode):
    """Emits, and waits in between."""

    async def exec_async(self, prep_res: Any) -> None:
        self.emit("before")
        await asyncio.sleep(0)
        self.emit("after")


class Each(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 2, 3]

    def exec(self, item: int) -> int:
        self.emit(item)
        return item


class EachAtOnce(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2, 3]

    async def exec_async(self, item: int) -> int:
        self.emit(item)
        await asyncio.sleep(0)
        return item

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res


def signals_of(*kinds: type[Event]) -> Any:
    """An observer of these types only, which keeps the events."""
    kept: list[Event] = []
    methods = {f"on_{kind.signal}": lambda self, event: kept.append(event) for kind in kinds}
    return type("Observer", (), {**methods, "kept": kept})()


def everything(driver: Driver) -> Any:
    """A flow of many kinds of nodes."""
    say = Say()
    say >> Each() >> Node() >> driver.flow(Say())
    return driver.flow(say)


def run_drawn(driver: Driver, spec: Graph, observer: Any) -> None:
    """Run a drawn graph with an observer; it may fail, as it was drawn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of flows that end without a successor
        shared = new_shared()
        try:
            driver.run(build(spec, flowevents, shared), shared, observers=[observer])
        except (ValueError, KeyError, Halt):
            pass


def without_numbers(event: Event) -> dict[str, Any]:
    """What an event says, but for its numbers and times."""
    left_out = ("run_id", "seq", "span", "parent", "time", "duration")
    return {"type": type(event)} | {
        name: getattr(event, name) for name in event.__struct_fields__ if name not in left_out
    }
