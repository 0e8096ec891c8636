"""A run that waits for an answer is cancelled."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest

from flowevents import (
    Answer,
    Ask,
    AskNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    Event,
    Interrupt,
    Paused,
    Reply,
    ReplyError,
    Run,
    RunCancelled,
    RunStateError,
    signals,
)
from tests.asking.answering import Answering, AnsweringAsync, answerers, asked_by
from tests.asking.askers import (
    Asks,
    AsksAsync,
    Awaits,
    AwaitsInStream,
    EachAtOnce,
    Inner,
    Make,
    PerItemAtOnce,
    StreamEachAtOnce,
    asks,
)
from tests.driving import Driver, Seen, driving, in_thread, status_of


def until_it_pauses(driver: Driver, run: Run, pulled: bool) -> None:
    """The same, keeping nothing of it."""

    async def waiting() -> None:
        try:
            await run.wait_async()
        except Paused:
            pass

    if pulled:
        driver.pull(run)
    elif driver.loop is not None:
        driver.in_loop(waiting())
    else:
        try:
            run.wait()
        except Paused:
            pass
    driver.task = None
    assert status_of(run) == "paused"


class Swallows(Asks):
    """Tries what it can to go on without an answer."""

    def exec_stream(self, log: Any) -> Generator[Any, Any, Any]:
        try:
            while True:
                try:
                    yield Ask("a")
                    log.append("went on")
                except Exception as error:
                    log.append(error)
        finally:
            log.append("left")

    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        prep_res.append("fell back")
        return ["fell back"]


class SwallowsAsync(AsksAsync):
    """The same, async."""

    async def exec_stream_async(self, log: Any) -> AsyncIterator[Any]:
        try:
            while True:
                try:
                    yield Ask("a")
                    log.append("went on")
                except Exception as error:
                    log.append(error)
        finally:
            await asyncio.sleep(0)
            log.append("left")

    async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> Any:
        prep_res.append("fell back")
        return ["fell back"]


class SwallowsAwaits(Awaits):
    """The same, awaited."""

    exec_fallback_async = SwallowsAsync.exec_fallback_async

    async def exec_async(self, log: Any) -> Any:
        try:
            while True:
                try:
                    await self.ask("a")
                    log.append("went on")
                except Exception as error:
                    log.append(error)
        finally:
            await asyncio.sleep(0)
            log.append("left")


def drop(driver: Driver, run: list[Run]) -> None:
    """Let go of it."""
    del run[:]
    gc.collect()


def leave_block(driver: Driver, run: list[Run]) -> None:
    """Enter and leave it."""
    driver.inside(run[0])


def cancel(driver: Driver, run: list[Run]) -> None:
    """Cancel it."""
    run[0].cancel()


def cancel_in_thread(driver: Driver, run: list[Run]) -> None:
    """Cancel it in another thread."""
    in_thread(run[0].cancel)


def cancel_in_loop(driver: Driver, run: list[Run]) -> None:
    """Cancel it in its loop, where it has one."""

    async def call() -> None:
        run[0].cancel()

    run[0].cancel() if driver.loop is None else driver.in_loop(call())


def close(driver: Driver, run: list[Run]) -> None:
    """Close it."""
    driver.close(run[0])


def answer_and_cancel(driver: Driver, run: list[Run]) -> None:
    """Answer it, and cancel it before it is driven again."""
    run[0].reply("too late")
    run[0].cancel()


CANCELS = [cancel, cancel_in_thread, cancel_in_loop, close, leave_block, drop, answer_and_cancel]


@pytest.mark.parametrize("stop", CANCELS)
@pytest.mark.parametrize("kind", [Swallows, SwallowsAsync, SwallowsAwaits])
@pytest.mark.parametrize("pulled", [True, False])
def test_a_paused_run_is_cancelled(
    kind: Make, stop: Callable[[Driver, list[Run]], None], pulled: bool
) -> None:
    """Its generator is closed, its ends are cancelled; nothing in the node can stop that."""
    for how in ("sync", "async") if kind is Swallows else ("async",):
        with driving(how) as driver:
            shared: dict[str, Any] = {}
            seen = Seen()
            runs = [Run(driver.flow(kind(max_retries=3)), shared, observers=[seen])]
            until_it_pauses(driver, runs[0], pulled)
            stop(driver, runs)
            driver.settle()
            assert shared["log"] == ["left"]
            assert seen.ends() == ["cancelled", "cancelled"]
            seen.check()
            for run in runs:
                assert (run.status, run.interrupts) == ("cancelled", ())
                with pytest.raises(ReplyError, match=r"withdrawn|answered already"):
                    run.reply(1, "1")
                with pytest.raises(RunStateError, match="is cancelled"):
                    run.reply(1)
                with pytest.raises(RunCancelled):
                    driver.wait(run)


@pytest.mark.parametrize("stop", CANCELS[:-1])
@pytest.mark.parametrize("make_items", [EachAtOnce, StreamEachAtOnce, PerItemAtOnce])
@pytest.mark.parametrize("pulled", [True, False])
def test_a_paused_run_of_parallel_items_is_cancelled(
    loop: Driver, make_items: Make, stop: Callable[[Driver, list[Run]], None], pulled: bool
) -> None:
    """All its items end."""
    seen = Seen()
    node = make_items()
    flow = AsyncFlow(node) if make_items is not PerItemAtOnce else make_items(Inner())
    runs = [Run(flow, {"items": list("abc")}, observers=[seen])]
    until_it_pauses(loop, runs[0], pulled)
    stop(loop, runs)
    loop.settle()
    seen.check()
    assert seen.ends()[-1] == "cancelled"
    assert all(run.interrupts == () for run in runs)


def test_a_sync_run_awaits_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that gives it something to await is told so; the question stays open."""

    async def later() -> Answer[str]:
        return Answer("too late")

    class Later:
        def on_interrupt(self, event: Interrupt) -> Any:
            return later()

    class Asks(AskNode):
        def question(self, prep_res: Any) -> Ask:
            return Ask("Now?")

    with pytest.raises(Paused):
        Asks().run({}, observers=[Later()])
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "returned an awaitable, but the run is sync" in str(record.exc_info[1])


