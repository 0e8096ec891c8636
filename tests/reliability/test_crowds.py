"""Many at once, and handlers that do what they like: nobody hears another, nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncStreamNode,
    Chunk,
    Flow,
    Node,
    Run,
    RunCancelled,
    StreamNode,
    observe,
    signals,
)
from flowevents.signals import audiences
from flowevents.testing import check_events
from tests.driving import PATIENCE, Seen, connected
from tests.reliability.size import full

ROOT = Path(__file__).parent.parent.parent


class Say(StreamNode):
    """Says who it is, some times over, and some more in between."""

    def prep(self, shared: Any) -> Any:
        return shared["who"]

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        for index in range(3):
            yield prep_res
            self.emit(prep_res)
            self.progress(index, 3, str(prep_res))


class AsyncSay(AsyncStreamNode):
    """The same, in a loop."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["who"]

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        for _ in range(3):
            yield prep_res
            self.emit(prep_res)
            await asyncio.sleep(0)


def flow() -> Flow:
    """Twice, the second time in a nested flow."""
    first = Say()
    first >> Flow(Say())
    return Flow(first)


def heard(seen: Seen, who: object) -> None:
    """It heard one whole run, of this one."""
    check_events(seen.events)
    assert {event.data for event in seen.of(Chunk)} == {who}
    assert len({event.run_id for event in seen.events}) == 1


def together(count: int, work: Callable[[int], None]) -> None:
    """Do the work in so many threads; the first error is raised."""
    errors: list[BaseException] = []

    def target(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=target, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20 * PATIENCE)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_threads_share_a_flow_while_handlers_come_and_go() -> None:
    """50 threads with 200 runs each, in full."""
    shared_flow = flow()
    stop = threading.Event()
    strays = Seen()
    before = audiences()  # of runs that an earlier test's error still refers to

    def churn() -> None:
        while not stop.is_set():
            with observe(strays, sender="nowhere"), observe(Seen(), sender=Say):
                signals.chunk.connect(strays, sender="nowhere either")
            with signals.progress.connected_to(strays, sender="no"), signals.retry.muted():
                signals.chunk.disconnect(strays)

    def work(number: int) -> None:
        for count in range(full(200, 10)):
            seen = Seen()
            if count % 2:
                shared_flow.run({"who": (number, count)}, observers=[seen])
            else:
                for _ in Run(shared_flow, {"who": (number, count)}, observers=[seen]):
                    pass
            heard(seen, (number, count))

    churning = [threading.Thread(target=churn) for _ in range(2)]
    for thread in churning:
        thread.start()
    try:
        together(50, work)
    finally:
        stop.set()
        for thread in churning:
            thread.join(PATIENCE)
    gc.collect()
    assert strays.events == []
    assert connected() == []
    assert [each for each in audiences() if each not in before] == []


def test_tasks_share_a_flow() -> None:
    """1,000 runs in one loop, each with an observer of its own."""
    shared_flow = AsyncFlow(AsyncSay())

    async def one(number: int) -> None:
        seen = Seen()
        await shared_flow.run_async({"who": number}, observers=[seen])
        heard(seen, number)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(1_000)))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert connected() == []


def test_nodes_emit_from_threads_of_their_own_and_too_late() -> None:
    """What comes in time is heard by their run, what comes late by none, with one warning."""

    class Leaves(Node):
        """Starts a thread that emits while it works, and goes on when it has ended."""

        def prep(self, shared: Any) -> Any:
            return shared

        def exec(self, prep_res: Any) -> None:
            begun = threading.Event()

            def emit() -> None:
                self.emit(prep_res["who"])
                begun.set()
                assert prep_res["over"].wait(PATIENCE)
                self.emit("too late")
                self.emit("too late")

            prep_res["thread"] = threading.Thread(target=emit)
            prep_res["thread"].start()
            assert begun.wait(PATIENCE)

    leaves = Flow(Leaves())

    def work(number: int) -> None:
        for _ in range(full(50, 3)):
            seen = Seen()
            shared: dict[str, Any] = {"who": number, "over": threading.Event()}
            leaves.run(shared, observers=[seen])
            shared["over"].set()
            shared["thread"].join(PATIENCE)
            heard(seen, number)

    with pytest.warns(RuntimeWarning, match="published an event after its step had ended"):
        together(10, work)


