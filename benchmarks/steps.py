"""A step of an agent loop: Plan and Act in turn, the same classes on each library's Node."""

from __future__ import annotations

from typing import Any

import pocketflow

import flowevents

from .measure import Comparison, Counter, expect

SIZE = 100_000


def agent(library: Any) -> Any:
    """A flow of `library` whose nodes take turns until `shared["steps"]` reaches
    `shared["limit"]`."""
    base: Any = library.Node

    class Plan(base):
        def prep(self, shared: dict[str, int]) -> int:
            return shared["steps"]

        def exec(self, prep_res: int) -> int:
            return prep_res + 1

        def post(self, shared: dict[str, int], prep_res: int, exec_res: int) -> str:
            shared["steps"] = exec_res
            return "act" if exec_res < shared["limit"] else "done"

    class Act(base):
        def prep(self, shared: dict[str, int]) -> int:
            return shared["steps"]

        def exec(self, prep_res: int) -> int:
            return prep_res + 1

        def post(self, shared: dict[str, int], prep_res: int, exec_res: int) -> str:
            shared["steps"] = exec_res
            return "plan" if exec_res < shared["limit"] else "done"

    class Done(base):
        def post(self, shared: dict[str, int], prep_res: None, exec_res: None) -> str:
            shared["steps"] += 1
            return "finished"

    plan, act, done = Plan(), Act(), Done()
    plan.next(act, "act").next(plan, "plan")
    plan.next(done, "done")
    act.next(done, "done")
    return library.Flow(start=plan)


def run_agent(library: Any, steps: int, **options: object) -> None:
    """Run the agent for `steps` steps, two or more, the last one in Done; `options` go to
    `run`."""
    shared = {"steps": 0, "limit": steps - 1}
    action = agent(library).run(shared, **options)
    expect(action, "finished", "the last action")
    expect(shared["steps"], steps, "the steps taken")


def unobserved(steps: int) -> None:
    """flowevents with nobody listening."""
    run_agent(flowevents, steps)


def observed(steps: int) -> None:
    """flowevents with one observer of every event."""
    counter = Counter()
    run_agent(flowevents, steps, observers=[counter.handler])
    # A node_start, a node_end and an action for each step, and the flow's own start and end.
    expect(counter.count(), 3 * steps + 2, "the events observed")


def reference(steps: int) -> None:
    """pocketflow, which nobody can observe."""
    run_agent(pocketflow, steps)


WORKS = (
    Comparison("a step of an agent loop, nobody listening", 0.4, SIZE, unobserved, reference),
    Comparison("a step, one observer of every event", 1.1, SIZE, observed, reference),
)
