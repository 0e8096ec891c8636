"""TraceObserver: spans and metrics as OpenTelemetry's own SDK exports them."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    Reply,
    Run,
    RunCancelled,
    StreamNode,
    observe,
    signals,
)
from flowevents.events import EVENT_TYPES
from flowevents.observers import semconv
from flowevents.observers.traces import TraceObserver
from flowevents.testing import ManualClock
from tests.driving import Driver, driving, in_thread
from tests.hostile import CONTROLS, HOSTILE
from tests.test_logs import hostile_events


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
        return sorted(self.get_finished_spans(), key=lambda span: attribute(span, semconv.SPAN))

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


def trace_of(span: ReadableSpan) -> int:
    """The id of its trace."""
    return span.get_span_context().trace_id  # type: ignore[union-attr]


@pytest.fixture
def spans() -> Balance:
    """Where the spans of these tests go."""
    return Balance()


@pytest.fixture
def provider(spans: Balance) -> TracerProvider:
    """The SDK's provider, whose spans go there."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Begun(spans))
    return provider


@pytest.fixture
def reader() -> InMemoryMetricReader:
    """Where the metrics of these tests are read."""
    return InMemoryMetricReader()


@pytest.fixture
def tracing(provider: TracerProvider, reader: InMemoryMetricReader) -> TraceObserver:
    """An observer that tells no texts."""
    meters = MeterProvider([reader], shutdown_on_exit=False)
    return TraceObserver(tracer_provider=provider, meter_provider=meters)


@pytest.fixture
def telling(provider: TracerProvider) -> TraceObserver:
    """An observer that tells texts too."""
    return TraceObserver(content=True, tracer_provider=provider)


