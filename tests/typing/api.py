"""Every public name, used once as users do; mypy and pyright prove the types, nobody runs it."""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
)
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, assert_type

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

import flowevents
from flowevents import (
    ANY,
    Action,
    Answer,
    Ask,
    AskNode,
    AsyncAskNode,
    AsyncBatchFlow,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncNodeError,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStream,
    AsyncStreamNode,
    BaseNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Clock,
    Conflict,
    ConsoleAnswers,
    Event,
    EventsLost,
    Expired,
    Flow,
    FlowEnd,
    FlowEventsError,
    FlowStart,
    Gap,
    GraphError,
    Interrupt,
    ItemEnd,
    ItemStart,
    Journal,
    JournalError,
    JsonFormatter,
    JsonLines,
    LiveEvents,
    LogObserver,
    MemoryJournal,
    Node,
    NodeEnd,
    NodeStart,
    ObserverError,
    Paused,
    Progress,
    RedisJournal,
    Reply,
    ReplyError,
    Result,
    Retry,
    Run,
    RunCancelled,
    RunStateError,
    RunSummary,
    SQLiteJournal,
    Stream,
    StreamFlow,
    StreamNode,
    Subscription,
    TerminalDisplay,
    TooManySteps,
    UnknownEvent,
    UnknownRun,
    WorkerLost,
    backoff,
    events,
    observe,
    observe_pocketflow,
    on,
    queued,
    read_events,
    signals,
    timeline_svg,
    to_chrome_trace,
    to_mermaid,
)
from flowevents.gradio import chat
from flowevents.observers.queued import Queued
from flowevents.testing import (
    ManualClock,
    NoReply,
    ScriptedModel,
    capture_events,
    check_events,
    check_journal,
)
from flowevents.web import RunServer, sse

Shared = dict[str, Any]

# -- nodes: users annotate their methods as they like ---------------------------------------------


class Plan(Node):
    node_name = "Planner"

    def prep(self, shared: Shared) -> str:
        assert_type(self.params, dict[str, Any])
        assert_type(self.cur_retry, int)
        return str(shared["question"])

    def exec(self, prep_res: str) -> list[str]:
        assert_type(self.emit(prep_res), None)
        assert_type(self.emit(prep_res, kind="thought"), None)
        assert_type(self.progress(1), None)
        assert_type(self.progress(1, total=2, label="planning"), None)
        return prep_res.split()

    def exec_fallback(self, prep_res: str, exc: Exception) -> list[str]:
        return [str(exc)]

    def post(self, shared: Shared, prep_res: str, exec_res: list[str]) -> str:
        return "act" if exec_res else "done"


class Renamed(StreamNode, BatchNode):
    """What a method gets may have other names than in the base classes."""

    def prep(self, state: Shared) -> list[str]:
        return list(state)

    def exec_stream(self, word: str) -> Iterator[str]:
        yield word

    def exec_fallback(self, word: str, error: Exception) -> str:
        return word

    def item_label(self, word: str) -> str:
        return word

    def post(self, state: Shared, words: list[str], found: list[str]) -> None:
        return None


class RenamedAsync(AsyncStreamNode):
    async def prep_async(self, state: Shared) -> str:
        return str(state["question"])

    async def exec_stream_async(self, question: str) -> AsyncIterator[str]:
        yield question

    async def exec_fallback_async(self, question: str, error: Exception) -> str:
        return question

    async def post_async(self, state: Shared, question: str, chunks: list[str]) -> None:
        return None


class RenamedQuestion(AskNode):
    def question(self, text: str) -> Ask:
        return Ask(text)


class Write(StreamNode):
    keep_chunks = False

    def exec_stream(self, prep_res: str) -> Generator[str, None, int]:
        yield prep_res
        return 1


class Quote(StreamNode):
    def exec_stream(self, prep_res: str) -> Iterable[str]:
        return prep_res.split()


class Each(BatchNode):
    def prep(self, shared: Shared) -> Iterator[int]:
        return iter(range(3))

    def exec(self, prep_res: int) -> int:
        return prep_res

    def item_label(self, item: int) -> str:
        return f"number {item}"


class WriteEach(Write, BatchNode):
    def prep(self, shared: Shared) -> list[str]:
        return ["a"]


