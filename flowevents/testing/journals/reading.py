"""Read, follow, runs, due, delete and prune."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from flowevents.errors import EventsLost, RunStateError, UnknownRun
from flowevents.events import Event
from flowevents.journal.journal import Journal
from flowevents.journal.records import recorded
from flowevents.testing.checks import check_events
from flowevents.testing.journals.bench import PATIENCE, Bench, equal, in_loop, raises, together
from flowevents.testing.journals.script import Script

__all__: list[str] = []


def check_what_is_not_there(bench: Bench) -> None:
    """An unknown run, and an event that the log does not have, are said at once."""
    run_id = bench.new_id()
    for call in (bench.one.read, bench.one.records, bench.one.follow, bench.one.delete):
        raises(UnknownRun, partial(call, run_id), run_id)
    Script.whole(bench.one, run_id)
    for call in (bench.one.read, bench.one.records, bench.one.follow):
        raises(EventsLost, partial(call, run_id, 8), run_id, "7", "8")
        raises(EventsLost, partial(call, run_id, -1), run_id)
        equal(list(call(run_id, 7)), [], "What follows the last event")


def check_following(bench: Bench) -> None:
    """The past, then what comes, each once and in order, by every handle, to the last."""
    script, run_id = bench.begin_step()

    def write() -> list[int]:
        for number in range(50):
            script.say("a", "b", step=number + 1)
            script.end_step(step=number + 1, target="Plan")
            script.begin_step(number + 2)
            if number == 25:
                script.lease.pause()
                script.lease.take_again()
        script.end_step(step=51)
        script.end()
        return [*range(1, script.lease.seq + 1)]

    def follow(journal: Journal, after: int) -> list[int]:
        with journal.follow(run_id, after, timeout=PATIENCE) as events:
            return [*range(1, after + 1), *(each.seq for each in events)]

    def follow_in_portions(journal: Journal) -> list[int]:
        with journal.follow(run_id, timeout=PATIENCE) as events:
            return [each.seq for first in events for each in (first, *events.ready())]

    def follow_in_loop(journal: Journal) -> list[int]:
        async def all_of_them() -> list[int]:
            with journal.follow(run_id, timeout=PATIENCE) as events:
                return [each.seq async for each in events]

        return asyncio.run(all_of_them())

    first, *rest = together(
        write,
        *(partial(follow, each, 0) for each in bench.all),
        lambda: follow(bench.two, 2),
        partial(follow_in_portions, bench.two),
        *(partial(follow_in_loop, each) for each in bench.all),
    )
    for each in rest:
        equal(each, first, "The numbers")
    check_events(bench.two.read(run_id))


def check_an_end_to_following(bench: Bench) -> None:
    """By time, by `close`, or because the run is deleted; a pause is none."""
    script, run_id = bench.begin()
    script.lease.pause()
    follower = bench.two.follow(run_id, timeout=0.05)
    equal(next(follower).seq, 1, "The first")
    raises(TimeoutError, lambda: next(follower), run_id)
    raises(TimeoutError, lambda: in_loop(follower.__anext__()), run_id)

    other = bench.two.follow(run_id, 1, timeout=PATIENCE)
    ended = together(lambda: list(other), other.close)
    equal(ended, [[], None], "What a closed one gives")
    equal(list(other), [], "And afterwards")

    def unknown() -> list[Event]:
        return list(bench.two.follow(run_id, 1, timeout=PATIENCE))

    error, _ = together(unknown, partial(bench.others[0].delete, run_id))
    equal(type(error), UnknownRun, "What a deleted one gives")


def check_the_list(bench: Bench) -> None:
    """The one that began last comes first; by status; so many."""
    ids = [bench.new_id() for _ in range(4)]
    Script.whole(bench.one, ids[0])
    Script(bench.two, ids[1]).lease.pause()
    Script(bench.one, ids[2]).end("error")
    running = Script(bench.two, ids[3])
    statuses = {each.id: each.status for each in bench.others[0].runs()}
    wanted = ["done", "paused", "failed", "running"]
    equal([statuses[each] for each in ids], wanted, "The statuses")
    for run_id, status in zip(ids, wanted, strict=True):
        found = [each for each in bench.others[0].runs(status) if each.id in ids]  # type: ignore[arg-type]
        equal([each.id for each in found], [run_id], f"Those that are {status}")
    equal([each.id for each in bench.one.runs(limit=2)], [ids[3], ids[2]], "The last two")
    equal(bench.one.runs("cancelled", limit=0), [], "None of them")
    raises(ValueError, lambda: bench.one.runs("over"), "over", "paused")  # type: ignore[arg-type]
    raises(ValueError, lambda: bench.one.runs(limit=-1), "-1")
    running.lease.release()
    for run_id in (ids[1], ids[3]):
        bench.one.cancel(run_id)
    statuses = {each.id: each.status for each in bench.others[0].runs("cancelled")}
    equal({ids[1], ids[3]} <= set(statuses), True, "Whether they are cancelled")


def check_what_is_due(bench: Bench) -> None:
    """What nobody drives, and what is paused with something to do."""
    script, run_id = bench.begin()
    _due(bench, run_id, False, "while it is driven")
    script.lease.release()
    _due(bench, run_id, True, "when it was released")
    script = Script(bench.two, run_id, bench.two.take(run_id))
    _due(bench, run_id, False, "when it was taken")
    script.begin_step()
    script.ask(expires=time.time() + 3_600)
    script.lease.pause()
    _due(bench, run_id, False, "while it is paused")
    bench.one.reply(run_id, "yes")
    _due(bench, run_id, True, "when it is answered")
    script.lease.take_again()
    _due(bench, run_id, False, "when somebody goes on")
    script.answer(script.lease.inbox()[0])
    script.lease.pause()
    _due(bench, run_id, False, "when the answer was taken")
    bench.one.pause(run_id)
    script.lease.take_again()
    script.lease.drop(script.lease.inbox()[0])
    script.ask("q2", expires=time.time() - 1)
    script.lease.pause()
    _due(bench, run_id, True, "when a question has expired")
    script.lease.take_again()
    script.end()
    _due(bench, run_id, False, "when it has ended")


def _due(bench: Bench, run_id: str, expected: bool, when: str) -> None:
    equal(run_id in bench.others[0].due(), expected, f"Whether it is due {when}")


def check_deleting(bench: Bench) -> None:
    """Not while it is driven; then nothing of it is left, and its id is free."""
    script, run_id = bench.begin()
    raises(RunStateError, lambda: bench.two.delete(run_id), run_id, "process")
    script.begin_step()
    script.say(*map(str, range(1_000)))
    script.lease.flush()
    bench.two.pause(run_id)
    script.lease.release()
    bench.two.delete(run_id)
    raises(UnknownRun, lambda: bench.one.read(run_id))
    equal([each.id for each in bench.one.runs() if each.id == run_id], [], "What is in the list")
    again = Script(bench.one, run_id)
    equal([each.seq for each in bench.two.read(run_id)], [1], "What is there of the next")
    equal(again.lease.inbox(), [], "What waits for it")
    again.lease.release()
    bench.one.delete(run_id)


def check_pruning(bench: Bench) -> None:
    """Those that ended before, and no other."""
    ended, running = bench.new_id(), bench.new_id()
    Script.whole(bench.one, ended)
    script = Script(bench.one, running)
    equal(bench.two.prune(before=0.0), 0, "How many ended before 1970")
    old = bench.new_id()
    lease = bench.one.begin(old, "agent", {})
    start, end = _of_1960(old)
    lease.append(recorded(start), recorded(end))
    equal(bench.two.prune(before=0.0), 1, "How many ended before 1970")
    raises(UnknownRun, lambda: bench.one.read(old))
    equal(len(list(bench.one.read(ended))), 7, "What is left of another")
    script.end()


def _of_1960(run_id: str) -> tuple[Event, Event]:
    from flowevents.events import FlowEnd, FlowStart

    start = FlowStart(run_id, 1, -3e8, 1, "", parent=0, flow="agent")
    return start, FlowEnd(run_id, 2, -3e8, 1, "", status="ok", duration=0.0)
