"""Whose event it is that a node publishes: of the step, item and attempt in whose context it was
made, or of none."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from flowevents import (
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    BatchNode,
    Chunk,
    Event,
    Flow,
    Node,
    Run,
    StreamNode,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, in_thread
from tests.watching import Way

Emit = Callable[[], None]


class Later:
    """Emits when it is told to, in a thread or a task that was begun before."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.thread: threading.Thread | None = None
        self.task: asyncio.Task[None] | None = None
        self.go = asyncio.Event()

    def begin_thread(self, emit: Emit, context: contextvars.Context | None = None) -> None:
        """In a thread, a bare one or one of this context."""

        def work() -> None:
            assert self.may.wait(PATIENCE)
            emit()

        target = work if context is None else lambda: context.run(work)
        self.thread = threading.Thread(target=target, daemon=True)
        self.thread.start()

    def begin_task(self, emit: Emit) -> None:
        """In a task."""

        async def work() -> None:
            await self.go.wait()
            emit()

        self.task = asyncio.get_running_loop().create_task(work())

    async def tell(self) -> None:
        """Have it emit, and wait until it has; in a loop."""
        if self.task is not None:
            self.go.set()
            await self.task
        else:
            await asyncio.to_thread(self.tell_thread)

    def tell_thread(self) -> None:
        """The same of a thread, and without a loop."""
        self.may.set()
        assert self.thread is not None
        self.thread.join(PATIENCE)

    def begin(self, how: str, emit: Emit) -> None:
        """In this way."""
        if how == "task":
            self.begin_task(emit)
        else:
            self.begin_thread(emit, contextvars.copy_context() if how == "context" else None)


HOW = ["task", "context", "thread"]


def told(events: list[Event]) -> list[tuple[Any, str, tuple[int, ...], int]]:
    """What chunks say, and whose they are."""
    check_events(events)
    return [(e.data, e.node, e.items, e.attempt) for e in events if isinstance(e, Chunk)]


# -- another run of the same object ---------------------------------------------------------------


