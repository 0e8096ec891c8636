"""Random graphs, and what tests run graphs with.

Hypothesis draws a description of a graph, which any library's classes are made into.

A description says nothing of a library, so that the same graph can be made with pocketflow's
classes, with flowevents' or with both. Its nodes write down every call that they get, in
`shared["log"]`, under their scope: the batch items that they belong to. Within a scope one thing
happens after the other, also where items run at the same time.

Every loop ends: a step gives the actions of its script, then `"stop"`, for which nothing has a
successor. A plain flow, which has no script, leads only forward.
"""

from __future__ import annotations

import asyncio
import importlib.util
import warnings
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
)
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

from hypothesis import strategies as st

from flowevents import Ask, Chunk, Event, Result
from flowevents.testing import check_events

__all__ = [
    "Graph",
    "Halt",
    "Leaf",
    "Outcome",
    "Watched",
    "Way",
    "assert_same",
    "build",
    "graphs",
    "in_loop",
    "leaves",
    "newest_pocketflow",
    "outcome_of",
]

T = TypeVar("T")

SYNC_NODES = ("BaseNode", "Node", "BatchNode")
ASYNC_NODES = ("AsyncNode", "AsyncBatchNode", "AsyncParallelBatchNode")
SYNC_STREAMS = ("StreamNode", "StreamNode+BatchNode")
ASYNC_STREAMS = (
    "AsyncStreamNode",
    "AsyncStreamNode+AsyncBatchNode",
    "AsyncStreamNode+AsyncParallelBatchNode",
)
SYNC_FLOWS = ("Flow", "BatchFlow")
ASYNC_FLOWS = ("AsyncFlow", "AsyncBatchFlow", "AsyncParallelBatchFlow")


class Halt(BaseException):
    """What no `except Exception` catches: neither a retry nor a fallback follows it."""


class Hung(BaseException):
    """A run did not end."""


ERRORS: dict[str, type[BaseException]] = {
    "ValueError": ValueError,
    "KeyError": KeyError,
    "Halt": Halt,
}


