"""The items of a batch, of a node or a flow: how they are taken, begun and ended.

Where nobody hears of a sequential batch, its items share one `Step`, which is moved on from item to
item; else each has one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import Context
from typing import Any

from flowevents.engine.calls import call, end
from flowevents.engine.effects import Effects
from flowevents.engine.state import hand_over
from flowevents.engine.step import Items, Step, Track
from flowevents.events import ItemEnd, ItemStart

__all__ = ["begin_items", "end_item", "item_of", "length_of", "start_item", "taken"]


def begin_items(step: Step, batch: Any) -> Items:
    """Return the items of this step's batch, which it has from here on."""
    step.batch = Items(step.span, length_of(batch))
    return step.batch


def length_of(batch: object) -> int | None:
    """Return how many items a batch has, where it knows."""
    try:
        return len(batch)  # type: ignore[arg-type]
    except TypeError:
        return None


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
        raise
    return source if step.context is None else _taken_in(step.context, source)


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


def start_item(item: Step, track: Track | None) -> Effects:
    """Publish the start of an item, which has its number already."""
    items = item.member_of
    assert items is not None
    listeners = item.listeners()
    if item.start(listeners.item_start, ItemStart, items.span, total=items.total):
        yield from hand_over(item.state)
    if listeners.contexts:
        item.ask_context(track, ItemStart, items.span, total=items.total)


def end_item(item: Step, error: BaseException | None = None) -> Effects:
    """Publish the end of an item."""
    items = item.member_of
    if items is None or not item.open:
        return
    if error is None:
        item.state.door.empty()  # before it is counted, because a handler may raise
    if items.current is item:  # those that nobody heard of were not counted
        items.done = item.index
    items.attempt = item.attempt
    done = items.done
    own = {"done": done + 1, "total": items.total}
    try:
        items.done = done + 1
        yield from end(item, ItemEnd, item.listeners().item_end, error, own)
    except BaseException:
        if item.open:  # its end is not out
            items.done = done
        raise
