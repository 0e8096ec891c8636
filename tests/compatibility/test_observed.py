"""`observe_pocketflow`: plain programs of pocketflow, observed as they are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowevents import Chunk, Event, FlowEnd, NodeEnd, NodeStart, ObserverError, observe_pocketflow
from flowevents.signals import observe
from flowevents.testing import check_events
from tests.compatibility.libraries import NEWEST, pocketflow
from tests.watching import in_loop


def program(library: Any) -> Any:
    """A flow with a loop and a nested batch."""

    class Add(library.Node):
        def exec(self, prep_res: Any) -> None:
            pass

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["number"] += 1
            return "more" if shared["number"] < 3 else "enough"

    class Each(library.BatchNode):
        def prep(self, shared: Any) -> Any:
            return range(shared["number"])

        def exec(self, item: Any) -> Any:
            return item

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["items"] = exec_res
            return "done"

    add = Add()
    add - "more" >> add
    add - "enough" >> library.Flow(start=Each())
    return library.Flow(start=add)


@pytest.mark.parametrize("library", [pocketflow, NEWEST], ids=["released", "newest"])
def test_a_plain_run_is_observed_until_it_is_undone(library: Any) -> None:
    """By its own observers and by whoever listens; with the same result."""
    before = library.BaseNode.run, library.AsyncNode.run_async
    own: list[Event] = []
    heard: list[Event] = []
    plain: dict[str, Any] = {"number": 0}
    expected = program(library).run(plain)
    with observe(heard.append):
        subscription = observe_pocketflow(library, observers=[own.append], metadata={"a": 1})
        shared: dict[str, Any] = {"number": 0}
        assert program(library).run(shared) == expected
        assert shared == plain
        subscription.cancel()
        subscription.cancel()
        program(library).run({"number": 0})
    assert own == heard
    check_events(own)
    assert [event.node for event in own if isinstance(event, NodeStart)] == ["Add"] * 3 + [
        "Flow/Each"
    ]
    assert (library.BaseNode.run, library.AsyncNode.run_async) == before


def test_async_runs_too() -> None:
    """Awaited, as ever, and each a run of its own."""

    class Fetch(pocketflow.AsyncNode):
        async def exec_async(self, prep_res: Any) -> str:
            await asyncio.sleep(0)
            return "page"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["page"] = exec_res

    async def main() -> None:
        await asyncio.gather(
            *(pocketflow.AsyncFlow(start=Fetch()).run_async(each) for each in both)
        )

    both: tuple[dict[str, Any], ...] = ({}, {})
    events: list[Event] = []
    with observe_pocketflow(observers=[events.append], capture=True):
        in_loop(main)
    assert both == ({"page": "page"},) * 2
    runs = {event.run_id for event in events}
    assert len(runs) == 2
    for run_id in runs:
        check_events([event for event in events if event.run_id == run_id])
    assert [event.result for event in events if isinstance(event, NodeEnd)] == ["page"] * 2


def test_errors_and_warnings_are_the_same() -> None:
    """Raised as they are; pocketflow's own warning too."""

    class Fail(pocketflow.Node):
        def exec(self, prep_res: Any) -> None:
            raise KeyError("x")

    events: list[Event] = []
    node = Fail()
    node >> pocketflow.Node()
    with observe_pocketflow(observers=[events.append]):
        with pytest.raises(KeyError), pytest.warns(UserWarning, match="Use Flow") as caught:
            node.run({})
        with pytest.raises(RuntimeError, match="run_async"):
            pocketflow.AsyncFlow(start=pocketflow.AsyncNode()).run({})
    assert [str(each.message) for each in caught] == ["Node won't run successors. Use Flow."]
    assert caught[0].filename == __file__
    assert [event.status for event in events if isinstance(event, FlowEnd)][:1] == ["error"]


def test_several_may_be_in_force() -> None:
    """All of their observers hear; each is undone alone, in any order."""
    before = pocketflow.BaseNode.run
    first: list[Event] = []
    second: list[Event] = []
    one = observe_pocketflow(observers=[first.append])
    two = observe_pocketflow(observers=[second.append])
    program(pocketflow).run({"number": 0})
    assert first == second != []
    one.cancel()
    program(pocketflow).run({"number": 0})
    assert len(second) == 2 * len(first)
    two.cancel()
    assert pocketflow.BaseNode.run is before


def test_a_run_inside_a_node_is_a_run_of_its_own() -> None:
    """As one of ours would be."""

    class Outer(pocketflow.Node):
        def exec(self, prep_res: Any) -> None:
            pocketflow.Flow(start=pocketflow.Node()).run({})

    events: list[Event] = []
    with observe_pocketflow(observers=[events.append]):
        Outer().run({})
    assert len({event.run_id for event in events}) == 2
    assert not [event for event in events if isinstance(event, Chunk)]


def test_what_no_run_would_take_is_refused_at_once() -> None:
    """Nothing is replaced then."""
    before = pocketflow.BaseNode.run
    with pytest.raises(ObserverError):
        observe_pocketflow(observers=[7])
    with pytest.raises(ValueError, match="max_steps"):
        observe_pocketflow(max_steps=0)
    assert pocketflow.BaseNode.run is before