# -- descriptions ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    """A node.

    Attributes:
        label: The name of its class, and of the node.
        kind: The library's class, or two joined by `+`.
        actions: What `post` returns the first times; later it returns `"stop"`.
        breaks: The method that raises `error` (`"prep"`, `"post"` or `"draw"`), or `""`.
        error: Type and text of what it raises, also in `exec`.
        batch: The items of a batch, or `None` where `prep` gives none.
        lazy: The items come from a generator.
        max_retries: As the library's.
        failures: How many attempts fail, of each item with an odd number, or of a plain `exec`.
        fallback: Whether it has an `exec_fallback` that `"gives"` or `"raises"`.
        pauses: How often an async method lets others go on.
        chunks: How many chunks a streaming node yields; how often any other emits.
        result: A streaming node's generator returns a value of its own.
        asks: How many questions each attempt asks, one after the other.
    """

    label: str
    kind: str
    actions: tuple[Any, ...] = ()
    params: tuple[tuple[str, Any], ...] = ()
    breaks: str = ""
    error: tuple[str, str] = ("ValueError", "broken")
    batch: tuple[int, ...] | None = ()
    lazy: bool = False
    max_retries: int = 1
    failures: int = 0
    fallback: str = ""
    pauses: int = 0
    chunks: int = 0
    result: bool = False
    asks: int = 0

    @property
    def is_async(self) -> bool:
        """Whether only an async run can run it."""
        return self.kind.startswith("Async")

    @property
    def is_batch(self) -> bool:
        """Whether `prep` gives items."""
        return "Batch" in self.kind

    @property
    def has_parallel(self) -> bool:
        """Whether anything in it runs at the same time."""
        return "Parallel" in self.kind


@dataclass(frozen=True)
class Graph:
    """A flow.

    Attributes:
        nodes: What it holds.
        edges: For each node the actions and what they lead to, in the order of connection:
            the index of a node, or `None`.
        start: The index of the start node, or `None` where it has none.
        batch: The params of each item of a batch flow, or `None` where `prep` gives none.
        plain: It has no `post` of its own, nor, where it is no batch, a `prep`.
        actions: As a leaf's; `"pass"` is that of the last node.
    """

    label: str
    kind: str
    nodes: tuple[Leaf | Graph, ...]
    edges: tuple[tuple[tuple[str, int | None], ...], ...]
    start: int | None = 0
    actions: tuple[Any, ...] = ()
    params: tuple[tuple[str, Any], ...] = ()
    batch: tuple[tuple[tuple[str, Any], ...], ...] | None = ()
    lazy: bool = False
    plain: bool = False
    breaks: str = ""
    error: tuple[str, str] = ("ValueError", "broken")
    pauses: int = 0

    @property
    def is_async(self) -> bool:
        """Whether only an async run can run it."""
        return self.kind.startswith("Async")

    @property
    def is_batch(self) -> bool:
        """Whether `prep` gives items."""
        return "Batch" in self.kind

    @property
    def has_parallel(self) -> bool:
        """Whether anything in it runs at the same time."""
        return "Parallel" in self.kind or any(node.has_parallel for node in self.nodes)


# -- what is drawn --------------------------------------------------------------------------------


@dataclass
class _Drawing:
    """What is allowed in a drawn graph, and how many labels were given."""

    draw: Any
    none_successors: bool
    none_batches: bool
    streams: bool
    no_attempts: bool
    asks: bool = False
    labels: int = 0

    def label(self, letter: str) -> str:
        self.labels += 1
        return f"{letter}{self.labels}"

    def often(self, times: int) -> bool:
        """True about once in so many times, and false in the simplest example."""
        return bool(self.draw(st.integers(0, times - 1)) == times - 1)


_known = (None, "default", "a", "b")
_actions = st.lists(
    st.sampled_from((*_known, *_known, *_known, "", "missing", 7)), min_size=1, max_size=4
).map(tuple)
_params = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3), max_size=2).map(
    lambda params: tuple(params.items())
)


def _leaf(drawing: _Drawing, asynchronous: bool, parallel: bool) -> Leaf:
    draw = drawing.draw
    kinds = SYNC_NODES + (SYNC_STREAMS if drawing.streams else ())
    if asynchronous:
        kinds += ASYNC_NODES + (ASYNC_STREAMS if drawing.streams else ())
    kind = draw(st.sampled_from(kinds))
    at_once = "Parallel" in kind
    batch: tuple[int, ...] | None = ()
    if "Batch" in kind:
        batch = tuple(draw(st.lists(st.integers(0, 5), max_size=4, unique=at_once)))
        nothing = drawing.none_batches or not kind.startswith("Async")
        if nothing and drawing.often(5):
            batch = None
    max_retries = 1
    if kind != "BaseNode":
        max_retries = draw(st.sampled_from((1, 2, 3, 0) if drawing.no_attempts else (1, 2, 3)))
    failures, fallback = 0, ""
    if kind != "BaseNode" and drawing.often(2):
        failures = max(0, max_retries - draw(st.integers(0, 1)))
        if failures == max_retries or drawing.often(2):
            fallback = "raises" if drawing.often(8) else "gives"
    breaks = ""
    if drawing.often(15):
        breaks = draw(st.sampled_from(("exec", "prep", "post", "draw")))
    if breaks == "exec":
        breaks, failures, fallback = "", max_retries, ""
    if breaks == "draw" and at_once:
        breaks = ""
    lazy = batch is not None and drawing.often(3)
    return Leaf(
        label=drawing.label("N"),
        kind=kind,
        actions=draw(_actions),
        params=draw(_params),
        breaks=breaks,
        error=_error(drawing, parallel or at_once),
        batch=batch,
        lazy=lazy or breaks == "draw",
        max_retries=max_retries,
        failures=failures,
        fallback=fallback,
        pauses=draw(st.integers(0, 2)) if kind.startswith("Async") else 0,
        chunks=draw(st.integers(0, 3)) if drawing.streams else 0,
        result=draw(st.booleans()) if "Stream" in kind else False,
        asks=draw(st.integers(0, 2)) if drawing.asks and _can_ask(kind) else 0,
    )


def _can_ask(kind: str) -> bool:
    return "Stream" in kind or kind.startswith("Async")


def _error(drawing: _Drawing, parallel: bool) -> tuple[str, str]:
    """An error's type and text; where several may fail at once, all fail with the same."""
    if parallel:
        return "ValueError", "broken"
    kind = drawing.draw(st.sampled_from(("ValueError", "KeyError", "Halt")))
    return kind, f"broken {drawing.labels}"


