"""Where spans go in these tests, and what is read of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flowevents import (
    BatchNode,
    Event,
    Flow,
    FlowEnd,
    FlowStart,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    StreamNode,
)
from flowevents.observers.traces import TraceObserver
from tests.driving import Driver
from tests.stock import Items
from tests.tables import sizes


class Balance(InMemorySpanExporter):
    """An exporter in memory that knows of spans that began too."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[Span] = []

    def open(self) -> list[str]:
        """The names of the spans that have not ended."""
        return [span.name for span in self.begun if span.end_time is None]

    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in the order in which they began."""
        return sorted(
            self.get_finished_spans(), key=lambda span: attribute(span, "flowevents.span")
        )

    def tree(self) -> list[str]:
        """Their names, each below its parent's, indented, in the order in which they began."""
        spans = sorted(self.get_finished_spans(), key=lambda span: span.start_time or 0)
        ids = {id_of(span): span for span in spans}

        def depth(span: ReadableSpan) -> int:
            parent = ids.get(span.parent.span_id) if span.parent else None
            return 0 if parent is None else 1 + depth(parent)

        return [f"{'  ' * depth(span)}{span.name}" for span in spans]


class _Begun(SimpleSpanProcessor):
    def __init__(self, exporter: Balance) -> None:
        super().__init__(exporter)
        self._exporter = exporter

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self._exporter.begun.append(span)


def attribute(span: ReadableSpan, name: str) -> Any:
    """One of its attributes."""
    return (span.attributes or {}).get(name)


def id_of(span: ReadableSpan) -> int:
    """Its id in its trace."""
    return span.get_span_context().span_id  # type: ignore[union-attr]


class Plan(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "one "
        yield "two"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        return "go"


class Each(BatchNode):
    def prep(self, shared: Any) -> Any:
        return "ab"

    def exec(self, item: Any) -> Any:
        return item


class Inner(Flow):
    pass


def graph(driver: Driver) -> Any:
    """A flow of a streaming node, a nested flow of a batch, and a batch flow of one node."""
    plan, inner, items = Plan(), Inner(Each()), Items(Node())
    plan - "go" >> inner >> items
    return driver.flow(plan)


TREE = [
    "invoke_workflow {flow}",
    "  Plan",
    "  invoke_workflow Inner",
    "    Inner/Each",
    "      item Inner/Each",
    "      item Inner/Each",
    "  invoke_workflow Items",
    "    item Items",
    "      Items/Node",
    "    item Items",
    "      Items/Node",
]


def parents(seen: list[Event]) -> dict[tuple[str, int], int]:
    """Each start's parent, by run and number."""
    starts = [event for event in seen if isinstance(event, FlowStart | NodeStart | ItemStart)]
    return {(event.run_id, event.seq): event.parent for event in starts}


def by_hand(*events: Event) -> list[Event]:
    """Those between the starts and the ends of a run of one step."""
    common: dict[str, Any] = {"run_id": "r1", "time": 1.0}
    step: dict[str, Any] = {**common, "node": "Ask", "step": 1, "span": 2}
    return [
        FlowStart(seq=1, span=1, node="", parent=0, flow="Ask", **common),
        NodeStart(seq=2, attempt=1, parent=1, **step),
        *events,
        NodeEnd(seq=8, attempt=1, status="ok", duration=1.0, **step),
        FlowEnd(seq=9, span=1, node="", status="ok", duration=1.0, **common),
    ]


class Endless(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1


def changed(event: Event, **fields: Any) -> Any:
    """The event with other fields."""
    own = {name: getattr(event, name) for name in event.__struct_fields__}
    return type(event)(**own | fields)


def kept(observer: TraceObserver) -> dict[str, int]:
    """The tables in which an observer holds more than a new one does, and how much."""
    new = sizes({"observer": TraceObserver()}, "flowevents.observers")
    now = sizes({"observer": observer}, "flowevents.observers")
    return {name: size for name, size in now.items() if size > new.get(name, 0)}
