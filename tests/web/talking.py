"""Servers of flows in which everything happens that a protocol has to tell; `uvicorn` runs them.

`RUNS_DB` names the file of their journal; without it runs are kept in memory. `WITHOUT` names a
package that is not there.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from starlette.requests import Request

from flowevents import (
    Ask,
    AskNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Expired,
    Flow,
    Node,
    SQLiteJournal,
    StreamNode,
)
from flowevents.web import RunServer
from tests.hostile import HOSTILE

__all__ = ["FLOWS", "app", "greeting", "impatient"]


class Echo(StreamNode):
    """Says what was said last, and keeps it."""

    def prep(self, shared: Any) -> Any:
        return shared["messages"][-1]["content"], shared.get("greeting", "You said")

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        said, greeting = prep_res
        yield f"{greeting}: "
        yield said

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["answer"] = "".join(exec_res)
        return "said"


class Quiet(Node):
    """Says nothing."""


class Fails(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "half"
        raise ValueError("no page")


class Retries(StreamNode):
    """Fails twice, having said something, then says it."""

    def __init__(self) -> None:
        super().__init__(max_retries=3)

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield f"try {self.cur_retry} "
        yield "void" if self.cur_retry < 2 else "done"
        if self.cur_retry < 2:
            raise OSError("reset")


class Work(AsyncNode):
    """Publishes what is no text."""

    async def exec_async(self, prep_res: Any) -> None:
        self.progress(1, 2, "half")
        self.emit({"title": "a source"}, kind="source")
        self.emit("a thought", kind="thought")
        self.emit({"no": "text"})
        self.progress(2, 2, "whole")


class Read(AsyncParallelBatchNode, AsyncStreamNode):
    """Streams from three items at the same time; the second is tried twice."""

    def __init__(self) -> None:
        super().__init__(max_retries=2)

    async def prep_async(self, shared: Any) -> list[int]:
        return [0, 1, 2]

    def item_label(self, item: int) -> str:
        return f"page {item}"

    async def exec_stream_async(self, item: int) -> AsyncIterator[str]:
        for word in ("one ", "two "):
            await asyncio.sleep(0)
            yield f"{item} {word}"
        tries = self.params.setdefault("tries", set())
        if item == 1 and item not in tries:
            tries.add(item)
            raise OSError("reset")


class Pages(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{"page": 0}, {"page": 1}]


class Say(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        await asyncio.sleep(0)
        yield f"page {self.params['page']} "
        await asyncio.sleep(0)
        yield "said"


@dataclass
class Form:
    """What is asked for."""

    title: str
    copies: int

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise ValueError("at least one copy")


class Asks(AsyncStreamNode):
    """Speaks, asks twice, and goes on speaking."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncGenerator[Any, Any]:
        yield "before "
        answer = yield Ask("Ship it?", choices=["yes", "no"])
        yield f"{answer} "
        form = yield Ask("Which?", type=Form)
        yield f"{form.copies} of {form.title}"


class Pair(AsyncParallelBatchNode):
    """Speaks before and after its two items, which both have begun when the first asks."""

    async def prep_async(self, shared: Any) -> list[int]:
        self.emit("Both: ")
        return [0, 1]

    async def exec_async(self, item: int) -> str:
        await asyncio.sleep(0.01)
        return str(await self.ask(f"Item {item}?", choices=["yes", "no"]))

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["answers"] = exec_res
        self.emit(" and ".join(exec_res))


class Queue(BatchNode, StreamNode):
    """Asks of one item after the other."""

    def prep(self, shared: Any) -> list[int]:
        return [0, 1, 2]

    def exec_stream(self, item: int) -> Generator[Any, Any, str]:
        yield f"{item} "
        answer: str = yield Ask(f"Item {item}?", choices=["yes", "no"])
        yield answer
        return answer

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["answers"] = exec_res


