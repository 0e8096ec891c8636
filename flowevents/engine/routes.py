"""What comes after a node: whether its action is known, and what is said where it is not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from flowevents.engine.shape import own_method, shape_of
from flowevents.messages import place_of, warn

__all__ = ["is_known", "routed", "tell_unknown"]

logger: Final = logging.getLogger("flowevents")


def is_known(successors: Mapping[Any, Any], action: Any) -> bool:
    """Whether the action is one of a node's successors, or it has none."""
    try:
        return not successors or (action or "default") in successors
    except TypeError:  # not hashable
        return False


def routed(flow: Any, node: Any, path: str, action: Any) -> Any:
    """Return what a flow's own `get_next_node` gives.

    For an action that is none pocketflow's own would say less, and that unescaped.
    """
    successors = node.successors
    known = not successors or (action or "default") in successors
    if known or shape_of(flow).ours or own_method(flow, "get_next_node"):
        return flow.get_next_node(node, action)
    tell_unknown(node, path, successors, action)
    return None


def tell_unknown(node: Any, path: str, successors: Mapping[Any, Any], action: Any) -> None:
    """Warn that the flow ends, as PocketFlow does, each time; and log it.

    The line is that of the node's `post`. Raises `TypeError` for what is no action.
    """
    try:
        hash(action)
    except TypeError:
        raise TypeError(
            f"Node {path!r} returned {action!r} from post: an action is a str or None."
        ) from None
    shape = shape_of(node)
    post = own_method(node, "post_async" if shape.is_async else "post")
    kind = "Flow" if shape.is_flow else "Node"
    what = f"returned {action!r} from post" if post or not shape.is_flow else f"ended by {action!r}"
    text = (
        f"Flow ends: '{action}' not found in {list(successors)}. {kind} {path!r} {what}. "
        f"{_likely_cause(successors, action, has_post=post is not None)}"
    )
    if logger.hasHandlers():  # else the warning alone: both would come to the same stderr
        file, line, _ = place_of(post)
        logger.warning("%s (%s, line %d)", text, file, line)
    warn(text, at=post, always=True)


def _likely_cause(successors: Mapping[Any, Any], action: Any, *, has_post: bool) -> str:
    if action is None:
        return "Is a `return` missing?" if has_post else "It has no post, which returns the action."
    import difflib  # here: it takes a millisecond, for a mistake only

    by_text = {str(each).casefold(): each for each in successors}
    close = difflib.get_close_matches(str(action).strip().casefold(), by_text, n=1)
    if close:
        return f"Did you mean {by_text[close[0]]!r}?"
    return "To end there is a successor, too: node.next(None, action)."
