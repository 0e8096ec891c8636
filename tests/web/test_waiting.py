"""Where a request ends though its run has not, and how the next one finds the place."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from flowevents import (
    Chunk,
    Event,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeStart,
    Reply,
    Retry,
)
from flowevents.testing import check_events
from flowevents.web.telling import Telling
from flowevents.web.waiting import Waiting, told_before


class Log(list[Event]):
    """What is written of a batch: each at so many seconds."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._spans: dict[int, int] = {}
        self._attempt = 1
        self.append(FlowStart("run", 1, 0.0, 1, "", parent=0, flow="Main"))
        self.append(NodeStart("run", 2, 0.0, 2, "Read", step=1, attempt=1, parent=1))

    def _common(self, at: float, item: int) -> tuple[str, int, float, int, str, tuple[int], int]:
        seq = len(self) + 1
        return "run", seq, at, self._spans.setdefault(item, seq), "Read", (item,), 1

    def begin(self, at: float, item: int) -> None:
        """An item begins."""
        self._spans.pop(item, None)
        common = self._common(at, item)
        self.append(ItemStart(*common, 1, parent=2, total=self._total))

    def ask(self, at: float, item: int, id: str) -> None:
        """It asks."""
        self.append(Interrupt(*self._common(at, item), 1, id=id, prompt="?"))

    def say(self, at: float, item: int) -> None:
        """It speaks."""
        self.append(Chunk(*self._common(at, item), 1, data="text"))

    def end(self, at: float, item: int, done: int) -> None:
        """It ends."""
        common = self._common(at, item)
        self.append(ItemEnd(*common, 1, status="ok", duration=0.0, done=done, total=self._total))

    def answer(self, at: float, item: int, id: str) -> None:
        """Its question is answered."""
        self.append(Reply(*self._common(at, item), 1, id=id, value=1))

    def lose(self, at: float) -> None:
        """The batch begins again."""
        seq = len(self) + 1
        self.append(Retry("run", seq, at, 2, "Read", (), 1, 1, error="Lost: its process"))


def told_by(log: Iterable[Event]) -> tuple[list[Event], bool, bool]:
    """What a request tells of it, whether it has ended, and whether it may have."""
    telling = Telling()
    waiting = Waiting(telling)
    told: list[Event] = []
    for event in log:
        if waiting.ended_before(event):
            return told, True, False
        told.append(event)
        telling.fold(event)
        if waiting.ends_with(event):
            return told, True, False
    return told, False, waiting.since is not None


def two_items(total: int | None) -> Log:
    """Item 0 asks, item 1 speaks and ends."""
    log = Log(total)
    log.begin(0.0, 0)
    log.ask(0.0, 0, "a")
    log.begin(0.01, 1)
    log.say(0.02, 1)
    log.end(0.03, 1, 1)
    return log


def test_nothing_else_may_begin() -> None:
    """Then a request ends at once."""
    log = two_items(2)
    log.answer(0.04, 0, "a")
    check_events(log, complete=False)
    told, ended, _ = told_by(log)
    assert (len(told), ended) == (7, True)
    assert told_before(log, {"a"}) == told


@pytest.mark.parametrize("total", [3, None])
def test_something_else_may_begin(total: int | None) -> None:
    """Then it ends where nothing has come for a while, whatever comes later."""
    log = two_items(total)
    told, ended, may_have_ended = told_by(log)
    assert (told, ended, may_have_ended) == (log, False, True)
    assert told_before(log, {"a"}) == log
    before = list(log)
    log.answer(5.0, 0, "a")
    check_events(log, complete=False)
    assert told_by(log) == (before, True, False)
    assert told_before(log, {"a"}) == before
    assert told_before(log, {"b"}) == []


def test_what_begins_soon_is_told() -> None:
    """Its question ends the request together with the other."""
    log = Log(None)
    log.begin(0.0, 0)
    log.ask(0.0, 0, "a")
    log.begin(0.01, 1)
    log.ask(0.02, 1, "b")
    told = list(log)
    log.begin(9.0, 2)
    log.ask(9.0, 2, "c")
    check_events(log, complete=False)
    assert told_by(log) == (told, True, False)
    assert told_before(log, {"a", "b"}) == told
    assert told_before(log, {"a", "b", "c"}) == log


def test_what_came_too_late() -> None:
    """A request that had not heard of it in time had ended before: its questions say so."""
    log = Log(None)
    log.begin(0.0, 0)
    log.ask(0.0, 0, "a")
    told = list(log)
    log.begin(0.1, 1)
    log.ask(0.1, 1, "b")
    assert told_before(log, {"a"}) == told


def test_a_batch_that_begins_again() -> None:
    """All of its items may begin once more."""
    log = Log(2)
    log.begin(0.0, 0)
    log.end(0.0, 0, 1)
    log.begin(0.0, 1)
    log.end(0.0, 1, 2)
    log.lose(0.1)
    span = len(log) + 1
    log.append(ItemStart("run", span, 0.1, span, "Read", (0,), 1, 1, parent=2, total=2))
    log.append(Interrupt("run", span + 1, 0.1, span, "Read", (0,), 1, 1, id="a", prompt="?"))
    check_events(log, complete=False)
    assert told_by(log) == (log, False, True)