def _graph(drawing: _Drawing, asynchronous: bool, parallel: bool, depth: int) -> Graph:
    draw = drawing.draw
    kind = draw(st.sampled_from(SYNC_FLOWS + (ASYNC_FLOWS if asynchronous else ())))
    inner_async = kind.startswith("Async")
    inner_parallel = parallel or "Parallel" in kind
    label = drawing.label("F")
    nodes: list[Leaf | Graph] = []
    for _ in range(draw(st.integers(1, 4 if depth == 2 else 3))):
        if depth and drawing.often(3):
            nodes.append(_graph(drawing, inner_async, inner_parallel, depth - 1))
        else:
            nodes.append(_leaf(drawing, inner_async, inner_parallel))
    edges: list[tuple[tuple[str, int | None], ...]] = []
    for index, node in enumerate(nodes):
        plain = isinstance(node, Graph) and node.plain
        targets: list[int | None] = list(range(index + 1 if plain else 0, len(nodes)))
        if drawing.none_successors:
            targets.append(None)
        following = st.sampled_from((*targets, *targets[::-1]) or (0,))
        edge = st.tuples(st.sampled_from(("default", "a", "b")), following)
        few = 0 if drawing.often(4) else 1
        edges.append(tuple(draw(st.lists(edge, min_size=few, max_size=4))) if targets else ())
    batch: tuple[tuple[tuple[str, Any], ...], ...] | None = ()
    if "Batch" in kind:
        size = draw(st.integers(0, 3))
        items: list[Any] = [(*draw(_params), (f"item of {label}", index)) for index in range(size)]
        if "Parallel" not in kind and drawing.often(4):
            items.append(())  # the flow's own params
        batch = None if drawing.often(6) else tuple(items)
    breaks = ""
    if drawing.often(15):
        breaks = draw(st.sampled_from(("prep", "post")))
    return Graph(
        label=label,
        kind=kind,
        nodes=tuple(nodes),
        edges=tuple(edges),
        start=None if drawing.often(8) else 0,
        actions=draw(st.lists(st.sampled_from(("pass", *_known, "c")), max_size=4).map(tuple)),
        params=draw(_params),
        batch=batch,
        lazy=batch is not None and drawing.often(3),
        plain=drawing.often(3),
        breaks=breaks,
        error=_error(drawing, inner_parallel),
        pauses=draw(st.integers(0, 2)) if inner_async else 0,
    )


@st.composite
def graphs(
    draw: st.DrawFn,
    *,
    asynchronous: bool = False,
    none_successors: bool = True,
    none_batches: bool = True,
    streams: bool = False,
    no_attempts: bool = False,
    asks: bool = False,
) -> Graph:
    """Draw a flow.

    Args:
        asynchronous: With async nodes and flows, too.
        none_successors: With `node >> None`, which pocketflow 0.0.3 warns of at the end.
        none_batches: With async batches whose `prep` gives `None`, which pocketflow 0.0.3 refuses.
        streams: With flowevents' streaming nodes, and nodes that emit.
        no_attempts: With `max_retries=0`, which only pocketflow 0.0.3 allows.
        asks: With nodes that ask.
    """
    drawing = _Drawing(draw, none_successors, none_batches, streams, no_attempts, asks)
    return _graph(drawing, asynchronous, False, 2)


@st.composite
def leaves(draw: st.DrawFn, *, asynchronous: bool = False, streams: bool = False) -> Leaf:
    """Draw a node that is run by itself."""
    return _leaf(_Drawing(draw, False, False, streams, False), asynchronous, False)


