"""What a server costs: an event to its viewers, and a viewer that stands still.

Server and viewers are in one process, with a loop in a thread for each side, and the viewers do
next to nothing with what they get.

`python -m benchmarks.front_ends viewers 1000` has so many stand still, and prints the memory in
bytes; with `runs` so many runs are started, of which the server keeps the last 1,000.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from flowevents import (
    Ask,
    AskNode,
    AsyncFlow,
    Flow,
    Journal,
    MemoryJournal,
    Run,
    StreamNode,
)
from flowevents.web import RunServer
from flowevents.web.watching import sse_frame

from .footprint import python, resident_bytes
from .measure import Comparison, Effort, expect, seconds
from .table import Row

FEW, MANY = 10, 1_000
FEW_RUNS, MANY_RUNS = 2_000, 98_000
AT_ONCE = 500
KILOBYTE = 1e3


class Says(StreamNode):
    """Says so many words."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = words

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        for _ in range(self.words):
            yield "a word "


class Waits(AskNode):
    """Asks, and waits."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("Well?")


@contextmanager
def served(journal: Journal, flow: Any) -> Iterator[int]:
    """The port of a server of these runs; below `/bare` are their frames as they are."""
    frames: dict[str, list[bytes]] = {}

    async def bare(request: Request) -> Response:
        run_id = request.path_params["id"]
        if run_id not in frames:
            frames[run_id] = [sse_frame(each) for each in journal.read(run_id)]

        async def body() -> AsyncIterator[bytes]:
            for frame in frames[run_id]:
                yield frame

        return StreamingResponse(body(), media_type="text/event-stream")

    app = RunServer({"flow": flow}, journal=journal, resume=False)
    routes = [Route("/bare/{id}", bare), Mount("/", app)]
    config = uvicorn.Config(Starlette(routes=routes), log_level="error")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=2 * MANY) as listening:
        before = set(threading.enumerate())
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
            for each in set(threading.enumerate()) - before:  # in which the journal was asked
                each.join()


def asked(port: int, path: str) -> bytes:
    """The request for a path."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode()


