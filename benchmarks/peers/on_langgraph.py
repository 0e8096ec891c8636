"""LangGraph: a node writes to the stream, who streams the graph reads it with
`stream_mode="custom"`."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, StreamWriter, interrupt

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

PEER = Peer("LangGraph", "langgraph", "langgraph.graph")
CUSTOM = '`stream_mode="custom"`'


class Talk(TypedDict):
    """The state of a graph whose node gives a text."""

    text: str
    number: int


def one_node(node: Any) -> Any:
    """A graph of one node."""
    graph = StateGraph(Talk)
    graph.add_node("talk", node)
    graph.add_edge(START, "talk")
    graph.add_edge("talk", END)
    return graph.compile()


def talk(state: Talk, writer: StreamWriter) -> None:
    for _ in range(state["number"]):
        writer(state["text"])


async def async_talk(state: Talk, writer: StreamWriter) -> None:
    for _ in range(state["number"]):
        writer(state["text"])


async def waiting_talk(state: Talk, writer: StreamWriter) -> None:
    for _ in range(state["number"]):
        await asyncio.sleep(0)
        writer(state["text"])


@PEER.does(CHUNK, units=100_000, way=CUSTOM)
def chunks(number: int) -> None:
    counter = Counter()
    handler = counter.handler
    for text in one_node(talk).stream({"text": TEXT, "number": number}, stream_mode="custom"):
        handler(text)
    expect(counter.count(), number, "the chunks streamed")


async def stream(graph: Any, text: str, number: int, hear: Hear) -> None:
    """Hand on what the graph streams."""
    async for each in graph.astream({"text": text, "number": number}, stream_mode="custom"):
        hear(each)


@PEER.does(ASYNC_CHUNK, units=100_000, way=CUSTOM)
def async_chunks(number: int) -> None:
    counter = Counter()
    asyncio.run(stream(one_node(async_talk), TEXT, number, counter.handler))
    expect(counter.count(), number, "the chunks streamed")


@PEER.does(AWAITED_CHUNK, units=50_000, way=CUSTOM)
def awaited_chunks(number: int) -> None:
    counter = Counter()
    asyncio.run(stream(one_node(waiting_talk), TEXT, number, counter.handler))
    expect(counter.count(), number, "the chunks streamed")


@PEER.does(CONCURRENT, units=100_000, way=CUSTOM)
def concurrent(number: int) -> None:
    graph = one_node(waiting_talk)

    async def run(text: str, chunks: int, hear: Hear) -> None:
        await stream(graph, text, chunks, hear)

    at_once(run, number)


class Steps(TypedDict):
    """The state of the agent."""

    steps: int
    limit: int


def plan(state: Steps) -> dict[str, int]:
    return {"steps": state["steps"] + 1}


def act(state: Steps) -> dict[str, int]:
    return {"steps": state["steps"] + 1}


@PEER.does(STEP, units=20_000, way="`invoke`")
def steps(number: int) -> None:
    graph = StateGraph(Steps)
    graph.add_node("plan", plan)
    graph.add_node("act", act)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda s: "act" if s["steps"] < s["limit"] else END)
    graph.add_conditional_edges("act", lambda s: "plan" if s["steps"] < s["limit"] else END)
    result = graph.compile().invoke({"steps": 0, "limit": number}, {"recursion_limit": number + 10})
    expect(result["steps"], number, "the steps taken")


class Squares(TypedDict):
    """The state of the batch."""

    number: int
    squares: Annotated[list[int], operator.add]


async def square(value: int) -> dict[str, list[int]]:
    return {"squares": [value * value]}


@PEER.does(PARALLEL_ITEM, units=5_000, way="`Send`")
def parallel_items(number: int) -> None:
    graph = StateGraph(Squares)
    graph.add_node("square", square)
    graph.add_conditional_edges(
        START, lambda state: [Send("square", value) for value in range(state["number"])], ["square"]
    )
    graph.add_edge("square", END)
    result = asyncio.run(graph.compile().ainvoke({"number": number, "squares": []}))
    expect(sum(result["squares"]), squares_below(number), "the sum of the squares")


class Asked(TypedDict):
    """The state of who asks."""

    asked: int
    limit: int
    total: int


def ask(state: Asked) -> dict[str, int]:
    answer = interrupt("How many?")
    return {"asked": state["asked"] + 1, "total": state["total"] + answer}


def answered(saver: Any, number: int) -> None:
    """Answer each question with 1; a node runs for each, since an interrupted one runs again."""
    graph = StateGraph(Asked)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", lambda s: "ask" if s["asked"] < s["limit"] else END)
    app = graph.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "one"}, "recursion_limit": number + 10}
    result = app.invoke({"asked": 0, "limit": number, "total": 0}, config)
    pauses = 0
    while "__interrupt__" in result:
        pauses += 1
        result = app.invoke(Command(resume=1), config)
    expect(pauses, number, "the pauses")
    expect(result["total"], number, "the answers added up")


@PEER.does(QUESTION, units=1_000, way="`interrupt`, `InMemorySaver`")
def questions(number: int) -> None:
    answered(InMemorySaver(), number)


@PEER.does(KEPT_QUESTION, units=500, way="`interrupt`, `SqliteSaver`")
def kept_questions(number: int) -> None:
    with database() as path, SqliteSaver.from_conn_string(path) as saver:
        answered(saver, number)
