"""What a node raises says where it came from, and its traceback shows the user's code."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pytest

import flowevents
from flowevents import (
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
    Run,
    StreamFlow,
    StreamNode,
)
from tests.hostile import CONTROLS, HOSTILE
from tests.watching import in_loop

PACKAGE = flowevents.__path__[0]


class Lost(Exception):
    """What the nodes here raise."""


class Fails(Node):
    def exec(self, prep_res: Any) -> Any:
        raise Lost


class FailsAt(Node):
    """Fails in the method that `shared` names."""

    def prep(self, shared: Any) -> Any:
        if shared["at"] == "prep":
            raise Lost

    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        raise exc

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        raise Lost


class FailsOnTwo(BatchNode):
    def prep(self, shared: Any) -> Any:
        return [0, 1, 2]

    def exec(self, prep_res: Any) -> Any:
        if prep_res == 2:
            raise Lost


class Labelled(FailsOnTwo):
    def item_label(self, item: Any) -> str:
        return f"page\n{item}"


class LabelledFalls(Labelled):
    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        raise exc


class LabelFails(FailsOnTwo):
    def item_label(self, item: Any) -> str:
        raise ValueError


class LabelledAtOnce(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return ["a", "b", "c"]

    async def exec_async(self, prep_res: Any) -> Any:
        await asyncio.sleep(0)
        if prep_res == "b":
            raise Lost

    def item_label(self, item: Any) -> str:
        return str(item)


class Streams(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "half"
        raise Lost


class Fetch(AsyncNode):
    async def exec_async(self, prep_res: Any) -> Any:
        await asyncio.sleep(0)
        raise Lost


class InTurn(AsyncBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return [0, 1, 2]

    async def exec_async(self, prep_res: Any) -> Any:
        if prep_res == 1:
            raise Lost


class AtOnce(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return [0, 1, 2]

    async def exec_async(self, prep_res: Any) -> Any:
        await asyncio.sleep(0)
        if prep_res == 1:
            raise Lost


class Each(BatchFlow):
    def prep(self, shared: Any) -> Any:
        return [{}, {}]


class Together(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return [{}, {}]


class FlowFails(Flow):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        raise Lost


class Outer(Node):
    def exec(self, prep_res: Any) -> Any:
        Fails().run({}, id="inner")


def notes(flow: Any, **options: Any) -> list[str]:
    """Those of the error that its run raises; a run of the id `r`."""
    run = Run(flow, {"at": "prep"}, id="r", **options)
    with pytest.raises(Lost) as caught:
        if isinstance(flow, AsyncNode):
            in_loop(run.wait_async)
        else:
            run.wait()
    return getattr(caught.value, "__notes__", [])


CASES: dict[str, tuple[Any, list[str]]] = {
    "a node": (Flow(Fails()), ["In node 'Fails', attempt 1, run r"]),
    "by itself": (Fails(), ["In node 'Fails', attempt 1, run r"]),
    "tried again": (Flow(Fails(max_retries=3)), ["In node 'Fails', attempt 3, run r"]),
    "in prep": (Flow(FailsAt()), ["In node 'FailsAt', attempt 1, run r"]),
    "nested": (Flow(Flow(Fails())), ["In node 'Flow/Fails', attempt 1, run r"]),
    "an item": (Flow(FailsOnTwo(2)), ["In node 'FailsOnTwo', item 2, attempt 2, run r"]),
    "streaming": (StreamFlow(Streams()), ["In node 'Streams', attempt 1, run r"]),
    "async": (AsyncFlow(Fetch()), ["In node 'Fetch', attempt 1, run r"]),
    "in turn": (AsyncFlow(InTurn()), ["In node 'InTurn', item 1, attempt 1, run r"]),
    "at once": (AsyncFlow(AtOnce()), ["In node 'AtOnce', item 1, attempt 1, run r"]),
    "labelled": (Flow(Labelled()), ["In node 'Labelled', item 2 (page\\n2), attempt 1, run r"]),
    "falling back": (
        Flow(LabelledFalls()),
        ["In node 'LabelledFalls', item 2 (page\\n2), attempt 2, run r"],
    ),
    "no label": (Flow(LabelFails()), ["In node 'LabelFails', item 2, attempt 1, run r"]),
    "labelled at once": (
        AsyncFlow(LabelledAtOnce()),
        ["In node 'LabelledAtOnce', item 1 (b), attempt 1, run r"],
    ),
    "each": (Each(FailsOnTwo()), ["In node 'FailsOnTwo', item 0, item 2, attempt 1, run r"]),
    "together": (Together(AtOnce()), ["In node 'AtOnce', item 0, item 1, attempt 1, run r"]),
    "a flow": (FlowFails(Node()), ["In flow 'FlowFails', run r"]),
    "a run inside": (
        Flow(Outer()),
        ["In node 'Fails', attempt 1, run inner", "In node 'Outer', attempt 1, run r"],
    ),
}


@pytest.mark.parametrize(("flow", "expected"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("heard", [False, True], ids=["unheard", "heard"])
def test_an_error_says_where_it_came_from(flow: Any, expected: list[str], heard: bool) -> None:
    """Node, items, attempt and run, once for each run, whoever listens."""
    assert notes(flow, observers=[[].append] if heard else []) == expected


def test_the_note_is_behind_the_text() -> None:
    """Where Python prints the error; the text itself is as it was."""
    with pytest.raises(Lost) as caught:
        Fails().run({}, id="r")
    assert str(caught.value) == ""
    text = "".join(traceback.format_exception(caught.value))
    assert text.endswith("Lost\nIn node 'Fails', attempt 1, run r\n")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_note_holds_a_control(text: str) -> None:
    """Whatever a node and a run are called."""
    node = Fails()
    node.node_name = text.replace("/", "").replace("#", "") or "x"
    with pytest.raises(Lost) as caught:
        node.run({}, id=text or "x")
    (note,) = caught.value.__notes__
    assert not (CONTROLS | set("\n\t\u2028\u2029")) & set(note)
    note.encode()


@dataclass(frozen=True)
class Frozen(Exception):
    """An error that takes no note."""

    code: int


def test_an_error_that_takes_no_note_is_raised_as_it_is() -> None:
    """A frozen dataclass is one."""

    class FailsSo(Node):
        def exec(self, prep_res: Any) -> Any:
            raise Frozen(7)

    with pytest.raises(Frozen, match="7") as caught:
        FailsSo().run({})
    assert not hasattr(caught.value, "__notes__")


def test_one_error_raised_again_in_the_same_run_is_told_of_once() -> None:
    """Also where somebody asks for it twice."""
    run = Run(Fails(), {}, id="r")
    for _ in range(2):
        with pytest.raises(Lost) as caught:
            run.wait() if run.status == "ready" else run._state.outcome.result()
        assert caught.value.__notes__ == ["In node 'Fails', attempt 1, run r"]


# -- tracebacks -----------------------------------------------------------------------------------


def pull(flow: Any) -> object:
    """Iterate over the events."""
    return list(Run(flow, {}))


def live(flow: Any) -> object:
    """Iterate over the events of a run in a thread."""
    return list(Run(flow, {}).in_thread())


def background(flow: Any) -> object:
    """Wait for one in the background."""
    return Run(flow, {}).start().wait()


async def pull_async(flow: Any) -> object:
    """Iterate over the events."""
    return [event async for event in Run(flow, {})]


async def stream_async(flow: Any) -> object:
    """Iterate over the output."""
    return [chunk async for chunk in flow.run_stream_async({})]


async def background_async(flow: Any) -> object:
    """Wait for one in the background."""
    return await Run(flow, {}).start().wait_async()


WAYS: dict[str, Callable[[Any], object]] = {
    "run": lambda flow: flow.run({}),
    "callback": lambda flow: flow.run_stream({}, callback=print),
    "stream": lambda flow: list(flow.run_stream({})),
    "events": pull,
    "live": live,
    "background": background,
}

ASYNC_WAYS: dict[str, Callable[[Any], Any]] = {
    "run": lambda flow: flow.run_async({}),
    "callback": lambda flow: flow.run_stream_async({}, callback=print),
    "stream": stream_async,
    "events": pull_async,
    "background": background_async,
}


def seen(error: BaseException) -> list[str]:
    """The functions that a notebook shows: as IPython, it skips frames that hide themselves."""
    found: list[str] = []
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if not frame.f_locals.get("__tracebackhide__"):
            assert not frame.f_code.co_filename.startswith(PACKAGE), frame.f_code.co_qualname
            found.append(frame.f_code.co_name)
        trace = trace.tb_next
    return found


@pytest.mark.parametrize("run", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("node", [Fails, Streams, FailsOnTwo])
def test_a_notebook_shows_the_users_frames_alone(run: Callable[[Any], object], node: Any) -> None:
    """However the run is driven."""
    with pytest.raises(Lost) as caught:
        run(Flow(Flow(node())))
    assert seen(caught.value)[-1] in ("exec", "exec_stream")


@pytest.mark.parametrize("run", ASYNC_WAYS.values(), ids=ASYNC_WAYS)
@pytest.mark.parametrize("node", [Fails, Fetch, AtOnce, InTurn])
def test_a_notebook_shows_the_users_frames_alone_of_an_async_run(
    run: Callable[[Any], Any], node: Any
) -> None:
    """However the run is driven."""

    async def main() -> object:
        return await run(AsyncFlow(AsyncFlow(node())))

    with pytest.raises(Lost) as caught:
        in_loop(main)
    assert seen(caught.value)[-1] in ("exec", "exec_async")


def test_what_led_to_an_error_is_trimmed_too() -> None:
    """Its cause and its context."""

    class Wraps(Node):
        def exec(self, prep_res: Any) -> Any:
            try:
                Fails().run({})
            except Lost as error:
                raise ValueError("because") from error

    with pytest.raises(ValueError, match="because") as caught:
        Wraps().run({})
    assert seen(caught.value)[-1] == "exec"
    assert isinstance(caught.value.__cause__, Lost)
    assert seen(caught.value.__cause__) == ["exec", "exec"]


def test_what_the_package_refuses_keeps_its_frames() -> None:
    """Those that come after the user's last one: they say what went wrong."""

    class Emits(Node):
        def exec(self, prep_res: Any) -> Any:
            self.emit("x", kind=7)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="kind is 7") as caught:
        Emits().run({})
    names = [each.name for each in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-3:] == ["exec", "emit", "emit"]