class Fetch(AsyncNode):
    async def prep_async(self, shared: Shared) -> str:
        return str(shared["url"])

    async def exec_async(self, prep_res: str) -> bytes:
        return prep_res.encode()

    async def exec_fallback_async(self, prep_res: str, exc: Exception) -> bytes:
        return b""

    async def post_async(self, shared: Shared, prep_res: str, exec_res: bytes) -> str | None:
        return None


class WriteAsync(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: str) -> AsyncIterator[str | Result[int]]:
        yield prep_res
        result = Result(1)
        assert_type(result, Result[int])
        assert_type(result.value, int)
        yield result


class FetchEach(AsyncBatchNode):
    async def prep_async(self, shared: Shared) -> list[str]:
        return ["a"]


class FetchAll(AsyncParallelBatchNode):
    async def prep_async(self, shared: Shared) -> list[str] | None:
        return None


class WriteAll(WriteAsync, AsyncParallelBatchNode):
    async def prep_async(self, shared: Shared) -> list[str]:
        return ["a"]


class Bare(BaseNode):
    def exec(self, prep_res: None) -> None:
        return None


class PerFile(BatchFlow):
    def prep(self, shared: Shared) -> list[dict[str, str]]:
        return [{"file": "a"}]


class PerFileAsync(AsyncBatchFlow):
    async def prep_async(self, shared: Shared) -> Iterator[dict[str, str]]:
        return iter([{"file": "a"}])


class PerFileAtOnce(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Shared) -> list[dict[str, str]]:
        return [{"file": "a"}]

    async def post_async(self, shared: Shared, prep_res: Any, exec_res: None) -> str:
        return "done"


class Draft(StreamNode):
    """A plain generator that asks: what it is sent is of any type."""

    def exec_stream(self, prep_res: str) -> Generator[str | Ask, Any, str]:
        answer = yield Ask("Go on?", choices=["yes", "no"], type=str, expires=60)
        assert_type(answer, Any)
        assert_type(self.pause_requested, bool)
        try:
            yield Ask({"any": "data"}, choices=range(3))
        except Expired as expired:
            as_timeout: TimeoutError = expired
            return str(as_timeout)
        return str(answer)


class DraftAsync(AsyncStreamNode):
    """An async one, where mypy wants `AsyncGenerator` for what is sent."""

    async def exec_stream_async(
        self, prep_res: str
    ) -> AsyncGenerator[str | Ask | Result[str], Any]:
        answer = yield Ask("Go on?")
        assert_type(answer, Any)
        assert_type(await self.ask("Really?", type=bool, expires=1.5), Any)
        yield Result(str(answer))


class Review(AsyncNode):
    async def exec_async(self, prep_res: str) -> bool:
        assert_type(await self.ask("Ship it?", choices=["yes", "no"]), Any)
        return bool(await self.ask(prep_res, type=bool))


class Approve(AskNode):
    def question(self, prep_res: str) -> Ask:
        asked = Ask(f"Ship {prep_res}?")
        assert_type(asked.choices, list[Any] | None)
        assert_type(asked.expires, float | None)
        assert_type(asked.schema, dict[str, Any] | None)
        assert_type(asked.check("yes"), Any)
        return asked

    def post(self, shared: Shared, prep_res: str, exec_res: str) -> str:
        return exec_res


class ApproveAsync(AsyncAskNode):
    async def question_async(self, prep_res: str) -> Ask:
        return Ask(prep_res)


class ApproveAll(ApproveAsync, AsyncParallelBatchNode):
    """A question for each item."""


def graph() -> Flow:
    """Connected nodes are flows' and nodes', in any order."""
    plan, write = Plan(max_retries=3, wait=0.5), Write()
    plan - "act" >> write >> plan
    plan.next(Quote(), "done")
    plan.next(None, "nothing")
    inner = StreamFlow(start=Each())
    write - "all" >> inner >> WriteEach() >> PerFile(Bare()) >> None
    flow = Flow()
    flow.start(plan)
    flow.set_params({"a": 1})
    assert_type(flow.successors, dict[str, Any])
    Each(3, backoff(initial=1, factor=3, maximum=9, jitter=0), retry_on=(OSError, KeyError))
    assert_type(backoff()(1, OSError()), float)
    return flow


def pause(attempt: int, error: Exception) -> float:
    """Seconds before the next attempt."""
    return attempt / 2


