"""Every way to stop a run: who does what, and where."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from flowevents import Event, FlowEnd, Run, RunCancelled
from tests.driving import Driver, Seen, connected, in_thread
from tests.graphs import Halt
from tests.stock import Stop

STOPPED = (RunCancelled, Stop, KeyboardInterrupt, SystemExit, asyncio.CancelledError)
"""What may come out of a run that was stopped."""

Make = Callable[[], Any]
"""Makes the flow."""

Act = Callable[[Driver, Run], object]
"""Does something that stops a run."""


def close(driver: Driver, run: Run) -> None:
    """Close it, where that is allowed: what calls this is no coroutine."""
    run.close() if driver.loop is None else run.cancel()


def cancel_task(driver: Driver, run: Run) -> None:
    """Cancel the task that drives it; a sync run, as whoever wants to be sure does."""
    driver.task.cancel() if driver.task is not None else run.cancel()


def raises(error: type[BaseException]) -> Act:
    """Raise it."""

    def act(driver: Driver, run: Run) -> object:
        raise error

    return act


def soon(act: Act) -> Act:
    """Do it when the loop has the next turn, in the midst of whatever awaits."""
    return lambda driver, run: (
        act(driver, run) if driver.loop is None else driver.loop.call_soon(act, driver, run)
    )


def cancel(driver: Driver, run: Run) -> None:
    """Cancel it."""
    run.cancel()


def cancel_in_a_thread(driver: Driver, run: Run) -> None:
    """Let another thread cancel it, and wait for that."""
    in_thread(run.cancel)


def both(one: Act, other: Act) -> Act:
    """Do one after the other."""

    def act(driver: Driver, run: Run) -> None:
        one(driver, run)
        other(driver, run)

    return act


ACTS: dict[str, Act] = {
    "cancel": cancel,
    "cancel in a thread": cancel_in_a_thread,
    "close": close,
    "cancel twice": both(cancel, cancel),
    "cancel the task": cancel_task,
    "cancel soon": soon(cancel),
    "cancel the task soon": soon(cancel_task),
    "cancel both": both(cancel, cancel_task),
}
INTERRUPTS: dict[str, Act] = {
    error.__name__: raises(error)
    for error in (KeyboardInterrupt, SystemExit, asyncio.CancelledError)
}


class Case:
    """One flow, to be run and stopped once.

    Attributes:
        driver: What drives it.
        seen: What its observers saw.
        at: The number of the event, or of the chunk, at which it is to be stopped.
    """

    def __init__(self, driver: Driver, flow: Any, shared: Any, at: int) -> None:
        self.driver = driver
        self.flow = flow
        self.shared = shared
        self.at = at
        self.seen = Seen()
        self.run: Run | None = None

    def new_run(self, **options: Any) -> Run:
        """A run of it that is seen."""
        self.run = Run(self.flow, self.shared, observers=[self.seen], **options)
        return self.run

    def is_now(self) -> bool:
        """Whether this is the event."""
        return len(self.seen.events) == self.at


def in_a_handler(act: Act) -> Callable[[Case], None]:
    """Stop it in a handler of the event."""

    def stop(case: Case) -> None:
        def observer(event: Event) -> None:
            case.seen(event)
            if case.is_now():
                act(case.driver, run)

        run = case.run = Run(case.flow, case.shared, observers=[observer])
        case.driver.wait(run)

    return stop


def in_an_async_handler(act: Act) -> Callable[[Case], None]:
    """Stop it in a handler that is awaited, in an async run; in a sync one, in a plain handler."""

    def stop(case: Case) -> None:
        async def observer(event: Event) -> None:
            case.seen(event)
            if case.is_now():
                act(case.driver, run)
            await asyncio.sleep(0)

        if case.driver.loop is None:
            in_a_handler(act)(case)
            return
        run = case.run = Run(case.flow, case.shared, observers=[observer])
        case.driver.wait(run)

    return stop


def in_the_body(act: Act) -> Callable[[Case], None]:
    """Stop it in the body of the loop that pulls it, and go on with the loop."""

    def stop(case: Case) -> None:
        taken = itertools.count(1)

        def body(event: Event) -> None:
            if next(taken) == case.at:
                act(case.driver, run)

        run = case.new_run()
        try:
            case.driver.each(run, body)
        except asyncio.CancelledError:  # the task's, which left the run where it was
            case.driver.close(run)
            raise

    return stop


def after_the_loop(act: Act) -> Callable[[Case], None]:
    """Leave the loop that pulls it, then stop it, then wait for it."""

    def stop(case: Case) -> None:
        run = case.new_run()
        case.driver.pull(run, case.at)
        act(case.driver, run)
        case.driver.wait(run)

    return stop


def leave_the_block(error: type[Exception] | None) -> Callable[[Case], None]:
    """Leave a `with` block, with or without an error."""

    def stop(case: Case) -> None:
        run = case.new_run()
        case.driver.pull(run, case.at)

        def body() -> None:
            if error is not None:
                raise error

        case.driver.inside(run, body)

    return stop


def raise_in_the_body(case: Case) -> None:
    """Raise in the body of the loop, within the block; the exception is the consumer's."""
    taken = itertools.count(1)

    def body(event: Event) -> None:
        if next(taken) == case.at:
            raise Stop

    run = case.new_run()

    async def block() -> None:
        async with run:
            async for event in run:
                body(event)

    if case.driver.loop is not None:
        case.driver.in_loop(block())
        return
    with run:
        for event in run:
            body(event)


