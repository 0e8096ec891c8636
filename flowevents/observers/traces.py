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
* Prompts, outputs, answers, labels and errors' texts are told only with `content`; an error's type
  always.
* Each error is counted once: where it arose, not again in what encloses it.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final, Self

from flowevents import events as ev
from flowevents.errors import MissingExtra
from flowevents.escape import escape_controls
from flowevents.events import Event
from flowevents.observers import semconv
from flowevents.observers.fields import as_integer, as_text, fields_of
from flowevents.observers.metrics import Metrics
from flowevents.observers.traced import Attempt, Traced, TracedRun, nanoseconds
from flowevents.opened import End, Start
from flowevents.plain import text_in

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
except ImportError as _missing:
    raise MissingExtra(
        "TraceObserver needs the package opentelemetry-api, which is not installed. "
        "Install the extra: pip install flowevents[otel]"
    ) from _missing

__all__ = ["TraceObserver"]

Attributes = dict[str, Any]

_MOST_TEXT: Final = 65_536  # characters of a step's output that its span tells
_SCOPE: Final = "flowevents"


class TraceObserver:
    """Traces and measures runs: `flow.run(shared, observers=[TraceObserver()])`.

    A run, each flow in it, each step and each batch item is a span; retries, questions and answers
    are events of it. Inside a node's code its span is the current one. Metrics are the durations of
    flows and steps, the times to the first chunk, and the errors.

    Args:
        content: Tell prompts, outputs, answers, actions and the texts of errors too, and what each
            node's `prep` and `exec` return. (So the runs that it hears are captured.)
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
        self._content: bool = content
        self.captures: bool = content
        self._runs: dict[str, TracedRun] = {}
        self._tracer = trace.get_tracer(_SCOPE, release, tracer_provider)
        self._metrics = Metrics(metrics.get_meter(_SCOPE, release, meter_provider))

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
        context.run(otel_context.attach, trace.set_span_in_context(found.otel))
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

    def on_flow_start(self, event: ev.FlowStart) -> None:
        """Begin the span of a run or of a nested flow."""
        flow = _line(event.flow)
        metadata = fields_of(event, one_line=False)["metadata"] if event.metadata else {}
        if not event.node:
            self._drop(event.run_id, nanoseconds(event.time))  # one of that id that did not end
            self._runs[event.run_id] = TracedRun(flow, semconv.whose(metadata))
        told = {semconv.OPERATION_NAME: semconv.INVOKE_WORKFLOW, semconv.AGENT_NAME: flow}
        told |= semconv.told(metadata, content=self._content)
        self._begin(event, f"{semconv.INVOKE_WORKFLOW} {flow}", flow, told)

    def on_node_start(self, event: ev.NodeStart) -> None:
        """Begin the span of a step."""
        name = _line(event.node)
        self._begin(event, name, name, {})

    def on_item_start(self, event: ev.ItemStart) -> None:
        """Begin the span of a batch item."""
        run = self._runs.get(event.run_id)
        name = _line(event.node) or (run.flow if run else "")
        own: Attributes = {}
        if event.total is not None:
            own["flowevents.total"] = as_integer(event.total)
        if event.label and self._content:
            own["flowevents.label"] = _line(event.label)
        self._begin(event, f"item {name}", name, own)

    def _begin(
        self,
        event: Start,
        title: str,
        name: str,
        own: Attributes,
    ) -> None:
        run = self._runs.setdefault(event.run_id, TracedRun())
        time = nanoseconds(event.time)
        again = run.open.of(event)
        for each in () if again is None else run.open.close(again):  # the record holds it twice
            each.end(time)
        attributes: Attributes = {
            "flowevents.run.id": _line(event.run_id),
            "flowevents.span": as_integer(event.seq),
            "flowevents.node": _line(event.node),
            "flowevents.step": as_integer(event.step),
        }
        if event.items:
            attributes["flowevents.items"] = [as_integer(index) for index in event.items]
        opened = run.open.begin(event)
        opened.run, opened.name, opened.otel = run, name, trace.INVALID_SPAN
        opened.otel = self._tracer.start_span(
            title,
            None if opened.parent is None else trace.set_span_in_context(opened.parent.otel),
            attributes=attributes | run.whose | own,
            start_time=time,
        )

    # -- what comes between -------------------------------------------------------------------

    def on_chunk(self, event: ev.Chunk) -> None:
        """Count a chunk, or take what a node tells of its step."""
        found = self._find(event)
        if found is None:
            return
        if event.kind == semconv.KIND:
            if isinstance(event.data, Mapping):
                fields = fields_of(event, one_line=False)
                told = semconv.told(fields["data"], content=self._content)
                found.told.update(told)
                found.otel.set_attributes(told)
        elif event.kind == "output":
            attempt = found.attempt
            attempt.chunks += 1
            attempt.first.take(event)
            text = text_in(event.data) if self._content and attempt.size < _MOST_TEXT else None
            if text is not None:
                attempt.size += len(text)
                attempt.text.append(text)

    def on_retry(self, event: ev.Retry) -> None:
        """Note that an attempt failed and is followed by another."""
        found = self._find(event)
        if found is None:
            return
        kind = semconv.error_type(event.error)
        told: Attributes = {
            "flowevents.retry.attempt": as_integer(event.attempt),
            "flowevents.retry.wait": event.wait,
            "flowevents.retry.fallback": event.fallback,
            "flowevents.retry.void_chunks": found.attempt.chunks,
            semconv.ERROR_TYPE: kind,
        }
        if self._content:
            told[semconv.EXCEPTION_MESSAGE] = escape_controls(event.error)
        found.otel.add_event("flowevents.retry", told, nanoseconds(event.time))
        found.attempt = Attempt(found.attempt.first)  # the chunks so far are void
        found.attempt.first.take(event)
        self._metrics.failed(kind, found.labels)

    def on_interrupt(self, event: ev.Interrupt) -> None:
        """Note that a question is asked."""
        self._note(event, event.id, prompt="prompt", choices="choices")

    def on_reply(self, event: ev.Reply) -> None:
        """Note that a question is answered."""
        self._note(event, event.id, answer="value")

    def _note(self, event: Event, question: str, **texts: str) -> None:
        """Note what is of a question, with these fields under these names."""
        found = self._find(event)
        if found is None:
            return
        found.attempt.first.take(event)
        told: Attributes = {"flowevents.question.id": _line(question)}
        if self._content:
            fields = fields_of(event, one_line=False)
            for name, field in texts.items():
                if fields[field] is not None:
                    told[f"flowevents.question.{name}"] = as_text(fields[field])
        found.otel.add_event(f"flowevents.{event.signal}", told, nanoseconds(event.time))

    # -- ends ---------------------------------------------------------------------------------

    def on_item_end(self, event: ev.ItemEnd) -> None:
        """End the span of a batch item."""
        self._end(event)

    def on_node_end(self, event: ev.NodeEnd) -> None:
        """End the span of a step: where it is ok, with its `Action`."""
        found = self._end(event)
        if found is not None:
            self._metrics.step_ended(event, found.labels)

    def on_flow_end(self, event: ev.FlowEnd) -> None:
        """End the span of a flow; of the run's own one with all that is still open in the run."""
        found = self._end(event)
        if found is not None:
            self._metrics.flow_ended(event, found.name)
        if not event.node:
            self._drop(event.run_id, nanoseconds(event.time))

    def on_action(self, event: ev.Action) -> None:
        """Note the transition of a step that is ok, and let its span go."""
        run = self._runs.get(event.run_id)
        found = None if run is None else run.late.pop(event.span, None)
        if run is None or found is None:
            return
        if event.target is not None:
            found.otel.set_attribute("flowevents.target", _line(event.target))
        if event.action is not None and (self._content or event.target is not None):
            found.otel.set_attribute("flowevents.action", _line(event.action))
        found.end(None)
        self._forget(event.run_id, run)

    def _end(self, event: End) -> Traced | None:
        """Tell the span how it ended, and end it, now or with its `Action`."""
        found = self._find(event)
        if found is None:
            return None
        self._tell_end(event, found)
        run, time = found.run, nanoseconds(event.time)
        for each in run.open.close(found)[:-1]:  # the record lacks their ends
            each.end(time)
        waits = event.status == "ok" and event.node and not isinstance(event, ev.ItemEnd)
        if waits and time is not None:
            found.ended = time
            run.late[event.span] = found
        else:
            found.end(time)
            self._forget(event.run_id, run)
        return found

    def _tell_end(self, event: End, found: Traced) -> None:
        span, attempt = found.otel, found.attempt
        told: Attributes = {"flowevents.status": event.status}
        if event.attempt:
            told["flowevents.attempts"] = as_integer(event.attempt)
        waited = attempt.first.seconds
        if waited is not None:
            told |= {"flowevents.chunks": attempt.chunks, "flowevents.time_to_first_chunk": waited}
            if found.told:
                told[semconv.TIME_TO_FIRST_CHUNK] = waited
            self._metrics.first_chunk.record(waited, found.labels)
        if attempt.text and semconv.OUTPUT_MESSAGES not in found.told:
            text = escape_controls("".join(attempt.text)[:_MOST_TEXT])
            told[semconv.OUTPUT_MESSAGES] = semconv.output_messages(text, event.status)
        if self._content and isinstance(event, ev.NodeEnd):
            fields = fields_of(event, one_line=False)
            for name, given in (("prep_res", fields["input"]), ("exec_res", fields["result"])):
                if given is not None:
                    told[f"flowevents.{name}"] = as_text(given)[:_MOST_TEXT]
        if self._content and isinstance(event, ev.FlowEnd) and event.action is not None:
            told["flowevents.action"] = _line(event.action)
        if event.error is not None:
            kind = told[semconv.ERROR_TYPE] = semconv.error_type(event.error)
            about: Attributes = {semconv.EXCEPTION_TYPE: kind}
            if self._content:
                about[semconv.EXCEPTION_MESSAGE] = escape_controls(event.error)
            span.add_event(semconv.EXCEPTION, about, nanoseconds(event.time))
        span.set_attributes(told)
        if event.status == "error":
            description = escape_controls(event.error or "") if self._content else None
            span.set_status(trace.StatusCode.ERROR, description)
            if not found.blamed:
                self._metrics.failed(semconv.error_type(event.error or ""), found.labels)
            if found.parent is not None:
                found.parent.blamed = True

    # -- what is open -------------------------------------------------------------------------

    def _find(self, event: Event) -> Traced | None:
        run = self._runs.get(event.run_id)
        return None if run is None else run.open.of(event)

    def _forget(self, run_id: str, run: TracedRun) -> None:
        if not (run.open.by_span or run.late):
            self._runs.pop(run_id, None)

    def _drop(self, run_id: str, time: int | None) -> None:
        """End what is open in a run, innermost first."""
        run = self._runs.pop(run_id, None)
        if run is not None:
            for each in (*run.late.values(), *run.open.close_all()):
                each.end(time)


def _line(text: str) -> str:
    return escape_controls(text, one_line=True)
