"""Callbacks that get a run's output."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import Chunk, NodeEnd, ObserverError, StreamNode
from tests.driving import Driver, Seen
from tests.running.writers import Write, awaited, two_nodes


def test_a_callback_gets_each_chunk_and_its_node(driver: Driver) -> None:
    """It runs to the end and gives the action, of a flow and of one node."""
    heard: list[tuple[str, str]] = []

    def show(chunk: str, node: str) -> None:
        heard.append((chunk, node))

    assert driver.call_back(driver.flow(two_nodes()[0]), {}, show) == "next"
    assert driver.call_back(driver.flow(driver.flow(Write())), {}, show) == "written"
    assert driver.call_back(Write(), {}, show) == "written"
    nested = "Flow/Write" if driver.loop is None else "AsyncFlow/Write"
    assert heard == [
        (word, node) for node in ("Write", nested, "Write") for word in ("a", "b", "c")
    ]


def test_a_callback_of_none_runs_to_the_end(driver: Driver) -> None:
    """It is a callback all the same: no stream."""
    assert driver.call_back(driver.flow(Write()), {}, None) == "written"


def test_a_callback_that_is_none_is_refused(driver: Driver) -> None:
    """Before anything runs."""
    shared: dict[str, Any] = {}
    with pytest.raises(ObserverError, match="callback='show' is not callable"):
        driver.call_back(driver.flow(Write()), shared, "show")
    assert shared == {}


def test_a_callback_that_raises_cancels_the_run(driver: Driver) -> None:
    """Its own exception propagates, after ends that are `cancelled` and name it."""
    shared: dict[str, Any] = {}
    seen = Seen()

    def show(chunk: str, node: str) -> None:
        if chunk == "b":
            raise LookupError("no more")

    with pytest.raises(LookupError, match="no more") as caught:
        driver.call_back(driver.flow(two_nodes()[0]), shared, show, observers=[seen])
    assert caught.value.__cause__ is None
    assert shared["log"] == ["prep", "a", "b", "closed"]
    assert seen.ends() == ["cancelled", "cancelled"]
    assert {end.error for end in seen.of(NodeEnd)} == {"LookupError: no more"}
    seen.check()


@pytest.mark.parametrize("handling", ["log", "raise"])
def test_no_node_and_no_option_swallows_what_a_callback_raises(
    driver: Driver, handling: str
) -> None:
    """It is no handler error: neither `except Exception`, nor a retry, nor the log gets it."""

    class Stubborn(StreamNode):
        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            try:
                yield "a"
                self.emit("b")
            except Exception:
                pass
            yield "c"

        def exec_fallback(self, prep_res: Any, exc: Exception) -> None:
            raise AssertionError("not reached")

    for stop in ("a", "b", "c"):

        def show(chunk: str, node: str, stop: str = stop) -> None:
            if chunk == stop:
                raise LookupError(chunk)

        with pytest.raises(LookupError, match=stop):
            driver.call_back(
                driver.flow(Stubborn(max_retries=3)), {}, show, on_handler_error=handling
            )


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_callback_that_interrupts(driver: Driver, error: type[BaseException]) -> None:
    """That propagates unchanged."""
    seen = Seen()

    def show(chunk: str, node: str) -> None:
        raise error

    with pytest.raises(error):
        driver.call_back(driver.flow(Write()), {}, show, observers=[seen])
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_an_async_callback_is_awaited(driver: Driver) -> None:
    """Before the next chunk is made; in a sync run nothing could, which is said first."""
    heard: list[str] = []
    shared: dict[str, Any] = {}

    async def show(chunk: str, node: str) -> None:
        await asyncio.sleep(0)
        heard.append(f"{chunk} after {shared['log'][-1]}")

    if driver.loop is None:
        with pytest.raises(TypeError, match=r"show.*is async"):
            driver.call_back(driver.flow(Write()), shared, show)
        assert shared == {}
        return
    assert driver.call_back(driver.flow(Write()), shared, show) == "written"
    assert heard == ["a after a", "b after b", "c after c"]


def test_an_async_callback_that_raises_cancels_the_run() -> None:
    """As a plain one."""
    seen = Seen()

    async def show(chunk: str, node: str) -> None:
        await asyncio.sleep(0)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        asyncio.run(awaited(lambda: Write().run_stream_async({}, show, observers=[seen])))
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()


def test_a_callback_and_observers(driver: Driver) -> None:
    """The callback comes after the observers that were given."""
    heard: list[str] = []

    class Handler:
        def on_chunk(self, event: Chunk) -> None:
            heard.append(f"observer {event.data}")

    def show(chunk: str, node: str) -> None:
        heard.append(f"callback {chunk}")

    driver.call_back(driver.flow(Write()), {}, show, observers=[Handler()])
    assert heard[:2] == ["observer a", "callback a"]
