"""What programs do with pocketflow that a graph does not show."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import types
from collections.abc import Generator
from typing import Any

import pytest

from tests.watching import in_loop


def test_shared_and_what_post_gives_may_be_any_object(library: Any) -> None:
    """`shared` is handed through, and a run gives what the last `post` gave."""
    shared, result = object(), {"an": "object"}

    class Gives(library.classes.Node):
        def post(self, given: Any, prep_res: Any, exec_res: Any) -> Any:
            assert given is shared
            return result

    class Keeps(library.classes.Flow):
        def post(self, given: Any, prep_res: Any, exec_res: Any) -> Any:
            assert given is shared
            return [exec_res]

    class Ends(library.classes.Node):
        pass

    assert library.run(Gives(), shared) is result
    assert library.run(Keeps(start=Ends()), shared) == [None]


def test_methods_of_an_instance_replace_those_of_its_class(library: Any) -> None:
    """As a test or a tracer patches them, on one node or flow."""
    calls: list[str] = []

    def fail(prep_res: Any) -> None:
        calls.append("exec")
        raise ValueError("failed")

    def fall_back(prep_res: Any, exc: Exception) -> str:
        calls.append(f"fallback {exc}")
        return "result"

    def post(shared: Any, prep_res: Any, exec_res: Any) -> str:
        calls.append(f"post {exec_res}")
        return "anything"

    node = library.classes.Node(max_retries=2)
    node.exec, node.exec_fallback, node.post = fail, fall_back, post
    other = library.classes.Node()
    other._exec = lambda prep_res: calls.append("other's _exec")
    flow = library.classes.Flow(start=node)
    flow.get_next_node = lambda curr, action: other if action == "anything" else None
    library.run(flow, {})
    assert calls == ["exec", "exec", "fallback failed", "post result", "other's _exec"]


def test_methods_of_a_class_may_be_replaced_between_runs(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learned of a class in an earlier run is not held on to."""

    class Fails(library.classes.Node):
        def exec(self, prep_res: Any) -> None:
            raise ValueError("failed")

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            return exec_res

    with pytest.raises(ValueError, match="failed"):
        library.run(library.classes.Flow(start=Fails()), {})
    monkeypatch.setattr(Fails, "exec_fallback", lambda self, prep_res, exc: "fell back")
    assert library.run(library.classes.Flow(start=Fails()), {}) == "fell back"


@pytest.mark.parametrize("name", ["_step", "step", "run_id", "_run_id", "context", "attempt"])
def test_a_nodes_attributes_are_its_own(library: Any, name: str) -> None:
    """What a program calls its attributes never meets what the engine knows of a node."""

    class Counts(library.classes.Node):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, name, 41)

        def exec(self, prep_res: Any) -> int:
            setattr(self, name, getattr(self, name) + 1)
            if hasattr(self, "emit"):
                self.emit("still works")
            return getattr(self, name)  # type: ignore[no-any-return]

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    library.run(library.classes.Flow(start=Counts()), shared)
    assert shared == {"result": 42}


def test_nodes_need_not_be_hashable(library: Any) -> None:
    """Nor equal to themselves only."""

    class Same(library.classes.Node):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["runs"] = shared.get("runs", 0) + 1

    first = Same()
    first >> Same() >> library.classes.Flow(start=Same())
    shared: dict[str, Any] = {}
    library.run(library.classes.Flow(start=first), shared)
    assert shared == {"runs": 3}


