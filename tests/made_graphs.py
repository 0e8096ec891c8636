"""Drawn graphs, made into any library's classes, and what comes of running them.

Their nodes write down every call that they get, in `shared["log"]`, under their scope: the batch
items that they belong to. Within a scope one thing happens after the other, also where items run at
the same time.
"""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from flowevents import Ask, Result
from tests.graphs import ERRORS, Graph, Halt, Leaf

__all__ = ["Outcome", "assert_same", "build", "new_shared", "outcome_of"]

# -- what is made of a description ----------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """What all nodes of a made graph share.

    Attributes:
        shared: Where they write down their calls.
        newest: The library counts retries as pocketflow's repository now does: async nodes too
            have a `cur_retry`, which the items of a parallel batch have in common.
        emits: They emit, where they can.
    """

    shared: dict[str, Any]
    newest: bool
    emits: bool
    failed: Counter[Any] = field(default_factory=Counter)


class Recorder:
    """What the nodes of a made graph have in common: they write down what is called."""

    spec: Any
    world: World
    params: dict[str, Any]

    def scope(self) -> tuple[Any, ...]:
        """The items of batch flows that it runs in, outermost first."""
        return tuple(each for each in self.params.items() if each[0].startswith("item of "))

    def note(self, what: str, *details: Any, item: object = None) -> None:
        """Write down a call, in the node's scope or in that of an item of its batch."""
        scope = (*self.scope(), item) if item is not None else self.scope()
        entry = (self.spec.label, what, *details)
        self.world.shared["log"].setdefault(scope, []).append(entry)

    def break_in(self, method: str) -> None:
        """Raise the error, where it is this method that breaks."""
        if self.spec.breaks == method:
            raise self.error()

    def error(self) -> BaseException:
        """What it raises."""
        kind, text = self.spec.error
        return ERRORS[kind](text)

    def retry(self, item: object = None) -> int | None:
        """The retry that the library counts, where it does."""
        return None

    def do_prep(self) -> Any:
        """What `prep` and `prep_async` do: a copy made for this step finds nothing of another."""
        self.note("prep", dict(self.params), vars(self).get("scratch"))
        self.scratch = "written in prep"
        self.params[f"seen by {self.spec.label}"] = True  # what later nodes of the pass see
        self.break_in("prep")
        if not self.spec.is_batch:
            return f"prepared by {self.spec.label}"
        if self.spec.batch is None:
            return None
        return self.drawn() if self.spec.lazy else self.items()

    def items(self) -> list[Any]:
        """What a batch consists of."""
        return list(self.spec.batch)

    def drawn(self) -> Iterator[Any]:
        """The items, one by one; when each is asked for is written down."""
        for item in self.items():
            self.note("draw", item)
            yield item
        self.break_in("draw")

    def do_post(self, prep_res: Any, exec_res: Any) -> Any:
        """What `post` and `post_async` do: the next action of the script."""
        if isinstance(prep_res, Iterator):
            prep_res = "drawn"
        self.note("post", prep_res, exec_res, vars(self).get("scratch"), self.retry())
        self.break_in("post")
        visits = self.world.shared["visits"]
        visit = visits[self.spec.label, self.scope()]
        visits[self.spec.label, self.scope()] += 1
        return self.spec.actions[visit] if visit < len(self.spec.actions) else "stop"


