"""How the engine reads a graph: by its attributes, ours and pocketflow's alike.

A `Shape` is what a node's class says of it, read once per class. A `Plan` is what a run knows of
one node at one place of its graph: its path, its shape and who listens to it. Nothing is written
to a node but to its copies.
"""

from __future__ import annotations

import copy
import inspect
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from flowevents.errors import GraphError
from flowevents.signals import Audience, Listeners, sender_key

__all__ = ["Plan", "Shape", "check_graph", "is_node", "node_name", "shape_of"]

_LIBRARY_CLASSES = frozenset(
    {
        "BaseNode",
        "Node",
        "BatchNode",
        "Flow",
        "BatchFlow",
        "AsyncNode",
        "AsyncBatchNode",
        "AsyncParallelBatchNode",
        "AsyncFlow",
        "AsyncBatchFlow",
        "AsyncParallelBatchFlow",
    }
)
"""PocketFlow's classes; ours have the same names, and some more."""


def is_node(value: object) -> bool:
    """Whether the engine can run it: it has what PocketFlow's nodes have."""
    return (
        not isinstance(value, type)
        and hasattr(value, "prep")
        and hasattr(value, "post")
        and hasattr(value, "successors")
    )


def node_name(node: object) -> str:
    """A node's `node_name`, by default its class name."""
    name = getattr(node, "node_name", None)
    return name if isinstance(name, str) else type(node).__name__


class Shape:
    """What a node's class says of it.

    Attributes:
        ours: It descends from flowevents' classes, not from pocketflow's.
        is_flow, is_async: Which methods it has.
        batch: `"sequential"`, `"parallel"` or `None`.
        streams: It has `exec_stream` or `exec_stream_async` of its own.
        retries: It has `max_retries` (every node but a bare `BaseNode`).
        asks: What it does is to ask the question that its `question` gives.
        calls: One call of `exec` or `exec_async` is all there is to an attempt.
        fallback: It has an `exec_fallback` of its own.
        overrides: Which of PocketFlow's private `run`, `exec` and `orch` it overrides.
        routes: It has a `get_next_node` of its own (or pocketflow's).
        idle: Which of its async methods are the library's, and await nothing.
        copies_plainly: `copy.copy` does no more than copy the attributes.
        simple: Plain `prep`, `exec` and `post` calls are all there is to it.
    """

    def __init__(self, cls: type, own: Sequence[str] = ()) -> None:
        self._own = own
        self._library = [each for each in cls.__mro__ if _is_library(each)]
        names = {each.__name__ for each in self._library}
        self.ours: bool = any(_is_ours(each) for each in self._library)
        self.is_flow: bool = bool(names & {"Flow", "_Alone"})
        self.is_async: bool = "AsyncNode" in names
        self.batch: str | None = None
        if names & {"AsyncParallelBatchNode", "AsyncParallelBatchFlow"}:
            self.batch = "parallel"
        elif names & {"BatchNode", "BatchFlow"}:
            self.batch = "sequential"
        self.chunked: bool = self.ours and hasattr(cls, "keep_chunks")
        self.streams: bool = self.chunked and self._overrides(
            cls, "exec_stream_async" if self.is_async else "exec_stream"
        )
        self.retries: bool = "Node" in names
        self.asks: bool = bool(names & {"AskNode", "AsyncAskNode"})
        self.calls: bool = self.ours and self.retries and not (self.chunked or self.asks)
        self.fallback: bool = self._overrides(
            cls, "exec_fallback_async" if self.is_async else "exec_fallback"
        )
        suffix = "_async" if self.is_async else ""
        self.overrides: frozenset[str] = frozenset(
            part
            for part, method in (
                ("run", f"_run{suffix}"),
                ("exec", "_exec"),
                ("orch", f"_orch{suffix}"),
            )
            if self._overrides(cls, method)
        )
        self.routes: bool = (
            not self.ours or "_Alone" in names or self._overrides(cls, "get_next_node")
        )
        self.idle: frozenset[str] = frozenset(
            method for method in ("prep_async", "post_async") if not self._overrides(cls, method)
        )
        self.sets_params: bool = self._overrides(cls, "set_params")
        self.simple: bool = self.calls and not (
            self.is_flow or self.is_async or self.batch or self.overrides
        )
        self.copies_plainly: bool = (
            self.ours and not self._overrides(cls, "__new__") and _copies_plainly(cls)
        )
        self.class_keys: tuple[int, ...] = tuple(
            id(each) for each in cls.__mro__ if each is not object
        )
        self.mistake: str = "" if self.overrides or not self.ours else self._mistake(cls)

    def _mistake(self, cls: Any) -> str:
        """What its author has probably not meant, as a sentence, or `""`."""
        wanted, other = "exec_stream", "exec_stream_async"
        if self.is_async:
            wanted, other = other, wanted
        kind = "AsyncStreamNode" if self.is_async else "StreamNode"
        run = "exec_async" if self.is_async else "exec"
        if not self.chunked and hasattr(cls, wanted):
            return f"has {wanted}, but is no {kind}: nothing of it is streamed."
        if self.chunked and not self.streams:
            if hasattr(cls, other):
                return f"has {other}, but its class streams {wanted}: that is never called."
            if inspect.isgeneratorfunction(getattr(cls, run)):
                return f"has a generator as {run}: call it {wanted}, to stream what it yields."
        for method in ("prep", "exec", "exec_fallback", "post") if self.is_async else ():
            if self._overrides(cls, method) and not self._overrides(cls, f"{method}_async"):
                return f"has {method}, but is async: it runs {method}_async, and never {method}."
        if not self.is_flow and not self.is_async and inspect.iscoroutinefunction(cls.exec):
            return "has an async exec: derive it from AsyncNode, and call it exec_async."
        return ""

    def _overrides(self, cls: type, method: str) -> bool:
        """Whether it is the instance's own, or the first class that defines it is the user's."""
        if method in self._own:
            return True
        for each in cls.__mro__:
            if method in vars(each):
                return each not in self._library
        return False


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("flowevents.")


