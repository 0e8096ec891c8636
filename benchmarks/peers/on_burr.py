"""Burr: actions of a state, of which streaming ones are generators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from burr.core import ApplicationBuilder, ApplicationContext, State, action, expr, when
from burr.core.action import streaming_action
from burr.core.parallelism import MapStates
from burr.core.persistence import SQLitePersister

from ..batches import squares_below
from ..chunks import TEXT
from ..measure import Counter, expect
from .concurrent import Hear, at_once
from .peer import Peer
from .storage import database
from .works import (
    ASYNC_CHUNK,
    AWAITED_CHUNK,
    CHUNK,
    CONCURRENT,
    KEPT_QUESTION,
    PARALLEL_ITEM,
    QUESTION,
    STEP,
)

PEER = Peer("Burr", "apache-burr", "burr.core")
STREAM = "`streaming_action`"


@streaming_action(reads=["text", "number"], writes=["said"])
def talk(state: State) -> Generator[Any, None, None]:
    for _ in range(state["number"]):
        yield {"said": state["text"]}, None
    yield {"said": ""}, state.update(said="")


@streaming_action(reads=["text", "number"], writes=["said"])
async def async_talk(state: State) -> AsyncGenerator[Any, None]:
    for _ in range(state["number"]):
        yield {"said": state["text"]}, None
    yield {"said": ""}, state.update(said="")


@streaming_action(reads=["text", "number"], writes=["said"])
async def waiting_talk(state: State) -> AsyncGenerator[Any, None]:
    for _ in range(state["number"]):
        await asyncio.sleep(0)
        yield {"said": state["text"]}, None
    yield {"said": ""}, state.update(said="")


def one_action(talks: Any, text: str, number: int) -> Any:
    """An application of one action."""
    return (
        ApplicationBuilder()
        .with_actions(talk=talks)
        .with_state(text=text, number=number)
        .with_entrypoint("talk")
        .build()
    )


@PEER.does(CHUNK, units=500_000, way=STREAM)
def chunks(number: int) -> None:
    counter = Counter()
    handler = counter.handler
    _, container = one_action(talk, TEXT, number).stream_result(halt_after=["talk"])
    for result in container:
        handler(result["said"])
    expect(counter.count(), number, "the chunks streamed")


async def stream(talks: Any, text: str, number: int, hear: Hear) -> None:
    """Hand on what the action streams."""
    _, container = await one_action(talks, text, number).astream_result(halt_after=["talk"])
    async for result in container:
        hear(result["said"])


@PEER.does(ASYNC_CHUNK, units=200_000, way=STREAM)
def async_chunks(number: int) -> None:
    counter = Counter()
    asyncio.run(stream(async_talk, TEXT, number, counter.handler))
    expect(counter.count(), number, "the chunks streamed")


@PEER.does(AWAITED_CHUNK, units=100_000, way=STREAM)
def awaited_chunks(number: int) -> None:
    counter = Counter()
    asyncio.run(stream(waiting_talk, TEXT, number, counter.handler))
    expect(counter.count(), number, "the chunks streamed")


@PEER.does(CONCURRENT, units=100_000, way=STREAM)
def concurrent(number: int) -> None:
    async def run(text: str, chunks: int, hear: Hear) -> None:
        await stream(waiting_talk, text, chunks, hear)

    at_once(run, number)


@action(reads=["steps", "limit"], writes=["steps", "next"])
def plan(state: State) -> State:
    taken = state["steps"] + 1
    return state.update(steps=taken, next="act" if taken < state["limit"] else "done")


@action(reads=["steps", "limit"], writes=["steps", "next"])
def act(state: State) -> State:
    taken = state["steps"] + 1
    return state.update(steps=taken, next="plan" if taken < state["limit"] else "done")


@action(reads=[], writes=[])
def done(state: State) -> State:
    return state


@PEER.does(STEP, units=100_000, way="`run`")
def steps(number: int) -> None:
    app = (
        ApplicationBuilder()
        .with_actions(plan=plan, act=act, done=done)
        .with_transitions(
            ("plan", "act", when(next="act")),
            ("act", "plan", when(next="plan")),
            (["plan", "act"], "done", when(next="done")),
        )
        .with_state(steps=0, limit=number)
        .with_entrypoint("plan")
        .build()
    )
    _, _, state = app.run(halt_after=["done"])
    expect(state["steps"], number, "the steps taken")


@action(reads=["value"], writes=["square"])
def square(state: State) -> State:
    return state.update(square=state["value"] * state["value"])


class Squares(MapStates):
    """The squares of the numbers below one."""

    def action(self, state: State, inputs: dict[str, Any]) -> Any:
        return square

    def states(
        self, state: State, context: ApplicationContext, inputs: dict[str, Any]
    ) -> Generator[State, None, None]:
        for value in range(state["number"]):
            yield state.update(value=value)

    def reduce(self, state: State, results: Iterable[State]) -> State:
        return state.update(sum=sum(result["square"] for result in results))

    @property
    def reads(self) -> list[str]:
        return ["number"]

    @property
    def writes(self) -> list[str]:
        return ["sum"]


@PEER.does(PARALLEL_ITEM, units=5_000, way="`MapStates`, in threads")
def parallel_items(number: int) -> None:
    app = (
        ApplicationBuilder()
        .with_actions(squares=Squares())
        .with_state(number=number)
        .with_entrypoint("squares")
        .with_parallel_executor(ThreadPoolExecutor)
        .build()
    )
    _, _, state = app.run(halt_after=["squares"])
    expect(state["sum"], squares_below(number), "the sum of the squares")


@action(reads=["asked"], writes=["asked"])
def ask(state: State) -> State:
    return state.update(asked=state["asked"] + 1)


@action(reads=["total"], writes=["total"])
def take(state: State, answer: int) -> State:
    return state.update(total=state["total"] + answer)


def answered(builder: Any, number: int) -> None:
    """Answer each question with 1, as input of the action before which the application halts."""
    app = (
        builder.with_actions(ask=ask, take=take, done=done)
        .with_transitions(
            ("ask", "take"), ("take", "done", expr("asked == limit")), ("take", "ask")
        )
        .with_state(asked=0, limit=number, total=0)
        .with_entrypoint("ask")
        .build()
    )
    pauses = 0
    halted, _, state = app.run(halt_before=["take"], halt_after=["done"])
    while halted.name == "take":
        pauses += 1
        halted, _, state = app.run(halt_before=["take"], halt_after=["done"], inputs={"answer": 1})
    expect(pauses, number, "the pauses")
    expect(state["total"], number, "the answers added up")


@PEER.does(QUESTION, units=5_000, way="`halt_before`")
def questions(number: int) -> None:
    answered(ApplicationBuilder(), number)


@PEER.does(KEPT_QUESTION, units=2_000, way="`halt_before`, `SQLitePersister`")
def kept_questions(number: int) -> None:
    with database() as path, SQLitePersister(path) as persister:
        persister.initialize()
        answered(
            ApplicationBuilder().with_identifiers(app_id="one").with_state_persister(persister),
            number,
        )
