"""How the engine reads a graph: by its attributes, ours and pocketflow's alike.

A `Plan` is what a run knows of one node at one place of its graph: its path, its shape and who
listens to it. The plans of all that can be reached are made before a run begins.
Nothing is written to a node but to its copies.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any

from flowevents.engine.shape import Shape, is_node, node_name, shape_of
from flowevents.errors import GraphError
from flowevents.signals import Audience, Listeners, sender_key

__all__ = ["Plan", "plan_of", "ways"]


class Plan:
    """What a run knows of one node at one place of its graph.

    Attributes:
        node: The original, as the graph holds it.
        path: Its path in the run; `""` for the run's own flow.
        name: Its name: that of the last part of the path, or of the run's own flow.
        shape: What its class says.
        known, version: Who listens, and of which version of the audience that is true.
        inline: Plain calls and their events are all there is to a step of it, while that is so.
        copies_plainly: `copy` does no more than copy the attributes and set two of them.
    """

    __slots__ = (
        "_children",
        "_flows",
        "_keys",
        "_taken",
        "copies_plainly",
        "inline",
        "known",
        "name",
        "node",
        "path",
        "shape",
        "version",
    )

    def __init__(self, node: Any, name: str, path: str, flows: tuple[Hashable, ...] = ()) -> None:
        self.node: Any = node
        self.name: str = name
        self.path: str = path
        shape = shape_of(node)
        self.shape: Shape = shape
        self.copies_plainly: bool = shape.copies_plainly
        key = sender_key(node)[0]
        self._keys = (path, key, *shape.class_keys, *flows)
        self._flows = (*flows, key) if shape.is_flow else flows
        self._children: dict[int, Plan] | None = None
        self._taken: dict[str, int] = {}
        self.version: object = None
        self.known: Listeners
        self.inline: bool = False

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
            self.known = audience.listeners(self._keys)
            self.inline = self.shape.simple and not self.known.special
            self.version = version
        return self.known

    def child(self, node: Any) -> Plan:
        """Return the plan of a node of this flow, by the original that the graph holds.

        Raises `GraphError` for what is no node.
        """
        plan = self._planned().get(id(node))
        if plan is None:
            if not is_node(node):
                raise self._no_node(node)
            plan = self._add(node)
        return plan

    def children(self) -> list[Plan]:
        """Return the plans of this flow's nodes, in the order in which they are numbered."""
        return list(self._planned().values())

    def stand_alone(self, node: Any) -> None:
        """Have this, which is no more than a frame around one node, run that node itself."""
        self._children = {id(node): _Itself(node, node_name(node), node_name(node), self._flows)}

    def _planned(self) -> dict[int, Plan]:
        if self._children is None:
            self._children = {}
            for node in self._reached():
                self._add(node)
        return self._children

    def _reached(self) -> Iterator[Any]:
        """The flow's nodes, breadth-first from its start node, successors in insertion order.

        What is no node is passed over: it may never be reached.
        """
        waiting = deque([self.node.start_node])
        seen: set[int] = set()
        while waiting:
            node = waiting.popleft()
            if id(node) not in seen and is_node(node):
                seen.add(id(node))
                yield node
                waiting.extend(successor for _, successor in ways(node))

    def _add(self, node: Any) -> Plan:
        assert self._children is not None
        name = node_name(node)
        count = self._taken[name] = self._taken.get(name, 0) + 1
        if count > 1:
            name = f"{name}#{count}"
        path = f"{self.path}/{name}" if self.path else name
        plan = self._children[id(node)] = Plan(node, name, path, self._flows)
        return plan

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

    def __init__(self, node: Any, name: str, path: str, flows: tuple[Hashable, ...] = ()) -> None:
        super().__init__(node, name, path, flows)
        self.copies_plainly = False

    def copy(self, params: Any, step: object) -> Any:
        """Return the node."""
        return self.node


def ways(node: Any) -> list[tuple[Any, Any]]:
    """Return a node's actions with their successors, where it has them in a dict."""
    successors: Any = node.successors
    return list(successors.items()) if hasattr(successors, "items") else []


def plan_of(node: Any, name: str | None = None) -> Plan:
    """Return the plan of a node; of a flow with those of all that can be reached, so that all have
    names."""
    root = Plan(node, name or node_name(node), "")
    seen = {id(node)}
    waiting = deque([root] if root.shape.is_flow else ())
    while waiting:
        for child in waiting.popleft().children():
            if child.shape.is_flow and id(child.node) not in seen:
                seen.add(id(child.node))
                waiting.append(child)
    return root
