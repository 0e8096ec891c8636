"""Which nodes of a graph say the reply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flowevents.engine.graph import Vertex, read, vertices_of, ways
from flowevents.engine.shape import is_node, node_name, shape_of, why_no_node
from flowevents.errors import GraphError

__all__ = ["reply_paths"]


def reply_paths(flow: Any, answer: str | Iterable[str] | None) -> frozenset[str]:
    """The paths of the nodes whose chunks are the reply, by default those that end the flow.

    Raises `GraphError` where `flow` is no node, and `ValueError` for a path that it does not have,
    or where there is no such node.
    """
    if not is_node(flow):
        raise GraphError(f"chat needs a flow or a node, not {flow!r}.{why_no_node(flow)}")
    name = node_name(flow)
    root = read(flow) if shape_of(flow).nests else Vertex(flow, name, name, name)
    ends = dict(_nodes(root, True))
    known = f"The nodes are {', '.join(map(repr, ends))}."
    if answer is None:
        last = frozenset(path for path, is_last in ends.items() if is_last)
        if not last:
            raise ValueError(
                "chat: each node is followed by another one. Say with answer=… which of them the "
                f"reply comes from. {known}"
            )
        return last
    named = frozenset([answer] if isinstance(answer, str) else answer)
    for path in named:
        if path not in ends:
            raise ValueError(f"chat: answer={path!r} is no path of a node. {known}")
    return named


def _nodes(
    vertex: Vertex, is_last: bool, around: tuple[int, ...] = ()
) -> Iterator[tuple[str, bool]]:
    """The paths of the nodes, and of each whether no other node follows it."""
    node = vertex.node()
    if not vertex.shape.nests or id(node) in around:
        yield vertex.path, is_last
        return
    for child in (vertex.inside or vertices_of(vertex, node)).values():
        ends = all(successor is None for _, successor in ways(child.node()))
        yield from _nodes(child, is_last and ends, (*around, id(node)))