class NodeRecorder(Recorder):
    """What nodes have in common, and flows do not."""

    def retry(self, item: object = None) -> int | None:
        if self.spec.is_async and not self.world.newest:
            return None
        if self.spec.has_parallel and item is None:
            return None  # the items of pocketflow's have it in common
        return getattr(self, "cur_retry", 0)

    def item(self, prep_res: Any) -> Any:
        """Where calls of `exec` are noted: in a parallel batch, with their item."""
        return prep_res if self.spec.has_parallel else None

    def do_exec(self, prep_res: Any) -> Any:
        """What `exec` and `exec_async` do: fail as often as they are to, then give a result."""
        self.begin(prep_res)
        if self.world.emits:
            self.emit_some()
        self.fail(prep_res)
        return f"{prep_res} done"

    def begin(self, prep_res: Any) -> None:
        """Write down an attempt."""
        item = self.item(prep_res)
        self.note("exec", prep_res, self.retry(item), item=item)

    def prompts(self, prep_res: Any) -> list[Any]:
        """What an attempt asks."""
        return [[self.spec.label, prep_res, index] for index in range(self.spec.asks)]

    def answered(self, prep_res: Any, answer: Any) -> None:
        """Write down an answer."""
        self.note("answer", answer, item=self.item(prep_res))

    def fail(self, prep_res: Any) -> None:
        """Raise, if this attempt is to fail."""
        key = (self.spec.label, self.scope(), prep_res)
        odd = not self.spec.is_batch or prep_res % 2 == 1
        self.world.failed[key] += 1
        if odd and self.world.failed[key] <= self.spec.failures:
            raise self.error()
        del self.world.failed[key]

    def emit_some(self) -> None:
        """Publish something, if it is one of flowevents' nodes."""
        node: Any = self
        for index in range(self.spec.chunks if hasattr(node, "emit") else 0):
            node.emit(f"{self.spec.label} emits {index}", kind="output" if index % 2 else "note")
            node.progress(index, self.spec.chunks, self.spec.label)

    def do_fallback(self, prep_res: Any, exc: Exception) -> Any:
        """What `exec_fallback` and `exec_fallback_async` do."""
        self.world.failed.pop((self.spec.label, self.scope(), prep_res), None)
        item = self.item(prep_res)
        self.note("fallback", prep_res, type(exc), str(exc), self.retry(item), item=item)
        if self.spec.fallback == "raises":
            raise KeyError("broken") from exc
        return f"{prep_res} fell back"

    async def pause(self) -> None:
        """Let others go on."""
        shares_retry = self.world.newest and self.spec.has_parallel and self.spec.failures
        for _ in range(0 if shares_retry else self.spec.pauses):
            await asyncio.sleep(0)


class SyncNode(NodeRecorder):
    def prep(self, shared: Any) -> Any:
        return self.do_prep()

    def exec(self, prep_res: Any) -> Any:
        return self.do_exec(prep_res)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return self.do_post(prep_res, exec_res)


class SyncStream(SyncNode):
    def exec_stream(self, prep_res: Any) -> Generator[Any, None, Any]:
        self.begin(prep_res)
        for index in range(self.spec.chunks):
            yield f"{prep_res} chunk {index}"
        for prompt in self.prompts(prep_res):
            self.answered(prep_res, (yield Ask(prompt)))
        self.fail(prep_res)
        return f"{prep_res} streamed" if self.spec.result else None


class SyncFallback(NodeRecorder):
    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        return self.do_fallback(prep_res, exc)


class AsyncNode(NodeRecorder):
    async def prep_async(self, shared: Any) -> Any:
        await self.pause()
        return self.do_prep()

    async def exec_async(self, prep_res: Any) -> Any:
        await self.pause()
        for prompt in self.prompts(prep_res):
            node: Any = self
            self.answered(prep_res, await node.ask(prompt))
        return self.do_exec(prep_res)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        await self.pause()
        return self.do_post(prep_res, exec_res)


