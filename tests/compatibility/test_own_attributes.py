"""A program for pocketflow may give its nodes attributes of names that mean something here."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowevents
from flowevents import Event, ItemEnd, ItemStart, Run
from flowevents.testing import check_events
from tests.compatibility.libraries import Library, pocketflow
from tests.watching import in_loop


@pytest.mark.parametrize("name", [each for each in dir(flowevents.AsyncFlow()) if each[0] != "_"])
def test_any_name_that_is_not_pocketflows_is_free(library: Library, name: str) -> None:
    """It is set in `__init__` and at work, and read again."""
    if hasattr(pocketflow.AsyncFlow(), name):
        return

    class Own(library.classes.Node):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__(max_retries=2)
            setattr(self, name, False)

        def exec(self, prep_res: Any) -> Any:
            before = getattr(self, name)
            setattr(self, name, [name])
            return before, getattr(self, name)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["seen"] = exec_res

    shared: dict[str, Any] = {}
    library.run(library.classes.Flow(start=Own()), shared)
    if name not in ("cur_retry", "node_name"):
        assert shared == {"seen": (False, [name])}
    library.run(Own(), shared)


def test_the_retry_is_counted_whatever_a_program_sets_it_to(library: Library) -> None:
    """As it is where `__init__` gives it a first value; also in an override."""
    for overrides in (False, True):
        seen: list[int] = []

        class Fails(library.classes.Node):  # type: ignore[name-defined]
            def __init__(self, seen: list[int] = seen) -> None:
                super().__init__(max_retries=3)
                self.cur_retry = 7
                self.seen = seen

            def exec(self, prep_res: Any) -> None:
                self.seen.append(self.cur_retry)
                raise ValueError("failed")

            def exec_fallback(self, prep_res: Any, exc: Exception) -> None:
                self.seen.append(self.cur_retry)

        if overrides:
            Fails._exec = lambda self, prep_res: library.classes.Node._exec(self, prep_res)
        library.run(library.classes.Flow(start=Fails()), {})
        library.run(Fails(), {})
        assert seen == [0, 1, 2, 2] * 2


@pytest.mark.parametrize("limit", [2, "2 at once", asyncio.Semaphore(2)])
@pytest.mark.parametrize("place", ["class", "instance"])
def test_a_limit_of_ones_own_is_kept(library: Library, place: str, limit: Any) -> None:
    """Of a class and of an object, on whatever is to be limited."""

    class Limited(library.classes.AsyncParallelBatchNode):  # type: ignore[name-defined]
        def __init__(self) -> None:
            if place == "instance":
                self.max_concurrency = limit
            super().__init__()

        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2, 3]

        async def exec_async(self, item: int) -> int:
            await asyncio.sleep(0)
            return item * 2

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["results"] = exec_res
            shared["limit"] = self.max_concurrency

    class Flow(library.classes.AsyncParallelBatchFlow):  # type: ignore[name-defined]
        async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
            return [{}]

    if place == "class":
        Limited.max_concurrency = Flow.max_concurrency = limit
    shared: dict[str, Any] = {}
    in_loop(lambda: library.run_async(Flow(start=Limited()), shared))
    assert shared == {"results": [2, 4, 6], "limit": limit}


def change(work: list[Any], how: str) -> None:
    """Append one up to four, or take one away down to two."""
    if how == "grows" and len(work) < 4:
        work.append(work[-1])
    if how == "shrinks" and len(work) > 2:
        work.pop()


@pytest.mark.parametrize("way", ["plainly", "observed", "pulled"])
@pytest.mark.parametrize(("how", "size", "runs"), [("grows", 2, 4), ("shrinks", 4, 2)])
def test_a_batch_may_change_while_it_runs(
    library: Library, way: str, how: str, size: int, runs: int
) -> None:
    """That of a node and that of a flow; `total` is not known any more from then on."""
    classes = library.classes

    class Works(classes.BatchNode):  # type: ignore[name-defined]
        def prep(self, shared: Any) -> list[int]:
            self.work = [0] * size
            return self.work

        def exec(self, item: int) -> int:
            change(self.work, how)
            return item

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["results"].append(exec_res)
            change(shared["passes"], how)

    class Passes(classes.BatchFlow):  # type: ignore[name-defined]
        def prep(self, shared: Any) -> Any:
            return shared["passes"]

    shared: dict[str, Any] = {"passes": [{}] * size, "results": []}
    events: list[Event] = []
    flow = Passes(start=Works())
    if way == "plainly" or library.name == "theirs":
        library.run(flow, shared)
    elif way == "observed":
        Run(flow, shared, observers=[events.append]).wait()
    else:
        events.extend(Run(flow, shared))
    assert shared["results"] == [[0] * runs] * runs
    if events:
        check_events(events)
        for node in ("", "Works"):
            totals = [e.total for e in events if isinstance(e, ItemStart) and e.node == node]
            assert totals[:2] == [size, None]
            ends = [e.total for e in events if isinstance(e, ItemEnd) and e.node == node]
            assert set(ends) == {None}


def test_a_star_import_gives_what_theirs_gives() -> None:
    """Programs use the modules that it brings."""
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    exec("from pocketflow import *", theirs)
    exec("from flowevents import *", ours)
    assert set(theirs) <= set(ours)
    for name in ("asyncio", "copy", "time", "warnings"):
        assert ours[name] is theirs[name]
