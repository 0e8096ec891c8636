"""A slow handler in the background: order, overflow, what is dropped, and the end of the thread."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import (
    Answer,
    Ask,
    Chunk,
    Event,
    FlowEnd,
    Gap,
    Interrupt,
    NodeEnd,
    NodeStart,
    ObserverError,
    Progress,
    Reply,
    Run,
    StreamNode,
    observe,
    queued,
    signals,
)
from flowevents.testing import check_events
from tests.driving import PATIENCE, Driver, connected


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No test leaves a handler connected, or a thread."""
    before = set(threading.enumerate())
    yield
    assert connected() == []
    gc.collect()
    for each in set(threading.enumerate()) - before:
        each.join(PATIENCE)
        assert not each.is_alive(), each


class Counts(StreamNode):
    """Streams numbers as text."""

    count = 20

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        for number in range(self.count):
            yield f"{number} "


class Slow:
    """A handler that stands still until it may go on; it keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.entered, self.may_go = threading.Event(), threading.Event()

    def __call__(self, event: Event) -> None:
        self.given.append(event)
        self.entered.set()
        assert self.may_go.wait(PATIENCE)


def chunk(seq: int, data: Any = "x", run_id: str = "r", **fields: Any) -> Chunk:
    """A chunk made by hand."""
    return Chunk(run_id=run_id, seq=seq, time=0.0, span=2, node="N", data=data, **fields)


def end(seq: int, run_id: str = "r") -> FlowEnd:
    """The end of its run."""
    return FlowEnd(run_id=run_id, seq=seq, time=0.0, span=1, node="", status="ok", duration=0.0)


def start(seq: int) -> NodeStart:
    """A start made by hand."""
    return NodeStart(run_id="r", seq=seq, time=0.0, span=seq, node="N", parent=1)


def told(given: list[Any]) -> list[Any]:
    """What was given, in short: numbers, and how many were dropped."""
    return [f"-{each.dropped}" if isinstance(each, Gap) else each.seq for each in given]


# -- in the background ----------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "coalesce"])
def test_everything_is_handed_on_in_order(driver: Driver, overflow: Any) -> None:
    """In one thread that is not the run's; where there is room nothing is lost or joined."""
    given: list[Event] = []
    threads: set[int] = set()

    def handler(event: Event) -> None:
        given.append(event)
        threads.add(threading.get_ident())

    with queued(handler, overflow=overflow) as handle:
        driver.run(driver.flow(Counts()), {}, observers=[handle])
    check_events(given)
    assert len([each for each in given if isinstance(each, Chunk)]) == 20
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_slow_handler_does_not_hold_the_run(driver: Driver) -> None:
    """The run ends while the handler is still at its first event."""
    slow = Slow()
    with queued(slow) as handle:
        driver.run(driver.flow(Counts()), {}, observers=[handle])
        assert len(slow.given) <= 1
        slow.may_go.set()
    check_events(slow.given)


def test_an_observer_is_queued(driver: Driver) -> None:
    """Its methods get their own events; those that it has no method for cost nothing."""

    class Observer:
        def __init__(self) -> None:
            self.given: list[Any] = []

        def on_chunk(self, event: Chunk) -> None:
            self.given.append(event.data)

        def on_node_end(self, event: NodeEnd) -> None:
            self.given.append(event.status)

    observer = Observer()
    with queued(observer) as handle:
        driver.run(driver.flow(Counts()), {}, observers=[handle])
    assert observer.given == [*(f"{number} " for number in range(20)), "ok"]


def test_ways_to_connect_it(driver: Driver) -> None:
    """To a signal, by `observe`, and for a run: as any other."""
    flow = driver.flow(Counts())
    given: list[Event] = []
    with queued(given.append) as handle:
        with signals.chunk.connected_to(handle):
            driver.run(flow, {})
        with observe(handle):
            driver.run(flow, {})
        driver.run(flow, {}, observers=[handle])
    assert len([each for each in given if isinstance(each, Chunk)]) == 60


def test_what_it_returns_means_nothing(driver: Driver) -> None:
    """An `Answer` comes too late: the run is paused, or answered by somebody else."""

    class Asks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Any:
            yield (yield Ask("a"))

    given: list[Event] = []

    def answers(event: Event) -> Answer[int]:
        given.append(event)
        return Answer(1)

    run = Run(driver.flow(Asks()), {}, observers=[handle := queued(answers)])
    driver.pull(run)
    assert run.status == "paused"
    run.reply(2)
    driver.pull(run)
    handle.close()
    check_events(given)
    assert [type(each) for each in given if isinstance(each, (Interrupt, Reply))] == [
        *(Interrupt, Reply),
    ]


