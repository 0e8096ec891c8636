"""Where flowevents differs from pocketflow, by design."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowevents
from flowevents import AsyncNodeError, GraphError, Run
from tests.compatibility.libraries import NEWEST, pocketflow
from tests.watching import in_loop


def test_a_successor_that_is_no_node_is_an_error_at_once() -> None:
    """pocketflow fails when the run gets there, with an error that names nothing.

    Where the graph was made otherwise it is one when the run gets there, here too.
    """
    theirs = pocketflow.Node()
    theirs >> "no node"
    with pytest.raises(AttributeError):
        pocketflow.Flow(start=theirs).run({})
    with pytest.raises(GraphError, match=r"'Node' for action 'default' is 'no node'"):
        flowevents.Node() >> "no node"
    with pytest.raises(GraphError, match=r"'no node' is not a node .*'Node' for 'default'"):
        Run(pocketflow.Flow(start=theirs), {}).wait()


def test_a_flow_without_a_start_node_warns_and_gives_none() -> None:
    """pocketflow gives `None` and says nothing."""
    assert pocketflow.Flow().run({}) is None
    with pytest.warns(UserWarning, match="has no start node"):
        assert flowevents.Flow().run({}) is None
    with pytest.warns(UserWarning, match="has no start node"):
        assert Run(pocketflow.Flow(), {}).wait() is None


@pytest.mark.parametrize("library", [pocketflow, flowevents])
def test_siblings_of_an_item_that_fails_are_cancelled(library: Any) -> None:
    """pocketflow lets them run on after the error was raised; our `Run` does not, with either."""
    log: list[str] = []

    class Items(library.AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return ["waits", "fails"]

        async def exec_async(self, prep_res: str) -> None:
            if prep_res == "fails":
                raise ValueError("failed")
            try:
                await asyncio.Event().wait()
            finally:
                log.append("cancelled")

    async def main() -> list[str]:
        with pytest.raises(ValueError, match="failed"):
            await Run(library.AsyncFlow(start=Items()), {}).wait_async()
        return list(log)

    async def without_us() -> list[str]:
        with pytest.raises(ValueError, match="failed"):
            await pocketflow.AsyncFlow(start=Items()).run_async({})
        return list(log)

    if library is pocketflow:
        assert in_loop(without_us) == []
        log.clear()
    assert in_loop(main) == ["cancelled"]


def test_stop_iteration_is_a_runtime_error() -> None:
    """In pocketflow it leaves the run as it is, and may end somebody's loop in silence."""

    def stop(self: Any, prep_res: Any) -> None:
        raise StopIteration("stopped")

    with pytest.raises(StopIteration):
        type("Stops", (pocketflow.Node,), {"exec": stop})().run({})
    for node in (
        type("Stops", (flowevents.Node,), {"exec": stop})(),
        type("Stops", (pocketflow.Node,), {"exec": stop})(),
    ):
        with pytest.raises(RuntimeError) as raised:
            Run(node, {}).wait()
        assert isinstance(raised.value.__cause__, StopIteration)


@pytest.mark.parametrize("kind", ["Node", "BatchNode", "AsyncNode", "AsyncParallelBatchNode"])
@pytest.mark.parametrize("options", [{"max_retries": 0}, {"wait": -0.5}])
def test_numbers_that_make_no_sense_are_refused_as_in_the_newest(
    kind: str, options: dict[str, Any]
) -> None:
    """The released pocketflow then runs nothing, and gives `None`."""
    getattr(pocketflow, kind)(**options)
    for library in (NEWEST, flowevents):
        with pytest.raises(ValueError, match=next(iter(options))):
            getattr(library, kind)(**options)


def test_our_classes_are_theirs_by_name_and_order() -> None:
    """What descends from what is the same, so that `isinstance` is."""
    names = [name for name, value in vars(pocketflow).items() if isinstance(value, type)]
    public = {name for name in names if not name.startswith("_")}
    for name in public:
        theirs, ours = getattr(pocketflow, name), getattr(flowevents, name)
        known = [each.__name__ for each in ours.__mro__ if each.__name__ in public]
        assert known == [each.__name__ for each in theirs.__mro__ if each.__name__ in public]