def test_a_graph_may_grow_while_it_runs(library: Any) -> None:
    """A node may give itself a successor that nobody knew before."""

    class Grows(library.classes.Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["nodes"] = shared.get("nodes", 0) + 1
            if shared["nodes"] < 5:
                self - "grown" >> Grows()
            return "grown"

    shared: dict[str, Any] = {}
    assert library.run(library.classes.Flow(start=Grows()), shared) == "grown"
    assert shared == {"nodes": 5}


def test_what_a_node_copies_shallowly_its_steps_have_in_common(library: Any) -> None:
    """A list that a node was made with is the same in all its steps, and in the original."""

    class Remembers(library.classes.Node):
        def __init__(self) -> None:
            super().__init__()
            self.memory: list[int] = []

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str | None:
            self.memory.append(len(self.memory))
            return "again" if len(self.memory) < 3 else None

    node = Remembers()
    node - "again" >> node
    node >> library.classes.Node()
    library.run(library.classes.Flow(start=node), {})
    assert node.memory == [0, 1, 2]


def test_all_nodes_of_a_pass_have_one_dict_of_params(library: Any) -> None:
    """What one writes into its params the next finds there; the flow's own stay as they were."""

    class Writes(library.classes.Node):
        def prep(self, shared: Any) -> None:
            self.params["written"] = self.params.get("written", 0) + 1
            shared["seen"] = dict(self.params)

    first = Writes()
    first >> Writes()
    flow = library.classes.Flow(start=first)
    flow.set_params({"p": 1})
    shared: dict[str, Any] = {}
    library.run(flow, shared)
    assert shared == {"seen": {"p": 1, "written": 2}}
    assert flow.params == {"p": 1}


def test_context_variables_go_from_node_to_node(library: Any) -> None:
    """And out of the run, in sync runs and in async ones."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    class Sets(library.classes.Node):
        def prep(self, shared: Any) -> None:
            variable.set(variable.get() + " set")

    class Adds(library.classes.AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            await asyncio.sleep(0)
            variable.set(variable.get() + " added")

    def in_sync() -> str:
        first = Sets()
        first >> Sets()
        library.run(library.classes.Flow(start=first), {})
        return variable.get()

    async def in_async() -> str:
        first = Sets()
        first >> Adds() >> Sets()
        flow = library.classes.AsyncFlow(start=first)
        await library.run_async(flow, {})
        return variable.get()

    assert contextvars.copy_context().run(in_sync) == "unset set set"
    assert contextvars.copy_context().run(in_loop, in_async) == "unset set added set"


def test_timeouts_and_tasks_work_in_an_async_node(library: Any) -> None:
    """A timeout is an error like others: it can be tried again; the node's task is the caller's."""
    tries: list[str] = []

    class Slow(library.classes.AsyncNode):
        async def exec_async(self, prep_res: Any) -> str:
            tries.append("timeout")
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
            return "not reached"

        async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> list[Any]:
            tries.append(type(exc).__name__)
            return [*await asyncio.gather(asyncio.sleep(0, "a"), asyncio.sleep(0, "b"))]

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res
            shared["task"] = asyncio.current_task()

    async def main() -> dict[str, Any]:
        shared: dict[str, Any] = {}
        flow = library.classes.AsyncFlow(start=Slow(max_retries=2))
        await library.run_async(flow, shared)
        assert shared.pop("task") is asyncio.current_task()
        return shared

    assert in_loop(main) == {"result": ["a", "b"]}
    assert tries == ["timeout", "timeout", "TimeoutError"]


def test_a_timeout_of_a_block_is_an_error_like_others(library: Any) -> None:
    """It cancels the task and takes that back: no cancellation of the run."""
    tries: list[str] = []

    class Slow(library.classes.AsyncNode):
        async def exec_async(self, prep_res: Any) -> str:
            tries.append("try")
            if len(tries) == 3:
                return "result"
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
            return "not reached"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    in_loop(lambda: library.run_async(library.classes.AsyncFlow(start=Slow(max_retries=3)), shared))
    assert shared == {"result": "result"}


def test_an_error_in_a_task_that_was_once_cancelled_is_still_an_error(library: Any) -> None:
    """A cancellation that somebody swallowed before the run is none of the run's."""

    class Fails(library.classes.AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            raise ValueError("failed")

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        flow = library.classes.AsyncFlow(start=Fails(max_retries=2))
        with pytest.raises(ValueError, match="failed"):
            await library.run_async(flow, {})

    in_loop(main)


class Array(list[int]):
    """As numpy's: whether it is empty cannot be asked like this."""

    def __bool__(self) -> bool:
        raise ValueError("The truth value of an array is ambiguous.")


@pytest.mark.parametrize("kind", ["AsyncBatchNode", "AsyncParallelBatchNode"])
def test_the_items_of_an_async_batch_may_be_an_array(library: Any, kind: str) -> None:
    """Which is not asked whether it is true."""

    class Doubles(getattr(library.classes, kind)):  # type: ignore[misc]
        async def prep_async(self, shared: Any) -> Any:
            return Array([1, 2])

        async def exec_async(self, prep_res: int) -> int:
            return prep_res * 2

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    in_loop(lambda: library.run_async(library.classes.AsyncFlow(start=Doubles()), shared))
    assert shared == {"result": [2, 4]}


@pytest.mark.parametrize("falsy", [0, False, "", {}, ()])
def test_a_batch_of_something_falsy_is_empty(library: Any, falsy: Any) -> None:
    """`prep` may have found nothing, however it says so; `post` gets what it said."""

    class Items(library.classes.BatchNode):
        def prep(self, shared: Any) -> Any:
            return falsy

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["post"] = (prep_res, exec_res)

    class Passes(library.classes.BatchFlow):
        def prep(self, shared: Any) -> Any:
            return falsy

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["flow"] = (prep_res, exec_res)

    shared: dict[str, Any] = {}
    library.run(Items(), shared)
    library.run(Passes(start=Items()), shared)
    assert shared == {"post": (falsy, []), "flow": ([], None)}


def test_a_parallel_node_may_have_a_limit_of_its_own(library: Any) -> None:
    """pocketflow knows no `max_concurrency`: what a program calls so there is its own."""
    if library.name == "ours":
        return

    class Limited(library.classes.AsyncParallelBatchNode):
        max_concurrency = "2 at once"

        async def prep_async(self, shared: Any) -> Any:
            return [1, 2]

        async def exec_async(self, prep_res: int) -> int:
            return prep_res * 2

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    in_loop(lambda: library.run_async(library.classes.AsyncFlow(start=Limited()), shared))
    assert shared == {"result": [2, 4]}


def test_a_sync_node_may_have_methods_with_async_names(library: Any) -> None:
    """Async is what descends from the async classes, whatever else a class can do."""

    class Both(library.classes.Node):
        async def prep_async(self, shared: Any) -> None:
            pytest.fail("not called")

        def prep(self, shared: Any) -> None:
            shared["prep"] = "sync"

    shared: dict[str, Any] = {}
    library.run(library.classes.Flow(start=Both()), shared)
    assert shared == {"prep": "sync"}


def test_anything_that_can_be_awaited_will_do(library: Any) -> None:
    """A future, a task, and a generator that is marked as a coroutine."""

    class Awaits(library.classes.AsyncNode):
        def prep_async(self, shared: Any) -> Any:
            future = asyncio.get_running_loop().create_future()
            future.get_loop().call_soon(future.set_result, "prep")
            return future

        @types.coroutine
        def exec_async(self, prep_res: Any) -> Generator[Any, Any, Any]:
            yield
            return f"{prep_res} exec"

        def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
            async def post() -> str:
                return f"{exec_res} post"

            return asyncio.ensure_future(post())

    flow = library.classes.AsyncFlow(start=Awaits())
    assert in_loop(lambda: library.run_async(flow, {})) == "prep exec post"


def test_private_methods_can_be_called_by_hand(library: Any) -> None:
    """As programs do that drive nodes themselves."""
    if library.name == "theirs in our Run":
        return

    class Says(library.classes.Node):
        def exec(self, prep_res: Any) -> Any:
            return dict(self.params)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared.setdefault("seen", []).append(exec_res)
            return "said"

    class Twice(library.classes.BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"i": 1}, {"i": 2}]

    shared: dict[str, Any] = {}
    flow = library.classes.Flow(start=Says())
    flow.set_params({"p": 1})
    assert flow._run(shared) == "said"
    assert flow._orch(shared) == "said"
    assert flow._orch(shared, {"q": 2}) == "said"
    assert Twice(start=Says())._run(shared) is None
    assert shared["seen"] == [{"p": 1}, {"p": 1}, {"q": 2}, {"i": 1}, {"i": 2}]

    async def main() -> list[Any]:
        async_flow = library.classes.AsyncFlow(start=Says())
        return [await async_flow._run_async(shared), await async_flow._orch_async(shared, {"r": 3})]

    assert in_loop(main) == ["said", "said"]
    assert shared["seen"][-2:] == [{}, {"r": 3}]
