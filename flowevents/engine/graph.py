"""How the engine reads a graph: by its attributes, ours and pocketflow's alike.

A `Plan` is what a run knows of one node at one place of its graph: its path, its shape and who
listens to it. The plans of all that can be reached are made, and checked, before a run begins.
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

__all__ = ["Plan", "check_graph", "plan_of"]


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
        if hasattr(made, "emit"):
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
        """Return the plan of a node of this flow, by the original that the graph holds."""
        plan = self._planned().get(id(node))
        return plan or self._add(node)

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

        Raises `GraphError` for what is no node.
        """
        start = self.node.start_node
        if start is None:
            return
        if not is_node(start):
            raise _no_node(start, f" (start node of flow {self.name!r})")
        seen = {id(start)}
        waiting = deque([start])
        while waiting:
            node = waiting.popleft()
            yield node
            for action, successor in node.successors.items():
                if successor is not None and id(successor) not in seen:
                    if not is_node(successor):
                        where = f" (successor of {node_name(node)!r} for {action!r})"
                        raise _no_node(successor, where)
                    seen.add(id(successor))
                    waiting.append(successor)

    def _add(self, node: Any) -> Plan:
        assert self._children is not None
        name = node_name(node)
        count = self._taken[name] = self._taken.get(name, 0) + 1
        if count > 1:
            name = f"{name}#{count}"
        path = f"{self.path}/{name}" if self.path else name
        plan = self._children[id(node)] = Plan(node, name, path, self._flows)
        return plan


class _Itself(Plan):
    """The plan of a node that is run by itself: no copy of it runs, as in PocketFlow."""

    __slots__ = ()

    def __init__(self, node: Any, name: str, path: str, flows: tuple[Hashable, ...] = ()) -> None:
        super().__init__(node, name, path, flows)
        self.copies_plainly = False

    def copy(self, params: Any, step: object) -> Any:
        """Return the node."""
        return self.node


def plan_of(flow: Any, *, names: bool = True) -> Plan:
    """Return the plan of a flow, of which all that can be reached was looked at.

    Raises `GraphError` for a start node or a successor that is no node, and with `names`
    `ValueError` for a name that a path could not hold.
    """
    root = Plan(flow, node_name(flow), "")
    if names:
        _check_name(root.name, "")
    seen = {id(flow)}
    waiting = deque([root])
    while waiting:
        plan = waiting.popleft()
        for child in plan.children():
            if names:
                _check_name(node_name(child.node), f" (in flow {plan.name!r})")
            if child.shape.is_flow and id(child.node) not in seen:
                seen.add(id(child.node))
                waiting.append(child)
    return root


def check_graph(node: Any, *, names: bool = True) -> None:
    """Check a flow or a single node as a run of it does before it begins; see `plan_of`."""
    if shape_of(node).is_flow:
        plan_of(node, names=names)
    elif names:
        _check_name(node_name(node), "")


def _no_node(found: object, where: str) -> GraphError:
    return GraphError(
        f"{found!r} is not a node{where}. Connect an instance of a node or flow, or None to end "
        "there."
    )


def _check_name(name: str, where: str) -> None:
    if not name or "/" in name or "#" in name:
        raise ValueError(
            f"Node name {name!r}{where} cannot be used: a name is not empty and holds no "
            "'/' and no '#', which separate and number the names in a path. "
            "Set another node_name."
        )
