"""The OpenAI Agents SDK with a model that answers at once, tracing off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from agents import (
    Agent,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from agents.items import ModelResponse
from agents.models.interface import Model
from agents.testing import assistant_message, function_call
from agents.usage import Usage
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseTextDeltaEvent,
)

from ..chunks import TEXT
from ..measure import Counter, expect
from .concurrent import Hear, at_once
from .peer import Peer
from .works import ASYNC_CHUNK, AWAITED_CHUNK, CONCURRENT, QUESTION, STEP

PEER = Peer("OpenAI Agents", "openai-agents", "agents")
STREAM = "`run_streamed`"


class Talks(Model):
    """A model that streams a text so many times."""

    def __init__(self, text: str, number: int, wait: bool) -> None:
        self.text, self.number, self.wait = text, number, wait

    async def get_response(self, *args: Any, **options: Any) -> ModelResponse:
        """Not asked without streaming."""
        raise NotImplementedError

    async def stream_response(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        """The texts as the deltas of one message."""
        for at in range(self.number):
            if self.wait:
                await asyncio.sleep(0)
            yield ResponseTextDeltaEvent(
                type="response.output_text.delta",
                item_id="message",
                output_index=0,
                content_index=0,
                sequence_number=at,
                logprobs=[],
                delta=self.text,
            )
        yield ResponseCompletedEvent(
            type="response.completed",
            sequence_number=self.number,
            response=Response(
                id="response",
                created_at=0,
                model="model",
                object="response",
                output=[assistant_message("said")],
                parallel_tool_calls=False,
                tool_choice="auto",
                tools=[],
            ),
        )


async def stream(text: str, number: int, wait: bool, hear: Hear) -> None:
    """Hand on the deltas of the run."""
    result = Runner.run_streamed(Agent("Talker", model=Talks(text, number, wait)), "Talk.")
    async for event in result.stream_events():
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
            hear(event.data.delta)
    expect(result.final_output, "said", "the final output")


def _chunks(number: int, wait: bool) -> None:
    set_tracing_disabled(True)
    counter = Counter()
    asyncio.run(stream(TEXT, number, wait, counter.handler))
    expect(counter.count(), number, "the chunks streamed")


@PEER.does(ASYNC_CHUNK, units=20_000, way=STREAM)
def async_chunks(number: int) -> None:
    _chunks(number, wait=False)


@PEER.does(AWAITED_CHUNK, units=20_000, way=STREAM)
def awaited_chunks(number: int) -> None:
    _chunks(number, wait=True)


@PEER.does(CONCURRENT, units=100_000, way=STREAM)
def concurrent(number: int) -> None:
    set_tracing_disabled(True)

    async def run(text: str, chunks: int, hear: Hear) -> None:
        await stream(text, chunks, True, hear)

    at_once(run, number)


class Calls(Model):
    """A model that calls a tool so many times, then says that it is done."""

    def __init__(self, tool: str, number: int) -> None:
        self.tool, self.left = tool, number

    async def get_response(self, *args: Any, **options: Any) -> ModelResponse:
        """A call of the tool, or the end."""
        self.left -= 1
        output: Any = assistant_message("done")
        if self.left >= 0:
            output = function_call(self.tool, json.dumps({}), call_id=f"call {self.left}")
        return ModelResponse(output=[output], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        """Not asked to stream."""
        raise NotImplementedError


@PEER.does(STEP, units=200, way="a turn of the model and one of its tool are two")
def steps(number: int) -> None:
    set_tracing_disabled(True)
    calls = 0

    @function_tool
    async def act() -> str:
        """Act."""
        nonlocal calls
        calls += 1
        return "acted"

    turns = number // 2
    agent = Agent("Agent", model=Calls("act", turns), tools=[act])
    result = asyncio.run(Runner.run(agent, "Act.", max_turns=turns + 1))
    expect(result.final_output, "done", "the final output")
    expect(calls, turns, "the calls of the tool")


@PEER.does(QUESTION, units=100, way="`needs_approval`")
def questions(number: int) -> None:
    set_tracing_disabled(True)
    calls = 0

    @function_tool(needs_approval=True)
    async def act() -> str:
        """Act."""
        nonlocal calls
        calls += 1
        return "acted"

    async def approved() -> int:
        agent = Agent("Agent", model=Calls("act", number), tools=[act])
        pauses = 0
        result = await Runner.run(agent, "Act.", max_turns=number + 1)
        while result.interruptions:
            pauses += 1
            state = result.to_state()
            state.approve(result.interruptions[0])
            result = await Runner.run(agent, state, max_turns=number + 1)
        return pauses

    expect(asyncio.run(approved()), number, "the pauses")
    expect(calls, number, "the calls of the tool")
