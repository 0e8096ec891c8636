"""Handlers that answer."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from flowevents import Answer, Ask, AsyncFlow, Interrupt, Reply, ReplyError, Retry, Run, signals
from flowevents.testing import check_events
from tests.asking.answering import ANSWERERS, Answering, AnsweringLater, answered, answerers, pause
from tests.asking.askers import PARALLEL, Awaits, Make, asks
from tests.driving import Driver, Seen, status_of


def test_a_handler_answers(driver: Driver, make: Make) -> None:
    """By returning an `Answer`; plain, awaited, or plain with something to await."""
    for kind in answerers(driver):
        shared: dict[str, Any] = {}
        seen, answering = Seen(), kind(Answer("a"), Answer("b"))
        run = Run(driver.flow(make("1", "2")), shared, observers=[answering, seen])
        assert driver.wait(run) == "b"
        assert [each.prompt for each in answering.asked] == ["1", "2"]
        assert [each.value for each in seen.of(Reply)] == ["a", "b"]
        assert shared["log"] == ["begun", "a", "b", "left"]
        seen.check()


def test_a_handler_answers_a_run_that_is_pulled(driver: Driver, make: Make) -> None:
    """The loop goes on through question and reply."""
    for kind in answerers(driver):
        run = Run(driver.flow(make("1")), {}, observers=[kind(Answer("a"))])
        pulled = driver.pull(run)
        check_events(pulled)
        kinds = [type(each) for each in pulled]
        assert kinds[kinds.index(Interrupt) + 1] is Reply
        assert status_of(run) == "done"


def test_a_handler_answers_a_stream(driver: Driver, make: Make) -> None:
    """Which does not end at the question then."""
    for kind in answerers(driver):
        stream = driver.stream(driver.flow(make("1")), {}, observers=[kind(Answer("a"))])
        assert driver.rest(stream) == ["answered: ['a']"]


def test_handlers_of_signals_answer(either: Driver) -> None:
    """Connected to everything, to a node, or to a flow."""
    node = asks(either, "a")
    flow = either.flow(node)
    for sender in ({}, {"sender": node}, {"sender": flow}, {"sender": type(node).__name__}):
        shared: dict[str, Any] = {}
        with signals.interrupt.connected_to(answered("yes"), **sender):
            either.run(flow, shared)
        assert shared["answers"] == [["yes"]]


ACCIDENTS = [5, "yes", True, False, None, {"value": 1}, Ask("?"), ReplyError]


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_what_a_handler_returns_by_accident_answers_nothing(
    either: Driver, accident: object
) -> None:
    """Only an `Answer` does."""
    for kind in answerers(either):
        run = Run(either.flow(asks(either, "a")), {}, observers=[kind(accident)])
        pause(either, run)
        assert len(run.interrupts) == 1
        either.close(run)


def test_parallel_items_are_answered_by_handlers(loop: Driver) -> None:
    """Whatever the handlers' form, each gets the answer to its own question."""
    for make_items, kind in itertools.product(PARALLEL, ANSWERERS):
        for limit in (1, 2, None):

            class Doubles(kind):  # type: ignore[misc, valid-type]
                def __init__(self) -> None:
                    super().__init__()
                    self.given = _Doubled(self)

            shared: dict[str, Any] = {"items": list(range(5))}
            seen = Seen()
            run = Run(
                AsyncFlow(make_items(max_concurrency=limit)), shared, observers=[Doubles(), seen]
            )
            check_events(loop.pull(run))
            assert shared["results"] == [0, 2, 4, 6, 8]
            seen.check()


class _Doubled(list[Any]):
    """Answers that double what was asked last."""

    def __init__(self, answering: Answering) -> None:
        super().__init__([None])
        self._answering = answering

    def pop(self, index: Any = 0) -> Any:
        return Answer(self._answering.asked[-1].prompt * 2)


def test_the_first_answer_wins(either: Driver) -> None:
    """Every handler hears the question; what later ones answer means nothing.

    Something to await beside the run is cancelled, also where it has not begun.
    """
    for kind in answerers(either):
        shared: dict[str, Any] = {}
        answering = [Answering(None), Answering(Answer("first")), kind(Answer("second"))]
        either.run(either.flow(asks(either, "a")), shared, observers=answering)
        assert shared["answers"] == [["first"]]
        assert [len(each.asked) for each in answering] == [1, 1, kind is not AnsweringLater]


