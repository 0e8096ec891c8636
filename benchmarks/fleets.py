"""Many runs of one journal: 50 that are driven by one loop, and 200 that one process follows.

All on SQLite, and on the wall: what is measured waits, or is done by several threads.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from flowevents import AsyncFlow, AsyncStreamNode, Journal, Run, SQLiteJournal
from flowevents.events import NodeStart
from flowevents.journal.records import recorded

from .footprint import ROOT
from .measure import Effort, Work, expect
from .peers.storage import database
from .table import Row

RUNS, STEPS, CHUNKS = 50, 20, 100
FOLLOWED, EVENTS, A_SECOND = 200, 5_000, 1_000


class Talks(AsyncStreamNode):
    """Streams, lets the others have their turn with each chunk, and does so again."""

    async def prep_async(self, shared: Any) -> int:
        chunks: int = shared["chunks"]
        return chunks

    async def exec_stream_async(self, prep_res: int) -> AsyncIterator[str]:
        for _ in range(prep_res):
            await asyncio.sleep(0)
            yield "token"

    async def post_async(self, shared: Any, prep_res: int, exec_res: object) -> str:
        shared["left"] -= 1
        return "on" if shared["left"] else "done"


def timed(journal: Journal) -> list[float]:
    """Have it noted how many seconds each store takes that is made in this thread."""
    store: Any = journal._store
    append, here, taken = store.append, threading.get_ident(), []

    def noted(batch: object) -> bool:
        begin = time.perf_counter()
        stored: bool = append(batch)
        if threading.get_ident() == here:
            taken.append(time.perf_counter() - begin)
        return stored

    store.append = noted
    return taken


def drive(journal: Journal, runs: int, steps: int, chunks: int) -> float:
    """Drive so many runs in one loop. Returns the seconds that takes."""
    node = Talks()
    node.next(node, "on").next(None, "done")

    async def all_at_once() -> None:
        each = [
            Run(AsyncFlow(node), {"left": steps, "chunks": chunks}, journal=journal)
            for _ in range(runs)
        ]
        await asyncio.gather(*(run.wait_async() for run in each))

    begin = time.perf_counter()
    asyncio.run(all_at_once())
    taken = time.perf_counter() - begin
    found = journal.runs(limit=runs + 1)
    events = 2 + steps * (chunks + 3)  # the flow's two; of a step its start, its end, its action
    expect([(each.status, each.seq) for each in found], [("done", events)] * runs, "the runs")
    return taken


@dataclass(frozen=True)
class Chunks:
    """What a chunk costs where 50 runs of one loop are stored in one file."""

    work: str
    target: float = 16.7  # 60,000 a second

    def measure(self, effort: Effort) -> Row:
        """Amounts are microseconds a chunk: the best round."""
        chunks, taken = effort.units(STEPS * CHUNKS), []
        for _ in range(effort.rounds):
            with database() as path, SQLiteJournal(path) as journal:
                taken.append(drive(journal, RUNS, 1, chunks))
        cost = min(taken) / (RUNS * chunks) * 1e6
        return Row(self.work, "µs", cost, None, cost, self.target, len(taken), ratio=False)


@dataclass(frozen=True)
class Blocked:
    """For how long a store of 50 runs blocks their loop, in the 99th percentile."""

    work: str
    target: float = 1

    def measure(self, effort: Effort) -> Row:
        """Amounts are milliseconds."""
        steps = effort.units(STEPS)
        with database() as path, SQLiteJournal(path) as journal:
            taken = timed(journal)
            drive(journal, RUNS, steps, CHUNKS // 10)
        expect(len(taken) >= RUNS * steps, True, "a store for each step")
        most = quantiles(taken, n=100)[98] * 1e3
        return Row(self.work, "ms", most, None, most, self.target, len(taken), ratio=False)


@dataclass(frozen=True)
class Followed:
    """How much of a core it takes to follow 200 runs that have 1,000 events a second together."""

    work: str
    target: float = 20

    def measure(self, effort: Effort) -> Row:
        """Amounts are per cent of a core: the follower's processor time by the wall's."""
        events = effort.units(EVENTS)
        with database() as path, SQLiteJournal(path) as journal:
            leases = [journal.begin(f"run {n}", "Flow", {}) for n in range(FOLLOWED)]
            command = (sys.executable, "-m", "benchmarks.fleets", path, str(events))
            with subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                process.stdout.readline()
                begin = time.monotonic()
                for n in range(events):
                    lease = leases[n % FOLLOWED]
                    seq = lease.seq + 1
                    step = NodeStart(
                        lease.run_id, seq, time.time(), seq, "Plan", (), seq, 1, parent=1
                    )
                    lease.append(recorded(step))
                    time.sleep(max(0.0, begin + (n + 1) / A_SECOND - time.monotonic()))
                found: dict[str, float] = json.loads(process.stdout.read())
            for lease in leases:
                lease.release()
        expect(found["events"], events, "the events followed")
        share = found["processor"] / found["wall"] * 100
        return Row(self.work, "%", share, None, share, self.target, events, ratio=False)


def follow(path: str, events: int) -> None:
    """Follow the runs in this process: print a line when that begins, then what it took."""

    async def of_run(journal: Journal, run_id: str, count: list[int]) -> None:
        async for _ in journal.follow(run_id):
            count[0] += 1
            if count[0] == events:
                raise EOFError

    async def main() -> dict[str, float]:
        count = [0]
        with SQLiteJournal(path) as journal:
            following = [
                asyncio.ensure_future(of_run(journal, each.id, count))
                for each in journal.runs(limit=FOLLOWED)
            ]
            await asyncio.sleep(0)
            print(flush=True)
            begin, before = time.monotonic(), time.process_time()
            await asyncio.wait(following, return_when=asyncio.FIRST_EXCEPTION)
            taken = {"wall": time.monotonic() - begin, "processor": time.process_time() - before}
            for each in following:
                each.cancel()
            await asyncio.gather(*following, return_exceptions=True)
        return {**taken, "events": count[0]}

    print(json.dumps(asyncio.run(main())))


WORKS: tuple[Work, ...] = (
    Chunks("a chunk of 50 async runs of one loop, journaled to SQLite"),
    Blocked("a store of 50 async runs on SQLite, 99th percentile"),
    Followed("following 200 runs with 1,000 events a second, by one process, of a core"),
)

if __name__ == "__main__":
    follow(sys.argv[1], int(sys.argv[2]))
