"""Every call of `Run`, from every place, however the run is driven: what comes of each.

`python -m tests.running.every_call DRIVE` does all of one way to drive. It prints a line for each
case: its name, and what came of it. Where a case does not end the process is ended instead, with
the stacks of its threads: the last line that it has printed names the case.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

from flowevents import (
    Ask,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Event,
    Flow,
    FlowEventsError,
    Node,
    Run,
    StreamNode,
)
from tests.driving import PATIENCE, in_thread
from tests.stock import chain

__all__ = ["ASYNC_CALLS", "CALLS", "DRIVES", "places"]

Act = Callable[[Run], object]


def _with(run: Run) -> None:
    with run:
        pass


def _next(run: Run) -> object:
    return next(iter(run), None)


async def _async_with(run: Run) -> None:
    async with run:
        pass


async def _anext(run: Run) -> object:
    async for event in run:
        return event
    return None


def _live(run: Run) -> None:
    with run.in_thread(maxsize=1) as live:
        live.ready()


CALLS: dict[str, Act] = {
    "wait": Run.wait,
    "iterate": _next,
    "close": Run.close,
    "cancel": Run.cancel,
    "pause": Run.pause,
    "reply": lambda run: run.reply("x"),
    "start": Run.start,
    "in_thread": _live,
    "with": _with,
}
ASYNC_CALLS: dict[str, Callable[[Run], Coroutine[Any, Any, object]]] = {
    "wait_async": Run.wait_async,
    "async iterate": _anext,
    "aclose": Run.aclose,
    "async with": _async_with,
}


class Case:
    """One call, which is made once, from one place.

    Attributes:
        run: The run.
        came: What came of the call.
    """

    def __init__(self, call: str) -> None:
        self.run: Any = None
        self.came: str | None = None
        self.call = call
        self.begun = threading.Event()
        self.beside: list[Any] = []  # threads and tasks

    def act(self) -> None:
        """Make the call in plain code."""
        if self._is_second():
            return
        if self.call in CALLS:
            self._note(lambda: CALLS[self.call](self.run))
        elif asyncio._get_running_loop() is None:
            self._note(lambda: asyncio.run(ASYNC_CALLS[self.call](self.run)))
        else:  # a task makes it
            self.beside.append(asyncio.ensure_future(self._act_async()))

    async def act_async(self) -> None:
        """Make the call in a task."""
        if self.call in CALLS:
            self.act()
        elif not self._is_second():
            await self._act_async()

    async def _act_async(self) -> None:
        try:
            await ASYNC_CALLS[self.call](self.run)
        except BaseException as error:
            self.came = _what(error)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            self.came = "returned"

    def act_in_thread(self) -> None:
        """Make the call in another thread, which goes on beside this one."""
        thread = threading.Thread(target=self.act)
        self.beside.append(thread)
        thread.start()
        assert self.begun.wait(PATIENCE)

    async def act_in_task(self) -> None:
        """Make the call in another task."""
        self.beside.append(asyncio.ensure_future(self.act_async()))
        for _ in range(3):
            await asyncio.sleep(0)

    def join(self) -> None:
        """Wait for the threads."""
        for each in self.beside:
            if isinstance(each, threading.Thread):
                each.join()

    def _is_second(self) -> bool:
        if self.begun.is_set():
            return True
        self.begun.set()
        return False

    def _note(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            self.came = _what(error)
            if not isinstance(error, FlowEventsError):
                raise
        else:
            self.came = "returned"


def _what(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


# -- places ---------------------------------------------------------------------------------------


def _plain(place: str, case: Case) -> Any:
    """A node that makes the call in its plain code, if that is the place."""

    class Works(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit("a")
            if place == "node":
                case.act()
            elif place == "thread":
                case.act_in_thread()
            self.emit("b")

    class Streams(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "a"
            case.act()
            yield "b"

    class Cleans(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
                raise ValueError("no")
            finally:
                case.act()

    kinds: dict[str, type[Any]] = {"stream": Streams, "clean-up": Cleans}
    return kinds.get(place, Works)()


def _async(place: str, case: Case) -> Any:
    """So in an async one."""

    class Works(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            self.emit("a")
            await asyncio.sleep(0)
            if place == "async node":
                await case.act_async()
            elif place == "task":
                await case.act_in_task()
            elif place == "awaited task":
                await asyncio.ensure_future(case.act_async())
            elif place == "to_thread":
                await asyncio.to_thread(case.act)
            elif place == "async thread":
                case.act_in_thread()
            await asyncio.sleep(0)
            self.emit("b")
            await asyncio.sleep(0)

    class Streams(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            yield "a"
            await case.act_async()
            await asyncio.sleep(0)
            yield "b"

    class Items(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2, 3]

        async def exec_async(self, item: int) -> None:
            self.emit(item)
            await asyncio.sleep(0)
            if item == 2:
                await case.act_async()
            await asyncio.sleep(0)
            self.emit(item)

    class Stubborn(AsyncStreamNode, AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2]

        async def exec_stream_async(self, item: int) -> AsyncIterator[str]:
            try:
                yield "a"
                if item == 2:
                    await case.act_async()
                await asyncio.sleep(0)
                yield "b"
            except asyncio.CancelledError:
                yield "[stopped]"
            finally:
                yield "[closed]"

    kinds: dict[str, type[Any]] = {
        "async stream": Streams,
        "item": Items,
        "stubborn item": Stubborn,
    }
    return kinds.get(place, Works)()


PLACES = ("node", "stream", "clean-up", "thread", "handler", "last handler", "body")
ASYNC_PLACES = (
    *("node", "stream", "thread", "handler", "last handler", "body"),
    *("async node", "async stream", "item", "stubborn item", "task", "awaited task"),
    *("async thread", "to_thread"),
    *("async handler", "async last handler", "async body", "task of the body"),
)


def _run(place: str, case: Case, is_async: bool, **options: Any) -> Run:
    def hear(event: Event) -> None:
        if event.node and event.signal == "chunk":
            case.act()

    def hear_last(event: Event) -> None:
        if event.signal == "flow_end":
            case.act()

    async def hear_async(event: Event) -> None:
        if event.node and event.signal == "chunk":
            await case.act_async()

    async def hear_last_async(event: Event) -> None:
        if event.signal == "flow_end":
            await case.act_async()

    handlers: dict[str, Any] = {
        "handler": hear,
        "last handler": hear_last,
        "async handler": hear_async,
        "async last handler": hear_last_async,
    }
    observers = [handlers[place]] if place in handlers else []
    plain = not is_async or place in ("node", "stream", "thread")
    node = _plain(place, case) if plain else _async(place, case)
    flow: Any = (AsyncFlow if is_async else Flow)(chain(node, Node()))
    case.run = Run(flow, {}, observers=observers, **options)
    run: Run = case.run
    return run


# -- ways to drive --------------------------------------------------------------------------------


def _body(place: str, case: Case) -> Callable[[Event], None]:
    def body(event: Event) -> None:
        if place == "body" and event.node and event.signal == "chunk":
            case.act()

    return body


def by_wait(place: str, case: Case) -> None:
    _run(place, case, False).wait()


def by_for(place: str, case: Case) -> None:
    body = _body(place, case)
    for event in _run(place, case, False):
        body(event)


def by_for_of_another_thread(place: str, case: Case) -> None:
    """The iterator begins in one thread and goes on in others, as in a web framework's pool."""
    body = _body(place, case)
    events = iter(_run(place, case, False))
    taken: list[Any] = [None]

    def take() -> None:
        try:
            taken[0] = next(events, None)
        except BaseException as error:
            taken[0] = error

    while True:
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        if taken[0] is None:
            return
        if isinstance(taken[0], BaseException):
            raise taken[0]
        body(taken[0])


