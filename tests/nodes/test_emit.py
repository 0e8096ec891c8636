"""`emit` and `progress`, from wherever a node calls them."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import threading
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from flowevents import (
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    ItemStart,
    Node,
    Progress,
    Run,
    RunCancelled,
    StreamNode,
    signals,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, in_thread
from tests.nodes.words import (
    EmittingAsyncBatch,
    EmittingBatch,
    EmittingParallel,
    Streams,
    Words,
    spell,
)
from tests.watching import Watched, Way


def test_events_from_exec_belong_to_the_step(way: Way) -> None:
    """They come at once, between its start and its end, and never enter `exec_res`."""
    heard: list[Event] = []

    class Emits(Node):
        def prep(self, shared: Any) -> None:
            self.emit("from prep")
            assert len(heard) == 3

        def exec(self, prep_res: Any) -> str:
            self.emit("from exec", kind="log")
            self.progress(1)
            self.progress(2, 4, "half")
            assert len(heard) == 6
            return "result"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            self.emit("from post")
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    way.run(Emits(), shared, observers=[heard.append])
    check_events(heard)
    assert shared == {"result": "result"}
    inside = heard[2:-3]
    assert {(event.node, event.step, event.span, event.attempt) for event in inside} == {
        ("Emits", 1, heard[1].seq, 1)
    }
    assert [(e.data, e.kind) for e in inside if isinstance(e, Chunk)] == [
        ("from prep", "output"),
        ("from exec", "log"),
        ("from post", "output"),
    ]
    assert [(e.done, e.total, e.label) for e in inside if isinstance(e, Progress)] == [
        (1, None, ""),
        (2, 4, "half"),
    ]


def test_a_streaming_node_may_emit_between_its_chunks(streams: Streams) -> None:
    """What it emits stands where it was emitted, and is not kept."""

    class Emits(streams.node):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__(self.say)

        def say(self, prep_res: Any) -> Iterator[str]:
            yield "a"
            self.emit("note", kind="log")
            yield "b"

    shared: dict[str, Any] = {}
    watched = streams.watch(Emits(), shared)
    assert [event.data for event in watched.of(Chunk)] == ["a", "note", "b"]
    assert shared == {"result": ["a", "b"]}


@pytest.mark.parametrize("kind", [EmittingBatch, EmittingAsyncBatch, EmittingParallel])
def test_events_from_a_batch_belong_to_the_item(kind: type[Any]) -> None:
    """In sync, async and parallel batches."""
    way = Way("async" if issubclass(kind, AsyncNode) else "sync")
    watched = way.watch(kind())
    starts = {event.items: event.seq for event in watched.of(ItemStart)}
    assert [(e.data, e.items, e.span) for e in watched.of(Chunk)] == [
        ("item a", (0,), starts[0,]),
        ("item b", (1,), starts[1,]),
    ]


def test_events_from_prep_and_post_of_a_batch_belong_to_the_step(way: Way) -> None:
    """They stand outside the items."""

    class Around(EmittingBatch):
        def prep(self, shared: Any) -> Any:
            self.emit("prep")
            return "ab"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            self.emit("post")

    chunks = way.watch(Around()).of(Chunk)
    assert [(event.data, event.items) for event in chunks] == [
        ("prep", ()),
        ("item a", (0,)),
        ("item b", (1,)),
        ("post", ()),
    ]


def test_tasks_that_an_item_starts_emit_for_it() -> None:
    """Their context is the item's."""

    class Gathers(EmittingParallel):
        async def exec_async(self, prep_res: Any) -> Any:
            async def part(number: int) -> None:
                await asyncio.sleep(0)
                self.emit(f"{prep_res}{number}")

            await asyncio.gather(part(1), part(2))

    chunks = Way("async").watch(Gathers()).of(Chunk)
    assert sorted((event.data, event.items) for event in chunks) == [
        ("a1", (0,)),
        ("a2", (0,)),
        ("b1", (1,)),
        ("b2", (1,)),
    ]


@pytest.mark.parametrize("in_flow", [False, True])
def test_another_threads_events_come_at_once_while_plain_code_runs(in_flow: bool) -> None:
    """In a sync run of a node or a flow they are delivered in that thread, one by one."""
    heard: list[tuple[str, str]] = []

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            in_thread(lambda: self.emit("from a thread"))
            assert [data for data, _ in heard] == ["from a thread"]
            self.emit("from the run")

    def handler(event: Chunk) -> None:
        heard.append((event.data, threading.current_thread().name))

    node = Works()
    with signals.chunk.connected_to(handler, node):
        (Flow(start=node) if in_flow else node).run({})
    assert [data for data, _ in heard] == ["from a thread", "from the run"]
    assert heard[0][1] != heard[1][1] == threading.current_thread().name


