"""How a run that goes on in the background is stopped."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    Chunk,
    Node,
    Run,
    RunCancelled,
    RunStateError,
)
from tests.driving import PATIENCE, Driver, Seen, driving, in_thread, status_of
from tests.starting.places import Asked, Asks, Held, Place, Tidies


def cancel(place: Place, run: Run) -> None:
    """Cancel it in this thread."""
    run.cancel()


def cancel_there(place: Place, run: Run) -> None:
    """Cancel it where it was started."""
    place.do(run.cancel)


def close(place: Place, run: Run) -> None:
    """Close it in another thread."""
    in_thread(run.close)
    assert run.status == "cancelled"


def leave(place: Place, run: Run) -> None:
    """Leave its block by an error, which goes on."""
    with pytest.raises(LookupError), run:
        raise LookupError
    assert run.status == "cancelled"


def close_in_loop(place: Place, run: Run) -> None:
    """Close it in a loop of another thread."""
    with driving("async") as driver:
        driver.close(run)
    assert run.status == "cancelled"


def close_in_its_loop(place: Place, run: Run) -> None:
    """Close it in its loop, where that is not its own; a plain `close` could not wait there."""
    if place.loop is None:
        return close(place, run)
    with pytest.raises(RunStateError, match=r"Cannot close it like this: run .* is running and as"):
        place.do(run.close)
    asyncio.run_coroutine_threadsafe(run.aclose(), place.loop).result(PATIENCE)
    assert run.status == "cancelled"


STOPS = [cancel, cancel_there, close, leave, close_in_loop, close_in_its_loop]


@pytest.mark.parametrize("stop", STOPS)
def test_it_is_stopped_while_it_asks(place: Place, stop: Any) -> None:
    """Its ends are delivered, and whoever waits is told."""
    seen, asked = Seen(), Asked()
    run = place.start(Asks(), {}, observers=[seen, asked])
    asked.next()
    stop(place, run)
    for _ in range(2):
        with pytest.raises(RunCancelled):
            run.wait()
    assert (run.status, run.interrupts) == ("cancelled", ())
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


@pytest.mark.parametrize("stop", [cancel, close, close_in_loop])
def test_it_is_stopped_while_it_works(place: Place, stop: Any) -> None:
    """Code that runs goes on to its next event; its clean-up is done where it ran."""
    held, seen = Held(), Seen()
    shared: dict[str, Any] = {}
    run = place.start(held, shared, observers=[seen])
    assert held.entered.wait(PATIENCE)
    stopping = threading.Thread(target=stop, args=(place, run))
    stopping.start()
    run.cancel()  # so that it is asked for when the code goes on
    held.may_go.set()
    stopping.join(PATIENCE)
    with pytest.raises(RunCancelled):
        run.wait()
    assert seen.ends() == ["cancelled", "cancelled"]
    assert [event.data for event in seen.of(Chunk)] == ["entered"]
    assert (shared["left"] == "flowevents run") == (place.loop is None)


@pytest.mark.parametrize("stop", STOPS)
def test_it_is_stopped_before_it_has_begun(place: Place, stop: Any) -> None:
    """However far its thread has come, nothing hangs and all that began has ended."""
    for _ in range(20):
        seen = Seen()
        run = place.start(Asks(), {}, observers=[seen])
        stop(place, run)
        with pytest.raises(RunCancelled):
            run.wait()
        assert run.status == "cancelled"
        assert set(seen.ends()) <= {"cancelled"}
        if seen.events:
            seen.check()


def test_its_own_code_stops_it(place: Place) -> None:
    """It cannot wait for the end, and goes on to the next safe point."""
    log: list[str] = []

    class Stops(Node):
        def exec(self, prep_res: Any) -> None:
            if place.loop is None:
                run.close()
            else:
                run.cancel()
            log.append(run.status)
            self.emit("not any more")
            log.append("not reached")

    run = place.run(Stops())
    place.do(run.start)
    with pytest.raises(RunCancelled):
        run.wait()
    assert log == ["running"]


async def start_and_wait(run: Run) -> Any:
    """Start it in this loop, and wait for it."""
    return await run.start().wait_async()


def test_its_own_task_closes_it(loop: Driver) -> None:
    """So it is with `aclose`, in the task that drives it and in that of an item."""

    class Closes(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await run.aclose()
            log.append("closed")

    class EachCloses(Closes, AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(2)

    for kind in (Closes, EachCloses):
        log: list[str] = []
        run = Run(AsyncFlow(kind()), None)

        with pytest.raises(RunCancelled):
            loop.in_loop(start_and_wait(run))
        assert log[0] == "closed"


def test_its_task_is_cancelled(loop: Driver) -> None:
    """As where its loop ends; whoever waits is not cancelled with it, but told."""
    seen = Seen()
    runs = []

    async def main(turns: int) -> None:
        before = asyncio.all_tasks()
        run = Run(AsyncFlow(Asks()), {}, observers=[seen]).start()
        runs.append(run)
        (task,) = asyncio.all_tasks() - before
        waits = asyncio.create_task(run.wait_async())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(RunCancelled):
            await waits

    for turns in range(4):
        loop.in_loop(main(turns))
        with pytest.raises(RunCancelled):
            runs[-1].wait()
        assert runs[-1].status == "cancelled"
    assert seen.ends() == ["cancelled"] * 6  # but for that which had not begun


def test_its_loop_ends_with_asyncio_run() -> None:
    """The run is cancelled, as any task that is left, whether it has begun or not."""
    for turns in range(3):
        seen = Seen()
        run = Run(AsyncFlow(Asks()), {}, observers=[seen])

        async def main(run: Run = run, turns: int = turns) -> None:
            run.start()
            for _ in range(turns):
                await asyncio.sleep(0)

        asyncio.run(main())
        with pytest.raises(RunCancelled):
            run.wait()
        assert set(seen.ends()) <= {"cancelled"}


def test_its_loop_stands_still(loop: Driver) -> None:
    """Nothing waits for ever for a run whose loop does not run, or is closed."""

    async def main() -> Run:
        return Run(AsyncFlow(Asks()), {}).start()

    run = loop.in_loop(main())
    for _ in range(2):
        with pytest.raises(RunStateError, match="wait_async"):
            run.wait()
        with pytest.raises(RunStateError, match="wait_async"):
            asyncio.run(run.wait_async())
        with pytest.raises(RunStateError, match="aclose"):
            run.close()
    assert status_of(run) == "running"
    asyncio.run(run.aclose())  # it asks for that
    loop.settle()
    assert status_of(run) == "cancelled"
    with pytest.raises(RunCancelled):
        run.wait()


def test_its_loop_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """While it goes on: then it can be closed only."""
    shared: dict[str, Any] = {}
    loop = asyncio.new_event_loop()

    async def main() -> Run:
        run = Run(AsyncFlow(Tidies()), shared).start()
        await asyncio.sleep(0)
        return run

    run = loop.run_until_complete(main())
    loop.close()
    with pytest.raises(RunStateError, match="its event loop is closed"):
        run.wait()
    with pytest.raises(RunStateError, match="its event loop is closed"):
        asyncio.run(run.wait_async())
    run.close()
    assert run.status == "cancelled"
    with pytest.raises(RunCancelled):
        run.wait()
    assert shared == {"tidy": True}
    assert "its event loop is closed" in caplog.text
