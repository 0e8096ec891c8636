"""Plain Python: what each work costs with nothing between its parts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import closing

from ..batches import squares_below
from ..chunks import TEXT, bare_async_loop, bare_loop
from ..measure import Counter, expect
from .concurrent import Hear, at_once
from .peer import Handler, Peer
from .storage import database
from .works import (
    ASYNC_CHUNK,
    AWAITED_CHUNK,
    CHUNK,
    CONCURRENT,
    ITEM,
    KEPT_QUESTION,
    PARALLEL_ITEM,
    QUESTION,
    STEP,
)

PEER = Peer("plain Python", "", "asyncio")


@PEER.dispatches(units=3_000_000)
def send(handlers: Sequence[Handler], times: int) -> None:
    event = object()
    for _ in range(times):
        for handler in handlers:
            handler(event)


PEER.does(CHUNK, units=5_000_000)(bare_loop)
PEER.does(ASYNC_CHUNK, units=5_000_000)(bare_async_loop)


async def texts(text: str, number: int) -> AsyncIterator[str]:
    """A text so many times, each after the others had their turn."""
    for _ in range(number):
        await asyncio.sleep(0)
        yield text


@PEER.does(AWAITED_CHUNK, units=100_000)
def awaited_chunks(number: int) -> None:
    counter = Counter()

    async def loop() -> None:
        handler = counter.handler
        async for text in texts(TEXT, number):
            handler(text)

    asyncio.run(loop())
    expect(counter.count(), number, "the chunks handled")


@PEER.does(STEP, units=1_000_000)
def steps(number: int) -> None:
    def prep(shared: dict[str, int]) -> int:
        return shared["steps"]

    def add_one(prep_res: int) -> int:
        return prep_res + 1

    def plan_post(shared: dict[str, int], exec_res: int) -> str:
        shared["steps"] = exec_res
        return "act" if exec_res < number else "done"

    def act_post(shared: dict[str, int], exec_res: int) -> str:
        shared["steps"] = exec_res
        return "plan" if exec_res < number else "done"

    nodes = {"plan": (prep, add_one, plan_post), "act": (prep, add_one, act_post)}
    shared = {"steps": 0}
    action = "plan"
    while action != "done":
        before, do, after = nodes[action]
        action = after(shared, do(before(shared)))
    expect(shared["steps"], number, "the steps taken")


@PEER.does(ITEM, units=2_000_000)
def items(number: int) -> None:
    def square(value: int) -> int:
        return value * value

    expect(sum([square(value) for value in range(number)]), squares_below(number), "the sum")


@PEER.does(PARALLEL_ITEM, units=100_000)
def parallel_items(number: int) -> None:
    async def square(value: int) -> int:
        return value * value

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(square(value) for value in range(number)))

    expect(sum(asyncio.run(all_of_them())), squares_below(number), "the sum")


def asks(number: int) -> Generator[str, int, int]:
    """Ask so many times, and return the sum of the answers."""
    total = 0
    for _ in range(number):
        total += yield "How many?"
    return total


def answer(node: Generator[str, int, int], at_each: Callable[[str], object] | None = None) -> int:
    """Answer every question with 1, after a call of `at_each`; the sum of the answers."""
    try:
        question = next(node)
        while True:
            if at_each is not None:
                at_each(question)
            question = node.send(1)
    except StopIteration as end:
        total: int = end.value
        return total


@PEER.does(QUESTION, units=2_000_000)
def questions(number: int) -> None:
    expect(answer(asks(number)), number, "the answers added up")


@PEER.does(KEPT_QUESTION, units=20_000)
def kept_questions(number: int) -> None:
    with database() as path, closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE asked (seq INTEGER PRIMARY KEY, question TEXT)")

        def keep(question: str) -> None:
            with connection:
                connection.execute("INSERT INTO asked (question) VALUES (?)", (question,))

        expect(answer(asks(number), keep), number, "the answers added up")
        (kept,) = connection.execute("SELECT count(*) FROM asked").fetchone()
    expect(kept, number, "the questions kept")


@PEER.does(CONCURRENT, units=100_000)
def concurrent(number: int) -> None:
    async def run(text: str, chunks: int, hear: Hear) -> None:
        async for each in texts(text, chunks):
            hear(each)

    at_once(run, number)
