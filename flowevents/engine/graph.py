"""How the engine reads a graph: by its attributes, ours and pocketflow's alike.

The rules of this file:

* All that can be reached is read before a run begins, so that all of it has names.
* What was read is kept as long as the flow is there, and serves its next run where it is still
  true: looked at is each node, its class, its name, what follows it and where it begins.
* Nothing is written to a node, and none is kept: a graph that nobody has goes at once.
"""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any, Final

from flowevents.engine.shape import Shape, is_node, node_name, shape_of
from flowevents.signals import sender_key

__all__ = ["Vertex", "read", "vertex_in", "vertices_of", "ways"]


class Vertex:
    """A node at one place of a graph, as it was read: the same for every run.

    Attributes:
        node: Gives the node, as the graph holds it, while it is there.
        called: What it is called by itself.
        name: Its name among the others of the flow: the last part of the path, where it has one.
        path: Its path in a run; `""` for the run's own flow.
        shape: What its class says.
        keys: The keys of the senders to which handlers of it may be connected.
        flows: Those of the flows around what is in it.
        inside: The nodes of a flow, by their ids, in the order in which they are numbered; `None`
            of what is no flow, or is one that was read at another place: it may stand in itself.
    """

    __slots__ = ("_after", "called", "flows", "inside", "keys", "name", "node", "path", "shape")

    def __init__(
        self, node: Any, called: str, name: str, path: str, flows: tuple[Hashable, ...] = ()
    ) -> None:
        self.node: Callable[[], Any] = _held(node)
        self.called: str = called
        self.name: str = name
        self.path: str = path
        self.shape: Shape = shape_of(node)
        self._after: list[int] = _after(node, self.shape)
        key = sender_key(node)[0]
        self.keys: tuple[Hashable, ...] = (path, key, *self.shape.class_keys, *flows)
        self.flows: tuple[Hashable, ...] = (*flows, key) if self.shape.is_flow else flows
        self.inside: dict[int, Vertex] | None = None

    def is_true(self) -> bool:
        """Whether all that was read of it is still so."""
        node = self.node()
        return (
            node is not None
            and shape_of(node) is self.shape
            and node_name(node) == self.called
            and _after(node, self.shape) == self._after
            and id(getattr(node, "_sender_key", node)) == self.keys[1]
        )


def _held(node: Any) -> Callable[[], Any]:
    """Return what gives the node while it is there."""
    try:
        return weakref.ref(node)
    except TypeError:  # it has slots
        return partial(_same, node)


def _same(node: Any) -> Any:
    return node


def _after(node: Any, shape: Shape) -> list[int]:
    """Return the ids of what can come after a node, and of what a flow begins with."""
    successors = node.successors
    after = [*map(id, successors.values())] if hasattr(successors, "items") else []
    if shape.is_flow:
        after.append(id(node.start_node))
    return after


def ways(node: Any) -> list[tuple[Any, Any]]:
    """Return a node's actions with their successors, where it has them in a dict."""
    successors: Any = node.successors
    return list(successors.items()) if hasattr(successors, "items") else []


def read(node: Any) -> Vertex:
    """Return what there is to know of a node; of a flow with all that can be reached in it."""
    known = _read.get(id(node))
    if known is not None and known[0].node() is node and all(map(Vertex.is_true, known)):
        return known[0]
    root = Vertex(node, node_name(node), node_name(node), "")
    found = [root]
    seen = {id(node)}
    waiting = deque([(root, node)] if root.shape.is_flow else ())
    while waiting:
        vertex, flow = waiting.popleft()
        vertex.inside = vertices_of(vertex, flow)
        found.extend(vertex.inside.values())
        for key, child in vertex.inside.items():
            if child.shape.is_flow and key not in seen:
                seen.add(key)
                waiting.append((child, child.node()))
    _keep(node, found)
    return root


_read: Final[dict[int, list[Vertex]]] = {}  # all vertices of a graph, by the id of the flow


def _keep(node: Any, found: list[Vertex]) -> None:
    """Keep what was read of a graph until its flow is gone, unless that would keep its nodes."""
    if all(isinstance(each.node, weakref.ref) for each in found):
        key = id(node)
        found[0].node = weakref.ref(node, lambda _: _read.pop(key, None))
        _read[key] = found


def vertices_of(vertex: Vertex, flow: Any) -> dict[int, Vertex]:
    """Return the nodes of a flow, by their ids, in the order in which they are numbered."""
    names: Counter[str] = Counter()
    inside: dict[int, Vertex] = {}
    for node in _reached(flow):
        name = node_name(node)
        names[name] += 1
        inside[id(node)] = vertex_in(vertex, node, name, names[name])
    return inside


def vertex_in(flow: Vertex, node: Any, called: str, count: int) -> Vertex:
    """Return the vertex of a node in that flow, where so many are called like it until now."""
    name = called if count == 1 else f"{called}#{count}"
    path = f"{flow.path}/{name}" if flow.path else name
    return Vertex(node, called, name, path, flow.flows)


def _reached(flow: Any) -> Iterator[Any]:
    """A flow's nodes, breadth-first from its start node, successors in insertion order.

    What is no node is passed over: it may never be reached.
    """
    waiting = deque([flow.start_node])
    seen: set[int] = set()
    while waiting:
        node = waiting.popleft()
        if id(node) not in seen and is_node(node):
            seen.add(id(node))
            yield node
            waiting.extend(successor for _, successor in ways(node))
