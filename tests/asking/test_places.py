"""Where a node asks: in batches, flows, retries and overrides."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Generator
from contextvars import Context, copy_context
from typing import Any

import pytest

from flowevents import (
    Ask,
    AsyncFlow,
    AsyncNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Event,
    Flow,
    Interrupt,
    Node,
    NodeStart,
    Paused,
    ReplyError,
    Result,
    Run,
    StreamNode,
)
from tests.asking.answering import answer_all, open_prompts, pause
from tests.asking.askers import (
    PARALLEL,
    AskName,
    AskNameAsync,
    Asks,
    Awaits,
    EachAtOnce,
    Inner,
    Make,
    PerItemAtOnce,
    StreamEachAtOnce,
)
from tests.driving import Driver, Seen, driving, in_thread


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