def by_start(place: str, case: Case) -> None:
    _run(place, case, False).start().wait()


def by_in_thread(place: str, case: Case) -> None:
    body = _body(place, case)
    with _run(place, case, False).in_thread(maxsize=1) as events:
        for event in events:
            body(event)


def by_async_start_in_thread(place: str, case: Case) -> None:
    _run(place, case, True).start().wait()


def by_async_in_thread(place: str, case: Case) -> None:
    body = _body(place, case)
    with _run(place, case, True).in_thread(maxsize=1) as events:
        for event in events:
            body(event)


async def by_wait_async(place: str, case: Case) -> None:
    await _run(place, case, True).wait_async()


async def by_offload(place: str, case: Case) -> None:
    await _run(place, case, True, offload=True).wait_async()


async def by_async_for(place: str, case: Case, **options: Any) -> None:
    body = _body(place, case)
    async for event in _run(place, case, True, **options):
        body(event)
        if event.node and event.signal == "chunk":
            if place == "async body":
                await case.act_async()
            elif place == "task of the body":
                await case.act_in_task()
        await asyncio.sleep(0)


async def by_async_for_offload(place: str, case: Case) -> None:
    await by_async_for(place, case, offload=True)


async def by_async_start(place: str, case: Case) -> None:
    await _run(place, case, True).start().wait_async()