# -- what is made of a description ----------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """What all nodes of a made graph share.

    Attributes:
        shared: Where they write down their calls.
        newest: The library counts retries as pocketflow's repository now does: async nodes too
            have a `cur_retry`, which the items of a parallel batch have in common.
        emits: They emit, where they can.
    """

    shared: dict[str, Any]
    newest: bool
    emits: bool
    failed: Counter[Any] = field(default_factory=Counter)


class Recorder:
    """What the nodes of a made graph have in common: they write down what is called."""

    spec: Any
    world: World
    params: dict[str, Any]

    def scope(self) -> tuple[Any, ...]:
        """The items of batch flows that it runs in, outermost first."""
        return tuple(each for each in self.params.items() if each[0].startswith("item of "))

    def note(self, what: str, *details: Any, item: object = None) -> None:
        """Write down a call, in the node's scope or in that of an item of its batch."""
        scope = (*self.scope(), item) if item is not None else self.scope()
        entry = (self.spec.label, what, *details)
        self.world.shared["log"].setdefault(scope, []).append(entry)

    def break_in(self, method: str) -> None:
        """Raise the error, where it is this method that breaks."""
        if self.spec.breaks == method:
            raise self.error()

    def error(self) -> BaseException:
        """What it raises."""
        kind, text = self.spec.error
        return ERRORS[kind](text)

    def retry(self, item: object = None) -> int | None:
        """The retry that the library counts, where it does."""
        return None

    def do_prep(self) -> Any:
        """What `prep` and `prep_async` do: a copy made for this step finds nothing of another."""
        self.note("prep", dict(self.params), vars(self).get("scratch"))
        self.scratch = "written in prep"
        self.params[f"seen by {self.spec.label}"] = True  # what later nodes of the pass see
        self.break_in("prep")
        if not self.spec.is_batch:
            return f"prepared by {self.spec.label}"
        if self.spec.batch is None:
            return None
        return self.drawn() if self.spec.lazy else self.items()

    def items(self) -> list[Any]:
        """What a batch consists of."""
        return list(self.spec.batch)

    def drawn(self) -> Iterator[Any]:
        """The items, one by one; when each is asked for is written down."""
        for item in self.items():
            self.note("draw", item)
            yield item
        self.break_in("draw")

    def do_post(self, prep_res: Any, exec_res: Any) -> Any:
        """What `post` and `post_async` do: the next action of the script."""
        if isinstance(prep_res, Iterator):
            prep_res = "drawn"
        self.note("post", prep_res, exec_res, vars(self).get("scratch"), self.retry())
        self.break_in("post")
        visits = self.world.shared["visits"]
        visit = visits[self.spec.label, self.scope()]
        visits[self.spec.label, self.scope()] += 1
        return self.spec.actions[visit] if visit < len(self.spec.actions) else "stop"


class NodeRecorder(Recorder):
    """What nodes have in common, and flows do not."""

    def retry(self, item: object = None) -> int | None:
        if self.spec.is_async and not self.world.newest:
            return None
        if self.spec.has_parallel and item is None:
            return None  # the items of pocketflow's have it in common
        return getattr(self, "cur_retry", 0)

    def item(self, prep_res: Any) -> Any:
        """Where calls of `exec` are noted: in a parallel batch, with their item."""
        return prep_res if self.spec.has_parallel else None

    def do_exec(self, prep_res: Any) -> Any:
        """What `exec` and `exec_async` do: fail as often as they are to, then give a result."""
        self.begin(prep_res)
        if self.world.emits:
            self.emit_some()
        self.fail(prep_res)
        return f"{prep_res} done"

    def begin(self, prep_res: Any) -> None:
        """Write down an attempt."""
        item = self.item(prep_res)
        self.note("exec", prep_res, self.retry(item), item=item)

    def prompts(self, prep_res: Any) -> list[Any]:
        """What an attempt asks."""
        return [[self.spec.label, prep_res, index] for index in range(self.spec.asks)]

    def answered(self, prep_res: Any, answer: Any) -> None:
        """Write down an answer."""
        self.note("answer", answer, item=self.item(prep_res))

    def fail(self, prep_res: Any) -> None:
        """Raise, if this attempt is to fail."""
        key = (self.spec.label, self.scope(), prep_res)
        odd = not self.spec.is_batch or prep_res % 2 == 1
        self.world.failed[key] += 1
        if odd and self.world.failed[key] <= self.spec.failures:
            raise self.error()
        del self.world.failed[key]

    def emit_some(self) -> None:
        """Publish something, if it is one of flowevents' nodes."""
        node: Any = self
        for index in range(self.spec.chunks if hasattr(node, "emit") else 0):
            node.emit(f"{self.spec.label} emits {index}", kind="output" if index % 2 else "note")
            node.progress(index, self.spec.chunks, self.spec.label)

    def do_fallback(self, prep_res: Any, exc: Exception) -> Any:
        """What `exec_fallback` and `exec_fallback_async` do."""
        self.world.failed.pop((self.spec.label, self.scope(), prep_res), None)
        item = self.item(prep_res)
        self.note("fallback", prep_res, type(exc), str(exc), self.retry(item), item=item)
        if self.spec.fallback == "raises":
            raise KeyError("broken") from exc
        return f"{prep_res} fell back"

    async def pause(self) -> None:
        """Let others go on."""
        shares_retry = self.world.newest and self.spec.has_parallel and self.spec.failures
        for _ in range(0 if shares_retry else self.spec.pauses):
            await asyncio.sleep(0)


