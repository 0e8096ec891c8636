"""What pocketflow declares `async def` is a coroutine function, for whoever asks."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

import pytest

import flowevents
from flowevents import AsyncFlow, AsyncNode, Node
from tests.compatibility.libraries import pocketflow

ASYNC = [name for name in dir(pocketflow) if name.startswith("Async")]


@pytest.mark.parametrize("name", ASYNC)
def test_it_is_one_here_where_it_is_there(name: str) -> None:
    """Each method, of the class and of an object: who calls them awaits only those."""
    theirs, ours = getattr(pocketflow, name), getattr(flowevents, name)
    asynchronous = {
        method
        for method, function in inspect.getmembers(theirs, callable)
        if inspect.iscoroutinefunction(function)
    }
    assert {"run_async", "_run_async", "prep_async", "exec_async"} < asynchronous
    for method in asynchronous:
        assert inspect.iscoroutinefunction(getattr(ours, method)), method
        for bound in (getattr(ours(), method), functools.partial(getattr(ours(), method), {})):
            assert inspect.iscoroutinefunction(bound), method


def test_a_task_in_the_background_is_awaited() -> None:
    """As Starlette's `BackgroundTask` does it: it asks `inspect`, and calls others in a thread."""

    class Sets(AsyncNode):
        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["set"] = True
            return "done"

    async def background(function: Any, *args: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(*args)
        return await asyncio.to_thread(function, *args)

    shared: dict[str, Any] = {}
    assert asyncio.run(background(AsyncFlow(Sets()).run_async, shared)) == "done"
    assert shared == {"set": True}


def test_what_is_wrong_is_said_at_the_call() -> None:
    """Not in a task that somebody may look at later; a warning names the caller's line."""
    flow = AsyncFlow(AsyncNode())
    with pytest.raises(ValueError, match="max_steps=0"):
        flow.run_async({}, max_steps=0).close()
    with pytest.raises(TypeError, match="max_step"):
        flow.run_async({}, max_step=1).close()  # type: ignore[call-arg]
    node = Node()
    node >> Node()
    with pytest.warns(UserWarning, match="Use AsyncFlow") as warned:
        node.run_async({}).close()
    assert warned[0].filename == __file__


def test_what_is_never_awaited_warns_and_runs_nothing() -> None:
    """As any coroutine."""
    ran: list[bool] = []

    class Runs(Node):
        def exec(self, prep_res: Any) -> None:
            ran.append(True)

    with pytest.warns(RuntimeWarning, match="never awaited"):
        del [Runs().run_async({})][0]
    assert ran == []


def test_it_is_described_as_any_method() -> None:
    """Its name, its text, its arguments; and it can be overridden."""
    run_async = AsyncFlow.run_async
    assert run_async.__name__ == "run_async"
    assert "event loop" in (run_async.__doc__ or "")
    assert list(inspect.signature(AsyncFlow().run_async).parameters) == ["shared", "options"]

    class Own(AsyncNode):
        async def run_async(self, shared: Any, **options: Any) -> Any:
            return [await super().run_async(shared, **options)]

    assert asyncio.run(Own().run_async({})) == [None]
    assert asyncio.run(AsyncNode.run_async(Own(), {})) is None
