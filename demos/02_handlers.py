"""Each handler hears what it asked for: one node, a class, a path, a whole flow, or everything."""

from collections.abc import Iterator
from typing import Any

from flowevents import Chunk, Flow, NodeStart, StreamNode, observe, on, signals
from flowevents.events import Action, FlowEnd


class Writer(StreamNode):
    words: tuple[str, ...] = ("one", "two")

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield from self.words


class Editor(Writer):
    words = ("three",)


writer, editor = Writer(), Editor()
writer >> editor
flow = Flow(writer)


@writer.on(Chunk)
def one_node(event: Chunk) -> None:
    print(f"  one node    {event.node}: {event.data}")


def a_class(event: Chunk) -> None:
    print(f"  a class     {event.node}: {event.data}")


def a_path(event: Chunk) -> None:
    print(f"  a path      {event.node}: {event.data}")


signals.chunk.connect(a_class, sender=Writer)  # and its subclasses
signals.chunk.connect(a_path, sender="Editor")


@on(NodeStart)
def everything(event: NodeStart) -> None:
    print(f"{event.node} begins")


class Watch:
    """Several signals at once: an object with `on_…` methods."""

    def on_action(self, event: Action) -> None:
        print(f"  an observer {event.node} -> {event.target}")

    def on_flow_end(self, event: FlowEnd) -> None:
        print(f"the flow is {event.status}")


with observe(Watch(), sender=flow):
    flow.run({})