def async_graph() -> AsyncFlow:
    """So it is with async ones."""
    fetch = Fetch(3, 0.5)
    fetch >> FetchEach(wait=pause) >> FetchAll(max_concurrency=3, return_exceptions=True)
    pool = ThreadPoolExecutor(4)
    fetch >> FetchEach(executor=pool, max_concurrency=8) >> FetchAll(executor=pool, max_lost=1)
    fetch >> FetchEach(executor=partial(ProcessPoolExecutor, 2), grace=0.5)
    fetch >> FetchEach(executor=flowevents.RayRunner(num_cpus=0.1))
    fetch >> WriteAll(retry_on=lambda error: "429" in str(error), max_concurrency=None)
    fetch - "files" >> PerFileAsync(WriteAsync()) >> PerFileAtOnce(Plan(), max_concurrency=2)
    return AsyncFlow(fetch)


# -- handlers: each signal knows what its handlers get --------------------------------------------

llm, flow = Write(), graph()


def show(event: Chunk) -> str:
    """A handler of one type."""
    assert_type(event.data, Any)
    assert_type(event.kind, str)
    return event.node


def show_any(event: Event) -> None:
    """A handler of every type is one of each."""
    assert_type(event.run_id, str)
    assert_type(event.seq, int)
    assert_type(event.time, float)
    assert_type(event.span, int)
    assert_type(event.node, str)
    assert_type(event.items, tuple[int, ...])
    assert_type(event.step, int)
    assert_type(event.attempt, int)


async def show_async(event: Chunk) -> None:
    """One that is awaited."""


def show_end(event: NodeEnd) -> None:
    """A handler of another type."""
    assert_type(event.status, events.Status)
    assert_type(event.duration, float)
    assert_type(event.error, str | None)
    assert_type(event.result, Any)


assert_type(signals.chunk, signals.EventSignal[Chunk])
assert_type(signals.chunk.connect(show), Callable[[Chunk], str])
assert_type(signals.chunk.connect(show, sender=llm), Callable[[Chunk], str])
assert_type(signals.chunk.connect(show, sender=Write), Callable[[Chunk], str])
assert_type(signals.chunk.connect(show, sender="Research/Write"), Callable[[Chunk], str])
assert_type(signals.chunk.connect(show, sender=ANY), Callable[[Chunk], str])
assert_type(signals.chunk.connect(show, weak=True), Callable[[Chunk], str])
signals.chunk.connect(show_any)
signals.chunk.connect(show_async)
signals.chunk.connect(lambda event: print(assert_type(event, Chunk)))
signals.chunk.connect(show_end)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
signals.node_end.connect(show)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
signals.node_end.connect(show_end)
signals.chunk.disconnect(show, sender=llm)

signals.flow_start.connect(lambda event: assert_type(event, FlowStart).metadata)
signals.flow_start.connect(lambda event: assert_type(event.flow, str))
signals.node_start.connect(lambda event: assert_type(event, NodeStart).parent)
signals.item_start.connect(
    lambda event: assert_type(assert_type(event, ItemStart).total, int | None)
)
signals.item_start.connect(lambda event: assert_type(event.label, str))
signals.progress.connect(lambda event: assert_type(assert_type(event, Progress).done, float))
signals.retry.connect(lambda event: assert_type(assert_type(event, Retry).fallback, bool))
signals.interrupt.connect(lambda event: assert_type(assert_type(event, Interrupt).id, str))
signals.reply.connect(lambda event: assert_type(assert_type(event, Reply).value, Any))
signals.item_end.connect(lambda event: assert_type(assert_type(event, ItemEnd).done, int))
signals.node_end.connect(lambda event: assert_type(event, NodeEnd).result)
signals.action.connect(lambda event: assert_type(assert_type(event, Action).target, str | None))
signals.flow_end.connect(lambda event: assert_type(assert_type(event, FlowEnd).action, str | None))

with signals.chunk.connected_to(show, sender=flow), signals.chunk.muted():
    pass


@signals.chunk.connect_via(llm)
def via(event: Chunk) -> int:
    """A decorated handler is still the function."""
    return 1


@llm.on(Chunk)
def on_one(event: Chunk) -> int:
    """Also of a node."""
    return 1


@flow.on(NodeEnd)
async def on_flow(event: NodeEnd) -> int:
    """And of a flow, awaited or not."""
    return 1


def on_two(event: Chunk | Progress) -> int:
    """Of everything, and of several types."""
    return 1


on(Chunk)(on_two)
on(Progress)(on_two)


@on(Event, sender="Plan")
def on_all(event: Event) -> int:
    """Of all types."""
    return 1


