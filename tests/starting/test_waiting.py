"""Who waits for a run that goes on in the background."""

from __future__ import annotations

import asyncio
import re
import signal
import threading
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    Chunk,
    Event,
    Flow,
    Node,
    Run,
    RunStateError,
)
from tests.driving import PATIENCE, Driver, Seen, in_thread
from tests.starting.places import Held, Place
from tests.stock import Talk, chain


def test_many_wait_for_it(place: Place) -> None:
    """Threads, tasks of a loop of their own and tasks of the run's loop."""
    held = Held()
    run = place.start(held)
    given: list[Any] = []

    async def wait_twice() -> None:
        given.extend(await asyncio.gather(run.wait_async(), run.wait_async()))

    threads = [
        *(threading.Thread(target=lambda: given.append(run.wait())) for _ in range(3)),
        *(threading.Thread(target=lambda: asyncio.run(wait_twice())) for _ in range(2)),
    ]
    for each in threads:
        each.start()
    there = None
    if place.loop is not None:
        there = asyncio.run_coroutine_threadsafe(wait_twice(), place.loop)
    assert held.entered.wait(PATIENCE)
    held.may_go.set()
    for each in threads:
        each.join(PATIENCE)
    if there is not None:
        there.result(PATIENCE)
    assert given == ["gone"] * (7 if there is None else 9)


def test_who_stops_to_wait_leaves_it_going(place: Place) -> None:
    """A task that waits may be cancelled."""
    held = Held()
    run = place.start(held)

    async def give_up() -> None:
        waits = asyncio.create_task(run.wait_async())
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits

    asyncio.run(give_up())
    assert run.status == "running"
    held.may_go.set()
    assert run.wait() == "gone"


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread")
def test_an_interrupt_of_who_waits_leaves_it_going(place: Place) -> None:
    """Ctrl-C ends the waiting; the run goes on, and can be waited for again."""
    here = threading.get_ident()
    waiting, caught = threading.Event(), threading.Event()

    def handle(number: int, frame: object) -> None:
        if not caught.is_set():
            caught.set()
            raise KeyboardInterrupt

    def interrupt() -> None:
        assert waiting.wait(PATIENCE)
        while not caught.is_set():  # one that comes just before it waits does not wake it
            signal.pthread_kill(here, signal.SIGINT)

    held = Held()
    run = place.start(held)
    assert held.entered.wait(PATIENCE)
    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, handle)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            waiting.set()
            run.wait()
        thread.join(PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.status == "running"
    held.may_go.set()
    assert run.wait() == "gone"


OWN = r"Cannot wait for it: run .* is running, and this is its own code"
IN_LOOP = r"Cannot wait for it like this: run .* began async, in its loop: use wait_async"


class Refusals:
    """Waits for a run where that is refused, as a handler, a node or a function."""

    def __init__(self) -> None:
        self.run: Any = None
        self.errors: list[str] = []

    def wait(self, event: Event | None = None) -> None:
        """Wait in a thread."""
        with pytest.raises(RunStateError) as caught:
            self.run.wait()
        self.errors.append(str(caught.value))

    async def wait_async(self, event: Event | None = None) -> None:
        """Wait in a loop."""
        with pytest.raises(RunStateError) as caught:
            await self.run.wait_async()
        self.errors.append(str(caught.value))

    def check(self, count: int, expected: str) -> None:
        """So often it was refused, with this."""
        assert len(self.errors) == count
        for each in self.errors:
            assert re.match(expected, each)


def test_its_plain_code_does_not_wait_for_it(place: Place) -> None:
    """Not a node's, not a handler's: it would wait for itself."""
    refusals = Refusals()

    class Waits(Node):
        def exec(self, prep_res: Any) -> None:
            refusals.wait()

    class Hears:
        on_node_end = on_flow_end = staticmethod(refusals.wait)

    refusals.run = place.run(Waits(), observers=[Hears()])
    place.do(refusals.run.start).wait()
    refusals.check(3, OWN if place.loop is None else IN_LOOP)


@pytest.mark.parametrize("place", ["loop", "own loop"], indirect=True)
def test_its_async_code_does_not_wait_for_it(place: Place) -> None:
    """Nor that of an item, nor an async handler."""
    refusals = Refusals()

    class Waits(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await refusals.wait_async()

    class EachWaits(Waits, AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(2)

    class Hears:
        on_node_end = staticmethod(refusals.wait_async)

    refusals.run = place.run(chain(Waits(), EachWaits()), observers=[Hears()])
    place.do(refusals.run.start).wait()
    refusals.check(5, OWN)


def test_its_code_in_other_threads_does_not_wait_for_it(place: Place) -> None:
    """Not in a worker thread of its own, nor in a handler of what another thread emits."""
    refusals = Refusals()

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            if place.is_async:
                refusals.wait()
            else:
                in_thread(lambda: self.emit(1))

    class Hears:
        def on_chunk(self, event: Chunk) -> None:
            refusals.wait()

    options = {"offload": True} if place.is_async else {"observers": [Hears()]}
    refusals.run = place.run(Works(), **options)
    place.do(refusals.run.start).wait()
    refusals.check(1, OWN)


def test_a_task_that_its_code_has_left_waits_for_it(loop: Driver) -> None:
    """That is no code of the run any more: it may wait, and cancel."""

    class Leaves(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            tasks.append(asyncio.create_task(run.wait_async()))

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return "left"

    async def main() -> None:
        run.start()
        assert await run.wait_async() == await tasks[0] == "left"

    tasks: list[asyncio.Task[Any]] = []
    run = Run(AsyncFlow(Leaves()), None)
    loop.in_loop(main())


def test_a_node_waits_for_another_run(place: Place) -> None:
    """Which it has started; both find their own events."""
    seen, inner = Seen(), Seen()

    class Starts(Node):
        def exec(self, prep_res: Any) -> Any:
            return Run(Flow(Talk()), None, observers=[inner]).start().wait()

    class StartsAsync(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            return await Run(AsyncFlow(Talk()), None, observers=[inner]).start().wait_async()

    node = StartsAsync() if place.is_async else Starts()
    place.start(node, observers=[seen]).wait()
    seen.check()
    inner.check()
    assert (len(seen.of(Chunk)), len(inner.of(Chunk))) == (0, 2)
