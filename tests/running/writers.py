"""Nodes that write down how far they came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flowevents import Node, StreamNode


class Write(StreamNode):
    """Streams its words, and notes in `shared` how far it came."""

    words = ("a", "b", "c")

    def prep(self, shared: Any) -> Any:
        shared.setdefault("log", []).append("prep")
        return shared["log"]

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        try:
            for word in self.words:
                prep_res.append(word)
                yield word
        finally:
            prep_res.append("closed")

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["written"] = exec_res
        return "written"


class Step(Node):
    def exec(self, prep_res: Any) -> str:
        return "stepped"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["steps"] = shared.get("steps", 0) + 1
        return "next"


def two_nodes() -> tuple[Node, Node]:
    """A node that streams, and one that is next."""
    write, step = Write(), Step()
    write - "written" >> step
    return write, step


async def awaited(call: Callable[[], Any]) -> Any:
    """What an async method gives."""
    return await call()