def test_dropping_a_paused_run_is_logged(either: Driver, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can answer it any more, which may surprise whom no `Paused` has told."""
    for pulled in (False, True):
        run = Run(either.flow(asks(either, "Evil\n\x1b[31m")), {})
        until_it_pauses(either, run, pulled)
        del run
        gc.collect()
        either.settle()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "Nobody has it any more" in record.getMessage()
    assert "\x1b" not in record.getMessage()
    assert "\n" not in record.getMessage()


class EachAwaits(Awaits, AsyncParallelBatchNode):
    """Two at the same time, each of which asks."""

    async def prep_async(self, shared: Any) -> Any:
        return [shared.setdefault("log", [])] * 2


# Not `AwaitsInStream`: asyncio complains of any async generator that is collected while it awaits.
@pytest.mark.parametrize("make_node", [AsksAsync, Awaits, EachAwaits])
@pytest.mark.parametrize("pulled", [False, True])
@pytest.mark.parametrize("expires", [None, 3600])
def test_a_paused_run_that_knows_itself_is_cancelled_when_it_is_collected(
    loop: Driver,
    make_node: Make,
    pulled: bool,
    expires: float | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The collector closes its code, in any order, before the loop can; its ends come all the same,
    and nothing is said of tasks. That its question expires keeps nothing."""

    class Knows:
        run: Run

        def on_interrupt(self, event: Interrupt) -> None:
            pass

    seen, knows = Seen(), Knows()
    asked = Ask("Go on?", expires=expires)
    knows.run = Run(loop.flow(make_node(asked)), {}, observers=[seen, knows])
    until_it_pauses(loop, knows.run, pulled)
    loop.settle()
    loop.task = None
    del knows
    gc.collect()
    loop.settle()
    seen.check()
    assert set(seen.ends()) == {"cancelled"}
    assert [each.getMessage() for each in caplog.records if each.levelno > logging.WARNING] == []


@pytest.mark.parametrize("make_node", [AsksAsync, Awaits, AwaitsInStream, EachAwaits])
@pytest.mark.parametrize("how", ["cancel", "close", "with", "drop"])
def test_a_paused_run_whose_loop_is_closed(
    make_node: Make, how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it cannot go on, and can still be ended."""
    # Which complains of an async generator that awaits, and keeps the error, and so the run.
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
    seen, shared = Seen(), dict[str, Any]()

    async def also(event: Event) -> None:
        """Is left out at the end, quietly, because nothing can await it."""

    run = Run(AsyncFlow(make_node("one?")), shared, observers=[also, seen])
    with pytest.raises(Paused) as paused:
        asyncio.run(run.wait_async())
    assert "await .run.wait_async()" in str(paused.value)
    del paused
    with pytest.raises(RunStateError, match="its event loop is closed"):
        asyncio.run(run.wait_async())
    with pytest.raises(RunStateError, match="its event loop is closed"):
        run.wait()
    with pytest.raises(RunStateError, match="its event loop is closed"):
        list(run)
    with pytest.raises(RunStateError, match="its event loop is closed"):
        run.reply("yes", id="1")
    assert status_of(run) == "paused"
    if how == "cancel":
        run.cancel()
    elif how == "close":
        run.close()
    elif how == "with":
        driver = Driver(asyncio.new_event_loop())
        driver.inside(run)
        assert driver.loop is not None
        driver.loop.close()
    if how != "drop":
        assert status_of(run) == "cancelled"
    del run
    gc.collect()
    assert seen.ends() == []
    assert set(shared["log"]) == {"begun", "left"}
    assert [each.getMessage() for each in caplog.records if "event loop" in each.getMessage()]


def test_what_code_raises_that_is_closed_without_its_loop_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is cancelled all the same; what would wait cannot."""

    class Raises(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            try:
                await self.ask("Go on?")
            finally:
                raise ValueError("closing")

    class WaitsOn(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            try:
                await self.ask("Go on?")
            finally:
                await asyncio.sleep(1)

    for node in (Raises(), WaitsOn()):
        seen = Seen()
        loop = asyncio.new_event_loop()
        run = Run(node, {}, observers=[seen])
        with pytest.raises(Paused):
            loop.run_until_complete(run.wait_async())
        loop.close()
        run.cancel()
        assert run.status == "cancelled"
        assert seen.ends() == []
    errors = [each.exc_info[0] for each in caplog.records if each.exc_info]
    assert errors == [ValueError, RuntimeError]
    assert "while it was closed" in caplog.records[1].getMessage()


def test_a_waiting_run_is_cancelled(driver: Driver, make: Make) -> None:
    """From another thread: what it waits in is woken."""
    for drive in (driver.wait, driver.pull):
        shared: dict[str, Any] = {}
        seen = Seen()
        run = Run(driver.flow(make("a")), shared, observers=[seen], on_pause="wait")
        threads: list[threading.Thread] = []

        def stop(
            event: Interrupt, run: Run = run, threads: list[threading.Thread] = threads
        ) -> None:
            threads.append(threading.Thread(target=run.cancel))
            threads[0].start()

        signals.interrupt.connect(stop, sender=run)
        with pytest.raises(RunCancelled):
            drive(run)
        threads[0].join()
        assert shared["log"] == ["begun", "left"]
        seen.check()


@pytest.mark.parametrize("make_node", [AsksAsync, Awaits, AwaitsInStream])
def test_the_task_that_drives_a_waiting_run_is_cancelled(loop: Driver, make_node: Make) -> None:
    """It gets its own `CancelledError`; the run is cancelled."""
    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(AsyncFlow(make_node("a")), shared, observers=[seen], on_pause="wait")

    async def main() -> None:
        task = asyncio.create_task(run.wait_async())
        await asked_by(run)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.in_loop(main())
    assert run.status == "cancelled"
    assert shared["log"] == ["begun", "left"]
    seen.check()


@pytest.mark.parametrize("make_node", [AsksAsync, Awaits, AwaitsInStream, EachAtOnce])
def test_the_loop_of_a_paused_run_ends(make_node: Make) -> None:
    """`asyncio.run` returns; the run is over when it is cancelled, and nothing hangs."""
    shared: dict[str, Any] = {"items": list("ab")}
    kept: list[Run] = []

    async def main() -> None:
        run = Run(AsyncFlow(make_node()), shared)
        kept.append(run)
        async for _ in run:
            pass
        assert run.status == "paused"

    asyncio.run(main())
    (run,) = kept
    run.cancel()
    assert (run.status, run.interrupts) == ("cancelled", ())
    with pytest.raises(ReplyError, match="withdrawn"):
        run.reply(1, "1")
    with pytest.raises(RunStateError):
        run.reply(1)


def test_a_handler_of_a_question_cancels_the_run(driver: Driver, make: Make) -> None:
    """And answers it as well: the cancel wins, the node does not go on."""
    for first in (None, Answer(1)):
        for kind in answerers(driver):

            class Cancels(kind):  # type: ignore[misc, valid-type]
                run: Run

                def on_interrupt(self, event: Interrupt) -> Any:
                    self.run.cancel()
                    return super().on_interrupt(event)

            if kind is AnsweringAsync:
                Cancels.on_interrupt = _cancel_async  # type: ignore[method-assign]
            shared: dict[str, Any] = {}
            seen = Seen()
            answering = Cancels(first)
            run = answering.run = Run(
                driver.flow(make("a", max_retries=3)), shared, observers=[seen, answering]
            )
            with pytest.raises(RunCancelled):
                driver.wait(run)
            assert shared["log"] == ["begun", "left"]
            assert seen.of(Reply) == []
            seen.check()


async def _cancel_async(self: Any, event: Interrupt) -> Any:
    self.run.cancel()
    return await AnsweringAsync.on_interrupt(self, event)


def test_a_handler_that_fails_the_run_wins_over_an_answer(driver: Driver, make: Make) -> None:
    """With `on_handler_error="raise"` the node does not go on, and no retry follows."""

    class Broken:
        def on_interrupt(self, event: Interrupt) -> Any:
            raise ValueError("broken")

    shared: dict[str, Any] = {}
    run = Run(
        driver.flow(make("a", max_retries=3)),
        shared,
        observers=[Answering(Answer(1)), Broken()],
        on_handler_error="raise",
    )
    with pytest.raises(ValueError, match="broken"):
        driver.wait(run)
    assert shared["log"] == ["begun", "left"]
