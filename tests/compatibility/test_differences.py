"""Where flowevents differs from pocketflow, by design."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowevents
from flowevents import GraphError, Run
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