class Team(AsyncParallelBatchNode, AsyncStreamNode):
    """Two items ask while a third speaks."""

    async def prep_async(self, shared: Any) -> list[int]:
        return [0, 1, 2]

    async def exec_stream_async(self, item: int) -> AsyncGenerator[Any, Any]:
        yield f"{item} begins "
        if item < 2:
            answer = yield Ask(f"Item {item}?", choices=["yes", "no"])
            yield f"{item} {answer}"
        else:
            for index in range(20):
                await asyncio.sleep(0)
                yield f"{index} "


class Late(AsyncStreamNode):
    """Asks what nobody answers in time, and goes on."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncGenerator[Any, Any]:
        try:
            yield Ask("Still there?", expires=0.2)
        except Expired:
            yield "nobody"


class Forever(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        index = 0
        while True:
            yield f"{index} "
            index += 1
            await asyncio.sleep(0.01)


class Counts(AsyncStreamNode):
    """Speaks for about a second."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        for index in range(50):
            yield f"{index} "
            await asyncio.sleep(0.02)


class Hostile(StreamNode):
    """Says and asks what would harm who does not escape it."""

    node_name = "Hostile </script>\n\ndata: forged"

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield from HOSTILE.values()
        yield {text: text for text in HOSTILE.values()}
        yield "data: forged\n\nevent: end\r\rid: 1\r\n\r\n"
        yield Ask("".join(HOSTILE.values()), choices=list(HOSTILE.values()))


class Draft(StreamNode):
    """The letter of docs/front-ends.md; what it begins with is void."""

    def __init__(self) -> None:
        super().__init__(max_retries=2)

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        if not self.cur_retry:
            yield "Hi "
            raise OSError("reset")
        yield from ("Dear ", "Ada, …")


class Approve(AskNode):
    def question(self, prep_res: Any) -> Ask:
        return Ask("Send it?", choices=["yes", "no"])


class Send(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "Sent."


class Rounds(BatchFlow):
    def prep(self, shared: Any) -> list[dict[str, Any]]:
        return [{"round": 0}, {"round": 1}]


def chain(*nodes: Any) -> Any:
    """The first of these nodes, which lead from one to the next."""
    for one, other in pairwise(nodes):
        one >> other
    return nodes[0]


def may(request: Request, action: str, run_id: str | None) -> bool:
    """Whether the request says so itself; anything, where it says nothing."""
    return action in request.headers.get("x-may", action).split()


def greeted(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """What a run gets: with the greeting that the request wants."""
    return {
        "messages": [{"role": "user", "content": "Hello"}],
        "greeting": request.headers.get("x-greeting", f"From {sorted(body)}"),
    }


FLOWS: dict[str, Any] = {
    "echo": Flow(Echo()),
    "empty": Flow(chain(Quiet(), Quiet())),
    "fails": Flow(chain(Quiet(), Fails())),
    "retries": Flow(Retries()),
    "much": AsyncFlow(chain(Work(), AsyncFlow(chain(Read(), Read())), Pages(Say()))),
    "rounds": Rounds(chain(Quiet(), Flow(Retries()))),
    "asks": AsyncFlow(Asks()),
    "pair": AsyncFlow(Pair()),
    "queue": Flow(Queue()),
    "team": AsyncFlow(Team()),
    "late": AsyncFlow(Late()),
    "forever": AsyncFlow(Forever()),
    "counts": AsyncFlow(Counts()),
    "hostile": Flow(Hostile()),
    "letter": Flow(chain(Draft(), Approve(), Send())),
}

if "WITHOUT" in os.environ:
    sys.modules[os.environ["WITHOUT"]] = None  # type: ignore[assignment]

_database = os.environ.get("RUNS_DB")
_options: Any = {
    "journal": SQLiteJournal(_database, lease=1) if _database else None,
    "authorize": may,
    "state_types": [Form],
}
app = RunServer(FLOWS, **_options)
greeting = RunServer(FLOWS, shared=greeted, **_options)
impatient = RunServer(FLOWS, unwatched=0.5, **_options)
