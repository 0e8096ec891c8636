"""pydantic-graph: steps joined by typed edges, all of them async.

Nothing inside of a step is seen from outside. What comes nearest is a step that is a stream, whose
items are mapped to another step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_graph import (
    BaseNode,
    End,
    GraphBuilder,
    GraphRunContext,
    StepContext,
    reduce_null,
    reduce_sum,
)

from ..batches import squares_below
from ..chunks import TEXT
from ..measure import Counter, expect
from .concurrent import Hear, at_once
from .peer import Peer
from .works import ASYNC_CHUNK, AWAITED_CHUNK, CONCURRENT, PARALLEL_ITEM, STEP

PEER = Peer("pydantic-graph", "pydantic-graph", "pydantic_graph")
STREAM = "a step for each item of a `stream`"


@dataclass
class Talk:
    """The state of a run that gives a text."""

    text: str
    number: int
    wait: bool
    hear: Hear


def talk_graph() -> Any:
    """A stream of texts, each of them mapped to a step that hears it."""
    builder = GraphBuilder(state_type=Talk)

    @builder.stream
    async def talk(ctx: StepContext[Talk, None, None]) -> AsyncIterator[str]:
        for _ in range(ctx.state.number):
            if ctx.state.wait:
                await asyncio.sleep(0)
            yield ctx.state.text

    @builder.step
    async def hear(ctx: StepContext[Talk, None, str]) -> None:
        ctx.state.hear(ctx.inputs)

    join = builder.join(reduce_null, initial=None)
    builder.add(
        builder.edge_from(builder.start_node).to(talk),
        builder.edge_from(talk).map().to(hear),
        builder.edge_from(hear).to(join),
        builder.edge_from(join).to(builder.end_node),
    )
    return builder.build()


def _chunks(number: int, wait: bool) -> None:
    counter = Counter()
    asyncio.run(talk_graph().run(state=Talk(TEXT, number, wait, counter.handler)))
    expect(counter.count(), number, "the chunks heard")


@PEER.does(ASYNC_CHUNK, units=10_000, way=STREAM)
def async_chunks(number: int) -> None:
    _chunks(number, wait=False)


@PEER.does(AWAITED_CHUNK, units=10_000, way=STREAM)
def awaited_chunks(number: int) -> None:
    _chunks(number, wait=True)


@PEER.does(CONCURRENT, units=20_000, way=f"{STREAM}, 200 runs")
def concurrent(number: int) -> None:
    graph = talk_graph()

    async def run(text: str, chunks: int, hear: Hear) -> None:
        await graph.run(state=Talk(text, chunks, True, hear))

    at_once(run, number)


@dataclass
class Steps:
    """The state of the agent."""

    limit: int
    steps: int = field(default=0)


@dataclass
class Plan(BaseNode[Steps, None, int]):
    """Plans."""

    async def run(self, ctx: GraphRunContext[Steps]) -> Act | End[int]:
        ctx.state.steps += 1
        return Act() if ctx.state.steps < ctx.state.limit else End(ctx.state.steps)


@dataclass
class Act(BaseNode[Steps, None, int]):
    """Acts."""

    async def run(self, ctx: GraphRunContext[Steps]) -> Plan | End[int]:
        ctx.state.steps += 1
        return Plan() if ctx.state.steps < ctx.state.limit else End(ctx.state.steps)


@PEER.does(STEP, units=100_000)
def steps(number: int) -> None:
    builder = GraphBuilder(state_type=Steps, output_type=int)

    @builder.step
    async def begin(ctx: StepContext[Steps, None, None]) -> Plan:
        return Plan()

    builder.add(
        builder.node(Plan),
        builder.node(Act),
        builder.edge_from(builder.start_node).to(begin),
    )
    taken = builder.build().run_sync(state=Steps(number))
    expect(taken, number, "the steps taken")


@PEER.does(PARALLEL_ITEM, units=10_000, way="`map`")
def parallel_items(number: int) -> None:
    builder = GraphBuilder(output_type=int)

    @builder.step
    async def values(ctx: StepContext[None, None, None]) -> list[int]:
        return list(range(number))

    @builder.step
    async def square(ctx: StepContext[None, None, int]) -> int:
        value: int = ctx.inputs
        return value * value

    join = builder.join(reduce_sum, initial=0)
    builder.add(
        builder.edge_from(builder.start_node).to(values),
        builder.edge_from(values).map().to(square),
        builder.edge_from(square).to(join),
        builder.edge_from(join).to(builder.end_node),
    )
    total = builder.build().run_sync()
    expect(total, squares_below(number), "the sum of the squares")
