"""A run pauses at a question, and goes on where it stood."""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from typing import Any

import pytest

from flowevents import (
    Ask,
    Chunk,
    Event,
    Flow,
    FlowEnd,
    Interrupt,
    Paused,
    Reply,
    Run,
    RunCancelled,
    RunStateError,
    StreamNode,
    signals,
)
from flowevents.testing import check_events
from tests.asking.answering import pause
from tests.asking.askers import Asks, Make, asks
from tests.driving import PATIENCE, Driver, Seen, in_thread, status_of

# -- a run pauses, and goes on where it stood -----------------------------------------------------


def test_a_run_pauses_and_goes_on_where_it_stood(driver: Driver, make: Make) -> None:
    """The code before the question is not run again."""
    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(driver.flow(make("Ship it?")), shared, observers=[seen])
    paused = pause(driver, run)
    (asked,) = run.interrupts
    assert seen.events[-1] == asked
    assert (asked.prompt, asked.choices, asked.schema, asked.expires) == (
        *("Ship it?", None, None),
        None,
    )
    for part in (run.id, make.__name__, "Ship it?", repr(asked.id), ".run.reply"):
        assert part in str(paused)
    seen.check()
    assert run.reply("yes") is None  # type: ignore[func-returns-value]
    assert (status_of(run), run.interrupts) == ("paused", ())
    assert shared["log"] == ["begun"]
    assert driver.wait(run) == "yes"
    assert shared == {"log": ["begun", "yes", "left"], "answers": [["yes"]]}
    (replied,) = seen.of(Reply)
    assert (replied.id, replied.value, replied.span) == (asked.id, "yes", asked.span)
    assert seen.kinds().index("Reply") == seen.kinds().index("Interrupt") + 1
    seen.check()


def test_two_loops_over_a_run(driver: Driver, make: Make) -> None:
    """The first ends with the question, the second begins with the reply; no number is missing."""
    shared: dict[str, Any] = {}
    run = Run(driver.flow(make("a", "b")), shared)
    pulled = driver.pull(run)
    for answer in (1, 2):
        assert isinstance(pulled[-1], Interrupt)
        assert run.status == "paused"
        check_events(pulled)
        run.reply(answer)
        pulled += driver.pull(run)
    check_events(pulled)
    assert status_of(run) == "done"
    assert isinstance(pulled[-1], FlowEnd)
    assert shared["log"] == ["begun", 1, 2, "left"]
    with pytest.raises(RunStateError, match="done"):
        driver.pull(run)


def test_a_loop_that_is_left_at_the_question(driver: Driver, make: Make) -> None:
    """Whoever breaks there may answer at once, and go on in another loop or without."""
    for rest in (driver.pull, driver.wait):
        shared: dict[str, Any] = {}
        run = Run(driver.flow(make()), shared)
        driver.each(run, lambda event: isinstance(event, Interrupt))
        assert status_of(run) == "running"
        run.reply(5)
        rest(run)
        assert shared["answers"] == [[5]]


def test_a_reply_inside_the_loops_body(driver: Driver, make: Make) -> None:
    """The run does not pause then."""
    shared: dict[str, Any] = {}
    run = Run(driver.flow(make("a", "b")), shared)
    events: list[Event] = []

    def body(event: Event) -> None:
        events.append(event)
        if isinstance(event, Interrupt):
            run.reply(event.prompt.upper(), event.id)

    driver.each(run, body)
    assert shared["answers"] == [["A", "B"]]
    check_events(events)


def test_a_run_that_is_driven_without_an_answer_pauses_again(driver: Driver, make: Make) -> None:
    """Nothing is asked twice."""
    seen = Seen()
    run = Run(driver.flow(make()), {}, observers=[seen])
    for _ in range(3):
        pause(driver, run)
        assert driver.pull(run) == []
        assert status_of(run) == "paused"
    assert len(seen.of(Interrupt)) == 1
    run.reply(None)
    driver.wait(run)


def test_a_run_that_pauses_while_it_is_pushed_goes_on_pulled(driver: Driver, make: Make) -> None:
    """And the other way round."""
    run = Run(driver.flow(make("a", "b", "c")), {})
    pause(driver, run)
    run.reply(1)
    assert [type(each) for each in driver.pull(run)] == [Reply, Interrupt]
    run.reply(2)
    pause(driver, run)
    run.reply(3)
    kinds = [type(each).__name__ for each in driver.pull(run)]
    assert kinds == ["Reply", "Chunk", "NodeEnd", "Action", "FlowEnd"]


def test_run_raises_paused(driver: Driver, make: Make) -> None:
    """`run`, and a stream with a callback; the run that it names goes on."""
    for drive in (driver.run, lambda flow, shared: driver.call_back(flow, shared, None)):
        shared: dict[str, Any] = {}
        with pytest.raises(Paused, match="asks 'a'") as caught:
            drive(driver.flow(make("a")), shared)
        run = caught.value.run
        run.reply("yes")
        assert driver.wait(run) == "yes"
        assert shared["log"].count("begun") == 1


def test_a_node_that_is_run_by_itself_asks(driver: Driver, make: Make) -> None:
    """It is a flow of one node."""
    shared: dict[str, Any] = {}
    seen = Seen()
    with pytest.raises(Paused) as caught:
        driver.run(make("a"), shared, observers=[seen])
    caught.value.run.reply("b")
    assert driver.wait(caught.value.run) == "b"
    seen.check()


