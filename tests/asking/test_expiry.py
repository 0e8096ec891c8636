"""Questions whose time runs out."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Generator
from contextvars import Context, copy_context
from typing import Any

import pytest

from flowevents import (
    Answer,
    Ask,
    AsyncFlow,
    AsyncNode,
    AsyncStreamNode,
    Event,
    Expired,
    Interrupt,
    Reply,
    ReplyError,
    Result,
    Retry,
    Run,
    StreamNode,
    signals,
)
from flowevents.testing import ManualClock
from tests.asking.answering import Answering, open_prompts, pause, replies
from tests.asking.askers import Asking, EachAtOnce, Make, asks
from tests.driving import Driver, Seen, driving


def test_an_expired_question_fails_the_node(driver: Driver, make: Make) -> None:
    """With `Expired`; the event said when. A late answer is refused."""
    clock = ManualClock(100)
    shared: dict[str, Any] = {}
    seen = Seen()
    asked = Ask("a", expires=60)
    run = Run(driver.flow(make(asked)), shared, observers=[seen], clock=clock)
    pause(driver, run)
    assert run.interrupts[0].expires == 160
    clock.advance(59)
    pause(driver, run)
    clock.advance(1)
    for late in (1, 2):
        with pytest.raises(ReplyError, match=r"'1' has expired"):
            run.reply(late)
    with pytest.raises(Expired, match=r"Nobody answered 'a'.*within 60 s") as caught:
        driver.wait(run)
    assert isinstance(caught.value, TimeoutError)
    assert (run.status, run.interrupts) == ("failed", ())
    assert shared["log"] == ["begun", "left"]
    with pytest.raises(ReplyError, match="has expired"):
        run.reply(1, "1")
    assert seen.of(Reply) == []
    seen.check()


def test_expiry_is_retried_and_falls_back(driver: Driver, make: Make) -> None:
    """As any error: each attempt asks again, then the node's own fallback follows."""

    class Falls(make):  # type: ignore[misc, valid-type]
        def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
            return [type(exc).__name__]

        async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> Any:
            return [type(exc).__name__]

    clock = ManualClock()
    shared: dict[str, Any] = {}
    seen = Seen()
    node = Falls(Ask("a", expires=60), max_retries=2)
    run = Run(driver.flow(node), shared, observers=[seen], clock=clock)
    pause(driver, run)
    clock.advance(61)
    pause(driver, run)
    assert run.interrupts[0].attempt == 2
    clock.advance(61)
    assert driver.wait(run) == "Expired"
    assert [(each.attempt, each.fallback) for each in seen.of(Retry)] == [(1, False), (2, True)]
    assert all(each.error.startswith("Expired: Nobody") for each in seen.of(Retry))
    seen.check()


class Catches(Asking, StreamNode):
    """Goes on without an answer."""

    def exec_stream(self, log: Any) -> Generator[Any, Any, Any]:
        try:
            answer = yield Ask("a", expires=60)
        except Expired:
            answer = yield Ask("b")
        return [answer]


class CatchesAsync(Asking, AsyncStreamNode):
    """The same, async."""

    async def exec_stream_async(self, log: Any) -> AsyncIterator[Any]:
        try:
            answer = yield Ask("a", expires=60)
        except Expired:
            answer = yield Ask("b")
        yield Result([answer])


class CatchesAwaited(Asking, AsyncNode):
    """The same, awaited."""

    async def exec_async(self, log: Any) -> Any:
        try:
            return [await self.ask("a", expires=60)]
        except Expired:
            return [await self.ask("b")]


class CatchesLast(Asking, StreamNode):
    """Ends where its question has expired."""

    def exec_stream(self, log: Any) -> Generator[Any, Any, Any]:
        try:
            yield Ask("a", expires=60)
        except Expired:
            return ["late"]


@pytest.mark.parametrize("kind", [Catches, CatchesAsync, CatchesAwaited])
@pytest.mark.parametrize("traced", [False, True])
def test_a_node_catches_that_its_question_expired(kind: Make, traced: bool) -> None:
    """It is raised where the code asked, which may ask something else then."""

    class Traces(Seen):
        def context(self, event: Event) -> Context | None:
            return copy_context() if traced else None

    for how in ("sync", "async") if kind is Catches else ("async",):
        with driving(how) as driver:
            clock, seen = ManualClock(), Traces()
            shared: dict[str, Any] = {}
            run = Run(driver.flow(kind()), shared, clock=clock, observers=[seen])
            pause(driver, run)
            clock.advance(60)
            pause(driver, run)
            run.reply("answered")
            driver.wait(run)
            assert shared["answers"] == [["answered"]]
            assert seen.of(Retry) == []
            seen.check()


def test_a_node_may_end_where_its_question_has_expired(either: Driver) -> None:
    """With its return value."""
    clock = ManualClock()
    shared: dict[str, Any] = {}
    run = Run(either.flow(CatchesLast()), shared, clock=clock)
    pause(either, run)
    clock.advance(60)
    either.wait(run)
    assert shared["answers"] == [["late"]]


def test_a_waiting_run_goes_on_when_its_question_expires(driver: Driver, make: Make) -> None:
    """Nobody has to drive it."""
    clock = ManualClock()
    run = Run(driver.flow(make(Ask("a", expires=60))), {}, clock=clock, on_pause="wait")

    def pass_time(event: Interrupt) -> None:
        thread = threading.Thread(target=lambda: [clock.advance(30) for _ in range(2)])  # type: ignore[func-returns-value]
        threads.append(thread)
        thread.start()

    threads: list[threading.Thread] = []
    signals.interrupt.connect(pass_time, sender=run)
    with pytest.raises(Expired):
        driver.wait(run)
    threads[0].join()


def test_real_time_expires_a_question(either: Driver) -> None:
    """By the system's clock, of a run that waits."""
    run = Run(either.flow(asks(either, Ask("a", expires=1e-9))), {}, on_pause="wait")
    with pytest.raises(Expired):
        either.wait(run)
    far = Run(either.flow(asks(either, Ask("a", expires=1e300))), {}, on_pause="wait")
    hear, thread = replies(far, lambda event: 1)
    signals.interrupt.connect(hear, sender=far)
    signals.flow_end.connect(hear, sender=far)
    either.wait(far)
    thread.join()


def test_one_of_several_questions_expires(loop: Driver) -> None:
    """The others stay open; what expired goes on when the run is driven."""
    clock = ManualClock()

    class Expires(EachAtOnce):
        async def exec_async(self, item: Any) -> Any:
            try:
                return await self.ask(item, expires=60 if item == "b" else None)
            except Expired:
                return "expired"

    shared: dict[str, Any] = {"items": list("abc")}
    run = Run(AsyncFlow(Expires()), shared, clock=clock)
    pause(loop, run)
    clock.advance(60)
    loop.settle()
    assert run.status == "paused"
    pause(loop, run)
    assert sorted(open_prompts(run)) == ["a", "c"]
    for each in run.interrupts:
        run.reply(each.prompt, each.id)
    loop.wait(run)
    assert shared["results"] == ["a", "expired", "c"]


def test_a_handler_that_answers_too_late(either: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """Is told so; the node gets `Expired`."""
    clock = ManualClock()

    class Slow(Answering):
        def on_interrupt(self, event: Interrupt) -> Any:
            clock.advance(60)
            return Answer("late")

    run = Run(either.flow(asks(either, Ask("a", expires=60))), {}, clock=clock, observers=[Slow()])
    with pytest.raises(Expired):
        either.wait(run)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "has expired" in str(record.exc_info[1])
