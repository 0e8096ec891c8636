"""Each class's `_exec`, `_run` and `_orch` does pocketflow's part, whoever overrides it.

Every class, every one of its private methods, every class that it has that method from: an override
calls it, with all of `prep_res` or per item, alone and in a flow.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import flowevents
from flowevents import Event, Run
from flowevents.testing import check_events
from tests.compatibility.libraries import Library, pocketflow
from tests.watching import in_loop

NODES = ("BaseNode", "Node", "BatchNode", "AsyncNode", "AsyncBatchNode", "AsyncParallelBatchNode")
FLOWS = ("Flow", "BatchFlow", "AsyncFlow", "AsyncBatchFlow", "AsyncParallelBatchFlow")
BOTH = "AsyncNode, BatchNode"
"""Two classes that pocketflow-throttled has its own ones from; neither makes the other a batch."""

Case = tuple[str, str, str, str]
"""A class, its method, the class whose method an override calls, and with what."""


def class_of(library: Any, name: str) -> type:
    """The library's class, or one of two."""
    if name == BOTH:
        return type("Both", (library.AsyncNode, library.BatchNode), {})
    return getattr(library, name)  # type: ignore[no-any-return]


def cases() -> Iterator[Case]:
    """All of them."""
    for name in (*NODES, BOTH, *FLOWS):
        cls = class_of(pocketflow, name)
        methods = ("_run", "_run_async", "_orch", "_orch_async") + ("_exec",) * (name not in FLOWS)
        for method in methods:
            for each in cls.__mro__:
                if method in vars(each):
                    yield name, method, each.__name__, "whole"
                    if method == "_exec":
                        yield name, method, each.__name__, "each"
                        yield name, method, each.__name__, "together"


def overriding(method: str, called: Any, how: str, log: list[Any]) -> tuple[Any, Any]:
    """A plain override of that method, and an async one, which call `called`."""

    def plain(self: Any, argument: Any, params: Any = None) -> Any:
        log.append(method)
        if how != "whole":
            return [called(self, each) for each in argument]
        return called(self, argument) if params is None else called(self, argument, params)

    async def asynchronous(self: Any, argument: Any, params: Any = None) -> Any:
        async def awaited(result: Any) -> Any:
            return await result if inspect.isawaitable(result) else result

        result = plain(self, argument, params)
        if how == "together":
            return await asyncio.gather(*map(awaited, result))
        return [await awaited(each) for each in result] if how == "each" else await awaited(result)

    return plain, asynchronous


def make(library: Any, case: Case, log: list[Any]) -> Any:
    """A node or flow with that override, which notes what is called."""
    name, method, part, how = case
    cls: Any = class_of(library, name)
    tries: Counter[str] = Counter()
    batch = [{"i": 1}, {"i": 2}] if name in FLOWS else ["fails once", "fails"]

    class Noted(cls):
        def prep(self, shared: Any) -> Any:
            log.append("prep")
            return batch

        async def prep_async(self, shared: Any) -> Any:
            log.append("prep_async")
            return batch

        def exec(self, argument: Any) -> Any:
            log.append(("exec", argument))
            if hasattr(self, "emit"):
                self.emit(argument)
            tries[str(argument)] += 1
            if argument == "fails" or (argument == "fails once" and tries[argument] == 1):
                raise ValueError(argument)
            return ("result", argument)

        async def exec_async(self, argument: Any) -> Any:
            await asyncio.sleep(0)
            return Noted.exec(self, argument)

        def exec_fallback(self, argument: Any, exc: Exception) -> Any:
            log.append(("fallback", argument, str(exc)))
            return "fallback"

        async def exec_fallback_async(self, argument: Any, exc: Exception) -> Any:
            log.append(("fallback_async", argument, str(exc)))
            return "fallback"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            log.append(("post", prep_res, exec_res))
            return "posted"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            log.append(("post_async", prep_res, exec_res))
            return "posted"

    plain, asynchronous = overriding(method, getattr(getattr(library, part), method), how, log)
    awaited = method.endswith("_async") or (method == "_exec" and "Async" in name)
    setattr(Noted, method, asynchronous if awaited else plain)
    if name in FLOWS:
        return Noted(start=step(library, "Async" in name, log))
    return Noted() if name == "BaseNode" else Noted(max_retries=2)


