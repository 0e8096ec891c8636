"""Flows of every shape, whose nodes say outside of the run what they have done."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from flowevents import (
    Ask,
    AskNode,
    AsyncAskNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
    StreamNode,
)

__all__ = ["SHAPES", "Done"]

Done = Counter[str]
"""How often each step was finished: counted outside of the run."""


def _note(node: Any, shared: Any, *names: object) -> None:
    done: Done = node.done
    done[":".join([node.node_name, *map(str, names)])] += 1


class Add(Node):
    """Adds to a number in `shared`, and goes on as often as it is told."""

    def __init__(self, name: str, done: Done, times: int = 1) -> None:
        super().__init__()
        self.node_name, self.done, self.times = name, done, times

    def prep(self, shared: Any) -> Any:
        return self.params.get("n", 0)

    def exec(self, prep_res: Any) -> Any:
        return prep_res + 1

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        key = f"{self.node_name}{prep_res or ''}"
        shared[key] = count = shared.get(key, 0) + exec_res
        _note(self, shared, prep_res, count)
        return "again" if count < self.times else "on"


class Talk(StreamNode):
    """Streams, fails as often as it is told, and keeps what it said in a list."""

    def __init__(self, name: str, done: Done, failures: int = 0, **options: Any) -> None:
        super().__init__(max_retries=2, **options)
        self.node_name, self.done, self.failures = name, done, failures

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "a"
        if self.cur_retry < self.failures:
            raise ValueError(f"failure {self.cur_retry}")
        yield "b"

    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        return ["fallback"]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared.setdefault("said", []).append((self.node_name, tuple(exec_res)))
        _note(self, shared)
        return "on"


class Approve(AskNode):
    """Asks with choices."""

    def __init__(self, done: Done) -> None:
        super().__init__()
        self.node_name, self.done = "Approve", done

    def question(self, prep_res: Any) -> Ask:
        return Ask("Ship it?", choices=["yes", "no"])

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["approved"] = exec_res
        _note(self, shared)
        return "on"


class Interview(StreamNode):
    """Asks two questions in the middle of what it streams."""

    def __init__(self, done: Done) -> None:
        super().__init__()
        self.node_name, self.done = "Interview", done

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield "hello"
        name = yield Ask("Name?", type=str)
        yield f"hello {name}"
        age = yield Ask("Age?", type=int)
        yield f"{name} {age}"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["interview"] = exec_res
        _note(self, shared)
        return "on"


class Squares(BatchNode):
    """Squares numbers, and fails once at the second one."""

    def __init__(self, done: Done, total: int | None = 3) -> None:
        super().__init__(max_retries=2)
        self.node_name, self.done, self.total = "Squares", done, total

    def prep(self, shared: Any) -> Any:
        return range(3) if self.total else iter(range(3))

    def exec(self, item: Any) -> Any:
        if item == 1 and self.cur_retry == 0:
            raise ValueError("once")
        _note(self, None, item)
        return (item, item * item)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["squares"] = exec_res
        return "on"


class Each(BatchFlow):
    """Runs its graph once for each number, and keeps how many there were."""

    def __init__(self, done: Done, start: Any, numbers: int) -> None:
        super().__init__(start=start)
        self.done, self.numbers = done, numbers

    def prep(self, shared: Any) -> Any:
        return ({"n": number} for number in range(self.numbers))

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["each"] = len(prep_res)
        return "on"


class Nested(Flow):
    """A flow with a `prep` and a `post`."""

    def prep(self, shared: Any) -> Any:
        return "prepared"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["nested"] = (prep_res, exec_res)
        return exec_res


def linear(done: Done) -> Flow:
    """Three nodes."""
    first, second, third = Add("First", done), Talk("Second", done), Add("Third", done)
    first - "on" >> second
    second - "on" >> third
    return Flow(start=first)


def loop(done: Done) -> Flow:
    """A node that goes on to itself, and one that follows."""
    first, second = Add("First", done, times=3), Talk("Second", done)
    first - "again" >> first
    first - "on" >> second
    return Flow(start=first)


def nested(done: Done) -> Flow:
    """A flow in a flow in a flow."""
    inner = Nested(start=loop(done))
    last = Add("Last", done)
    inner - "on" >> last
    return Flow(start=inner)


def retries(done: Done) -> Flow:
    """One that fails once, one that falls back."""
    first, second = Talk("First", done, failures=1), Talk("Second", done, failures=2)
    first - "on" >> second
    return Flow(start=first)


def batch_in_batch(done: Done) -> Flow:
    """A batch flow over a batch flow."""
    one, two = Add("One", done), Add("Two", done)
    one - "on" >> two
    inner = Each(done, one, 2)
    outer = Each(done, inner, 2)
    last = Add("Last", done)
    outer - "on" >> last
    return Flow(start=outer)


def batch(done: Done) -> Flow:
    """A batch node."""
    squares, last = Squares(done), Add("Last", done)
    squares - "on" >> last
    return Flow(start=squares)


def asks(done: Done) -> Flow:
    """Questions between other nodes."""
    first, approve, interview = Add("First", done), Approve(done), Interview(done)
    last = Add("Last", done)
    first - "on" >> approve
    approve - "on" >> interview
    interview - "on" >> last
    return Flow(start=first)


# -- async ----------------------------------------------------------------------------------------


class AddAsync(AsyncNode):
    """`Add`, which gives the others their turn."""

    def __init__(self, name: str, done: Done, times: int = 1) -> None:
        super().__init__()
        self.node_name, self.done, self.times = name, done, times

    async def prep_async(self, shared: Any) -> Any:
        return self.params.get("n", 0)

    async def exec_async(self, prep_res: Any) -> Any:
        for _ in range(prep_res % 3):
            await asyncio.sleep(0)
        return prep_res + 1

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        key = f"{self.node_name}{prep_res}"
        shared[key] = count = shared.get(key, 0) + 1
        _note(self, shared, prep_res, count)
        return "again" if count < self.times else "on"


class TalkAsync(AsyncStreamNode):
    """Streams."""

    def __init__(self, name: str, done: Done) -> None:
        super().__init__()
        self.node_name, self.done = name, done

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        key = f"said {self.node_name} {self.params.get('n')}"
        shared[key] = exec_res
        _note(self, shared, self.params.get("n"))
        return "on"


class ApproveAsync(AsyncAskNode):
    """Asks, for each number another question."""

    def __init__(self, done: Done) -> None:
        super().__init__()
        self.node_name, self.done = "Approve", done

    async def question_async(self, prep_res: Any) -> Ask:
        return Ask(f"Ship {self.params.get('n')}?", choices=["yes", "no"])

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared[f"approved {self.params.get('n')}"] = exec_res
        _note(self, shared, self.params.get("n"))
        return "on"


class SquaresAtOnce(AsyncParallelBatchNode):
    """Squares numbers at the same time."""

    def __init__(self, done: Done) -> None:
        super().__init__(max_retries=2)
        self.node_name, self.done = "Squares", done

    async def prep_async(self, shared: Any) -> Any:
        return range(4)

    async def exec_async(self, item: Any) -> Any:
        for _ in range(4 - item):
            await asyncio.sleep(0)
        answer = await self.ask(f"Square {item}?", choices=["yes", "no"]) if item > 2 else "yes"
        _note(self, None, item)
        return answer, item * item

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["squares"] = exec_res
        return "on"


class AllAtOnce(AsyncParallelBatchFlow):
    """Runs its graph for all numbers at the same time."""

    def __init__(self, done: Done, start: Any, numbers: int) -> None:
        super().__init__(start=start)
        self.done, self.numbers = done, numbers

    async def prep_async(self, shared: Any) -> Any:
        return [{"n": self.params.get("n", 0) * 10 + number} for number in range(self.numbers)]

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["all"] = len(prep_res)
        return "on"


def async_loop(done: Done) -> AsyncFlow:
    """A loop of async nodes."""
    first, second = AddAsync("First", done, times=2), TalkAsync("Second", done)
    first - "again" >> first
    first - "on" >> second
    return AsyncFlow(start=first)


def parallel(done: Done) -> AsyncFlow:
    """Passes at the same time, of which each loops."""
    first, second = AddAsync("First", done, times=2), TalkAsync("Second", done)
    first - "again" >> first
    first - "on" >> second
    every = AllAtOnce(done, first, 3)
    last = AddAsync("Last", done)
    every - "on" >> last
    return AsyncFlow(start=every)


def batch_at_once(done: Done) -> AsyncFlow:
    """A parallel batch node, of which an item asks."""
    squares, last = SquaresAtOnce(done), AddAsync("Last", done)
    squares - "on" >> last
    return AsyncFlow(start=squares)


def parallel_in_parallel(done: Done) -> AsyncFlow:
    """Passes in passes."""
    first = AddAsync("First", done)
    inner = AllAtOnce(done, first, 2)
    return AsyncFlow(start=AllAtOnce(done, inner, 2))


def parallel_asks(done: Done) -> AsyncFlow:
    """Questions at the same time."""
    first, approve = AddAsync("First", done), ApproveAsync(done)
    first - "on" >> approve
    return AsyncFlow(start=AllAtOnce(done, first, 2))


SHAPES: dict[str, Callable[[Done], Flow]] = {
    each.__name__: each
    for each in (
        linear,
        loop,
        nested,
        retries,
        batch,
        batch_in_batch,
        asks,
        async_loop,
        batch_at_once,
        parallel,
        parallel_in_parallel,
        parallel_asks,
    )
}
"""A flow of each shape, made anew."""
