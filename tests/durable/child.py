"""A process that drives a run, to be killed: `python -m tests.durable.child FLOW DB COUNTS HOW`.

It begins the run, or goes on with it. Before it does anything it says so on a line of its own; with
`HOW` being `steps` it then waits until it is told to go on. Each step and item that its code has
done is a line of the file `COUNTS`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BatchFlow,
    BatchNode,
    Conflict,
    Event,
    Flow,
    Node,
    Run,
    RunStateError,
    SQLiteJournal,
    StreamNode,
    UnknownRun,
)

__all__ = ["FLOWS"]

_how = "free"
_counts = -1


def say(*words: object) -> None:
    """Say what comes next, and wait for the word."""
    print(*words, flush=True)
    if _how == "steps":
        sys.stdin.readline()


def count(*words: object) -> None:
    """Write down what was done, outside of the run."""
    if _counts >= 0:
        os.write(_counts, (" ".join(map(str, words)) + "\n").encode())


class Loops(Node):
    """Goes on to itself, twice."""

    def exec(self, prep_res: Any) -> None:
        say("node", self.node_name)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        key = f"{self.node_name} {self.params.get('n', '')}"
        shared[key] = rounds = shared.get(key, 0) + 1
        count(self.node_name, self.params.get("n", ""), rounds)
        return "again" if rounds < 3 else "default"


class Talks(StreamNode):
    """Streams."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        for chunk in "abc":
            say("node", self.node_name, chunk)
            yield chunk

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.setdefault("said", []).append(exec_res)
        count(self.node_name)


class Items(BatchNode):
    """Three items."""

    def prep(self, shared: Any) -> Any:
        say("node", self.node_name, "prep")
        return [1, 2, 3]

    def exec(self, item: Any) -> Any:
        say("node", self.node_name, item)
        count("item", item)
        return item * item

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["squares"] = exec_res
        count(self.node_name)


class Passes(BatchFlow):
    """Two passes."""

    def prep(self, shared: Any) -> Any:
        return [{"n": 1}, {"n": 2}]


class LoopsAsync(AsyncNode):
    """`Loops`, where others go on in between."""

    async def exec_async(self, prep_res: Any) -> None:
        say("node", self.node_name, self.params.get("n"))
        await asyncio.sleep(0)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        key = f"{self.node_name} {self.params.get('n', '')}"
        shared[key] = rounds = shared.get(key, 0) + 1
        count(self.node_name, self.params.get("n", ""), rounds)
        return "again" if rounds < 2 else "default"


class AtOnce(AsyncParallelBatchNode):
    """Items at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        return [1, 2, 3, 4]

    async def exec_async(self, item: Any) -> Any:
        for _ in range(item % 3):
            await asyncio.sleep(0)
        say("node", self.node_name, item)
        count("item", item)
        return item * item

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["squares"] = exec_res
        count(self.node_name)


class PassesAtOnce(AsyncParallelBatchFlow):
    """Passes at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        return [{"n": 1}, {"n": 2}, {"n": 3}]


def _sync() -> Flow:
    loops, talks, items, inner = Loops(), Talks(), Items(), Loops()
    inner.node_name = "Inner"
    inner - "again" >> inner
    inner.next(None)
    passes = Passes(start=inner)
    loops - "again" >> loops
    loops >> talks >> items >> passes
    return Flow(start=loops)


def _async() -> Flow:
    at_once, inner = AtOnce(), LoopsAsync()
    inner - "again" >> inner
    inner.next(None)
    at_once >> PassesAtOnce(start=inner) >> Talks()
    return AsyncFlow(start=at_once)


FLOWS: dict[str, Callable[[], Flow]] = {"sync": _sync, "async": _async}


def _hear(event: Event) -> None:
    say("handler", type(event).__name__)


def _drive(run: Run, kind: str) -> None:
    if kind == "async":
        asyncio.run(run.wait_async())
    else:
        run.wait()


def main(kind: str, path: str, counts: str, how: str, take_over: str) -> None:
    """Begin the run, or go on with it, to its end."""
    global _how, _counts
    _how = how
    _counts = os.open(counts, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with SQLiteJournal(path) as journal:
        flow = FLOWS[kind]()
        try:
            try:
                run = Run.resume(flow, journal, "run", take_over=bool(take_over), observers=[_hear])
            except UnknownRun:
                run = Run(flow, {}, journal=journal, id="run", observers=[_hear])
            _drive(run, kind)
            print("done", sorted(run.shared.items()), flush=True)
        except (RunStateError, Conflict) as error:
            print("refused", type(error).__name__, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
