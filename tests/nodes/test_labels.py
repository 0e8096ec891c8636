"""`item_label`: what events call an item of a batch."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from flowevents import (
    AsyncBatchFlow,
    AsyncBatchNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    ItemStart,
    Node,
    StreamNode,
)
from tests.watching import Way

ITEMS = [{"name": "a.txt"}, {"name": "b.txt"}]


class Labels:
    """What the batches below have in common."""

    def item_label(self, item: Any) -> str:
        return str(item["name"])

    def prep(self, shared: Any) -> Any:
        return ITEMS

    async def prep_async(self, shared: Any) -> Any:
        return ITEMS


class Batch(Labels, BatchNode):
    pass


class Streamed(Labels, StreamNode, BatchNode):
    def exec_stream(self, prep_res: Any) -> Any:
        yield None


class Flows(Labels, BatchFlow):
    def __init__(self, **options: Any) -> None:
        super().__init__(Node())


class AsyncLabels(Labels):
    prep: Any = BatchNode.exec  # the library's: it is never called


class Awaited(AsyncLabels, AsyncBatchNode):
    pass


class Parallel(AsyncLabels, AsyncParallelBatchNode):
    pass


class ParallelStreamed(AsyncLabels, AsyncStreamNode, AsyncParallelBatchNode):
    async def exec_stream_async(self, prep_res: Any) -> Any:
        yield None


class AsyncFlows(AsyncLabels, AsyncBatchFlow):
    def __init__(self) -> None:
        super().__init__(Node())


class ParallelFlows(AsyncLabels, AsyncParallelBatchFlow):
    def __init__(self) -> None:
        super().__init__(Node())


KINDS: dict[type[Any], str] = {
    Batch: "sync",
    Streamed: "sync",
    Flows: "sync",
    Awaited: "async",
    Parallel: "async",
    ParallelStreamed: "async",
    AsyncFlows: "async",
    ParallelFlows: "async",
}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    """A class of batches."""
    return request.param


def test_a_label_is_told_at_the_start(kind: Any) -> None:
    """Each item's own; without an `item_label` it is empty."""
    watched = Way(KINDS[kind]).watch(kind())
    assert [event.label for event in watched.of(ItemStart)] == ["a.txt", "b.txt"]

    class Nameless(kind):
        item_label = BatchNode.item_label

    watched = Way(KINDS[kind]).watch(Nameless())
    assert [event.label for event in watched.of(ItemStart)] == ["", ""]


def test_an_unheard_item_is_not_asked_for_its_label(kind: Any) -> None:
    """It would cost, and nobody would know."""

    class Asked(kind):
        def item_label(self, item: Any) -> str:
            raise AssertionError("asked")

    Way(KINDS[kind]).run(Asked())


def test_what_a_label_raises_is_logged(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    """No run fails because it was observed."""

    class Broken(kind):
        def item_label(self, item: Any) -> str:
            if item is ITEMS[0]:
                raise KeyError("no label")
            return 7  # type: ignore[return-value]

    with caplog.at_level(logging.ERROR, "flowevents"):
        watched = Way(KINDS[kind]).watch(Broken())
    assert watched.error is None
    assert [event.label for event in watched.of(ItemStart)] == ["", "7"]
    (record,) = caplog.records
    assert "item_label of node" in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize("kind", [Parallel, ParallelStreamed])
def test_what_a_label_publishes_comes_before_its_item(kind: Any) -> None:
    """It belongs to the step: the item has not begun."""

    class Talks(kind):
        def item_label(self, item: Any) -> str:
            self.emit("label", kind="note")
            return "x"

    watched = Way(KINDS[kind]).watch(Talks())
    assert [event.items for event in watched.of(Chunk) if event.kind == "note"] == [(), ()]
