"""What a run knows of a node at its place in the graph, and who listens to it there."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

from flowevents.engine.graph import Vertex, read, vertex_in, vertices_of, ways
from flowevents.engine.shape import Shape, is_node, node_name
from flowevents.errors import GraphError
from flowevents.signals import Audience, Listeners

__all__ = ["Plan", "plan_of"]


class Plan:
    """What a run knows of one node at one place of its graph.

    Attributes:
        node: The original, as the graph holds it.
        vertex: What was read of it; `path` and `shape` are found here as well.
        name: Its name: that of the last part of the path, or of the run's own flow.
        known, version: Who listens, and of which version of the audience that is true.
        inline: Plain calls and their events are all there is to a step of it, while that is so.
        copies_plainly: `copy` does no more than copy the attributes and set two of them.
    """

    __slots__ = (
        "_children",
        "_inside",
        "_names",
        "copies_plainly",
        "inline",
        "known",
        "name",
        "node",
        "path",
        "shape",
        "version",
        "vertex",
    )

    def __init__(self, node: Any, vertex: Vertex, name: str | None = None) -> None:
        self.node: Any = node
        self.vertex: Vertex = vertex
        self.name: str = name or vertex.name
        self.path: str = vertex.path
        self.shape: Shape = vertex.shape
        self.copies_plainly: bool = vertex.shape.copies_plainly
        self.version: object = None
        self.known: Listeners
        self.inline: bool = False
        self._inside: dict[int, Vertex] | None = vertex.inside
        self._children: dict[int, Plan] = {}
        self._names: Counter[str] | None = None  # of what is inside, once something was added

    def copy(self, params: Any, step: object) -> Any:
        """Return what runs in a step: a shallow copy with these params that knows its step."""
        made = copy.copy(self.node)
        if self.shape.ours:
            made._flowevents_step = step
        if self.shape.sets_params:
            made.set_params(params)
        else:
            made.params = params
        return made

    def listeners(self, audience: Audience) -> Listeners:
        """Return who listens to this node; looked up again only when a connection changed."""
        version = audience.version
        if self.version is not version:
            self.known = audience.listeners(self.vertex.keys)
            self.inline = self.shape.simple and not self.known.special
            self.version = version
        return self.known

    def child(self, node: Any) -> Plan:
        """Return the plan of a node of this flow, by the original that the graph holds.

        Raises `GraphError` for what is no node.
        """
        plan = self._children.get(id(node))
        if plan is None:
            vertex = self._vertices().get(id(node))
            if vertex is None or vertex.node() is not node:  # the graph has changed since
                vertex = self._add(node)
            plan = self._children[id(node)] = Plan(node, vertex)
        return plan

    def children(self) -> list[Plan]:
        """Return the plans of this flow's nodes, in the order in which they are numbered."""
        nodes = [vertex.node() for vertex in self._vertices().values()]
        return [self.child(node) for node in nodes if node is not None]

    def stand_alone(self, node: Any) -> None:
        """Have this, which is no more than a frame around one node, run that node itself."""
        vertex = vertex_in(self.vertex, node, node_name(node), 1)
        self._children = {id(node): _Itself(node, vertex)}

    def _vertices(self) -> dict[int, Vertex]:
        if self._inside is None:
            self._inside = vertices_of(self.vertex, self.node)
        return self._inside

    def _add(self, node: Any) -> Vertex:
        """Return the vertex of a node that was not there when the graph was read."""
        if not is_node(node):
            raise self._no_node(node)
        inside = {**self._vertices()}  # that of this run alone
        if self._names is None:
            self._names = Counter(each.called for each in inside.values())
        called = node_name(node)
        self._names[called] += 1
        inside.pop(id(node), None)
        vertex = inside[id(node)] = vertex_in(self.vertex, node, called, self._names[called])
        self._inside = inside
        return vertex

    def _no_node(self, found: object) -> GraphError:
        """The error for what is reached and is no node; it says where it stands."""
        where = f"start node of flow {self.name!r}"
        for plan in self.children():
            for action, successor in ways(plan.node):
                if successor is found:
                    where = f"successor of {plan.name!r} for {action!r}"
        return GraphError(
            f"{found!r} is not a node ({where}). Connect an instance of a node or flow, or None to "
            "end there."
        )


class _Itself(Plan):
    """The plan of a node that is run by itself: no copy of it runs, as in PocketFlow."""

    __slots__ = ()

    def __init__(self, node: Any, vertex: Vertex) -> None:
        super().__init__(node, vertex)
        self.copies_plainly = False

    def copy(self, params: Any, step: object) -> Any:
        """Return the node."""
        return self.node


def plan_of(node: Any, name: str | None = None) -> Plan:
    """Return the plan of a node or a flow, which has that name in its run, or its own."""
    return Plan(node, read(node), name)
