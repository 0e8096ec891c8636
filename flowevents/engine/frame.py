"""An open flow: its cursor, and beside it what of a flow that is walked cannot be stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowevents.engine.cursor import Cursor
from flowevents.engine.items import begin_items, item_of, iterator_of, label_next, merged
from flowevents.engine.plan import Plan
from flowevents.engine.routes import routed
from flowevents.engine.shape import node_name
from flowevents.engine.step import Items, Step

__all__ = ["Frame", "Passes", "Place"]


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


class Passes:
    """The passes of a parallel batch flow that are still to run, of a run that goes on.

    They are kept until all have ended: one may be left before it goes on.

    Attributes:
        begun: Those that had begun, each the stack of its frames; `rest` the others.
    """

    __slots__ = ("begun", "rest")

    def __init__(self, begun: list[list[Frame]], rest: Iterator[list[Frame]]) -> None:
        self.begun: list[list[Frame]] = begun
        self.rest: Iterator[list[Frame]] = rest

    def __iter__(self) -> Iterator[list[Frame]]:
        yield from self.begun
        yield from self.rest


class Frame:
    """An open flow.

    Attributes:
        plan, flow: The flow as the graph holds it, and the object that runs.
        step: Its open start.
        span, items: Those of the open start around its nodes: its own, or of an item of its batch.
        cursor: Where the walk is.
        place: Its own place in the flow around it.
        next: The place of the node to run next, or `None` at the end of a pass.
        places: Those that were reached in this pass, by the id of the original.
        batch: The items of a sequential batch flow.
        passes: The items of a parallel batch flow that are still to run, of a run that goes on.
        resumed: The step at which a run goes on, which is open or has just ended, and its place.
    """

    __slots__ = (
        "batch",
        "cursor",
        "flow",
        "items",
        "next",
        "passes",
        "place",
        "places",
        "plan",
        "resumed",
        "span",
        "step",
    )

    def __init__(self, plan: Plan, flow: Any, step: Step, place: Place | None = None) -> None:
        self.plan: Plan = plan
        self.flow: Any = flow
        self.step: Step = step
        self.span: int = step.span
        self.items: tuple[int, ...] = step.items
        self.cursor: Cursor = Cursor()
        self.place: Place | None = place
        self.next: Place | None = None
        self.places: dict[int, Place] = {}
        self.batch: Items | None = None
        self.passes: Passes | None = None
        self.resumed: tuple[Step, Place] | None = None

    def begin_anew(self, span: int) -> None:
        """Have its flow begin again, in a fork, with a start of this number."""
        self.span = self.step.span = span
        self.step.open = True

    def begin_pass(self, params: Any = None) -> None:
        """Stand at the start node; without params with a copy of the flow's, as in PocketFlow."""
        self.cursor.stands = "pass"
        self.cursor.params = params or {**self.flow.params}
        self.next = self.place_of(self.flow.start_node)

    def begin_batch(self, batch: Any) -> None:
        """Stand before the first item of a sequential batch."""
        self.cursor.stands = "pass"
        self.batch = begin_items(self.step, batch)
        self.batch.rest = iterator_of(self.step, batch)

    def take_next(self, items: Items, numbers: Iterator[int], heard: bool) -> bool:
        """Stand at the beginning of the next item's pass, if there is one.

        Where nobody hears of them, all items share one `Step`.
        """
        flow, item, cursor = self.flow, items.current, self.cursor
        items.current = None
        for params in items.rest:
            try:
                cursor.params = {**flow.params, **params}
            except TypeError:
                cursor.params = merged(self.step, flow.params, params)
            index = cursor.index
            cursor.index = index + 1
            if heard and "item_label" not in self.plan.shape.idle:
                label_next(items, self.step, flow, params)
            self.span = number = next(numbers)
            self.items = (*self.step.within, index)
            if heard or item is None:
                item = item_of(self.step, items, number, index, 0)
                items.index = -1
            if not heard:
                items.index, items.number = index, number
            items.current = item
            places = self.places
            for place in places.values():
                place.count = 0
            start = flow.start_node
            self.next = places.get(id(start)) or self.place_of(start)
            return True
        return False

    def follow(self, node: Any, action: Any) -> Any:
        """Return the node to which this action of that one leads, or `None`."""
        if self.plan.shape.routes:
            return routed(self.flow, node, node_name(node), action)
        return node.successors.get(action or "default")

    def place_of(self, node: Any) -> Place | None:
        """Return the place of a node in this pass; there is none of `None`."""
        if node is None:
            return None
        place = self.places.get(id(node))
        if place is None:
            place = self.places[id(node)] = Place(self.plan.child(node))
        return place