async def watch(port: int, path: str) -> int:
    """How many events a viewer gets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked(port, path))
    count, rest = 0, b""
    while raw := await reader.read(1 << 18):
        count += (rest + raw).count(b"\nid: ")
        rest = raw[-4:]
    writer.close()
    return count


@dataclass(frozen=True)
class Viewers:
    """Events to viewers that read them as fast as they come, against a bare Starlette stream."""

    work: str
    viewers: int
    words: int
    target: float = 2.0

    def measure(self, effort: Effort) -> Row:
        """Measure both in alternating rounds; amounts are microseconds per event and viewer."""
        words = effort.units(self.words)
        flow = Flow(Says(words))
        with MemoryJournal() as journal:
            run = Run(flow, {}, journal=journal)
            run.wait()
            with served(journal, flow) as port:

                def both(path: str, _: int) -> None:
                    async def all_of_them() -> list[int]:
                        return await asyncio.gather(
                            *(watch(port, path) for _ in range(self.viewers))
                        )

                    counts = asyncio.run(all_of_them())
                    expect(set(counts), {words + 5}, "the events that each viewer got")

                comparison = Comparison(
                    work=self.work,
                    target=self.target,
                    size=self.viewers * self.words,
                    flowevents=partial(both, f"/runs/{run.id}/events"),
                    reference=partial(both, f"/bare/{run.id}"),
                )
                return comparison.measure(effort)


@dataclass(frozen=True)
class StandingStill:
    """Memory of a viewer of a run that waits, in a process of its own."""

    work: str
    target: float = 100.0

    def measure(self, effort: Effort) -> Row:
        """Start the processes; the amount is kilobytes for each viewer."""
        many = FEW + effort.units(MANY)
        few, all_of_them = (_resident("viewers", n) for n in (FEW, many))
        each = (all_of_them - few) / (many - FEW) / KILOBYTE
        return Row(
            work=self.work,
            unit="kB",
            flowevents=max(each, 0.001),
            reference=None,
            judged=each,
            target=self.target,
            rounds=1,
            ratio=False,
        )


@dataclass(frozen=True)
class RunsThatEnd:
    """Memory of a server after 100,000 runs, beyond that after 2,000: it keeps the last 1,000."""

    work: str
    target: float = 2.0

    def measure(self, effort: Effort) -> Row:
        """Start the processes; the amounts are megabytes."""
        many = FEW_RUNS + effort.units(MANY_RUNS)
        few, all_of_them = (_resident("runs", n) / 1e6 for n in (FEW_RUNS, many))
        return Row(
            work=self.work,
            unit="MB",
            flowevents=all_of_them,
            reference=few,
            judged=all_of_them - few,
            target=self.target,
            rounds=1,
            ratio=False,
        )


@dataclass(frozen=True)
class RunsAtOnce:
    """What it costs to start a run where 500 live at once, until all of them ask."""

    work: str

    def measure(self, effort: Effort) -> Row:
        """The amount is milliseconds of processor time for each."""
        many = effort.units(AT_ONCE)
        taken = seconds(lambda runs: asyncio.run(_asking(runs)), many, time.process_time)
        each = taken / many * 1e3
        return Row(self.work, "ms", each, None, each, None, 1, ratio=False)


def _resident(what: str, many: int) -> int:
    return int(python("-m", "benchmarks.front_ends", what, str(many)))


async def start(app: RunServer) -> None:
    """Start a run, by a request without a network."""
    body = b'{"flow": "flow", "shared": {}}'
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/runs", "headers": headers}
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await app({**scope, "query_string": b"", "scheme": "http", "root_path": ""}, receive, send)
    expect(said[0]["status"], 201, "the answer to a start")


async def _asking(many: int) -> None:
    """Start so many runs that ask and wait, see that they do, and let them go."""
    app = RunServer({"flow": AsyncFlow(Waits())}, max_runs=many, resume=False)
    async with app.lifespan():
        await asyncio.gather(*(start(app) for _ in range(many)))
        while True:
            found = app.journal.runs("running", limit=many)
            if sum(len(each.interrupts) for each in found) == many:
                break
            await asyncio.sleep(0)


def end_runs(many: int) -> int:
    """The memory of this process after so many runs of a server."""

    async def main() -> int:
        app = RunServer({"flow": AsyncFlow(Says(1))}, resume=False)
        async with app.lifespan():
            for _ in range(many):
                await start(app)
            return resident_bytes()

    return asyncio.run(main())


def stand_still(viewers: int) -> int:
    """The memory of this process when so many watch a run that waits."""
    _allow_files(4 * viewers + 100)
    with MemoryJournal() as journal, ExitStack() as stack:
        run = Run(Waits(), {}, journal=journal)
        run.start()
        port = stack.enter_context(served(journal, Says(0)))
        for _ in range(viewers):
            viewer = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            viewer.sendall(asked(port, f"/runs/{run.id}/events"))
            expect(b" 200 " in viewer.recv(1_000), True, "the answer to a viewer")
        resident = resident_bytes()
        run.cancel()
        return resident


def _allow_files(wanted: int) -> None:
    import resource  # not on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


WORKS = (
    Viewers("an event over HTTP, to a viewer", viewers=1, words=20_000),
    Viewers("an event over HTTP, to each of 200 viewers", viewers=200, words=500),
    StandingStill("a viewer that stands still"),
    RunsAtOnce("a run of 500 at once in a server, from its start to its question"),
    RunsThatEnd("memory of a server after 100,000 runs, beyond 2,000"),
)

if __name__ == "__main__":
    print({"viewers": stand_still, "runs": end_runs}[sys.argv[1]](int(sys.argv[2])))
