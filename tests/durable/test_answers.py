"""Questions of runs with a journal, answered from elsewhere."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flowevents import (
    Answer,
    Ask,
    AsyncFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    Conflict,
    Event,
    Expired,
    Flow,
    Interrupt,
    MemoryJournal,
    Node,
    NodeEnd,
    Paused,
    Reply,
    ReplyError,
    Retry,
    Run,
    RunCancelled,
    RunStateError,
    SQLiteJournal,
    StreamNode,
    UnknownRun,
)
from flowevents.journal.journal import Journal
from flowevents.testing import ManualClock, check_events
from tests.driving import Driver
from tests.durable.lost import AwaitedJournal
from tests.journals.processes import begun

Handle = Callable[[], Journal]


class Before(Node):
    """Runs before anybody asks."""

    def __init__(self, ran: Counter[str]) -> None:
        super().__init__()
        self.ran = ran

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        self.ran["before"] += 1


class Asks(StreamNode):
    """Asks some questions, one after the other, and gives the answers."""

    def __init__(self, ran: Counter[str], *asks: Ask) -> None:
        super().__init__()
        self.ran, self.asks = ran, asks

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        self.ran["asks"] += 1
        for ask in self.asks:
            try:
                answer = yield ask
            except Expired:
                answer = "expired"
            yield answer

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["answers"] = exec_res


class AsksAsync(AsyncStreamNode):
    """The same, async."""

    def __init__(self, ran: Counter[str], *asks: Ask) -> None:
        super().__init__()
        self.node_name, self.ran, self.asks = "Asks", ran, asks

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        self.ran["asks"] += 1
        for ask in self.asks:
            answer = yield ask
            yield answer

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["answers"] = exec_res


SHIP = Ask("Ship it?", choices=["yes", "no"])


def _flow(ran: Counter[str], *asks: Ask, is_async: bool = False) -> Flow:
    before = Before(ran)
    before >> (AsksAsync(ran, *asks) if is_async else Asks(ran, *asks))
    return AsyncFlow(before) if is_async else Flow(before)


def _paused(journal: Journal, *asks: Ask, **options: Any) -> tuple[Run, Counter[str]]:
    """A run that has paused at the first of these questions."""
    ran: Counter[str] = Counter()
    run = Run(_flow(ran, *asks), {}, journal=journal, id="run", **options)
    with pytest.raises(Paused):
        run.wait()
    return run, ran


def _resumed(journal: Journal, *asks: Ask, **options: Any) -> tuple[Run, Counter[str]]:
    """A run that goes on in another process."""
    ran: Counter[str] = Counter()
    return Run.resume(_flow(ran, *asks), journal, "run", **options), ran


def _of(journal: Journal, kind: type[Any]) -> list[Any]:
    return [each for each in journal.read("run") if isinstance(each, kind)]


def _ids(journal: Journal) -> list[str]:
    """The ids of the questions that the journal says are open."""
    return [each.id for each in journal.runs()[0].interrupts]


# -- where the run is in this process -------------------------------------------------------------


def test_a_paused_run_goes_on_where_it_stood(handle: Handle, driver: Driver) -> None:
    """Its code does not run again."""
    ran: Counter[str] = Counter()
    flow = _flow(ran, SHIP, is_async=driver.loop is not None)
    run, other = Run(flow, {}, journal=handle(), id="run"), handle()
    with pytest.raises(Paused):
        driver.wait(run)
    (summary,) = other.runs("paused")
    assert [each.prompt for each in summary.interrupts] == ["Ship it?"]
    assert other.due() == []
    assert other.unanswered("run") == summary.interrupts
    other.reply("run", "yes", "1")
    assert (other.due(), other.unanswered("run")) == (["run"], ())
    assert other.summary("run").interrupts == summary.interrupts
    driver.wait(run)
    assert run.shared == {"answers": ["yes"]}
    assert ran == {"before": 1, "asks": 1}
    check_events(other.read("run"))
    assert [each.value for each in _of(other, Reply)] == ["yes"]
    assert (other.runs()[0].status, other.due()) == ("done", [])


@pytest.mark.parametrize("is_async", [False, True])
def test_a_run_that_waits_goes_on_where_it_stands(handle: Handle, is_async: bool) -> None:
    """In a thread, or in a loop."""
    ran: Counter[str] = Counter()
    other = handle()
    flow = _flow(ran, SHIP, Ask("Sure?", type=bool), is_async=is_async)
    run = Run(flow, {}, journal=handle(), id="run").start()
    answers = iter(["no", True])
    for event in other.follow("run", timeout=20):
        if isinstance(event, Interrupt):
            assert other.runs()[0].status == "running"
            other.reply("run", next(answers), event.id)
    run.wait()
    assert run.shared == {"answers": ["no", True]}
    assert ran == {"before": 1, "asks": 1}
    check_events(other.read("run"))


def test_run_reply_is_the_same_call(handle: Handle, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is the first wins, and a second answer is refused, wherever it comes from."""
    run, _ = _paused(handle(), SHIP)
    other = handle()
    with pytest.raises(ReplyError, match="choices"):
        run.reply("maybe")
    other.reply("run", "no")
    with pytest.raises(ReplyError, match="answered already"):
        run.reply("yes")
    with pytest.raises(ReplyError, match="answered already"):
        other.reply("run", "yes", "1")
    run.wait()
    assert run.shared["answers"] == ["no"]
    assert caplog.records == []  # it was heard once
    with pytest.raises(ReplyError):
        other.reply("run", "yes")


