"""Flows of every kind, how they are driven, and what their runs record."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any

import pocketflow

from flowevents import (
    Action,
    Answer,
    Ask,
    AsyncBatchFlow,
    AsyncBatchNode,
    AsyncFlow,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Event,
    Expired,
    Flow,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    Node,
    NodeEnd,
    NodeStart,
    Reply,
    Result,
    Run,
    StreamNode,
)
from flowevents.testing import ManualClock
from tests.stock import chain


class Plan(Node):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["rounds"] = shared.get("rounds", 0) + 1
        return "act" if shared["rounds"] < 3 else "done"


class Quiet(Node):
    """Publishes nothing itself."""


class Talk(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        self.progress(0, 2, "thinking")
        yield "a"
        yield "b"
        self.emit("aside", kind="note")


class Stumble(StreamNode):
    """Fails in its first attempts, after a chunk each."""

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield f"attempt {self.cur_retry}"
        if self.cur_retry < 2:
            raise ValueError("stumbled")
        yield "there"


class FallBack(Node):
    def exec(self, prep_res: Any) -> None:
        raise ValueError("never works")

    def exec_fallback(self, prep_res: Any, exc: Exception) -> str:
        self.emit("fell back")
        return "plan B"


class FailingExec(Node):
    def exec(self, prep_res: Any) -> None:
        raise ValueError("exec failed")


class FailingPost(Node):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        raise ValueError("post failed")


class Asks(StreamNode):
    """Asks twice, of which the second time nobody answers it, and nobody has to."""

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        self.emit("before")
        yield (yield Ask("Ship it?", choices=["yes"]))
        try:
            yield Ask("Sure?", expires=1)
        except Expired:
            yield "not sure"


class AsksTogether(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [0, 1]

    async def exec_async(self, prep_res: Any) -> Any:
        return await self.ask(prep_res)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        await self.ask("Done?")


class Stopped(Node):
    def exec(self, prep_res: Any) -> None:
        raise KeyboardInterrupt


class Each(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        self.emit("before the items")
        return [1, 2, 3]

    def exec(self, prep_res: Any) -> int:
        self.emit(prep_res)
        if prep_res == 2 and self.cur_retry == 0:
            raise ValueError("the second item stumbled")
        return int(prep_res) * 2


class Lazily(BatchNode):
    def prep(self, shared: Any) -> Iterator[int]:
        return iter(range(2))


class FailingItem(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 0, 2]

    def exec(self, prep_res: Any) -> float:
        return 1 / float(prep_res)


class FailingDraw(BatchNode):
    """Its items come from a generator, which fails after some of them."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = items

    def prep(self, shared: Any) -> Iterator[int]:
        yield from range(self.items)
        raise ValueError("no more items")


class FailingPasses(BatchFlow):
    def prep(self, shared: Any) -> Iterator[dict[str, Any]]:
        yield {}
        raise ValueError("no more items")


