"""Long, large and deep runs: a million steps or items need no more memory or stack than a few."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowevents import (
    AsyncBatchFlow,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    ItemEnd,
    Node,
    NodeEnd,
    Run,
    RunCancelled,
    StreamNode,
    TooManySteps,
)
from tests.driving import Driver, Seen, driving

ROOT = Path(__file__).parent.parent
QUICK = os.environ.get("FLOWEVENTS_HYPOTHESIS_PROFILE") == "quick"
FEW = 1_000
MANY = 50_000 if QUICK else 1_000_000
SOME = 20_000 if QUICK else 200_000
MOST_GROWTH = 2 * 2**20
"""Bytes of memory that a process may need more for `MANY` than for `FEW`."""

depths: set[int] = set()
"""How deep the stack was where nodes ran."""


def note_depth() -> None:
    """Note how deep the stack is here."""
    frame: Any = sys._getframe()
    depth = 0
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    depths.add(depth)


class Loop(Node):
    """Is its own successor until it has run so often."""

    def exec(self, prep_res: Any) -> None:
        if prep_res is None:
            note_depth()

    def prep(self, shared: Any) -> Any:
        return shared["left"] if shared["left"] % 997 else None

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["left"] -= 1
        return "again" if shared["left"] else "done"


class AsyncLoop(AsyncNode):
    async def prep_async(self, shared: Any) -> None:
        if shared["left"] % 997 == 0:
            note_depth()

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["left"] -= 1
        return "again" if shared["left"] else "done"


def looping(node: Any) -> Any:
    """A node that is its own successor, and another at the end."""
    node - "again" >> node
    node - "done" >> Node()
    return node


class Items(BatchFlow):
    def prep(self, shared: Any) -> Any:
        return ({"n": n} for n in range(shared["left"]))


class AsyncItems(AsyncBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return ({"n": n} for n in range(shared["left"]))


class ParallelItems(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return ({"n": n} for n in range(shared["left"]))


class Item(Node):
    def prep(self, shared: Any) -> None:
        if self.params["n"] % 997 == 0:
            note_depth()


class Many(BatchNode):
    def prep(self, shared: Any) -> Any:
        return iter(range(shared["left"]))

    def exec(self, item: int) -> None:
        if item % 997 == 0:
            note_depth()


class ManyAtOnce(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return iter(range(shared["left"]))

    async def exec_async(self, item: int) -> None:
        if item % 997 == 0:
            note_depth()
            await asyncio.sleep(0)


class Chunks(StreamNode):
    keep_chunks = False

    def prep(self, shared: Any) -> Any:
        return shared["left"]

    def exec_stream(self, left: int) -> Iterator[int]:
        for index in range(left):
            if index % 997 == 0:
                note_depth()
            yield index


class AsyncChunks(AsyncStreamNode):
    keep_chunks = False

    async def prep_async(self, shared: Any) -> Any:
        return shared["left"]

    async def exec_stream_async(self, left: int) -> AsyncIterator[int]:
        for index in range(left):
            if index % 997 == 0:
                note_depth()
            yield index


class Emits(Node):
    def prep(self, shared: Any) -> Any:
        return shared["left"]

    def exec(self, left: int) -> None:
        for index in range(left):
            if index % 997 == 0:
                note_depth()
            self.emit(index)


def ignore(event: Event) -> None:
    """Hear an event, and keep nothing of it."""


def push(node: Any, count: int, **options: Any) -> None:
    """To the end, sync."""
    node.run({"left": count}, **options)


def push_async(node: Any, count: int, **options: Any) -> None:
    """To the end, in a loop."""
    asyncio.run(node.run_async({"left": count}, **options))


def pull(node: Any, count: int) -> None:
    """Every event, sync."""
    for _ in Run(node, {"left": count}):
        pass


def pull_async(node: Any, count: int) -> None:
    """Every event, in a loop."""

    async def main() -> None:
        async for _ in Run(node, {"left": count}):
            pass

    asyncio.run(main())


def stream(node: Any, count: int) -> None:
    """Its output, sync."""
    for _ in node.run_stream({"left": count}):
        pass


def stream_async(node: Any, count: int) -> None:
    """Its output, in a loop."""

    async def main() -> None:
        async for _ in node.run_stream_async({"left": count}):
            pass

    asyncio.run(main())


Scenario = Callable[[int], None]
SCENARIOS: dict[str, tuple[Scenario, int]] = {
    "steps": (lambda count: push(Flow(looping(Loop())), count), MANY),
    "steps, observed": (
        lambda count: push(Flow(looping(Loop())), count, observers=[ignore]),
        SOME,
    ),
    "steps, pulled": (lambda count: pull(Flow(looping(Loop())), count), SOME),
    "steps, limited": (
        lambda count: push(Flow(looping(Loop())), count, max_steps=count + 1),
        SOME,
    ),
    "steps in a loop": (lambda count: push_async(AsyncFlow(looping(Loop())), count), SOME),
    "async steps": (lambda count: push_async(AsyncFlow(looping(AsyncLoop())), count), SOME),
    "async steps, pulled": (
        lambda count: pull_async(AsyncFlow(looping(AsyncLoop())), count),
        SOME,
    ),
    "items of a flow": (lambda count: push(Items(Item()), count), MANY),
    "items of a flow, observed": (
        lambda count: push(Items(Item()), count, observers=[ignore]),
        SOME,
    ),
    "items of a flow, pulled": (lambda count: pull(Items(Item()), count), SOME),
    "items of an async flow": (lambda count: push_async(AsyncItems(Item()), count), SOME),
    "items of a parallel flow": (
        lambda count: push_async(ParallelItems(Item(), max_concurrency=10), count),
        SOME // 4,
    ),
    "items of a node": (lambda count: push(Many(), count), MANY),
    "items of a node, observed": (lambda count: push(Many(), count, observers=[ignore]), SOME),
    "items of a parallel node": (
        lambda count: push_async(ManyAtOnce(max_concurrency=10), count),
        SOME // 4,
    ),
    "chunks": (lambda count: stream(Chunks(), count), MANY),
    "chunks, unheard": (lambda count: push(Chunks(), count), SOME),
    "chunks, pulled": (lambda count: pull(Chunks(), count), SOME),
    "async chunks": (lambda count: stream_async(AsyncChunks(), count), SOME),
    "emits": (lambda count: push(Emits(), count, observers=[ignore]), SOME),
}


def peak() -> int:
    """The most memory that this process has used, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would tell of the process that began this one, too
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def measure(name: str) -> None:
    """Run a scenario with `FEW` and with as many as it says, and print what that took."""
    scenario, many = SCENARIOS[name]
    scenario(FEW)
    gc.collect()
    with contextlib.suppress(OSError):  # forget what imports took for a moment
        Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    scenario(many)
    print(json.dumps({"growth": peak() - before, "depths": sorted(depths)}))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no module resource")
