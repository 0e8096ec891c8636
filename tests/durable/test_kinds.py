"""Nodes and flows of every kind, and with every option, lost after any record."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pocketflow
import pytest

from flowevents import (
    Ask,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Event,
    Flow,
    Interrupt,
    MemoryJournal,
    Node,
    NodeEnd,
    Paused,
    Reply,
    Retry,
    Run,
    StreamNode,
    TooManySteps,
)
from flowevents.events import ItemEnd, ItemStart
from flowevents.testing import check_events
from tests.driving import Driver
from tests.durable.lost import Commits, lost_after

Make = Callable[[], Any]


def _drive(run: Run, node: Any) -> None:
    """Drive a run of this flow or node to its end, in a loop where it is async."""
    if isinstance(node, (AsyncNode, AsyncFlow, pocketflow.AsyncNode)):
        asyncio.run(run.wait_async())
    else:
        run.wait()


class Lost:
    """Runs of what is made, lost after each commit, and gone on with."""

    def __init__(self, make: Make, shared: Any = None, **options: Any) -> None:
        self.make = make
        self.own = {
            each: options[each]
            for each in ("state_types", "redact", "offload", "on_handler_error")
            if each in options
        }
        self.journal = MemoryJournal()
        self.commits = Commits(self.journal, "run", Counter())
        node, shared = make(), {} if shared is None else shared
        self.run = Run(
            node, shared, journal=self.journal, id="run", observers=[self.commits], **options
        )
        _drive(self.run, node)
        self.events = list(self.journal.read("run"))
        check_events(self.events)

    def __iter__(self) -> Iterator[list[Event]]:
        """The events of each, whose `shared` is as that of the first one."""
        with self.journal:
            for seq in list(self.commits.done)[:-1]:
                with lost_after(self.journal, "run", seq) as left:
                    node = self.make()
                    run = Run.resume(node, left, "run", **self.own)
                    _drive(run, node)
                    assert run.shared == self.run.shared
                    assert run.action == self.run.action
                    events = list(left.read("run"))
                    check_events(events)
                    yield events


def _check(make: Make, shared: Any = None, **options: Any) -> Any:
    """Its final `shared`; wherever it is lost it comes to the same."""
    lost = Lost(make, shared, **options)
    assert sum(1 for _ in lost) > 2
    return lost.run.shared


# -- batches --------------------------------------------------------------------------------------


def _streams(self: Any, item: Any) -> Iterator[Any]:
    for each in range(item):
        yield item, each


async def _prepares(self: Any, shared: Any) -> Any:
    return [3, 1, 2]


async def _squares(self: Any, item: Any) -> Any:
    for _ in range(item):
        await asyncio.sleep(0)
    return item, item * item


async def _streams_async(self: Any, item: Any) -> AsyncIterator[Any]:
    for each in range(item):
        await asyncio.sleep(0)
        yield item, each


async def _keeps(self: Any, shared: Any, prep_res: Any, exec_res: Any) -> None:
    shared["squares"] = exec_res


def _batch(*bases: type, **own: Any) -> Make:
    """Squares numbers, in an order of their own where they are parallel."""

    methods = {
        "prep": lambda self, shared: [3, 1, 2],
        "exec": lambda self, item: (item, item * item),
        "exec_stream": _streams,
        "post": lambda self, shared, prep_res, exec_res: shared.update(squares=exec_res),
        "prep_async": _prepares,
        "exec_async": _squares,
        "exec_stream_async": _streams_async,
        "post_async": _keeps,
    }
    what = "exec_stream" if len(bases) > 1 else "exec"
    end = "_async" if any(issubclass(each, AsyncNode) for each in bases) else ""
    own_methods = {each + end: methods[each + end] for each in ("prep", what, "post")}
    squares = type("Squares", bases, own_methods)

    def make() -> Any:
        node = squares()
        vars(node).update(own)
        return (AsyncFlow if end else Flow)(node)

    return make


@pytest.mark.parametrize(
    "bases",
    [
        (BatchNode,),
        (StreamNode, BatchNode),
        (AsyncBatchNode,),
        (AsyncStreamNode, AsyncBatchNode),
        (AsyncParallelBatchNode,),
        (AsyncStreamNode, AsyncParallelBatchNode),
    ],
    ids=lambda bases: "+".join(each.__name__ for each in bases),
)
def test_batches_of_each_kind(bases: tuple[type, ...]) -> None:
    """Plain and streaming; sync, async and parallel."""
    squares = _check(_batch(*bases))["squares"]
    streams = bases[0] in (StreamNode, AsyncStreamNode)
    assert squares[1] == ([(1, 0)] if streams else (1, 1))


def test_fewer_at_once() -> None:
    """A parallel batch of which few items run at the same time."""
    _check(_batch(AsyncParallelBatchNode, max_concurrency=2))


class Tries(BatchNode):
    """The first item fails for good, which does not fail its batch; the second one falls back."""

    def __init__(self) -> None:
        super().__init__(max_retries=2)
        self.return_exceptions = True

    def prep(self, shared: Any) -> Any:
        return [0, 1, 2]

    def exec(self, item: Any) -> Any:
        if item < 2:
            raise ValueError(f"{item}")
        return item

    def exec_fallback(self, item: Any, exc: Exception) -> Any:
        if item == 0:
            raise exc
        return f"fell back by {exc}"[:9]

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        first, *rest = exec_res
        shared["results"] = [isinstance(first, Exception), "0" in str(first), *rest]


def test_items_that_fail_without_failing_their_batch() -> None:
    """They are not tried again; what they failed with is an error that says so."""
    assert _check(lambda: Flow(Tries())) == {"results": [True, True, "fell back", 2]}
    for events in Lost(lambda: Flow(Tries())):
        ends = [each for each in events if isinstance(each, ItemEnd) and each.items == (0,)]
        assert [each.status for each in ends] == ["error"]


class Gives(BatchNode):
    """Items that a test changes, and results as it wants them; the last one may be stopped."""

    stops = True

    def __init__(self, items: Any, result: Callable[[Any], Any] = lambda item: item) -> None:
        super().__init__()
        self.given, self.result = items, result
        self.ran: list[Any] = []

    def prep(self, shared: Any) -> Any:
        return self.given

    def exec(self, item: Any) -> Any:
        self.ran.append(item)
        if self.stops and len(self.ran) == 3:
            raise KeyboardInterrupt
        return self.result(item)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["results"] = [str(each) for each in exec_res]


def _stopped(journal: MemoryJournal, first: Gives, then: Gives) -> list[Event]:
    """The events of a run that is lost in the third item, and gone on with by the other node."""
    with pytest.raises(KeyboardInterrupt):
        Run(Flow(first), {}, journal=journal, id="run").wait()
    then.stops, then.ran = False, []
    run = Run.resume(Flow(then), journal, "run")
    run.wait()
    assert run.shared == {"results": [str(then.result(each)) for each in then.given]}
    events = list(journal.read("run"))
    check_events(events)
    return events


@pytest.mark.parametrize(
    ("items", "ran"),
    [
        ([1, 2, 3, 4], [3, 4]),
        ([1, 2, 3, 4, 5], [3, 4, 5]),
        ([1, 2, 3], [3]),
        ([1, 2], [1, 2]),
        ([1, 2, 4, 3], [1, 2, 4, 3]),
        ([1.0, 2, 3, 4], [1.0, 2, 3, 4]),
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([], []),
        ((1, 2, 3, 4), [3, 4]),
        (range(1, 5), [3, 4]),
    ],
    ids=["same", "longer", "shorter", "gone", "open", "type", "others", "none", "tuple", "range"],
)
def test_items_that_change(journal: MemoryJournal, items: Any, ran: list[Any]) -> None:
    """Only where those that had begun are the same do they count; else all begin again."""
    then = Gives(items)
    events = _stopped(journal, Gives([1, 2, 3, 4]), then)
    assert then.ran == ran
    kept = ran[:1] == [3]
    lost = [each for each in events if isinstance(each, Retry)]
    assert [each.items for each in lost] == ([(2,)] if kept else [()])
    assert all(each.error.startswith("Lost") for each in lost)
    voided = [each for each in events if isinstance(each, ItemEnd) and each.status == "cancelled"]
    assert [each.items for each in voided] == ([] if kept else [(2,)])


def test_items_from_an_iterator(journal: MemoryJournal) -> None:
    """They are taken one by one, up to where it goes on."""

    class Iterates(Gives):
        def prep(self, shared: Any) -> Any:
            return iter(self.given)

    then = Iterates([1, 2, 3, 4])
    _stopped(journal, Iterates([1, 2, 3, 4]), then)
    assert then.ran == [3, 4]


def test_results_that_cannot_be_kept(
    journal: MemoryJournal, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning; after a loss all items run again."""
    node = Gives([1, 2, 3, 4], lambda item: type(item))
    with caplog.at_level(logging.WARNING):
        events = _stopped(journal, Gives([1, 2, 3, 4], lambda item: type(item)), node)
    assert node.ran == [1, 2, 3, 4]
    warnings = [each.getMessage() for each in caplog.records]
    assert len(warnings) == 2  # one of each process
    assert all("the result of an item is type" in each for each in warnings)
    assert [each.items for each in events if isinstance(each, Retry)] == [()]


