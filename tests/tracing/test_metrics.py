"""Metrics, end to end, and without the extra."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from flowevents import BatchNode, Chunk, Event, Flow, Node, Run, StreamNode
from flowevents.events import EVENT_TYPES
from flowevents.observers import semconv
from flowevents.observers.traces import TraceObserver
from flowevents.testing import ManualClock
from tests.driving import driving
from tests.hostile import HOSTILE
from tests.tracing.spans import TREE, Endless, Inner, by_hand, graph, parents

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
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
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
        if each.key == "flowevents.span"
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
    } == {
        "flowevents.step.duration",
        "flowevents.step.time_to_first_chunk",
        semconv.INVOKE_AGENT_DURATION,
    }


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


def test_every_type_of_event_is_of_concern_but_progress() -> None:
    """A type that is added has to be thought of here."""
    heard = {kind.signal for kind in EVENT_TYPES if hasattr(TraceObserver, f"on_{kind.signal}")}
    assert {kind.signal for kind in EVENT_TYPES} - heard == {"progress"}