class AsyncStream(AsyncNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        self.begin(prep_res)
        for index in range(self.spec.chunks):
            await self.pause()
            yield f"{prep_res} chunk {index}"
        for prompt in self.prompts(prep_res):
            self.answered(prep_res, (yield Ask(prompt)))
        self.fail(prep_res)
        if self.spec.result:
            yield Result(f"{prep_res} streamed")


class AsyncFallback(NodeRecorder):
    async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> Any:
        await self.pause()
        return self.do_fallback(prep_res, exc)


class FlowRecorder(Recorder):
    """What flows have in common."""

    def items(self) -> list[Any]:
        return [dict(params) for params in self.spec.batch]

    def action(self, prep_res: Any, exec_res: Any) -> Any:
        """The next action of the script, which may be the last node's."""
        action = self.do_post(prep_res, exec_res)
        return exec_res if action == "pass" else action

    async def pause(self) -> None:
        """Let others go on."""
        for _ in range(self.spec.pauses):
            await asyncio.sleep(0)


class SyncFlowPrep(FlowRecorder):
    def prep(self, shared: Any) -> Any:
        return self.do_prep()


class SyncFlowPost(FlowRecorder):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return self.action(prep_res, exec_res)


class AsyncFlowPrep(FlowRecorder):
    async def prep_async(self, shared: Any) -> Any:
        await self.pause()
        return self.do_prep()


class AsyncFlowPost(FlowRecorder):
    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        await self.pause()
        return self.action(prep_res, exec_res)


Pick = Callable[["Leaf | Graph"], Any]
"""Which library's classes a node is made with."""


def new_shared() -> dict[str, Any]:
    """What a made graph is run with."""
    return {"log": {}, "visits": Counter()}


def build(
    spec: Leaf | Graph,
    library: Any,
    shared: dict[str, Any],
    *,
    newest: bool = True,
    emits: bool = True,
) -> Any:
    """Make a graph with a library's classes.

    Args:
        spec: What to make.
        library: Where its classes are, or a function that says so of each node.
        shared: What it will be run with, from `new_shared`.
        newest, emits: As in `World`.
    """
    pick: Pick = library if not hasattr(library, "BaseNode") else lambda spec: library
    return _build(spec, pick, World(shared, newest, emits))


def _build(spec: Leaf | Graph, pick: Pick, world: World) -> Any:
    own: list[type] = []
    arguments: tuple[Any, ...] = ()
    if isinstance(spec, Leaf):
        if spec.fallback:
            own.append(AsyncFallback if spec.is_async else SyncFallback)
        if "Stream" in spec.kind:
            own.append(AsyncStream if spec.is_async else SyncStream)
        else:
            own.append(AsyncNode if spec.is_async else SyncNode)
        if spec.kind != "BaseNode":
            arguments = (spec.max_retries,)
    else:
        if not spec.plain:
            own.append(AsyncFlowPost if spec.is_async else SyncFlowPost)
        if not spec.plain or spec.is_batch:
            own.append(AsyncFlowPrep if spec.is_async else SyncFlowPrep)
    bases = [getattr(pick(spec), name) for name in spec.kind.split("+")]
    made: Any = type(spec.label, (*own, *bases), {"spec": spec, "world": world})(*arguments)
    made.set_params(dict(spec.params))
    if isinstance(spec, Graph):
        nodes = [_build(node, pick, world) for node in spec.nodes]
        for node, edges in zip(nodes, spec.edges, strict=True):
            for action, target in edges:
                following = None if target is None else nodes[target]
                if action == "default":
                    node >> following
                else:
                    node - action >> following
        if spec.start is not None:
            made.start(nodes[spec.start])
    return made


# -- what came of it ------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What can be seen of a run from outside."""

    returned: Any = None
    error: tuple[type, str] | None = None
    shared: dict[str, Any] = field(default_factory=dict)
    warnings: list[tuple[type, str]] = field(default_factory=list)


def outcome_of(run: Callable[[dict[str, Any]], Any]) -> Outcome:
    """Call a function with a new `shared`, and say what came of it; warnings too."""
    outcome = Outcome(shared=new_shared())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome.returned = run(outcome.shared)
        except (Exception, Halt) as error:
            outcome.error = (type(error), str(error))
    outcome.warnings = [
        # Behind pocketflow's own text flowevents says which node it was, and why.
        (each.category, str(each.message).partition("]. ")[0].removesuffix("]"))
        for each in caught
        if "has no start node" not in str(each.message)  # flowevents only, by design
    ]
    return outcome


def assert_same(spec: Leaf | Graph, outcome: Outcome, expected: Outcome) -> None:
    """Both runs did the same.

    Where an item of a parallel batch failed, pocketflow lets the others go on until the loop
    ends, and flowevents cancels them: then of each scope one has done the beginning of what the
    other has.
    """
    assert (outcome.returned, outcome.error) == (expected.returned, expected.error)
    if not spec.has_parallel:
        assert outcome.shared == expected.shared
        assert outcome.warnings == expected.warnings
    elif expected.error is None:
        assert outcome.shared == expected.shared
        assert sorted(outcome.warnings, key=str) == sorted(expected.warnings, key=str)
    else:
        for scope in outcome.shared["log"].keys() & expected.shared["log"].keys():
            pairs = zip(outcome.shared["log"][scope], expected.shared["log"][scope], strict=False)
            assert all(one == other for one, other in pairs), scope