def test_an_async_flow_of_sync_nodes_is_refused_in_a_sync_run() -> None:
    """pocketflow runs it without its `prep_async` and `post_async`."""

    def made(library: Any) -> Any:
        class Inner(library.AsyncFlow):
            async def prep_async(self, shared: Any) -> None:
                shared["prep"] = True

        return Inner(start=library.Node())

    shared: dict[str, Any] = {}
    for flow in (made(pocketflow), pocketflow.Flow(start=made(pocketflow))):
        flow.run(shared)
    for flow in (made(flowevents), flowevents.Flow(made(flowevents))):
        with pytest.raises(AsyncNodeError, match="run_async"):
            flow.run(shared)
    assert shared == {}


def test_what_is_no_action_may_be_the_last() -> None:
    """pocketflow looks for a successor even where there is none."""

    def flow(library: Any) -> Any:
        class Gives(library.Node):
            def post(self, shared: Any, prep_res: Any, exec_res: Any) -> dict[str, int]:
                return {"a": 1}

        return library.Flow(start=Gives())

    with pytest.raises(TypeError, match="unhashable"):
        flow(pocketflow).run({})
    assert flow(flowevents).run({}) == {"a": 1}


def test_a_node_that_is_not_true_runs() -> None:
    """In pocketflow the flow ends before it."""

    def ran(library: Any) -> dict[str, bool]:
        class Empty(library.Node):
            def __len__(self) -> int:
                return 0

            def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
                shared["ran"] = True

        shared: dict[str, bool] = {}
        start = library.Node()
        start >> Empty()
        library.Flow(start=start).run(shared)
        return shared

    with pytest.warns(UserWarning, match="Flow ends"):
        assert ran(pocketflow) == {}
    assert ran(flowevents) == {"ran": True}


def test_an_action_that_leads_to_none_ends_in_silence() -> None:
    """The released pocketflow warns that it is not found, its repository does not."""
    for library in (pocketflow, NEWEST, flowevents):
        start = library.Node()
        start.post = lambda shared, prep_res, exec_res: "stop"
        start - "stop" >> None
        flow = library.Flow(start=start)
        if library is pocketflow:
            with pytest.warns(UserWarning, match="'stop' not found"):
                assert flow.run({}) == "stop"
        else:
            assert flow.run({}) == "stop"


def test_a_node_does_not_keep_the_count_of_its_retries() -> None:
    """In pocketflow it is that of the last run, and there is none before the first."""
    for library, before, after in ((pocketflow, None, 1), (flowevents, 0, 0)):
        node = library.Node(max_retries=2)
        assert getattr(node, "cur_retry", None) == before
        tries = iter([ZeroDivisionError, None])

        def exec(prep_res: Any, tries: Any = tries) -> None:
            if error := next(tries):
                raise error

        node.exec = exec
        node.run({})
        assert node.cur_retry == after


def test_the_wait_of_a_sync_node_leaves_the_loop_to_others() -> None:
    """pocketflow's blocks it."""

    async def order(library: Any) -> list[str]:
        log: list[str] = []

        class Fails(library.Node):
            def exec(self, prep_res: Any) -> None:
                log.append("exec")
                if len(log) == 1:
                    raise ValueError

        async def other() -> None:
            log.append("other")

        task = asyncio.create_task(other())
        await library.AsyncFlow(start=Fails(max_retries=2, wait=0.001)).run_async({})
        await task
        return log

    assert in_loop(lambda: order(pocketflow)) == ["exec", "exec", "other"]
    assert in_loop(lambda: order(flowevents)) == ["exec", "other", "exec"]


def test_a_node_without_its_init_runs() -> None:
    """pocketflow asks it for its `max_retries`."""

    def node(library: Any) -> Any:
        class Bare(library.Node):
            def __init__(self) -> None:
                self.params: dict[str, Any] = {}
                self.successors: dict[str, Any] = {}

        return Bare()

    with pytest.raises(AttributeError, match="max_retries"):
        node(pocketflow).run({})
    node(flowevents).run({})


def test_a_node_has_one_attribute_more() -> None:
    """And while it runs, one more than that."""
    seen: set[str] = set()

    class Looks(flowevents.Node):
        def exec(self, prep_res: Any) -> None:
            seen.update(vars(self))

    flowevents.Flow(Looks()).run({})
    assert set(vars(Looks())) - set(vars(pocketflow.Node())) == {"_sender_key"}
    assert seen - set(vars(Looks())) == {"_flowevents_step"}
