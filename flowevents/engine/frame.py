"""Where the walk over a flow's graph is: one frame per open flow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowevents.engine.batches import end_item, start_item
from flowevents.engine.effects import Effects
from flowevents.engine.graph import Plan
from flowevents.engine.step import Step

__all__ = ["Frame", "Place"]


class Place:
    """A node in one pass over a flow's graph.

    Attributes:
        count: How often it has run in this pass.
        after: Where the way went on last: most often it goes there again.
    """

    __slots__ = ("after", "count", "plan")

    def __init__(self, plan: Plan) -> None:
        self.plan: Plan = plan
        self.count: int = 0
        self.after: Place | None = None


class Frame:
    """An open flow: where its walk is, and what its end needs.

    Attributes:
        plan, flow: The flow as the graph holds it, and the object that runs.
        step: Its open start.
        span, items: Those of the open start around its nodes: its own, or of an item of its batch.
        shared, params: What its nodes get.
        place: Its own place in the flow around it.
        first: The place of its start node.
        next: The place of the node to run next, or `None` at the end of a pass.
        places: Those that were reached in this pass, by the id of the original.
        last_action: What the last node of the pass gave.
        batch, index: The items still to run of a sequential batch flow, and the next one's index.
        routes: Its `get_next_node` is asked for the way.
    """

    __slots__ = (
        "batch",
        "first",
        "flow",
        "index",
        "items",
        "last_action",
        "metadata",
        "next",
        "params",
        "place",
        "places",
        "plan",
        "prep_res",
        "routes",
        "shared",
        "span",
        "step",
    )

    def __init__(
        self, plan: Plan, flow: Any, step: Step, shared: Any, place: Place | None = None
    ) -> None:
        self.plan: Plan = plan
        self.place: Place | None = place
        self.flow: Any = flow
        self.step: Step = step
        self.span: int = step.span
        self.items: tuple[int, ...] = step.items
        self.shared: Any = shared
        self.params: Any = None
        self.first: Place | None = None
        self.next: Place | None = None
        self.places: dict[int, Place] = {}
        self.last_action: Any = None
        self.prep_res: Any = None
        self.batch: Iterator[Any] | None = None
        self.index: int = 0
        self.metadata: dict[str, Any] = {}
        self.routes: bool = plan.shape.routes

    def draw_item(self) -> bool:
        """Draw the next item of a sequential batch and begin its pass; whether there is one."""
        assert self.batch is not None
        step, item, index = self.step, self.step.item, self.index
        assert item is not None
        drawn = False
        try:
            for params in self.batch:
                self.params = {**self.flow.params, **params}
                self.items = step.items + (index,)  # noqa: RUF005 - a third of the time
                self.span = next(step.sequencer.numbers)
                if not item.open:
                    item.open = True
                self.index = index + 1
                for place in self.places.values():
                    place.count = 0
                first, start = self.first, self.flow.start_node
                if first is None or first.plan.node is not start:
                    first = self.first = self.place_of(start)
                self.next = first
                drawn = True
                break
        finally:
            if not drawn:
                item.open = False
        return drawn

    def end_item(self, error: BaseException | None = None) -> Effects:
        """End the item of a sequential batch that is open, if one is."""
        item = self.step.item
        assert item is not None
        if item.open:
            self.step.done = self.index - 1
        return end_item(item, error)

    def start_item(self) -> Effects:
        """Publish the start of the item that was drawn."""
        item = self.step.item
        assert item is not None
        item.locate()
        return start_item(item)

    def where(self) -> tuple[int, tuple[int, ...]]:
        """The span and the items of the item that is open."""
        return self.span, self.items

    def begin_pass(self, params: Any) -> None:
        """Begin the only pass, as PocketFlow does: without params of its own, with the flow's."""
        self.params = params or {**self.flow.params}
        self.next = self.place_of(self.flow.start_node)

    def place_of(self, node: Any) -> Place | None:
        """The place of a node in this pass; there is none of `None`."""
        if node is None:
            return None
        place = self.places.get(id(node))
        if place is None:
            place = self.places[id(node)] = Place(self.plan.child(node))
        return place
