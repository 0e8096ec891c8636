"""LlamaIndex workflows: steps that are called with events and return events, all of them async."""

from __future__ import annotations

import asyncio
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import (
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
)

from ..batches import squares_below
from ..chunks import TEXT
from ..measure import Counter, expect
from .concurrent import Hear, at_once
from .peer import Peer
from .works import ASYNC_CHUNK, AWAITED_CHUNK, CONCURRENT, PARALLEL_ITEM, QUESTION, STEP

PEER = Peer("LlamaIndex", "llama-index-workflows", "workflows")
STREAM = "`write_event_to_stream`"


class Begin(StartEvent):
    """What a run begins with."""

    text: str = TEXT
    number: int
    wait: bool = False


class Said(Event):
    """A text on the stream."""

    text: str


class Talk(Workflow):
    """Writes a text to its stream."""

    @step
    async def talk(self, ctx: Context, ev: Begin) -> StopEvent:
        for _ in range(ev.number):
            if ev.wait:
                await asyncio.sleep(0)
            ctx.write_event_to_stream(Said(text=ev.text))
        return StopEvent(result=ev.number)


async def stream(workflow: Any, begin: Begin, hear: Hear) -> None:
    """Hand on what the workflow streams."""
    handler = workflow.run(start_event=begin)
    async for event in handler.stream_events():
        if isinstance(event, Said):
            hear(event.text)
    expect(await handler, begin.number, "the result")


def _chunks(number: int, wait: bool) -> None:
    counter = Counter()

    async def loop() -> None:
        await stream(Talk(timeout=None), Begin(number=number, wait=wait), counter.handler)

    asyncio.run(loop())
    expect(counter.count(), number, "the chunks streamed")


@PEER.does(ASYNC_CHUNK, units=20_000, way=STREAM)
def async_chunks(number: int) -> None:
    _chunks(number, wait=False)


@PEER.does(AWAITED_CHUNK, units=20_000, way=STREAM)
def awaited_chunks(number: int) -> None:
    _chunks(number, wait=True)


@PEER.does(CONCURRENT, units=100_000, way=STREAM)
def concurrent(number: int) -> None:
    workflow = Talk(timeout=None)

    async def run(text: str, chunks: int, hear: Hear) -> None:
        await stream(workflow, Begin(text=text, number=chunks, wait=True), hear)

    at_once(run, number)


class Planned(Event):
    """It is Act's turn."""

    steps: int
    number: int


class Acted(Event):
    """It is Plan's turn."""

    steps: int
    number: int


class Agent(Workflow):
    """Plan and Act take turns."""

    @step
    async def plan(self, ev: Begin | Acted) -> Planned | StopEvent:
        taken = ev.steps + 1 if isinstance(ev, Acted) else 1
        if taken < ev.number:
            return Planned(steps=taken, number=ev.number)
        return StopEvent(result=taken)

    @step
    async def act(self, ev: Planned) -> Acted | StopEvent:
        taken = ev.steps + 1
        if taken < ev.number:
            return Acted(steps=taken, number=ev.number)
        return StopEvent(result=taken)


async def _result(workflow: Any, number: int) -> Any:
    return await workflow.run(start_event=Begin(number=number))


@PEER.does(STEP, units=5_000)
def steps(number: int) -> None:
    taken = asyncio.run(_result(Agent(timeout=None), number))
    expect(taken, number, "the steps taken")


class Item(Event):
    """An item of the batch."""

    value: int


class Squared(Event):
    """An item is done."""

    square: int


class Batch(Workflow):
    """Squares the numbers below one, four at a time as is the default."""

    @step
    async def begin(self, ev: Begin) -> list[Item]:
        return [Item(value=value) for value in range(ev.number)]

    @step
    async def square(self, ev: Item) -> Squared:
        return Squared(square=ev.value * ev.value)

    @step
    async def end(self, evs: list[Squared]) -> StopEvent:
        return StopEvent(result=sum(ev.square for ev in evs))


@PEER.does(PARALLEL_ITEM, units=500, way="`list[Event]`")
def parallel_items(number: int) -> None:
    result = asyncio.run(_result(Batch(timeout=None), number))
    expect(result, squares_below(number), "the sum of the squares")


class Asked(InputRequiredEvent):
    """A question, and what there is so far."""

    asked: int
    total: int


class Answered(HumanResponseEvent):
    """Its answer."""

    asked: int
    total: int


class Asks(Workflow):
    """Asks until it has asked often enough."""

    number: int

    @step
    async def begin(self, ev: Begin) -> Asked:
        return Asked(asked=1, total=0)

    @step
    async def take(self, ev: Answered) -> Asked | StopEvent:
        if ev.asked < self.number:
            return Asked(asked=ev.asked + 1, total=ev.total)
        return StopEvent(result=ev.total)


@PEER.does(QUESTION, units=1_000, way="`InputRequiredEvent`")
def questions(number: int) -> None:
    async def answered() -> None:
        workflow = Asks(timeout=None)
        workflow.number = number
        handler = workflow.run(start_event=Begin(number=number))
        async for event in handler.stream_events():
            if isinstance(event, Asked):
                answer = Answered(asked=event.asked, total=event.total + 1)
                await handler.send_event(answer)
        expect(await handler, number, "the answers added up")

    asyncio.run(answered())
