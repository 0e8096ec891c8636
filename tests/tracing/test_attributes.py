"""What a span tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from flowevents import (
    BatchNode,
    FlowEnd,
    Interrupt,
    Node,
    NodeEnd,
    Reply,
    StreamNode,
    observe,
    signals,
)
from flowevents.observers import semconv
from flowevents.observers.traces import TraceObserver
from flowevents.testing import ManualClock
from tests.driving import Driver
from tests.hostile import CONTROLS, HOSTILE
from tests.test_logs import hostile_events
from tests.tracing.spans import Balance, Plan, attribute, by_hand, changed, graph


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
        assert attribute(span, "flowevents.status") == "error"
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
    assert attribute(step, "flowevents.attempts") == 2
    assert attribute(step, "flowevents.chunks") == 1
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
    assert dict(plan.attributes or {}) | {"flowevents.time_to_first_chunk": 0} == {
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
    assert attribute(inner, "flowevents.target") == "Items"
    assert attribute(each, "flowevents.target") is attribute(each, "flowevents.action") is None
    assert attribute(item, "flowevents.items") == (0,)
    assert attribute(item, "flowevents.total") == 2
    assert attribute(last, "flowevents.items") == (1,)
    assert {span.kind for span in spans.spans()} == {trace.SpanKind.INTERNAL}
    assert {span.status.status_code for span in spans.spans()} == {StatusCode.UNSET}
    scope = plan.instrumentation_scope
    assert scope is not None
    assert scope.name == "flowevents"


def test_labels_of_items_are_told_when_asked_for(
    tracing: TraceObserver, telling: TraceObserver, spans: Balance
) -> None:
    """They may name what a person has sent."""

    class Each(BatchNode):
        def prep(self, shared: Any) -> Any:
            return "ab"

        def item_label(self, item: Any) -> str:
            return f"file\n{item}"

    for observer, expected in ((tracing, [None] * 2), (telling, ["file\\na", "file\\nb"])):
        Each().run({}, observers=[observer])
        assert [attribute(span, "flowevents.label") for span in spans.spans()[2:]] == expected
        spans.clear()


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
    assert [attribute(span, "flowevents.action") for span in spans.spans()] == [
        "whatever a model says"
    ] * 2


def test_times_are_those_of_the_events(spans: Balance, tracing: TraceObserver) -> None:
    """Of the run's clock, also the time to the first chunk: from the step's start, no wait."""
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
    assert attribute(step, "flowevents.time_to_first_chunk") == 5.0
    assert attribute(step, "flowevents.chunks") == 2
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
    assert found["gen_ai.response.time_to_first_chunk"] == found["flowevents.time_to_first_chunk"]
    assert found["flowevents.chunks"] == 1
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
    assert attribute(step, "flowevents.chunks") == 101


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


# -- what a step gets and gives -------------------------------------------------------------------


class Double(Node):
    def prep(self, shared: Any) -> Any:
        return shared["number"]

    def exec(self, number: int) -> int:
        return 2 * number

    def post(self, shared: Any, number: int, doubled: int) -> None:
        if doubled > 8:
            raise ValueError(str(doubled))


class DoubleAll(BatchNode):
    def prep(self, shared: Any) -> Any:
        return [shared["number"], "secret"]

    def exec(self, item: Any) -> Any:
        return item * 2


def test_every_node_tells_what_it_gets_and_gives_when_asked_for(
    driver: Driver, tracing: TraceObserver, telling: TraceObserver, spans: Balance
) -> None:
    """`prep_res` and `exec_res`, whether it streams or not, without an option of the run."""
    for observer in (tracing, telling):
        double = Double()
        double >> DoubleAll() >> Plan()
        driver.run(driver.flow(double), {"number": 4}, observers=[observer])
    found = [
        (span.name, attribute(span, "flowevents.prep_res"), attribute(span, "flowevents.exec_res"))
        for span in sorted(spans.get_finished_spans(), key=lambda span: span.start_time or 0)
        if span.name in ("Double", "DoubleAll", "Plan")
    ]
    assert found == [
        *[(name, None, None) for name in ("Double", "DoubleAll", "Plan")],
        ("Double", "4", "8"),
        ("DoubleAll", '[4,"secret"]', '[8,"secretsecret"]'),
        ("Plan", None, '["one ","two"]'),
    ]


def test_a_step_that_failed_tells_what_it_got(
    driver: Driver, telling: TraceObserver, spans: Balance
) -> None:
    """The more so."""
    with pytest.raises(ValueError, match="18"):
        driver.run(driver.flow(Double()), {"number": 9}, observers=[telling])
    step = spans.spans()[1]
    assert attribute(step, "flowevents.prep_res") == "9"
    assert attribute(step, "flowevents.exec_res") is None
    with pytest.raises(KeyError):
        driver.run(driver.flow(Double()), {}, observers=[telling])
    assert attribute(spans.spans()[-1], "flowevents.prep_res") is None


def test_what_is_told_is_redacted(telling: TraceObserver, spans: Balance) -> None:
    """As all that leaves a run."""
    DoubleAll().run({"number": 1}, observers=[telling], redact=lambda value: "[gone]")
    step = spans.spans()[1]
    assert (
        attribute(step, "flowevents.prep_res") == attribute(step, "flowevents.exec_res") == "[gone]"
    )


def test_a_shared_observer_captures_while_it_is_connected(
    driver: Driver, telling: TraceObserver
) -> None:
    """And only what it listens to."""
    double, other = Double(), Double()
    double >> other
    flow = driver.flow(double)
    ends: list[NodeEnd] = []
    with signals.node_end.connected_to(ends.append):
        with observe(telling, sender=double):
            driver.run(flow, {"number": 1})
        driver.run(flow, {"number": 1})
    assert [(event.input, event.result) for event in ends] == [(1, 2), *[(None, None)] * 3]


@pytest.mark.parametrize(
    "metadata", [{"session.id": "s1", "user.id": 7}, {"session_id": "s1", "user_id": 7}]
)
def test_every_span_says_whose_it_is(
    metadata: dict[str, Any], driver: Driver, tracing: TraceObserver, spans: Balance
) -> None:
    """The session and the user that the run's metadata name."""
    driver.run(graph(driver), {}, observers=[tracing], metadata=metadata)
    told = {(attribute(span, "session.id"), attribute(span, "user.id")) for span in spans.spans()}
    assert told == {("s1", "7")}
