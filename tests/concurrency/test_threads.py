"""One flow or one node in many threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from flowevents import Chunk, Event, Flow, Node, Run, RunCancelled, StreamNode, observe, signals
from flowevents.testing import check_events
from tests.concurrency.flows import (
    ASYNC_FORMS,
    RUNS,
    Ask,
    Each,
    Say,
    check,
    run_flow,
    shared_async_flow,
    sync_flow,
)
from tests.driving import PATIENCE, Seen, in_thread

THREADS = 50


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


def test_muting_is_for_handlers_of_all_threads_and_no_consumer() -> None:
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
