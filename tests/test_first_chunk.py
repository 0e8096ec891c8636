"""The time to the first chunk, and the rate of chunks: what a person and a retry take is not in."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from flowevents import Ask, Chunk, Event, Interrupt, Reply, Run, StreamNode
from flowevents.observers.display import Picture
from flowevents.observers.spans import read_spans
from flowevents.observers.timeline import timeline_svg
from flowevents.testing import ManualClock


class Answers(StreamNode):
    """Asks, fails, waits and streams, on the clock that it is given."""

    clock: ManualClock
    apart = 1.0

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        self.clock.advance(1)
        yield Ask("Who?")
        self.clock.advance(2)
        if self.cur_retry == 0:
            raise ValueError("not yet")
        yield "a"
        self.clock.advance(self.apart)
        yield "b"
        yield Ask("More?")
        self.clock.advance(self.apart)
        yield "c"


def recorded(apart: float = 1.0, max_retries: int = 2) -> list[Event]:
    """Its run, in which a person takes a hundred seconds for each answer."""
    node = Answers(max_retries=max_retries, wait=50)
    node.clock, node.apart = ManualClock(), apart
    run = Run(node, {}, clock=node.clock)
    heard: list[Event] = []
    while run.status in ("ready", "paused"):
        if run.status == "paused":
            node.clock.advance(100)
            run.reply("me")
        heard.extend(run)
    return heard


def shown(events: list[Event]) -> str:
    """What the display leaves on the screen."""
    screen = io.StringIO()
    Console(file=screen, width=120).print(Picture(events))
    return screen.getvalue()


def test_the_display() -> None:
    """From the attempt's beginning, of which the time for answers is no part; nor of the rate."""
    text = shown(recorded())
    assert "first 3.0s" in text
    assert "1.0 tok/s" in text
    assert "first 1" not in text


def test_the_pictures() -> None:
    """The same."""
    (run,) = read_spans(recorded())
    step = run.roots[0].children[0]
    assert [attempt.first.seconds for attempt in step.attempts] == [None, 3.0]
    assert "first chunk after 3" in timeline_svg(recorded())


def test_spans_and_metrics() -> None:
    """From the step's start, an attempt that failed included."""
    traces = pytest.importorskip("flowevents.observers.traces")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    measured = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    reader, ended = export.InMemoryMetricReader(), []

    class Keeps(sdk.SpanProcessor):  # type: ignore[name-defined]
        def on_end(self, span: Any) -> None:
            ended.append(span)

    tracers, meters = sdk.TracerProvider(), measured.MeterProvider([reader])
    tracers.add_span_processor(Keeps())
    observer = traces.TraceObserver(tracer_provider=tracers, meter_provider=meters)
    for event in recorded():
        observer(event)
    found = [dict(span.attributes).get("flowevents.time_to_first_chunk") for span in ended]
    assert sorted(each for each in found if each is not None) == [6.0]
    assert '"sum": 6.0' in re.sub(r'("sum": 6\.0)\d*', r"\1", reader.get_metrics_data().to_json())
    tracers.shutdown()
    meters.shutdown()


def test_a_question_that_expired() -> None:
    """Its time was the person's; what the node does afterwards is not."""
    start = recorded()[:2]
    base: dict[str, Any] = {"run_id": start[0].run_id, "span": 2, "node": "A", "attempt": 1}
    begin = start[1].time
    asked = Interrupt(**base, seq=3, time=begin + 1, id="q", prompt="?", expires=begin + 11)
    chunk = Chunk(**base, seq=4, time=begin + 13, data="a")
    for events in (
        [asked, chunk],
        [asked, Reply(**base, seq=4, time=begin + 11, id="q", value=1), chunk],
    ):
        (run,) = read_spans([*start, *events])
        assert run.roots[0].children[0].attempts[0].first.seconds == 3.0


@pytest.mark.parametrize(("apart", "told"), [(0.000_01, False), (0.09, False), (0.1, True)])
def test_what_came_at_once_has_no_rate(apart: float, told: bool) -> None:
    """Below 0.2 seconds it is no figure."""
    assert ("tok/s" in shown(recorded(apart))) == told
