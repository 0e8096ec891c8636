"""A run whose process is lost after any of its records goes on in another one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from flowevents import (
    Ask,
    AskNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    BatchFlow,
    EventsLost,
    Flow,
    FlowStart,
    ItemEnd,
    MemoryJournal,
    Node,
    NodeEnd,
    Paused,
    Run,
    UnknownRun,
)
from flowevents.testing import check_events
from tests.durable.flows import SHAPES, Done
from tests.durable.lost import Answers, Commits, drive, lost_after, made

PARALLEL = {"batch_at_once", "parallel", "parallel_in_parallel", "parallel_asks"}


@pytest.mark.parametrize("shape", SHAPES)
def test_it_goes_on_after_any_record(shape: str, journal: MemoryJournal) -> None:
    """To the same `shared`; what had finished does not run again, and the log is well-formed."""
    run, commits = made(shape, journal)
    check_events(journal.read("run"))
    *seqs, last = commits.done
    for seq in seqs:
        again: Done = Counter()
        flow = SHAPES[shape](again)
        with lost_after(journal, "run", seq) as left:
            resumed = Run.resume(flow, left, "run", observers=[Answers()])
            drive(resumed, flow)
            assert resumed.shared == run.shared
            _check_done(shape, commits.done[last], commits.done[seq], again)
            check_events(left.read("run"))
            assert [each.status for each in left.runs()] == ["done"]


def _check_done(shape: str, whole: Done, before: Done, again: Done) -> None:
    """Finished steps and items ran once; of parallel ones some were open, which ran again."""
    if shape in PARALLEL:
        assert again <= whole <= before + again
    else:
        assert before + again == whole


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_forked_after_any_step(shape: str, journal: MemoryJournal) -> None:
    """A fork goes on from there, and is lost after any of its records in turn."""
    run, commits = made(shape, journal)
    for seq in commits.done:
        id, done = f"fork {seq}", Counter[str]()
        flow, forks = SHAPES[shape](done), Commits(journal, f"fork {seq}", done)
        fork = Run.fork(flow, journal, "run", seq, id, observers=[Answers(), forks])
        drive(fork, flow)
        assert fork.shared == run.shared
        events = list(journal.read(id))
        check_events(events)
        assert events[0].seq == 1
        for place in list(forks.done)[:-1]:
            flow = SHAPES[shape](Counter())
            with lost_after(journal, id, place) as left:
                resumed = Run.resume(flow, left, id, observers=[Answers()])
                drive(resumed, flow)
                assert resumed.shared == run.shared
                check_events(left.read(id))


def test_a_fork_says_where_it_comes_from(journal: MemoryJournal) -> None:
    """In the metadata of its first event, beside what the run had there."""
    flow = SHAPES["linear"](Counter())
    Run(flow, {}, journal=journal, id="run", name="mine", metadata={"user": "Ann"}).wait()
    fork = Run.fork(flow, journal, "run", id="fork")
    fork.wait()
    first = next(iter(journal.read("fork")))
    seq = max(each.seq for each in journal.read("run") if type(each).__name__ == "NodeEnd")
    assert isinstance(first, FlowStart)
    assert (first.flow, journal.summary("fork").flow) == ("mine", "mine")
    assert first.metadata == {"user": "Ann", "forked_from": {"run_id": "run", "seq": seq}}
    with pytest.raises(EventsLost, match="no event 99"):
        Run.fork(flow, journal, "run", 99)
    with pytest.raises(UnknownRun):
        Run.fork(flow, journal, "another")


class Twice(BatchFlow):
    """Runs its nodes two times."""

    def prep(self, shared: Any) -> list[dict[str, int]]:
        return [{"number": 0}, {"number": 1}]


class Asks(AskNode):
    """Asks."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("Ship it?")


def test_a_cancelled_fork_counts_its_items_on(journal: MemoryJournal) -> None:
    """Also those that had ended before it was forked, which its log does not hold."""

    def flow() -> Flow:
        node = Node()
        node >> Asks()
        return Twice(node)

    run = Run(flow(), {}, journal=journal, id="run")
    with pytest.raises(Paused):
        run.wait()
    run.reply("yes")
    with pytest.raises(Paused):
        run.wait()
    fork = Run.fork(flow(), journal, "run", id="fork")
    with pytest.raises(Paused):
        fork.wait()
    del fork
    journal.cancel("fork")
    assert [each.done for each in journal.read("fork") if isinstance(each, ItemEnd)] == [2]


class Inner(AsyncFlow):
    """A flow in a pass, whose `prep` waits in the first one for the end of the other."""

    def __init__(self, passed: asyncio.Event) -> None:
        super().__init__(start=Says(passed))
        self.passed = passed

    async def prep_async(self, shared: Any) -> None:
        if self.params["pass"] == 0:
            await self.passed.wait()


class Says(AsyncNode):
    """Says which pass it ran in."""

    def __init__(self, passed: asyncio.Event) -> None:
        super().__init__()
        self.passed = passed

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["last"] = self.params["pass"]
        self.passed.set()


class Passes(AsyncParallelBatchFlow):
    """Two passes."""

    async def prep_async(self, shared: Any) -> Any:
        return [{"pass": 0}, {"pass": 1}]


def test_a_fork_of_a_flow_whose_prep_was_under_way(journal: MemoryJournal) -> None:
    """It begins again, with a start of its own, inside of its pass."""

    def flow(passed: asyncio.Event) -> Passes:
        return Passes(start=Inner(passed))

    asyncio.run(Run(flow(asyncio.Event()), {}, journal=journal, id="run").wait_async())
    ended = [event for event in journal.read("run") if isinstance(event, NodeEnd)]
    assert [event.items for event in ended] == [(1,), (0,)]
    passed = asyncio.Event()
    passed.set()
    fork = Run.fork(flow(passed), journal, "run", ended[0].seq, "fork")
    asyncio.run(fork.wait_async())
    assert fork.shared == {"last": 0}
    check_events(journal.read("fork"))
