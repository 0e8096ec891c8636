"""Nothing is left of handlers, senders and runs."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pocketflow
import pytest

from flowevents import AsyncFlow, Flow, Node, Run, observe, signals
from tests.signals.heard import Counting, Display, Drive, Heard, Tracer, run_async
from tests.signals.tables import left
from tests.stock import Talk


def test_nothing_is_kept_of_a_sender_that_is_gone() -> None:
    """Its handlers go with a node, a class, a flow or a run; the tables are empty then."""

    class Local(Node):
        pass

    class Theirs(pocketflow.Node):
        pass

    senders: list[Any] = [Local, Local(), Flow(Local()), Theirs(), Run(Local(), {})]
    del Local, Theirs
    references = [weakref.ref(each) for each in senders]
    while senders:
        signals.chunk.connect(Heard(), sender=senders[-1])
        observe(Tracer(), sender=senders.pop())
        assert left() == {}
    assert [reference() for reference in references] == [None] * 5


def test_a_node_that_is_listened_to_can_be_collected_after_it_ran(drive: Drive) -> None:
    """Neither runs nor events keep it."""
    node = Talk()
    reference = weakref.ref(node)
    heard = Heard()
    signals.chunk.connect(heard, sender=node)
    drive(Flow(node))
    del node
    gc.collect()
    assert reference() is None
    assert heard.data == ["a", "b"]
    assert left() == {}


class Ends:
    """A flow, and how its run ends."""

    @staticmethod
    def well(number: int) -> None:
        Flow(Talk()).run({}, observers=[Display(), Heard()])

    @staticmethod
    def failing(number: int) -> None:
        class Fails(Node):
            def exec(self, prep_res: Any) -> None:
                raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011 - it has no text
            Flow(Fails()).run({}, observers=[Display(), Tracer()])

    @staticmethod
    def cancelled(number: int) -> None:
        run = Run(Flow(Counting()), {}, observers=[Display()])
        signals.chunk.connect(Heard(), sender=run)
        for event in run:
            if event.seq == number % 7 + 1:
                break
        run.cancel()

    @staticmethod
    def never_begun(number: int) -> None:
        run = Run(Talk(), {}, observers=[Display()])
        signals.chunk.connect(Heard(), sender=run)
        run.cancel()

    @staticmethod
    def dropped(number: int) -> None:
        for _ in Talk().run_stream({}, observers=[Display(), Tracer()]):
            break

    @staticmethod
    def asynchronous(number: int) -> None:
        async def main() -> None:
            flow = AsyncFlow(Talk())
            await asyncio.gather(*(flow.run_async({}, observers=[Display()]) for _ in range(10)))

        run_async(main())


@pytest.mark.parametrize("ends", ["well", "failing", "cancelled", "never_begun", "dropped"])
def test_a_thousand_runs_leave_nothing_behind(ends: str) -> None:
    """However they end, no handler and no observer of theirs stays."""
    for number in range(1_000):
        getattr(Ends, ends)(number)
    assert left() == {}


def test_a_thousand_async_runs_leave_nothing_behind() -> None:
    """Of concurrent ones as well."""
    for number in range(100):
        Ends.asynchronous(number)
    assert left() == {}


def test_observers_are_collected_after_their_run() -> None:
    """A run that has ended does not hold on to them through the signals."""
    display = Display()
    reference = weakref.ref(display)
    Talk().run({}, observers=[display])
    del display
    gc.collect()
    assert reference() is None