def test_what_it_raises_is_logged(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """It gets the next event all the same, whatever it was."""
    given: list[Event] = []

    def fails(event: Event) -> None:
        given.append(event)
        raise (ValueError, KeyboardInterrupt, SystemExit)[len(given) % 3]("broken")

    with queued(fails) as handle:
        driver.run(driver.flow(Counts()), {}, observers=[handle])
    check_events(given)
    assert len(caplog.records) == len(given)
    assert all("Queued handler" in each.getMessage() for each in caplog.records)


def test_a_context_of_an_observer_is_asked_at_once(driver: Driver) -> None:
    """It has to be there before the node's code runs."""
    asked: list[int] = []

    class Traces:
        def on_node_end(self, event: NodeEnd) -> None:
            pass

        def context(self, event: Event) -> None:
            asked.append(threading.get_ident())

    with queued(Traces()) as handle:
        driver.run(driver.flow(Counts()), {}, observers=[handle])
    assert asked == [threading.get_ident()]


def test_what_cannot_be_queued() -> None:
    """The errors say why."""

    async def handler(event: Event) -> None:
        """Nobody would await it."""

    class Observer:
        async def on_chunk(self, event: Chunk) -> None:
            """Nor this."""

    wrong: Any
    for wrong in (handler, Observer()):
        with pytest.raises(ObserverError, match="async"):
            queued(wrong)
    for wrong in (5, None, "print"):
        with pytest.raises(ObserverError):
            queued(wrong)
    for maxsize in (0, -1):
        with pytest.raises(ValueError, match=f"maxsize={maxsize}"):
            queued(print, maxsize)
    wrong = "drop_newest"
    with pytest.raises(ValueError, match="overflow='drop_newest'"):
        queued(print, overflow=wrong)


# -- when it is full ------------------------------------------------------------------------------


def held(maxsize: int, overflow: Any) -> tuple[Slow, Any]:
    """A queue whose handler stands still at its first event, which is number 1."""
    slow = Slow()
    handle = queued(slow, maxsize, overflow)
    handle(chunk(1))
    assert slow.entered.wait(PATIENCE)
    return slow, handle


def waits(handle: Any) -> bool:
    """Whether somebody waits for room."""
    return bool(handle._has_room._waiters)


@pytest.mark.parametrize("overflow", ["block", "coalesce"])
def test_the_run_waits_for_room(overflow: Any) -> None:
    """At most so many events wait; with `coalesce`, what cannot be joined."""
    slow, handle = held(3, overflow)
    put: list[int] = []

    def produce() -> None:
        for seq in range(2, 9):
            handle(start(seq))
            put.append(seq)

    thread = threading.Thread(target=produce)
    thread.start()
    while not waits(handle):
        time.sleep(0)
    assert put == [2, 3, 4]
    slow.may_go.set()
    thread.join(PATIENCE)
    handle.close()
    assert told(slow.given) == list(range(1, 9))


def test_the_oldest_is_dropped() -> None:
    """A `Gap` in its place says how many; the newest are there."""
    slow, handle = held(3, "drop_oldest")
    for seq in range(2, 11):
        handle(chunk(seq))
    slow.may_go.set()
    handle.close()
    assert told(slow.given) == [1, "-7", 9, 10]
    assert slow.given[1] == Gap(run_id="r", dropped=7)


def test_only_chunks_and_progress_are_dropped() -> None:
    """Everything else stays, if need be beyond the size, and in its order."""
    slow, handle = held(2, "drop_oldest")
    kept: list[Event] = [
        start(3),
        Interrupt(run_id="r", seq=4, time=0, span=3, node="N", id="1", prompt="?"),
        Reply(run_id="r", seq=5, time=0, span=3, node="N", id="1", value=1),
    ]
    handle(chunk(2))
    for event in kept:
        handle(event)
    handle(Progress(run_id="r", seq=6, time=0, span=3, node="N", done=1))
    handle(chunk(7))
    handle(end(8))
    slow.may_go.set()
    handle.close()
    assert told(slow.given) == [1, "-1", 3, 4, 5, "-2", 8]


def test_each_run_has_gaps_of_its_own() -> None:
    """A gap is before the next event of its run."""
    slow, handle = held(3, "drop_oldest")
    for seq in range(2, 8):
        handle(chunk(seq, run_id="a" if seq % 2 else "b"))
    slow.may_go.set()
    handle.close()
    seen: dict[str, int] = {"a": 1, "b": 0}
    for each in slow.given[1:]:
        if isinstance(each, Gap):
            seen[each.run_id] += 2 * each.dropped
        else:
            seen[each.run_id] += 2
            assert each.seq == seen[each.run_id]
    assert seen == {"a": 7, "b": 6}


def test_an_observer_is_told_of_gaps_by_a_method() -> None:
    """By `on_gap`, where it has one."""

    class Observer:
        on_gap: Any

        def __init__(self) -> None:
            self.slow = Slow()

        def on_chunk(self, event: Chunk) -> None:
            self.slow(event)

    for method in (True, False):
        observer = Observer()
        observer.on_gap = observer.slow if method else None
        handle = queued(observer, 2, "drop_oldest")
        handle.on_chunk(chunk(1))  # type: ignore[attr-defined]
        assert observer.slow.entered.wait(PATIENCE)
        for seq in range(2, 6):
            handle.on_chunk(chunk(seq))  # type: ignore[attr-defined]
        observer.slow.may_go.set()
        handle.close()
        assert told(observer.slow.given) == ([1, "-3", 5] if method else [1, 5])


def test_text_is_joined() -> None:
    """Consecutive chunks of the same attempt become one, with the number of the last."""
    slow, handle = held(1, "coalesce")
    for seq, text in enumerate("abc", 2):
        handle(chunk(seq, text))
    slow.may_go.set()
    handle.close()
    assert slow.given[1:] == [chunk(4, "abc")]


@pytest.mark.parametrize(
    "other",
    [
        {"data": 5},
        {"data": b"b"},
        {"run_id": "other"},
        {"attempt": 2},
        {"kind": "note"},
    ],
)
def test_other_chunks_are_not_joined(other: dict[str, Any]) -> None:
    """Of another attempt, run or kind, or no text; nor to what is no chunk."""
    slow, handle = held(2, "coalesce")
    handle(start(2))
    handle(chunk(3, "a"))
    different: dict[str, Any] = {"data": "b", **other}
    thread = threading.Thread(target=lambda: (handle(chunk(4, **different)), handle(chunk(5, "c"))))
    thread.start()
    while not waits(handle):
        time.sleep(0)
    slow.may_go.set()
    thread.join(PATIENCE)
    handle.close()
    assert told(slow.given) == [1, 2, 3, 4, 5]


def test_a_joined_stream_holds_every_text(driver: Driver) -> None:
    """However slow the handler is; starts and ends are there."""
    given: list[Any] = []

    class Node(Counts):
        count = 500

    with queued(given.append, 5, "coalesce") as handle:
        driver.run(driver.flow(Node()), {}, observers=[handle])
    texts = [each.data for each in given if isinstance(each, Chunk)]
    assert "".join(texts) == "".join(f"{number} " for number in range(500))
    check = [type(each).__name__ for each in given if not isinstance(each, Chunk)]
    assert check == ["FlowStart", "NodeStart", "NodeEnd", "Action", "FlowEnd"]


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "coalesce"])
def test_many_producers(overflow: Any) -> None:
    """Of many threads nothing is lost that is not said, and each run's events are in order."""
    given: list[Any] = []
    size, count, threads = 4, 400, 8
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with queued(given.append, size, overflow) as handle:

            def produce(name: str) -> None:
                for seq in range(1, count + 1):
                    handle(chunk(seq, f"{seq} ", run_id=name))
                handle(end(count + 1, name))

            workers = [
                threading.Thread(target=produce, args=(f"r{number}",)) for number in range(threads)
            ]
            for each in workers:
                each.start()
            for each in workers:
                each.join()
    finally:
        sys.setswitchinterval(old)
    for number in range(threads):
        own = [each for each in given if each.run_id == f"r{number}"]
        assert isinstance(own[-1], FlowEnd)
        if overflow == "drop_oldest":
            last = 0
            for each in own:
                last += each.dropped if isinstance(each, Gap) else 1
                assert isinstance(each, Gap) or each.seq == last
        else:
            texts = "".join(each.data for each in own[:-1])
            assert texts == "".join(f"{seq} " for seq in range(1, count + 1))