def test_parallel_questions_are_answered_by_id(handle: Handle, loop: Driver) -> None:
    """In any order; with one answer the run goes on as far as it can."""

    class Each(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return ["a", "b", "c"]

        async def exec_async(self, item: Any) -> Any:
            return item, await self.ask(f"{item}?")

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["answers"] = exec_res

    run, other = Run(AsyncFlow(Each()), {}, journal=handle(), id="run"), handle()
    with pytest.raises(Paused):
        loop.wait(run)
    assert _ids(other) == ["1", "2", "3"]
    with pytest.raises(ReplyError, match="3 questions"):
        other.reply("run", "x")
    other.reply("run", "second", "2")
    with pytest.raises(Paused):
        loop.wait(run)
    assert _ids(other) == ["1", "3"]
    other.reply("run", "third", "3")
    other.reply("run", "first")
    loop.wait(run)
    assert run.shared["answers"] == [("a", "first"), ("b", "second"), ("c", "third")]
    check_events(other.read("run"))


# -- where its process is gone --------------------------------------------------------------------


def test_it_is_resumed_paused_and_answered(handle: Handle) -> None:
    """By the run or by the journal; its question comes again, with its id."""
    for by_run in (True, False):
        other = handle()
        run, _ = _paused(handle(), SHIP)
        del run
        gc.collect()
        run, ran = _resumed(handle(), SHIP)
        assert (run.status, [each.id for each in run.interrupts]) == ("paused", ["1"])
        with pytest.raises(ReplyError, match="choices"):
            run.reply("maybe")
        run.reply("yes") if by_run else other.reply("run", "yes")
        run.wait()
        assert run.shared == {"answers": ["yes"]}
        assert ran == {"asks": 1}
        asked = _of(other, Interrupt)
        assert [(each.id, each.attempt) for each in asked] == [("1", 1), ("1", 2)]
        assert [each.error[:4] for each in _of(other, Retry)] == ["Lost"]
        check_events(other.read("run"))
        other.delete("run")


def test_it_was_answered_while_nobody_had_it(handle: Handle) -> None:
    """Whoever resumes it then goes on without a pause."""
    run, _ = _paused(handle(), SHIP, Ask("And now?"))
    del run
    gc.collect()
    other = handle()
    other.reply("run", "yes")
    assert other.due() == ["run"]
    run, ran = _resumed(handle(), SHIP, Ask("And now?"))
    assert run.status == "ready"
    with pytest.raises(Paused):
        run.wait()
    assert [each.prompt for each in run.interrupts] == ["And now?"]
    assert (_ids(other), other.due()) == (["2"], [])
    run.reply("go")
    run.wait()
    assert run.shared == {"answers": ["yes", "go"]}
    assert ran == {"asks": 1}
    check_events(other.read("run"))


def test_answers_that_were_taken_are_not_asked_for_again(handle: Handle) -> None:
    """As long as the same questions come; handlers hear of the open one again."""
    asks = (SHIP, Ask("Two?"), Ask("Three?"))
    run, _ = _paused(handle(), *asks)
    for answer in ("yes", 2):
        run.reply(answer)
        with pytest.raises(Paused):
            run.wait()
    del run
    gc.collect()
    heard: list[Interrupt] = []

    class Answers:
        def on_interrupt(self, event: Interrupt) -> Answer[int]:
            heard.append(event)
            return Answer(3)

    run, _ = _resumed(handle(), *asks, observers=[Answers()])
    run.wait()
    assert run.shared == {"answers": ["yes", 2, 3]}
    assert [(each.id, each.prompt) for each in heard] == [("3", "Three?")]
    check_events(run_events := list(handle().read("run")))
    assert sum(isinstance(each, Reply) for each in run_events) == 3


CHANGED = [Ask("Ship it now?", choices=["yes", "no"]), Ask("Ship it?", choices=["yes"]), Ask(7)]


@pytest.mark.parametrize("changed", CHANGED, ids=["prompt", "choices", "number"])
@pytest.mark.parametrize("answered", [False, True])
def test_a_question_that_changed_is_asked_anew(
    handle: Handle, changed: Ask, answered: bool
) -> None:
    """With a new id, because nobody has answered that; the old one is closed."""
    run, _ = _paused(handle(), SHIP)
    del run
    gc.collect()
    other = handle()
    if answered:
        other.reply("run", "yes")
    run, _ = _resumed(handle(), changed)
    with pytest.raises(Paused):
        run.wait()
    assert [(each.id, each.prompt) for each in run.interrupts] == [("2", changed.prompt)]
    assert (_ids(other), other.due()) == (["2"], [])
    with pytest.raises(ReplyError):
        other.reply("run", "yes", "1")
    other.reply("run", "yes")
    run.wait()
    assert run.shared == {"answers": ["yes"]}
    check_events(other.read("run"))


def test_a_cancel_that_nobody_took(handle: Handle, driver: Driver) -> None:
    """Whose driver was lost before it did is taken by whoever goes on at the question."""
    run, _ = _paused(handle(), SHIP)
    del run
    gc.collect()
    other = handle()
    lease = other.take("run")
    other.cancel("run")
    lease.release()
    assert other.due() == ["run"]
    ran: Counter[str] = Counter()
    flow = _flow(ran, SHIP, is_async=driver.loop is not None)
    run = Run.resume(flow, other, "run", on_pause="wait")
    with pytest.raises(RunCancelled):
        driver.wait(run)
    assert (other.runs()[0].status, other.due()) == ("cancelled", [])
    check_events(other.read("run"))


def test_what_follows_a_question_that_changed_is_asked_anew(handle: Handle) -> None:
    """Also where that was answered."""
    run, _ = _paused(handle(), SHIP, Ask("Two?"), Ask("Three?"))
    for answer in ("yes", "two"):
        run.reply(answer)
        with pytest.raises(Paused):
            run.wait()
    del run
    gc.collect()
    run, _ = _resumed(handle(), SHIP, Ask("2?"), Ask("Two?"))
    asked = []
    while run.status != "done":
        try:
            run.wait()
        except Paused:
            asked.append([(each.id, each.prompt) for each in run.interrupts])
            run.reply("again")
    assert asked == [[("4", "2?")], [("5", "Two?")]]
    assert run.shared == {"answers": ["yes", "again", "again"]}
    check_events(handle().read("run"))


def test_no_question_comes_any_more(handle: Handle) -> None:
    """The open one is closed, and its answer is in nobody's way."""
    run, _ = _paused(handle(), SHIP)
    del run
    gc.collect()
    other = handle()
    other.reply("run", "yes")
    run, _ = _resumed(handle())
    run.wait()
    assert run.shared == {"answers": []}
    assert (other.due(), _ids(other)) == ([], [])
    check_events(other.read("run"))


def test_the_nodes_own_type_refuses_an_answer(
    handle: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    """That its schema takes: the question stays open, whether its run is here or is resumed."""
    when = Ask("When?", type=datetime)
    other = handle()
    run, _ = _paused(handle(), when)
    other.reply("run", "tomorrow")
    with caplog.at_level(logging.WARNING), pytest.raises(Paused):
        run.wait()
    assert "an answer was refused" in caplog.text
    assert (_ids(other), other.due()) == (["1"], [])
    other.reply("run", "never")
    del run
    gc.collect()
    run, _ = _resumed(handle(), when)
    with pytest.raises(Paused):
        run.wait()
    assert (_ids(other), other.due()) == (["1"], [])
    other.reply("run", "2024-01-01T00:00:00")
    run.wait()
    assert run.shared == {"answers": [datetime(2024, 1, 1)]}
    check_events(other.read("run"))


def test_an_answer_of_the_nodes_own_type_survives(handle: Handle) -> None:
    """It is given again as the node got it first."""
    asks = (Ask("When?", type=datetime), Ask("Go?"))
    run, _ = _paused(handle(), *asks)
    run.reply("2024-01-01T00:00:00")
    with pytest.raises(Paused):
        run.wait()
    del run
    gc.collect()
    run, _ = _resumed(handle(), *asks)
    run.reply("go")
    run.wait()
    assert run.shared == {"answers": [datetime(2024, 1, 1), "go"]}


def test_a_resumed_run_that_is_paused_has_no_lease(handle: Handle) -> None:
    """Others may resume it as well; who is the first to drive it goes on, and the others do not."""
    _paused(handle(), SHIP)
    gc.collect()
    first, _ = _resumed(handle(), SHIP)
    second, ran = _resumed(handle(), SHIP)
    assert handle().runs()[0].status == "paused"
    second.reply("yes")
    first.wait()
    assert first.shared == {"answers": ["yes"]}
    with pytest.raises(Conflict):
        second.wait()
    assert ran == {}
    check_events(handle().read("run"))


class Beats(AsyncStreamNode):
    """Asks, and leaves a task that publishes when it is told to."""

    def __init__(self, publish: Callable[[Any], None]) -> None:
        super().__init__()
        self.publish, self.go = publish, asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        self.tasks.append(asyncio.create_task(self.beat()))
        yield (yield SHIP)

    async def beat(self) -> None:
        await self.go.wait()
        self.publish(self)


@pytest.mark.parametrize(
    "publish",
    [lambda node: node.emit("late"), lambda node: node.progress(0.5)],
    ids=["chunk", "progress"],
)
@pytest.mark.parametrize("is_awaited", [False, True])
def test_what_comes_while_a_run_is_paused(publish: Callable[[Any], None], is_awaited: bool) -> None:
    """Is delivered at once, takes no lease, and is stored when the run goes on."""
    heard: list[Event] = []

    async def main(journal: MemoryJournal) -> None:
        node = Beats(publish)
        run = Run(AsyncFlow(node), {}, journal=journal, id="run", observers=[heard.append])
        async for _ in run:
            pass
        node.go.set()
        await asyncio.gather(*node.tasks)
        (found,) = journal.runs()
        assert (run.status, found.status, found.seq, len(heard)) == ("paused", "paused", 3, 4)
        Run.resume(AsyncFlow(Beats(publish)), journal, "run")  # nobody has its lease
        run.reply("yes")
        await run.wait_async()

    with AwaitedJournal() if is_awaited else MemoryJournal() as journal:
        asyncio.run(main(journal))
        assert list(journal.read("run")) == heard
    check_events(heard)


def test_a_retry_asks_anew(handle: Handle) -> None:
    """As where nothing was lost: what was answered counts for the attempt that was lost alone."""

    class Tries(StreamNode):
        def __init__(self, fails: bool) -> None:
            super().__init__(max_retries=2)
            self.fails = fails

        def exec_stream(self, prep_res: Any) -> Iterator[Any]:
            first = yield Ask("One?")
            if self.fails and self.cur_retry == 0:
                raise ValueError(first)
            second = yield Ask("Two?")
            yield first, second

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["answers"] = exec_res

    run = Run(Flow(Tries(fails=False)), {}, journal=handle(), id="run")
    with pytest.raises(Paused):
        run.wait()
    run.reply("a")
    with pytest.raises(Paused):
        run.wait()
    del run
    gc.collect()
    run = Run.resume(Flow(Tries(fails=True)), handle(), "run")
    asked = []
    for answer in ("b", "c"):
        with pytest.raises(Paused):
            run.wait()
        asked += [(each.id, each.prompt) for each in run.interrupts]
        run.reply(answer)
    run.wait()
    assert asked == [("3", "One?"), ("4", "Two?")]
    assert run.shared == {"answers": [("b", "c")]}
    check_events(handle().read("run"))


# -- refusals -------------------------------------------------------------------------------------


def test_what_is_no_answer_is_refused(handle: Handle) -> None:
    """With the reason; the question stays open."""
    other = handle()
    run, _ = _paused(handle(), Ask("How many?", type=int, choices=[1, 2]))
    for value, id, reason in (
        (True, None, "choices"),
        (3, "1", "choices"),
        ("1", None, "choices"),
        (1, "2", "does not ask '2'"),
        (1, "", "does not ask ''"),
        (object(), None, "no JSON"),
    ):
        with pytest.raises(ReplyError, match=reason):
            other.reply("run", value, id)
        with pytest.raises(ReplyError):
            run.reply(value, id)
    with pytest.raises(UnknownRun):
        other.reply("another", 1)
    assert (other.due(), run.status) == ([], "paused")
    other.reply("run", 2)
    run.wait()
    for id in (None, "1"):
        with pytest.raises(ReplyError):
            other.reply("run", 1, id)
    with pytest.raises((ReplyError, RunStateError)):
        run.reply(1)


def test_a_question_that_has_expired(journal: MemoryJournal) -> None:
    """Takes no answer, and its node is told so, also in another process."""
    clock = ManualClock(start=1_000.0)  # long ago: for the journal it has expired at once
    run, _ = _paused(journal, Ask("Now?", expires=10), clock=clock)
    with pytest.raises(ReplyError, match="expired"):
        journal.reply("run", "yes")
    assert journal.due() == ["run"]
    del run
    gc.collect()
    clock.advance(11)
    run, _ = _resumed(journal, Ask("Now?", expires=10), clock=clock)
    with pytest.raises(ReplyError, match="expired"):
        run.reply("yes")
    run.wait()
    assert run.shared == {"answers": ["expired"]}
    first, second = _of(journal, Interrupt)
    assert first.expires == second.expires == 1010.0
    check_events(journal.read("run"))


# -- from processes at once -----------------------------------------------------------------------

_ANSWERER = """
journal = SQLiteJournal(sys.argv[1])
say("ready")
sys.stdin.readline()
try:
    journal.reply("run", sys.argv[2])
    say("won")
except ReplyError as refused:
    say("lost", refused)
journal.close()
"""


@pytest.mark.parametrize("owner", ["waits", "paused", "gone"])
def test_four_processes_answer_at_once(tmp_path: Path, owner: str) -> None:
    """One wins, and its answer is what the node gets."""
    path = tmp_path / "runs.db"
    with SQLiteJournal(path) as journal:
        ran: Counter[str] = Counter()
        run = Run(_flow(ran, Ask("Who?")), {}, journal=journal, id="run")
        if owner == "waits":
            run.start()
            follower = journal.follow("run", timeout=20)
            while not isinstance(next(follower), Interrupt):
                pass
            follower.close()
        else:
            with pytest.raises(Paused):
                run.wait()
        if owner == "gone":
            del run
            gc.collect()
        said = _answered_by_four(path)
        winners = [name for name, text in said.items() if text == "won"]
        assert len(winners) == 1
        assert all(
            "answered already" in text or "asks nothing" in text or "not ask" in text
            for name, text in said.items()
            if name not in winners
        )
        if owner == "gone":
            run, _ = _resumed(journal, Ask("Who?"))
        run.wait()
        assert run.shared == {"answers": winners}
        assert ran["asks"] == 1
        check_events(journal.read("run"))
        assert len(_of(journal, Reply)) == 1
        assert [each.status for each in _of(journal, NodeEnd)] == ["ok", "ok"]


def _answered_by_four(path: Path) -> dict[str, str]:
    """What each of them said."""
    with ExitStack() as stack:
        processes = {name: stack.enter_context(begun(_ANSWERER, path, name)) for name in "abcd"}
        for each in processes.values():
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in processes.values():
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        return {name: each.communicate()[0].strip() for name, each in processes.items()}
