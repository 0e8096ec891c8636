"""Runs of one flow at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

from flowevents import AsyncFlow, AsyncNode, Chunk, Event, Flow, Node, StreamNode, signals
from flowevents.testing import check_events
from tests.watching import Way, in_loop


def agent() -> Any:
    """A flow with a loop, a nested flow and a stream, whose nodes use `shared` and `params`."""

    class Plan(Node):
        def prep(self, shared: Any) -> Any:
            self.run_name = shared["name"]
            return shared["name"]

        def exec(self, prep_res: Any) -> Any:
            self.emit(prep_res)
            return self.run_name

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str | None:
            assert self.run_name == shared["name"] == prep_res == exec_res
            shared["rounds"] = shared.get("rounds", 0) + 1
            return "done" if shared["rounds"] == 3 else None

    class Act(StreamNode):
        def prep(self, shared: Any) -> Any:
            return shared["name"]

        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            yield prep_res
            yield prep_res

    plan, act = Plan(), Flow(start=Act())
    plan >> act >> plan
    plan - "done" >> None
    return Flow(start=plan)


def rounds(name: str) -> list[str]:
    """The chunks of one run of it."""
    return [name, name, name] * 2 + [name]


def test_concurrent_runs_of_one_flow_are_independent_in_threads() -> None:
    """Fifty threads, one object: each run's observers hear that run only."""
    flow = agent()
    begin = threading.Barrier(50, timeout=60)
    heard: dict[str, list[Event]] = {f"run {number}": [] for number in range(50)}
    before = dict(vars(flow)), dict(vars(flow.start_node))

    def run(name: str) -> None:
        begin.wait()
        assert flow.run({"name": name}, observers=[heard[name].append]) == "done"

    threads = [threading.Thread(target=run, args=(name,)) for name in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, events in heard.items():
        check_events(events)
        assert [event.data for event in events if isinstance(event, Chunk)] == rounds(name)
    assert (dict(vars(flow)), dict(vars(flow.start_node))) == before
    assert all(not signal.receivers for signal in (signals.chunk, signals.flow_end))


def test_concurrent_runs_of_one_flow_are_independent_in_tasks() -> None:
    """A hundred tasks whose steps take turns."""

    class Turn(AsyncNode):
        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            await asyncio.sleep(0)
            self.emit(shared["name"])

    turn = Turn()
    turn >> agent()
    flow = AsyncFlow(start=turn)

    async def run(name: str) -> list[Event]:
        events: list[Event] = []
        await flow.run_async({"name": name}, observers=[events.append])
        return events

    async def main() -> list[list[Event]]:
        return await asyncio.gather(*(run(f"run {number}") for number in range(100)))

    for number, events in enumerate(in_loop(main)):
        check_events(events)
        name = f"run {number}"
        assert [e.data for e in events if isinstance(e, Chunk)] == [name, *rounds(name)]


def test_a_flow_inside_its_own_run_is_another_run(way: Way) -> None:
    """A node may run the flow it is in."""
    heard: list[Event] = []

    class Again(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            if shared["depth"]:
                flow.run({"depth": shared["depth"] - 1}, observers=[heard.append])

    flow = Flow(start=Again())
    watched = way.watch(flow, {"depth": 1})
    assert watched.error is None
    check_events(heard)
    assert len(heard) == len(watched.events)