STATES = ("ready", "left", "paused", "done", "failed", "cancelled")


class _Asks(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield (yield Ask("?"))


class _Fails(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "a"
        raise ValueError("no")


class _Talks(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield from "abc"


def _idle(place: str, case: Case, is_async: bool) -> str:
    """Make a run that nobody drives; return its state."""
    state = place.partition(" ")[0]
    node = {"paused": _Asks, "failed": _Fails}.get(state, _Talks)()
    flow: Any = AsyncFlow(node) if is_async else Flow(node)
    case.run = Run(flow, {})
    if state == "cancelled":
        case.run.cancel()
    return state


def by_nobody(place: str, case: Case) -> None:
    """Nobody drives it: its state is said by the place, and whether another thread calls."""
    state = _idle(place, case, False)
    if state not in ("ready", "cancelled"):
        with suppress(ValueError):
            for event in case.run:
                if state == "left" and event.signal == "chunk":
                    break
    in_thread(case.act) if place.endswith("thread") else case.act()


async def by_nobody_async(place: str, case: Case) -> None:
    """So in a loop."""
    state = _idle(place, case, True)
    if state not in ("ready", "cancelled"):
        with suppress(ValueError):
            async for event in case.run:
                if state == "left" and event.signal == "chunk":
                    break
    if place.endswith("thread"):
        await asyncio.to_thread(case.act)
    else:
        await case.act_async()


DRIVES: dict[str, Callable[[str, Case], Any]] = {
    each.__name__: each
    for each in (
        by_wait,
        by_for,
        by_for_of_another_thread,
        by_start,
        by_in_thread,
        by_async_start_in_thread,
        by_async_in_thread,
        by_wait_async,
        by_offload,
        by_async_for,
        by_async_for_offload,
        by_async_start,
        by_nobody,
        by_nobody_async,
    )
}


def places(drive: str) -> tuple[str, ...]:
    """From where calls are made of a run that is driven this way."""
    if "nobody" in drive:
        return tuple(f"{state} {where}" for state in STATES for where in ("here", "in a thread"))
    return ASYNC_PLACES if "async" in drive or "offload" in drive else PLACES


def main(drive: str) -> None:
    """Do all cases of one way to drive."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    way = DRIVES[drive]
    for place in places(drive):
        for call in (*CALLS, *ASYNC_CALLS):
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            case = Case(call)
            print(json.dumps({"place": place, "call": call}), end=" ", flush=True)
            ended = _do(way, place, case)
            came = {"came": case.came, "ended": ended, "status": case.run.status}
            print(json.dumps(came), flush=True)
    faulthandler.cancel_dump_traceback_later()


def _do(way: Callable[[str, Case], Any], place: str, case: Case) -> str:
    """Drive a run to its end; what the driver got."""

    async def all_of_it() -> None:
        try:
            await way(place, case)
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            tasks = [each for each in case.beside if isinstance(each, asyncio.Future)]
            if tasks:
                await asyncio.wait(tasks)
            await case.run.aclose()

    try:
        if asyncio.iscoroutinefunction(way):
            asyncio.run(all_of_it())
        else:
            try:
                way(place, case)
            finally:
                case.join()
                case.run.close()
    except BaseException as error:
        return _what(error)
    finally:
        case.join()
    return "ok"


if __name__ == "__main__":
    main(sys.argv[1])