def test_a_stream_ends_at_the_question(driver: Driver, make: Make) -> None:
    """Its run can be answered, and waited for; the stream closes nothing."""
    shared: dict[str, Any] = {}
    stream = driver.stream(driver.flow(make("a")), shared)
    assert driver.rest(stream) == []
    run = stream.run
    assert run.status == "paused"
    run.reply("b")
    assert driver.wait(run) == "b"
    assert shared["log"] == ["begun", "b", "left"]


def test_a_stream_that_paused_goes_on(driver: Driver, make: Make) -> None:
    """In another loop over it; whoever holds its run may let go of it."""
    stream = driver.stream(driver.flow(make("a")), {})
    assert driver.rest(stream) == []
    stream.run.reply("b")
    assert driver.rest(stream) == ["answered: ['b']"]
    stream = driver.stream(driver.flow(make("a")), {})
    assert driver.rest(stream) == []
    run = stream.run
    del stream
    gc.collect()
    driver.settle()
    run.reply("b")
    assert driver.wait(run) == "b"


def test_a_loop_that_is_left_after_a_cancel_ends_the_run(driver: Driver) -> None:
    """A handler cancelled it; who iterates breaks at that very event."""
    seen = Seen()
    run = Run(driver.flow(asks(driver, "a")), {}, observers=[seen])
    signals.interrupt.connect(lambda event: run.cancel(), sender=run)
    driver.each(run, lambda event: isinstance(event, Interrupt))
    driver.settle()
    if driver.loop is None:
        assert run.status == "cancelled"
        in_thread(run.close)
        seen.check()
    else:
        driver.close(run)
    assert seen.ends() == ["cancelled", "cancelled"]


def test_another_thread_goes_on_at_once() -> None:
    """Whoever sees that a sync run is paused may answer it and drive it, or end it."""
    for stop in (False, True):
        for _ in range(100):
            shared: dict[str, Any] = {}
            seen = Seen()
            run = Run(Flow(Asks("a")), shared, observers=[seen])
            ended: list[str] = []

            def go_on(run: Run = run, stop: bool = stop, ended: list[str] = ended) -> None:
                while status_of(run) != "paused":
                    pass
                if stop:
                    run.cancel()
                    run.close()
                else:
                    run.reply("b")
                    run.wait()
                ended.append(run.status)

            thread = threading.Thread(target=go_on)
            thread.start()
            try:
                with pytest.raises((Paused, RunCancelled)):
                    run.wait()
            finally:
                thread.join(PATIENCE)
            assert ended == ["cancelled" if stop else "done"]
            seen.check()


def test_a_question_that_nobody_hears_is_asked(driver: Driver, make: Make) -> None:
    """No observer and no consumer is needed."""
    shared: dict[str, Any] = {}
    run = Run(driver.flow(make("a")), shared)
    pause(driver, run)
    assert [each.prompt for each in run.interrupts] == ["a"]
    run.reply(1)
    driver.wait(run)
    assert shared["answers"] == [[1]]


def test_a_question_may_be_anything(either: Driver) -> None:
    """So may its answer; the text of `Paused` is safe to show."""
    prompt = {"text": "Evil \x1b[31m\nprompt \u202e"}
    shared: dict[str, Any] = {}
    run = Run(either.flow(asks(either, prompt)), shared)
    text = str(pause(either, run))
    assert run.interrupts[0].prompt is prompt
    assert not any(each in text for each in "\x1b\n\u202e")
    value = object()
    run.reply(value)
    either.wait(run)
    assert shared["answers"] == [[value]]


# -- redaction, and the request to pause ----------------------------------------------------------


def test_what_is_asked_and_answered_is_redacted(driver: Driver, make: Make) -> None:
    """In the events, the open questions and the errors; the node gets the answer itself."""
    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(
        driver.flow(make("secret?")),
        shared,
        observers=[seen],
        redact=lambda value: str(value).replace("secret", "***"),
    )
    text = str(pause(driver, run))
    assert "***?" in text
    assert "secret" not in text
    assert run.interrupts[0].prompt == "***?"
    run.reply("my secret")
    driver.wait(run)
    assert shared["answers"] == [["my secret"]]
    assert seen.of(Reply)[0].value == "my ***"
    assert "secret" not in repr(seen.of(Interrupt) + seen.of(Reply) + seen.of(Chunk))


def test_a_request_to_pause(either: Driver) -> None:
    """The node sees it, asks, and goes on with the answer; asking takes the request back."""

    class Works(StreamNode):
        def prep(self, shared: Any) -> Any:
            return shared

        def exec_stream(self, shared: Any) -> Generator[Any, Any, Any]:
            for number in range(4):
                yield number
                shared["seen"].append(self.pause_requested)
                if self.pause_requested:
                    answer = yield Ask("New instruction?")
                    shared["seen"].append((answer, self.pause_requested))

    shared: dict[str, Any] = {"seen": []}
    run = Run(either.flow(Works()), shared)
    either.each(run, lambda event: isinstance(event, Chunk) and event.data == 1)
    run.pause()
    either.pull(run)
    assert status_of(run) == "paused"
    run.reply("hurry")
    either.pull(run)
    assert shared["seen"] == [False, True, ("hurry", False), False, False]
    with pytest.raises(RunStateError, match=r"Cannot pause: run .* is done"):
        run.pause()
    assert Works().pause_requested is False
