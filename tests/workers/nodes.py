"""Nodes whose items run in workers, which import them from here.

A worker and a test tell each other by files of a folder, which is the node's or in the item.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

from flowevents import (
    Ask,
    AsyncBatchNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchNode,
    Result,
    StreamNode,
)

__all__ = ["made", "until"]


def until(condition: Any, what: str, patience: float = 30) -> None:
    """Look again and again until something is so."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.002)


class Batch(StreamNode, BatchNode):
    """Streams what `steps` yields, of each item in `shared`; keeps the results there."""

    def prep(self, shared: Any) -> Any:
        return shared["items"]

    def exec_stream(self, item: Any) -> Generator[Any, None, Any]:
        return (yield from self.steps(item))

    def steps(self, item: Any) -> Generator[Any, None, Any]:
        raise NotImplementedError

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res

    def item_label(self, item: Any) -> str:
        return f"item {item}"


class AsyncBatch(AsyncStreamNode, AsyncParallelBatchNode):
    """The same, in an async run."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["items"]

    async def exec_stream_async(self, item: Any) -> AsyncIterator[Any]:
        steps = self.steps(item)
        try:
            while True:
                yield next(steps)
                await asyncio.sleep(0)
        except StopIteration as end:
            yield Result(end.value)
        finally:
            steps.close()

    def steps(self, item: Any) -> Generator[Any, None, Any]:
        raise NotImplementedError

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res

    def item_label(self, item: Any) -> str:
        return f"item {item}"


class Doing:
    """What nodes do with an item, sync and async: see `made`."""

    class Program:
        """Streams, emits, says its progress, fails at times, and falls back of one in seven."""

        cur_retry: int
        emit: Any
        progress: Any

        def steps(self, item: int) -> Generator[Any, None, Any]:
            self.progress(self.cur_retry, 3, f"retry {self.cur_retry}")
            for part in range(item % 5 + 1):
                yield f"{item}.{part}"
            self.emit({"item": item, "retry": self.cur_retry}, kind="note")
            if item % 3 == 1 and self.cur_retry == 0:
                raise ValueError(f"item {item} at first")
            if item % 7 == 6:
                raise KeyError(f"item {item} ever")
            yield ["last", item]
            return item * item

        def fall_back(self, item: int, error: Exception) -> Any:
            self.emit("falls back", kind="note")
            return f"{type(error).__name__} of {item}, retry {self.cur_retry}"

    class Waiting:
        """Says that it has begun, by a file with its process, then goes on when it may."""

        emit: Any
        folder: str
        cur_retry: int

        def steps(self, item: Any) -> Generator[Any, None, Any]:
            folder = Path(self.folder)
            yield f"begun {item}"
            (folder / f"begun {item}").write_text(str(os.getpid()))
            until((folder / f"go {item}").exists, f"go {item}")
            yield f"gone on {item}"
            return item

    class Answered:
        """Says things one right after the other, and goes on when the last of them was heard."""

        folder: str

        def steps(self, item: Any) -> Generator[Any, None, Any]:
            for number in range(5):
                yield number
                yield f"{item} {number}"
                heard = Path(self.folder) / f"{item} {number}"
                until(heard.exists, f"{heard.name} is heard")
            return item

    class Ticking:
        """Ticks until it is stopped, and counts its ticks in a file; `fails` fails when told."""

        folder: str

        def steps(self, item: Any) -> Generator[Any, None, Any]:
            folder = Path(self.folder)
            if item == "fails":
                yield "fails soon"
                until((folder / "fail").exists, "fail")
                raise LookupError("it fails")
            ticks = os.open(folder / f"ticks {item}", os.O_CREAT | os.O_WRONLY)
            try:
                for tick in range(10_000_000):
                    os.pwrite(ticks, b"%20d" % tick, 0)
                    yield tick
            finally:
                os.close(ticks)
                (folder / f"closed {item}").touch()

    class Stubborn:
        """Never looks at anything, until a file is there."""

        folder: str

        def steps(self, item: Any) -> Generator[Any, None, Any]:
            folder = Path(self.folder)
            yield "begun"
            until((folder / "end").exists, "end")
            (folder / "ended").touch()
            return item

    class Counting:
        """Yields numbers as fast as it can, and writes how many."""

        folder: str
        keep_chunks = False

        def steps(self, item: Any) -> Generator[Any, None, Any]:
            made = os.open(Path(self.folder) / f"made {item}", os.O_CREAT | os.O_WRONLY)
            try:
                for number in range(5_000):
                    os.pwrite(made, b"%20d" % number, 0)
                    yield number
            finally:
                os.close(made)

    class Deadly:
        """Kills its process: the item `(n, times)` the first so many times, after some chunks."""

        folder: str
        cur_retry: int

        def steps(self, item: Any) -> Generator[Any, None, Any]:
            name, times = item
            yield f"{name} begins, retry {self.cur_retry}"
            if name in ("tries", "doomed") and self.cur_retry == 0:
                raise ValueError("once")
            mark = Path(self.folder) / f"killed {name}"
            killed = int(mark.read_text()) if mark.exists() else 0
            if killed < times:
                mark.write_text(str(killed + 1))
                heard = Path(self.folder) / f"heard {name} {killed + 1}"
                until(heard.exists, heard.name)
                os.kill(os.getpid(), signal.SIGKILL)
            if name in ("fails", "doomed"):
                raise ValueError("in the end")
            yield f"{name} ends"
            return name

    class Resuming:
        """Notes that it runs, and ticks until it may end."""

        folder: str

        def steps(self, item: Any) -> Generator[Any, None, Any]:
            folder = Path(self.folder)
            with open(folder / f"runs {item}", "a") as runs:
                print(os.getpid(), file=runs)
            yield f"begins {item}"
            while not (folder / f"go {item}").exists():
                yield "tick"
                time.sleep(0.01)
            return f"result of {item}"

    class Scripted:
        """Does what the item says, a list of steps for each attempt, the last for the fallback."""

        cur_retry: int
        emit: Any
        progress: Any

        def steps(self, item: list[list[tuple[str, Any]]]) -> Generator[Any, None, Any]:
            for what, value in item[min(self.cur_retry, len(item) - 2)]:
                if what == "yield":
                    yield value
                elif what == "return":
                    return value
                else:
                    self.do(what, value)

        def do(self, what: str, value: Any) -> None:
            if what == "emit":
                self.emit(value, kind="note")
            elif what == "progress":
                self.progress(value, label=str(value))
            elif what == "raise":
                raise KeyError(value) if value else ValueError(value)

        def fall_back(self, item: Any, error: Exception) -> Any:
            for what, value in item[-1]:
                self.do(what, value)
            return f"{type(error).__name__}: {error}"

    class Failing:
        """Raises what the item says."""

        def steps(self, item: Any) -> Generator[Any, None, Any]:
            yield item
            raise RAISED[item]()


class Odd(Exception):
    """Cannot be pickled: it is not made from its `args`."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(f"{one} and {two}")


