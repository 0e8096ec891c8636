"""The items of a batch, of a node or a flow: how they are taken, begun and ended.

Where nobody hears of a sequential batch, its items share one `Step`, which is moved on from item to
item; else each has one of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextvars import Context
from typing import Any, Final

from flowevents.engine.calls import call, end
from flowevents.engine.effects import Effects
from flowevents.engine.state import hand_over
from flowevents.engine.step import Items, Step, Track
from flowevents.events import ItemEnd, ItemStart

__all__ = [
    "Fresh",
    "begin_items",
    "end_item",
    "end_lost_items",
    "item_of",
    "iterator_of",
    "label_next",
    "merged",
    "start_item",
    "taken",
]

logger: Final = logging.getLogger("flowevents")


def begin_items(step: Step, batch: Any) -> Items:
    """Return the items of this step's batch, which it has from here on."""
    step.batch = Items(step.span, batch)
    return step.batch


def taken(step: Step, batch: Any) -> Iterable[Any]:
    """Return the items of a batch, none where `prep` gave something empty, taken one by one in the
    step's context."""
    if batch is None:
        return ()
    try:
        source = call(step, iter, batch)
    except TypeError:
        if not batch:
            return ()
        return iterator_of(step, batch)
    return source if step.context is None else _taken_in(step.context, source)


def iterator_of(step: Step, batch: Any) -> Iterator[Any]:
    """Return an iterator over a batch. Raises `TypeError`, which names the node, where none can."""
    try:
        return iter(batch)
    except TypeError:
        if hasattr(batch, "__iter__"):
            raise
    shape = step.plan.shape
    prep = "prep_async" if shape.is_async else "prep"
    kind, what = ("flow", "the params of each pass") if shape.is_flow else ("node", "the items")
    raise TypeError(
        f"{prep} of batch {kind} {step.plan.path or step.plan.name!r} gave {batch!r}, over which "
        f"nothing can iterate: it is to return {what}, in a list or any other iterable."
    )


def merged(step: Step, params: Any, own: Any) -> dict[str, Any]:
    """Return the params of a pass over a flow. Raises `TypeError`, which names it."""
    try:
        return {**params, **own}
    except TypeError:
        if isinstance(own, Mapping):
            raise
        prep = "prep_async" if step.plan.shape.is_async else "prep"
        raise TypeError(
            f"{prep} of batch flow {step.plan.path or step.plan.name!r} gave {own!r} as the "
            "params of a pass: each is a dict."
        ) from None


def _taken_in(context: Context, source: Iterator[Any]) -> Iterator[Any]:
    end = object()
    while (item := context.run(next, source, end)) is not end:
        yield item


def item_of(step: Step, items: Items, span: int, index: int, attempt: int = 1) -> Step:
    """Return an item of that step, with this number."""
    # All by their position, because names are much of what making one costs.
    return Step(
        step.state, step.plan, span, step.items, step.number, attempt, index,
        None, True, None, None, items,
    )  # fmt: skip


def label_next(items: Items, step: Step, node: Any, argument: Any) -> None:
    """Note what the node calls the item that is about to begin, and has no number yet.

    An item that nobody hears of is not asked for. So what its `item_label` raises is logged, and
    does no more.
    """
    items.label = ""
    try:
        items.label = str(call(step, node.item_label, argument))
    except Exception as error:
        logger.error(
            "item_label of node %r failed in run %s",
            step.plan.path,
            step.state.options.run_id,
            exc_info=error,
        )


def start_item(item: Step, track: Track | None) -> Effects:
    """Publish the start of an item, which has its number already."""
    items = item.member_of
    assert items is not None
    listeners = item.listeners()
    own = {"total": items.known_total(), "label": items.label}
    if item.start(listeners.item_start, ItemStart, items.span, **own):
        yield from hand_over(item.state)
    if listeners.contexts:
        item.ask_context(track, ItemStart, items.span, **own)


def end_item(item: Step, error: BaseException | None = None) -> Effects:
    """Publish the end of an item."""
    items = item.member_of
    if items is None or not item.open:
        return
    if error is None:
        item.state.door.empty()  # before it is counted, because a handler may raise
    if items.current is item:  # those that nobody heard of were not counted
        items.done = item.index
    items.attempt = item.counted(item.attempt)
    done = items.done
    own = {"done": done + 1, "total": items.known_total()}
    try:
        items.done = done + 1
        yield from end(item, ItemEnd, item.listeners().item_end, error, own)
    except BaseException:
        if item.open:  # its end is not out
            items.done = done
        raise


def end_lost_items(step: Step, error: BaseException) -> Effects:
    """End the items that were open when the run was lost, and have not gone on."""
    lost = step.lost()
    if lost is None:
        return
    for index, each in lost.open_items().items():
        items = step.batch
        if items is None:
            items = begin_items(step, None)
            items.done = lost.finished_items()
        item = item_of(step, items, each.span, index, each.attempt)
        try:
            yield from end_item(item, error)
        finally:
            if not item.open:
                del lost.items[index]


class Fresh:
    """What becomes of the items of one step, all of which begin here.

    In a run with a journal some have begun, or finished, before: see `Stored`.
    """

    __slots__ = ("items", "node", "step")

    def __init__(self, step: Step, items: Items, node: Any) -> None:
        self.step: Step = step
        self.items: Items = items
        self.node: Any = node

    def to_run(self, arguments: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Return those that are to run, with their indexes; each gets a place among the results."""
        for index, argument in enumerate(arguments):
            self.items.results.append(None)
            yield index, argument

    def begins_again(self, index: int) -> bool:
        """Whether it was open when the run was lost."""
        return False

    def item(self, index: int, argument: Any) -> Step:
        """Return the item, which begins, or goes on."""
        if "item_label" not in self.step.plan.shape.idle:
            label_next(self.items, self.step, self.node, argument)
        number = next(self.step.state.delivery.numbers)
        item = item_of(self.step, self.items, number, index)
        self.items.index = -1
        item.context = self.step.context
        return item

    def start(self, item: Step, argument: Any, track: Track | None = None) -> Effects:
        """Publish its start, or that it goes on."""
        return start_item(item, track)

    def keep(self, item: Step, result: Any) -> None:
        """Keep its result."""
        self.items.results[item.index] = result
