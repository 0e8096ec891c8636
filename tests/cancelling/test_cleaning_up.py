"""A node's own cleaning up, when its run is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncNode,
    AsyncStreamNode,
    Chunk,
    NodeEnd,
    Run,
    RunCancelled,
    StreamNode,
)
from tests.driving import Driver, Seen
from tests.stock import Stop


def test_a_finally_runs_and_may_publish(driver: Driver) -> None:
    """To its end, whatever it emits; what it emits comes before the ends or not at all."""
    seen, log = Seen(), list[Any]()

    class Tidy(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
            finally:
                self.emit("closing")
                self.progress(1)
                log.append("closed")

    for stop in (driver.close, driver.inside):
        seen = Seen()
        run = Run(driver.flow(Tidy()), {}, observers=[seen])
        driver.pull(run, 3)
        stop(run)
        assert log.pop() == "closed"
        seen.check()


@pytest.mark.parametrize("what", ["raises", "yields"])
def test_what_a_finally_does_is_no_error_of_the_run(
    driver: Driver, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An error is logged, not raised; so is a generator that yields again."""
    seen = Seen()

    class Untidy(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
            finally:
                if what == "raises":
                    raise ValueError("in the finally")
                yield "more"

    run = Run(driver.flow(Untidy()), {}, observers=[seen])
    driver.pull(run, 3)
    driver.close(run)
    assert run.status == "cancelled"
    assert seen.ends() == ["cancelled", "cancelled"]
    assert len(seen.of(Chunk)) == 1
    seen.check()
    said = {"raises": "in the finally", "yields": "ignored GeneratorExit"}
    assert said[what] in caplog.text
    assert len(caplog.records) == 1


def test_what_an_async_finally_raises_is_logged(
    loop: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancellation wins over it, in a node and in a stream."""

    class Untidy(AsyncNode):
        async def exec_async(self, prep_res: Any) -> None:
            try:
                run.cancel()
                await asyncio.Event().wait()
            finally:
                raise ValueError("in the finally")

    class UntidyStream(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[str]:
            try:
                yield "a"
                run.cancel()
                await asyncio.Event().wait()
            finally:
                raise ValueError("in the finally")

    for make in (Untidy, UntidyStream):
        seen = Seen()
        run = Run(AsyncFlow(make()), {}, observers=[seen])
        with pytest.raises(RunCancelled):
            loop.wait(run)
        assert seen.ends() == ["cancelled", "cancelled"]
        seen.check()
        assert "in the finally" in caplog.text
        caplog.clear()


def test_a_stream_that_fails_is_closed_once(driver: Driver) -> None:
    """What its handlers raise ends it there, and its `finally` has run before the end is sent."""
    log: list[str] = []

    class Logs(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
            finally:
                log.append("closed")

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            raise Stop

        def on_node_end(self, event: NodeEnd) -> None:
            log.append(event.status)

    with pytest.raises(Stop):
        driver.run(driver.flow(Logs()), {}, observers=[Handler()], on_handler_error="raise")
    assert log == ["closed", "error"]
