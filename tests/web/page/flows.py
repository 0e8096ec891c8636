"""Flows for the tests of the page, and their server: `uvicorn tests.web.page.flows:app`.

They wait at gates: `shared["gates"]` is a folder, and a gate is open once there is a file of its
name in it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field
from starlette.applications import Starlette
from starlette.routing import Mount

from flowevents import (
    Ask,
    AsyncAskNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Flow,
    SQLiteJournal,
    StreamNode,
)
from flowevents.web import RunServer
from tests.hostile import HOSTILE

Shared = dict[str, Any]


async def passed(gates: str, name: str) -> None:
    """Wait at a gate."""
    while not (Path(gates) / name).exists():  # noqa: ASYNC110 (another process opens it)
        await asyncio.sleep(0.005)


class Gated(AsyncStreamNode):
    """Says half of it, waits at the gate that is named as itself, and says the rest."""

    async def prep_async(self, shared: Shared) -> Any:
        return shared["gates"]

    async def exec_stream_async(self, gates: str) -> AsyncIterator[str]:
        name = type(self).__name__
        for number in range(1, 4):
            yield f"{name} {number}\n"
        await passed(gates, name)
        for number in range(4, 7):
            yield f"  {name} {number}\n"


class Left(Gated):
    """One side."""


class Right(Gated):
    """The other; it fails at first."""

    async def exec_stream_async(self, gates: str) -> AsyncIterator[str]:
        if self.cur_retry == 0:
            yield "Wrong"
            await passed(gates, "Wrong")
            raise ValueError("the model broke off")
        async for text in super().exec_stream_async(gates):
            yield text


class Fork(AsyncNode):
    """Leads to the side that the pass is for."""

    async def post_async(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
        return self.params["side"]


class Sides(AsyncParallelBatchFlow):
    """Both at once."""

    async def prep_async(self, shared: Shared) -> list[dict[str, str]]:
        return [{"side": "left"}, {"side": "right"}]


class Choose(AsyncAskNode):
    """Asks for one of some."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("Which side is better?", choices=["the left one", "the right one", 3, True])


class Release(Struct):
    """What is asked for by a form."""

    version: str
    count: Annotated[int, Meta(ge=1, le=9, description="From 1 to 9")]
    ratio: float
    publish: bool
    channel: Literal["beta", "stable"]
    note: str | None = None
    tags: list[str] = []


class Fill(AsyncAskNode):
    """Asks by a form."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("What is to be released?", type=Release)


class Close(AsyncStreamNode):
    """Says what was answered."""

    async def prep_async(self, shared: Shared) -> None:
        return None

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        yield "Closed."


def desk() -> AsyncFlow:
    """Two sides at once, a choice, a form."""
    fork = Fork()
    fork - "left" >> Left()
    fork - "right" >> Right(max_retries=2)
    sides = Sides(fork)
    sides >> Choose() >> Fill() >> Close()
    return AsyncFlow(sides)


class Defaults(Struct):
    """Whatever has a default."""

    text: str = "two\nlines"
    kind: Literal["a", "b"] = "b"
    maybe: Literal["c", "d"] | None = "d"
    number: int = 3
    yes: bool = True
    words: list[str] = field(default_factory=lambda: ["w"])
    inner: Release | None = None


class Any_(AsyncAskNode):
    """Asks what it is told to."""

    kinds: dict[str, Any] = {  # noqa: RUF012
        "text": None,
        "bool": bool,
        "int": int,
        "float": float,
        "enum": Literal["red", "green"],
        "list": list[int],
        "maybe": int | None,
        "defaults": Defaults,
    }

    async def prep_async(self, shared: Shared) -> Any:
        return shared["kind"]

    def question(self, prep_res: str) -> Ask:
        return Ask("Well?", type=self.kinds[prep_res])

    async def post_async(self, shared: Shared, prep_res: str, exec_res: Any) -> None:
        shared["answer"] = exec_res


class Pages(AsyncParallelBatchNode, AsyncStreamNode):
    """A batch with labels; its second item fails."""

    async def prep_async(self, shared: Shared) -> list[str]:
        return ["intro", "middle", "end"]

    def item_label(self, item: str) -> str:
        return item

    async def exec_stream_async(self, item: str) -> AsyncIterator[str]:
        for number in range(1, 4):
            yield f"{item} {number} "
            self.progress(number, 3, "parts")
            await asyncio.sleep(0)
        if item == "middle":
            raise ValueError("no middle")


class Search(StreamNode):
    """A sync node, in a flow of its own."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        self.emit({"file": "README.md", "line": 3}, kind="found")
        yield "It stands\n\n    in the README."


def research() -> AsyncFlow:
    """A nested flow, then a batch that goes on over a failure."""
    nested = Flow(Search())
    nested.node_name = "Research"
    pages = Pages(return_exceptions=True)
    nested >> pages
    return AsyncFlow(nested)


class Fail(AsyncNode):
    """Fails."""

    async def exec_async(self, prep_res: Any) -> None:
        raise RuntimeError("the disk is full")


class Count(AsyncStreamNode):
    """Goes on for long."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        for number in range(1, 1_500):
            yield f"line {number}\n"
            await asyncio.sleep(0.02)


class Rush(AsyncStreamNode):
    """A thousand chunks a second, for ten seconds."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        begun = time.monotonic()
        for number in range(1, 10_001):
            yield f"chunk {number} "
            if number % 20 == 0:
                await asyncio.sleep(max(0.0, begun + number / 1_000 - time.monotonic()))


class Hostile(AsyncStreamNode):
    """Says, asks and fails with all that a model might write to harm who reads it."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        for name, text in HOSTILE.items():
            yield f"{name}: {text}\n"
            self.emit(text, kind=text or "empty")
            self.progress(1, 2, text)
            await asyncio.sleep(0)
        yield Ask(HOSTILE["html"], choices=[HOSTILE["svg"], HOSTILE["markup"]])
        raise ValueError(HOSTILE["html"])


def hostile() -> AsyncFlow:
    """Also its node has such a name."""
    node = Hostile()
    node.node_name = HOSTILE["html"]
    return AsyncFlow(node)


class Odd(AsyncStreamNode):
    """Says what few would: numbers that are none, deep and empty data, a kind without a name."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        self.progress(2.5, None, "endless")
        data: Any
        for data in (None, [], {}, 0, float("nan"), b"bytes", [[[[["deep"]]]]], "", "x" * 9_000):
            yield data
            self.emit(data, kind="")
        yield Ask({"any": ["data"]}, choices=[None, "", {"a": 1}, "x" * 300])


class Talk(AsyncParallelBatchNode, AsyncStreamNode):
    """Two items that ask at once."""

    async def prep_async(self, shared: Shared) -> list[str]:
        return ["tea", "coffee"]

    async def exec_stream_async(self, item: str) -> AsyncIterator[Any]:
        answer = yield Ask(f"How much {item}?")
        yield f"{item}: {answer}"


FLOWS: dict[str, Any] = {
    "desk": desk(),
    "any": AsyncFlow(Any_()),
    "research": research(),
    "fail": AsyncFlow(Fail()),
    "count": AsyncFlow(Count()),
    "rush": AsyncFlow(Rush()),
    "hostile": hostile(),
    "odd": AsyncFlow(Odd()),
    "talk": AsyncFlow(Talk()),
    'a "quoted" <flow>': AsyncFlow(Close()),
}

database = os.environ.get("PAGE_DB")
app = RunServer(
    FLOWS,
    journal=SQLiteJournal(database, lease=2) if database else None,
    state_types=[Release, Defaults],
)

mounted = Starlette(routes=[Mount("/deep/below", app)])
