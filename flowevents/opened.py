"""Which starts of a run are open: the one fold that whoever follows the events of a run stands on.

The rules of this file:

* A start is open from its event until its end. What encloses it is the open start that it names as
  its parent; where a record lacks that, it is the run's own flow, if that is open.
* Nothing an event says raises. An event whose start is missing can open one itself (`find`), a
  start that comes twice begins anew, and what is open in something that ends is closed with it.
* It holds what is open, and nothing of what has ended.

Whoever wants to know more of an open start derives a class from `Opened`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, Literal, TypeVar

from flowevents.events import Event, FlowEnd, FlowStart, ItemEnd, ItemStart, NodeEnd, NodeStart

__all__ = ["End", "Kind", "OpenStarts", "Opened", "Start", "ends", "starts"]

Kind = Literal["flow", "node", "item"]
"""What begins and ends."""

Start = FlowStart | NodeStart | ItemStart
End = FlowEnd | NodeEnd | ItemEnd

_STARTS: Final[dict[type[Event], Kind]] = {
    FlowStart: "flow",
    NodeStart: "node",
    ItemStart: "item",
}
_ENDS: Final[dict[type[Event], Kind]] = {FlowEnd: "flow", NodeEnd: "node", ItemEnd: "item"}


def starts(event: Event) -> Kind | None:
    """What the event starts, if anything."""
    return _STARTS.get(type(event))


def ends(event: Event) -> Kind | None:
    """What the event ends, if anything."""
    return _ENDS.get(type(event))


class Opened:
    """A start that is open.

    Attributes:
        event: Its start, or the first event that named it, where the start is missing.
        parent: What encloses it, or `None`.
        inside: What is open directly in it, by span, in the order in which it began.
    """

    __slots__ = ("event", "inside", "parent")

    def __init__(self, event: Event, parent: Any) -> None:
        self.event: Event = event
        self.parent: Any = parent
        self.inside: dict[int, Any] = {}

    @property
    def span(self) -> int:
        """The `seq` of its start."""
        return self.event.span

    @property
    def node(self) -> str:
        """The path of its node."""
        return self.event.node

    @property
    def items(self) -> tuple[int, ...]:
        """The items that it belongs to, outermost first; the last is its own, if it is one."""
        return self.event.items

    @property
    def step(self) -> int:
        """Which execution of its node it is."""
        return self.event.step

    @property
    def label(self) -> str:
        """What its node calls it, where it is an item."""
        return self.event.label if isinstance(self.event, ItemStart) else ""

    @property
    def began(self) -> bool:
        """Whether its start is known."""
        return type(self.event) in _STARTS

    @property
    def kind(self) -> Kind:
        """What it is; where its start is missing, what the first event of it looks like."""
        event = self.event
        guess: Kind = "node" if event.attempt else "flow"
        return starts(event) or ends(event) or guess


OpenedT = TypeVar("OpenedT", bound=Opened)


class OpenStarts(Generic[OpenedT]):
    """The starts of one run that are open.

    Args:
        make: Makes what is known of one, from its event and what encloses it: a class of `Opened`.

    Attributes:
        by_span: They, by the `seq` of their start, in the order in which they began.
    """

    __slots__ = ("_make", "by_span")

    def __init__(self, make: Callable[[Event, OpenedT | None], OpenedT]) -> None:
        self._make = make
        self.by_span: dict[int, OpenedT] = {}

    @property
    def root(self) -> OpenedT | None:
        """The run's own flow, where it is open."""
        for first in self.by_span.values():
            return first if not first.node and first.kind == "flow" else None
        return None

    def of(self, event: Event) -> OpenedT | None:
        """The open start that an event belongs to: the one that it ends, or in which it happens."""
        return self.by_span.get(event.span)

    def find(self, event: Event) -> OpenedT:
        """The same; where it is not open, the event opens it."""
        return self.by_span.get(event.span) or self.begin(event)

    def begin(self, event: Event) -> OpenedT:
        """Open what the event starts, or what it belongs to."""
        again = self.by_span.get(event.span)
        if again is not None:
            self.close(again)
        parent = self.by_span.get(getattr(event, "parent", 0)) or self.root
        opened = self.by_span[event.span] = self._make(event, parent)
        if parent is not None:
            parent.inside[event.span] = opened
        return opened

    def close(self, opened: OpenedT) -> list[OpenedT]:
        """Close one that is open, and what is open in it; returns all of these, it as the last.

        Each comes before what encloses it.
        """
        closed = [opened]
        for each in closed:  # it grows
            closed += each.inside.values()
            del self.by_span[each.span]
        if opened.parent is not None:
            opened.parent.inside.pop(opened.span, None)
        closed.reverse()
        return closed

    def close_all(self) -> list[OpenedT]:
        """Close all that are open, each before what encloses it."""
        closed = list(self.by_span.values())
        closed.reverse()
        self.by_span.clear()
        return closed