assert_type(via(Chunk(run_id="r", seq=1, time=0, span=1, node="n", data="x")), int)
assert_type(on_one, Callable[[Chunk], int])
assert_type(on_all, Callable[[Event], int])
awaitable: Callable[[NodeEnd], Coroutine[Any, Any, int]] = on_flow
llm.on(Chunk)(show_end)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Display:
    """An observer: an object with methods."""

    def on_chunk(self, event: Chunk) -> None:
        print(event.data)

    async def on_node_end(self, event: NodeEnd) -> None:
        print(event.status)

    def context(self, event: Event) -> contextvars.Context | None:
        return contextvars.copy_context()


subscription = observe(Display())
assert_type(subscription, Subscription)
assert_type(subscription.cancel(), None)
with observe_pocketflow(observers=[show_any], capture=True) as patched:
    assert_type(patched, Subscription)
assert_type(JsonFormatter().format(logging.makeLogRecord({})), str)
with observe(show_any, sender=llm) as entered:
    assert_type(entered, Subscription)

# -- running: the options are checked, also where they are passed on ------------------------------


def run_it(shared: Shared) -> None:
    """Sync."""
    action = flow.run(shared)
    assert_type(action, Any)
    flow.run(shared, observers=[Display(), show_any], id="r", metadata={"user": "ada"})
    flow.run(shared, capture=True, max_steps=10, on_handler_error="raise", clock=ManualClock())
    llm.run(shared, redact=lambda value: value)
    flow.run(shared, on_handler_error="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    flow.run(shared, max_steps="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    flow.run(shared, journal=None, transient={"client"}, state_types=[Result])

    stream = flow.run_stream(shared)
    assert_type(stream, Stream)
    assert_type(stream.run, Run)
    assert_type(next(stream), Any)
    stream.close()
    with flow.run_stream(shared, id="r", observers=[Display()]) as opened:
        assert_type(opened, Stream)
        for text in opened:
            assert_type(text, Any)
    assert_type(flow.run_stream(shared, show_chunk), Any)
    assert_type(flow.run_stream(shared, callback=show_chunk, id="r"), Any)
    assert_type(flow.run_stream(shared, callback=None), Any)
    flow.run_stream(shared, callback=show)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


def show_chunk(chunk: Any, node: str) -> None:
    """A callback."""


async def show_chunk_async(chunk: Any, node: str) -> None:
    """A callback that is awaited."""


def stream_inside(shared: Shared) -> Generator[str, None, str]:
    """The action is the stream's return value."""
    action = yield from flow.run_stream(shared)
    assert_type(action, Any)
    return str(action)


async def run_it_async(shared: Shared) -> None:
    """Async."""
    asynchronous = async_graph()
    assert_type(await asynchronous.run_async(shared), Any)
    task = asyncio.create_task(asynchronous.run_async(shared, id="r"))
    assert_type(await task, Any)
    stream = asynchronous.run_stream_async(shared, observers=[Display()])
    assert_type(stream, AsyncStream)
    assert_type(stream.run, Run)
    assert_type(await stream.__anext__(), Any)
    await stream.aclose()
    async with asynchronous.run_stream_async(shared) as opened:
        assert_type(opened, AsyncStream)
        async for text in opened:
            assert_type(text, Any)
    pushed: Awaitable[Any] = asynchronous.run_stream_async(shared, show_chunk_async)
    assert_type(await pushed, Any)
    assert_type(await Fetch().run_stream_async(shared, callback=None, id="r"), Any)


def answer(event: Interrupt) -> Answer[str] | None:
    """A handler that may answer."""
    assert_type(event.prompt, Any)
    assert_type(event.choices, list[Any] | None)
    assert_type(event.expires, float | None)
    return Answer("yes", refused=refused) if event.choices else None


def refused(error: ReplyError) -> Answer[str]:
    """What it answers then."""
    as_value: ValueError = error
    assert_type(error.asked, bool)
    return Answer(str(as_value))


async def answer_async(event: Interrupt) -> Answer[bool]:
    """One that is awaited."""
    given = Answer(True)
    assert_type(given, Answer[bool])
    assert_type(given.value, bool)
    return given


signals.interrupt.connect(answer)
signals.interrupt.connect(answer_async)


def ask_and_answer(shared: Shared) -> None:
    """A run that pauses."""
    try:
        flow.run(shared, on_pause="return")
    except Paused as paused:
        run = paused.run
        run.reply("yes")
    flow.run(shared, on_pause="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run = Run(flow, shared, on_pause="wait")
    assert_type(run.interrupts, tuple[Interrupt, ...])
    for each in run.interrupts:
        assert_type(run.reply("yes", each.id), None)
    assert_type(run.pause(), None)
    assert_type(run.start(), Run)
    live = run.in_thread(maxsize=10)
    assert_type(live, LiveEvents)
    assert_type(live.ready(), list[Event])
    assert_type(live.over, bool)
    assert_type(live.close(), None)
    with run.in_thread() as opened:
        for event in opened:
            assert_type(event, Event)


def in_background(shared: Shared) -> None:
    """Slow handlers."""
    background = queued(show_any, maxsize=10, overflow="drop_oldest")
    assert_type(background, Queued)
    flow.run(shared, observers=[background, queued(Display())])
    queued(show_any, overflow="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with queued(show_any, overflow="coalesce") as opened, observe(opened):
        signals.chunk.connect(opened)
    assert_type(background.close(), None)
    gap = Gap(run_id="r", dropped=1)
    assert_type(gap.dropped, int)


def full_control(shared: Shared) -> None:
    """A run, sync."""
    run = Run(flow, shared, observers=[show_any], id=None, metadata=None, max_steps=None)
    assert_type(run.id, str)
    assert_type(run.action, Any)
    assert_type(run.error, BaseException | None)
    if run.status == "ready":
        print("not yet")
    for event in run:
        assert_type(event, Event)
        if isinstance(event, Chunk):
            assert_type(event.kind, str)
    assert_type(run.wait(), Any)
    assert_type(run.cancel(), None)
    assert_type(run.close(), None)
    with Run(llm, shared) as opened:
        assert_type(opened, Run)
    signals.chunk.connect(show, sender=run)


async def full_control_async(shared: Shared) -> None:
    """A run, async."""
    run = Run(async_graph(), shared, clock=Clock(), offload=True)
    async for event in run:
        assert_type(event, Event)
    assert_type(await run.wait_async(), Any)
    assert_type(await run.aclose(), None)
    async with Run(Fetch(), shared) as opened:
        assert_type(opened, Run)


# -- events as data -------------------------------------------------------------------------------


def as_json(event: Event) -> Event:
    """Written and read again."""
    raw = events.encode(event)
    assert_type(raw, bytes)
    again = events.decode(raw)
    assert_type(again, Event)
    if isinstance(again, UnknownEvent):
        assert_type(again.fields, dict[str, Any])
    for kind in events.EVENT_TYPES:
        assert_type(kind, type[Event])
    assert_type(events.describe_error(ValueError("x")), str)
    assert_type(Chunk.signal, str)
    signals.chunk.send(Chunk(run_id="r", seq=1, time=0.0, span=1, node="Write", data="text"))
    event.seq = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    Chunk("r", 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    return again


def errors(shared: Shared) -> str:
    """One tree."""
    try:
        flow.run(shared)
    except (RunStateError, AsyncNodeError) as error:
        assert_type(error, RunStateError | AsyncNodeError)
        as_runtime: RuntimeError = error
        return str(as_runtime)
    except (GraphError, ObserverError) as error:
        as_type: TypeError = error
        return str(as_type)
    except (RunCancelled, TooManySteps, WorkerLost) as error:
        root: FlowEventsError = error
        return str(root)
    return ""


# -- what pocketflow's star import gives as well --------------------------------------------------


def modules() -> None:
    """Four modules."""
    for module in (flowevents.asyncio, flowevents.copy, flowevents.time, flowevents.warnings):
        assert_type(module, ModuleType)


# -- consumers ------------------------------------------------------------------------------------


def consumers(shared: Shared, file: io.StringIO) -> None:
    """Those that come with the package."""
    flow.run(
        shared,
        observers=[
            TerminalDisplay(transient=True, show="Plan*"),
            ConsoleAnswers(source=file, target=file),
            LogObserver(levels={Chunk: 10, Action: None}),
            JsonLines("run.jsonl"),
        ],
    )
    events = read_events("run.jsonl")
    assert_type(events, Iterator[Event])
    assert_type(timeline_svg(events, width=800), str)
    assert_type(to_mermaid(flow, events), str)
    assert_type(to_chrome_trace(events), dict[str, Any])


# -- journals -------------------------------------------------------------------------------------


async def journals(journal: Journal) -> None:
    """The logs of runs."""
    for each in (MemoryJournal(), SQLiteJournal("runs.db"), RedisJournal("redis://localhost")):
        with each as opened:
            as_any: Journal = opened
            assert_type(as_any.runs("paused", limit=10), list[RunSummary])
    assert_type(journal.read("order-17"), Iterator[Event])
    Run.resume(flow, journal, "order-17", shared={"client": 1}, take_over=True, observers=[])
    fork = Run.fork(flow, journal, "order-17", at=12, id="another", observers=[])
    fork.follow(after=1, timeout=1.0).close()
    with journal.follow("order-17", after=120, timeout=60) as followed:
        for event in followed:
            assert_type(event, Event)
    async for event in journal.follow("order-17"):
        assert_type(event, Event)
    try:
        journal.reply("order-17", "yes", id="1")
        journal.cancel("order-17")
        journal.pause("order-17")
        journal.tell_watched("order-17")
        assert_type(journal.was_watched("order-17"), bool)
        journal.delete("order-17")
    except (Conflict, EventsLost, UnknownRun) as error:
        as_journal_error: JournalError = error
        print(as_journal_error)
    assert_type(followed.ready(), list[Event])
    assert_type(journal.due(), list[str])
    assert_type(journal.prune(before=0.0), int)
    assert_type(journal.summary("order-17").interrupts, tuple[Interrupt, ...])
    assert_type(journal.unanswered("order-17"), tuple[Interrupt, ...])
    journal.close()


# -- testing --------------------------------------------------------------------------------------


class SlowClock(Clock):
    """A clock of one's own."""

    def sleep(self, seconds: float, woken: threading.Event) -> None:
        woken.wait(seconds * 2)

    async def sleep_async(self, seconds: float) -> None:
        await asyncio.sleep(seconds * 2)

    def wait(self, woken: threading.Event, until: float | None) -> None:
        woken.wait(until)

    async def wait_async(self, woken: asyncio.Future[None], until: float | None) -> None:
        await asyncio.wait([woken], timeout=until)


def authorize(request: Request, action: str, run_id: str | None) -> None:
    """Refuses by an exception."""
    if action == "start" and request.headers.get("authorization") is None:
        raise PermissionError(f"{request.url} {run_id}")


async def shared_of(request: Request, body: dict[str, Any]) -> Any:
    """What the nodes get."""
    return {"user": request.headers["user"], **body}


async def over_http() -> None:
    """Runs over HTTP."""
    RunServer({"chat": flow})
    server = RunServer(
        {"chat": flow, "llm": llm},
        journal=SQLiteJournal("runs.db"),
        resume=False,
        max_runs=8,
        unwatched=30.0,
        allowed_hosts=["example.com", "*.example.org"],
        allowed_origins=("https://example.com",),
        authorize=authorize,
        shared=shared_of,
        observers=[show_any],
        offload=True,
        state_types=[Path],
    )
    assert_type(server.journal, Journal)
    assert_type(server.routes, list[Route])
    RunServer({"chat": flow}, unwatched="continue")
    app: ASGIApp = server
    async with server.lifespan(app):
        assert_type([raw async for raw in sse(Run(flow, {}, name="chat"))], list[bytes])


def in_gradio() -> None:
    """A chat."""
    reply = chat(flow, shared=lambda message, history: {"asked": message}, answer="Draft")
    assert_type(reply, Callable[..., AsyncGenerator[list[dict[str, Any]], None]])
    chat(llm, answer=["Draft", "Inner/Tell"], max_steps=9, observers=[JsonLines("events.jsonl")])


def in_tests(shared: Shared) -> None:
    """What users' tests use."""
    with capture_events(sender=flow) as captured:
        flow.run(shared, clock=SlowClock())
    assert_type(captured, list[Event])
    assert_type(check_events(captured), None)
    check_events(iter(captured), complete=False)
    check_journal(lambda: SQLiteJournal("runs.db"))
    clock = ManualClock(start=0.0)
    clock.advance(5)
    assert_type(clock.sleeps, list[float])
    model = ScriptedModel(["a reply", ["b", ValueError("no")]])
    assert_type(model("prompt"), str)
    assert_type(model.stream("prompt"), Iterator[str])
    assert_type(model.calls, list[object])
    assert_type(NoReply("no reply"), NoReply)


async def in_async_tests() -> None:
    """And async ones."""
    model = ScriptedModel(["a reply"])
    assert_type(await model.acall("prompt"), str)
    async for text in model.astream("prompt"):
        assert_type(text, str)
