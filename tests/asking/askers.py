"""Nodes that ask, in every form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from flowevents import (
    Ask,
    AskNode,
    AsyncAskNode,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Result,
    StreamNode,
)
from tests.driving import Driver


class Asking:
    """Has questions, notes in `shared` what its code does, and gives the answers."""

    asked: tuple[Ask, ...] = (Ask("Go on?"),)

    def __init__(self, *asked: Any, **options: Any) -> None:
        super().__init__(**options)
        if asked:
            self.asked = tuple(each if isinstance(each, Ask) else Ask(each) for each in asked)

    def prep(self, shared: Any) -> Any:
        return shared.setdefault("log", [])

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared.setdefault("answers", []).append(exec_res)
        return str(exec_res[-1] if exec_res else None)

    async def prep_async(self, shared: Any) -> Any:
        return Asking.prep(self, shared)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        return Asking.post(self, shared, prep_res, exec_res)


class Asks(Asking, StreamNode):
    """Asks its questions, one after the other."""

    def exec_stream(self, log: Any) -> Generator[Any, Any, Any]:
        answers: list[Any] = []
        log.append("begun")
        try:
            for each in self.asked:
                answer = yield each
                log.append(answer)
                answers.append(answer)
        finally:
            log.append("left")
        yield f"answered: {answers}"
        return answers


class AsksAsync(Asking, AsyncStreamNode):
    """The same, async."""

    async def exec_stream_async(self, log: Any) -> AsyncIterator[Any]:
        answers: list[Any] = []
        log.append("begun")
        try:
            for each in self.asked:
                answer = yield each
                log.append(answer)
                answers.append(answer)
        finally:
            log.append("left")
        yield f"answered: {answers}"
        yield Result(answers)


async def put_all(node: Any, log: Any) -> list[Any]:
    """Ask a node's questions by `self.ask`."""
    answers: list[Any] = []
    log.append("begun")
    try:
        for each in node.asked:
            answer = await node.ask(
                each.prompt, choices=each.choices, type=each.type, expires=each.expires
            )
            log.append(answer)
            answers.append(answer)
    finally:
        log.append("left")
    return answers


class Awaits(Asking, AsyncNode):
    """The same, awaited."""

    async def exec_async(self, log: Any) -> Any:
        answers = await put_all(self, log)
        self.emit(f"answered: {answers}")
        return answers


class AwaitsInStream(Asking, AsyncStreamNode):
    """The same, awaited in an async generator."""

    async def exec_stream_async(self, log: Any) -> AsyncIterator[Any]:
        answers = await put_all(self, log)
        yield f"answered: {answers}"
        yield Result(answers)


Make = Callable[..., Any]

WAYS: dict[str, tuple[str, Make]] = {
    "sync, yielded": ("sync", Asks),
    "async, yielded by a plain generator": ("async", Asks),
    "async, yielded": ("async", AsksAsync),
    "async, awaited": ("async", Awaits),
    "async, awaited in a generator": ("async", AwaitsInStream),
}


def asks(driver: Driver, *asked: Any, **options: Any) -> Any:
    """A node that asks, and that is async where the run is."""
    return (Asks if driver.loop is None else AsksAsync)(*asked, **options)


class EachAtOnce(AsyncParallelBatchNode):
    """All items ask at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["items"]

    async def exec_async(self, item: Any) -> Any:
        self.emit(f"begin {item}")
        answer = await self.ask(item)
        self.emit(f"end {item}")
        return answer

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res


class StreamEachAtOnce(AsyncStreamNode, AsyncParallelBatchNode):
    """All items ask at the same time, and stream."""

    prep_async = EachAtOnce.prep_async
    post_async = EachAtOnce.post_async

    async def exec_stream_async(self, item: Any) -> AsyncIterator[Any]:
        yield f"begin {item}"
        answer = yield Ask(item)
        yield f"end {item}"
        yield Result(answer)


PARALLEL: list[Make] = [EachAtOnce, StreamEachAtOnce]


class PerItemAtOnce(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return [{"name": each} for each in shared.get("items", "abc")]


class AskName(AskNode):
    """Asks for what its flow's item is called."""

    def question(self, prep_res: Any) -> Ask:
        return Ask(self.params["name"])

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.setdefault("named", {})[self.params["name"]] = exec_res


class AskNameAsync(AsyncAskNode):
    """The same, async."""

    async def question_async(self, prep_res: Any) -> Ask:
        await asyncio.sleep(0)
        return Ask(self.params["name"])

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        AskName.post(self, shared, prep_res, exec_res)  # type: ignore[arg-type]


class Inner(EachAtOnce):
    """The items of an item, which ask at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        return [f"{self.params['name']}{index}" for index in range(2)]

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.setdefault("named", {})[self.params["name"]] = exec_res
