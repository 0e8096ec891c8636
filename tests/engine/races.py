"""Random async graphs whose pieces of code race, made with either library's classes.

A piece is what runs from one `await` to the next. Each writes down who it is and what it sees of
the others, in one log. Runs with equal logs have run the same pieces in the same order.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import strategies as st

__all__ = ["Entry", "Racer", "Races", "graphs", "made", "new_shared", "racing", "torn"]

NODES = (
    *("AsyncNode", "AsyncParallelBatchNode", "AsyncNode", "AsyncParallelBatchNode"),
    *("Node", "BatchNode", "AsyncBatchNode"),
)
FLOWS = ("AsyncParallelBatchFlow", "AsyncFlow", "AsyncParallelBatchFlow", "AsyncBatchFlow", "Flow")


@dataclass(frozen=True)
class Racer:
    """A node.

    Attributes:
        label: Its name.
        kind: The library's class.
        turns: How many turns of the loop its async calls take, one after the other and from the
            beginning again.
        limit: The most items that run at the same time, where that is limited.
        items: How many it has, if it is a batch.
        max_retries: As the library's.
        failures: How many attempts fail: of a plain `exec`, or of each item with an odd number.
        fallback: It has an `exec_fallback`.
        beside: It makes tasks that live on, and waits for others; each takes so many turns.
    """

    label: str
    kind: str
    turns: tuple[int, ...]
    limit: int | None = None
    items: int = 0
    max_retries: int = 1
    failures: int = 0
    fallback: bool = False
    beside: int = 0

    @property
    def fails(self) -> bool:
        """Whether it may raise."""
        return self.failures >= self.max_retries and not self.fallback


@dataclass(frozen=True)
class Races:
    """A flow, whose nodes follow each other.

    Attributes:
        label, kind, turns, limit: As a node's.
        nodes: What it holds.
        rounds: How often the last node leads back to the first.
        passes: How many items it has, if it is a batch.
    """

    label: str
    kind: str
    turns: tuple[int, ...]
    limit: int | None
    nodes: tuple[Racer | Races, ...]
    rounds: int
    passes: int

    @property
    def fails(self) -> bool:
        """Whether it may raise."""
        return any(node.fails for node in self.nodes)


def racing(spec: Racer | Races) -> bool:
    """Whether anything in it runs at the same time."""
    inside = isinstance(spec, Races) and any(racing(node) for node in spec.nodes)
    return inside or "Parallel" in spec.kind


# -- what is drawn --------------------------------------------------------------------------------


_sizes = st.sampled_from((2, 3, 2, 3, 1, 4, 0))


@dataclass
class _Drawing:
    draw: st.DrawFn
    parallel: bool
    limits: bool
    beside: bool
    failing: bool

    def often(self, times: int) -> bool:
        """True about once in so many times, and false in the simplest example."""
        return bool(self.draw(st.integers(0, times - 1)) == times - 1)

    def kind(self, kinds: tuple[str, ...]) -> str:
        allowed = [kind for kind in kinds if self.parallel or "Parallel" not in kind]
        return str(self.draw(st.sampled_from(allowed)))

    def turns(self) -> tuple[int, ...]:
        return tuple(self.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5)))

    def limit(self, kind: str) -> int | None:
        if self.limits and "Parallel" in kind and self.often(2):
            return int(self.draw(st.integers(1, 3)))
        return None

    def racer(self, label: str, inside_async: bool) -> Racer:
        draw = self.draw
        kind = self.kind(NODES if inside_async else ("Node", "BatchNode"))
        failures, max_retries = draw(st.sampled_from((0, 0, 1, 2))), draw(st.integers(1, 3))
        return Racer(
            label,
            kind,
            self.turns(),
            self.limit(kind),
            items=draw(_sizes) if "Batch" in kind else 0,
            max_retries=max_retries,
            failures=failures,
            fallback=failures >= max_retries and not (self.failing and self.often(2)),
            beside=draw(st.integers(0, 4)) if self.beside and kind.startswith("Async") else 0,
        )

    def races(self, label: str, depth: int, kinds: tuple[str, ...]) -> Races:
        draw = self.draw
        kind = self.kind(kinds)
        inside_async = kind.startswith("Async")
        nodes: list[Racer | Races] = []
        for index in range(draw(st.integers(1, 3 if depth == 2 else 2))):
            if depth and not self.often(3):
                inner = FLOWS if inside_async else ("Flow",)
                nodes.append(self.races(f"{label}{index}", depth - 1, inner))
            else:
                nodes.append(self.racer(f"{label}{index}", inside_async))
        return Races(
            label,
            kind,
            self.turns(),
            self.limit(kind),
            tuple(nodes),
            rounds=int(self.often(4)),
            passes=draw(_sizes) if "Batch" in kind else 0,
        )


@st.composite
def graphs(
    draw: st.DrawFn,
    *,
    parallel: bool = True,
    limits: bool = False,
    beside: bool = False,
    failing: bool = False,
) -> Races:
    """Draw an async flow.

    Args:
        parallel: With what runs at the same time.
        limits: With a `max_concurrency`, which pocketflow does not have.
        beside: With tasks that the nodes make.
        failing: With nodes that fail for good.
    """
    return _Drawing(draw, parallel, limits, beside, failing).races("F", 2, FLOWS[:4])


# -- what is written down -------------------------------------------------------------------------


class Entry(NamedTuple):
    """A piece of code.

    Attributes:
        me: Who it is: node, passes, item, call, and which piece of it.
        strand: What it is a part of in which one thing happens after the other.
        block: How often that has awaited something until now.
        seen: Who came before, and the count.
    """

    me: tuple[Any, ...]
    strand: tuple[Any, ...]
    block: int
    seen: tuple[Any, ...]


def new_shared(run: str = "") -> dict[str, Any]:
    """What a made graph is run with; several runs may write into one log."""
    return {
        "run": run,
        "log": [],
        "last": [None],
        "count": [0],
        "beside": [],
        "rounds": Counter(),
        "calls": Counter(),
        "tries": Counter(),
        "blocks": Counter(),
    }


def torn(log: list[Entry]) -> list[Entry]:
    """The pieces before which something else has run, though their strand has awaited nothing."""
    last: dict[Any, int] = {}
    found = []
    for index, entry in enumerate(log):
        if last.setdefault((entry.strand, entry.block), index - 1) != index - 1:
            found.append(entry)
        last[entry.strand, entry.block] = index
    return found


class _Recorder:
    """What the nodes of a made graph have in common: each piece of their code is written down."""

    spec: Any
    params: dict[str, Any]
    read: int

    def scope(self) -> tuple[Any, ...]:
        """The passes that it runs in, outermost first."""
        return tuple(each for each in self.params.items() if " of F" in each[0])

    def strand(self, shared: Any, item: Any) -> tuple[Any, ...]:
        """What this call is a part of."""
        scope = self.scope()
        if item is not None and "Parallel" in self.spec.kind:
            return (shared["run"], scope, item)
        while scope and not scope[-1][0].startswith("lane"):  # passes that run after each other
            scope = scope[:-1]
        return (shared["run"], scope, None)

    def note(
        self, shared: Any, what: str, turn: int = 0, item: Any = None, part: Any = None
    ) -> None:
        """Write down a piece, and what it sees."""
        me = (shared["run"], self.spec.label, self.scope(), item, what, turn, part)
        strand = (*self.strand(shared, item), part)
        seen = (shared["last"][0], shared["count"][0])
        shared["log"].append(Entry(me, strand, shared["blocks"][strand], seen))
        shared["last"][0] = me

    def goes_on(self, shared: Any, item: Any = None, part: Any = None) -> None:
        """Note that this strand has awaited something."""
        shared["blocks"][(*self.strand(shared, item), part)] += 1

    def turns(self, shared: Any, item: Any) -> int:
        """How many turns this call takes."""
        calls, key = shared["calls"], (self.spec.label, self.scope(), item)
        calls[key] += 1
        passes = sum(number for _, number in self.scope())
        turns: tuple[int, ...] = self.spec.turns
        which: int = calls[key] + passes + (item or 0)
        return turns[which % len(turns)]

    async def piece(self, shared: Any, what: str, item: Any = None) -> None:
        """Write down the pieces of an async call."""
        self.note(shared, what, 0, item)
        for turn in range(self.turns(shared, item)):
            await asyncio.sleep(0)
            self.goes_on(shared, item)
            self.note(shared, what, turn + 1, item)

    def first(self, shared: Any) -> int:
        """The number of its first item, which is another one in each round."""
        return 100 * int(shared["rounds"][self.spec.label, self.scope()])

    def begin(self, shared: Any) -> None:
        """What `prep` does: read the count."""
        self.read = shared["count"][0]

    def action(self, shared: Any) -> str:
        """What `post` does: write the count that was read in `prep` and one more."""
        shared["count"][0] = self.read + 1
        shared["rounds"][self.spec.label, self.scope()] += 1
        return "again" if shared["rounds"][self.spec.label, self.scope()] % 2 else "default"


class _Node(_Recorder):
    def items(self, shared: Any) -> Any:
        """What `prep` gives."""
        if "Batch" in self.spec.kind:
            first = self.first(shared)
            return [(shared, first + index) for index in range(self.spec.items)]
        return (shared, None)

    def fail(self, shared: Any, item: Any) -> None:
        """Raise, if this attempt is to fail."""
        tries, key = shared["tries"], (self.spec.label, self.scope(), item)
        if (1 if item is None else item) % 2 == 0:
            return
        tries[key] += 1
        if tries[key] <= self.spec.failures:
            raise ValueError(f"{key} fails")
        tries[key] = 0

    def fall_back(self, shared: Any, item: Any) -> None:
        """What a fallback does: the next attempt is a first one."""
        shared["tries"][self.spec.label, self.scope(), item] = 0


class _SyncNode(_Node):
    def prep(self, shared: Any) -> Any:
        self.note(shared, "prep")
        self.begin(shared)
        return self.items(shared)

    def exec(self, prep_res: Any) -> Any:
        shared, item = prep_res
        self.note(shared, "exec", 0, item)
        self.fail(shared, item)
        return item

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        self.note(shared, f"post {exec_res}")
        return self.action(shared)


class _SyncFallback(_Node):
    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        shared, item = prep_res
        self.note(shared, "fallback", 0, item)
        self.fall_back(shared, item)
        return item


class _AsyncNode(_Node):
    async def prep_async(self, shared: Any) -> Any:
        await self.piece(shared, "prep")
        self.begin(shared)
        if self.spec.beside:
            number = len(shared["beside"])
            shared["beside"].append(asyncio.create_task(self.part(shared, None, number)))
        return self.items(shared)

    async def exec_async(self, prep_res: Any) -> Any:
        shared, item = prep_res
        await self.piece(shared, "exec", item)
        if self.spec.beside:
            await asyncio.gather(*(self.part(shared, item, name) for name in "ab"))
            self.goes_on(shared, item)
            self.note(shared, "gathered", 0, item)
        self.fail(shared, item)
        return item

    async def part(self, shared: Any, item: Any, name: Any) -> None:
        """What runs beside it."""
        for turn in range(self.spec.beside):
            self.note(shared, "beside", turn, item, name)
            await asyncio.sleep(0)
            self.goes_on(shared, item, name)
        self.note(shared, "beside", self.spec.beside, item, name)
        self.goes_on(shared, item, name)  # the next one of that name is another

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        if "Parallel" in self.spec.kind:
            self.goes_on(shared)
        await self.piece(shared, f"post {exec_res}")
        return self.action(shared)


class _AsyncFallback(_Node):
    async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> Any:
        shared, item = prep_res
        await self.piece(shared, "fallback", item)
        self.fall_back(shared, item)
        return item


class _SyncFlow(_Recorder):
    def prep(self, shared: Any) -> None:
        self.note(shared, "prep")
        self.begin(shared)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        self.note(shared, f"post {exec_res}")
        return self.action(shared)


class _AsyncFlow(_Recorder):
    async def prep_async(self, shared: Any) -> Any:
        await self.piece(shared, "prep")
        self.begin(shared)
        kind = "lane" if "Parallel" in self.spec.kind else "pass"
        name, first = f"{kind} of {self.spec.label}", self.first(shared)
        return [{name: first + index} for index in range(self.spec.passes)]

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        if "Parallel" in self.spec.kind:
            self.goes_on(shared)
        await self.piece(shared, f"post {exec_res}")
        return self.action(shared)


# -- what is made of it ---------------------------------------------------------------------------


def made(spec: Racer | Races, library: Any) -> Any:
    """Make a graph with a library's classes."""
    own: list[type] = []
    is_async = spec.kind.startswith("Async")
    if isinstance(spec, Races):
        own.append(_AsyncFlow if is_async else _SyncFlow)
    else:
        if spec.fallback:
            own.append(_AsyncFallback if is_async else _SyncFallback)
        own.append(_AsyncNode if is_async else _SyncNode)
    kind: Any = type(spec.label, (*own, getattr(library, spec.kind)), {"spec": spec})
    limit = {} if spec.limit is None else {"max_concurrency": spec.limit}
    if isinstance(spec, Racer):
        return kind(spec.max_retries, **limit)
    nodes = [made(node, library) for node in spec.nodes]
    for one, other in itertools.pairwise(nodes):
        one >> other
    if spec.rounds:
        nodes[-1] - "again" >> nodes[0]
    return kind(start=nodes[0], **limit)