def step(library: Any, is_async: bool, log: list[Any]) -> Any:
    """What is in a flow: a sync node, which an async one follows."""

    class Sync(library.Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            log.append(("sync", dict(self.params)))
            return "next"

    class Async(library.AsyncNode):
        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            log.append(("async", dict(self.params)))
            return "end"

    node = Sync()
    if is_async:
        node - "next" >> Async()
    return node


def outcome(library: Any, case: Case, way: str, nested: bool) -> tuple[Any, list[Any], list[Event]]:
    """What comes of it: the action or the error, what was called, and the events."""
    log: list[Any] = []
    events: list[Event] = []
    made = make(library, case, log)
    is_async = isinstance(made, library.AsyncNode)
    if nested:
        made = (library.AsyncFlow if is_async else library.Flow)(start=made)

    async def pulled(run: Run) -> Any:
        async for event in run:
            events.append(event)
        return run.action

    async def main() -> Any:
        if way == "plainly":
            return await made.run_async({})
        if way == "pulled":
            return await pulled(Run(made, {}))
        return await Run(made, {}, observers=[events.append]).wait_async()

    def sync_main() -> Any:
        if way == "plainly":
            return made.run({})
        run = Run(made, {}, observers=[events.append] if way == "observed" else [])
        if way == "pulled":
            events.extend(run)
        return run.wait()

    try:
        result: Any = in_loop(main) if is_async else sync_main()
    except Exception as error:
        result = type(error)
    return result, log, events


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_an_override_gets_from_any_class_what_it_gets_there(case: Case, nested: bool) -> None:
    """Results, every call and its arguments; well-formed events, one opaque step of them."""
    theirs = outcome(pocketflow, case, "plainly", nested)
    for library in (flowevents, pocketflow):
        for way in ("plainly", "observed", "pulled"):
            if library is pocketflow and way == "plainly":
                continue
            result, log, events = outcome(library, case, way, nested)
            assert (result, log) == theirs[:2], (library.__name__, way)
            if events:
                check_events(events)


def test_a_batch_node_of_ones_own_is_written_as_there(library: Library) -> None:
    """Retries and fallback per item, throttled by a semaphore, as pocketflow-throttled does it."""
    AsyncNode, BatchNode = library.classes.AsyncNode, library.classes.BatchNode
    tries: Counter[int] = Counter()
    at_once: list[int] = [0, 0]

    class Throttled(AsyncNode, BatchNode):  # type: ignore[misc, valid-type]
        async def throttled(self, item: int) -> Any:
            async with self.limit:
                at_once[0] += 1
                at_once[1] = max(at_once)
                try:
                    return await super()._exec(item)
                finally:
                    at_once[0] -= 1

        async def _exec(self, items: list[int]) -> Any:
            self.limit = asyncio.Semaphore(2)
            return await asyncio.gather(*map(self.throttled, items))

    class Doubles(Throttled):
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2, 3, 4]

        async def exec_async(self, item: int) -> int:
            await asyncio.sleep(0)
            tries[item] += 1
            if item == 4 or (item == 2 and tries[item] == 1):
                raise ValueError(item)
            return item * 2

        async def exec_fallback_async(self, item: int, exc: Exception) -> str:
            return f"no {item}"

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["results"] = exec_res

    shared: dict[str, Any] = {}
    flow = library.classes.AsyncFlow(start=Doubles(max_retries=2))
    in_loop(lambda: library.run_async(flow, shared))
    assert shared == {"results": [2, 4, 6, "no 4"]}
    assert tries == {1: 1, 2: 2, 3: 1, 4: 2}
    assert at_once == [0, 2]


def test_two_classes_are_a_batch_where_pocketflows_are(library: Library) -> None:
    """The first class in the order of resolution that has an `_exec` or a `_run_async` says it."""
    classes = library.classes

    class Node(classes.AsyncNode, classes.BatchNode):  # type: ignore[name-defined]
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2]

        async def exec_async(self, prep_res: Any) -> Any:
            return prep_res

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared.setdefault("exec", []).append((dict(self.params), exec_res))

    class Flow(classes.AsyncFlow, classes.BatchFlow):  # type: ignore[name-defined]
        async def prep_async(self, shared: Any) -> list[dict[str, int]]:
            return [{"i": 1}, {"i": 2}]

    shared: dict[str, Any] = {}
    in_loop(lambda: library.run_async(Flow(start=Node()), shared))
    assert shared == {"exec": [({}, [1, 2])]}


def test_a_walk_written_by_hand_is_one_opaque_step() -> None:
    """As where a program has copied pocketflow's `_orch`: what its nodes emit belongs to it."""

    class Says(flowevents.StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield "said"

    def walk(self: Any, shared: Any, params: Any = None) -> Any:
        node, action = copy.copy(self.start_node), None
        while node:
            node.set_params(params or {**self.params})
            action = node._run(shared)
            node = copy.copy(self.get_next_node(node, action))
        return action

    async def walk_async(self: Any, shared: Any, params: Any = None) -> Any:
        return walk(self, shared, params)

    runs: dict[str, list[Event]] = {}
    for library in (flowevents, pocketflow):
        sync = type("Walks", (library.Flow,), {"_orch": walk})
        asynchronous = type("Walks", (library.AsyncFlow,), {"_orch_async": walk_async})
        with flowevents.observe(lambda event: runs.setdefault(event.run_id, []).append(event)):
            Run(sync(start=Says()), {}).wait()
            in_loop(Run(asynchronous(start=Says()), {}).wait_async)
    assert len(runs) == 4
    for events in runs.values():
        check_events(events)
        assert [event.signal for event in events] == [
            "flow_start",
            "node_start",
            "chunk",
            "node_end",
            "action",
            "flow_end",
        ]


def test_in_their_flow_ours_is_a_run_of_its_own_whatever_it_overrides() -> None:
    """What it emits is heard there, as without an override."""

    class Own(flowevents.Node):
        def _exec(self, prep_res: Any) -> Any:
            self.emit("own")
            return super()._exec(prep_res)

    events: list[Event] = []
    with flowevents.observe(events.append):
        pocketflow.Flow(start=Own()).run({})
    check_events(events)
    assert [event.data for event in events if isinstance(event, flowevents.Chunk)] == ["own"]