def test_items_that_cannot_be_kept(journal: MemoryJournal) -> None:
    """Nobody can tell whether they are the same: all run again."""
    node = Gives([int, str, bytes, set])
    _stopped(journal, Gives([int, str, bytes, set]), node)
    assert node.ran == [int, str, bytes, set]


# -- retries, steps -------------------------------------------------------------------------------


class Fails(Node):
    """Fails twice, then falls back; says in which retry it was."""

    def __init__(self, waits: float = 0) -> None:
        super().__init__(max_retries=3, wait=waits)
        self.retries: list[int] = []

    def exec(self, prep_res: Any) -> Any:
        self.retries.append(self.cur_retry)
        raise ValueError(f"failure {self.cur_retry}")

    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        return "failure 2" in str(exc)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["fell back"] = exec_res


def test_retries_before_a_loss_count() -> None:
    """What failed before does so; what was lost does not; a fallback is not tried again."""
    nodes: list[Fails] = []

    def make() -> Flow:
        nodes.append(Fails())
        nodes[-1].retries = retries = []

        class Same(Fails):
            def exec(self, prep_res: Any) -> Any:
                retries.append(self.cur_retry)
                raise ValueError(f"failure {self.cur_retry}")

        return Flow(Same())

    lost = Lost(make)
    assert nodes[0].retries == [0, 1, 2]
    for events in lost:
        failed = [e.error for e in events if isinstance(e, Retry) and e.error[:4] != "Lost"]
        assert failed == [f"ValueError: failure {each}" for each in range(3)]
    again = [each.retries for each in nodes[1:]]
    assert sorted(again, key=len) == again[::-1]
    assert all(each == [0, 1, 2][3 - len(each) :] for each in again)


