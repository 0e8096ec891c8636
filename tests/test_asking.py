"""Nodes that ask: pauses, answers, expiry and cancels, in every form of a node and of a flow."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import logging
import random
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowevents
from flowevents import (
    Answer,
    Ask,
    AskNode,
    AsyncAskNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Event,
    Expired,
    Flow,
    FlowEnd,
    Interrupt,
    Node,
    NodeEnd,
    NodeStart,
    Paused,
    Reply,
    ReplyError,
    Result,
    Retry,
    Run,
    RunCancelled,
    RunStateError,
    StreamNode,
    signals,
)
from flowevents.testing import ManualClock, check_events
from tests.driving import PATIENCE, Driver, Seen, driving, in_thread, status_of
from tests.graphs import Graph, assert_same, build, graphs, outcome_of

# -- what is run ----------------------------------------------------------------------------------


class Asking:
    """Has questions, notes in `shared` what its code does, and gives the answers."""

    asked: tuple[Ask, ...] = (Ask("Go on?"),)

    def __init__(self, *asked: Any, **options: Any) -> None:
        super().__init__(**options)
        if asked:
            self.asked = tuple(each if isinstance(each, Ask) else Ask(each) for each in asked)

    def prep(self, shared: Any) -> Any:
        return shared.setdefault("log", [])

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared.setdefault("answers", []).append(exec_res)
        return str(exec_res[-1] if exec_res else None)

    async def prep_async(self, shared: Any) -> Any:
        return Asking.prep(self, shared)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        return Asking.post(self, shared, prep_res, exec_res)


class Asks(Asking, StreamNode):
    """Asks its questions, one after the other."""

    def exec_stream(self, log: Any) -> Generator[Any, Any, Any]:
        answers: list[Any] = []
        log.append("begun")
        try:
            for each in self.asked:
                answer = yield each
                log.append(answer)
                answers.append(answer)
        finally:
            log.append("left")
        yield f"answered: {answers}"
        return answers


class AsksAsync(Asking, AsyncStreamNode):
    """The same, async."""

    async def exec_stream_async(self, log: Any) -> AsyncIterator[Any]:
        answers: list[Any] = []
        log.append("begun")
        try:
            for each in self.asked:
                answer = yield each
                log.append(answer)
                answers.append(answer)
        finally:
            log.append("left")
        yield f"answered: {answers}"
        yield Result(answers)


async def put_all(node: Any, log: Any) -> list[Any]:
    """Ask a node's questions by `self.ask`."""
    answers: list[Any] = []
    log.append("begun")
    try:
        for each in node.asked:
            answer = await node.ask(
                each.prompt, choices=each.choices, type=each.type, expires=each.expires
            )
            log.append(answer)
            answers.append(answer)
    finally:
        log.append("left")
    return answers


class Awaits(Asking, AsyncNode):
    """The same, awaited."""

    async def exec_async(self, log: Any) -> Any:
        answers = await put_all(self, log)
        self.emit(f"answered: {answers}")
        return answers


class AwaitsInStream(Asking, AsyncStreamNode):
    """The same, awaited in an async generator."""

    async def exec_stream_async(self, log: Any) -> AsyncIterator[Any]:
        answers = await put_all(self, log)
        yield f"answered: {answers}"
        yield Result(answers)


Make = Callable[..., Any]

WAYS: dict[str, tuple[str, Make]] = {
    "sync, yielded": ("sync", Asks),
    "async, yielded by a plain generator": ("async", Asks),
    "async, yielded": ("async", AsksAsync),
    "async, awaited": ("async", Awaits),
    "async, awaited in a generator": ("async", AwaitsInStream),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[Driver, Make]]:
    """Every way to ask: who drives, and which node."""
    how, make = WAYS[request.param]
    with driving(how) as driver:
        yield driver, make


@pytest.fixture
def make(way: tuple[Driver, Make]) -> Make:
    """The class of the node that asks."""
    return way[1]


@pytest.fixture
def driver(way: tuple[Driver, Make]) -> Driver:
    """Who drives the run of such a node."""
    return way[0]


