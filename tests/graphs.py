"""Random graphs, drawn by Hypothesis.

A description of a graph says nothing of a library, so that the same graph can be made with
pocketflow's classes, with flowevents' or with both; `tests/made_graphs.py` makes them.

Every loop ends: a step gives the actions of its script, then `"stop"`, for which nothing has a
successor. A plain flow, which has no script, leads only forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

__all__ = ["Graph", "Halt", "Leaf", "graphs", "leaves"]

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