class SyncNode(NodeRecorder):
    def prep(self, shared: Any) -> Any:
        return self.do_prep()

    def exec(self, prep_res: Any) -> Any:
        return self.do_exec(prep_res)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return self.do_post(prep_res, exec_res)


class SyncStream(SyncNode):
    def exec_stream(self, prep_res: Any) -> Generator[Any, None, Any]:
        self.begin(prep_res)
        for index in range(self.spec.chunks):
            yield f"{prep_res} chunk {index}"
        for prompt in self.prompts(prep_res):
            self.answered(prep_res, (yield Ask(prompt)))
        self.fail(prep_res)
        return f"{prep_res} streamed" if self.spec.result else None


class SyncFallback(NodeRecorder):
    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        return self.do_fallback(prep_res, exc)


class AsyncNode(NodeRecorder):
    async def prep_async(self, shared: Any) -> Any:
        await self.pause()
        return self.do_prep()

    async def exec_async(self, prep_res: Any) -> Any:
        await self.pause()
        for prompt in self.prompts(prep_res):
            node: Any = self
            self.answered(prep_res, await node.ask(prompt))
        return self.do_exec(prep_res)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        await self.pause()
        return self.do_post(prep_res, exec_res)


class AsyncStream(AsyncNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        self.begin(prep_res)
        for index in range(self.spec.chunks):
            await self.pause()
            yield f"{prep_res} chunk {index}"
        for prompt in self.prompts(prep_res):
            self.answered(prep_res, (yield Ask(prompt)))
        self.fail(prep_res)
        if self.spec.result:
            yield Result(f"{prep_res} streamed")


class AsyncFallback(NodeRecorder):
    async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> Any:
        await self.pause()
        return self.do_fallback(prep_res, exc)


class FlowRecorder(Recorder):
    """What flows have in common."""

    def items(self) -> list[Any]:
        return [dict(params) for params in self.spec.batch]

    def action(self, prep_res: Any, exec_res: Any) -> Any:
        """The next action of the script, which may be the last node's."""
        action = self.do_post(prep_res, exec_res)
        return exec_res if action == "pass" else action

    async def pause(self) -> None:
        """Let others go on."""
        for _ in range(self.spec.pauses):
            await asyncio.sleep(0)


class SyncFlowPrep(FlowRecorder):
    def prep(self, shared: Any) -> Any:
        return self.do_prep()


class SyncFlowPost(FlowRecorder):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return self.action(prep_res, exec_res)


class AsyncFlowPrep(FlowRecorder):
    async def prep_async(self, shared: Any) -> Any:
        await self.pause()
        return self.do_prep()


class AsyncFlowPost(FlowRecorder):
    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        await self.pause()
        return self.action(prep_res, exec_res)


Pick = Callable[["Leaf | Graph"], Any]
"""Which library's classes a node is made with."""


def new_shared() -> dict[str, Any]:
    """What a made graph is run with."""
    return {"log": {}, "visits": Counter()}


def build(
    spec: Leaf | Graph,
    library: Any,
    shared: dict[str, Any],
    *,
    newest: bool = True,
    emits: bool = True,
) -> Any:
    """Make a graph with a library's classes.

    Args:
        spec: What to make.
        library: Where its classes are, or a function that says so of each node.
        shared: What it will be run with, from `new_shared`.
        newest, emits: As in `World`.
    """
    pick: Pick = library if not hasattr(library, "BaseNode") else lambda spec: library
    return _build(spec, pick, World(shared, newest, emits))


def _build(spec: Leaf | Graph, pick: Pick, world: World) -> Any:
    own: list[type] = []
    arguments: tuple[Any, ...] = ()
    if isinstance(spec, Leaf):
        if spec.fallback:
            own.append(AsyncFallback if spec.is_async else SyncFallback)
        if "Stream" in spec.kind:
            own.append(AsyncStream if spec.is_async else SyncStream)
        else:
            own.append(AsyncNode if spec.is_async else SyncNode)
        if spec.kind != "BaseNode":
            arguments = (spec.max_retries,)
    else:
        if not spec.plain:
            own.append(AsyncFlowPost if spec.is_async else SyncFlowPost)
        if not spec.plain or spec.is_batch:
            own.append(AsyncFlowPrep if spec.is_async else SyncFlowPrep)
    bases = [getattr(pick(spec), name) for name in spec.kind.split("+")]
    made: Any = type(spec.label, (*own, *bases), {"spec": spec, "world": world})(*arguments)
    made.set_params(dict(spec.params))
    if isinstance(spec, Graph):
        nodes = [_build(node, pick, world) for node in spec.nodes]
        for node, edges in zip(nodes, spec.edges, strict=True):
            for action, target in edges:
                following = None if target is None else nodes[target]
                if action == "default":
                    node >> following
                else:
                    node - action >> following
        if spec.start is not None:
            made.start(nodes[spec.start])
    return made


# -- what came of it ------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What can be seen of a run from outside."""

    returned: Any = None
    error: tuple[type, str] | None = None
    shared: dict[str, Any] = field(default_factory=dict)
    warnings: list[tuple[type, str]] = field(default_factory=list)


def outcome_of(run: Callable[[dict[str, Any]], Any]) -> Outcome:
    """Call a function with a new `shared`, and say what came of it; warnings too."""
    outcome = Outcome(shared=new_shared())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome.returned = run(outcome.shared)
        except (Exception, Halt) as error:
            outcome.error = (type(error), str(error))
    outcome.warnings = [
        (each.category, str(each.message))
        for each in caught
        if "has no start node" not in str(each.message)  # flowevents only, by design
    ]
    return outcome


def assert_same(spec: Leaf | Graph, outcome: Outcome, expected: Outcome) -> None:
    """Both runs did the same.

    Where an item of a parallel batch failed, pocketflow lets the others go on until the loop
    ends, and flowevents cancels them: then of each scope one has done the beginning of what the
    other has.
    """
    assert (outcome.returned, outcome.error) == (expected.returned, expected.error)
    if not spec.has_parallel:
        assert outcome.shared == expected.shared
        assert outcome.warnings == expected.warnings
    elif expected.error is None:
        assert outcome.shared == expected.shared
        assert sorted(outcome.warnings, key=str) == sorted(expected.warnings, key=str)
    else:
        for scope in outcome.shared["log"].keys() & expected.shared["log"].keys():
            pairs = zip(outcome.shared["log"][scope], expected.shared["log"][scope], strict=False)
            assert all(one == other for one, other in pairs), scope


def in_loop(main: Callable[[], Awaitable[T]], *, patience: float = 30) -> T:
    """Run a coroutine function in a loop of its own, as `asyncio.run`, but with a time limit.

    What does not end within `patience` seconds fails the test, also where it would swallow its
    cancellation; so does what fails unseen in the loop.
    """
    unseen: list[dict[str, Any]] = []
    ended: list[asyncio.Task[T]] = []

    async def awaited() -> T:
        return await main()

    async def watched() -> None:
        task = asyncio.create_task(awaited())
        await asyncio.wait([task], timeout=patience)
        if not task.done():
            return
        ended.append(task)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: unseen.append(context))
    try:
        loop.run_until_complete(watched())
        if not ended:
            raise Hung(f"it did not end within {patience} seconds")
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
    result = ended[0].result()
    assert not unseen
    return result


