"""Two runs with one id are two senders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowevents import Chunk, Run, StreamNode, observe, signals
from flowevents.signals import audiences


class Talk(StreamNode):
    """Yields two chunks."""

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "a"
        yield "b"


def said(heard: list[Chunk]) -> list[Any]:
    """What the chunks carry."""
    return [each.data for each in heard]


def by_hand(data: str) -> Chunk:
    """A chunk of a run with that id, as a replay sends it."""
    return Chunk(run_id="one", seq=3, time=0.0, span=2, node="Talk", data=data)


def test_a_handler_of_a_second_run_does_not_hear_the_first() -> None:
    """Though both have one id, and whichever of them it was connected before."""
    first, second = Run(Talk(), {}, id="one"), Run(Talk(), {}, id="one")
    of_first: list[Chunk] = []
    of_second: list[Chunk] = []
    signals.chunk.connect(of_first.append, sender=first)
    signals.chunk.connect(of_second.append, sender=second)
    first.wait()
    assert (said(of_first), of_second) == (["a", "b"], [])
    second.wait()
    assert (said(of_first), said(of_second)) == (["a", "b"], ["a", "b"])


def test_a_handler_stays_when_another_run_with_that_id_ends() -> None:
    """It is undone with its own run, in the middle of the other one or after it."""
    first = Run(Talk(), {}, id="one")
    events = iter(first)
    next(events)
    second = Run(Talk(), {}, id="one")
    heard: list[Chunk] = []
    with observe(lambda event: None, sender=second):
        signals.chunk.connect(heard.append, sender=second)
        list(events)
        assert heard == []
        assert signals.chunk.has_receivers_for(second)
        second.wait()
    assert said(heard) == ["a", "b"]
    assert not signals.chunk.receivers


def test_what_is_sent_by_hand_reaches_every_run_with_that_id_until_it_ends() -> None:
    """Handlers that are connected to it, and its own observers once it has begun."""
    own: list[Any] = []
    first, second = Run(Talk(), {}, id="one"), Run(Talk(), {}, id="one", observers=[own.append])
    of_first: list[Chunk] = []
    of_second: list[Chunk] = []
    signals.chunk.connect(of_first.append, sender=first)
    signals.chunk.connect(of_second.append, sender=second)
    assert len(signals.chunk.send(by_hand("x"))) == 2
    first.cancel()
    next(iter(second))
    own.clear()
    assert len(signals.chunk.send(by_hand("y"))) == 2
    assert (said(of_first), said(of_second), said(own)) == (["x"], ["x", "y"], ["y"])
    second.close()
    assert signals.chunk.send(by_hand("z")) == []


def test_runs_with_one_id_are_all_under_way() -> None:
    """Each until it has ended or is gone, in any order."""
    before = len(audiences())
    runs = [Run(Talk(), {}, id="one") for _ in range(3)]
    assert len(audiences()) == before + 3
    runs.pop(0).wait()
    assert len(audiences()) == before + 2
    runs.pop().cancel()
    assert len(audiences()) == before + 1
    runs.append(Run(Talk(), {}, id="one"))
    assert len(audiences()) == before + 2
    runs.clear()
    assert len(audiences()) == before