def test_a_refused_answer_is_an_error_of_the_handler(
    either: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, the question stays open, and another handler may answer it."""
    for kind in answerers(either):
        shared: dict[str, Any] = {}
        asked = Ask("a", choices=["x", "y"])
        run = Run(either.flow(asks(either, asked)), shared, observers=[kind(Answer("z"))])
        pause(either, run)
        (record,) = caplog.records
        assert "Answering" in record.getMessage()
        assert record.exc_info is not None
        assert "the choices are 'x', 'y'" in str(record.exc_info[1])
        caplog.clear()
        run.reply("y")
        either.wait(run)
        assert shared["answers"] == [["y"]]
        run = Run(
            either.flow(asks(either, asked)), {}, observers=[kind(Answer("z")), kind(Answer("x"))]
        )
        assert either.wait(run) == "x"
        caplog.clear()


def test_a_refused_answer_fails_the_run_that_wants_it(either: Driver) -> None:
    """With `on_handler_error="raise"`; no retry follows."""
    for kind in answerers(either):
        seen = Seen()
        run = Run(
            either.flow(asks(either, Ask("a", choices=["x"]), max_retries=3)),
            {},
            observers=[kind(Answer("z")), seen],
            on_handler_error="raise",
        )
        with pytest.raises(ReplyError, match="'z'"):
            either.wait(run)
        assert seen.of(Retry) == []
        seen.check()


def test_an_answer_hears_that_it_was_refused(either: Driver) -> None:
    """Its `refused` gets the error, and may answer again, as often as it likes."""
    for kind in answerers(either):
        said: list[str] = []

        def again(error: ReplyError, said: list[str] = said) -> Answer[Any]:
            said.append(str(error))
            return Answer("y" if len(said) == 3 else "z", refused=again)

        shared: dict[str, Any] = {}
        asked = Ask("a", choices=["x", "y"])
        observers = [kind(Answer("z", refused=again))]
        either.run(either.flow(asks(either, asked)), shared, observers=observers)
        assert shared["answers"] == [["y"]]
        assert len(said) == 3
        assert "the choices are 'x', 'y'" in said[0]


def test_an_answer_that_was_refused_may_give_up(
    either: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """Then the question stays open, and nothing is logged."""
    for kind in answerers(either):
        said: list[ReplyError] = []
        asked = Ask("a", type=int)
        run = Run(
            either.flow(asks(either, asked)),
            {},
            observers=[kind(Answer("no number", refused=said.append))],
        )
        pause(either, run)
        assert len(said) == 1
        assert caplog.records == []
        either.close(run)


def test_refused_may_be_awaited(loop: Driver) -> None:
    """Of every handler of an async run."""
    for kind in ANSWERERS:
        shared: dict[str, Any] = {}

        async def again(error: ReplyError) -> Answer[int]:
            await asyncio.sleep(0)
            return Answer(7)

        asked = Ask("a", type=int)
        observers = [kind(Answer("no number", refused=again))]
        loop.run(AsyncFlow(Awaits(asked)), shared, observers=observers)
        assert shared["answers"] == [[7]]


def test_a_handler_replies_through_the_run(either: Driver) -> None:
    """It has the same effect; its own `Answer` then comes second and means nothing."""
    run: Run

    def handler(event: Interrupt) -> Any:
        run.reply("by reply")
        return Answer("by return")

    class Observer:
        on_interrupt = staticmethod(handler)

    shared: dict[str, Any] = {}
    run = Run(either.flow(asks(either, "a")), shared, observers=[Observer()])
    either.wait(run)
    assert shared["answers"] == [["by reply"]]


def test_a_handler_that_fails_answers_nothing(
    either: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, and the run pauses."""

    class Broken(Answering):
        def on_interrupt(self, event: Interrupt) -> Any:
            raise ValueError("broken")

    run = Run(either.flow(asks(either, "a")), {}, observers=[Broken()])
    pause(either, run)
    assert len(caplog.records) == 1
    either.close(run)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_handler_of_a_question_interrupts_the_run(
    either: Driver, error: type[BaseException]
) -> None:
    """The question is withdrawn, the ends are delivered, and it propagates unchanged."""

    class Breaks(Answering):
        def on_interrupt(self, event: Interrupt) -> Any:
            raise error

    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(either.flow(asks(either, "a", max_retries=3)), shared, observers=[Breaks(), seen])
    with pytest.raises(error):
        either.wait(run)
    assert (run.status, run.interrupts) == ("cancelled", ())
    assert shared["log"] == ["begun", "left"]
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()