class Keeps(AsyncNode):
    """Begins something that emits later; a second run of it tells that to emit."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.later = Later()

    async def exec_async(self, prep_res: Any) -> None:
        if self.later.task is None and self.later.thread is None:
            self.later.begin(self.how, lambda: self.emit("of the first"))
        else:
            await self.later.tell()
            self.emit("of the second")


@pytest.mark.parametrize("how", HOW)
def test_what_a_run_has_left_is_not_sent_to_the_next(how: str) -> None:
    """Of an object that runs by itself, and is no copy; it is said."""
    first: list[Event] = []
    second: list[Event] = []

    async def main() -> None:
        node = Keeps(how)
        await node.run_async({}, observers=[first.append])
        await node.run_async({}, observers=[second.append])

    with pytest.warns(RuntimeWarning, match="'Keeps' published an event") as caught:
        asyncio.run(main())
    assert len(caught) == 1
    assert told(first) == []
    assert told(second) == [("of the second", "Keeps", (), 1)]


def test_what_a_sync_run_has_left_is_not_sent_to_the_next() -> None:
    """From a thread."""
    later = Later()

    class Leaves(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            if later.thread is None:
                later.begin_thread(self.emit_twice)
            else:
                later.tell_thread()
            yield "own"

        def emit_twice(self) -> None:
            self.emit("late")
            self.emit("later")

    node = Leaves()
    seen: list[Event] = []
    node.run({})
    with pytest.warns(RuntimeWarning, match="'Leaves' published an event") as caught:
        node.run({}, observers=[seen.append])
    assert len(caught) == 1
    assert told(seen) == [("own", "Leaves", (), 1)]


def test_what_comes_after_the_end_of_all_runs_is_dropped_with_a_warning() -> None:
    """From a thread that a node which ran by itself has left; who calls the node itself is free."""
    later = Later()

    class Leaves(Node):
        def exec(self, prep_res: Any) -> None:
            if later.thread is None:
                later.begin_thread(lambda: self.emit("late"))
            self.emit("by hand")

    node = Leaves()
    node.run({})
    node.exec(None)
    with pytest.warns(RuntimeWarning, match="'Leaves' published an event") as caught:
        later.tell_thread()
    assert len(caught) == 1


def test_a_thread_of_two_runs_of_an_object_is_of_neither() -> None:
    """It cannot be known whose it is."""
    inside, may_go = threading.Barrier(3), threading.Event()

    class Waits(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("own")
            inside.wait(PATIENCE)
            assert may_go.wait(PATIENCE)

    node = Waits()
    seen: list[list[Event]] = [[], []]
    threads = [
        threading.Thread(target=lambda each=each: node.run({}, observers=[each.append]))
        for each in seen
    ]
    for thread in threads:
        thread.start()

    def emit_twice() -> None:
        node.emit("whose?")
        node.emit("whose?")

    inside.wait(PATIENCE)
    try:
        with pytest.warns(RuntimeWarning, match="'Waits' published an event") as caught:
            in_thread(emit_twice)
    finally:
        may_go.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert len(caught) == 1
    assert [told(each) for each in seen] == [[("own", "Waits", (), 1)]] * 2


def test_tasks_of_two_runs_of_an_object_are_of_their_own() -> None:
    """The context says which."""

    class Delegates(AsyncNode):
        async def prep_async(self, shared: Any) -> Any:
            return shared

        async def exec_async(self, who: Any) -> None:
            await asyncio.gather(self.say(who), asyncio.to_thread(self.emit, who))

        async def say(self, who: Any) -> None:
            await asyncio.sleep(0)
            self.emit(who)

    node = Delegates()

    async def main() -> None:
        seen: list[list[Event]] = [[] for _ in range(5)]
        runs = (node.run_async(i, observers=[each.append]) for i, each in enumerate(seen))
        await asyncio.gather(*runs)
        assert [told(each) for each in seen] == [
            [(who, "Delegates", (), 1)] * 2 for who in range(5)
        ]

    asyncio.run(main())


def test_a_flow_object_publishes_for_itself() -> None:
    """What its `prep` has begun belongs to it, whichever of its nodes runs by then."""
    later = Later()

    class Prepares(AsyncFlow):
        async def prep_async(self, shared: Any) -> None:
            later.begin_task(lambda: self.emit("of the flow"))

    class Tells(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await later.tell()

    assert told(Way("async").watch(Prepares(Tells())).events) == [("of the flow", "", (), 0)]


def test_a_copy_that_runs_itself_publishes_for_that_run(way: Way) -> None:
    """And for its step when that run has ended."""
    inner: list[Event] = []

    class Again(Node):
        def prep(self, shared: Any) -> Any:
            return shared

        def exec(self, shared: Any) -> None:
            self.emit("begin")
            if not shared:
                self.run({"inner": True}, observers=[inner.append])
            self.emit("end")

    outer = way.watch(Flow(Again()))
    assert told(outer.events) == [("begin", "Again", (), 1), ("end", "Again", (), 1)]
    assert told(inner) == told(outer.events)


# -- another item ---------------------------------------------------------------------------------


class Items(AsyncBatchNode):
    """Its first item begins something that emits while the second one runs, as does `prep`."""

    def __init__(self, how: str, place: str) -> None:
        super().__init__()
        self.how, self.place = how, place
        self.later = Later()

    async def prep_async(self, shared: Any) -> Any:
        if self.place == "prep":
            self.later.begin(self.how, lambda: self.emit("early"))
        return "ab"

    async def exec_async(self, item: Any) -> None:
        if item == "a" and self.place == "item":
            self.later.begin(self.how, lambda: self.emit("early"))
        if item == "b":
            await self.later.tell()
        self.emit(item)


@pytest.mark.parametrize("in_flow", [True, False])
@pytest.mark.parametrize("how", ["task", "context"])
def test_what_an_item_has_left_is_not_sent_to_the_next(how: str, in_flow: bool) -> None:
    """Its context says that it belongs to an item that has ended."""
    node = Items(how, "item")
    with pytest.warns(RuntimeWarning, match="'Items' published an event after") as caught:
        watched = Way("async").watch(AsyncFlow(node) if in_flow else node)
    assert len(caught) == 1
    assert told(watched.events) == [("a", "Items", (0,), 1), ("b", "Items", (1,), 1)]


@pytest.mark.parametrize("in_flow", [True, False])
@pytest.mark.parametrize(("how", "place"), [("thread", "item"), *((how, "prep") for how in HOW)])
def test_what_is_of_no_item_belongs_to_the_step(how: str, place: str, in_flow: bool) -> None:
    """What `prep` has begun, and a bare thread, of which that is all that is known."""
    node = Items(how, place)
    watched = Way("async").watch(AsyncFlow(node) if in_flow else node)
    assert told(watched.events) == [
        ("a", "Items", (0,), 1),
        ("early", "Items", (), 1),
        ("b", "Items", (1,), 1),
    ]


@pytest.mark.parametrize("in_flow", [True, False])
def test_a_bare_thread_belongs_to_the_step_of_a_sync_batch(in_flow: bool) -> None:
    """Whichever item runs."""
    later = Later()

    class Each(BatchNode):
        def prep(self, shared: Any) -> Any:
            return "ab"

        def exec(self, item: Any) -> None:
            if item == "a":
                later.begin_thread(lambda: self.emit("early"))
            else:
                later.tell_thread()
            self.emit(item)

    node = Each()
    assert told(Way("sync").watch(Flow(node) if in_flow else node).events) == [
        ("a", "Each", (0,), 1),
        ("early", "Each", (), 1),
        ("b", "Each", (1,), 1),
    ]


def test_what_draws_the_items_belongs_to_the_step_between_them(way: Way) -> None:
    """To the step before the first item and between two; as here a generator does."""

    class Draws(BatchNode):
        def prep(self, shared: Any) -> Any:
            def items() -> Iterator[str]:
                for item in "ab":
                    self.emit("drawing")
                    yield item

            return items()

        def exec(self, item: Any) -> None:
            self.emit(item)

    assert told(way.watch(Flow(Draws())).events) == [
        ("drawing", "Draws", (), 1),
        ("a", "Draws", (0,), 1),
        ("drawing", "Draws", (), 1),
        ("b", "Draws", (1,), 1),
    ]


# -- another attempt ------------------------------------------------------------------------------


class Retries(AsyncNode):
    """Its first attempt begins something that emits in the second one, and fails."""

    def __init__(self, how: str) -> None:
        super().__init__(max_retries=2)
        self.how = how
        self.later = Later()

    async def exec_async(self, prep_res: Any) -> None:
        if self.cur_retry == 0:
            self.later.begin(self.how, lambda: self.emit("of the first"))
            raise ValueError("again")
        await self.later.tell()
        self.emit("of the second")
        await asyncio.gather(self.say(), asyncio.to_thread(self.emit, "in a thread"))

    async def say(self) -> None:
        self.emit("in a task")


class RetriesItems(Retries, AsyncBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "a"


class RetriesAtOnce(Retries, AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return "a"


@pytest.mark.parametrize("in_flow", [True, False])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", [Retries, RetriesItems, RetriesAtOnce])
def test_what_an_attempt_has_left_is_not_sent_to_the_next(
    kind: type[Retries], how: str, in_flow: bool
) -> None:
    """It is void, as its chunks are; a bare thread could be of any attempt."""
    node = kind(how)
    items = () if kind is Retries else (0,)
    published = ("of the second", "in a task", "in a thread")
    second = [(each, kind.__name__, items, 2) for each in published]

    def watch() -> list[Any]:
        return told(Way("async").watch(AsyncFlow(node) if in_flow else node).events)

    if how == "thread" and kind is not Retries:  # it belongs to the step, which is not retried
        assert watch() == [("of the first", kind.__name__, (), 1), *second]
        return
    with pytest.warns(RuntimeWarning, match="published an event") as caught:
        assert watch() == second
    assert len(caught) == 1


@pytest.mark.parametrize("in_flow", [True, False])
def test_a_thread_of_an_attempt_of_a_sync_node(in_flow: bool, way: Way) -> None:
    """It is heard in the first; later it could be of any, and is dropped with a warning."""
    later = Later()

    class Tries(Node):
        def exec(self, prep_res: Any) -> None:
            if self.cur_retry == 0:
                in_thread(lambda: self.emit("at once"))
                later.begin_thread(lambda: self.emit("late"))
                raise ValueError("again")
            later.tell_thread()
            self.emit("own")

    node = Tries(max_retries=2)
    with pytest.warns(RuntimeWarning, match="published an event") as caught:
        watched = way.watch(Flow(node) if in_flow else node)
    assert len(caught) == 1
    assert told(watched.events) == [("at once", "Tries", (), 1), ("own", "Tries", (), 2)]


# -- another step ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["task", "context"])
def test_what_a_step_has_left_is_not_sent_to_the_next(how: str) -> None:
    """Also where it is another object by which it publishes."""
    helper = Node()
    later = Later()

    class First(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            later.begin(how, lambda: helper.emit("late"))

    class Second(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await later.tell()
            helper.emit("own")

    first = First()
    first >> Second()
    with pytest.warns(RuntimeWarning, match="'First' published an event after its step") as caught:
        watched = Way("async").watch(AsyncFlow(first))
    assert len(caught) == 1
    assert told(watched.events) == [("own", "Second", (), 1)]


def test_a_helper_in_a_sync_run_inside_an_async_node_is_of_that_run() -> None:
    """Not of the async node, in whose context it runs, here or in a thread."""
    helper = Node()
    inner: list[Event] = []
    outer: list[Event] = []

    class Inner(Node):
        def exec(self, prep_res: Any) -> None:
            helper.emit("inner")

    class Outer(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            flow = Flow(Inner())
            flow.run({}, observers=[inner.append])
            for _ in Run(flow, {}, observers=[inner.append]):
                helper.emit("outer")
            await asyncio.to_thread(lambda: flow.run({}, observers=[inner.append]))

    asyncio.run(AsyncFlow(Outer()).run_async({}, observers=[outer.append]))
    assert {each[:2] for each in told(outer)} == {("outer", "Outer")}
    assert [e.data for e in inner if isinstance(e, Chunk)] == ["inner"] * 3


def test_a_helper_in_a_run_that_another_run_goes_on_with_is_of_that_one() -> None:
    """Though it has begun before."""
    helper = Node()
    first: list[Event] = []
    second: list[Event] = []

    class Talks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "a"
            helper.emit("of the first", kind="note")
            yield "b"

    begun = Flow(Talks()).run_stream({}, observers=[first.append])
    assert next(begun) == "a"

    class GoesOn(Node):
        def exec(self, prep_res: Any) -> None:
            assert next(begun) == "b"
            helper.emit("of the second")

    Flow(GoesOn()).run({}, observers=[second.append])
    begun.close()
    assert [e.data for e in first if isinstance(e, Chunk)] == ["a", "of the first", "b"]
    assert told(second) == [("of the second", "GoesOn", (), 1)]


def test_a_helper_that_is_cleaned_up_with_a_cancelled_run_is_of_that_one() -> None:
    """Also where the code of another run cancels it."""
    helper = Node()
    inner: list[Event] = []
    outer: list[Event] = []

    class Talks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
            finally:
                helper.emit("cleaned up", kind="note")

    class Cancels(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            run = Run(Flow(Talks()), {}, observers=[inner.append])
            for event in run:
                if isinstance(event, Chunk):
                    break
            run.cancel()

    asyncio.run(AsyncFlow(Cancels()).run_async({}, observers=[outer.append]))
    assert told(outer) == []
    assert [e.data for e in inner if isinstance(e, Chunk)] == ["a", "cleaned up"]


def test_an_async_handler_publishes_for_no_item() -> None:
    """It is awaited beside the items, in whose name it cannot speak: by a copy it does for the
    step."""
    kept: list[Any] = []
    heard: dict[Any, asyncio.Event] = {}

    class AtOnce(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            kept.append(self)
            return "abc"

        async def exec_async(self, item: Any) -> None:
            heard[item] = asyncio.Event()
            self.emit(item)
            await heard[item].wait()

    async def hear(event: Chunk) -> None:
        await asyncio.sleep(0)
        if event.kind == "output":
            kept[0].emit(event.data, kind="heard")
            heard[event.data].set()

    seen: list[Event] = []
    observers = [seen.append, SimpleNamespace(on_chunk=hear)]
    asyncio.run(AsyncFlow(AtOnce()).run_async({}, observers=observers))
    of_the_step = sorted(each for each in told(seen) if each[2] == ())
    assert of_the_step == [(item, "AtOnce", (), 1) for item in "abc"]
