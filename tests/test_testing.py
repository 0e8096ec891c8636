"""What `flowevents.testing` gives users: its rules of a stream, and its stand-ins."""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import msgspec
import pocketflow
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowevents import (
    Action,
    AsyncBatchFlow,
    AsyncBatchNode,
    AsyncFlow,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Clock,
    Event,
    Flow,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    Node,
    NodeEnd,
    NodeStart,
    Progress,
    Reply,
    Result,
    Retry,
    Run,
    StreamNode,
    UnknownEvent,
    events,
)
from flowevents.testing import ManualClock, ScriptedModel, capture_events, check_events

# -- runs whose streams are good ----------------------------------------------------------------


class Plan(Node):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["rounds"] = shared.get("rounds", 0) + 1
        return "act" if shared["rounds"] < 3 else "done"


class Quiet(Node):
    """Publishes nothing itself."""


class Talk(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        self.progress(0, 2, "thinking")
        yield "a"
        yield "b"
        self.emit("aside", kind="note")


class Stumble(StreamNode):
    """Fails in its first attempts, after a chunk each."""

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield f"attempt {self.cur_retry}"
        if self.cur_retry < 2:
            raise ValueError("stumbled")
        yield "there"


class FallBack(Node):
    def exec(self, prep_res: Any) -> None:
        raise ValueError("never works")

    def exec_fallback(self, prep_res: Any, exc: Exception) -> str:
        self.emit("fell back")
        return "plan B"


class FailingExec(Node):
    def exec(self, prep_res: Any) -> None:
        raise ValueError("exec failed")


class FailingPost(Node):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        raise ValueError("post failed")


class Stopped(Node):
    def exec(self, prep_res: Any) -> None:
        raise KeyboardInterrupt


class Each(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        self.emit("before the items")
        return [1, 2, 3]

    def exec(self, prep_res: Any) -> int:
        self.emit(prep_res)
        if prep_res == 2 and self.cur_retry == 0:
            raise ValueError("the second item stumbled")
        return int(prep_res) * 2


class Lazily(BatchNode):
    def prep(self, shared: Any) -> Iterator[int]:
        return iter(range(2))


class FailingItem(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return [1, 0, 2]

    def exec(self, prep_res: Any) -> float:
        return 1 / float(prep_res)


class FailingDraw(BatchNode):
    """Its items come from a generator, which fails after some of them."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = items

    def prep(self, shared: Any) -> Iterator[int]:
        yield from range(self.items)
        raise ValueError("no more items")


class FailingPasses(BatchFlow):
    def prep(self, shared: Any) -> Iterator[dict[str, Any]]:
        yield {}
        raise ValueError("no more items")


class Nothing(BatchNode):
    def prep(self, shared: Any) -> list[int]:
        return []


class Twice(BatchFlow):
    def prep(self, shared: Any) -> list[dict[str, Any]]:
        return [{"which": 0}, {"which": 1}]


class OwnWay(Node):
    def _run(self, shared: Any) -> str:
        return "default"


class AsyncEach(AsyncBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [1, 2]

    async def exec_async(self, prep_res: Any) -> Any:
        await asyncio.sleep(0)
        return prep_res


class Together(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [0, 1, 2, 3]

    async def exec_async(self, prep_res: Any) -> int:
        for turn in range(int(prep_res)):
            await asyncio.sleep(0)
            self.emit(turn)
        if prep_res % 2 and self.cur_retry == 0:
            raise ValueError("an odd item stumbled")
        return int(prep_res)


class FailingTogether(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> list[int]:
        return [3, 2, 1, 9]

    async def exec_async(self, prep_res: Any) -> None:
        for _ in range(int(prep_res)):
            await asyncio.sleep(0)
        if prep_res == 2:
            raise ValueError("one of them failed")


class FailingDrawTogether(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return FailingDraw(2).prep(shared)

    async def exec_async(self, prep_res: Any) -> None:
        await asyncio.sleep(0)


class AsyncTalk(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"
        yield Result("ab")


class AsyncTwice(AsyncBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{}, {}]


class AllAtOnce(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> list[dict[str, Any]]:
        return [{}, {}, {}]


class Foreign(pocketflow.Node):
    def exec(self, prep_res: Any) -> str:
        return "theirs"


def chain(*nodes: Any) -> Any:
    """The first of these nodes, each connected to the next."""
    for one, other in itertools.pairwise(nodes):
        one >> other
    return nodes[0]


def loop() -> Flow:
    """Plan ⇄ Talk, three times, then a second Talk."""
    plan, act = Plan(), Talk()
    plan - "act" >> act >> plan
    plan - "done" >> Talk()
    return Flow(plan)


PLAIN: dict[str, Callable[[], Any]] = {
    "a single node": Talk,
    "a flow without nodes": lambda: Flow(Nothing()),
    "a loop": loop,
    "nested flows": lambda: Flow(chain(Quiet(), Flow(chain(Flow(Talk()), Quiet())), Talk())),
    "two nested flows of one name": lambda: Flow(chain(Flow(Talk()), Flow(Talk()))),
    "retries": lambda: Flow(chain(Stumble(3, 0.5), Talk())),
    "a fallback": lambda: Flow(chain(FallBack(2), Talk())),
    "a batch": lambda: Flow(chain(Each(2), Lazily(), Nothing(), Talk())),
    "a batch flow": lambda: Flow(chain(Twice(chain(Each(2), Talk())), Talk())),
    "a batch flow in a batch flow": lambda: Twice(Twice(Each(2))),
    "a loop in a batch flow": lambda: Twice(loop()),
    "an override": lambda: Flow(chain(OwnWay(), Talk())),
    "a pocketflow flow": lambda: pocketflow.Flow(chain(Foreign(), pocketflow.Flow(Foreign()))),
    "a failing exec": lambda: Flow(chain(Talk(), Flow(FailingExec(2)))),
    "a failing post": lambda: Flow(FailingPost()),
    "a failing item": lambda: Twice(FailingItem()),
    "a failing first draw": lambda: Flow(FailingDraw(0)),
    "a failing draw": lambda: Twice(FailingDraw(2)),
    "a failing draw of a batch flow": lambda: Flow(FailingPasses(Talk())),
    "a failing retry": lambda: Flow(Stumble(2)),
    "an interrupted node": lambda: Flow(Flow(Stopped())),
}
AWAITED: dict[str, Callable[[], Any]] = {
    "an async batch": lambda: AsyncFlow(chain(AsyncEach(), AsyncTalk(), Talk())),
    "a parallel batch": lambda: AsyncFlow(chain(Together(2), Talk())),
    "a limited parallel batch": lambda: AsyncFlow(Together(2, max_concurrency=2)),
    "an async batch flow": lambda: AsyncTwice(chain(AsyncEach(), AsyncTalk())),
    "a parallel batch flow": lambda: AllAtOnce(chain(Together(2), AsyncTalk(), Talk())),
    "parallel flows in parallel flows": lambda: AllAtOnce(AllAtOnce(chain(Together(2)))),
    "a failing parallel batch": lambda: AsyncFlow(FailingTogether()),
    "a failing draw of a parallel batch": lambda: AllAtOnce(FailingDrawTogether()),
    "a limited failing draw": lambda: AsyncFlow(FailingDrawTogether(max_concurrency=1)),
    "a failing parallel batch flow": lambda: AllAtOnce(chain(AsyncTalk(), FailingTogether())),
}
PARALLEL = {name for name in AWAITED if "parallel" in name}

WAYS = ("pushed", "pulled", "pushed async", "pulled async")
DRIVEN = [(name, way) for name in PLAIN for way in WAYS]
DRIVEN += [(name, way) for name in AWAITED for way in WAYS if "async" in way]


def run_of(name: str, **options: Any) -> Run:
    """A fresh run of that flow, on a clock that never waits."""
    return Run((PLAIN | AWAITED)[name](), {}, clock=ManualClock(), **options)


async def in_time(work: Coroutine[Any, Any, None]) -> None:
    """Await it in this task; fail where it hangs."""
    hung: list[bool] = []
    task = asyncio.current_task()
    assert task is not None
    timer = asyncio.get_running_loop().call_later(20, lambda: hung.append(task.cancel()))
    try:
        await work
    finally:
        timer.cancel()
        assert not hung


def drive(run: Run, way: str) -> list[Event]:
    """The events of a run that is pulled; of one that is pushed, none. What it raises is let be."""
    pulled: list[Event] = []

    async def drive_async() -> None:
        if way == "pushed async":
            await run.wait_async()
        else:
            async for event in run:
                pulled.append(event)

    try:
        if way == "pushed":
            run.wait()
        elif way == "pulled":
            pulled.extend(run)
        else:
            asyncio.run(in_time(drive_async()))
    except BaseException as error:
        if error is not run.error:
            raise
    return pulled


@functools.cache
def recorded(name: str) -> tuple[Event, ...]:
    """The stream of one run of that flow."""
    pushed: list[Event] = []
    drive(run_of(name, observers=[pushed.append]), "pushed" if name in PLAIN else "pushed async")
    return tuple(pushed)


def whole(name: str) -> bool:
    """Whether that run ended well."""
    return status(name) == "ok"


def status(name: str) -> str:
    """How that run ended."""
    end = stream_of(name)[-1]
    assert isinstance(end, FlowEnd)
    return end.status


@pytest.mark.parametrize(("name", "way"), DRIVEN)
def test_the_streams_of_all_kinds_of_runs_are_good(name: str, way: str) -> None:
    """Pushed or pulled, sync or async, what comes is well-formed, and so is all before it."""
    pushed: list[Event] = []
    pulled = drive(run_of(name, observers=[pushed.append]), way)
    if "pulled" in way:
        assert pulled == pushed
    check_events(pushed)
    assert isinstance(pushed[-1], FlowEnd)
    assert (pushed[-1].status == "ok") == ("failing" not in name and "interrupted" not in name)
    for end in range(len(pushed)):
        check_events(pushed[:end], complete=False)


class Stopper:
    """An observer that stops its run at the event with that place, in one way or another."""

    run: Run

    def __init__(self, how: str, last: int) -> None:
        self.how = how
        self.last = last
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.heard.append(event)
        if len(self.heard) == self.last:
            if self.how == "cancelled":
                self.run.cancel()
            elif self.how == "failed by a handler":
                raise ValueError("of a handler")
            else:
                raise KeyboardInterrupt


class AwaitedStopper(Stopper):
    """The same as an async handler."""

    async def __call__(self, event: Event) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().__call__(event)


STOPPED = [(name, way, Stopper) for name, way in DRIVEN]
STOPPED += [(name, way, AwaitedStopper) for name, way in DRIVEN if "async" in way]
LEFT = [(name, way) for name, way in DRIVEN if "pulled" in way]


def places(name: str) -> range:
    """Where to stop: at each event, of long streams at every third; less in a quick search."""
    count = len(recorded(name))
    return range(1, count + 1, (1 if count < 30 else 3) if settings().max_examples >= 100 else 5)


@pytest.mark.parametrize("how", ["cancelled", "failed by a handler", "interrupted"])
@pytest.mark.parametrize(("name", "way", "stopper"), STOPPED)
def test_a_run_that_is_stopped_at_any_event_has_a_good_stream(
    name: str, way: str, stopper: type[Stopper], how: str
) -> None:
    """Wherever a handler, plain or async, stops it, its stream is well-formed and complete."""
    for last in places(name):
        stops = stopper(how, last)
        stops.run = run_of(name, observers=[stops], on_handler_error="raise")
        drive(stops.run, way)
        check_events(stops.heard)
        end = stops.heard[-1]
        assert isinstance(end, FlowEnd)
        if last < len(stops.heard):
            stopped = "error" if how == "failed by a handler" else "cancelled"
            assert end.status in (stopped, status(name))


@pytest.mark.parametrize(("name", "way"), LEFT)
def test_a_run_that_is_left_at_any_event_has_a_good_stream(name: str, way: str) -> None:
    """Wherever its puller leaves its `with` block, all ends are delivered to the others."""

    async def leave(run: Run, last: int) -> None:
        async with run:
            async for event in run:
                if event.seq == last:
                    return

    for last in places(name):
        heard: list[Event] = []
        run = run_of(name, observers=[heard.append])
        if way == "pulled":
            with run:
                for event in run:
                    if event.seq == last:
                        break
        else:
            asyncio.run(in_time(leave(run, last)))
        check_events(heard)
        assert isinstance(heard[-1], FlowEnd)


# -- good streams, spoilt -------------------------------------------------------------------------

OPENING = (FlowStart, NodeStart, ItemStart)
CLOSING = (FlowEnd, NodeEnd, ItemEnd)
LOOSE = (Chunk, Progress)  # which may come anywhere between the start and the end of their span

NAMES = st.sampled_from([*PLAIN, *AWAITED])


def span(start: int) -> dict[str, Any]:
    """What every start with that number has."""
    return {"run_id": "r", "seq": start, "time": 0.0, "span": start}


def answered() -> list[Event]:
    """A stream with a question and its answer, and one that expired; no node can ask yet."""
    node: dict[str, Any] = {"run_id": "r", "time": 0.0, "span": 2, "node": "A"}
    node |= {"step": 1, "attempt": 1}
    return [
        FlowStart(**span(1), node="", parent=0, flow="F"),
        NodeStart(**span(2), node="A", step=1, attempt=1, parent=1),
        Interrupt(**node, seq=3, id="q1", prompt="Ship it?"),
        Reply(**node, seq=4, id="q1", value="yes"),
        Interrupt(**node, seq=5, id="q2", prompt="Sure?", expires=1.0),
        NodeEnd(**node, seq=6, status="ok", duration=0.0),
        Action(**node, seq=7, action=None),
        FlowEnd(run_id="r", time=0.0, span=1, node="", seq=8, status="ok", duration=0.0),
    ]


def stream_of(name: str) -> list[Event]:
    """The good stream of that name."""
    return answered() if name == "a question" else list(recorded(name))


def renumbered(stream: list[Event]) -> list[Event]:
    """The same events, numbered as they stand; what refers to another one still does."""
    at: dict[int, int] = {}
    for place, event in enumerate(stream, 1):
        at.setdefault(event.seq, place)
    at[0] = 0
    told: list[Event] = []
    for place, event in enumerate(stream, 1):
        changes: dict[str, Any] = {"seq": place, "span": at.get(event.span, 10_000)}
        if isinstance(event, OPENING):
            changes["span"] = place if event.span == event.seq else changes["span"]
            changes["parent"] = at.get(event.parent, 10_000)
        told.append(msgspec.structs.replace(event, **changes))
    return told


def refused(stream: list[Event], what: str) -> None:
    """Check that `check_events` finds fault with it."""
    with pytest.raises(AssertionError) as caught:
        check_events(stream)
        pytest.fail(f"{what} was not noticed:\n" + "\n".join(map(str, stream)))
    assert str(caught.value).startswith("seq ")


STREAMS = [*PLAIN, *AWAITED, "a question"]


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_that_is_lost_is_noticed(name: str) -> None:
    """Any event may be missing: its number is."""
    stream = stream_of(name)
    for place, event in enumerate(stream):
        refused(stream[:place] + stream[place + 1 :], f"the loss of {event}")


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_that_comes_twice_is_noticed(name: str) -> None:
    """Any event may come again, later or at once."""
    stream = stream_of(name)
    for place, event in enumerate(stream):
        refused([*stream[: place + 1], event, *stream[place + 1 :]], f"a second {event}")
        refused([*stream, event], f"another {event} at the end")


@pytest.mark.parametrize("name", STREAMS)
def test_two_events_in_the_wrong_order_are_noticed(name: str) -> None:
    """Any two events may have changed places."""
    stream = stream_of(name)
    for one, other in itertools.combinations(range(min(len(stream), 40)), 2):
        swapped = list(stream)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        refused(swapped, f"the order of {swapped[one]} and {swapped[other]}")


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_that_was_never_sent_is_noticed(name: str) -> None:
    """Where the numbers have no hole, everything but a chunk, a progress or a reply is missed."""
    stream = stream_of(name)
    for place, event in enumerate(stream):
        if isinstance(event, (*LOOSE, Reply)):
            continue
        if isinstance(event, Interrupt) and event.id == "q2":
            continue  # nobody answered it
        if isinstance(event, Action) and not whole(name):
            continue  # the flow may have failed before it
        refused(renumbered(stream[:place] + stream[place + 1 :]), f"the absence of {event}")


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_that_was_sent_twice_is_noticed(name: str) -> None:
    """Where the numbers go on, the double of all but a chunk or a progress is noticed."""
    stream = stream_of(name)
    for place, event in enumerate(stream):
        if not isinstance(event, LOOSE):
            doubled = [*stream[: place + 1], msgspec.structs.replace(event, seq=-1)]
            if event.span == event.seq:
                doubled[-1] = msgspec.structs.replace(doubled[-1], span=-1)
            refused(renumbered(doubled + stream[place + 1 :]), f"the double of {event}")


@pytest.mark.parametrize("name", STREAMS)
def test_neighbours_in_the_wrong_order_are_noticed(name: str) -> None:
    """Where the numbers fit, two neighbours that belong together cannot change places."""
    stream = stream_of(name)
    for place, (one, other) in enumerate(itertools.pairwise(stream)):
        loose = (*LOOSE, Interrupt, Reply)
        if isinstance(one, loose) and isinstance(other, loose) and type(one) is not Interrupt:
            continue
        if one.span != other.span and (
            name in PARALLEL
            or isinstance(one, LOOSE)
            or isinstance(other, LOOSE)
            or (isinstance(one, ItemEnd) and isinstance(other, ItemStart))
        ):
            continue  # strands of their own
        swapped = [*stream[:place], other, one, *stream[place + 2 :]]
        refused(renumbered(swapped), f"the order of {other} and {one}")


EDITS: dict[str, st.SearchStrategy[Any]] = {
    "run_id": st.text(),
    "seq": st.integers(),
    "span": st.integers(),
    "parent": st.integers(),
    "node": st.text() | st.sampled_from(["", "Plan", "Talk", "Flow/Talk", "Talk#2", "Talk/"]),
    "items": st.lists(st.integers(-1, 5), max_size=3).map(tuple),
    "step": st.integers(),
    "attempt": st.integers(),
    "total": st.none() | st.integers(),
    "done": st.integers(),
    "time": st.sampled_from([float("nan"), float("inf")]),
    "duration": st.floats(max_value=0, exclude_max=True) | st.just(float("nan")),
    "wait": st.floats(max_value=0, exclude_max=True) | st.just(float("inf")),
    "id": st.text(),
    "target": st.text(),
    "error": st.just("") | st.text(min_size=2_001, max_size=2_100),
    "status": st.text(),
}


@given(st.sampled_from(STREAMS), st.data())
def test_a_field_that_says_something_else_is_noticed(name: str, data: st.DataObject) -> None:
    """A number, a name or a place that differs in a single event is noticed."""
    stream = stream_of(name)
    place = data.draw(st.integers(0, len(stream) - 1), label="place")
    event = stream[place]
    fields = [field for field in event.__struct_fields__ if field in EDITS]
    if isinstance(event, Progress):  # these say what the node wants them to
        fields = [field for field in fields if field not in ("done", "total")]
    if isinstance(event, Action) and not whole(name):
        fields.remove("target")  # the target may not have begun
    if isinstance(event, Interrupt) and event.id == "q2":
        fields.remove("id")  # nobody answered it
    field = data.draw(st.sampled_from(fields), label="field")
    value = data.draw(EDITS[field], label="value")
    assume(value != getattr(event, field))
    edited = [
        *stream[:place],
        msgspec.structs.replace(event, **{field: value}),
        *stream[place + 1 :],
    ]
    refused(edited, f"{field}={value!r} of {event}")


@pytest.mark.parametrize("name", STREAMS)
def test_an_end_that_says_another_status_is_noticed(name: str) -> None:
    """An end that is ok and one that failed cannot change places, their errors left alone."""
    other = {"ok": "error", "error": "ok", "cancelled": "ok"}
    stream = stream_of(name)
    for place, event in enumerate(stream):
        if isinstance(event, CLOSING) and (event.error or event.status != "cancelled"):
            edited = list(stream)
            edited[place] = msgspec.structs.replace(event, status=other[event.status])
            refused(edited, f"{other[event.status]!r} as the status of {event}")


@given(NAMES, st.data())
def test_two_runs_in_one_stream_are_noticed(name: str, data: st.DataObject) -> None:
    """An event of another run is, wherever it comes."""
    stream = list(recorded(name))
    foreign = [msgspec.structs.replace(event, run_id="another") for event in stream]
    place = data.draw(st.integers(0, len(stream)))
    refused(stream[:place] + foreign[place:] if 0 < place < len(stream) else stream + foreign, name)


# -- one test per rule ----------------------------------------------------------------------------


class Script:
    """Builds a stream by hand: each call appends one event, numbered on, as it should be."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.starts: dict[int, Any] = {}

    def start(self, kind: type[Event], **fields: Any) -> int:
        seq = len(self.events) + 1
        given: dict[str, Any] = {"run_id": "r", "seq": seq, "time": 0.0, "span": seq}
        if kind is FlowStart and seq == 1:
            given |= {"node": "", "parent": 0, "flow": "F"}
        elif kind is ItemStart:
            above = self.starts[fields["parent"]]
            given |= {"node": above.node, "step": above.step}
            given |= {"attempt": 0 if isinstance(above, FlowStart) else 1, "total": 2}
            given["items"] = (*above.items, fields.pop("index", 0))
        else:
            given |= {"step": 1, "attempt": 1 if kind is NodeStart else 0}
        event: Any = kind(**given | fields)
        self.events.append(event)
        self.starts[seq] = event
        return seq

    def add(self, kind: type[Event], span: int, **fields: Any) -> None:
        start = self.starts.get(span, self.starts[1])
        given = {name: getattr(start, name) for name in ("node", "items", "step", "attempt")}
        given |= {"run_id": "r", "seq": len(self.events) + 1, "time": 0.0, "span": span}
        if kind in CLOSING:
            given |= {"status": "ok", "duration": 0.0}
        if kind is ItemEnd:
            given |= {"done": 1, "total": start.total}
        self.events.append(kind(**given | fields))

    def node(self, path: str, parent: int, **fields: Any) -> int:
        """A step that is ok."""
        seq = self.start(NodeStart, node=path, parent=parent, **fields)
        self.add(NodeEnd, seq)
        return seq


def flow() -> Script:
    """A run's own flow, open."""
    script = Script()
    script.start(FlowStart)
    return script


def names_the_first(script: Script, text: str, at: int | None = None) -> None:
    """Check that the last event, or the one with number `at`, is named, with this text."""
    event = script.events[-1 if at is None else at - 1]
    check_events(script.events[: event.seq - 1], complete=False)
    with pytest.raises(AssertionError) as caught:
        check_events(script.events, complete=at is not None)
    said = str(caught.value)
    assert said.startswith(f"seq {event.seq}: {type(event).__name__} of node {event.node!r}"), said
    assert text in said, said


def test_a_stream_of_nothing_is_that_of_a_run_that_never_began() -> None:
    """No events at all break no rule."""
    check_events([])


def test_the_first_event_is_the_start_of_the_runs_own_flow() -> None:
    """Another type, path, place or parent is wrong there."""
    script = Script()
    script.start(NodeStart, node="A", parent=0)
    names_the_first(script, "the first event is the FlowStart")
    wrong: dict[str, Any] = {"node": "A", "items": (0,), "step": 1, "attempt": 1, "parent": 1}
    for field, value in wrong.items():
        script = Script()
        script.start(FlowStart, **{field: value})
        names_the_first(script, f"{field} is {value!r}")


def test_numbers_begin_at_one() -> None:
    """A stream that begins later is not whole."""
    script = Script()
    script.start(FlowStart, seq=2, span=2)
    with pytest.raises(AssertionError, match=r"^seq 2: FlowStart of node '': is the first event"):
        check_events(script.events, complete=False)


def test_a_name_holds_no_slash_and_no_hash_of_its_own() -> None:
    """Paths are read from their separators, so that names cannot hold them."""
    for path in ("", "A/B", "#2", "A#1", "A#02", "A#x", "A#2#2", "/A"):
        script = flow()
        script.start(NodeStart, node=path, parent=1)
        names_the_first(script, "which no node can have")
    script = Script()
    script.start(FlowStart, flow="F/G")
    names_the_first(script, "flow ends with the name 'F/G'")
    check_events(_ended(flow(), "Ä b#12").events)


def _ended(script: Script, path: str) -> Script:
    script.add(Action, script.node(path, 1), action=None)
    script.add(FlowEnd, 1)
    return script


def test_a_nested_path_begins_with_that_of_its_flow() -> None:
    """A child's path is its flow's path, a slash and its name; a nested flow says its name."""
    script = flow()
    inner = script.start(FlowStart, node="G", parent=1, flow="G")
    script.start(NodeStart, node="A", parent=inner)
    names_the_first(script, "node is 'A', which is not in the flow 'G'")
    script = flow()
    script.start(FlowStart, node="G", parent=1, flow="H")
    names_the_first(script, "flow is 'H'")


def test_a_parent_is_an_enclosing_start_that_is_open() -> None:
    """An end, a later number or a closed start is no parent."""
    script = flow()
    first = script.node("A", 1)
    script.add(Action, first, action=None, target="B")
    for parent, text in ((first, "ended already"), (4, "no start"), (99, "no start")):
        again = flow()
        again.events = list(script.events)
        again.start(NodeStart, node="B", parent=parent)
        names_the_first(again, f"parent is {parent}, which is {text}")


def test_items_are_in_batches_and_nodes_in_flows_or_their_items() -> None:
    """A node in a node, an item in an item, or a node beside items does not occur."""
    script = flow()
    node = script.start(NodeStart, node="A", parent=1)
    script.start(NodeStart, node="A/B", parent=node)
    names_the_first(script, "nodes are in flows")
    script.events.pop()
    item = script.start(ItemStart, parent=node)
    script.start(ItemStart, parent=item)
    names_the_first(script, "which is no batch")
    script.events.pop()
    script.start(NodeStart, node="A/B", parent=item, items=(0,))
    names_the_first(script, "nodes are in flows")
    script = flow()
    script.start(ItemStart, parent=1)
    script.start(NodeStart, node="A", parent=1)
    names_the_first(script, "a batch's items hold its nodes")
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.start(ItemStart, parent=1)
    names_the_first(script, "which is no batch")


def test_one_node_of_a_flow_runs_at_a_time() -> None:
    """A node cannot begin in a flow where another one is open."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.start(NodeStart, node="B", parent=1)
    names_the_first(script, "begins in a flow where NodeStart 2 is open")


def test_a_node_that_failed_ends_its_flow() -> None:
    """Nothing begins after it there, and its flow cannot be ok."""
    for status, error in (("error", "ValueError: x"), ("cancelled", None)):
        script = flow()
        node = script.start(NodeStart, node="A", parent=1)
        script.add(NodeEnd, node, status=status, error=error)
        script.start(NodeStart, node="B", parent=1)
        names_the_first(script, f"NodeEnd 3 has ended it with status {status!r}")
        script.events.pop()
        script.add(FlowEnd, 1)
        names_the_first(script, f"status is 'ok' after NodeEnd 3 in it with status {status!r}")


def test_an_item_that_failed_fails_its_batch() -> None:
    """The batch's end is not ok, whichever other items were."""
    script = flow()
    node = script.start(NodeStart, node="A", parent=1)
    one = script.start(ItemStart, parent=node, index=0)
    other = script.start(ItemStart, parent=node, index=1)
    script.add(ItemEnd, one, status="error", error="ValueError: x", done=1)
    script.add(ItemEnd, other, done=2)
    script.add(NodeEnd, node)
    names_the_first(script, "status is 'ok' after ItemEnd 5 in it")


def test_an_end_is_of_its_starts_kind() -> None:
    """A node does not end with a `FlowEnd`."""
    script = flow()
    node = script.start(NodeStart, node="A", parent=1)
    script.add(FlowEnd, node)
    names_the_first(script, "ends NodeStart 2, a start of another kind")


def test_ends_come_innermost_first() -> None:
    """Nothing ends around what is open."""
    script = flow()
    node = script.start(NodeStart, node="A", parent=1)
    script.start(ItemStart, parent=node)
    script.add(NodeEnd, node)
    names_the_first(script, "comes before the end of ItemStart 3 in it")
    script.events.pop()
    script.add(FlowEnd, 1)
    names_the_first(script, "comes before the end of NodeStart 2 in it")


def test_nothing_comes_after_the_end_of_its_span() -> None:
    """An end is the last event of a span, and that of the run's flow the last of all."""
    of_a_node: list[tuple[type[Event], dict[str, Any]]] = [
        (Chunk, {"data": 1}),
        (NodeEnd, {}),
        (Retry, {"error": "E"}),
        (Interrupt, {"id": "q", "prompt": "?"}),
    ]
    for kind, fields in of_a_node:
        script = flow()
        script.add(kind, script.node("A", 1), **fields)
        names_the_first(script, "span is 2, which is ended already")
    too_late: list[tuple[type[Event], dict[str, Any]]] = [
        (Action, {"action": None}),
        (Chunk, {"data": 1}),
        (FlowEnd, {}),
    ]
    for late, own in too_late:
        script = _ended(flow(), "A")
        script.add(late, 1, **own)
        names_the_first(script, "comes after the FlowEnd of the run's own flow")


def test_an_event_belongs_to_a_start() -> None:
    """A span is the number of a start, and the event agrees with that."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(Chunk, 2, data=1)
    for span_ in (3, 4, 0):
        script.add(Chunk, span_, data=2)
        names_the_first(script, f"span is {span_}, which is no start")
        script.events.pop()
    wrong: dict[str, Any] = {"node": "B", "items": (1,), "step": 2, "attempt": 2}
    for field, value in wrong.items():
        script.add(Chunk, 2, data=2, **{field: value})
        names_the_first(script, f"{field} is {value!r}")
        script.events.pop()


def test_an_item_has_an_index_of_its_own() -> None:
    """One index more than its batch has, and one that no other item has."""
    for items, text in (
        ((0,), "0 was used before"),
        ((-1,), "is no index"),
        ((2,), "is beyond total 2"),
        ((), "and one index more"),
        ((0, 1), "and one index more"),
    ):
        script = flow()
        node = script.start(NodeStart, node="A", parent=1)
        script.add(ItemEnd, script.start(ItemStart, parent=node))
        script.start(ItemStart, parent=node, items=items)
        names_the_first(script, text)


def test_an_item_agrees_with_its_batch() -> None:
    """Its path and step are its node's; attempts count from 1 per item, or are a flow's 0."""
    for field, value in (("node", "B"), ("step", 2), ("attempt", 0)):
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.start(ItemStart, parent=2, **{field: value})
        names_the_first(script, f"{field} is {value!r}")
    script = flow()
    script.start(ItemStart, parent=1, attempt=1)
    names_the_first(script, "attempt is 1, not 0")


def test_the_items_of_a_batch_agree_on_its_total() -> None:
    """Each start and end says the same one."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    first = script.start(ItemStart, parent=2)
    script.start(ItemStart, parent=2, index=1, total=3)
    names_the_first(script, "total is 3, not 2")
    script.events.pop()
    script.add(ItemEnd, first, total=None)
    names_the_first(script, "total is None, not 2")


def test_an_items_end_counts_the_ends() -> None:
    """`done` is 1, 2, 3 … in the order of the ends."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    one, other = (script.start(ItemStart, parent=2, index=index) for index in (0, 1))
    script.add(ItemEnd, other, done=2)
    names_the_first(script, "done is 2, not 1")
    script.events.pop()
    script.add(ItemEnd, other, done=1)
    script.add(ItemEnd, one, done=1)
    names_the_first(script, "done is 1, not 2")


def test_a_batch_that_is_ok_had_all_its_items() -> None:
    """One that leaves items out cannot have ended well."""
    for total, index in ((3, 0), (None, 1)):
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        item = script.start(ItemStart, parent=2, index=index, total=total)
        script.add(ItemEnd, item)
        script.add(NodeEnd, 2)
        names_the_first(script, "of its items only 1 were there")


def test_what_is_in_an_item_carries_its_indexes() -> None:
    """The nodes of a batch flow's item have the item's indexes."""
    script = flow()
    item = script.start(ItemStart, parent=1)
    script.start(NodeStart, node="A", parent=item)
    names_the_first(script, "items is (), not (0,)")


def test_a_step_counts_the_executions_in_its_flow() -> None:
    """It begins at 1 in each execution of the flow and in each item of a batch flow."""
    script = flow()
    script.add(Action, script.node("A", 1), action=None, target="A")
    script.start(NodeStart, node="A", parent=1, step=1)
    names_the_first(script, "step is 1, not 2")
    script = flow()
    for index in (0, 1):
        item = script.start(ItemStart, parent=1, index=index)
        node = script.start(NodeStart, node="A", parent=item, items=(index,), step=index + 1)
        if index == 0:
            script.add(NodeEnd, node)
            script.add(Action, node, action=None)
            script.add(ItemEnd, item)
    names_the_first(script, "step is 2, not 1")


def test_an_attempt_is_what_the_retries_make_it() -> None:
    """It is 1 at first, one more after each retry, and never that of another item."""
    script = flow()
    script.start(NodeStart, node="A", parent=1, attempt=2)
    names_the_first(script, "attempt is 2, not 1")
    for kind, fields in ((Chunk, {"data": 1}), (Progress, {"done": 1}), (NodeEnd, {})):
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.add(Retry, 2, error="E")
        script.add(kind, 2, **fields)
        names_the_first(script, "attempt is 1, not 2")
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    one, other = (script.start(ItemStart, parent=2, index=index) for index in (0, 1))
    script.add(Retry, one, error="E")
    script.add(ItemEnd, other, attempt=2)
    names_the_first(script, "attempt is 2, not 1")
    script = flow()
    script.start(FlowStart, node="G", parent=1, flow="G", attempt=1)
    names_the_first(script, "attempt is 1, not 0")


def test_a_fallback_is_the_last_attempt() -> None:
    """No retry follows it."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(Retry, 2, error="E", fallback=True)
    script.add(Retry, 2, error="E", attempt=2)
    names_the_first(script, "comes after the Retry with fallback=True")


def test_flows_and_whole_batches_are_not_tried_again() -> None:
    """A retry is of a node or of an item of it."""
    script = flow()
    script.add(Retry, 1, error="E")
    names_the_first(script, "not tried again")
    script = flow()
    script.add(Retry, script.start(ItemStart, parent=1), error="E")
    names_the_first(script, "not tried again")
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(ItemEnd, script.start(ItemStart, parent=2, total=1))
    script.add(Retry, 2, error="E")
    names_the_first(script, "not tried again")
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(Retry, 2, error="E")
    script.start(ItemStart, parent=2)
    names_the_first(script, "which is no batch")


def test_a_step_that_is_ok_has_one_action() -> None:
    """It comes before the next start of the flow and before the flow's end that is ok."""
    script = flow()
    script.node("A", 1)
    script.start(NodeStart, node="B", parent=1)
    names_the_first(script, "begins before the Action of NodeEnd 3")
    script.events.pop()
    script.add(FlowEnd, 1)
    names_the_first(script, "comes before the Action of NodeEnd 3")
    script.events.pop()
    script.add(Action, 2, action=None)
    script.add(Action, 2, action=None)
    names_the_first(script, "NodeEnd 3 has no Action, or has had it")


def test_only_a_step_that_is_ok_has_an_action() -> None:
    """A failed one, an item, and what is open or no start have none."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(Action, 2, action=None)
    names_the_first(script, "span is 2, which is still open")
    script.events.pop()
    script.add(Action, 7, action=None)
    names_the_first(script, "span is 7, which is no start")
    script.events.pop()
    item = script.start(ItemStart, parent=2)
    script.add(ItemEnd, item)
    script.add(Action, item, action=None)
    names_the_first(script, "ItemEnd 4 has no Action")
    script.events.pop()
    script.add(NodeEnd, 2, status="error", error="E")
    script.add(Action, 2, action=None)
    names_the_first(script, "NodeEnd 5 has no Action")


def test_an_action_is_missing_where_the_run_fails_before_it() -> None:
    """A flow that is not ok may lack its last one, which cannot come later either."""
    script = flow()
    inner = script.start(FlowStart, node="G", parent=1, flow="G")
    node = script.node("G/A", inner)
    script.add(FlowEnd, inner, status="error", error="E")
    script.add(FlowEnd, 1, status="error", error="E")
    check_events(script.events)
    script.events.pop()
    script.add(Action, node, action=None)
    names_the_first(script, "NodeEnd 4 has no Action, or has had it")


def test_an_action_agrees_with_the_end_before_it() -> None:
    """Its place, step and attempt are the end's."""
    wrong: dict[str, Any] = {"node": "B", "items": (1,), "step": 2, "attempt": 2}
    for field, value in wrong.items():
        script = flow()
        script.add(Action, script.node("A", 1), action=None, **{field: value})
        names_the_first(script, f"{field} is {value!r}")


def test_an_action_leads_to_what_begins_next() -> None:
    """Its target is a path of the same flow; that node begins, unless the run fails before."""
    script = flow()
    script.add(Action, script.node("A", 1), action=None, target="B")
    script.start(NodeStart, node="C", parent=1)
    names_the_first(script, "begins after Action 4 with target 'B'")
    script.events.pop()
    script.add(FlowEnd, 1)
    names_the_first(script, "comes before 'B', the target of Action 4")
    script.events.pop()
    script.add(FlowEnd, 1, status="cancelled")
    check_events(script.events)
    script = flow()
    script.add(Action, script.node("A", 1), action=None)
    script.start(NodeStart, node="B", parent=1)
    names_the_first(script, "with target None")
    script = flow()
    script.add(Action, script.node("A", 1), action=None, target="G/B")
    names_the_first(script, "target ends with the name 'G/B'")


def test_a_status_and_its_error_agree() -> None:
    """What is ok has no error; what failed has one, of at most 2,000 characters."""
    for fields, text in (
        ({"error": "E"}, "status is 'ok', but error is 'E'"),
        ({"status": "error"}, "error is None"),
        ({"status": "error", "error": ""}, "error is ''"),
        ({"status": "error", "error": "E" * 2_001}, "error is 2001 characters long"),
        ({"status": "cancelled", "error": ""}, "error is ''"),
        ({"status": "done"}, "status is 'done'"),
    ):
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.add(NodeEnd, 2, **fields)
        names_the_first(script, text)
    script = flow()
    script.add(FlowEnd, 1, status="cancelled", action="go")
    names_the_first(script, "status is 'cancelled', but action is 'go'")
    for error in ("", "E" * 2_001):
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.add(Retry, 2, error=error)
        names_the_first(script, "not a text of at most 2000 characters")


def test_times_are_times() -> None:
    """A duration or a wait is a number of seconds from 0."""
    for duration in (-1e-9, float("nan"), float("inf")):
        script = flow()
        script.add(FlowEnd, 1, duration=duration)
        names_the_first(script, f"duration is {duration!r}")
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.add(Retry, 2, error="E", wait=duration)
        names_the_first(script, f"wait is {duration!r}")


def asking() -> Script:
    """A node that waits for the answer to a question."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(Interrupt, 2, id="q", prompt="?")
    return script


def test_a_question_is_answered_once_by_its_own_answer() -> None:
    """An answer is that to an open question of its span."""
    script = asking()
    script.add(Interrupt, 2, id="q", prompt="?")
    names_the_first(script, "id is 'q', which was asked before")
    script = asking()
    script.add(Reply, 2, id="other", value=1)
    names_the_first(script, "id is 'other', which nothing asked")
    script = asking()
    script.add(Reply, 1, id="q", value=1)
    names_the_first(script, "id is 'q', which span 2 asked")
    script = asking()
    script.add(Reply, 2, id="q", value=1)
    script.add(Reply, 2, id="q", value=1)
    names_the_first(script, "id is 'q', which is answered already")


def test_a_paused_run_is_complete() -> None:
    """A stream may stop where everything that is open waits for an answer."""
    script = asking()
    check_events(script.events)
    script.add(Reply, 2, id="q", value=1)
    names_the_first(script, "has no end, and waits for no answer", at=2)
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    one, other = (script.start(ItemStart, parent=2, index=index) for index in (0, 1))
    script.add(Interrupt, other, id="q", prompt="?")
    names_the_first(script, "has no end, and waits for no answer", at=one)
    script.add(Interrupt, one, id="p", prompt="?")
    check_events(script.events)


def test_a_prefix_is_no_complete_stream() -> None:
    """What began and has no end is named, the innermost first."""
    script = flow()
    check_events(script.events, complete=False)
    names_the_first(script, "has no end", at=1)
    script.start(NodeStart, node="A", parent=1)
    names_the_first(script, "has no end", at=2)


def test_an_event_of_a_newer_version_only_has_to_be_numbered() -> None:
    """What this version does not know it does not judge."""
    script = flow()
    fields: dict[str, Any] = {"run_id": "r", "seq": 2, "time": 0.0, "span": 1, "node": ""}
    script.events.append(UnknownEvent(**fields))
    script.add(FlowEnd, 1)
    check_events(script.events)


def test_what_is_no_event_is_named() -> None:
    """Something else in the stream is shown as it is."""
    script: list[Any] = [*flow().events, "chunk"]
    with pytest.raises(AssertionError, match=r"^After seq 1 comes 'chunk', which is no event\.$"):
        check_events(script)


def test_a_stream_that_was_written_and_read_again_is_still_good() -> None:
    """The rules hold for decoded events as well."""
    for name in [*PLAIN, *AWAITED]:
        check_events(events.decode(events.encode(event)) for event in recorded(name))


def test_a_run_can_be_checked_while_it_is_pulled() -> None:
    """`check_events` takes any iterable, and reads it once."""
    run = run_of("a loop")
    check_events(run)
    assert run.status == "done"


# -- capture_events -------------------------------------------------------------------------------


def test_captured_events_are_those_of_the_block() -> None:
    """Everything that is sent in it, and nothing after it."""
    with capture_events() as caught:
        loop().run({})
    check_events(caught)
    before = list(caught)
    loop().run({})
    assert caught == before


def test_captured_events_can_be_those_of_one_sender() -> None:
    """A sender is what it is everywhere."""
    flow = loop()
    with capture_events(flow) as of_flow, capture_events("Talk#2") as of_path:
        loop().run({})
        flow.run({})
    check_events(of_flow)
    assert of_path == [event for event in of_path if event.node == "Talk#2"]
    assert {type(event) for event in of_path} == {NodeStart, Progress, Chunk, NodeEnd, Action}


def test_capturing_stops_where_the_block_fails() -> None:
    """An exception in the block leaves nothing connected."""
    with pytest.raises(KeyError), capture_events() as caught:
        raise KeyError
    loop().run({})
    assert caught == []


# -- ManualClock ----------------------------------------------------------------------------------


def test_a_manual_clock_stands_still_until_it_is_advanced() -> None:
    """Both of its times go on together, by what they are told."""
    clock = ManualClock(100.0)
    before = clock.monotonic()
    assert clock.time() == clock.time() == 100.0
    clock.advance(2.5)
    assert clock.time() == 102.5
    assert clock.monotonic() - before == 2.5
    assert isinstance(clock, Clock)
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="time does not go back"):
            clock.advance(seconds)


@pytest.mark.parametrize("start", [0.0, 1_700_000_000.0])
@pytest.mark.parametrize("way", ["pushed", "pushed async"])
def test_a_run_goes_by_its_clock(way: str, start: float) -> None:
    """Events, durations and waits between attempts are of the manual clock, and take no time."""
    clock = ManualClock(start)
    caught: list[Event] = []

    class Slow(Node):
        def prep(self, shared: Any) -> None:
            clock.advance(10)

    flow = Flow(chain(Slow(), Stumble(3, 60)))
    drive(Run(flow, {}, clock=clock, observers=[caught.append]), way)
    assert clock.sleeps == [60, 60]
    assert caught[0].time == start
    assert caught[-1].time == start + 130
    durations = [event.duration for event in caught if isinstance(event, (NodeEnd, FlowEnd))]
    assert durations == [10, 120, 130]


def test_a_wait_that_is_cancelled_already_takes_no_time() -> None:
    """A clock whose sleeper was woken before does not advance."""
    clock, woken = ManualClock(), threading.Event()
    woken.set()
    clock.sleep(1, woken)
    assert clock.sleeps == []


@pytest.mark.parametrize("by", ["woken", "time", "time before"])
def test_a_wait_of_a_manual_clock(by: str) -> None:
    """Goes on when it is woken, or when the clock was advanced far enough, in one go or in many."""
    clock, woken = ManualClock(0), threading.Event()
    until = None if by == "woken" else 60.0
    waiting = threading.Thread(target=clock.wait, args=(woken, until), daemon=True)
    if by == "time before":
        clock.advance(60)
    waiting.start()
    if by == "woken":
        clock.advance(1_000)
        assert waiting.is_alive()
        woken.set()
    elif by == "time":
        clock.advance(59)
        assert waiting.is_alive()
        clock.advance(1)
    waiting.join(30)
    assert not waiting.is_alive()
    assert clock.sleeps == []


@pytest.mark.parametrize("by", ["woken", "time", "time before"])
def test_an_async_wait_of_a_manual_clock(by: str) -> None:
    """The same, in a loop; the clock may be advanced in another thread."""

    async def main() -> None:
        clock, woken = ManualClock(0), asyncio.get_running_loop().create_future()
        until = None if by == "woken" else 60.0
        if by == "time before":
            clock.advance(60)
        waiting = asyncio.create_task(clock.wait_async(woken, until))
        await asyncio.sleep(0)
        if by == "woken":
            clock.advance(1_000)
            await asyncio.sleep(0)
            assert not waiting.done()
            woken.set_result(None)
        elif by == "time":
            await asyncio.to_thread(clock.advance, 59)
            await asyncio.sleep(0)
            assert not waiting.done()
            await asyncio.to_thread(clock.advance, 1)
        await asyncio.wait_for(waiting, 30)
        assert clock.sleeps == []

    asyncio.run(main())


def test_a_manual_clock_can_be_advanced_from_many_threads() -> None:
    """No second is lost."""
    clock = ManualClock(0)

    def advance() -> None:
        for _ in range(500):
            clock.advance(1)

    together(8, advance)
    assert clock.time() == 4_000


def together(count: int, function: Callable[[], object]) -> None:
    """Call it in so many threads, at the same time."""
    barrier = threading.Barrier(count)

    def call() -> None:
        barrier.wait()
        function()

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# -- ScriptedModel --------------------------------------------------------------------------------


def test_a_scripted_model_gives_its_replies_in_order() -> None:
    """Whole or streamed, each call takes the next, and the prompts are kept."""
    model = ScriptedModel(["one two", ["th", "ree"], "four"])
    assert model("first") == "one two"
    assert list(model.stream("second")) == ["th", "ree"]
    assert asyncio.run(model.acall({"role": "user"})) == "four"
    assert model.calls == ["first", "second", {"role": "user"}]


@given(st.text())
def test_a_text_is_streamed_in_pieces_that_join_to_it(text: str) -> None:
    """Each piece has a word, and none is lost."""
    model = ScriptedModel([text, text])
    pieces = list(model.stream("?"))
    assert "".join(pieces) == text
    assert len(pieces) >= len(text.split())
    assert all(pieces)
    assert model("again") == text


def test_a_text_is_streamed_word_by_word() -> None:
    """A word keeps the space before it, as the tokens of models do."""
    assert list(ScriptedModel(["a  few\nwords "]).stream("?")) == ["a", "  few", "\nwords", " "]


def test_a_scripted_model_raises_what_it_was_told_to() -> None:
    """An exception instead of a reply, or midway through one."""
    model = ScriptedModel([TimeoutError("slow"), ["a", ConnectionError("cut"), "b"], "fine"])
    with pytest.raises(TimeoutError, match="slow"):
        model("1")
    seen = []
    with pytest.raises(ConnectionError, match="cut"):
        for chunk in model.stream("2"):
            seen.append(chunk)
    assert seen == ["a"]
    assert model("3") == "fine"


def test_a_scripted_model_streams_in_an_event_loop() -> None:
    """Chunks and exceptions come as in plain code; others get their turn in between."""

    async def main() -> list[str]:
        model = ScriptedModel([["a", "b"], ["c", ValueError("cut")], ["x", "y"]])
        seen: list[str] = []

        async def take() -> None:
            async for chunk in model.astream("?"):
                seen.append(chunk)

        await take()
        with pytest.raises(ValueError, match="cut"):
            await take()
        return seen

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_two_async_streams_interleave() -> None:
    """Each gives the other a turn before every chunk."""

    async def main() -> list[str]:
        model = ScriptedModel([["a", "b"], ["x", "y"]])
        seen: list[str] = []

        async def take() -> None:
            async for chunk in model.astream("?"):
                seen.append(chunk)

        await asyncio.gather(take(), take())
        return seen

    assert asyncio.run(main()) == ["a", "x", "b", "y"]


def test_a_scripted_model_says_which_call_has_no_reply() -> None:
    """The error counts the calls and shows the prompt."""
    model = ScriptedModel(["only one"])
    model("first")
    with pytest.raises(AssertionError, match="no reply for call 2, with the prompt 'second'"):
        model.stream("second")


def test_replies_are_given_in_a_list() -> None:
    """A single text, whose letters would be replies, is refused."""
    with pytest.raises(TypeError, match="replies='hello' is a single text"):
        ScriptedModel("hello")


def test_replies_can_be_endless() -> None:
    """Any iterable of replies will do."""
    model = ScriptedModel(itertools.repeat("again"))
    assert [model(number) for number in range(3)] == ["again"] * 3


def test_a_scripted_model_serves_many_threads() -> None:
    """Each reply is given once, whoever asks."""
    model = ScriptedModel([str(number) for number in range(400)])
    given: list[str] = []
    together(8, lambda: given.extend([model("?") for _ in range(50)]))
    assert sorted(map(int, given)) == list(range(400))
    assert len(model.calls) == 400


def test_a_scripted_model_works_in_a_streaming_node() -> None:
    """What it streams are the chunks, and a failure midway is a retry."""
    model = ScriptedModel([["Hel", ConnectionError("cut")], "Hello there"])

    class Answer(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            return model.stream("Greet.")

    with capture_events() as caught:
        Answer(max_retries=2).run({})
    check_events(caught)
    chunks = [(event.attempt, event.data) for event in caught if isinstance(event, Chunk)]
    assert chunks == [(1, "Hel"), (2, "Hello"), (2, " there")]