RAISED: dict[str, Any] = {
    "plain": lambda: LookupError("not there"),
    "odd": lambda: Odd(1, 2),
    "stop": lambda: StopIteration("no end"),
}


def made(name: str, is_async: bool, folder: object = None, **options: Any) -> Any:
    """A node that does that, sync or async."""
    node = globals()[f"Async{name}" if is_async else name](**options)
    node.folder = str(folder)
    return node


class Program(Doing.Program, Batch):
    def exec_fallback(self, item: Any, error: Exception) -> Any:
        return self.fall_back(item, error)


class AsyncProgram(Doing.Program, AsyncBatch):
    async def exec_fallback_async(self, item: Any, error: Exception) -> Any:
        return self.fall_back(item, error)


class Waiting(Doing.Waiting, Batch): ...


class AsyncWaiting(Doing.Waiting, AsyncBatch): ...


class Answered(Doing.Answered, Batch): ...


class AsyncAnswered(Doing.Answered, AsyncBatch): ...


class Ticking(Doing.Ticking, Batch): ...


class AsyncTicking(Doing.Ticking, AsyncBatch): ...


class Stubborn(Doing.Stubborn, Batch): ...


class AsyncStubborn(Doing.Stubborn, AsyncBatch): ...


class Counting(Doing.Counting, Batch): ...


class AsyncCounting(Doing.Counting, AsyncBatch): ...


class Deadly(Doing.Deadly, Batch): ...


class AsyncDeadly(Doing.Deadly, AsyncBatch): ...


class Resuming(Doing.Resuming, Batch): ...


class AsyncResuming(Doing.Resuming, AsyncBatch): ...


class Scripted(Doing.Scripted, Batch):
    def exec_fallback(self, item: Any, error: Exception) -> Any:
        return self.fall_back(item, error)


class AsyncScripted(Doing.Scripted, AsyncBatch):
    async def exec_fallback_async(self, item: Any, error: Exception) -> Any:
        return self.fall_back(item, error)


class Failing(Doing.Failing, Batch): ...


class AsyncFailing(Doing.Failing, AsyncBatch): ...


class Giving(Batch):
    """Gives what cannot be pickled, as a chunk or as its result."""

    lock: Any = None

    def steps(self, item: str) -> Generator[Any, None, Any]:
        if item == "own":
            return self.lock
        yield threading.Lock() if item == "chunk" else "first"
        return threading.Lock()

    def item_label(self, item: Any) -> str:
        return ""


class Asking(Batch):
    """Asks."""

    def steps(self, item: Any) -> Generator[Any, None, Any]:
        return (yield Ask("Well?"))

    def exec_fallback(self, item: Any, error: Exception) -> None:
        """Nothing falls back."""


class AsyncAsking(AsyncBatch):
    """Asks."""

    async def exec_stream_async(self, item: Any) -> AsyncIterator[Any]:
        await self.ask("Well?")
        yield "an answer"

    async def exec_fallback_async(self, item: Any, error: Exception) -> None:
        """Nothing falls back."""


class Slow(Batch):
    """Takes so many seconds."""

    def steps(self, item: float) -> Generator[Any, None, Any]:
        yield "begins"
        time.sleep(item)


class AsyncSlow(AsyncBatch):
    """Takes so many seconds."""

    def steps(self, item: float) -> Generator[Any, None, Any]:
        yield "begins"
        time.sleep(item)


class Plain(BatchNode):
    """Does not stream."""

    def prep(self, shared: Any) -> Any:
        return shared["items"]

    def exec(self, item: int) -> int:
        self.emit(item, kind="note")
        if self.cur_retry == 0:
            raise ValueError(item)
        return item + 1

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res


class AsyncPlain(AsyncBatchNode):
    """Does not stream; without an executor its items run one after the other."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["items"]

    async def exec_async(self, item: int) -> int:
        self.emit(item, kind="note")
        await asyncio.sleep(0)
        if self.cur_retry == 0:
            raise ValueError(item)
        return item + 1

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res