# -- its end --------------------------------------------------------------------------------------


def threads_of_queues() -> list[threading.Thread]:
    """Those that hand on."""
    return [each for each in threading.enumerate() if each.name == "flowevents queued"]


def test_the_thread_ends_with_the_runs_that_it_saw(driver: Driver) -> None:
    """Nobody has to close it; the next run begins anew."""
    given: list[Event] = []
    handle = queued(given.append)
    for _ in range(3):
        driver.run(driver.flow(Counts()), {}, observers=[handle])
        for each in threads_of_queues():
            each.join(PATIENCE)
        assert threads_of_queues() == []
        check_events(given)
        given.clear()


def test_a_queue_can_be_used_after_it_was_closed(driver: Driver) -> None:
    """And closed again, also by its own handler."""
    given: list[Event] = []

    def handler(event: Event) -> None:
        given.append(event)
        handle.close()

    handle = queued(handler)
    handle.close()
    for _ in range(2):
        driver.run(driver.flow(Counts()), {}, observers=[handle])
        handle.close()
        check_events(given)
        given.clear()


def ended(thread: threading.Thread) -> None:
    """Let go of what nobody holds until the thread has ended."""
    for _ in range(PATIENCE * 100):
        gc.collect()
        thread.join(0.01)
        if not thread.is_alive():
            return
    raise AssertionError(f"{thread} goes on")


@pytest.mark.parametrize("asleep", [False, True])
def test_a_dropped_queue_loses_nothing(asleep: bool) -> None:
    """What waits is handed on, also where its thread slept; then the thread ends."""
    given: list[Event] = []
    handle = queued(given.append)
    expected = [2]
    if asleep:
        handle(start(1))
        expected = [1, 2]
        while not handle._is_idle:
            pass
    handle(start(2))
    del handle
    gc.collect()
    for thread in threads_of_queues():
        ended(thread)
    assert told(given) == expected
