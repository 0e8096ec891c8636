"""Where the walk over one open flow is: plain data, that could be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from flowevents.journal.standing import Scope

__all__ = ["Cursor", "Stands"]

Stands = Literal["enter", "prep", "pass", "leave"]
"""What comes next in a flow: its beginning; its `prep` once more, of a run that goes on; the next
node of a pass over its graph, or the end of that pass; its end."""


class Cursor:
    """Where the walk over one open flow is.

    Attributes:
        stands: What comes next.
        prep_res: What the flow's `prep` returned; of a pass that is an item, that item.
        params: What its nodes get.
        index: How many items of a sequential batch have begun.
        action: What the last node of the pass returned.
        anew: In a fork: where the flow and the item of its batch stand, which begin again.
    """

    __slots__ = ("action", "anew", "index", "params", "prep_res", "stands")

    def __init__(self) -> None:
        self.stands: Stands = "enter"
        self.prep_res: Any = None
        self.params: Any = None
        self.index: int = 0
        self.action: Any = None
        self.anew: list[Scope] = []
