"""The current span: what user code makes is its child."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from flowevents import (
    AsyncFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchNode,
    Node,
    Run,
    StreamNode,
    observe,
)
from flowevents.observers.traces import TraceObserver
from tests.driving import Driver, in_thread
from tests.tracing.spans import Balance, Plan, attribute, id_of


def current() -> int:
    """The id of the current span, 0 for none."""
    return trace.get_current_span().get_span_context().span_id


class Looking:
    """Notes the current span in each part of a node, under its name."""

    def prep(self, shared: Any) -> Any:
        self.found = shared
        shared.append(("prep", current()))

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.append(("post", current()))


class Look(Looking, Node):
    def exec(self, prep_res: Any) -> None:
        self.found.append(("exec", current()))
        if self.cur_retry == 0:
            raise ValueError("again")

    def exec_fallback(self, prep_res: Any, exc: Exception) -> None:
        self.found.append(("fallback", current()))


class LookStream(Looking, StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[int]:
        for n in range(3):
            self.found.append((f"chunk {n}", current()))
            yield n


class LookBatch(Looking, BatchNode):
    def prep(self, shared: Any) -> Any:
        super().prep(shared)
        return "ab"

    def exec(self, item: Any) -> None:
        self.found.append((f"item {item}", current()))


@pytest.mark.parametrize(
    ("node", "parts"),
    [
        (Look(), ["prep", "exec", "fallback", "post"]),
        (Look(max_retries=2), ["prep", "exec", "exec", "post"]),
        (LookStream(), ["prep", "chunk 0", "chunk 1", "chunk 2", "post"]),
        (LookBatch(), ["prep", "item a", "item b", "post"]),
    ],
    ids=["node", "retry", "stream", "batch"],
)
@pytest.mark.parametrize("pulled", [False, True], ids=["pushed", "pulled"])
def test_the_span_of_a_step_is_current_in_its_code(
    driver: Driver, tracing: TraceObserver, spans: Balance, node: Any, parts: Any, pulled: bool
) -> None:
    """In all of it, that of the item where there is one; and nowhere else."""
    found: list[tuple[str, int]] = []
    outside: list[int] = []
    run = Run(driver.flow(node), found, observers=[tracing, lambda _: outside.append(current())])
    driver.pull(run) if pulled else driver.wait(run)
    assert [part for part, _ in found] == parts
    ids = {id_of(span): span for span in spans.spans()}
    for part, span_id in found:
        expected = part[5:] if part.startswith("item") else None
        assert attribute(ids[span_id], "flowevents.node") == type(node).__name__
        items = attribute(ids[span_id], "flowevents.items")
        assert items == (None if expected is None else ("ab".index(expected),))
    assert set(outside) == {0}
    assert current() == 0


class LookAsync(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[int]:
        before = current()
        yield before
        await asyncio.sleep(0)
        yield current()

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared += exec_res


class LookParallel(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return range(5)

    async def exec_async(self, item: int) -> tuple[int, int, int]:
        before = current()
        await asyncio.sleep(0)
        inner = await asyncio.create_task(self.look())
        assert inner == before
        return item, before, current()

    async def look(self) -> int:
        return current()

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared += exec_res


def test_it_is_current_in_async_code(tracing: TraceObserver, spans: Balance) -> None:
    """Before and after an await, in tasks of its own, in each parallel item its own."""
    streamed: list[int] = []
    asyncio.run(LookAsync().run_async(streamed, observers=[tracing]))
    step = spans.spans()[-1]
    assert streamed == [id_of(step)] * 2
    spans.clear()
    found: list[tuple[int, int, int]] = []
    asyncio.run(LookParallel().run_async(found, observers=[tracing]))
    items = {
        attribute(s, "flowevents.items"): id_of(s) for s in spans.spans() if s.name[:4] == "item"
    }
    assert found == [(n, items[(n,)], items[(n,)]) for n in range(5)]


def test_a_run_is_a_child_of_the_span_around_it(
    driver: Driver, tracing: TraceObserver, provider: TracerProvider, spans: Balance
) -> None:
    """As of a request to a server, and so is a run inside of a node."""

    class Outer(Node):
        def exec(self, prep_res: Any) -> None:
            Plan().run({})

    async def inside() -> None:
        with provider.get_tracer("test").start_as_current_span("request"):
            await Outer().run_async({})

    with observe(tracing):
        if driver.loop is None:
            with provider.get_tracer("test").start_as_current_span("request"):
                Outer().run({})
        else:
            driver.in_loop(inside())
    assert spans.tree() == [
        "request",
        "  invoke_workflow Outer",
        "    Outer",
        "      invoke_workflow Plan",
        "        Plan",
    ]


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.headers_seen.append(self.headers["traceparent"])  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hello() -> Iterator[Any]:
    """A server on loopback that says "hi" and notes the headers of its callers' traces."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as server:
        server.headers_seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_spans_of_an_instrumented_client_are_children_of_the_step(
    tracing: TraceObserver, provider: TracerProvider, spans: Balance, hello: Any
) -> None:
    """Of httpx, sync, async and in parallel; and the server gets the same trace."""
    url = f"http://127.0.0.1:{hello.server_address[1]}/"

    class Get(Node):
        def exec(self, prep_res: Any) -> str:
            with httpx.Client() as client:
                HTTPXClientInstrumentor.instrument_client(client, provider)
                return str(client.get(url).text)

    class GetAll(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> Any:
            return range(3)

        async def exec_async(self, item: Any) -> str:
            async with httpx.AsyncClient() as client:
                HTTPXClientInstrumentor.instrument_client(client, provider)
                return str((await client.get(url)).text)

    get = Get()
    get >> GetAll()
    asyncio.run(AsyncFlow(get).run_async({}, observers=[tracing]))
    in_thread(lambda: Get().run({}, observers=[tracing]))
    ids = {id_of(span): span for span in spans.get_finished_spans()}
    calls = [span for span in ids.values() if span.name == "GET"]
    assert [ids[call.parent.span_id].name for call in calls if call.parent] == [
        "Get",
        *["item GetAll"] * 3,
        "Get",
    ]
    assert len({call.parent.span_id for call in calls if call.parent}) == 5
    sent = {header.split("-")[2] for header in hello.headers_seen}
    assert sent == {f"{id_of(call):016x}" for call in calls}
