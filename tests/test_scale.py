"""Long, large and deep runs: a million steps or items need no more memory or stack than a few."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import tracemalloc
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
MORE = 4 * FEW
MANY = 50_000 if QUICK else 1_000_000
EVERY = 97
"""Of so many steps, items or chunks one notes where it runs; FEW hold some of them."""

MOST_HELD = 2 * 2**10
"""Bytes that may be held more while `MORE` run than while `FEW` do: not one for each of them."""

MOST_GROWTH = 2 * 2**20
"""Bytes of memory that a process may need more for `MANY` than for `FEW`."""

depths: set[int] = set()
"""How deep the stack was where nodes ran."""

held = [0]
"""The most bytes that were held where nodes ran, where that is traced; garbage is not held."""


def stack_depth() -> int:
    """How deep the stack is here."""
    frame: Any = sys._getframe(1)
    depth = 0
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


def note() -> None:
    """Note how deep the stack is here, and how much is held."""
    depths.add(stack_depth())
    if tracemalloc.is_tracing():
        gc.collect()
        held[0] = max(held[0], tracemalloc.get_traced_memory()[0])


class Loop(Node):
    """Is its own successor until it has run so often."""

    def exec(self, prep_res: Any) -> None:
        if prep_res is None:
            note()

    def prep(self, shared: Any) -> Any:
        return shared["left"] if shared["left"] % EVERY else None

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["left"] -= 1
        return "again" if shared["left"] else "done"


class AsyncLoop(AsyncNode):
    async def prep_async(self, shared: Any) -> None:
        if shared["left"] % EVERY == 0:
            note()

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
        if self.params["n"] % EVERY == 0:
            note()


class Many(BatchNode):
    def prep(self, shared: Any) -> Any:
        return iter(range(shared["left"]))

    def exec(self, item: int) -> None:
        if item % EVERY == 0:
            note()


class ManyAtOnce(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return iter(range(shared["left"]))

    async def exec_async(self, item: int) -> None:
        if item % EVERY == 0:
            note()
            await asyncio.sleep(0)


class Chunks(StreamNode):
    keep_chunks = False

    def prep(self, shared: Any) -> Any:
        return shared["left"]

    def exec_stream(self, left: int) -> Iterator[int]:
        for index in range(left):
            if index % EVERY == 0:
                note()
            yield index


class AsyncChunks(AsyncStreamNode):
    keep_chunks = False

    async def prep_async(self, shared: Any) -> Any:
        return shared["left"]

    async def exec_stream_async(self, left: int) -> AsyncIterator[int]:
        for index in range(left):
            if index % EVERY == 0:
                note()
            yield index


class Emits(Node):
    def prep(self, shared: Any) -> Any:
        return shared["left"]

    def exec(self, left: int) -> None:
        for index in range(left):
            if index % EVERY == 0:
                note()
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
SCENARIOS: dict[str, Scenario] = {
    "steps": lambda count: push(Flow(looping(Loop())), count),
    "steps, observed": lambda count: push(Flow(looping(Loop())), count, observers=[ignore]),
    "steps, pulled": lambda count: pull(Flow(looping(Loop())), count),
    "steps, limited": lambda count: push(Flow(looping(Loop())), count, max_steps=count + 1),
    "steps in a loop": lambda count: push_async(AsyncFlow(looping(Loop())), count),
    "async steps": lambda count: push_async(AsyncFlow(looping(AsyncLoop())), count),
    "async steps, pulled": lambda count: pull_async(AsyncFlow(looping(AsyncLoop())), count),
    "items of a flow": lambda count: push(Items(Item()), count),
    "items of a flow, observed": lambda count: push(Items(Item()), count, observers=[ignore]),
    "items of a flow, pulled": lambda count: pull(Items(Item()), count),
    "items of an async flow": lambda count: push_async(AsyncItems(Item()), count),
    "items of a parallel flow": lambda count: push_async(
        ParallelItems(Item(), max_concurrency=10), count
    ),
    "items of a node": lambda count: push(Many(), count),
    "items of a node, observed": lambda count: push(Many(), count, observers=[ignore]),
    "items of a parallel node": lambda count: push_async(ManyAtOnce(max_concurrency=10), count),
    "chunks": lambda count: stream(Chunks(), count),
    "chunks, unheard": lambda count: push(Chunks(), count),
    "chunks, pulled": lambda count: pull(Chunks(), count),
    "async chunks": lambda count: stream_async(AsyncChunks(), count),
    "emits": lambda count: push(Emits(), count, observers=[ignore]),
}


def results(name: str, count: int) -> int:
    """Bytes of the list of a batch node's results, which is its user's."""
    return count * 10 if "of a node" in name or "parallel node" in name else 0


def waiting(name: str) -> int:
    """Bytes by which it may differ how many of the thousand events wait that may."""
    return 2**18 if name == "async steps, pulled" else 0


def most_held(scenario: Scenario, count: int) -> int:
    """The most bytes that are held in a scenario, beyond what was held before."""
    gc.collect()
    held[0] = before = tracemalloc.get_traced_memory()[0]
    scenario(count)
    return held[0] - before


@pytest.mark.parametrize("name", SCENARIOS)
def test_more_hold_no_more_memory_and_stack_than_few(name: str) -> None:
    """While four times as many run, as many bytes are held, and the stack is as deep."""
    scenario = SCENARIOS[name]
    scenario(FEW)  # what is made once is there then
    depths.clear()
    tracemalloc.start()
    try:
        # Of three times the least: what else is held for a moment differs, what is leaked does not.
        few = min(most_held(scenario, FEW) for _ in range(3))
        more = min(most_held(scenario, MORE) for _ in range(3))
    finally:
        tracemalloc.stop()
    assert more - few < MOST_HELD + results(name, MORE - FEW) + waiting(name)
    assert len(depths) == 1
    assert max(depths) - stack_depth() < 30


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
    """Run a scenario with `FEW` and with `MANY`, and print what that took."""
    scenario = SCENARIOS[name]
    scenario(FEW)
    gc.collect()
    with contextlib.suppress(OSError):  # forget what imports took for a moment
        Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    scenario(MANY)
    print(json.dumps({"growth": peak() - before, "depths": sorted(depths)}))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no module resource")
@pytest.mark.parametrize("name", ["steps", "items of a flow", "items of a node", "chunks"])
def test_many_take_no_more_memory_and_stack_than_few(name: str) -> None:
    """A million, in a process of their own, whose memory is all that is there."""
    done = subprocess.run(
        [sys.executable, "-c", f"from tests import test_scale; test_scale.measure({name!r})"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["growth"] < MOST_GROWTH + results(name, MANY)
    assert len(measured["depths"]) == 1
    assert measured["depths"][0] < 40


# -- deep -----------------------------------------------------------------------------------------


class Bottom(StreamNode):
    """Is at the bottom of nested flows."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        note()
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


COUNT = 2_000


@pytest.mark.parametrize("form", ["unheard", "observed", "pulled", "streamed"])
def test_parallel_items_are_drawn_lazily_under_their_limit(form: str) -> None:
    """Two thousand, ten at a time: no more than ten are ever drawn and not done."""
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
    """All items at once, one chunk each: a consumer gets them all."""

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