def test_max_steps_goes_on(journal: MemoryJournal) -> None:
    """Steps of all processes count, the one that is lost once."""

    class Loops(Node):
        stops = True

        def exec(self, prep_res: Any) -> None:
            if self.stops:
                raise KeyboardInterrupt

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["rounds"] += 1
            return "again"

    first, node = Node(), Loops()
    first >> node
    node - "again" >> node
    run = Run(Flow(first), {"rounds": 0}, journal=journal, id="run", max_steps=4)
    with pytest.raises(KeyboardInterrupt):
        run.wait()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            Run.resume(Flow(first), journal, "run").wait()
    node.stops = False
    run = Run.resume(Flow(first), journal, "run")
    with pytest.raises(TooManySteps, match="max_steps=4"):
        run.wait()
    assert run.shared == {"rounds": 3}
    check_events(journal.read("run"))


# -- options --------------------------------------------------------------------------------------


class Tells(StreamNode):
    """Says a secret wherever one can."""

    def prep(self, shared: Any) -> Any:
        return "secret given"

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield "secret chunk"
        if self.cur_retry == 0 and self.max_retries > 1:
            raise ValueError("secret error")
        yield (yield Ask("secret question"))

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["secret"] = exec_res


def _hidden(value: Any) -> Any:
    return value.replace("secret", "…") if isinstance(value, str) else "…"