# -- how tests run things -------------------------------------------------------------------------


class Watched:
    """What was seen of a run, which is well-formed.

    Attributes:
        events: Every event.
        returned, error: What came of it.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.returned: Any = None
        self.error: BaseException | None = None

    def data(self, kind: str = "output") -> list[Any]:
        """What its chunks hold."""
        return [e.data for e in self.events if isinstance(e, Chunk) and e.kind == kind]

    def of(self, *types: type[Event]) -> list[Any]:
        """The events of these types."""
        return [event for event in self.events if isinstance(event, types)]

    def names(self) -> list[str]:
        """The names of the signals, in order."""
        return [event.signal for event in self.events]


class Way:
    """How a test runs a node: in a sync run or in an async one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, node: Any, shared: Any = None, **options: Any) -> Any:
        """Run it as users do, and give the action."""
        shared = {} if shared is None else shared
        if self.name == "sync":
            return node.run(shared, **options)
        return in_loop(lambda: node.run_async(shared, **options))

    def watch(self, node: Any, shared: Any = None, **options: Any) -> Watched:
        """Run it observed, and check the events; an error is kept."""
        watched = Watched()
        try:
            watched.returned = self.run(node, shared, observers=[watched.events.append], **options)
        except Exception as error:
            watched.error = error
        check_events(watched.events)
        return watched

    def streamed(self, node: Any, shared: Any = None, **options: Any) -> list[Any]:
        """What its stream gives."""
        shared = {} if shared is None else shared
        if self.name == "sync":
            return list(node.run_stream(shared, **options))

        async def collect() -> list[Any]:
            return [chunk async for chunk in node.run_stream_async(shared, **options)]

        return in_loop(collect)


