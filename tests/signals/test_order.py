"""Who hears what, and in which order."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowevents import AsyncFlow, AsyncStreamNode, Chunk, Event, Node, Run, observe, signals
from flowevents.testing import capture_events, check_events
from tests.signals.heard import SIGNALS, Drive, Heard, Hum, graph, run_async
from tests.stock import Talk


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["connect", "disconnect", "observe"]),
            st.sampled_from(list(graph()[1])),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_handlers_run_in_the_order_of_their_connection(
    deeds: list[tuple[int, str, str]], asynchronous: bool
) -> None:
    """Whatever the sender, a handler is called once per event, at its first connection's place."""
    flow, senders = graph()
    calls: list[tuple[int, Event]] = []
    handlers = [
        functools.partial(lambda number, event: calls.append((number, event)), number)
        for number in range(4)
    ]
    connected: dict[tuple[int, str], None] = {}
    subscriptions = []
    try:
        for number, deed, name in deeds:
            if deed == "disconnect":
                for signal in SIGNALS:
                    signal.disconnect(handlers[number], senders[name][0])
                gone = list(connected) if name == "everything" else [(number, name)]
                for each in gone:
                    if each[0] == number:
                        connected.pop(each, None)
            elif deed == "connect":
                for signal in SIGNALS:
                    signal.connect(handlers[number], senders[name][0])
                connected.setdefault((number, name))
            else:
                subscriptions.append(observe(handlers[number], sender=senders[name][0]))
                connected.setdefault((number, name))
        run = Run(flow, {})
        events: list[Event] = []

        async def main() -> None:
            events.extend([event async for event in run])

        if asynchronous:
            run_async(main())
        else:
            events.extend(run)
    finally:
        for subscription in subscriptions:
            subscription.cancel()
        for signal in SIGNALS:
            for handler in handlers:
                signal.disconnect(handler)
    check_events(events)
    expected: list[tuple[int, Event]] = []
    for event in events:
        numbers = [number for number, name in connected if senders[name][1](event)]
        expected += [(number, event) for number in dict.fromkeys(numbers)]
    assert calls == expected


def test_a_handler_of_several_senders_is_called_once(drive: Drive) -> None:
    """However many of its connections an event matches."""
    flow, senders = graph()
    heard = Heard()
    for sender, _ in senders.values():
        signals.chunk.connect(heard, sender=sender)
    signals.chunk.connect(heard)
    drive(flow)
    assert heard.data == ["a", "b", "a", "b"]


def test_events_come_in_the_order_of_their_numbers(drive: Drive) -> None:
    """A handler of all signals hears one run's events from 1 on, without holes."""
    flow, _ = graph()
    with capture_events() as caught:
        drive(flow)
    check_events(caught)


def test_a_bound_method_is_one_handler_however_often_it_is_made(drive: Drive) -> None:
    """Each access makes another object; they are the same handler."""

    class Counter:
        heard = 0

        def count(self, event: Chunk) -> None:
            self.heard += 1

    one, other = Counter(), Counter()
    for counter in (one, one, other):
        signals.chunk.connect(counter.count)
    drive(Talk())
    assert (one.heard, other.heard) == (2, 2)
    signals.chunk.disconnect(one.count)
    drive(Talk())
    assert (one.heard, other.heard) == (2, 4)


def test_concurrent_runs_hear_only_their_own() -> None:
    """Observers of runs in many threads and tasks at once get their run's events, each whole."""

    class Chatter(AsyncStreamNode):
        async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[int]:
            for number in range(5):
                await asyncio.sleep(0)
                yield number

    flow = AsyncFlow(Chatter())
    observers: list[Heard] = []

    async def main() -> None:
        runs = []
        for _ in range(20):
            heard = Heard()
            observers.append(heard)
            runs.append(flow.run_async({}, observers=[heard]))
        await asyncio.gather(*runs)

    threads = [threading.Thread(target=lambda: run_async(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(observers) == 80
    for heard in observers:
        check_events(heard)
        assert heard.data == [0, 1, 2, 3, 4]
    assert len({heard[0].run_id for heard in observers}) == 80


def test_a_run_inside_a_node_is_another_run(drive: Drive) -> None:
    """The outer run's own observers do not hear it; shared ones do."""

    class Inside(Node):
        def exec(self, prep_res: Any) -> None:
            Hum().run({})

    own, shared = Heard(), Heard()
    signals.chunk.connect(shared)
    drive(Inside(), observers=[own])
    check_events(own)
    assert own.data == []
    assert shared.data == ["m"]
    assert shared[0].run_id != own[0].run_id