@pytest.mark.parametrize("name", SCENARIOS)
def test_many_take_no_more_memory_and_stack_than_few(name: str) -> None:
    """Of a batch node's items, the list of results is its user's: 8 bytes each, and its growth."""
    done = subprocess.run(
        [sys.executable, "-c", f"from tests import test_scale; test_scale.measure({name!r})"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    results = SCENARIOS[name][1] * 20 if "of a node" in name or "parallel node" in name else 0
    assert measured["growth"] < MOST_GROWTH + results
    assert len(measured["depths"]) == 1
    assert measured["depths"][0] < 40


# -- deep -----------------------------------------------------------------------------------------


class Bottom(StreamNode):
    """Is at the bottom of nested flows."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        note_depth()
        yield "bottom"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        if shared.get("fails"):
            raise ValueError("at the bottom")
        return "up"


def nested(driver: Driver, depth: int) -> Any:
    """So many flows around one node."""
    flow: Any = Bottom()
    for _ in range(depth):
        flow = driver.flow(flow)
    return flow


def test_flows_are_nested_without_a_deeper_stack(driver: Driver) -> None:
    """Two hundred of them as three; every start has its end, however it ends."""
    depths.clear()
    for depth in (3, 200):
        assert driver.run(nested(driver, depth), {}) == "up"
        assert driver.rest(driver.stream(nested(driver, depth), {})) == ["bottom"]
        seen = Seen()
        driver.run(nested(driver, depth), {}, observers=[seen])
        seen.check()
        assert len(seen.of(FlowEnd)) == depth
    assert max(depths) - min(depths) <= 5


def test_a_deep_flow_fails_and_is_cancelled(driver: Driver) -> None:
    """All of it is unwound, innermost first, with a recursion limit that is soon reached."""
    limit = sys.getrecursionlimit()
    seen = Seen()
    flow = nested(driver, 200)
    for depth, shared in ((0, {"fails": True}), (1, {})):
        seen = Seen()
        run = Run(flow, shared, observers=[seen])
        sys.setrecursionlimit(150 + stack_depth())
        try:
            if depth == 0:
                with pytest.raises(ValueError, match="at the bottom"):
                    driver.wait(run)
            else:
                driver.pull(run, 202)
                run.cancel()
                with pytest.raises(RunCancelled):
                    driver.wait(run)
        finally:
            sys.setrecursionlimit(limit)
        assert set(seen.ends()) == {"error" if depth == 0 else "cancelled"}
        assert len(seen.of(FlowEnd)) == 200
        seen.check()


def stack_depth() -> int:
    """How deep the stack is here."""
    note_depth()
    return max(depths)


def test_a_wide_and_deep_flow(driver: Driver) -> None:
    """A chain of a thousand nodes, in nested batches, is walked through as one of ten."""

    class Two(BatchFlow):
        def prep(self, shared: Any) -> list[dict[str, int]]:
            return [{"n": 1}, {"n": 2}]

    first = node = Node()
    for _ in range(300):
        node = node >> Node()
    seen = Seen()
    driver.run(Two(Two(first)), {}, observers=[seen])
    assert len(seen.of(NodeEnd)) == 4 * 301
    seen.check()


def test_a_loop_without_an_end_is_bounded(driver: Driver) -> None:
    """After a hundred thousand steps as after ten."""
    again = Node()
    again >> again
    with pytest.raises(TooManySteps, match="max_steps=100000"):
        driver.run(driver.flow(again), {}, max_steps=100_000)


# -- wide -----------------------------------------------------------------------------------------


class Drawn:
    """Counts what is drawn of a batch, what runs at once, and what has ended."""

    def __init__(self) -> None:
        self.drawn = self.running = self.ended = 0
        self.most_running = self.most_ahead = 0

    def items(self, count: int) -> Iterator[int]:
        """The items, drawn one by one."""
        for index in range(count):
            self.drawn += 1
            self.most_ahead = max(self.most_ahead, self.drawn - self.ended)
            yield index

    def __enter__(self) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)

    def __exit__(self, *exc: object) -> None:
        self.running -= 1
        self.ended += 1


COUNT = 2_000 if QUICK else 20_000


@pytest.mark.parametrize("form", ["unheard", "observed", "pulled", "streamed"])
def test_parallel_items_are_drawn_lazily_under_their_limit(form: str) -> None:
    """Twenty thousand, ten at a time: no more than ten are ever drawn and not done."""
    counted = Drawn()

    class Wide(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return counted.items(COUNT)

        async def exec_async(self, item: int) -> int:
            with counted:
                for _ in range(item % 3 + 1):
                    await asyncio.sleep(0)
                if form == "streamed":
                    self.emit(item)
            return item

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["results"] = exec_res

    seen, shared = Seen(), dict[str, Any]()
    wide = Wide(max_concurrency=10)
    with driving("async") as driver:
        if form == "pulled":
            seen.events = driver.pull(Run(wide, shared))
        elif form == "streamed":
            assert sorted(driver.rest(driver.stream(wide, shared))) == list(range(COUNT))
        else:
            driver.run(wide, shared, observers=[seen] if form == "observed" else [])
    assert shared["results"] == list(range(COUNT))
    assert counted.most_running == 10
    assert counted.most_ahead == 10
    if seen.events:
        seen.check()
        assert len(seen.of(ItemEnd)) == COUNT


def test_parallel_flows_are_drawn_lazily_under_their_limit() -> None:
    """The items of a parallel batch flow likewise."""
    counted = Drawn()

    class Wide(AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            return ({"n": n} for n in counted.items(COUNT // 4))

    class Inside(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            with counted:
                for _ in range(self.params["n"] % 3 + 1):
                    await asyncio.sleep(0)

    seen = Seen()
    with driving("async") as driver:
        driver.run(Wide(Inside(), max_concurrency=10), {}, observers=[seen])
    assert counted.most_running == 10
    assert counted.most_ahead == 10
    seen.check()


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
def test_a_wide_batch_that_ends_early_draws_no_more(how: str) -> None:
    """What was not drawn is never begun."""
    counted = Drawn()

    class Wide(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return counted.items(COUNT)

        async def exec_async(self, item: int) -> None:
            with counted:
                if item == 100:
                    if how == "fails":
                        raise ValueError("item 100")
                    run.cancel()
                await asyncio.sleep(0)

    seen = Seen()
    run = Run(Wide(max_concurrency=10), {}, observers=[seen])
    with driving("async") as driver, pytest.raises((ValueError, RunCancelled)):
        driver.wait(run)
    assert counted.drawn <= 111
    assert counted.running == 0
    seen.check()


def test_a_wide_batch_without_a_limit() -> None:
    """All items at once, one chunk each: a puller gets them all."""

    class Wide(AsyncStreamNode, AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(COUNT // 4)

        async def exec_stream_async(self, item: int) -> AsyncIterator[int]:
            await asyncio.sleep(0)
            yield item

    with driving("async") as driver:
        taken = driver.pull(Run(Wide(), {}))
    data = [event.data for event in taken if isinstance(event, Chunk)]
    assert sorted(data) == list(range(COUNT // 4))