class RunsAnother:
    """A handler that runs a flow of its own for each chunk."""

    def __init__(self) -> None:
        self.inner = Seen()

    def on_chunk(self, event: Chunk) -> None:
        Flow(Say()).run({"who": f"in {event.data}"}, observers=[self.inner])


class Emits:
    """A handler that makes the node which it hears emit once more, once."""

    def __init__(self, node: Say) -> None:
        self.node = node
        self.has = False

    def on_chunk(self, event: Chunk) -> None:
        if not self.has:
            self.has = True
            self.node.emit(event.data)


def test_handlers_run_flows_and_emit() -> None:
    """A run in a handler is another run; what a handler emits waits its turn."""

    def work(number: int) -> None:
        for _ in range(full(50, 3)):
            node, seen, another = Say(), Seen(), RunsAnother()
            node.run({"who": number}, observers=[another, Emits(node), seen])
            heard(seen, number)
            assert len(seen.of(Chunk)) == 7
            assert len({event.run_id for event in another.inner.events}) == 7
            assert {event.data for event in another.inner.of(Chunk)} == {f"in {number}"}

    together(10, work)


def test_handlers_cancel_the_run_that_they_watch() -> None:
    """From several handlers and threads at the same moment: one end each."""
    shared_flow = flow()

    def work(number: int) -> None:
        for count in range(full(100, 5)):
            seen = Seen()
            run = Run(shared_flow, {"who": number}, observers=[seen])

            def cancel(event: Any, run: Run = run, at: int = count % 17) -> None:
                if event.seq >= at:
                    helper = threading.Thread(target=run.cancel)
                    helper.start()
                    run.cancel()
                    helper.join(PATIENCE)

            with observe(cancel, sender=run), pytest.raises(RunCancelled):
                run.wait()
            check_events(seen.events)
            assert run.status == "cancelled"

    together(10, work)


# -- processes ------------------------------------------------------------------------------------

MANY_CHUNKS = """
import resource, sys
from flowevents import Flow, StreamNode

class Talk(StreamNode):
    keep_chunks = False
    def exec_stream(self, prep_res):
        for _ in range(prep_res["size"]):
            yield "token "
    def prep(self, shared):
        return shared

heard = 0
def count(event):
    global heard
    heard += 1

Flow(Talk()).run({"size": 1_000}, observers=[count])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 16 * 2**20,) * 2)
heard = 0
Flow(Talk()).run({"size": int(sys.argv[1])}, observers=[count])
print(heard)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_million_events_fit_into_little_memory() -> None:
    """Sixteen more megabytes than the process has are enough."""
    size = full(1_000_000, 100_000)
    done = subprocess.run(
        [sys.executable, "-c", MANY_CHUNKS, str(size)], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == size + 5


IN_PROCESSES = """
import json, multiprocessing, sys
from flowevents import Flow, Run, StreamNode, signals

class Say(StreamNode):
    def prep(self, shared):
        return shared["who"]
    def exec_stream(self, prep_res):
        yield from [prep_res] * 3

flow = Flow(Say())

def work(number):
    return [event.data for event in Run(flow, {"who": number}) if event.signal == "chunk"]

if __name__ == "__main__":
    method, count = sys.argv[1], int(sys.argv[2])
    begun = Run(flow, {"who": "parent"})     # one is under way while others are forked
    next(iter(begun))
    with multiprocessing.get_context(method).Pool(2) as pool:
        heard = pool.map(work, range(count))
    begun.wait()
    assert heard == [[number] * 3 for number in range(count)], heard
    print(json.dumps({"runs": len(heard), "parent": begun.status}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it forks")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_runs_in_forked_and_spawned_processes(method: str, tmp_path: Path) -> None:
    """A flow works in a child as in its parent, also where a run was under way at the fork."""
    program = tmp_path / "in_processes.py"
    program.write_text(IN_PROCESSES, encoding="utf-8")
    count = full(200, 10)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), method, str(count)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"runs": count, "parent": "done"}
