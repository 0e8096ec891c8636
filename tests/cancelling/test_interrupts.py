"""Interrupts: KeyboardInterrupt and SystemExit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowevents import (
    AsyncFlow,
    AsyncParallelBatchNode,
    BatchNode,
    Event,
    ItemEnd,
    Node,
    NodeEnd,
    Run,
    StreamNode,
)
from tests.cancelling.nodes import ASYNC_SHAPES, SYNC_SHAPES
from tests.cancelling.ways import is_last
from tests.driving import Driver, Seen

SHAPES = SYNC_SHAPES | ASYNC_SHAPES

INTERRUPT = (KeyboardInterrupt, SystemExit)


@pytest.mark.parametrize("error", INTERRUPT)
@pytest.mark.parametrize("where", ["prep", "exec", "post", "exec_stream", "batch", "fallback"])
def test_an_interrupt_in_a_node(driver: Driver, where: str, error: type[BaseException]) -> None:
    """It delivers `cancelled` ends that name it, is not retried, and propagates unchanged."""
    raised: list[BaseException] = []

    def interrupt(*args: Any) -> Any:
        raised.append(error("now"))
        raise raised[-1]

    def fail(*args: Any) -> Any:
        raise ValueError("broken")

    def items(*args: Any) -> list[int]:
        return [1, 2]

    bases = {"exec_stream": StreamNode, "batch": BatchNode}
    methods: dict[str, Any] = {where: interrupt}
    if where == "batch":
        methods = {"prep": items, "exec": interrupt}
    elif where == "fallback":
        methods = {"exec": fail, "exec_fallback": interrupt}
    node = type("Interrupted", (bases.get(where, Node),), methods)(max_retries=2)
    for flow in (node, driver.flow(driver.flow(node))):
        seen = Seen()
        run = Run(flow, {}, observers=[seen])
        with pytest.raises(error) as caught:
            driver.wait(run)
        assert caught.value is raised.pop()
        assert raised == []
        assert set(seen.ends()) == {"cancelled"}
        assert {end.error for end in seen.of(NodeEnd)} == {f"{error.__name__}: now"}
        assert run.status == "cancelled"
        assert run.error is caught.value
        seen.check()


@pytest.mark.parametrize("error", INTERRUPT)
@pytest.mark.parametrize("observed", [True, False])
def test_an_interrupt_in_a_parallel_item(
    loop: Driver, error: type[BaseException], observed: bool
) -> None:
    """Its siblings are cancelled and awaited, and the ends delivered, before it propagates."""
    seen, log = Seen(), list[Any]()

    class Items(AsyncParallelBatchNode):
        async def prep_async(self, shared: Any) -> list[int]:
            return [1, 2, 3]

        async def exec_async(self, prep_res: Any) -> None:
            if prep_res == 2:
                await asyncio.sleep(0)
                raise error("now")
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                log.append(prep_res)

    with pytest.raises(error):
        loop.run(AsyncFlow(Items()), {}, observers=[seen] if observed else [])
    assert sorted(log) == [1, 3]
    assert set(seen.ends()) <= {"cancelled"}
    assert [event.items for event in seen.of(ItemEnd) if event.error] == [(1,)] * observed
    seen.check()


@pytest.mark.parametrize("error", [*INTERRUPT, asyncio.CancelledError])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_interrupt_in_a_handler_of_each_event(
    loop: Driver, shape: str, error: type[BaseException]
) -> None:
    """The other handlers still get the event; every start has one end, and it propagates."""
    make = SHAPES[shape]
    for at in range(1, len(loop.pull(Run(make(), {}))) + 1):
        for first in (True, False):
            seen = Seen()

            def handler(event: Event, at: int = at) -> None:
                if event.seq == at:
                    raise error

            observers = [handler, seen] if first else [seen, handler]
            with pytest.raises(error):
                loop.run(make(), {}, observers=observers)
            seen.check()
            assert is_last(seen.events[-1:])


def test_a_cancelled_error_of_a_nodes_own(driver: Driver) -> None:
    """A node that raises it is cancelled: no error, no retry, `cancelled` ends."""
    seen = Seen()

    class Gives(Node):
        def exec(self, prep_res: Any) -> None:
            raise asyncio.CancelledError

    run = Run(driver.flow(Gives(max_retries=3)), {}, observers=[seen])
    with pytest.raises(asyncio.CancelledError):
        driver.wait(run)
    assert run.status == "cancelled"
    assert seen.ends() == ["cancelled", "cancelled"]
    seen.check()