def _is_library(cls: type) -> bool:
    """Whether it is one of flowevents' classes or one of a pocketflow's, whatever its version."""
    if _is_ours(cls):
        return True
    base = next((each for each in cls.__mro__ if each.__name__ == "BaseNode"), None)
    return (
        base is not None and cls.__module__ == base.__module__ and cls.__name__ in _LIBRARY_CLASSES
    )


def _copies_plainly(cls: Any) -> bool:
    """Whether `copy.copy` would do no more than copy the instance's attributes."""
    return (
        cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and getattr(cls, "__getstate__", None) is getattr(object, "__getstate__", None)
        and not any(
            hasattr(cls, name)
            for name in ("__copy__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
        )
        and not any(vars(each).get("__slots__") for each in cls.__mro__)
    )


_METHODS = (
    "__new__",
    "_exec",
    "_orch",
    "_orch_async",
    "_run",
    "_run_async",
    "exec_fallback",
    "exec_fallback_async",
    "exec_stream",
    "exec_stream_async",
    "get_next_node",
    "post_async",
    "prep_async",
    "set_params",
)
"""What a shape depends on: a class or an instance may get others of them at any time."""

_METHOD_SET = frozenset(_METHODS)


class _Known:
    """The shape of a class, and the methods that it was read from."""

    def __init__(self, cls: type) -> None:
        self.shape: Shape = Shape(cls)
        present = [name for name in _METHODS if hasattr(cls, name)]
        self.methods_of: Callable[[type], Any] = attrgetter("__init__", *present)
        self.methods: Any = self.methods_of(cls)


_shapes: weakref.WeakKeyDictionary[type, _Known] = weakref.WeakKeyDictionary()


def shape_of(node: Any) -> Shape:
    """The shape of a node: that of its class, read once, unless it has methods of its own."""
    cls = type(node)
    if not _METHOD_SET.isdisjoint(node.__dict__):
        return Shape(cls, [name for name in _METHODS if name in node.__dict__])
    known = _shapes.get(cls)
    if known is None or known.methods_of(cls) != known.methods:
        known = _shapes[cls] = _Known(cls)
        if known.shape.mistake:
            warnings.warn(f"{cls.__qualname__} {known.shape.mistake}", RuntimeWarning, stacklevel=2)
    return known.shape


class Plan:
    """What a run knows of one node at one place of its graph.

    Attributes:
        node: The original, as the graph holds it.
        path: Its path in the run; `""` for the run's own flow.
        name: Its name: that of the last part of the path, or of the run's own flow.
        shape: What its class says; `nests` is whether it is a flow that is walked through.
        heard, version: Who listens, and of which version of the audience that is true.
        inline: Plain calls and their events are all there is to a step of it, while that is so.
        is_copied: A copy runs, as in PocketFlow, not the original itself.
        copies_plainly: `copy` does no more than copy the attributes and set two of them.
    """

    __slots__ = (
        "_children",
        "_flows",
        "_keys",
        "_taken",
        "copies_plainly",
        "heard",
        "inline",
        "is_copied",
        "name",
        "nests",
        "node",
        "path",
        "shape",
        "version",
    )

    def __init__(
        self,
        node: Any,
        name: str,
        path: str,
        flows: tuple[Hashable, ...],
        shape: Shape | None = None,
    ) -> None:
        self.node: Any = node
        self.name: str = name
        self.path: str = path
        self.is_copied: bool = True
        self.shape: Shape = shape or shape_of(node)
        self.nests: bool = self.shape.is_flow and not self.shape.overrides
        self.copies_plainly: bool = self.shape.copies_plainly and not self.shape.sets_params
        key = sender_key(node)[0]
        self._keys = (path, key, *self.shape.class_keys, *flows)
        self._flows = (*flows, key) if self.shape.is_flow else flows
        self._children: dict[int, Plan] = {}
        self._taken: dict[str, int] = {}
        self.version: object = None
        self.heard: Listeners
        self.inline: bool = False

    def run_itself(self) -> None:
        """Have the original run, not a copy, as the node of a run does."""
        self.is_copied = self.copies_plainly = False

    def copy(self, params: Any, step: object) -> Any:
        """What runs in a step: a shallow copy with these params that knows its step."""
        if not self.is_copied:
            return self.node
        made = copy.copy(self.node)
        if hasattr(made, "emit"):
            made._flowevents_step = step
        if self.shape.sets_params:
            made.set_params(params)
        else:
            made.params = params
        return made

    def listeners(self, audience: Audience) -> Listeners:
        """Who listens to this node now; looked up again only when a connection changed."""
        if self.version is not audience.version:
            self.version = audience.version
            self.heard = audience.listeners(self._keys)
            self.inline = self.shape.simple and not self.heard.special
        return self.heard

    def child(self, node: Any) -> Plan:
        """The plan of a node of this flow, by the original that the graph holds."""
        plan = self._children.get(id(node))
        if plan is None:
            self.children()
            plan = self._children.get(id(node)) or self._add(node)
        return plan

    def children(self) -> list[Plan]:
        """The plans of this flow's nodes, in the order in which they are numbered."""
        if not self._children:
            for each in _nodes(self.node):
                self._add(each)
        return list(self._children.values())

    def _add(self, node: Any) -> Plan:
        name = node_name(node)
        count = self._taken[name] = self._taken.get(name, 0) + 1
        if count > 1:
            name = f"{name}#{count}"
        path = f"{self.path}/{name}" if self.path else name
        plan = self._children[id(node)] = Plan(node, name, path, self._flows)
        return plan


def _nodes(flow: Any) -> Iterator[Any]:
    """A flow's nodes, breadth-first from its start node, successors in insertion order."""
    start = flow.start_node
    if start is None:
        return
    seen = {id(start)}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        yield node
        for successor in node.successors.values():
            if successor is not None and id(successor) not in seen:
                seen.add(id(successor))
                waiting.append(successor)


def check_graph(node: Any, *, names: bool = True) -> None:
    """Check every node that can be reached, nested flows included, before a run begins.

    Raises `GraphError` for a start node or a successor that is no node, and with `names`
    `ValueError` for a name that a path could not hold.
    """
    seen = {id(node)}
    waiting = deque([("", node)])
    while waiting:
        where, node = waiting.popleft()
        name = node_name(node)
        if names and (not name or "/" in name or "#" in name):
            raise ValueError(
                f"Node name {name!r}{where} cannot be used: a name is not empty and holds no "
                "'/' and no '#', which separate and number the names in a path. "
                "Set another node_name."
            )
        reached: list[tuple[str, Any]] = []
        if shape_of(node).is_flow and node.start_node is not None:
            reached.append((f" (start node of flow {name!r})", node.start_node))
        if where:  # the run's own node runs alone
            for action, successor in node.successors.items():
                if successor is not None:
                    reached.append((f" (successor of {name!r} for {action!r})", successor))
        for place, other in reached:
            if not is_node(other):
                raise GraphError(
                    f"{other!r} is not a node{place}. Connect an instance of a node or flow, "
                    "or None to end there."
                )
            if id(other) not in seen:
                seen.add(id(other))
                waiting.append((place, other))
