"""Observers that give a step's code its context."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowevents import (
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchNode,
    Event,
    Flow,
    ItemStart,
    Node,
    NodeStart,
    ObserverError,
    StreamNode,
    observe,
)
from flowevents.testing import check_events
from tests.signals.heard import Drive, Heard, Hum, Tracer, everything, place, run_async, wait_async
from tests.stock import Talk


def seen(calls: list[tuple[str, str]], what: str) -> None:
    """Note in which context this is called."""
    calls.append((what, place.get()))


def test_every_call_into_a_step_is_made_in_its_context(drive: Drive) -> None:
    """`prep`, each step of a generator and its `finally`, retries, fallback and `post`."""
    calls: list[tuple[str, str]] = []

    class Works(StreamNode):
        def prep(self, shared: Any) -> None:
            seen(calls, "prep")

        def exec_stream(self, prep_res: Any) -> Iterator[int]:
            seen(calls, "begin")
            try:
                yield 1
                seen(calls, "go on")
                raise ValueError
            finally:
                seen(calls, "finally")

        def exec_fallback(self, prep_res: Any, exc: Exception) -> None:
            seen(calls, "fallback")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            seen(calls, "post")

    tracer = Tracer()
    node = Works(2)
    node >> Hum()
    drive(Flow(Flow(node)), observers=[tracer])
    attempt = ["begin", "go on", "finally"]
    assert [what for what, _ in calls] == ["prep", *attempt, *attempt, "fallback", "post"]
    assert {where for _, where in calls} == {"Flow/Works"}
    assert tracer.asked.kinds == ["NodeStart"] * 2
    assert place.get() == "nowhere"


def test_a_plain_node_runs_in_its_context(drive: Drive) -> None:
    """Nobody has to listen to any event besides."""
    calls: list[tuple[str, str]] = []

    class Works(Node):
        def prep(self, shared: Any) -> None:
            seen(calls, "prep")

        def exec(self, prep_res: Any) -> None:
            seen(calls, "exec")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            seen(calls, "post")

    class Contexts:
        def context(self, event: Event) -> contextvars.Context | None:
            return Tracer().context(event)

    drive(Flow(Works()), observers=[Contexts()])
    assert calls == [("prep", "Works"), ("exec", "Works"), ("post", "Works")]
    with observe(Contexts(), sender=Works):
        drive(Flow(Works()))
    assert calls == [("prep", "Works"), ("exec", "Works"), ("post", "Works")] * 2
    drive(Flow(Works()))
    assert calls[6:] == [("prep", "nowhere"), ("exec", "nowhere"), ("post", "nowhere")]


def test_each_item_runs_in_its_own_context(drive: Drive) -> None:
    """`exec` is an item's, `prep` and `post` are the node's."""
    calls: list[tuple[str, str]] = []

    class Items(BatchNode):
        def prep(self, shared: Any) -> list[int]:
            seen(calls, "prep")
            return [0, 1]

        def exec(self, prep_res: Any) -> None:
            seen(calls, "exec")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            seen(calls, "post")

    tracer = Tracer()
    drive(Flow(Items()), observers=[tracer])
    assert calls == [
        *[("prep", "Items"), ("exec", "Items[0]"), ("exec", "Items[1]"), ("post", "Items")]
    ]
    assert tracer.asked.kinds == ["NodeStart", "ItemStart", "ItemStart"]


def test_an_item_without_a_context_runs_in_that_of_its_node(drive: Drive) -> None:
    """Not in the one of the item before it."""
    calls: list[tuple[str, str]] = []

    class Items(BatchNode):
        def prep(self, shared: Any) -> list[int]:
            return [0, 1]

        def exec(self, prep_res: Any) -> None:
            seen(calls, "exec")

    class OfTheFirst(Tracer):
        def context(self, event: Event) -> contextvars.Context | None:
            return None if event.items == (1,) else super().context(event)

    drive(Flow(Items()), observers=[OfTheFirst()])
    assert calls == [("exec", "Items[0]"), ("exec", "Items")]


def test_items_are_drawn_in_the_context_of_their_node(drive: Drive) -> None:
    """A `prep` that is a generator is code of the node too."""
    calls: list[tuple[str, str]] = []

    class Lazily(BatchNode):
        def prep(self, shared: Any) -> Iterator[int]:
            seen(calls, "draw")
            yield 0
            seen(calls, "draw")
            yield 1

    drive(Flow(Lazily()), observers=[Tracer()])
    assert calls == [("draw", "Lazily"), ("draw", "Lazily")]


def test_async_code_runs_in_its_context() -> None:
    """Also after it has waited, in generators, in parallel items and in the tasks it starts."""
    calls: list[tuple[str, str]] = []

    async def look(what: str) -> None:
        await asyncio.sleep(0)
        seen(calls, what)

    class Works(AsyncNode):
        async def prep_async(self, shared: Any) -> None:
            await look("prep")

        async def exec_async(self, prep_res: Any) -> None:
            await look("exec")
            await asyncio.create_task(look("task"))

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            await look("post")

    class Streams(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[int]:
            try:
                await look("begin")
                yield 1
                await look("go on")
            finally:
                await look("finally")

    class Batched(AsyncBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [0, 1]

        async def exec_async(self, prep_res: Any) -> None:
            await look(f"item {prep_res}")

    class Parallel(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [0, 1]

        async def exec_async(self, prep_res: Any) -> None:
            await look(f"item {prep_res}")
            await look(f"item {prep_res}")

    first = Works()
    first >> Streams() >> Batched() >> Parallel()
    run_async(wait_async(AsyncFlow(first), observers=[Tracer()]))
    works = [("prep", "Works"), ("exec", "Works"), ("task", "Works"), ("post", "Works")]
    assert calls[:4] == works
    assert calls[4:7] == [(what, "Streams") for what in ("begin", "go on", "finally")]
    assert calls[7:9] == [("item 0", "Batched[0]"), ("item 1", "Batched[1]")]
    assert sorted(calls[9:]) == [
        *[("item 0", "Parallel[0]")] * 2,
        *[("item 1", "Parallel[1]")] * 2,
    ]


def test_a_context_is_given_at_once(drive: Drive) -> None:
    """Nothing would await it."""

    class Late:
        async def context(self, event: Event) -> contextvars.Context | None:
            return None

    for refused in (lambda: observe(Late()), lambda: drive(Flow(Talk()), observers=[Late()])):
        with pytest.raises(ObserverError, match=r"Late\.context is async"):
            refused()


def test_the_first_context_wins(drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    """`None` leaves it to the next; one that fails is logged."""
    calls: list[tuple[str, str]] = []

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            seen(calls, "exec")

    class Silent:
        def context(self, event: Event) -> None:
            return None

    class Broken:
        def context(self, event: Event) -> contextvars.Context:
            raise ValueError("no context")

    class Elsewhere:
        def context(self, event: Event) -> contextvars.Context:
            made = contextvars.copy_context()
            made.run(place.set, "elsewhere")
            return made

    drive(Flow(Works()), observers=[Silent(), Broken(), Elsewhere(), Tracer()])
    assert calls == [("exec", "elsewhere")]
    assert [record.name for record in caplog.records] == ["flowevents"]
    assert "Broken.context" in caplog.records[0].getMessage()


def test_a_context_is_asked_about_the_start_that_others_hear(drive: Drive) -> None:
    """It is the same event, before or after it was delivered."""
    tracer, heard = Tracer(), Heard()
    drive(everything(), observers=[tracer, heard])
    check_events(heard)
    starts = [
        event
        for event in heard
        if isinstance(event, NodeStart) or (isinstance(event, ItemStart) and event.node)
    ]
    assert [(event.seq, event.node, event.items) for event in tracer.asked] == [
        (event.seq, event.node, event.items) for event in starts
    ]
