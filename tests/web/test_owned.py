"""`sse(run)`: a run that one request alone owns, in the response of any framework."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowevents import (
    Ask,
    AskNode,
    AsyncAskNode,
    AsyncFlow,
    AsyncStreamNode,
    Flow,
    MemoryJournal,
    Node,
    Run,
    RunStateError,
    StreamNode,
)
from flowevents.testing import check_events
from flowevents.web import sse
from tests.driving import status_of
from tests.web.servers import http, until
from tests.web.streams import Viewer, frames

pytestmark = pytest.mark.usefixtures("threads_end")

MANY = 1_000


class Says(StreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        for n in range(MANY):
            yield f"{n} "


class SaysAsync(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
        for n in range(MANY):
            yield f"{n} "


class Question(AskNode):
    def question(self, prep_res: Any) -> Ask:
        return Ask("Well?")


class AsyncQuestion(AsyncAskNode):
    def question(self, prep_res: Any) -> Ask:
        return Ask("Well?")


class Fails(Node):
    def exec(self, prep_res: Any) -> None:
        raise ValueError("no paper")


def seen(raw: bytes, run: Run) -> Viewer:
    """What somebody sees who reads these bytes."""
    viewer = Viewer(run.id)
    assert raw.endswith(b"\n\n")
    for frame in frames(raw.decode().removesuffix("\n").split("\n")):
        viewer.take(frame)
    return viewer


async def to_the_end(run: Run) -> Viewer:
    """What somebody sees who answers, and stays to the end."""
    whole = b""
    async for raw in sse(run):
        whole += raw
        if b"\nevent: interrupt\n" in raw:
            run.reply("well")
    return seen(whole, run)


@pytest.mark.parametrize("journaled", [False, True])
@pytest.mark.parametrize(
    "flow",
    [Flow(Says()), AsyncFlow(SaysAsync()), Question(), AsyncQuestion(), Fails()],
    ids=["sync", "async", "asks", "asks async", "fails"],
)
def test_a_run_to_its_end(flow: Any, journaled: bool) -> None:
    """All its events, then the end; sync and async, whether it is stored or not."""
    with MemoryJournal() as journal:
        run = Run(flow, {}, journal=journal if journaled else None)
        viewer = asyncio.run(to_the_end(run))
        check_events(viewer.events)
        assert viewer.ended
        assert run.status == ("failed" if isinstance(flow, Fails) else "done")


@pytest.mark.parametrize("journaled", [False, True])
@pytest.mark.parametrize(
    "flow", [Flow(Says()), AsyncFlow(SaysAsync()), Question(), AsyncQuestion()]
)
@pytest.mark.parametrize("after", [1, 3])
def test_who_leaves_cancels_it(flow: Any, journaled: bool, after: int) -> None:
    """Closing the iterator ends the run, wherever it is, and waits for that."""

    async def main(run: Run) -> bytes:
        stream, whole = sse(run), b""
        async for raw in stream:
            whole += raw
            if whole.count(b"\n\n") == after:
                break
        await stream.aclose()
        assert run.status == "cancelled"
        return whole

    with MemoryJournal() as journal:
        run = Run(flow, {}, journal=journal if journaled else None)
        assert len(seen(asyncio.run(main(run)), run).events) == after
        assert not journaled or journal.summary(run.id).status == "cancelled"


@pytest.mark.parametrize("flow", [Flow(Says()), AsyncFlow(SaysAsync())])
def test_a_slow_client_slows_it(flow: Any) -> None:
    """At most a hundred events wait."""
    said: list[Any] = []

    async def main() -> None:
        run = Run(flow, {}, observers=[said.append])
        stream = sse(run)
        await anext(stream)
        await asyncio.sleep(0.1)
        await stream.aclose()

    asyncio.run(main())
    assert len(said) < 110


def test_one_that_has_begun(loop: Any) -> None:
    """Cannot be owned any more."""

    async def main() -> None:
        run = Run(Question(), {})
        run.start()
        with pytest.raises(RunStateError):
            await anext(sse(run))
        run.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["fastapi", "starlette", "fastapi plain"])
def test_in_a_streaming_response(apart: str, how: str) -> None:
    """The run is cancelled when its client is gone, whatever it does then."""
    with http.stream("GET", f"{apart}/owned/{how.replace(' ', '-')}") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line == "event: chunk":
                break
    began = time.monotonic()
    until(lambda: http.get(f"{apart}/owned/ended").json()[-1:] == [how], "it is cancelled")
    assert time.monotonic() - began < 10


def test_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come where nothing comes for a while, so that nobody hangs up."""
    monkeypatch.setattr("flowevents.web.owned.COMMENT_EVERY", 0.01)

    async def main(run: Run) -> bytes:
        stream, whole = sse(run), b""
        async for raw in stream:
            whole += raw
            if whole.count(b"\n: ") == 3:
                break
        await stream.aclose()
        return whole

    run = Run(Question(), {})
    assert len(seen(asyncio.run(main(run)), run).events) == 3
    assert status_of(run) == "cancelled"