@pytest.fixture(params=["sync", "async"])
def either(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Both ways to drive a run, where the node matters less."""
    with driving(request.param) as driver:
        yield driver


def asks(driver: Driver, *asked: Any, **options: Any) -> Any:
    """A node that asks, and that is async where the run is."""
    return (Asks if driver.loop is None else AsksAsync)(*asked, **options)


def pause(driver: Driver, run: Run) -> Paused:
    """Drive a run until it pauses."""
    with pytest.raises(Paused) as caught:
        driver.wait(run)
    assert caught.value.run is run
    assert status_of(run) == "paused"
    return caught.value


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


def open_prompts(run: Run) -> dict[str, str]:
    """The ids of the open questions, by their prompts."""
    return {str(each.prompt): each.id for each in run.interrupts}


async def asked_by(*runs: Run) -> None:
    """Let the loop go on until all of them have asked something."""
    while not all(run.interrupts for run in runs):  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)


def answered(value: Any) -> Callable[[Interrupt], Answer[Any]]:
    """A handler that answers with that."""

    def answers(event: Interrupt) -> Answer[Any]:
        return Answer(value)

    return answers


class Answering:
    """An observer that returns the next of these things from its handler of `interrupt`."""

    def __init__(self, *given: Any) -> None:
        self.given = list(given)
        self.asked: list[Interrupt] = []

    def on_interrupt(self, event: Interrupt) -> Any:
        self.asked.append(event)
        return self.given.pop(0) if self.given else None


class AnsweringAsync(Answering):
    """The same, awaited."""

    async def on_interrupt(self, event: Interrupt) -> Any:
        await asyncio.sleep(0)
        return Answering.on_interrupt(self, event)


class AnsweringLater(Answering):
    """The same, by a plain method that gives something to await."""

    def on_interrupt(self, event: Interrupt) -> Any:
        return self.later(event)

    async def later(self, event: Interrupt) -> Any:
        """The answer."""
        await asyncio.sleep(0)
        return Answering.on_interrupt(self, event)


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
    """No observer and no puller is needed."""
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


# -- where a node asks ----------------------------------------------------------------------------


def answer_all(driver: Driver, run: Run, answer: Callable[[Interrupt], Any]) -> list[Event]:
    """Pull a run to its end, answering each question when the run pauses."""
    pulled: list[Event] = []
    while status_of(run) in ("ready", "running", "paused"):
        pulled += driver.pull(run)
        for each in run.interrupts:
            run.reply(answer(each), each.id)
    check_events(pulled)
    return pulled


def test_a_loop_asks_each_time(driver: Driver, make: Make) -> None:
    """Each execution asks for itself, under an id of its own."""
    again = make("Again?")
    again - "yes" >> again
    again - "no" >> None
    answers = iter(["yes", "yes", "no"])
    shared: dict[str, Any] = {}
    run = Run(driver.flow(again), shared)
    pulled = answer_all(driver, run, lambda event: next(answers))
    asked = [each for each in pulled if isinstance(each, Interrupt)]
    assert [each.step for each in asked] == [1, 2, 3]
    assert len({each.id for each in asked}) == 3
    assert shared["answers"] == [["yes"], ["yes"], ["no"]]


def test_a_nested_flow_asks(driver: Driver, make: Make) -> None:
    """Under its path; the flow around it goes on afterwards."""
    inner = driver.flow(make("inside"))
    inner.node_name = "Inner"
    inner >> make("after")
    run = Run(driver.flow(inner), {})
    inner - "inside" >> inner.successors["default"]
    pulled = answer_all(driver, run, lambda event: event.prompt)
    assert [each.node for each in pulled if isinstance(each, Interrupt)] == [
        *(f"Inner/{make.__name__}", make.__name__),
    ]


class Each(StreamNode, BatchNode):
    """Each item asks for itself."""

    def prep(self, shared: Any) -> Any:
        return shared["items"]

    def exec_stream(self, item: Any) -> Generator[Any, Any, Any]:
        yield f"begin {item}"
        answer = yield Ask(item)
        yield f"end {item}"
        return answer

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res


class EachAtOnce(AsyncParallelBatchNode):
    """All items ask at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        return shared["items"]

    async def exec_async(self, item: Any) -> Any:
        self.emit(f"begin {item}")
        answer = await self.ask(item)
        self.emit(f"end {item}")
        return answer

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = exec_res


class StreamEachAtOnce(AsyncStreamNode, AsyncParallelBatchNode):
    """All items ask at the same time, and stream."""

    prep_async = EachAtOnce.prep_async
    post_async = EachAtOnce.post_async

    async def exec_stream_async(self, item: Any) -> AsyncIterator[Any]:
        yield f"begin {item}"
        answer = yield Ask(item)
        yield f"end {item}"
        yield Result(answer)


PARALLEL: list[Make] = [EachAtOnce, StreamEachAtOnce]


@pytest.mark.parametrize("heard", [True, False])
def test_a_batch_asks_item_by_item(either: Driver, heard: bool) -> None:
    """Of one item after the other, whoever hears of it."""
    shared: dict[str, Any] = {"items": ["a", "b", "c"]}
    seen = Seen()
    run = Run(either.flow(Each()), shared, observers=[seen] if heard else [])
    for index, item in enumerate("abc"):
        pause(either, run)
        (asked,) = run.interrupts
        assert (asked.prompt, asked.items) == (item, (index,))
        run.reply(item.upper())
    either.wait(run)
    assert shared["results"] == ["A", "B", "C"]
    seen.check()


class PerItem(BatchFlow):
    def prep(self, shared: Any) -> Any:
        return [{"name": each} for each in "ab"]


class PerItemAtOnce(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return [{"name": each} for each in shared.get("items", "abc")]


class AskName(AskNode):
    """Asks for what its flow's item is called."""

    def question(self, prep_res: Any) -> Ask:
        return Ask(self.params["name"])

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.setdefault("named", {})[self.params["name"]] = exec_res


class AskNameAsync(AsyncAskNode):
    """The same, async."""

    async def question_async(self, prep_res: Any) -> Ask:
        await asyncio.sleep(0)
        return Ask(self.params["name"])

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        AskName.post(self, shared, prep_res, exec_res)  # type: ignore[arg-type]


def test_a_batch_flow_asks_item_by_item(either: Driver) -> None:
    """Each pass asks for itself."""
    shared: dict[str, Any] = {}
    pulled = answer_all(
        either, Run(PerItem(AskName()), shared), lambda event: (event.prompt, event.items)
    )
    assert shared["named"] == {"a": ("a", (0,)), "b": ("b", (1,))}
    assert [type(each) for each in pulled].count(Interrupt) == 2


@pytest.mark.parametrize("node", [AskName, AskNameAsync])
@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_the_items_of_a_parallel_flow_are_answered_in_any_order(
    loop: Driver, order: tuple[str, ...], node: Make
) -> None:
    """All are open at once, and told apart by their ids."""
    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(PerItemAtOnce(node()), shared, observers=[seen])
    pause(loop, run)
    asked = open_prompts(run)
    assert sorted(asked) == ["a", "b", "c"]
    for name in order:
        run.reply(name.upper(), asked[name])
    loop.wait(run)
    assert shared["named"] == {"a": "A", "b": "B", "c": "C"}
    seen.check()


@pytest.mark.parametrize("make_items", PARALLEL)
@pytest.mark.parametrize("pulled", [True, False])
@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_parallel_items_are_answered_in_any_order(
    loop: Driver, make_items: Make, order: tuple[str, ...], pulled: bool
) -> None:
    """One per pause: what is answered goes on, and the run pauses again for the others."""
    shared: dict[str, Any] = {"items": list("abc")}
    seen = Seen()
    run = Run(AsyncFlow(make_items()), shared, observers=[seen])
    events: list[Event] = []
    for index, name in enumerate(order):
        if pulled:
            events += loop.pull(run)
            assert run.status == "paused"
        else:
            pause(loop, run)
        asked = open_prompts(run)
        assert sorted(asked) == sorted(order[index:])
        run.reply(name.upper(), asked[name])
    if pulled:
        events += loop.pull(run)
        assert events == seen.events
    else:
        loop.wait(run)
    assert shared["results"] == ["A", "B", "C"]
    seen.check()


@pytest.mark.parametrize("make_items", PARALLEL)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_fewer_items_at_once(loop: Driver, make_items: Make, limit: int) -> None:
    """A run pauses when as many wait as may run at once; an answer makes room for the next."""
    shared: dict[str, Any] = {"items": list(range(7))}
    seen = Seen()
    run = Run(AsyncFlow(make_items(max_concurrency=limit)), shared, observers=[seen])
    for answered_items in range(7):
        pause(loop, run)
        assert len(run.interrupts) == min(limit, 7 - answered_items)
        last = run.interrupts[-1]
        run.reply(-last.prompt, last.id)
    loop.wait(run)
    assert shared["results"] == [0, -1, -2, -3, -4, -5, -6]
    seen.check()


class Works(EachAtOnce):
    """One of the items works instead of asking."""

    async def exec_async(self, item: Any) -> Any:
        if item != "work":
            return await self.ask(item)
        for _ in range(20):
            await asyncio.sleep(0)
            self.emit(item)
        return "worked"


class StreamWorks(StreamEachAtOnce):
    """The same, streaming."""

    async def exec_stream_async(self, item: Any) -> AsyncIterator[Any]:
        if item != "work":
            yield Result((yield Ask(item)))
            return
        for _ in range(20):
            await asyncio.sleep(0)
            yield item
        yield Result("worked")


@pytest.mark.parametrize("make_items", [Works, StreamWorks])
def test_a_run_pauses_only_when_nothing_can_go_on(loop: Driver, make_items: Make) -> None:
    """An item that works goes on to its end while the others wait."""
    shared: dict[str, Any] = {"items": ["a", "work", "b"]}
    seen = Seen()
    run = Run(AsyncFlow(make_items()), shared, observers=[seen])
    pause(loop, run)
    assert [each.data for each in seen.of(Chunk)] == ["work"] * 20
    for each in run.interrupts:
        run.reply(1, each.id)
    loop.wait(run)
    assert shared["results"] == [1, "worked", 1]
    seen.check()


class Inner(EachAtOnce):
    """The items of an item, which ask at the same time."""

    async def prep_async(self, shared: Any) -> Any:
        return [f"{self.params['name']}{index}" for index in range(2)]

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.setdefault("named", {})[self.params["name"]] = exec_res


@pytest.mark.parametrize("outer", [1, 2, None])
@pytest.mark.parametrize("inner", [1, 2, None])
@pytest.mark.parametrize("seed", range(3))
def test_parallel_in_parallel(
    loop: Driver, outer: int | None, inner: int | None, seed: int
) -> None:
    """A run pauses when every item of every item waits."""
    shared: dict[str, Any] = {}
    seen = Seen()
    flow = PerItemAtOnce(Inner(max_concurrency=inner), max_concurrency=outer)
    run = Run(flow, shared, observers=[seen])
    shuffled = random.Random(seed)
    pauses = 0
    while True:
        try:
            loop.wait(run)
            break
        except Paused:
            pauses += 1
        assert len(run.interrupts) <= (outer or 3) * (inner or 2)
        for each in shuffled.sample(run.interrupts, shuffled.randint(1, len(run.interrupts))):
            run.reply(each.prompt.upper(), each.id)
    assert shared["named"] == {name: [f"{name}0".upper(), f"{name}1".upper()] for name in "abc"}
    assert pauses >= 6 // ((outer or 3) * (inner or 2))
    seen.check()


def test_an_item_that_fails_while_the_others_wait(loop: Driver) -> None:
    """Theirs are withdrawn, and their code is left; the run fails with its error."""
    left = []

    class Fails(EachAtOnce):
        async def exec_async(self, item: Any) -> Any:
            try:
                answer = await self.ask(item)
            finally:
                left.append(item)
            if item == "b":
                raise ValueError(answer)

    seen = Seen()
    run = Run(AsyncFlow(Fails()), {"items": list("abc")}, observers=[seen])
    pause(loop, run)
    ids = open_prompts(run)
    run.reply("broken", ids["b"])
    with pytest.raises(ValueError, match="broken"):
        loop.wait(run)
    assert sorted(left) == ["a", "b", "c"]
    with pytest.raises(ReplyError, match="withdrawn"):
        run.reply(1, ids["a"])
    seen.check()


@pytest.mark.parametrize("pulled", [True, False])
@pytest.mark.parametrize("limit", [None, 2])
def test_eager_tasks(pulled: bool, limit: int | None) -> None:
    """Items that begin before their group knows them pause and go on as any."""
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        pytest.skip("eager tasks are of CPython 3.12")
    with driving("async") as driver:
        assert driver.loop is not None
        driver.loop.set_task_factory(factory)
        for make_items in PARALLEL:
            shared: dict[str, Any] = {"items": list(range(5))}
            run = Run(AsyncFlow(make_items(max_concurrency=limit)), shared)
            if pulled:
                answer_all(driver, run, lambda event: event.prompt * 2)
            else:
                for _ in range(9):
                    try:
                        driver.wait(run)
                        break
                    except Paused:
                        for each in run.interrupts:
                            run.reply(each.prompt * 2, each.id)
            assert shared["results"] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("where", ["prep", "post", "fallback"])
@pytest.mark.parametrize("pulled", [True, False])
def test_all_async_methods_may_ask(loop: Driver, where: str, pulled: bool) -> None:
    """`prep_async`, `post_async` and `exec_fallback_async` too."""

    class Everywhere(AsyncNode):
        async def prep_async(self, shared: Any) -> Any:
            return await self.ask(where) if where == "prep" else None

        async def exec_async(self, prep_res: Any) -> Any:
            if where == "fallback":
                raise ValueError("broken")
            return prep_res

        async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> Any:
            return await self.ask(where)

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return await self.ask(where) if where == "post" else exec_res

    run = Run(AsyncFlow(Everywhere()), {})
    if pulled:
        answer_all(loop, run, lambda event: "answer")
    else:
        pause(loop, run)
        run.reply("answer")
        loop.wait(run)
    assert run.action == "answer"


def test_a_step_in_a_context_of_an_observers_asks(driver: Driver, make: Make) -> None:
    """Each piece of the code is run in that context."""

    class Traces(Seen):
        def context(self, event: Event) -> Context:
            return copy_context()

    traces = Traces()
    shared: dict[str, Any] = {}
    run = Run(driver.flow(make("a", "b")), shared, observers=[traces])
    answer_all(driver, run, lambda event: event.prompt)
    assert shared["answers"] == [["a", "b"]]
    traces.check()


@pytest.mark.parametrize("make_context", [copy_context, Context])
@pytest.mark.parametrize("node", [Awaits, EachAtOnce, StreamEachAtOnce])
def test_a_context_for_steps_only(loop: Driver, node: Make, make_context: Any) -> None:
    """Whatever is in it: its items ask for themselves, and publish for themselves."""

    class Traces(Seen):
        def context(self, event: Event) -> Context | None:
            return make_context() if isinstance(event, NodeStart) else None

    traces = Traces()
    run = Run(AsyncFlow(node()), {"items": list("ab")}, observers=[traces])
    answer_all(loop, run, lambda event: event.prompt)
    begun = [each.items for each in traces.of(Chunk) if str(each.data).startswith("begin")]
    assert sorted(begun) == ([] if node is Awaits else [(0,), (1,)])
    traces.check()


def test_a_run_inside_a_node_pauses_for_itself(either: Driver) -> None:
    """Its `Paused` is an error of that node, and its questions are not the outer run's."""
    inner: list[Run] = []

    class Outer(Node):
        def exec(self, prep_res: Any) -> Any:
            try:
                return Flow(Asks("inside")).run({})
            except Paused as paused:
                inner.append(paused.run)
                paused.run.reply("answered")
                return paused.run.wait()

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    run = Run(either.flow(Outer()), {})
    assert either.wait(run) == "answered"
    assert run.interrupts == ()
    assert inner[0].status == "done"


def test_what_other_threads_publish_while_a_question_is_open(either: Driver) -> None:
    """Belongs to the step, which is open; what comes later than its end is dropped."""
    nodes: list[Any] = []

    class Holds(Asks):
        def prep(self, shared: Any) -> Any:
            nodes.append(self)
            return super().prep(shared)

    seen = Seen()
    run = Run(either.flow(Holds("a")), {}, observers=[seen])
    pause(either, run)
    in_thread(lambda: nodes[0].emit("meanwhile", kind="note"))
    run.reply(1)
    either.wait(run)
    assert [each.data for each in seen.of(Chunk) if each.kind == "note"] == ["meanwhile"]
    seen.check()


# -- handlers answer ------------------------------------------------------------------------------

ANSWERERS = [Answering, AnsweringAsync, AnsweringLater]


def answerers(driver: Driver) -> list[Any]:
    """The forms of handlers that a run can hear."""
    return [Answering] if driver.loop is None else ANSWERERS


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


# -- replies from elsewhere, while the run goes on ------------------------------------------------


def replies(run: Run, answer: Callable[[Interrupt], Any]) -> tuple[Callable[[Event], None], Any]:
    """A handler that hands questions to a thread, which answers them, and that thread."""
    questions: list[Interrupt | None] = []
    changed = threading.Condition()

    def hear(event: Event) -> None:
        with changed:
            if isinstance(event, Interrupt):
                questions.append(event)
            elif isinstance(event, FlowEnd) and not event.node:
                questions.append(None)
            changed.notify()

    def work() -> None:
        while True:
            with changed:
                assert changed.wait_for(lambda: questions, PATIENCE)
                asked = questions.pop(0)
            if asked is None:
                return
            run.reply(answer(asked), asked.id)

    thread = threading.Thread(target=work)
    thread.start()
    return hear, thread


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


# -- which answers a question takes ---------------------------------------------------------------


@dataclass
class Point:
    x: int


class Choice(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (bool, True, True),
        (int, 5, 5),
        (float, 5, 5.0),
        (str, "a", "a"),
        (list[int], [1, 2], [1, 2]),
        (Literal["a", "b"], "b", "b"),
        (Point, {"x": 1}, Point(1)),
        (Point, Point(1), Point(1)),
        (Choice, {"name": "a"}, Choice("a")),
        (Choice, Choice("a"), Choice("a")),
        (int | None, None, None),
    ],
)
def test_an_answer_is_converted(either: Driver, kind: Any, value: Any, expected: Any) -> None:
    """To the question's type, as `msgspec.convert` does; its JSON schema is in the event."""
    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(either.flow(asks(either, Ask("a", type=kind))), shared, observers=[seen])
    pause(either, run)
    assert run.interrupts[0].schema == msgspec.json.schema(kind)
    run.reply(value)
    either.wait(run)
    ((given,),) = shared["answers"]
    assert (given, type(given)) == (expected, type(expected))
    assert seen.of(Reply)[0].value == expected


@pytest.mark.parametrize(
    ("asked", "value", "said"),
    [
        (Ask("Ship it?", type=bool), "maybe", "Expected `bool`, got `str`"),
        (Ask("Ship it?", type=bool), 1, "Expected `bool`, got `int`"),
        (Ask("Ship it?", type=int), True, "Expected `int`, got `bool`"),
        (Ask("Ship it?", type=Point), {}, "missing required field `x`"),
        (Ask("Ship it?", type=list[int]), ["a"], "An answer is of type list[int]"),
        (Ask("Ship it?", choices=["yes", "no"]), "maybe", "the choices are 'yes', 'no'"),
        (Ask("Ship it?", choices=[1, 2]), True, "the choices are 1, 2"),
        (Ask("Ship it?", choices=[True]), 1, "the choices are True"),
        (Ask("Ship it?", choices=["1"], type=str), 1, "Expected `str`"),
        (Ask("Ship it?", choices=["1"], type=str), "2", "the choices are '1'"),
        (Ask("Ship it?", choices=[["a"]]), [], "the choices are ['a']"),
    ],
)
def test_a_bad_answer_is_refused(either: Driver, asked: Ask, value: Any, said: str) -> None:
    """At the replier, with the reason; the question stays open, as often as it comes."""
    run = Run(either.flow(asks(either, asked)), {})
    pause(either, run)
    for _ in range(2):
        with pytest.raises(ReplyError) as caught:
            run.reply(value)
        assert isinstance(caught.value, ValueError)
        for part in (repr(value), "'Ship it?'", said):
            assert part in str(caught.value)
    assert len(run.interrupts) == 1
    assert (run.status, either.pull(run)) == ("paused", [])
    either.close(run)


def test_a_question_is_answered_once(driver: Driver, make: Make) -> None:
    """A second answer is refused: while the run is paused, while it goes on, and after its end."""
    run = Run(driver.flow(make("a", "b")), {})
    with pytest.raises(RunStateError, match=r"Cannot reply: run .* is ready"):
        run.reply(1)
    pause(driver, run)
    (asked,) = run.interrupts
    run.reply(1)
    for id in (asked.id, None):
        with pytest.raises(ReplyError, match=f"{asked.id!r} is answered already"):
            run.reply(2, id)
    pause(driver, run)
    with pytest.raises(ReplyError, match="answered already"):
        run.reply(2, asked.id)
    run.reply(2)
    assert driver.wait(run) == "2"
    with pytest.raises(ReplyError, match="answered already"):
        run.reply(3, asked.id)
    with pytest.raises(RunStateError, match=r"Cannot reply: run .* is done"):
        run.reply(3)


@pytest.mark.parametrize("stop", [True, False])
def test_a_question_that_is_settled_while_an_answer_is_looked_at(
    either: Driver, stop: bool
) -> None:
    """By a cancel, or by an answer: no answer is accepted and lost."""

    class Sly:
        def __eq__(self, other: object) -> bool:
            run.cancel() if stop else run.reply("first")
            return True

        __hash__ = None  # type: ignore[assignment]

    shared: dict[str, Any] = {}
    run = Run(either.flow(asks(either, Ask("a", choices=["first"]))), shared)

    async def reply() -> None:
        with pytest.raises(ReplyError, match=r"withdrawn" if stop else r"answered already"):
            run.reply(Sly())

    pause(either, run)
    if either.loop is None:
        with pytest.raises(StopIteration):
            reply().send(None)
    elif not stop:  # there a cancel takes effect later
        either.in_loop(reply())
    run.cancel() if stop else either.wait(run)
    either.settle()
    assert shared.get("answers") == (None if stop else [["first"]])


def test_there_is_no_such_question(driver: Driver, make: Make) -> None:
    """The error says which there are."""
    run = Run(driver.flow(make("a")), {})
    driver.pull(run, 1)
    with pytest.raises(ReplyError, match=f"No question is open in run {run.id}"):
        run.reply(1)
    pause(driver, run)
    (asked,) = run.interrupts
    for unknown in ("99", "", "no number", "²", "0"):
        with pytest.raises(ReplyError, match=f"no question {unknown!r}. Open are: {asked.id!r}"):
            run.reply(1, unknown)
    assert len(run.interrupts) == 1
    driver.close(run)


def test_which_question_has_to_be_said(loop: Driver) -> None:
    """Where several are open; the error names them. Of one that is left it needs not be said."""
    shared: dict[str, Any] = {"items": list("ab")}
    run = Run(AsyncFlow(EachAtOnce()), shared)
    pause(loop, run)
    with pytest.raises(ReplyError, match=r"Several questions are open.*'1' \('a'\), '2' \('b'\)"):
        run.reply(1)
    with pytest.raises(ReplyError, match="id=1: a question's id is a string"):
        run.reply("as JSON may have it", 1)  # type: ignore[arg-type]
    run.reply("by id", "1")
    run.reply("the only one")
    with pytest.raises(ReplyError, match="answered already"):
        run.reply(1)
    loop.wait(run)
    assert shared["results"] == ["by id", "the only one"]


def test_a_question_says_what_is_wrong_with_it() -> None:
    """Where it is made."""
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"choices": []}, ValueError, "choices is empty"),
        ({"choices": "yes"}, ValueError, "choices='yes' is one text"),
        ({"expires": 0}, ValueError, "expires=0"),
        ({"expires": -1}, ValueError, "expires=-1"),
        ({"expires": float("nan")}, ValueError, "expires=nan"),
        ({"type": Driver}, TypeError, "cannot be asked for"),
        ({"type": "bool"}, TypeError, "msgspec knows no JSON schema of it"),
        ({"prompt": Ask("b", type=int)}, TypeError, r"the prompt is a question itself, Ask\('b'\)"),
    ]
    for options, error, said in cases:
        with pytest.raises(error, match=said):
            Ask(**{"prompt": "a", **options})
    assert repr(Ask("a", choices=iter([1, 2]))) == "Ask('a')"
    assert Ask("a", choices=iter([1, 2])).choices == [1, 2]
    assert repr(Answer(5)) == "Answer(5)"
    annotated = Annotated[str, msgspec.Meta(examples=["a"])]  # which has no hash
    assert Ask("a", type=annotated).schema == {"type": "string", "examples": ["a"]}