@pytest.fixture(autouse=True)
def _nothing_is_complained_of(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Neither OpenTelemetry, as of a span that is ended twice, nor the engine has a complaint."""
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []


# -- the graph ------------------------------------------------------------------------------------


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


class Items(BatchFlow):
    def prep(self, shared: Any) -> Any:
        return [{"n": 1}, {"n": 2}]


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


def test_a_run_is_a_tree_of_spans(driver: Driver, tracing: TraceObserver, spans: Balance) -> None:
    """Of the run, each flow, each step and each item, in one trace."""
    driver.run(graph(driver), {}, observers=[tracing], id="r1")
    flow = "Flow" if driver.loop is None else "AsyncFlow"
    assert spans.tree() == [line.format(flow=flow) for line in TREE]
    assert len({trace_of(span) for span in spans.spans()}) == 1
    assert spans.open() == []
    assert tracing._runs == {}


def parents(seen: list[Event]) -> dict[tuple[str, int], int]:
    """Each start's parent, by run and number."""
    starts = [event for event in seen if isinstance(event, FlowStart | NodeStart | ItemStart)]
    return {(event.run_id, event.seq): event.parent for event in starts}


def traced(spans: Balance) -> dict[tuple[str, int], int]:
    """Each span's parent, both by the number of their start events."""
    ids = {id_of(span): attribute(span, semconv.SPAN) for span in spans.spans()}
    return {
        (attribute(span, semconv.RUN_ID), attribute(span, semconv.SPAN)): (
            ids[span.parent.span_id] if span.parent else 0
        )
        for span in spans.spans()
    }


class Ask(AsyncNode):
    async def exec_async(self, prep_res: Any) -> None:
        await asyncio.sleep(0)
        with trace.get_tracer("test").start_as_current_span("not exported"):
            await asyncio.sleep(0)


class Many(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return range(3)

    async def exec_async(self, item: Any) -> Any:
        await asyncio.sleep(0)
        return item


class Passes(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return [{}, {}]


def test_a_thousand_concurrent_runs_are_a_thousand_trees(
    tracing: TraceObserver, spans: Balance
) -> None:
    """Through one observer, in one loop, with parallel items: none meets another's span."""

    async def main(seen: list[Event]) -> None:
        ask, passes = Ask(), Passes(Ask())
        ask >> Many() >> passes
        with observe(tracing), observe(seen.append):
            await asyncio.gather(*(AsyncFlow(ask).run_async({}) for _ in range(1_000)))

    seen: list[Event] = []
    asyncio.run(main(seen))
    assert traced(spans) == parents(seen)
    roots = [span for span in spans.spans() if span.parent is None]
    assert len(roots) == len({trace_of(span) for span in roots}) == 1_000
    by_trace = {(trace_of(s), attribute(s, semconv.RUN_ID)) for s in spans.spans()}
    assert len(by_trace) == 1_000
    assert (spans.open(), tracing._runs) == ([], {})


def test_runs_in_threads_are_trees_of_their_own(tracing: TraceObserver, spans: Balance) -> None:
    """One observer in eight threads."""
    seen: list[Event] = []
    with driving("sync") as driver, observe(tracing), observe(seen.append):
        threads = [
            threading.Thread(target=lambda: [graph(driver).run({}) for _ in range(20)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert traced(spans) == parents(seen)
    assert len({trace_of(span) for span in spans.spans()}) == 160


# -- the current span -----------------------------------------------------------------------------


def current() -> int:
    """The id of the current span, 0 for none."""
    return trace.get_current_span().get_span_context().span_id


class Looking:
    """Notes the current span in each part of a node, under its name."""

    def prep(self, shared: Any) -> Any:
        self.found = shared
        shared.append(("prep", current()))

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.append(("post", current()))


class Look(Looking, Node):
    def exec(self, prep_res: Any) -> None:
        self.found.append(("exec", current()))
        if self.cur_retry == 0:
            raise ValueError("again")

    def exec_fallback(self, prep_res: Any, exc: Exception) -> None:
        self.found.append(("fallback", current()))


class LookStream(Looking, StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[int]:
        for n in range(3):
            self.found.append((f"chunk {n}", current()))
            yield n


class LookBatch(Looking, BatchNode):
    def prep(self, shared: Any) -> Any:
        super().prep(shared)
        return "ab"

    def exec(self, item: Any) -> None:
        self.found.append((f"item {item}", current()))


@pytest.mark.parametrize(
    ("node", "parts"),
    [
        (Look(), ["prep", "exec", "fallback", "post"]),
        (Look(max_retries=2), ["prep", "exec", "exec", "post"]),
        (LookStream(), ["prep", "chunk 0", "chunk 1", "chunk 2", "post"]),
        (LookBatch(), ["prep", "item a", "item b", "post"]),
    ],
    ids=["node", "retry", "stream", "batch"],
)
@pytest.mark.parametrize("pulled", [False, True], ids=["pushed", "pulled"])
def test_the_span_of_a_step_is_current_in_its_code(
    driver: Driver, tracing: TraceObserver, spans: Balance, node: Any, parts: Any, pulled: bool
) -> None:
    """In all of it, that of the item where there is one; and nowhere else."""
    found: list[tuple[str, int]] = []
    outside: list[int] = []
    run = Run(driver.flow(node), found, observers=[tracing, lambda _: outside.append(current())])
    driver.pull(run) if pulled else driver.wait(run)
    assert [part for part, _ in found] == parts
    ids = {id_of(span): span for span in spans.spans()}
    for part, span_id in found:
        expected = part[5:] if part.startswith("item") else None
        assert attribute(ids[span_id], semconv.NODE) == type(node).__name__
        items = attribute(ids[span_id], semconv.ITEMS)
        assert items == (None if expected is None else ("ab".index(expected),))
    assert set(outside) == {0}
    assert current() == 0


class LookAsync(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[int]:
        before = current()
        yield before
        await asyncio.sleep(0)
        yield current()

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared += exec_res


class LookParallel(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return range(5)

    async def exec_async(self, item: int) -> tuple[int, int, int]:
        before = current()
        await asyncio.sleep(0)
        inner = await asyncio.create_task(self.look())
        assert inner == before
        return item, before, current()

    async def look(self) -> int:
        return current()

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared += exec_res


def test_it_is_current_in_async_code(tracing: TraceObserver, spans: Balance) -> None:
    """Before and after an await, in tasks of its own, in each parallel item its own."""
    streamed: list[int] = []
    asyncio.run(LookAsync().run_async(streamed, observers=[tracing]))
    step = spans.spans()[-1]
    assert streamed == [id_of(step)] * 2
    spans.clear()
    found: list[tuple[int, int, int]] = []
    asyncio.run(LookParallel().run_async(found, observers=[tracing]))
    items = {attribute(s, semconv.ITEMS): id_of(s) for s in spans.spans() if s.name[:4] == "item"}
    assert found == [(n, items[(n,)], items[(n,)]) for n in range(5)]


def test_a_run_is_a_child_of_the_span_around_it(
    driver: Driver, tracing: TraceObserver, provider: TracerProvider, spans: Balance
) -> None:
    """As of a request to a server, and so is a run inside of a node."""

    class Outer(Node):
        def exec(self, prep_res: Any) -> None:
            Plan().run({})

    async def inside() -> None:
        with provider.get_tracer("test").start_as_current_span("request"):
            await Outer().run_async({})

    with observe(tracing):
        if driver.loop is None:
            with provider.get_tracer("test").start_as_current_span("request"):
                Outer().run({})
        else:
            driver.in_loop(inside())
    assert spans.tree() == [
        "request",
        "  invoke_workflow Outer",
        "    Outer",
        "      invoke_workflow Plan",
        "        Plan",
    ]


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.headers_seen.append(self.headers["traceparent"])  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hello() -> Iterator[Any]:
    """A server on loopback that says "hi" and notes the headers of its callers' traces."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as server:
        server.headers_seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_spans_of_an_instrumented_client_are_children_of_the_step(
    tracing: TraceObserver, provider: TracerProvider, spans: Balance, hello: Any
) -> None:
    """Of httpx, sync, async and in parallel; and the server gets the same trace."""
    url = f"http://127.0.0.1:{hello.server_address[1]}/"

    class Get(Node):
        def exec(self, prep_res: Any) -> str:
            with httpx.Client() as client:
                HTTPXClientInstrumentor.instrument_client(client, provider)
                return str(client.get(url).text)

    class GetAll(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(3)

        async def exec_async(self, item: Any) -> str:
            async with httpx.AsyncClient() as client:
                HTTPXClientInstrumentor.instrument_client(client, provider)
                return str((await client.get(url)).text)

    get = Get()
    get >> GetAll()
    asyncio.run(AsyncFlow(get).run_async({}, observers=[tracing]))
    in_thread(lambda: Get().run({}, observers=[tracing]))
    ids = {id_of(span): span for span in spans.get_finished_spans()}
    calls = [span for span in ids.values() if span.name == "GET"]
    assert [ids[call.parent.span_id].name for call in calls if call.parent] == [
        "Get",
        *["item GetAll"] * 3,
        "Get",
    ]
    assert len({call.parent.span_id for call in calls if call.parent}) == 5
    sent = {header.split("-")[2] for header in hello.headers_seen}
    assert sent == {f"{id_of(call):016x}" for call in calls}


# -- what a span tells ----------------------------------------------------------------------------


class Fail(StreamNode):
    """Fails twice; then the third attempt fails too."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "secret chunk"
        raise ValueError("secret reason")


def told(span: ReadableSpan) -> str:
    """Everything that it says."""
    return str(span.to_json())


def test_a_failure_is_told_without_its_text(
    driver: Driver, tracing: TraceObserver, spans: Balance
) -> None:
    """The error's type, on the step and what encloses it; retries and the exception as events."""
    with pytest.raises(ValueError, match="secret"):
        driver.run(driver.flow(Fail(max_retries=2)), {}, observers=[tracing])
    root, step = spans.spans()
    for span in (root, step):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert attribute(span, semconv.ERROR_TYPE) == "ValueError"
        assert attribute(span, semconv.STATUS) == "error"
    retry, exception = step.events
    assert (retry.name, exception.name) == ("flowevents.retry", "exception")
    assert dict(retry.attributes or {}) == {
        "flowevents.retry.attempt": 1,
        "flowevents.retry.wait": 0.0,
        "flowevents.retry.fallback": False,
        "flowevents.retry.void_chunks": 1,
        "error.type": "ValueError",
    }
    assert dict(exception.attributes or {}) == {"exception.type": "ValueError"}
    assert attribute(step, semconv.ATTEMPTS) == 2
    assert attribute(step, semconv.CHUNKS) == 1
    assert "secret" not in told(root) + told(step)


def test_texts_are_told_when_asked_for(
    driver: Driver, telling: TraceObserver, spans: Balance
) -> None:
    """Errors, and the output of a step that streams, in the form of the conventions."""
    with pytest.raises(ValueError, match="secret"):
        driver.run(driver.flow(Fail(max_retries=2)), {}, observers=[telling])
    root, step = spans.spans()
    assert root.status.description == step.status.description == "ValueError: secret reason"
    assert [(event.attributes or {})["exception.message"] for event in step.events] == [
        "ValueError: secret reason"
    ] * 2
    assert json.loads(attribute(step, semconv.OUTPUT_MESSAGES)) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "secret chunk"}],
            "finish_reason": "error",
        }
    ]


def test_a_step_tells_its_place_and_its_way(
    driver: Driver, tracing: TraceObserver, spans: Balance
) -> None:
    """Run, node, items, status, and the transition that was taken."""
    driver.run(graph(driver), {}, observers=[tracing], id="r1")
    root, plan, inner, each, item, *_, last = spans.spans()
    assert dict(plan.attributes or {}) | {semconv.FIRST_CHUNK: 0} == {
        "flowevents.run.id": "r1",
        "flowevents.span": 2,
        "flowevents.node": "Plan",
        "flowevents.step": 1,
        "flowevents.status": "ok",
        "flowevents.attempts": 1,
        "flowevents.chunks": 2,
        "flowevents.time_to_first_chunk": 0,
        "flowevents.target": "Inner",
        "flowevents.action": "go",
    }
    assert attribute(root, "gen_ai.operation.name") == "invoke_workflow"
    assert attribute(inner, "gen_ai.agent.name") == "Inner"
    assert attribute(inner, semconv.TARGET) == "Items"
    assert attribute(each, semconv.TARGET) is attribute(each, semconv.ACTION) is None
    assert attribute(item, semconv.ITEMS) == (0,)
    assert attribute(item, semconv.TOTAL) == 2
    assert attribute(last, semconv.ITEMS) == (1,)
    assert {span.kind for span in spans.spans()} == {trace.SpanKind.INTERNAL}
    assert {span.status.status_code for span in spans.spans()} == {StatusCode.UNSET}
    scope = plan.instrumentation_scope
    assert scope is not None
    assert scope.name == "flowevents"


def test_an_action_that_leads_nowhere_may_be_a_text(
    tracing: TraceObserver, telling: TraceObserver, spans: Balance
) -> None:
    """It is told when asked for only; one that leads somewhere is a label of the graph."""

    class Say(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            return "whatever a model says"

    Say().run({}, observers=[tracing])
    assert "whatever" not in "".join(map(told, spans.spans()))
    spans.clear()
    Say().run({}, observers=[telling])
    assert [attribute(span, semconv.ACTION) for span in spans.spans()] == [
        "whatever a model says"
    ] * 2


def test_times_are_those_of_the_events(spans: Balance, tracing: TraceObserver) -> None:
    """Of the run's clock, also the time to the first chunk, which starts with the step."""
    clock = ManualClock(1_000.0)

    class Slow(StreamNode):
        def prep(self, shared: Any) -> None:
            clock.advance(1)

        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            clock.advance(2)
            if self.cur_retry == 0:
                yield "void"
                raise ValueError
            yield "a"
            clock.advance(4)
            yield "b"

    Slow(max_retries=2, wait=8).run({}, observers=[tracing], clock=clock)
    root, step = spans.spans()
    assert (step.start_time, step.end_time) == (1_000 * 10**9, 1_017 * 10**9)
    assert (root.start_time, root.end_time) == (step.start_time, step.end_time)
    assert attribute(step, semconv.FIRST_CHUNK) == 13.0
    assert attribute(step, semconv.CHUNKS) == 2
    assert step.events[0].timestamp == 1_003 * 10**9


def test_a_node_tells_of_its_model(
    tracing: TraceObserver, telling: TraceObserver, spans: Balance
) -> None:
    """By a chunk of the kind `gen_ai`; what may hold texts only when asked for."""

    class Model(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "Hi"
            self.emit(
                {
                    "gen_ai.request.model": "m1",
                    "gen_ai.usage.input_tokens": 12,
                    "gen_ai.response.finish_reasons": ["stop"],
                    "server.address": "localhost",
                    "gen_ai.input.messages": [{"role": "user", "parts": []}],
                    "gen_ai.request.seed": None,
                    "password": "x",
                },
                kind="gen_ai",
            )
            self.emit("no mapping", kind="gen_ai")
            self.emit("a thought", kind="thought")

    plain = {
        "gen_ai.request.model": "m1",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.response.finish_reasons": ("stop",),
        "server.address": "localhost",
    }
    names = (*plain, "gen_ai.input.messages", "password", "gen_ai.request.seed")
    metadata = {"gen_ai.conversation.id": "c1", "user": "me"}
    Model().run({}, observers=[tracing], metadata=metadata)
    root, step = spans.spans()
    found = dict(step.attributes or {})
    assert {name: found[name] for name in names if name in found} == plain
    assert found["gen_ai.response.time_to_first_chunk"] == found[semconv.FIRST_CHUNK]
    assert found[semconv.CHUNKS] == 1
    assert attribute(root, "gen_ai.conversation.id") == "c1"
    assert "user" not in (root.attributes or {})
    spans.clear()
    Model().run({}, observers=[telling])
    step = spans.spans()[1]
    assert json.loads(attribute(step, "gen_ai.input.messages")) == [{"role": "user", "parts": []}]
    assert json.loads(attribute(step, "gen_ai.output.messages"))[0]["finish_reason"] == "stop"
    assert "password" not in (step.attributes or {})


def test_what_a_node_says_was_its_output_is_told_instead(
    telling: TraceObserver, spans: Balance
) -> None:
    """Its own messages are not replaced by what it streamed."""

    class Model(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "part"
            self.emit({"gen_ai.output.messages": "mine"}, kind="gen_ai")

    Model().run({}, observers=[telling])
    assert attribute(spans.spans()[1], "gen_ai.output.messages") == "mine"


def test_a_long_output_is_cut(telling: TraceObserver, spans: Balance) -> None:
    """So that neither a span nor what is kept meanwhile grows without bounds."""

    class Long(StreamNode):
        keep_chunks = False

        def exec_stream(self, prep_res: Any) -> Iterator[Any]:
            for _ in range(100):
                yield "x" * 1_000
            yield {"not": "text"}

    Long().run({}, observers=[telling])
    step = spans.spans()[1]
    (message,) = json.loads(attribute(step, semconv.OUTPUT_MESSAGES))
    assert message["parts"][0]["content"] == "x" * 65_536
    assert attribute(step, semconv.CHUNKS) == 101


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


def test_questions_and_answers_are_events_of_the_step(
    tracing: TraceObserver, telling: TraceObserver, spans: Balance
) -> None:
    """With their id, and when asked for with their texts."""
    step: dict[str, Any] = {"run_id": "r1", "time": 1.0, "node": "Ask", "step": 1, "span": 2}
    asked = by_hand(
        Interrupt(seq=3, id="q1", prompt="Ship it?", choices=["yes", 1], **step),
        Reply(seq=4, id="q1", value="yes", **step),
        Interrupt(seq=5, id="q2", prompt={"a": 1}, **step),
        Reply(seq=6, id="q2", value=2, **step),
    )
    for event in asked:
        tracing(event)
    noted = [(event.name, dict(event.attributes or {})) for event in spans.spans()[1].events]
    assert noted == [
        ("flowevents.interrupt", {"flowevents.question.id": "q1"}),
        ("flowevents.reply", {"flowevents.question.id": "q1"}),
        ("flowevents.interrupt", {"flowevents.question.id": "q2"}),
        ("flowevents.reply", {"flowevents.question.id": "q2"}),
    ]
    spans.clear()
    for event in asked:
        telling(event)
    texts = [dict(event.attributes or {}) for event in spans.spans()[1].events]
    for each in texts:
        del each["flowevents.question.id"]
    assert texts == [
        {"flowevents.question.prompt": "Ship it?", "flowevents.question.choices": '["yes",1]'},
        {"flowevents.question.answer": "yes"},
        {"flowevents.question.prompt": '{"a":1}'},
        {"flowevents.question.answer": "2"},
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("ValueError: no", "ValueError"),
        ("ValueError", "ValueError"),
        ("Érreur: é", "Érreur"),
        ("[redact failed]", "_OTHER"),
        ("a text without a type", "_OTHER"),
        ("ValueError:no", "_OTHER"),
        ("", "_OTHER"),
    ],
)
def test_the_type_of_an_error_is_its_class(error: str, kind: str) -> None:
    """`_OTHER` where what redacts has left none, so that no text is taken for one."""
    assert semconv.error_type(error) == kind


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_escaped(text: str, telling: TraceObserver, spans: Balance) -> None:
    """In names, attributes and events; and an exporter can send it."""
    common: dict[str, Any] = {"run_id": "r", "time": 1.0}
    for event in by_hand(*hostile_events(text)):
        telling(changed(event, run_id="r1", span=2) if event.node == text else event)
    telling(FlowEnd(seq=99, span=1, node="", status="ok", duration=1.0, **common))
    telling.close()
    said = "".join(
        f"{span.name}{[*(span.attributes or {}).items()]}{span.status.description}"
        f"{[(event.name, *(event.attributes or {}).items()) for event in span.events]}"
        for span in spans.get_finished_spans()
    )
    assert not CONTROLS & set(said)
    for span in spans.get_finished_spans():
        span.to_json().encode()


# -- cancelled, abandoned, torn -------------------------------------------------------------------


class Endless(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1


def test_a_cancelled_run_leaves_nothing_open(
    driver: Driver, tracing: TraceObserver, spans: Balance
) -> None:
    """Its spans say that they were cancelled, which is no error."""
    run = Run(driver.flow(Inner(Endless())), {}, observers=[tracing])
    driver.pull(run, 6)
    run.cancel()
    if driver.loop is not None:
        driver.close(run)
    assert {attribute(span, semconv.STATUS) for span in spans.spans()} == {"cancelled"}
    assert {span.status.status_code for span in spans.spans()} == {StatusCode.UNSET}
    assert (len(spans.spans()), spans.open(), tracing._runs) == (3, [], {})


def test_a_run_that_cancels_itself_leaves_nothing_open(
    driver: Driver, tracing: TraceObserver, spans: Balance
) -> None:
    """In the middle of its code."""

    class Stop(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[int]:
            run.cancel()
            yield 1

    run = Run(driver.flow(Stop()), {}, observers=[tracing])
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert (len(spans.spans()), spans.open(), tracing._runs) == (2, [], {})


def test_an_abandoned_stream_leaves_nothing_open(
    driver: Driver, tracing: TraceObserver, spans: Balance
) -> None:
    """Dropped with its last reference."""
    stream = driver.stream(driver.flow(Endless()), {}, observers=[tracing])
    assert driver.next(stream) == 0
    assert len(spans.open()) == 2
    del stream
    gc.collect()
    driver.settle()
    assert (len(spans.spans()), spans.open(), tracing._runs) == (2, [], {})


def test_a_cancelled_task_leaves_nothing_open(tracing: TraceObserver, spans: Balance) -> None:
    """With parallel items under way."""

    class Wait(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(10)

        async def exec_async(self, item: Any) -> None:
            if item == 9:
                begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()

    async def main() -> None:
        task = asyncio.create_task(Wait().run_async({}, observers=[tracing]))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (len(spans.spans()), spans.open(), tracing._runs) == (12, [], {})


def recorded() -> list[Event]:
    """The events of a run with all kinds of spans."""
    seen: list[Event] = []
    with driving("sync") as driver:
        graph(driver).run({}, observers=[seen.append], id="r1")
    return seen


def described(spans: Balance) -> list[Any]:
    """What was exported, without the ids that are drawn anew."""
    return [
        (span.name, span.start_time, span.end_time, dict(span.attributes or {}))
        for span in spans.get_finished_spans()
    ]


def test_a_replay_gives_the_same_spans(tracing: TraceObserver, spans: Balance) -> None:
    """Live, from a list, and sent through the signals."""
    seen: list[Event] = []
    with driving("sync") as driver:
        graph(driver).run({}, observers=[seen.append, tracing])
    live = described(spans)
    spans.clear()
    for event in seen:
        tracing(event)
    assert described(spans) == live
    spans.clear()
    with observe(tracing):
        for event in seen:
            getattr(signals, event.signal).send(event)
    assert described(spans) == live


def test_any_part_of_a_record_will_do(tracing: TraceObserver, spans: Balance) -> None:
    """Without its beginning, its end or an event in the middle: nothing raises or stays."""
    seen = recorded()
    parts = [seen[:n] for n in range(len(seen))]
    parts += [seen[n:] for n in range(len(seen))]
    parts += [seen[:n] + seen[n + 1 :] for n in range(len(seen))]
    parts += [seen[::-1], seen + seen, [event for event in seen for _ in range(2)]]
    for part in parts:
        for event in part:
            tracing(event)
            tracing.context(event)
        tracing.close()
        assert (spans.open(), tracing._runs) == ([], {})


def test_the_end_of_a_run_ends_what_is_left(tracing: TraceObserver, spans: Balance) -> None:
    """Of a record with holes, at the time of that end; and a second replay does not mix."""
    seen = [event for event in recorded() if not isinstance(event, NodeEnd)]
    for event in seen:
        tracing(event)
    assert (spans.open(), tracing._runs) == ([], {})
    last = int(seen[-1].time * 1e9)
    assert {span.end_time for span in spans.spans() if span.name == "Plan"} == {last}
    for event in (*seen[:-1], *seen):
        tracing(event)
    assert (spans.open(), tracing._runs) == ([], {})


def test_a_node_alone_may_be_traced(tracing: TraceObserver, spans: Balance) -> None:
    """Its steps are children of the span around the run; nothing of the run stays."""
    with driving("sync") as driver, observe(tracing, sender="Inner/Each"):
        for _ in range(3):
            graph(driver).run({})
    assert spans.tree() == ["Inner/Each", "  item Inner/Each", "  item Inner/Each"] * 3
    assert tracing._runs == {}


def test_times_that_are_none_do_not_raise(tracing: TraceObserver, spans: Balance) -> None:
    """As of a record that something else has written."""
    for time in (float("nan"), float("inf"), -1.0, 1e300):
        for event in by_hand():
            tracing(changed(event, time=time))
    tracing(changed(by_hand()[0], seq=2**70, span=2**70, items=(2**70,)))
    tracing.close()
    assert spans.open() == []


def test_an_observer_that_came_late_gives_no_context(tracing: TraceObserver) -> None:
    """A step whose start it has not heard has no span."""
    assert tracing.context(by_hand()[1]) is None


def test_it_works_where_no_sdk_is_set_up() -> None:
    """The API alone does nothing, and says nothing."""
    observer = TraceObserver()
    with driving("sync") as driver:
        graph(driver).run({}, observers=[observer])
    assert observer._runs == {}


def changed(event: Event, **fields: Any) -> Any:
    """The event with other fields."""
    own = {name: getattr(event, name) for name in event.__struct_fields__}
    return type(event)(**own | fields)


# -- metrics --------------------------------------------------------------------------------------


def points(reader: InMemoryMetricReader) -> dict[str, list[tuple[dict[str, Any], Any]]]:
    """Each metric's points: their attributes, and the sum or the value."""
    data = reader.get_metrics_data()
    found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found[f"{metric.name} [{metric.unit}]"] = [
                    (
                        dict(point.attributes or {}),
                        getattr(point, "sum", None) or getattr(point, "value", 0),
                    )
                    for point in metric.data.data_points
                ]
    return found


def test_metrics_of_steps_flows_and_first_chunks(
    tracing: TraceObserver, reader: InMemoryMetricReader
) -> None:
    """Durations in seconds, by flow and node; the bounds of the buckets are for seconds."""
    clock = ManualClock()

    class Slow(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            clock.advance(2)
            yield "a"
            clock.advance(3)

    Slow().run({}, observers=[tracing], clock=clock)
    labels = {"flowevents.flow": "Slow", "flowevents.node": "Slow"}
    assert points(reader) == {
        "flowevents.step.time_to_first_chunk [s]": [(labels, 2.0)],
        "flowevents.step.duration [s]": [({**labels, "flowevents.status": "ok"}, 5.0)],
        "gen_ai.invoke_agent.duration [s]": [
            ({"gen_ai.operation.name": "invoke_workflow", "gen_ai.agent.name": "Slow"}, 5.0)
        ],
    }
    data = reader.get_metrics_data()
    assert data is not None
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    bounds = {metric.data.data_points[0].explicit_bounds for metric in metrics}  # type: ignore[union-attr]
    assert bounds == {semconv.SECONDS}


def test_each_error_is_counted_once(tracing: TraceObserver, reader: InMemoryMetricReader) -> None:
    """Where it arose: each attempt, not what encloses it; a cancelled step is none."""

    class Bad(BatchNode):
        def prep(self, shared: Any) -> Any:
            return "a"

        def exec(self, item: Any) -> None:
            raise KeyError(item)

    class BadPost(Flow):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            raise ValueError("no")

    with pytest.raises(KeyError):
        Flow(Inner(Bad(max_retries=3))).run({}, observers=[tracing])
    with pytest.raises(ValueError, match="no"):
        BadPost(Node()).run({}, observers=[tracing])
    run = Run(Endless(), {}, observers=[tracing])
    for event in run:
        if isinstance(event, Chunk):
            run.cancel()
            break
    errors = points(reader)["flowevents.step.errors [{error}]"]
    assert errors == [
        (
            {
                "flowevents.flow": "Flow",
                "flowevents.node": "Inner/Bad",
                "error.type": "KeyError",
            },
            3,
        ),
        (
            {
                "flowevents.flow": "BadPost",
                "flowevents.node": "BadPost",
                "error.type": "ValueError",
            },
            1,
        ),
    ]
    ends = points(reader)["flowevents.step.duration [s]"]
    assert [(each["flowevents.status"], each.get("error.type")) for each, _ in ends] == [
        ("error", "KeyError"),
        ("ok", None),
        ("cancelled", None),
    ]


# -- end to end -----------------------------------------------------------------------------------


class _Collector(BaseHTTPRequestHandler):
    """Takes OTLP/HTTP with protobuf, as a collector does."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        traces = self.path == "/v1/traces"
        kind: Any = ExportTraceServiceRequest if traces else ExportMetricsServiceRequest
        self.server.requests.append(kind.FromString(body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_spans_and_metrics_reach_a_collector() -> None:
    """Over HTTP on loopback, decoded from what came: the run's tree, and its metrics."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        server.requests = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/traces")))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{url}/metrics"))
        meters = MeterProvider([reader], shutdown_on_exit=False)
        tracing = TraceObserver(content=True, tracer_provider=tracers, meter_provider=meters)
        seen: list[Event] = []
        with driving("sync") as driver:
            graph(driver).run({}, observers=[seen.append, tracing], id="r1")
        for text in HOSTILE.values():
            for event in by_hand(Chunk(run_id="r1", seq=3, time=1.0, span=2, node="", data=text)):
                tracing(event)
        tracers.shutdown()
        meters.shutdown()
        server.shutdown()
        thread.join()
    requests = server.requests  # type: ignore[attr-defined]
    traces = [each for each in requests if isinstance(each, ExportTraceServiceRequest)]
    sent = [
        span
        for each in traces
        for resource in each.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert len(sent) == len(parents(seen)) + 2 * len(HOSTILE)
    run = sent[: len(parents(seen))]
    assert len({span.trace_id for span in run}) == 1
    numbers = {
        span.span_id: each.value.int_value
        for span in run
        for each in span.attributes
        if each.key == semconv.SPAN
    }
    found = {numbers[s.span_id]: numbers.get(s.parent_span_id, 0) for s in run}
    assert found == {seq: parent for (_, seq), parent in parents(seen).items()}
    assert sorted(span.name for span in run) == sorted(
        line.format(flow="Flow").strip() for line in TREE
    )
    assert {
        metric.name
        for each in requests
        if isinstance(each, ExportMetricsServiceRequest)
        for resource in each.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    } == {semconv.STEP_DURATION, semconv.STEP_FIRST_CHUNK, semconv.INVOKE_AGENT_DURATION}


# -- without the extra ----------------------------------------------------------------------------


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path) -> None:
    """An `ImportError`, also of a kind of our own; everything else can be imported."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "import flowevents, flowevents.observers\n"
        "import flowevents.observers.logs, flowevents.observers.jsonlines\n"
        "import flowevents.observers.semconv\n"
        "try:\n"
        "    from flowevents.observers.traces import TraceObserver\n"
        "except ImportError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == (
        "MissingExtra TraceObserver needs the package opentelemetry-api, which is not installed. "
        "Install the extra: pip install flowevents[otel]\n"
    )


def test_the_conventions_are_named_with_their_version() -> None:
    """In the one module that holds their names."""
    assert semconv.GENAI_VERSION in (semconv.__doc__ or "")
    assert semconv.SEMCONV_VERSION in (semconv.__doc__ or "")


def test_every_type_of_event_is_of_concern_but_progress() -> None:
    """A type that is added has to be thought of here."""
    heard = {kind.signal for kind in EVENT_TYPES if hasattr(TraceObserver, f"on_{kind.signal}")}
    assert {kind.signal for kind in EVENT_TYPES} - heard == {"progress"}
