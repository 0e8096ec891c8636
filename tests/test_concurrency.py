"""Many runs at once, of one flow or one node, in threads and in tasks: none meets another's."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from flowevents import (
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    FlowStart,
    Node,
    NodeStart,
    Run,
    RunCancelled,
    StreamNode,
    observe,
    signals,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, Seen, in_thread

QUICK = os.environ.get("FLOWEVENTS_HYPOTHESIS_PROFILE") == "quick"
THREADS = 50
RUNS = 4 if QUICK else 12
TASKS = 200 if QUICK else 1_000


# -- what is shared -------------------------------------------------------------------------------


class Say(StreamNode):
    """Yields and emits who it runs for."""

    def prep(self, shared: Any) -> Any:
        return shared["who"]

    def exec_stream(self, who: Any) -> Iterator[Any]:
        for _ in range(2):
            self.emit(who, kind="note")
            yield who

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        assert exec_res == [shared["who"]] * 2
        return shared["who"]


class Ask(Node):
    """Emits from `exec`, and keeps what it was asked on the object that runs."""

    def prep(self, shared: Any) -> Any:
        self.who = shared["who"]
        return shared["who"]

    def exec(self, who: Any) -> Any:
        self.emit(who)
        self.progress(1, 2, str(who))
        return who


class Each(BatchNode):
    def prep(self, shared: Any) -> Any:
        return [shared["who"]] * 2

    def exec(self, who: Any) -> Any:
        self.emit(who)
        return who


class Twice(BatchFlow):
    def prep(self, shared: Any) -> Any:
        return [{"who": shared["who"]}] * 2


class SayAsync(AsyncStreamNode):
    async def prep_async(self, shared: Any) -> Any:
        return shared["who"]

    async def exec_stream_async(self, who: Any) -> AsyncIterator[Any]:
        for _ in range(2):
            await asyncio.sleep(0)
            self.emit(who, kind="note")
            yield who


class AskAsync(AsyncNode):
    async def prep_async(self, shared: Any) -> Any:
        return shared["who"]

    async def exec_async(self, who: Any) -> None:
        await asyncio.sleep(0)
        self.emit(who)
        await asyncio.sleep(0)
        self.emit(who)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return shared["who"]


class EachAsync(AsyncBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return [shared["who"]] * 2

    async def exec_async(self, who: Any) -> None:
        await asyncio.sleep(0)
        self.emit(who)


class EachAtOnce(EachAsync, AsyncParallelBatchNode):
    pass


class TwiceAtOnce(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return [{"who": shared["who"]}] * 2


def sync_flow() -> Any:
    """Nested, with batches, streams and emits."""
    ask, twice = Ask(), Twice(Say())
    ask >> Each() >> twice >> Flow(Say())
    return Flow(ask)


def shared_async_flow(whom: Any) -> Any:
    """The same, with items at the same time; it goes on for all of these."""
    ask, at_once, twice = AskAsync(), EachAtOnce(max_concurrency=2), TwiceAtOnce(SayAsync())
    for who in whom:
        ask.next(at_once, str(who))
    at_once >> EachAsync() >> twice >> AsyncFlow(Say())
    return AsyncFlow(ask)


def check(events: list[Event], who: Any, run_id: str | None = None) -> None:
    """They are those of one run, all of them, and speak of nobody else."""
    check_events(events)
    assert isinstance(events[-1], FlowEnd)
    assert {event.run_id for event in events} == {run_id or events[0].run_id}
    assert {event.data for event in events if isinstance(event, Chunk)} == {who}


# -- threads --------------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Do the work in so many threads, which begin at the same time."""
    together = threading.Barrier(count)
    errors: list[BaseException] = []

    def target(number: int) -> None:
        try:
            together.wait(PATIENCE)
            work(number)
        except BaseException as error:
            errors.append(error)
            together.abort()

    threads = [threading.Thread(target=target, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def run_flow(node: Any, who: Any) -> None:
    """`run` with an observer of its own."""
    seen = Seen()
    node.run({"who": who}, observers=[seen])
    check(seen.events, who)


def pull(node: Any, who: Any) -> None:
    """Every event, pulled."""
    run = Run(node, {"who": who}, id=str(who))
    check(list(run), who, str(who))


def stream(node: Any, who: Any) -> None:
    """Its output."""
    seen = Seen()
    taken = list(node.run_stream({"who": who}, observers=[seen]))
    check(seen.events, who)
    assert taken == [event.data for event in seen.of(Chunk) if event.kind == "output"]


def call_back(node: Any, who: Any) -> None:
    """A callback."""
    heard: list[Any] = []
    node.run_stream({"who": who}, lambda chunk, path: heard.append(chunk))
    assert set(heard) == {who}


FORMS = (run_flow, pull, stream, call_back)


@pytest.mark.parametrize("make", [sync_flow, Say, Ask, Each], ids=lambda make: make.__name__)
def test_one_object_in_many_threads(make: Callable[[], Any]) -> None:
    """A shared flow, and a shared node that runs itself: every run has its own events, all."""
    node = make()

    def work(number: int) -> None:
        for count in range(RUNS):
            FORMS[(number + count) % len(FORMS)](node, (number, count))

    in_threads(THREADS, work)


def test_one_async_flow_in_many_threads_and_loops() -> None:
    """Each thread has a loop of its own."""
    flow = shared_async_flow(range(THREADS))

    def work(number: int) -> None:
        async def main() -> None:
            await asyncio.gather(*(form(flow, str(number)) for form in ASYNC_FORMS))

        asyncio.run(main())

    in_threads(THREADS, work)


def test_a_node_hears_only_what_is_its_own() -> None:
    """A handler of a shared node, and of the class, hears all runs; none hears them twice."""
    node = Say()
    by_node, by_class, by_path = Seen(), Seen(), Seen()
    with (
        observe(by_node, sender=node),
        observe(by_class, sender=Say),
        observe(by_path, sender="Say"),
    ):
        in_threads(THREADS, lambda number: run_flow(node, number))
    for seen in (by_node, by_class, by_path):
        assert sorted(event.data for event in seen.of(Chunk)) == sorted(
            number for number in range(THREADS) for _ in range(4)
        )
        assert len({event.run_id for event in seen.events}) == THREADS
        for run_id in {event.run_id for event in seen.events}:
            numbers = [event.seq for event in seen.events if event.run_id == run_id]
            assert numbers == sorted(numbers)


def test_handlers_come_and_go_all_the_while() -> None:
    """Connecting from other threads disturbs no run, and no run disturbs what is connected."""
    flow = sync_flow()
    stop = threading.Event()
    errors: list[BaseException] = []
    strays = Seen()

    def churn() -> None:
        try:
            while not stop.is_set():
                seen = Seen()
                with observe(seen), observe(seen, sender=Say), observe(seen, sender=flow):
                    signals.chunk.connect(strays, sender="nowhere")
                with signals.retry.muted():  # of chunks, it would silence those of the runs
                    pass
                own = Run(flow, {"who": "own"}, observers=[seen])
                signals.node_start.connect(seen, sender=own)
                own.wait()
                signals.chunk.disconnect(strays)
        except BaseException as error:
            errors.append(error)

    def work(number: int) -> None:
        run_flow(flow, number)
        pull(flow, number)

    churning = [threading.Thread(target=churn) for _ in range(4)]
    for thread in churning:
        thread.start()
    try:
        in_threads(20, work)
    finally:
        stop.set()
        for thread in churning:
            thread.join(PATIENCE)
    signals.chunk.disconnect(strays)
    assert (errors, strays.events) == ([], [])


def test_muting_is_for_handlers_of_all_threads_and_no_puller() -> None:
    """A run that is pulled while another thread mutes has all its events."""
    flow = sync_flow()
    stop = threading.Event()

    def mute() -> None:
        while not stop.is_set():
            with signals.chunk.muted(), signals.node_end.muted():
                pass

    thread = threading.Thread(target=mute)
    thread.start()
    try:
        in_threads(10, lambda number: pull(flow, number))
    finally:
        stop.set()
        thread.join(PATIENCE)


def test_runs_are_cancelled_all_the_while() -> None:
    """From other threads, at any moment: each ends once, well-formed."""
    flow = sync_flow()

    def work(number: int) -> None:
        for _ in range(RUNS):
            seen = Seen()
            run = Run(flow, {"who": number}, observers=[seen])
            canceller = threading.Thread(target=run.cancel)
            if number % 2:
                canceller.start()
            try:
                for _ in run:
                    if not canceller.ident:
                        canceller.start()
            except RunCancelled:
                pass
            canceller.join(PATIENCE)
            check_events(seen.events)
            assert run.status in ("done", "cancelled")
            ended = {"done": "ok", "cancelled": "cancelled"}[run.status]
            assert not seen.events or seen.ends()[-1] == ended
            assert {event.data for event in seen.of(Chunk)} <= {number}

    in_threads(20, work)


def test_a_run_is_handed_from_thread_to_thread() -> None:
    """Each takes some events, and cancels or leaves it: nothing is lost, nothing comes twice."""
    flow = sync_flow()
    whole = len(list(Run(flow, {"who": "a"})))
    seen = Seen()
    run = Run(flow, {"who": "a"}, observers=[seen])
    taken: list[Event] = []

    def take() -> None:
        for event in run:
            taken.append(event)
            if len(taken) % 3 == 0:
                break

    while run.status != "done":
        in_thread(take)
    assert len(taken) == whole
    assert taken == seen.events
    check(taken, "a")


def test_threads_that_a_node_starts_publish_in_order() -> None:
    """Each thread's events come in its order, without a hole, in the run that they belong to."""

    class Workers(Node):
        def prep(self, shared: Any) -> Any:
            return shared["who"]

        def exec(self, who: Any) -> None:
            def emit(number: int) -> None:
                for index in range(20):
                    self.emit((who, number, index))

            in_threads(4, emit)  # which the node waits for

    flow = Flow(Workers())

    def work(number: int) -> None:
        seen = Seen()
        flow.run({"who": number}, observers=[seen])
        check_events(seen.events)
        data = [event.data for event in seen.of(Chunk)]
        assert {who for who, _, _ in data} == {number}
        for worker in range(4):
            assert [index for _, each, index in data if each == worker] == list(range(20))

    in_threads(8, work)


def test_threads_that_emit_while_a_node_streams() -> None:
    """They are heard at the next chunk, in the same run."""

    class Streams(StreamNode):
        def prep(self, shared: Any) -> Any:
            return shared["who"]

        def exec_stream(self, who: Any) -> Iterator[Any]:
            for index in range(10):
                in_thread(partial(self.emit, (who, index), kind="note"))
                yield (who, index)

    flow = Flow(Streams())

    def work(number: int) -> None:
        seen = Seen()
        list(flow.run_stream({"who": number}, observers=[seen]))
        check_events(seen.events)
        assert [event.data for event in seen.of(Chunk) if event.kind == "note"] == [
            (number, index) for index in range(10)
        ]

    in_threads(8, work)


def test_code_outside_of_a_run_is_heard_by_none() -> None:
    """Also in a thread that began a stream with which another thread now goes on."""
    entered, may_go = threading.Event(), threading.Event()

    class Held(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "mine"
            entered.set()
            assert may_go.wait(PATIENCE)
            yield "mine"

    seen = Seen()
    stream = Flow(Held()).run_stream({}, observers=[seen])
    assert next(stream) == "mine"
    thread = threading.Thread(target=stream.__next__)
    thread.start()
    assert entered.wait(PATIENCE)
    Ask().emit("nobody's")
    Ask().run({"who": "another's"})
    may_go.set()
    thread.join(PATIENCE)
    stream.close()
    assert {event.data for event in seen.of(Chunk)} == {"mine"}


def test_a_run_in_a_run_in_a_thread() -> None:
    """What a node runs, here or in a thread of its own, is another run with other events."""

    class Outer(Node):
        def prep(self, shared: Any) -> Any:
            return shared["who"]

        def exec(self, who: Any) -> None:
            self.emit(("outer", who))
            run_flow(inner, ("inner", who))
            in_thread(partial(run_flow, inner, ("in a thread", who)))
            self.emit(("outer", who))

    inner = sync_flow()
    outer = Flow(Outer())

    def work(number: int) -> None:
        seen = Seen()
        outer.run({"who": number}, observers=[seen])
        check(seen.events, ("outer", number))

    in_threads(10, work)


# -- tasks ----------------------------------------------------------------------------------------


async def run_async(flow: Any, who: str) -> None:
    """`run_async` with an observer of its own."""
    seen = Seen()
    await flow.run_async({"who": who}, observers=[seen])
    check(seen.events, who)


async def run_with_an_async_observer(flow: Any, who: str) -> None:
    """With one that is awaited."""
    events: list[Event] = []

    async def observer(event: Event) -> None:
        await asyncio.sleep(0)
        events.append(event)

    await flow.run_async({"who": who}, observers=[observer])
    check(events, who)


async def pull_async(flow: Any, who: str) -> None:
    """Every event, pulled."""
    check([event async for event in Run(flow, {"who": who}, id=who)], who, who)


async def stream_async(flow: Any, who: str) -> None:
    """Its output."""
    assert {chunk async for chunk in flow.run_stream_async({"who": who})} == {who}


ASYNC_FORMS = (run_async, run_with_an_async_observer, pull_async, stream_async)


def test_one_flow_in_many_tasks() -> None:
    """A thousand runs in one loop, in every form: no event crosses, nothing is left."""
    flow = shared_async_flow(range(TASKS))

    async def main() -> None:
        forms = [ASYNC_FORMS[number % len(ASYNC_FORMS)] for number in range(TASKS)]
        await asyncio.gather(*(form(flow, str(who)) for who, form in enumerate(forms)))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize("make", [SayAsync, AskAsync, EachAtOnce], ids=lambda make: make.__name__)
def test_one_node_in_many_tasks(make: Callable[[], Any]) -> None:
    """The object itself runs, in all of them."""
    node = make()

    async def main() -> None:
        await asyncio.gather(
            *(form(node, str(number)) for number in range(TASKS // 4) for form in ASYNC_FORMS)
        )

    asyncio.run(main())


def test_handlers_come_and_go_among_tasks() -> None:
    """In the same loop, and from other threads."""
    flow = shared_async_flow(range(TASKS // 10))
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            with observe(Seen()), observe(Seen(), sender=flow):
                pass

    async def churn_here() -> None:
        while not stop.is_set():
            with observe(Seen(), sender=SayAsync):
                await asyncio.sleep(0)

    async def main() -> None:
        here = asyncio.create_task(churn_here())
        await asyncio.gather(*(run_async(flow, str(number)) for number in range(TASKS // 10)))
        stop.set()
        await here

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        asyncio.run(main())
    finally:
        stop.set()
        thread.join(PATIENCE)


def test_tasks_are_cancelled_among_others() -> None:
    """Every other run is stopped midway; those next to it never know."""
    flow = shared_async_flow(range(TASKS // 4))

    async def cancelled(number: int) -> None:
        seen = Seen()
        run = Run(flow, {"who": str(number)}, observers=[seen])
        task = asyncio.create_task(run.wait_async())
        for _ in range(number % 20 + 1):
            await asyncio.sleep(0)
        run.cancel() if number % 4 else task.cancel()
        await asyncio.wait([task])
        ended = {"done": "ok", "cancelled": "cancelled"}[run.status]
        assert task.cancelled() or task.exception() is run.error
        check_events(seen.events)
        assert set(seen.ends()[-1:]) <= {ended}

    async def main() -> None:
        await asyncio.gather(
            *(
                cancelled(number) if number % 2 == 0 else run_async(flow, str(number))
                for number in range(TASKS // 4)
            )
        )

    asyncio.run(main())


def test_threads_emit_into_tasks() -> None:
    """From a foreign thread, on the loop, in the run and the item that it belongs to."""

    class Delegates(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return [(shared["who"], item) for item in range(3)]

        async def exec_async(self, item: Any) -> None:
            await asyncio.get_running_loop().run_in_executor(None, self.work, item)

        def work(self, item: Any) -> None:
            self.emit(item)

    flow = AsyncFlow(Delegates())

    class InThreads(Delegates):
        async def exec_async(self, item: Any) -> None:
            await asyncio.to_thread(self.work, item)

    for flow in (AsyncFlow(Delegates()), AsyncFlow(InThreads())):

        async def main(flow: Any = flow) -> list[Seen]:
            seen = [Seen() for _ in range(20)]
            await asyncio.gather(
                *(flow.run_async({"who": who}, observers=[seen[who]]) for who in range(20))
            )
            return seen

        for who, seen in enumerate(asyncio.run(main())):
            check_events(seen.events)
            assert {event.data[0] for event in seen.of(Chunk)} == {who}
            assert len(seen.of(Chunk)) == 3
            if isinstance(flow.start_node, InThreads):  # to_thread takes the context along
                assert {event.data[1] for event in seen.of(Chunk)} == {0, 1, 2}
                assert all(event.items == (event.data[1],) for event in seen.of(Chunk))


def test_sync_flows_in_threads_of_an_async_one() -> None:
    """`asyncio.to_thread(flow.run, …)` inside a node is another run, though its context is that."""
    inner = sync_flow()

    class Outer(AsyncNode):
        async def prep_async(self, shared: Any) -> Any:
            return shared["who"]

        async def exec_async(self, who: Any) -> None:
            self.emit(who)
            await asyncio.to_thread(run_flow, inner, f"in {who}")
            run_flow(inner, f"inside {who}")
            self.emit(who)

    flow = AsyncFlow(Outer())

    async def main() -> None:
        await asyncio.gather(*(run_async(flow, str(who)) for who in range(20)))

    asyncio.run(main())


# -- nothing is left ------------------------------------------------------------------------------


def test_nothing_is_kept_of_a_thousand_runs() -> None:
    """No receiver, no run, no event: only what the caller keeps."""
    flow = sync_flow()
    run_flow(flow, "warm up")
    gc.collect()
    before = live()
    for number in range(RUNS * 20):
        run_flow(flow, number)
        Run(flow, {"who": 1}, observers=[Seen()])
        unfinished = Run(flow, {"who": number}, observers=[Seen()])
        for event in unfinished:
            if isinstance(event, Chunk):
                break
        del unfinished, event
    gc.collect()
    assert live() == before


def live() -> dict[str, int]:
    """How many runs, events and observers there are."""
    kinds = (Run, Seen, FlowStart, NodeStart, Chunk)
    found = [type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds)]
    return {kind.__name__: found.count(kind.__name__) for kind in kinds}
