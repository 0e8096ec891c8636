"""Attributes of every node that are computed where they are asked for."""

from __future__ import annotations

from typing import Any

from flowevents.engine.publish import attempt_of, pause_requested

__all__ = ["ClassName", "CurrentRetry", "NoAsk", "PauseRequested"]


class ClassName:
    """The default of `node_name`: the name of the class."""

    def __get__(self, node: object, owner: type) -> str:
        return owner.__name__


class CurrentRetry:
    """`cur_retry`: counted by the step, not by the node, which parallel items share.

    Where no step counts it is what was assigned: in an override's `super()._exec`, for one.
    """

    def __get__(self, node: Any, owner: type) -> int:
        if node is None:
            return 0
        attempt = attempt_of(node)
        if attempt is not None:
            return int(min(attempt, node.max_retries)) - 1
        assigned: int = node.__dict__.get("cur_retry", 0)
        return assigned

    def __set__(self, node: Any, retry: int) -> None:
        node.__dict__["cur_retry"] = retry


class PauseRequested:
    """`pause_requested`, which a program may have of its own."""

    def __get__(self, node: Any, owner: type) -> bool:
        return node is not None and pause_requested(node)


class NoAsk:
    """`ask` of a plain node: it has none, and says what to do."""

    def __get__(self, node: object, owner: type) -> Any:
        raise AttributeError(
            f"{owner.__name__} cannot wait for an answer in plain code: ask with "
            "`answer = yield Ask(…)` in the exec_stream of a StreamNode, by an AskNode, or with "
            "`await self.ask(…)` in an AsyncNode.",
            name="ask",
            obj=node,
        )
