"""Replies from elsewhere, while the run goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from flowevents import AsyncFlow, Paused, ReplyError, Run, RunStateError, signals
from tests.asking.answering import asked_by, replies
from tests.asking.askers import Awaits, EachAtOnce, Make, StreamEachAtOnce, asks
from tests.driving import Driver, Seen, status_of


def test_a_waiting_run_is_answered_by_another_thread(driver: Driver, make: Make) -> None:
    """With `on_pause="wait"` it goes on at once, pushed, pulled and streamed; it never pauses."""
    drives: list[Callable[[Run], object]] = [driver.wait, driver.pull]
    for drive in drives:
        shared: dict[str, Any] = {}
        seen = Seen()
        run = Run(driver.flow(make("a", "b")), shared, observers=[seen], on_pause="wait")
        hear, thread = replies(run, lambda event: event.prompt * 2)
        signals.interrupt.connect(hear, sender=run)
        signals.flow_end.connect(hear, sender=run)
        drive(run)
        thread.join()
        assert shared["answers"] == [["aa", "bb"]]
        assert status_of(run) == "done"
        seen.check()


def test_a_waiting_run_is_answered_by_another_task(loop: Driver) -> None:
    """The loop is live meanwhile."""
    for make, items in ((Awaits, None), (EachAtOnce, "abc"), (StreamEachAtOnce, "abc")):
        shared: dict[str, Any] = {"items": items}

        async def main(make: Make = make, shared: dict[str, Any] = shared) -> None:
            run = Run(AsyncFlow(make()), shared, on_pause="wait")
            driving_task = asyncio.create_task(run.wait_async())
            while not driving_task.done():
                for each in run.interrupts:
                    run.reply(each.prompt, each.id)
                await asyncio.sleep(0)
            await driving_task

        loop.in_loop(main())
        assert shared.get("results", shared.get("answers")) in ([["Go on?"]], ["a", "b", "c"])


def test_a_run_that_pauses_is_answered_while_it_runs(loop: Driver) -> None:
    """By a task, while other items work; only where nothing can go on it pauses."""
    shared: dict[str, Any] = {"items": ["a", "work"]}

    class Replies(EachAtOnce):
        async def exec_async(self, item: Any) -> Any:
            if item == "a":
                return await self.ask(item)
            await asked_by(run)
            run.reply("by the other item")
            return "worked"

    run = Run(AsyncFlow(Replies()), shared)
    loop.wait(run)
    assert shared["results"] == ["by the other item", "worked"]


def test_many_replies_at_once(either: Driver) -> None:
    """Of many threads exactly one is accepted; the others are told that it is answered."""
    for on_pause in ("return", "wait"):
        shared: dict[str, Any] = {}
        run = Run(either.flow(asks(either, "a")), shared, on_pause=on_pause)
        accepted: list[int] = []
        refused: list[str] = []
        begin = threading.Barrier(9)

        def answer(
            number: int,
            run: Run = run,
            accepted: list[int] = accepted,
            refused: list[str] = refused,
            begin: threading.Barrier = begin,
        ) -> None:
            begin.wait()
            while True:
                try:
                    run.reply(number, "1")
                    accepted.append(number)
                    return
                except (ReplyError, RunStateError) as error:
                    if "answered already" in str(error):
                        refused.append(str(error))
                        return

        threads = [threading.Thread(target=answer, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        begin.wait()
        while True:
            try:
                either.wait(run)
                break
            except Paused:
                continue
        for each in threads:
            each.join()
        assert shared["answers"] == [accepted]
        assert len(refused) == 7
