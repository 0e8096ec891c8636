"""Nodes that are heard, and handlers that remember."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from flowevents import ANY, BatchNode, Chunk, Event, Flow, Node, NodeEnd, Run, StreamNode, signals
from flowevents.events import EVENT_TYPES
from flowevents.signals import EventSignal
from tests.stock import Talk

SIGNALS: list[EventSignal[Any]] = [getattr(signals, kind.signal) for kind in EVENT_TYPES]


Drive = Callable[..., Any]


async def wait_async(flow: Any, **options: Any) -> Any:
    """Run it to its end in this loop."""
    return await Run(flow, {}, **options).wait_async()


def run_async(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a loop of its own; one that hangs is an error."""
    return asyncio.run(asyncio.wait_for(work, 20))


class Shout(Talk):
    """A subclass."""


class Hum(StreamNode):
    """Another class."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "m"


class Mute(Node):
    """Streams nothing."""


class Heard(list[Any]):
    """A handler that remembers what it was called with."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    @property
    def data(self) -> list[Any]:
        return [event.data for event in self if isinstance(event, Chunk)]

    @property
    def nodes(self) -> list[str]:
        return [event.node for event in self]

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self]


def graph() -> tuple[Flow, dict[str, tuple[Any, Callable[[Event], bool]]]]:
    """A flow, and senders in it: the object, and whether it sends an event."""
    talk, shout = Talk(), Shout()
    inner = Flow(shout)
    talk >> inner
    outer = Flow(talk)
    talks, shouts = {"Talk"}, {"Flow/Shout"}
    nested = {"Flow", *shouts}
    return outer, {
        "everything": (ANY, lambda event: True),
        "node": (talk, lambda event: event.node in talks),
        "inner node": (shout, lambda event: event.node in shouts),
        "class": (Talk, lambda event: event.node in talks | shouts),
        "subclass": (Shout, lambda event: event.node in shouts),
        "base class": (Node, lambda event: event.node in talks | shouts),
        "flow": (outer, lambda event: True),
        "inner flow": (inner, lambda event: event.node in nested),
        "flow class": (Flow, lambda event: event.node in {"", "Flow"}),
        "path": ("Talk", lambda event: event.node in talks),
        "inner path": ("Flow/Shout", lambda event: event.node in shouts),
        "other path": ("Shout", lambda event: False),
        "other node": (Talk(), lambda event: False),
    }


def chunk(data: Any, node: str = "Talk", run_id: str = "r") -> Chunk:
    """A chunk of that node and run."""
    return Chunk(run_id=run_id, seq=3, time=0.0, span=2, node=node, data=data)


class Appender:
    """A handler that can be held weakly."""

    def __init__(self, data: list[Any]) -> None:
        self.data = data

    def __call__(self, event: Chunk) -> None:
        self.data.append(event.data)


class Display:
    """An observer of two signals."""

    def __init__(self) -> None:
        self.heard = Heard()

    def on_chunk(self, event: Chunk) -> None:
        self.heard(event)

    def on_node_end(self, event: NodeEnd) -> None:
        self.heard(event)


class Counting(StreamNode):
    """Streams the numbers up to five, and calls what it was given before each."""

    def __init__(self, before: Callable[[int], object] = lambda number: None) -> None:
        super().__init__()
        self.before = before

    def exec_stream(self, prep_res: Any) -> Iterator[int]:
        for number in range(5):
            self.before(number)
            yield number


class Batch(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 2]

    def exec(self, prep_res: Any) -> Any:
        self.emit(prep_res)
        return prep_res


def everything() -> Flow:
    """A flow with a stream, a nested flow and a batch."""
    talk = Talk()
    talk >> Flow(Batch()) >> Hum()
    return Flow(talk)


place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


class Tracer:
    """Gives each node and item a context in which `place` says where it is."""

    def __init__(self) -> None:
        self.asked = Heard()

    def context(self, event: Event) -> contextvars.Context | None:
        self.asked(event)
        made = contextvars.copy_context()
        made.run(place.set, f"{event.node}{list(event.items)}" if event.items else event.node)
        return made