def test_a_question_has_no_subclasses() -> None:
    """A node that yields one would stream it, unseen."""
    with pytest.raises(TypeError, match="Confirm cannot be a class of questions"):
        type("Confirm", (Ask,), {})


# -- expiry ---------------------------------------------------------------------------------------


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


# -- cancelling a run that waits ------------------------------------------------------------------


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
def test_a_paused_run_that_knows_itself_is_cancelled_when_it_is_collected(
    loop: Driver, make_node: Make, pulled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The collector closes its code, in any order, before the loop can; its ends come all the same,
    and nothing is said of tasks."""

    class Knows:
        run: Run

        def on_interrupt(self, event: Interrupt) -> None:
            pass

    seen, knows = Seen(), Knows()
    knows.run = Run(loop.flow(make_node()), {}, observers=[seen, knows])
    until_it_pauses(loop, knows.run, pulled)
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
    seen.check()
    assert set(seen.ends()) == {"cancelled"}
    assert set(shared["log"]) == {"begun", "left"}
    assert caplog.records == []


def test_what_code_raises_that_is_closed_without_its_loop_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The ends come all the same; one that would wait cannot."""

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
        seen.check()
        assert set(seen.ends()) == {"cancelled"}
    errors = [each.exc_info and each.exc_info[0] for each in caplog.records]
    assert errors == [ValueError, RuntimeError]
    assert "while it was closed" in caplog.records[0].getMessage()


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


# -- where a node cannot ask ----------------------------------------------------------------------


def gathers(node: Awaits) -> Any:
    """Two questions at once, in tasks of their own."""
    return asyncio.gather(node.ask("a"), node.ask("b"))


def makes_a_task(node: Awaits) -> Any:
    """A task for the question."""
    return asyncio.create_task(node.ask("a"))


def waits_for(node: Awaits) -> Any:
    """A time limit around it."""
    return asyncio.wait_for(node.ask("a"), 1)


@pytest.mark.parametrize("how", [gathers, makes_a_task, waits_for])
@pytest.mark.parametrize("pulled", [True, False])
def test_a_task_of_the_nodes_own_cannot_ask(
    loop: Driver, how: Callable[[Any], Any], pulled: bool
) -> None:
    """The error names what can."""
    if how is waits_for and sys.version_info >= (3, 12):
        pytest.skip("wait_for makes no task from CPython 3.12 on")

    class Own(AsyncNode):
        async def exec_async(self, prep_res: Any) -> Any:
            return await how(self)

    run = Run(AsyncFlow(Own()), {})
    with pytest.raises(RuntimeError, match=r"'Own' asked 'a' in a task.*AsyncParallelBatchNode"):
        loop.pull(run) if pulled else loop.wait(run)
    assert run.interrupts == ()
    loop.settle()


def own(kind: Any) -> Any:
    """A node class with an `_exec` of its own, which calls the one it overrides."""
    if issubclass(kind, AsyncNode):

        async def exec_async(self: Any, prep_res: Any) -> Any:
            return await kind._exec(self, prep_res)

        return type(kind.__name__, (kind,), {"_exec": exec_async})

    def exec(self: Any, prep_res: Any) -> Any:
        return kind._exec(self, prep_res)

    return type(kind.__name__, (kind,), {"_exec": exec})


@pytest.mark.parametrize("kind", [Asks, AskName])
@pytest.mark.parametrize("on_pause", ["return", "wait"])
def test_an_overridden_exec_cannot_wait(either: Driver, kind: Any, on_pause: Any) -> None:
    """Where it is plain: the run cannot pause in the middle of a call. A handler can answer."""
    flow = either.flow(own(kind)())
    flow.set_params({"name": "a"})
    shared: dict[str, Any] = {}
    seen = Seen()
    run = Run(flow, shared, observers=[seen], on_pause=on_pause)
    hear, thread = replies(run, lambda event: "by a thread")
    signals.flow_end.connect(hear, sender=run)
    if either.loop is None and on_pause == "wait":
        signals.interrupt.connect(hear, sender=run)
        either.wait(run)
    else:
        with pytest.raises(
            RuntimeError, match=rf"'{kind.__name__}' asks inside of its own `_exec`"
        ):
            either.wait(run)
        assert run.interrupts == ()
    thread.join()
    seen.check()
    either.run(flow, shared, observers=[Answering(Answer("a"))])
    assert shared.get("answers", shared.get("named")) in (
        [["a"]],
        {"a": "a"},
        [["by a thread"], ["a"]],
    )


@pytest.mark.parametrize("kind", [AsksAsync, Awaits, AskNameAsync, EachAtOnce, StreamEachAtOnce])
@pytest.mark.parametrize("pulled", [True, False])
def test_an_overridden_async_exec_waits(loop: Driver, kind: Any, pulled: bool) -> None:
    """It is awaited, so that the run can pause in it."""
    flow = AsyncFlow(own(kind)())
    flow.set_params({"name": "a"})
    shared: dict[str, Any] = {"items": list("ab")}
    seen = Seen()
    run = Run(flow, shared, observers=[seen])
    while run.status in ("ready", "running", "paused"):
        if pulled:
            loop.pull(run)
        elif status_of(run) != "paused" or not run.interrupts:
            try:
                loop.wait(run)
            except Paused:
                pass
        for each in run.interrupts:
            run.reply("answer", each.id)
    assert "answer" in repr(shared)
    seen.check()


def test_ask_in_an_exec_that_is_called_by_hand(loop: Driver) -> None:
    """Outside of a run nobody can answer, whoever hears of it."""
    with signals.interrupt.connected_to(answered("a")):
        with pytest.raises(RuntimeError, match="Asks asked 'a', but no run of it is under way"):
            Asks("a")._exec([])
        with pytest.raises(RuntimeError, match="AsksAsync asked 'a', but no run"):
            loop.in_loop(AsksAsync("a")._exec([]))


def test_ask_outside_of_a_run(loop: Driver) -> None:
    """Is an error that says so, also after the run."""
    kept: list[Any] = []

    class Keeps(Awaits):
        async def prep_async(self, shared: Any) -> Any:
            kept.append(self)
            return []

    with pytest.raises(RuntimeError, match="Awaits asked 'a', but no run of it is under way"):
        loop.in_loop(Awaits().ask("a"))
    loop.run(AsyncFlow(Keeps()), {}, observers=[Answering(Answer(1))])
    with pytest.raises(RuntimeError, match="Keeps asked 'a', but no run"):
        loop.in_loop(kept[0].ask("a"))


@pytest.mark.parametrize("given", [[Ask("a")], ("text", Ask("a"))])
def test_only_a_generator_can_ask(either: Driver, given: Any) -> None:
    """Nothing else can take the answer; it is an error of the node."""

    class Lists(StreamNode):
        def exec_stream(self, prep_res: Any) -> Any:
            return given

    class ListsAsync(AsyncStreamNode):
        def exec_stream_async(self, prep_res: Any) -> Any:
            return given

    for node in (Lists(), *([ListsAsync()] if either.loop is not None else [])):
        run = Run(either.flow(node), {})
        with pytest.raises(TypeError, match=r"Lists.*only a generator can"):
            either.wait(run)
        assert run.interrupts == ()


def test_an_async_node_may_give_a_generator(loop: Driver) -> None:
    """Plain, or awaited first: the answer gets to its code."""
    shared: dict[str, Any] = {}

    class Plain(Asking, AsyncStreamNode):
        def exec_stream_async(self, log: Any) -> Any:
            answer = yield Ask("a")
            log.append(answer)

    class Awaited(Asking, AsyncStreamNode):
        async def exec_stream_async(self, log: Any) -> Any:  # type: ignore[override]
            return AsksAsync.exec_stream_async(self, log)  # type: ignore[arg-type]

    for node in (Plain(), Awaited("a")):
        answer_all(loop, Run(AsyncFlow(node), shared), lambda event: "answer")
    assert shared["log"] == ["answer", "begun", "answer", "left"]


def test_a_node_that_only_asks(either: Driver) -> None:
    """Its `exec_res` is the answer; `question` may fail, be tried again, and fall back."""

    class Approve(AskNode if either.loop is None else AsyncAskNode):  # type: ignore[misc]
        tries = 0

        def question(self, prep_res: Any) -> Ask:
            Approve.tries += 1
            if Approve.tries == 1:
                raise ValueError("not yet")
            return Ask("Ship it?", choices=["yes", "no"])

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return exec_res

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    seen = Seen()
    run = Run(either.flow(Approve(max_retries=2)), {}, observers=[seen], capture=True)
    pause(either, run)
    with pytest.raises(ReplyError):
        run.reply("maybe")
    run.reply("no")
    assert either.wait(run) == "no"
    assert seen.of(NodeEnd)[0].result == "no"
    assert [each.error for each in seen.of(Retry)] == ["ValueError: not yet"]
    seen.check()


def test_a_node_without_a_question(either: Driver) -> None:
    """It says what is missing; so does one that gives something else."""
    kind: Any = AskNode if either.loop is None else AsyncAskNode
    with pytest.raises(NotImplementedError, match=f"'{kind.__name__}' has no question"):
        either.run(either.flow(kind()), {})

    class Wrong(kind):
        def question(self, prep_res: Any) -> Any:
            return "Ship it?"

    with pytest.raises(TypeError, match=r"'Wrong' gave 'Ship it\?' as its question: return an Ask"):
        either.run(either.flow(Wrong()), {})


def test_ask_nodes_in_batches(either: Driver) -> None:
    """Each item is a question."""
    kind: Any = AskNode if either.loop is None else AsyncAskNode

    class AskEach(kind, BatchNode):
        def prep(self, shared: Any) -> Any:
            return list("ab")

        async def prep_async(self, shared: Any) -> Any:
            return list("ab")

        def question(self, item: Any) -> Ask:
            return Ask(item)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["results"] = exec_res

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["results"] = exec_res

    shared: dict[str, Any] = {}
    answer_all(either, Run(either.flow(AskEach()), shared), lambda event: event.prompt.upper())
    assert shared["results"] == ["A", "B"]


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


# -- many -----------------------------------------------------------------------------------------


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
            assert isinstance(ended, RunCancelled)
        assert run.interrupts == ()


def test_replies_and_pauses_race(loop: Driver) -> None:
    """Items answered from a thread while their run pauses and goes on: each answer gets home."""
    for _ in range(20):
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


# -- any graph ------------------------------------------------------------------------------------


def reply_to(event: Interrupt) -> Any:
    """The answer that says what was asked."""
    return ["answer", *event.prompt]


def run_answered(how: str, spec: Graph, seen: Seen, shared: Any) -> Any:
    """Run a drawn graph whose questions a handler answers."""

    class Answers:
        def on_interrupt(self, event: Interrupt) -> Answer[Any]:
            return Answer(reply_to(event))

    with driving(how) as driver:
        node = build(spec, flowevents, shared)
        return driver.run(node, shared, observers=[Answers(), seen])


def run_stopped(how: str, spec: Graph, seen: Seen, counts: list[int], shared: Any) -> Any:
    """Run a drawn graph by loops that are left after so many events, each with replies after it.

    A count of 0 answers and pushes it as far as it goes.
    """
    left = iter(counts)
    with driving(how) as driver:
        run = Run(build(spec, flowevents, shared), shared, observers=[seen])
        while status_of(run) in ("ready", "running", "paused"):
            count = next(left, None)
            try:
                driver.wait(run) if count == 0 else driver.pull(run, count)
            except Paused:
                pass
            for each in run.interrupts:
                run.reply(reply_to(each), each.id)
        return driver.wait(run)


def plainly(seen: Seen) -> list[dict[str, Any]]:
    """Events as every run of that graph gives them."""
    seen.check()
    own = ("run_id", "time", "duration")
    fields = [{"type": type(e).__name__, **msgspec.structs.asdict(e)} for e in seen.events]
    return [{name: each[name] for name in each if name not in own} for each in fields]


@given(graphs(streams=True, asks=True), st.lists(st.integers(0, 9), max_size=12))
def test_any_graph_that_asks_is_stopped_anywhere(spec: Graph, counts: list[int]) -> None:
    """Sync and async, answered by handlers or between loops: the events and the calls are same."""
    expected = Seen()
    outcome = outcome_of(lambda shared: run_answered("sync", spec, expected, shared))
    for how in ("sync", "async"):
        other = Seen()
        same = outcome_of(functools.partial(run_answered, how, spec, other))
        assert plainly(other) == plainly(expected)
        assert_same(spec, same, outcome)
        other = Seen()
        same = outcome_of(functools.partial(run_stopped, how, spec, other, counts))
        assert plainly(other) == plainly(expected)
        assert_same(spec, same, outcome)


@given(graphs(streams=True, asynchronous=True, asks=True), st.lists(st.integers(0, 9), max_size=12))
def test_any_async_graph_that_asks_is_stopped_anywhere(spec: Graph, counts: list[int]) -> None:
    """With parallel items: within each scope the same is done in the same order."""
    expected = outcome_of(lambda shared: run_answered("async", spec, Seen(), shared))
    seen = Seen()
    outcome = outcome_of(lambda shared: run_stopped("async", spec, seen, counts, shared))
    seen.check()
    assert_same(spec, outcome, expected)
