"""Random graphs, lost after random records, more than once, and forked."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import flowevents
from flowevents import Answer, Ask, Event, Interrupt, MemoryJournal, Result, Run
from flowevents.testing import check_events
from tests.durable.lost import AwaitedJournal, Commits, drive, lost_after
from tests.graphs import ERRORS, Graph, Halt, Leaf, graphs


class Both:
    """What all nodes have in common: all that they do is in `shared`, written in one go."""

    spec: Any
    params: dict[str, Any]

    def error(self) -> BaseException:
        """What it raises."""
        kind, text = self.spec.error
        return ERRORS[kind](text)

    def key(self) -> str:
        """Where it writes: each item of a batch flow elsewhere."""
        scope = [each for each in self.params.items() if each[0].startswith("item of ")]
        return f"{self.spec.label} {sorted(scope)}"

    def begin(self) -> Any:
        """What `prep` and `prep_async` do."""
        if self.spec.breaks == "prep":
            raise self.error()
        if not self.spec.is_batch:
            return ("prepared", self.spec.label)
        if self.spec.batch is None:
            return None
        items: list[Any] = list(self.spec.batch)
        if isinstance(self.spec, Graph):
            items = [dict(each) for each in items]
        return self.drawn(items) if self.spec.lazy else items

    def drawn(self, items: list[Any]) -> Iterator[Any]:
        """The items, one by one."""
        yield from items
        if self.spec.breaks == "draw":
            raise self.error()

    def end(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """What `post` and `post_async` do: the next action of the script."""
        if self.spec.breaks == "post":
            raise self.error()
        if self.spec.is_batch:
            prep_res = "items"
        rounds = shared.setdefault(self.key(), [])
        rounds.append((prep_res, exec_res))
        visit = len(rounds) - 1
        return self.spec.actions[visit] if visit < len(self.spec.actions) else "stop"


class Leaves(Both):
    """What nodes have in common."""

    def fail(self, given: Any) -> Any:
        """Fail as often as it is to, of an item only where that is odd; else give the result."""
        retry = getattr(self, "cur_retry", 0)
        odd = not self.spec.is_batch or given % 2 == 1
        if odd and retry < self.spec.failures:
            raise self.error()
        return retry

    def asks(self, given: Any) -> list[Ask]:
        """What it asks."""
        return [Ask(f"{self.key()} {given} {each}") for each in range(self.spec.asks)]


class Sync(Leaves):
    def prep(self, shared: Any) -> Any:
        return self.begin()

    def exec(self, given: Any) -> Any:
        return given, self.fail(given)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return self.end(shared, prep_res, exec_res)


class SyncStream(Sync):
    def exec_stream(self, given: Any) -> Generator[Any, None, Any]:
        for index in range(self.spec.chunks):
            yield given, index
        for each in self.asks(given):
            yield (yield each)
        self.fail(given)
        return (given, "streamed") if self.spec.result else None


class Async(Leaves):
    async def pause(self) -> None:
        for _ in range(self.spec.pauses):
            await asyncio.sleep(0)

    async def prep_async(self, shared: Any) -> Any:
        await self.pause()
        return self.begin()

    async def exec_async(self, given: Any) -> Any:
        await self.pause()
        node: Any = self
        answers = [await node.ask(each.prompt) for each in self.asks(given)]
        return given, answers, self.fail(given)

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        await self.pause()
        return self.end(shared, prep_res, exec_res)


class AsyncStream(Async):
    async def exec_stream_async(self, given: Any) -> AsyncIterator[Any]:
        for index in range(self.spec.chunks):
            await self.pause()
            yield given, index
        for each in self.asks(given):
            answer = yield each
            yield answer
        self.fail(given)
        if self.spec.result:
            yield Result((given, "streamed"))


class Fallback(Leaves):
    def exec_fallback(self, given: Any, exc: Exception) -> Any:
        if self.spec.fallback == "raises":
            raise KeyError("broken")
        return given, "fell back"

    async def exec_fallback_async(self, given: Any, exc: Exception) -> Any:
        return Fallback.exec_fallback(self, given, exc)


class FlowPrep(Both):
    def prep(self, shared: Any) -> Any:
        return self.begin()

    async def prep_async(self, shared: Any) -> Any:
        return self.begin()


class FlowPost(Both):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        action = self.end(shared, prep_res, exec_res)
        return exec_res if action == "pass" else action

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return FlowPost.post(self, shared, prep_res, exec_res)


def _of_kind(mixin: type, is_async: bool) -> type:
    """The methods of a class that are async, or those that are not."""
    own = {
        name: method
        for name, method in vars(mixin).items()
        if not name.startswith("_") and name.endswith("_async") is is_async
    }
    return type(mixin.__name__, (Both,), own)


def _build(spec: Leaf | Graph) -> Any:
    own: list[type] = []
    arguments: tuple[Any, ...] = ()
    if isinstance(spec, Leaf):
        if spec.fallback:
            own.append(_of_kind(Fallback, spec.is_async))
        if "Stream" in spec.kind:
            own.append(AsyncStream if spec.is_async else SyncStream)
        else:
            own.append(Async if spec.is_async else Sync)
        if spec.kind != "BaseNode":
            arguments = (spec.max_retries,)
    else:
        if not spec.plain:
            own.append(_of_kind(FlowPost, spec.is_async))
        if not spec.plain or spec.is_batch:
            own.append(_of_kind(FlowPrep, spec.is_async))
    bases = [getattr(flowevents, name) for name in spec.kind.split("+")]
    made: Any = type(spec.label, (*own, *bases), {"spec": spec})(*arguments)
    made.set_params(dict(spec.params))
    if isinstance(spec, Graph):
        nodes = [_build(node) for node in spec.nodes]
        for node, edges in zip(nodes, spec.edges, strict=True):
            for action, target in edges:
                node.next(None if target is None else nodes[target], action)
        if spec.start is not None:
            made.start(nodes[spec.start])
    return made


class Answers:
    """Answers every question with what it says."""

    def on_interrupt(self, event: Interrupt) -> Answer[Any]:
        return Answer(["answer", event.prompt])


@dataclass
class Seen:
    """What came of a run."""

    journal: MemoryJournal
    run_id: str
    commits: Commits
    error: type[BaseException] | None
    shared: Any

    def places(self) -> list[int]:
        """After which records it may be lost, up to the end, or to where something has failed."""
        events: list[Event] = list(self.journal.read(self.run_id))
        last = next(
            (each.seq for each in events if getattr(each, "status", "ok") != "ok"), events[-1].seq
        )
        return [seq for seq in self.commits.done if seq < last]


def _driven(flow: Any, run: Run, journal: MemoryJournal, commits: Commits) -> Seen:
    error: type[BaseException] | None = None
    try:
        drive(run, flow)
    except (Exception, Halt) as raised:
        error = type(raised)
    check_events(journal.read(run.id), complete=error is not Halt)
    return Seen(journal, run.id, commits, error, run.shared)


def _begun(spec: Graph, journal: MemoryJournal) -> Seen:
    flow, commits = _build(spec), Commits(journal, "run", Counter())
    run = Run(flow, {}, journal=journal, id="run", observers=[Answers(), commits])
    return _driven(flow, run, journal, commits)


def _resumed(spec: Graph, seen: Seen, seq: int, stack: ExitStack) -> Seen:
    flow = _build(spec)
    journal = stack.enter_context(lost_after(seen.journal, seen.run_id, seq))
    commits = Commits(journal, seen.run_id, Counter())
    run = Run.resume(flow, journal, seen.run_id, observers=[Answers(), commits])
    return _driven(flow, run, journal, commits)


def _forked(spec: Graph, seen: Seen, seq: int, _: ExitStack) -> Seen:
    flow, commits = _build(spec), Commits(seen.journal, "fork", Counter())
    observers = [Answers(), commits]
    run = Run.fork(flow, seen.journal, seen.run_id, seq, "fork", observers=observers)
    return _driven(flow, run, seen.journal, commits)


def _check(spec: Graph, seen: Seen, whole: Seen) -> None:
    assert seen.error == whole.error
    if whole.error is None or not spec.has_parallel:
        assert seen.shared == whole.shared


@given(graphs(asynchronous=True, streams=True, asks=True), st.data())
def test_any_graph_goes_on_after_any_record(spec: Graph, data: st.DataObject) -> None:
    """To the same `shared`, also where it is lost again, and where it is forked."""
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        kind = data.draw(st.sampled_from([MemoryJournal, AwaitedJournal]))
        whole = seen = _begun(spec, stack.enter_context(kind()))
        for again in (_resumed, data.draw(st.sampled_from([_resumed, _forked])), _resumed):
            places = seen.places()
            if not places:
                return
            seen = again(spec, seen, data.draw(st.sampled_from(places)), stack)
            _check(spec, seen, whole)
