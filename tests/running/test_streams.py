"""Streams of a run's output."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from flowevents import AsyncFlow, AsyncStream, Chunk, Flow, RunCancelled, Stream, StreamNode
from tests.driving import Driver, Seen, in_thread, status_of
from tests.running.writers import Step, Write, two_nodes


def test_a_stream_gives_the_output(driver: Driver) -> None:
    """The data of its output chunks, and in `run` everything else."""
    for node in (driver.flow(two_nodes()[0]), Write()):
        stream = driver.stream(node, {})
        assert isinstance(stream, Stream | AsyncStream)
        assert status_of(stream.run) == "ready"
        assert driver.rest(stream) == ["a", "b", "c"]
        assert status_of(stream.run) == "done"
        assert stream.run.action in ("next", "written")
        assert driver.rest(stream) == []


def test_a_stream_gives_only_output(driver: Driver) -> None:
    """Chunks of another kind are for handlers; what a node emits is output like what it yields."""

    class Talk(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            self.emit("thinking", kind="thought")
            yield "a"
            self.emit("b")
            self.progress(1, 2)
            yield "c"

    seen = Seen()
    stream = driver.stream(driver.flow(Talk()), {}, observers=[seen])
    assert driver.rest(stream) == ["a", "b", "c"]
    assert [event.kind for event in seen.of(Chunk)] == ["thought", "output", "output", "output"]
    seen.check()


def test_the_action_is_the_return_value_of_a_stream() -> None:
    """`yield from` in another generator gives it, and so on upward."""

    def inner() -> Generator[Any, None, Any]:
        return (yield from Flow(two_nodes()[0]).run_stream({}))

    def outer() -> Generator[Any, None, Any]:
        yield "before"
        action = yield from inner()
        yield action

    assert list(outer()) == ["before", "a", "b", "c", "next"]
    stream = iter(Flow(two_nodes()[0]).run_stream({}))
    with pytest.raises(StopIteration) as end:
        while True:
            next(stream)
    assert end.value.value == "next"


def test_a_stream_is_taken_by_next(driver: Driver) -> None:
    """Before, between and after loops."""
    stream = driver.stream(driver.flow(Write()), {})
    assert driver.next(stream) == "a"
    assert driver.rest(stream) == ["b", "c"]
    assert driver.next(stream) is None
    assert driver.next(stream) is None
    assert stream.run.action == "written"


def test_a_stream_that_is_never_iterated_warns(driver: Driver) -> None:
    """Nothing ran, which is hardly what was meant: the warning says what to do."""
    shared: dict[str, Any] = {}
    how = "for … in" if driver.loop is None else "async for … in"
    with pytest.warns(RuntimeWarning, match=f"never iterated.*`{how}`.*callback"):
        driver.stream(driver.flow(Write()), shared)  # dropped at once
    assert shared == {}


def test_a_stream_that_is_closed_unused_does_not_warn(driver: Driver) -> None:
    """It was dealt with; its run is cancelled, without events."""
    seen = Seen()
    stream = driver.stream(driver.flow(Write()), {}, observers=[seen])
    driver.close_stream(stream)
    assert status_of(stream.run) == "cancelled"
    assert driver.rest(stream) == []
    del stream
    gc.collect()
    assert seen.events == []


def test_a_stream_is_closed_midway(driver: Driver) -> None:
    """The node's generator is closed and the ends are delivered before `close` returns."""
    shared: dict[str, Any] = {}
    seen = Seen()
    stream = driver.stream(driver.flow(two_nodes()[0]), shared, observers=[seen])
    assert driver.next(stream) == "a"
    driver.close_stream(stream)
    assert shared["log"] == ["prep", "a", "closed"]
    assert status_of(stream.run) == "cancelled"
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()
    assert driver.next(stream) is None
    driver.close_stream(stream)


def test_a_stream_is_a_context_manager(driver: Driver) -> None:
    """Leaving the block closes it, with or without an error."""
    stream = driver.stream(driver.flow(Write()), {})

    async def block() -> None:
        async with stream as entered:
            assert entered is stream
            assert await entered.__anext__() == "a"
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        if driver.loop is not None:
            driver.in_loop(block())
        else:
            with stream as entered:
                assert entered is stream
                assert next(entered) == "a"
                raise KeyError("mine")
    assert status_of(stream.run) == "cancelled"


def test_a_stream_that_is_dropped_is_cancelled(driver: Driver) -> None:
    """A sync one with its last reference, an async one on the loop's next turns."""
    shared: dict[str, Any] = {}
    seen = Seen()
    stream = driver.stream(driver.flow(Write()), shared, observers=[seen])
    run = stream.run
    assert driver.next(stream) == "a"
    del stream
    driver.settle()
    assert shared["log"] == ["prep", "a", "closed"]
    assert (run.status, seen.ends()) == ("cancelled", ["cancelled", "cancelled"])
    seen.check()


def test_breaking_out_of_a_stream_cancels_it(driver: Driver) -> None:
    """As with any generator, nobody else can go on with it."""
    shared: dict[str, Any] = {}
    seen = Seen()
    if driver.loop is None:
        for _ in driver.flow(Write()).run_stream(shared, observers=[seen]):
            break
    else:

        async def main() -> None:
            async for _ in AsyncFlow(Write()).run_stream_async(shared, observers=[seen]):
                break
            for _ in range(5):
                await asyncio.sleep(0)

        driver.in_loop(main())
    assert shared["log"] == ["prep", "a", "closed"]
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_a_stream_raises_what_its_run_failed_with(driver: Driver) -> None:
    """After the output so far; a stream never just stops."""

    class Breaks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "a"
            raise ValueError("broken")

    stream = driver.stream(driver.flow(Breaks()), {})
    assert driver.next(stream) == "a"
    with pytest.raises(ValueError, match="broken"):
        driver.next(stream)
    assert status_of(stream.run) == "failed"
    assert driver.next(stream) is None


def test_a_stream_whose_run_is_cancelled_says_so(driver: Driver) -> None:
    """Its consumer did not ask for that, so it is told."""
    stream = driver.stream(driver.flow(Write()), {})
    assert driver.next(stream) == "a"
    stream.run.cancel()
    with pytest.raises(RunCancelled):
        driver.next(stream)


def test_every_flow_and_node_streams(driver: Driver) -> None:
    """Also what does not yield: a node's `emit` is output, and without it there is none."""
    assert driver.rest(driver.stream(driver.flow(Step()), {})) == []
    assert driver.rest(driver.stream(Step(), {})) == []


def test_a_stream_can_be_moved_between_threads() -> None:
    """As web servers do it: each `next` in whichever worker is free, the close in another."""

    class Talk(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            for word in "abc":
                self.emit(f"about to say {word}", kind="note")
                yield word

    seen = Seen()
    stream = Talk().run_stream({}, observers=[seen])
    taken = [in_thread(lambda: next(stream)) for _ in range(2)]
    assert taken == ["a", "b"]
    in_thread(stream.close)
    assert status_of(stream.run) == "cancelled"
    assert [event.data for event in seen.of(Chunk)] == [
        *("about to say a", "a", "about to say b", "b")
    ]
    seen.check()
