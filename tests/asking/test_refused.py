"""Where a node cannot ask."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from flowevents import (
    Answer,
    Ask,
    AskNode,
    AsyncAskNode,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncStreamNode,
    BatchNode,
    NodeEnd,
    Paused,
    ReplyError,
    Retry,
    Run,
    StreamNode,
    signals,
)
from tests.asking.answering import Answering, answer_all, answered, pause
from tests.asking.askers import (
    Asking,
    AskName,
    AskNameAsync,
    Asks,
    AsksAsync,
    Awaits,
)
from tests.driving import Driver, Seen, status_of


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


@pytest.mark.parametrize("where", ["prep", "post"])
@pytest.mark.parametrize("nested", [True, False])
def test_a_flow_cannot_ask(loop: Driver, where: str, nested: bool) -> None:
    """It is never tried again, so that it could not ask anew; a node in it can."""

    class Asks(AsyncFlow):
        async def prep_async(self, shared: Any) -> Any:
            return await self.ask("a") if where == "prep" else None

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return await self.ask("a")

    flow = Asks(AsyncNode())
    run = Run(AsyncFlow(flow) if nested else flow, {})
    with pytest.raises(RuntimeError, match=r"Flow 'Asks' asked 'a' itself"):
        loop.wait(run)


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
    """Where it is plain: the run cannot pause in the middle of a call."""
    flow = either.flow(own(kind)())
    flow.set_params({"name": "a"})
    seen = Seen()
    run = Run(flow, {}, observers=[seen], on_pause=on_pause)
    with pytest.raises(RuntimeError, match=rf"'{kind.__name__}' asks inside of its own `_exec`"):
        either.wait(run)
    assert run.interrupts == ()
    seen.check()


@pytest.mark.parametrize("kind", [AsksAsync, Awaits, AskNameAsync])
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
    sync = either.loop is None
    kind: Any = AskNode if sync else AsyncAskNode
    batch: Any = BatchNode if sync else AsyncBatchNode

    class AskEach(kind, batch):
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