def drop_the_run(case: Case) -> None:
    """Leave the loop, and keep nothing of the run."""
    case.driver.pull(case.new_run(), case.at)
    case.run = None
    gc.collect(0)


def streamed(leave: Callable[[Case, Any], None]) -> Callable[[Case], None]:
    """Take chunks of its stream, and then leave that."""

    def stop(case: Case) -> None:
        stream = case.driver.stream(case.flow, case.shared, observers=[case.seen])
        for _ in range(case.at):
            if case.driver.next(stream) is None:
                break
        leave(case, stream)

    return stop


def drop_the_stream(case: Case) -> None:
    """Take chunks of its stream, and keep nothing of that."""
    streamed(lambda case, stream: None)(case)


def raise_in_a_stream(case: Case) -> None:
    """Raise in the body of the loop over its stream; the stream goes with the loop."""
    taken = itertools.count(1)
    options: dict[str, Any] = {"observers": [case.seen]}

    async def loop() -> None:
        async with aclosing(case.flow.run_stream_async(case.shared, **options)) as stream:
            async for _ in stream:
                if next(taken) == case.at:
                    raise Stop

    if case.driver.loop is not None:
        case.driver.in_loop(loop())
        return
    for _ in case.flow.run_stream(case.shared, **options):
        if next(taken) == case.at:
            raise Stop


def raise_in_a_callback(case: Case) -> None:
    """Raise in the callback of its stream."""
    taken = itertools.count(1)

    def callback(chunk: Any, node: str) -> None:
        if next(taken) == case.at:
            raise Stop

    case.driver.call_back(case.flow, case.shared, callback, observers=[case.seen])


def close_the_stream(case: Case, stream: Any) -> None:
    """Close it."""
    case.driver.close_stream(stream)


def cancel_the_stream(case: Case, stream: Any) -> None:
    """Cancel its run, and take the rest of it."""
    stream.run.cancel()
    case.driver.rest(stream)


AWAITED = ("cancel", "cancel soon", "cancel the task", "cancel the task soon")
BETWEEN = ("cancel", "cancel in a thread", "close")
PUSHED: dict[str, Callable[[Case], None]] = {
    **{f"{name} in a handler": in_a_handler(act) for name, act in ACTS.items()},
    **{f"{name} in a handler": in_a_handler(act) for name, act in INTERRUPTS.items()},
    **{f"{name} in an async handler": in_an_async_handler(ACTS[name]) for name in AWAITED},
    **{f"{name} in an async handler": in_an_async_handler(INTERRUPTS[name]) for name in INTERRUPTS},
}
PULLED: dict[str, Callable[[Case], None]] = {
    **{f"{name} in the body": in_the_body(act) for name, act in ACTS.items()},
    **{f"{name} after the loop": after_the_loop(ACTS[name]) for name in BETWEEN},
    "leave the block": leave_the_block(None),
    "raise in the block": leave_the_block(Stop),
    "raise in the body": raise_in_the_body,
    "drop the run": drop_the_run,
}
STREAMED: dict[str, Callable[[Case], None]] = {
    "close the stream": streamed(close_the_stream),
    "drop the stream": drop_the_stream,
    "cancel the stream": streamed(cancel_the_stream),
    "raise in a stream": raise_in_a_stream,
    "raise in a callback": raise_in_a_callback,
}
WAYS = {**PUSHED, **PULLED, **STREAMED}


def stop_and_check(case: Case, way: str) -> None:
    """Stop it that way: it ends well-formed, says nothing after that, and leaves nothing."""
    loop = case.driver.loop
    try:
        WAYS[way](case)
    except (*STOPPED, ValueError, KeyError, Halt) as error:
        error.__traceback__ = None  # which would keep what is to be dropped
    seen = list(case.seen.events)
    if "drop" in way or "soon" in way:
        case.driver.settle()
    elif loop is not None:
        assert is_last(seen[-1:])
    case.driver.settle()
    if "drop" not in way and "soon" not in way:
        assert case.seen.events == seen, "events came after the end"
    case.seen.check()
    assert is_last(case.seen.events[-1:])
    if case.run is not None:
        assert case.run.status in ("done", "failed", "cancelled")
    if loop is not None:
        assert asyncio.all_tasks(loop) == set()
    assert connected() == []
    case.shared.clear()


def is_last(events: list[Event]) -> bool:
    """Whether there is none, or just the last of a run."""
    return not events or (isinstance(events[0], FlowEnd) and events[0].node == "")
