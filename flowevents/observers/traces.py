"""Events as spans and metrics of OpenTelemetry; needs the extra `otel`.

The rules of this file:

* A start begins a span, its end ends it; the times are those of the events. The parent is the span
  of the enclosing start, looked up by run and `seq`, never the span that happens to be current.
  Only what has no enclosing start that was heard, as the run's own flow, takes the current one.
* Nothing is attached across events. `context` gives the engine a copy of the current context in
  which the step's span is the current one, and the engine runs that step's code in it.
* An end that is ok waits for its `Action`, which it takes along, and is ended at its own time.
* What is known of a run is dropped with the last of its spans. The end of its own flow ends all
  that are open, as those of a record with holes.
* Prompts, outputs, answers and errors' texts are told only with `content`; an error's type always.
* Each error is counted once: where it arose, not again in what encloses it.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from flowevents.errors import MissingExtra
from flowevents.escape import escape_controls
from flowevents.events import (
    Action,
    Chunk,
    Event,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeEnd,
    NodeStart,
    Reply,
    Retry,
)
from flowevents.observers import semconv
from flowevents.observers.fields import as_integer, as_text, fields_of

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
except ImportError as _missing:
    raise MissingExtra(
        "TraceObserver needs the package opentelemetry-api, which is not installed. "
        "Install the extra: pip install flowevents[otel]"
    ) from _missing

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TraceObserver"]

Attributes = dict[str, Any]

_MOST_TEXT: Final = 65_536  # characters of a step's output that its span tells
_SCOPE: Final = "flowevents"


class _Open:
    """A span that has not ended, and what came under it.

    Attributes:
        run, parent: The run, and the span of the enclosing start.
        name: Of the node, or of the flow.
        start: When it began, in ns; `began` the same in seconds.
        chunks, first, text: Of this attempt: how many, when the first came, and their texts.
        told: The attributes of a model's call that the node told.
        blamed: An error in it is counted already.
        ended: When its end came, in ns, while it waits for its `Action`.
    """

    __slots__ = (
        *("began", "blamed", "chunks", "ended", "first", "name"),
        *("parent", "run", "size", "span", "start", "text", "told"),
    )

    def __init__(
        self, run: _Run, span: trace.Span, name: str, began: float, parent: _Open | None
    ) -> None:
        self.run = run
        self.span = span
        self.name = name
        self.parent = parent
        self.began = began
        self.start = _nanoseconds(began)
        self.told: set[str] = set()
        self.blamed = False
        self.ended: int | None = None
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """Forget the chunks so far: they are void."""
        self.chunks = self.size = 0
        self.first: float | None = None
        self.text: list[str] = []

    def end(self, time: int | None) -> None:
        """End the span, not before it began."""
        if time is not None and self.start is not None:
            time = max(time, self.start)
        self.span.end(time)


class _Run:
    """What is open of a run, by the `seq` of its start; `flow` is the name of its own flow."""

    __slots__ = ("flow", "open")

    def __init__(self) -> None:
        self.flow = ""
        self.open: dict[int, _Open] = {}


class TraceObserver:
    """Traces and measures runs: `flow.run(shared, observers=[TraceObserver()])`.

    A run, each flow in it, each step and each batch item is a span; retries, questions and answers
    are events of it. Inside a node's code its span is the current one. Metrics are the durations of
    flows and steps, the times to the first chunk, and the errors. The names are in `semconv`.

    Args:
        content: Tell prompts, outputs, answers, actions and the texts of errors too.
        tracer_provider: Whose tracer is used; by default the global provider's.
        meter_provider: Whose meter is used; by default the global provider's.

    It may be used for any number of runs at once, in any threads. `close`, or leaving its `with`
    block, ends the spans that are still open, as after a record that stops in the middle.
    """

    def __init__(
        self,
        *,
        content: bool = False,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        release = version(_SCOPE)
        self._content = content
        self._runs: dict[str, _Run] = {}
        self._tracer = trace.get_tracer(_SCOPE, release, tracer_provider)
        meter = metrics.get_meter(_SCOPE, release, meter_provider)
        self._flow_seconds = _histogram(
            meter, semconv.INVOKE_AGENT_DURATION, "Duration of runs and nested flows."
        )
        self._step_seconds = _histogram(meter, semconv.STEP_DURATION, "Duration of steps.")
        self._first_chunk_seconds = _histogram(
            meter, semconv.STEP_FIRST_CHUNK, "From the start of a step or item to its first chunk."
        )
        self._errors = meter.create_counter(
            semconv.STEP_ERRORS, "{error}", "Attempts, steps, items and flows that failed."
        )

    def __call__(self, event: Event) -> None:
        """Take an event by hand, as from a list of them; those of no concern are ignored."""
        handler = getattr(self, f"on_{event.signal}", None)
        if handler is not None:
            handler(event)

    def context(self, event: Event) -> contextvars.Context | None:
        """A copy of the current context in which the span of that start event is current."""
        found = self._find(event)
        if found is None:
            return None
        context = contextvars.copy_context()
        context.run(otel_context.attach, trace.set_span_in_context(found.span))
        return context

    def close(self) -> None:
        """End every span that is open, now."""
        for run_id in list(self._runs):
            self._drop(run_id, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- starts -------------------------------------------------------------------------------

    def on_flow_start(self, event: FlowStart) -> None:
        """Begin the span of a run or of a nested flow."""
        if not event.node:  # one that is left under this id did not end
            self._drop(event.run_id, _nanoseconds(event.time))
        flow = _line(event.flow)
        told = {semconv.OPERATION_NAME: semconv.INVOKE_WORKFLOW, semconv.AGENT_NAME: flow}
        if event.metadata:
            fields = fields_of(event, one_line=False)
            told |= semconv.told(fields["metadata"], content=self._content)
        self._begin(event, f"{semconv.INVOKE_WORKFLOW} {flow}", flow, told)
        if not event.node:
            self._runs[event.run_id].flow = flow

    def on_node_start(self, event: NodeStart) -> None:
        """Begin the span of a step."""
        name = _line(event.node)
        self._begin(event, name, name, {})

    def on_item_start(self, event: ItemStart) -> None:
        """Begin the span of a batch item."""
        run = self._runs.get(event.run_id)
        name = _line(event.node) or (run.flow if run else "")
        own = {} if event.total is None else {semconv.TOTAL: as_integer(event.total)}
        self._begin(event, f"item {name}", name, own)

    def _begin(
        self, event: FlowStart | NodeStart | ItemStart, title: str, name: str, own: Attributes
    ) -> None:
        run = self._runs.setdefault(event.run_id, _Run())
        parent = run.open.get(event.parent)
        attributes: Attributes = {
            semconv.RUN_ID: _line(event.run_id),
            semconv.SPAN: as_integer(event.seq),
            semconv.NODE: _line(event.node),
            semconv.STEP: as_integer(event.step),
        }
        if event.items:
            attributes[semconv.ITEMS] = [as_integer(index) for index in event.items]
        span = self._tracer.start_span(
            title,
            None if parent is None else trace.set_span_in_context(parent.span),
            attributes=attributes | own,
            start_time=_nanoseconds(event.time),
        )
        again = run.open.pop(event.seq, None)
        if again is not None:  # a record that holds it twice
            again.end(_nanoseconds(event.time))
        run.open[event.seq] = _Open(run, span, name, event.time, parent)

    # -- what comes between -------------------------------------------------------------------

    def on_chunk(self, event: Chunk) -> None:
        """Count a chunk, or take what a node tells of its step."""
        found = self._find(event)
        if found is None:
            return
        if event.kind == semconv.KIND:
            if isinstance(event.data, Mapping):
                fields = fields_of(event, one_line=False)
                told = semconv.told(fields["data"], content=self._content)
                found.told.update(told)
                found.span.set_attributes(told)
        elif event.kind == "output":
            found.chunks += 1
            if found.first is None:
                found.first = event.time
            if self._content and isinstance(event.data, str) and found.size < _MOST_TEXT:
                found.size += len(event.data)
                found.text.append(event.data)

    def on_retry(self, event: Retry) -> None:
        """Note that an attempt failed and is followed by another."""
        found = self._find(event)
        if found is None:
            return
        kind = semconv.error_type(event.error)
        told: Attributes = {
            semconv.RETRY_ATTEMPT: as_integer(event.attempt),
            semconv.RETRY_WAIT: event.wait,
            semconv.RETRY_FALLBACK: event.fallback,
            semconv.RETRY_VOID: found.chunks,
            semconv.ERROR_TYPE: kind,
        }
        if self._content:
            told[semconv.EXCEPTION_MESSAGE] = escape_controls(event.error)
        found.span.add_event(semconv.RETRY, told, _nanoseconds(event.time))
        found.begin_attempt()
        self._count_error(found, kind)

    def on_interrupt(self, event: Interrupt) -> None:
        """Note that a question is asked."""
        texts = {"prompt": semconv.QUESTION_PROMPT, "choices": semconv.QUESTION_CHOICES}
        self._note(event, event.id, semconv.INTERRUPT, texts)

    def on_reply(self, event: Reply) -> None:
        """Note that a question is answered."""
        self._note(event, event.id, semconv.REPLY, {"value": semconv.QUESTION_ANSWER})

    def _note(self, event: Event, question: str, name: str, texts: Mapping[str, str]) -> None:
        found = self._find(event)
        if found is None:
            return
        told: Attributes = {semconv.QUESTION_ID: _line(question)}
        if self._content:
            fields = fields_of(event, one_line=False)
            told |= {
                name: as_text(fields[field])
                for field, name in texts.items()
                if fields[field] is not None
            }
        found.span.add_event(name, told, _nanoseconds(event.time))

    # -- ends ---------------------------------------------------------------------------------

    def on_item_end(self, event: ItemEnd) -> None:
        """End the span of a batch item."""
        found = self._end(event)
        if found is not None:
            self._forget(event, found, _nanoseconds(event.time))

    def on_node_end(self, event: NodeEnd) -> None:
        """End the span of a step: where it is ok, with its `Action`."""
        found = self._end(event)
        if found is None:
            return
        labels = _labels(found) | {semconv.STATUS: event.status} | _error_label(event)
        self._step_seconds.record(_seconds(event.duration), labels)
        self._forget_later(event, found)

    def on_flow_end(self, event: FlowEnd) -> None:
        """End the span of a flow; of the run's own one with all that is still open in the run."""
        found = self._end(event)
        if found is not None:
            labels = {
                semconv.OPERATION_NAME: semconv.INVOKE_WORKFLOW,
                semconv.AGENT_NAME: found.name,
                **_error_label(event),
            }
            self._flow_seconds.record(_seconds(event.duration), labels)
            if self._content and event.action is not None:
                found.span.set_attribute(semconv.ACTION, _line(event.action))
            self._forget_later(event, found)
        if not event.node:
            self._drop(event.run_id, _nanoseconds(event.time))

    def on_action(self, event: Action) -> None:
        """Note the transition of a step that is ok, and let its span go."""
        found = self._find(event)
        if found is None or found.ended is None:
            return
        if event.target is not None:
            found.span.set_attribute(semconv.TARGET, _line(event.target))
        if event.action is not None and (self._content or event.target is not None):
            found.span.set_attribute(semconv.ACTION, _line(event.action))
        self._forget(event, found, found.ended)

    def _end(self, event: FlowEnd | NodeEnd | ItemEnd) -> _Open | None:
        """Tell the span how it ended."""
        found = self._find(event)
        if found is None:
            return None
        span = found.span
        told: Attributes = {semconv.STATUS: event.status}
        if event.attempt:
            told[semconv.ATTEMPTS] = as_integer(event.attempt)
        if found.first is not None:
            waited = max(0.0, found.first - found.began)
            told |= {semconv.CHUNKS: found.chunks, semconv.FIRST_CHUNK: waited}
            if found.told:
                told[semconv.TIME_TO_FIRST_CHUNK] = waited
            self._first_chunk_seconds.record(waited, _labels(found))
        if found.text and semconv.OUTPUT_MESSAGES not in found.told:
            text = escape_controls("".join(found.text)[:_MOST_TEXT])
            told[semconv.OUTPUT_MESSAGES] = semconv.output_messages(text, event.status)
        if event.error is not None:
            told |= _error_label(event)
            self._tell_error(event, span, event.error)
        span.set_attributes(told)
        if event.status == "error":
            description = escape_controls(event.error or "") if self._content else None
            span.set_status(trace.StatusCode.ERROR, description)
            if not found.blamed:
                self._count_error(found, semconv.error_type(event.error or ""))
            if found.parent is not None:
                found.parent.blamed = True
        return found

    def _tell_error(self, event: Event, span: trace.Span, error: str) -> None:
        told = {semconv.EXCEPTION_TYPE: semconv.error_type(error)}
        if self._content:
            told[semconv.EXCEPTION_MESSAGE] = escape_controls(error)
        span.add_event(semconv.EXCEPTION, told, _nanoseconds(event.time))

    # -- what is open -------------------------------------------------------------------------

    def _find(self, event: Event) -> _Open | None:
        run = self._runs.get(event.run_id)
        return None if run is None else run.open.get(event.span)

    def _forget_later(self, event: FlowEnd | NodeEnd, found: _Open) -> None:
        found.ended = _nanoseconds(event.time)
        if event.status != "ok" or not event.node or found.ended is None:
            self._forget(event, found, found.ended)

    def _forget(self, event: Event, found: _Open, time: int | None) -> None:
        found.end(time)
        found.run.open.pop(event.span, None)
        if not found.run.open:
            self._runs.pop(event.run_id, None)

    def _drop(self, run_id: str, time: int | None) -> None:
        """End what is open in a run, innermost first."""
        run = self._runs.pop(run_id, None)
        for found in reversed(run.open.values()) if run else ():
            found.end(time if found.ended is None else found.ended)

    def _count_error(self, found: _Open, kind: str) -> None:
        self._errors.add(1, _labels(found) | {semconv.ERROR_TYPE: kind})


def _histogram(meter: metrics.Meter, name: str, description: str) -> metrics.Histogram:
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=semconv.SECONDS
    )


# -- attributes -------------------------------------------------------------------------------


def _labels(found: _Open) -> Attributes:
    """What the metrics of a step have in common."""
    return {semconv.FLOW: found.run.flow, semconv.NODE: found.name}


def _error_label(event: FlowEnd | NodeEnd | ItemEnd) -> Attributes:
    return {} if event.error is None else {semconv.ERROR_TYPE: semconv.error_type(event.error)}


def _line(text: str) -> str:
    return escape_controls(text, one_line=True)


# -- time -------------------------------------------------------------------------------------


def _nanoseconds(time: float) -> int | None:
    """Seconds since the epoch in nanoseconds; `None`, which is now, for what is no time."""
    return int(time * 1e9) if 0 <= time < 2**63 / 1e9 else None


def _seconds(duration: float) -> float:
    return duration if 0 <= duration < math.inf else 0.0