@pytest.mark.parametrize("in_flow", [False, True])
def test_another_threads_events_come_at_the_next_chunk_of_a_stream(in_flow: bool) -> None:
    """While a node streams in a sync run they wait for its next chunk, before which they come."""
    heard: list[str] = []

    class Talks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "a"
            in_thread(lambda: self.emit("from a thread", kind="log"))
            assert heard == ["a"]
            yield "b"
            in_thread(lambda: self.emit("at the end", kind="log"))
            assert heard == ["a", "from a thread", "b"]

    watched = Watched()
    talks = Talks()
    (Flow(start=talks) if in_flow else talks).run(
        {}, observers=[watched.events.append, Hears(heard)]
    )
    check_events(watched.events)
    assert heard == ["a", "from a thread", "b", "at the end"]


class Hears:
    """Collects what chunks hold."""

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    def on_chunk(self, event: Chunk) -> None:
        """Note it."""
        self.heard.append(event.data)


def test_another_threads_events_come_on_the_loop() -> None:
    """In an async run, in order, in the loop's thread."""
    threads: set[int] = set()
    heard: list[str] = []

    class Works(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            def work() -> None:
                for number in range(3):
                    self.emit(f"{number} from a thread")

            await asyncio.to_thread(work)

    class Notes(Hears):
        def on_chunk(self, event: Chunk) -> None:
            super().on_chunk(event)
            threads.add(threading.get_ident())

    Way("async").run(Works(), observers=[Notes(heard)])
    assert heard == ["0 from a thread", "1 from a thread", "2 from a thread"]
    assert threads == {threading.get_ident()}


class FromAThread(AsyncNode):
    """Emits from a thread, whose end it waits for without giving the loop a turn."""

    def emit_there(self, data: Any) -> None:
        context = contextvars.copy_context()
        in_thread(lambda: context.run(self.emit, data, kind="there"))

    async def exec_async(self, prep_res: Any) -> Any:
        self.emit_there(prep_res)
        if self.cur_retry == 0 and self.max_retries > 1:
            raise ValueError("again")
        return prep_res


class EachFromAThread(FromAThread, AsyncBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "ab"


class AllFromAThread(FromAThread, AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "ab"


class ChunkFromAThread(FromAThread, AsyncStreamNode):
    """What it gives is a chunk as well."""


class ThenItself(FromAThread):
    async def exec_async(self, prep_res: Any) -> None:
        self.emit_there("thread")
        self.progress(1)


class PostFromAThread(FromAThread):
    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        self.emit_there("post")


@pytest.mark.parametrize(
    ("node", "kinds"),
    [
        (FromAThread(), "node_start chunk node_end"),
        (FromAThread(max_retries=2), "node_start chunk retry chunk node_end"),
        (ThenItself(), "node_start chunk progress node_end"),
        (PostFromAThread(), "node_start chunk chunk node_end"),
        (ChunkFromAThread(), "node_start chunk chunk node_end"),
        (EachFromAThread(), "node_start" + " item_start chunk item_end" * 2 + " node_end"),
        (
            AllFromAThread(max_retries=2),
            "node_start" + " item_start chunk retry chunk item_end" * 2 + " node_end",
        ),
    ],
    ids=["once", "retried", "itself", "post", "chunk", "batch", "parallel"],
)
def test_another_threads_events_come_before_what_comes_after_them(node: Any, kinds: str) -> None:
    """Where the loop had no turn in between; as where an executor's future was done at once."""
    watched = Way("async").watch(node)
    assert watched.names()[1:-2] == kinds.split()
    assert [event.kind for event in watched.of(Chunk)][:1] == ["there"]


@pytest.mark.parametrize("node", [FromAThread(), EachFromAThread(), AllFromAThread()])
def test_what_a_handler_of_them_raises_ends_what_is_open(node: Any) -> None:
    """Each with the error, once, and counted once."""
    seen: list[Event] = []

    def stop(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Chunk):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(Run(AsyncFlow(node), {}, observers=[stop]).wait_async())
    check_events(seen)


class WaitsForWhoHears(AsyncNode):
    """Waits until somebody who is awaited has heard what a thread of its own emits."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Event()

    async def exec_async(self, prep_res: Any) -> None:
        emitting = asyncio.create_task(asyncio.to_thread(self.emit, prep_res, "there"))
        await self.heard.wait()
        await emitting


class AllWaitForWhoHears(WaitsForWhoHears, AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "ab"


@pytest.mark.parametrize("pulled", [False, True])
@pytest.mark.parametrize("kind", [WaitsForWhoHears, AllWaitForWhoHears])
def test_a_handler_is_awaited_while_the_node_waits(kind: Any, pulled: bool) -> None:
    """Once for each, and before whatever comes next."""
    seen: list[Event] = []
    heard: list[Any] = []

    async def main() -> None:
        node = kind()

        async def hear(event: Chunk) -> None:
            await asyncio.sleep(0)
            heard.append(event.data)
            node.heard.set()

        run = Run(node, {}, observers=[seen.append, SimpleNamespace(on_chunk=hear)])
        if pulled:
            assert [event async for event in run] == seen
        else:
            await run.wait_async()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert sorted(map(str, heard)) == (["None"] if kind is WaitsForWhoHears else ["a", "b"])
    check_events(seen)


@pytest.mark.parametrize("kind", [WaitsForWhoHears, AllWaitForWhoHears])
def test_a_cancel_waits_for_a_handler_that_is_awaited_meanwhile(kind: Any) -> None:
    """And then ends the node that waits, too."""
    seen: list[Event] = []
    heard: list[Any] = []

    async def main() -> None:
        async def hear(event: Chunk) -> None:
            run.cancel()
            await asyncio.sleep(0)
            heard.append(event.data)

        run = Run(kind(), {}, observers=[seen.append, SimpleNamespace(on_chunk=hear)])
        with pytest.raises(RunCancelled):
            await run.wait_async()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert heard
    check_events(seen)
    assert [event.status for event in seen if isinstance(event, FlowEnd)] == ["cancelled"]


@pytest.mark.parametrize("how", ["cancel", "aclose", "in the handler"])
def test_a_run_that_is_left_is_cancelled_while_a_handler_is_awaited(how: str) -> None:
    """Of what a thread emits, while nobody drives the run: it ends when the handler has ended."""
    seen: list[Event] = []
    log: list[str] = []

    class Streams(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[int]:
            emitting = asyncio.create_task(asyncio.to_thread(self.emit, "x", "there"))
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                await emitting
                log.append("node")

    async def main() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def hear(event: Chunk) -> None:
            if event.kind == "there":
                begun.set()
                if how == "in the handler":
                    await run.aclose()
                await go_on.wait()
                log.append("handler")

        run = Run(Streams(), {}, observers=[seen.append, SimpleNamespace(on_chunk=hear)])
        async for event in run:
            if isinstance(event, Chunk):
                break
        await begun.wait()
        closing = asyncio.create_task(run.aclose()) if how == "aclose" else None
        if how == "cancel":
            run.cancel()
        await asyncio.sleep(0)
        assert run.status == "running"
        go_on.set()
        if closing is not None:
            await closing
        with pytest.raises(RunCancelled):
            await run.wait_async()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert sorted(log) == ["handler", "node"]
    check_events(seen)


def test_an_item_that_works_in_a_thread_emits_for_itself() -> None:
    """`asyncio.to_thread` carries the context along, so that the event names the item."""

    class Works(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return "ab"

        async def exec_async(self, prep_res: Any) -> None:
            await asyncio.to_thread(self.emit, prep_res)
            await asyncio.sleep(0)

    chunks = Way("async").watch(Works()).of(Chunk)
    assert sorted((event.data, event.items) for event in chunks) == [("a", (0,)), ("b", (1,))]


def test_an_event_after_the_steps_end_is_dropped_with_one_warning(way: Way) -> None:
    """It is sent to no later step and to no other run."""
    kept: list[Node] = []

    class Keeps(Node):
        def exec(self, prep_res: Any) -> None:
            kept.append(self)

    class Later(Node):
        def exec(self, prep_res: Any) -> None:
            in_thread(lambda: kept[0].emit("too late"))

    keeps = Keeps()
    keeps >> Later()
    watched = Watched()
    with pytest.warns(RuntimeWarning, match="'Keeps' published an event after its step") as caught:
        watched = way.watch(Flow(start=keeps))
    assert len(caught) == 1
    assert watched.error is None
    assert watched.data() == []
    kept[0].emit("much too late")
    kept[0].progress(1)
    assert way.watch(Flow(start=Keeps())).data() == []


def test_an_event_outside_a_run_is_harmless() -> None:
    """A node that nothing runs, made or copied by hand, publishes nothing."""
    node = Words(spell)
    with signals.chunk.connected_to(lambda event: pytest.fail("heard")):
        node.emit("x")
        node.progress(1, 2, "x")
        copy.copy(node).emit("x")
        in_thread(lambda: node.emit("x"))
    assert list(node.exec_stream("ab")) == ["a", "b"]


def test_a_helper_node_emits_for_the_step_that_calls_it(way: Way) -> None:
    """An event belongs to the step of the calling context, whoever's method it is."""
    helper = Words(spell)

    class Calls(Node):
        def exec(self, prep_res: Any) -> None:
            helper.emit("from a helper")

    assert [(event.node, event.data) for event in way.watch(Calls()).of(Chunk)] == [
        ("Calls", "from a helper")
    ]


def test_a_run_inside_a_node_is_another_run(way: Way) -> None:
    """Its events are its own; afterwards the node's belong to its step again."""
    inner_events: list[Event] = []

    class Outer(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("before")
            EmittingBatch().run({}, observers=[inner_events.append])
            self.emit("after")

    watched = way.watch(Outer())
    assert watched.data() == ["before", "after"]
    check_events(inner_events)
    assert {event.run_id for event in inner_events}.isdisjoint(e.run_id for e in watched.events)