def test_redact_is_for_events(journal: MemoryJournal) -> None:
    """Those that are stored, too; the state is kept as it is, and the answer is given as it was."""
    options: dict[str, Any] = {"redact": _hidden}
    node = Tells(max_retries=2)
    run = Run(Flow(node), {"s": "secret"}, journal=journal, id="run", capture=True, **options)
    with pytest.raises(Paused):
        run.wait()
    run.reply("secret answer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tells, "post", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.wait()
    assert all(b"secret" not in each.event for each in journal.records("run"))
    fork = Run.fork(Flow(node), journal, "run", **options)
    assert fork.shared == {"s": "secret"}


def test_an_answer_that_is_redacted_is_given_as_it_was(journal: MemoryJournal) -> None:
    """Where a step that was answered runs again."""

    class Asks(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[Any]:
            first = yield Ask("secret question")
            second = yield Ask("another")
            yield first, second

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["answers"] = exec_res

    run = Run(Flow(Asks()), {}, journal=journal, id="run", redact=_hidden)
    with pytest.raises(Paused):
        run.wait()
    run.reply("secret answer")
    with pytest.raises(Paused):
        run.wait()
    run.close()
    run = Run.resume(Flow(Asks()), journal, "run", redact=_hidden)
    run.reply("open")
    run.wait()
    assert run.shared == {"answers": [("secret answer", "open")]}
    events = list(journal.read("run"))
    check_events(events)
    assert [each.value for each in events if isinstance(each, Reply)] == ["… answer", "open"]
    prompts = [each.prompt for each in events if isinstance(each, Interrupt)]
    assert prompts == ["… question", "another", "another"]


def test_capture_goes_on() -> None:
    """It comes from the log."""
    lost = Lost(_batch(BatchNode), capture=True)
    for events in lost:
        (end,) = [each for each in events if isinstance(each, NodeEnd)]
        assert (end.input, end.result) == ([3, 1, 2], [[3, 9], [1, 1], [2, 4]])


def test_offload() -> None:
    """Sync nodes of an async run, in threads."""

    def make() -> AsyncFlow:
        talks: Any = Talks()
        talks >> _batch(BatchNode)().start_node
        return AsyncFlow(talks)

    assert set(_check(make, offload=True)) == {"talked", "squares"}


class Talks(StreamNode):
    """Streams."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "a"
        yield "b"

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["talked"] = exec_res
        return "default"


# -- what else runs -------------------------------------------------------------------------------


class Alone(Node):
    """A node by itself."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["alone"] = True
        return "action"


class AloneAsync(AsyncNode):
    """An async one."""

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["alone"] = True
        return ("any", "action")


@pytest.mark.parametrize(
    "make", [Alone, AloneAsync, lambda: _batch(BatchNode)().start_node], ids=["sync", "async", "b"]
)
def test_a_node_by_itself(make: Make) -> None:
    """Its action is kept, whatever it is."""
    assert _check(make)


class OwnExec(Node):
    """Overrides `_exec`."""

    def _exec(self, prep_res: Any) -> Any:
        return ("own", super()._exec(prep_res))

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["exec"] = exec_res
        return "default"


class OwnRun(Node):
    """Overrides `_run`."""

    def _run(self, shared: Any) -> Any:
        shared["run"] = True
        return super()._run(shared)


class OwnOrch(BatchFlow):
    """Overrides `_orch`."""

    def prep(self, shared: Any) -> Any:
        return [{"n": 1}, {"n": 2}]

    def _orch(self, shared: Any, params: Any = None) -> Any:
        shared.setdefault("orch", []).append(params)
        return super()._orch(shared, params)


class OwnRoutes(Flow):
    """Overrides `get_next_node`."""

    def get_next_node(self, node: Any, action: Any) -> Any:
        return node.successors.get("default")


def _overridden() -> Flow:
    first, run, last = OwnExec(), OwnRun(), Alone()
    orch = OwnOrch(start=Talks())
    first >> run >> orch >> last
    return OwnRoutes(start=first)


def test_overrides() -> None:
    """Nodes and flows that override what runs them are steps as well."""
    shared = _check(_overridden)
    assert shared["orch"] == [{"n": 1}, {"n": 2}]
    assert shared["exec"] == ("own", None)


def _of_pocketflow() -> Any:
    """A graph of pocketflow's own classes."""

    class Step(pocketflow.Node):
        def exec(self, prep_res: Any) -> Any:
            if self.cur_retry == 0:
                raise ValueError("once")
            return self.cur_retry

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared[f"step {self.params.get('n')}"] = exec_res
            return "default"

    class Items(pocketflow.BatchNode):
        def prep(self, shared: Any) -> Any:
            return [1, 2]

        def exec(self, item: Any) -> Any:
            return item, item

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["items"] = exec_res

    class Each(pocketflow.BatchFlow):
        def prep(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 2}]

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["each"] = prep_res

    step, items = Step(max_retries=2), Items()
    step >> items
    return pocketflow.Flow(start=Each(start=step))


def _of_pocketflow_async() -> Any:
    class Items(pocketflow.AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return [2, 1]

        async def exec_async(self, item: Any) -> Any:
            for _ in range(item):
                await asyncio.sleep(0)
            return item, item

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared[f"items {self.params['n']}"] = exec_res

    class Each(pocketflow.AsyncParallelBatchFlow):
        async def prep_async(self, shared: Any) -> Any:
            return [{"n": 1}, {"n": 2}]

    return Each(start=Items())


@pytest.mark.parametrize("make", [_of_pocketflow, _of_pocketflow_async], ids=["sync", "async"])
def test_pocketflows_own_classes(make: Make) -> None:
    """Journaled as ours."""
    shared = _check(make)
    assert shared in (
        {"step 1": 1, "step 2": 1, "items": [(1, 1), (2, 2)], "each": [{"n": 1}, {"n": 2}]},
        {"items 1": [(2, 2), (1, 1)], "items 2": [(2, 2), (1, 1)]},
    )


def test_started_in_the_background(journal: MemoryJournal, driver: Driver) -> None:
    """With `start`, `run`, and a single event loop, the log is the same."""
    kinds = []
    for how in ("wait", "start", "pull"):
        node = driver.flow(Alone())
        run = Run(node, {}, journal=journal, id=how)
        if how == "start":
            run.start().wait()
        elif how == "pull":
            driver.pull(run)
        else:
            driver.wait(run)
        events = list(journal.read(how))
        check_events(events)
        kinds.append([type(each).__name__ for each in events])
    assert kinds[0] == kinds[1] == kinds[2]
    assert ItemStart.__name__ not in kinds[0]