class Nothing(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return []


class Twice(BatchFlow):
    def prep(self, shared: Any) -> list[dict[str, Any]]:
        return [{"which": 0}, {"which": 1}]


class OwnWay(Node):
    def _run(self, shared: Any) -> str:
        return "default"


class AsyncEach(AsyncBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2]

    async def exec_async(self, prep_res: Any) -> Any:
        await asyncio.sleep(0)
        return prep_res


class Together(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [0, 1, 2, 3]

    async def exec_async(self, prep_res: Any) -> int:
        for turn in range(int(prep_res)):
            await asyncio.sleep(0)
            self.emit(turn)
        if prep_res % 2 and self.cur_retry == 0:
            raise ValueError("an odd item stumbled")
        return int(prep_res)


class FailingTogether(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [3, 2, 1, 9]

    async def exec_async(self, prep_res: Any) -> None:
        for _ in range(int(prep_res)):
            await asyncio.sleep(0)
        if prep_res == 2:
            raise ValueError("one of them failed")


class FailingDrawTogether(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return FailingDraw(2).prep(shared)

    async def exec_async(self, prep_res: Any) -> None:
        await asyncio.sleep(0)


class AsyncTalk(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"
        yield Result("ab")


class AsyncTwice(AsyncBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{}, {}]


class AllAtOnce(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{}, {}, {}]


class Foreign(pocketflow.Node):
    def exec(self, prep_res: Any) -> str:
        return "theirs"


def loop() -> Flow:
    """Plan ⇄ Talk, three times, then a second Talk."""
    plan, act = Plan(), Talk()
    plan - "act" >> act >> plan
    plan - "done" >> Talk()
    return Flow(plan)


PLAIN: dict[str, Callable[[], Any]] = {
    "a single node": Talk,
    "a flow without nodes": lambda: Flow(Nothing()),
    "a loop": loop,
    "nested flows": lambda: Flow(chain(Quiet(), Flow(chain(Flow(Talk()), Quiet())), Talk())),
    "two nested flows of one name": lambda: Flow(chain(Flow(Talk()), Flow(Talk()))),
    "retries": lambda: Flow(chain(Stumble(3, 0.5), Talk())),
    "a fallback": lambda: Flow(chain(FallBack(2), Talk())),
    "a batch": lambda: Flow(chain(Each(2), Lazily(), Nothing(), Talk())),
    "a batch flow": lambda: Flow(chain(Twice(chain(Each(2), Talk())), Talk())),
    "a batch flow in a batch flow": lambda: Twice(Twice(Each(2))),
    "a loop in a batch flow": lambda: Twice(loop()),
    "questions": lambda: Flow(chain(Asks(), Talk())),
    "an override": lambda: Flow(chain(OwnWay(), Talk())),
    "a pocketflow flow": lambda: pocketflow.Flow(chain(Foreign(), pocketflow.Flow(Foreign()))),
    "a failing exec": lambda: Flow(chain(Talk(), Flow(FailingExec(2)))),
    "a failing post": lambda: Flow(FailingPost()),
    "a failing item": lambda: Twice(FailingItem()),
    "a failing first draw": lambda: Flow(FailingDraw(0)),
    "a failing draw": lambda: Twice(FailingDraw(2)),
    "a failing draw of a batch flow": lambda: Flow(FailingPasses(Talk())),
    "a failing retry": lambda: Flow(Stumble(2)),
    "an interrupted node": lambda: Flow(Flow(Stopped())),
}
AWAITED: dict[str, Callable[[], Any]] = {
    "an async batch": lambda: AsyncFlow(chain(AsyncEach(), AsyncTalk(), Talk())),
    "a parallel batch": lambda: AsyncFlow(chain(Together(2), Talk())),
    "a limited parallel batch": lambda: AsyncFlow(Together(2, max_concurrency=2)),
    "an async batch flow": lambda: AsyncTwice(chain(AsyncEach(), AsyncTalk())),
    "a parallel batch flow": lambda: AllAtOnce(chain(Together(2), AsyncTalk(), Talk())),
    "parallel flows in parallel flows": lambda: AllAtOnce(AllAtOnce(chain(Together(2)))),
    "questions of a parallel batch": lambda: AsyncFlow(AsksTogether()),
    "a failing parallel batch": lambda: AsyncFlow(FailingTogether()),
    "a failing draw of a parallel batch": lambda: AllAtOnce(FailingDrawTogether()),
    "a limited failing draw": lambda: AsyncFlow(FailingDrawTogether(max_concurrency=1)),
    "a failing parallel batch flow": lambda: AllAtOnce(chain(AsyncTalk(), FailingTogether())),
}


class Answers:
    """Says yes to each question, but lets one that can expire do so."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def on_interrupt(self, event: Interrupt) -> Answer[str] | None:
        if event.expires is None:
            return Answer("yes")
        self.clock.advance(event.expires - event.time)
        return None


def run_of(name: str, observers: Sequence[Any] = (), **options: Any) -> Run:
    """A fresh run of that flow, on a clock that never waits, whose questions are answered."""
    clock = ManualClock()
    watching = [*observers, Answers(clock)]
    return Run((PLAIN | AWAITED)[name](), {}, clock=clock, observers=watching, **options)


async def in_time(work: Coroutine[Any, Any, None]) -> None:
    """Await it in this task; fail where it hangs."""
    hung: list[bool] = []
    task = asyncio.current_task()
    assert task is not None
    timer = asyncio.get_running_loop().call_later(20, lambda: hung.append(task.cancel()))
    try:
        await work
    finally:
        timer.cancel()
        assert not hung


def drive(run: Run, way: str) -> list[Event]:
    """The events of a run that is pulled; of one that is pushed, none. What it raises is let be."""
    pulled: list[Event] = []

    async def drive_async() -> None:
        if way == "pushed async":
            await run.wait_async()
        else:
            async for event in run:
                pulled.append(event)

    try:
        if way == "pushed":
            run.wait()
        elif way == "pulled":
            pulled.extend(run)
        else:
            asyncio.run(in_time(drive_async()))
    except BaseException as error:
        if error is not run.error:
            raise
    return pulled


@functools.cache
def recorded(name: str) -> tuple[Event, ...]:
    """The stream of one run of that flow."""
    pushed: list[Event] = []
    drive(run_of(name, observers=[pushed.append]), "pushed" if name in PLAIN else "pushed async")
    return tuple(pushed)


def status(name: str) -> str:
    """How that run ended."""
    end = stream_of(name)[-1]
    assert isinstance(end, FlowEnd)
    return end.status


CLOSING = (FlowEnd, NodeEnd, ItemEnd)


def span(start: int) -> dict[str, Any]:
    """What every start with that number has."""
    return {"run_id": "r", "seq": start, "time": 0.0, "span": start}


def answered() -> list[Event]:
    """A stream with a question and its answer, and one that expired in a node that says no more."""
    node: dict[str, Any] = {"run_id": "r", "time": 0.0, "span": 2, "node": "A"}
    node |= {"step": 1, "attempt": 1}
    return [
        FlowStart(**span(1), node="", parent=0, flow="F"),
        NodeStart(**span(2), node="A", step=1, attempt=1, parent=1),
        Interrupt(**node, seq=3, id="q1", prompt="Ship it?"),
        Reply(**node, seq=4, id="q1", value="yes"),
        Interrupt(**node, seq=5, id="q2", prompt="Sure?", expires=1.0),
        NodeEnd(**node, seq=6, status="ok", duration=0.0),
        Action(**node, seq=7, action=None),
        FlowEnd(run_id="r", time=0.0, span=1, node="", seq=8, status="ok", duration=0.0),
    ]


def stream_of(name: str) -> list[Event]:
    """The good stream of that name."""
    return answered() if name == "a question" else list(recorded(name))


def together(count: int, function: Callable[[], object]) -> None:
    """Call it in so many threads, at the same time."""
    barrier = threading.Barrier(count)

    def call() -> None:
        barrier.wait()
        function()

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
