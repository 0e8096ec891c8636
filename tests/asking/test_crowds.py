"""Many questions at once, and who is first."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from typing import Any

import pytest

from flowevents import (
    Answer,
    Ask,
    AsyncFlow,
    Expired,
    Flow,
    Interrupt,
    Paused,
    ReplyError,
    Run,
    RunCancelled,
    RunStateError,
    signals,
)
from flowevents.testing import ManualClock
from tests.asking.answering import asked_by
from tests.asking.askers import Asks, Awaits, EachAtOnce, asks
from tests.driving import PATIENCE, Driver, Seen, status_of


@pytest.mark.parametrize("on_pause", ["return", "wait"])
def test_a_thousand_runs_ask_at_once(loop: Driver, on_pause: Any) -> None:
    """And are answered in a random order; each gets its own answer."""
    flow = AsyncFlow(Awaits("a"))

    async def main() -> None:
        shared: list[dict[str, Any]] = [{} for _ in range(1_000)]
        runs = [Run(flow, each, on_pause=on_pause) for each in shared]
        tasks = [asyncio.create_task(run.wait_async()) for run in runs]
        await asked_by(*runs)
        if on_pause == "return":
            first = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(each, Paused) for each in first)
        order = list(range(1_000))
        random.Random(5).shuffle(order)
        for index in order:
            runs[index].reply(index)
        if on_pause == "return":
            tasks = [asyncio.create_task(runs[index].wait_async()) for index in order]
        await asyncio.gather(*tasks)
        assert [each["answers"] for each in shared] == [[[index]] for index in range(1_000)]

    loop.in_loop(main())


def test_fifty_threads_ask_at_once() -> None:
    """Each waits in its own thread, and is answered by another."""
    flow = Flow(Asks("a", "b"))
    shared: list[dict[str, Any]] = [{} for _ in range(50)]
    runs = [Run(flow, each, on_pause="wait") for each in shared]
    threads = [threading.Thread(target=run.wait) for run in runs]
    for thread in threads:
        thread.start()
    left = {(index, id) for index in range(50) for id in ("1", "2")}
    while left:
        for index, id in list(left):
            if any(each.id == id for each in runs[index].interrupts):
                runs[index].reply(f"{index}/{id}", id)
                left.remove((index, id))
    for thread in threads:
        thread.join(PATIENCE)
    assert [each["answers"] for each in shared] == [
        [[f"{index}/1", f"{index}/2"]] for index in range(50)
    ]


def test_nothing_of_a_question_is_kept(either: Driver) -> None:
    """A run in a loop that asks for ever holds only what is open."""
    again = asks(either, "a")
    again - "more" >> again
    again - "stop" >> None
    count = 0

    def answer(event: Interrupt) -> Answer[str]:
        nonlocal count
        count += 1
        return Answer("more" if count < 300 else "stop")

    def questions() -> set[int]:
        gc.collect()
        return {id(each) for each in gc.get_objects() if type(each).__name__ == "Question"}

    run = Run(either.flow(again), {})
    signals.interrupt.connect(answer, sender=run)
    before = questions()
    either.wait(run)
    assert count == 300
    assert questions() <= before


@pytest.mark.parametrize("on_pause", ["return", "wait"])
@pytest.mark.parametrize("stops", [True, False])
def test_reply_expiry_and_cancel_race(either: Driver, on_pause: Any, stops: bool) -> None:
    """From threads of their own: one wins, the run ends, and an accepted answer is never lost."""
    for _ in range(100):
        clock = ManualClock()
        seen = Seen()
        shared: dict[str, Any] = {}
        asked = Ask("a", expires=60)
        run = Run(
            either.flow(asks(either, asked)),
            shared,
            observers=[seen],
            clock=clock,
            on_pause=on_pause,
        )
        accepted: list[bool] = []
        begin = threading.Barrier(3)

        def answer(
            run: Run = run, begin: threading.Barrier = begin, accepted: list[bool] = accepted
        ) -> None:
            begin.wait()
            try:
                run.reply("answer", "1")
                accepted.append(True)
            except (ReplyError, RunStateError):
                accepted.append(False)

        def expire(clock: ManualClock = clock, begin: threading.Barrier = begin) -> None:
            begin.wait()
            clock.advance(60)

        def stop(run: Run = run, begin: threading.Barrier = begin) -> None:
            begin.wait()
            if stops:
                run.cancel()

        threads = [threading.Thread(target=each) for each in (answer, expire, stop)]
        meet = [each.start for each in threads]

        def hear(event: Interrupt, meet: list[Any] = meet) -> None:
            for each in meet:
                each()

        signals.interrupt.connect(hear, sender=run)
        ended: BaseException | None = None
        while status_of(run) in ("ready", "running", "paused"):
            try:
                either.wait(run)
            except Paused:
                continue
            except RunStateError:  # who cancels it while nobody drives it ends it, or just has
                assert stops
            except (RunCancelled, Expired) as error:
                ended = error
        for each in threads:
            each.join(PATIENCE)
        seen.check()
        if run.status == "done":
            assert (shared["answers"], accepted) == ([["answer"]], [True])
        elif run.status == "failed":
            assert isinstance(ended, Expired)
            assert accepted == [False]
        else:
            assert stops
            assert isinstance(run.error, RunCancelled)
            assert ended is run.error or (ended is None and on_pause == "return")  # while it paused
        assert run.interrupts == ()


def test_replies_and_pauses_race(loop: Driver) -> None:
    """Items answered from a thread while their run pauses and goes on: each answer gets home."""
    for _ in range(6):
        shared: dict[str, Any] = {"items": list(range(20))}
        run = Run(AsyncFlow(EachAtOnce(max_concurrency=3)), shared)
        left = set(range(1, 21))

        def answer(run: Run = run, left: set[int] = left) -> None:
            while left:
                for each in run.interrupts:
                    run.reply(each.prompt, each.id)
                    left.discard(int(each.id))

        thread = threading.Thread(target=answer)
        thread.start()
        while status_of(run) in ("ready", "running", "paused"):
            try:
                loop.wait(run)
            except Paused:
                continue
        thread.join(PATIENCE)
        assert shared["results"] == list(range(20))