# -- pocketflow as its repository now is ----------------------------------------------------------


def newest_pocketflow() -> ModuleType:
    """A second copy of the installed pocketflow 0.0.3, with what its repository has changed since.

    As of 2026: `Node` refuses `max_retries` below 1 and a negative `wait`; `>> None` ends a flow
    without a warning; async nodes count retries in `cur_retry`; async batches take `None` for no
    items.
    """
    found = importlib.util.find_spec("pocketflow")
    assert found is not None
    assert found.origin is not None
    spec = importlib.util.spec_from_file_location("newest_pocketflow", found.origin)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    released_init = module.Node.__init__

    def init(self: Any, max_retries: int = 1, wait: float = 0) -> None:
        if max_retries < 1:
            raise ValueError("max_retries must be at least 1")
        if wait < 0:
            raise ValueError("wait must be non-negative")
        released_init(self, max_retries, wait)

    def get_next_node(self: Any, curr: Any, action: Any) -> Any:
        wanted = action or "default"
        known = curr.successors
        if known and wanted not in known:
            warnings.warn(f"Flow ends: '{action}' not found in {list(known)}", stacklevel=2)
        return known.get(wanted)

    async def attempts(self: Any, prep_res: Any) -> Any:
        self.cur_retry = 0
        while True:
            try:
                return await self.exec_async(prep_res)
            except Exception as failed:
                if self.cur_retry + 1 >= self.max_retries:
                    return await self.exec_fallback_async(prep_res, failed)
            if self.wait > 0:
                await asyncio.sleep(self.wait)
            self.cur_retry += 1

    def none_is_empty(released: Any) -> Any:
        async def batch(self: Any, items: Any) -> Any:
            return await released(self, items or ())

        return batch

    module.Node.__init__ = init
    module.Flow.get_next_node = get_next_node
    module.AsyncNode._exec = attempts
    for cls in (module.AsyncBatchNode, module.AsyncParallelBatchNode):
        cls._exec = none_is_empty(cls._exec)
    return module  # type: ignore[no-any-return]
