"""`capture_events`."""

from __future__ import annotations

import pytest

from flowevents import Action, Chunk, NodeEnd, NodeStart, Progress
from flowevents.testing import capture_events, check_events
from tests.checking.runs import loop


def test_captured_events_are_those_of_the_block() -> None:
    """Everything that is sent in it, and nothing after it."""
    with capture_events() as caught:
        loop().run({})
    check_events(caught)
    before = list(caught)
    loop().run({})
    assert caught == before


def test_captured_events_can_be_those_of_one_sender() -> None:
    """A sender is what it is everywhere."""
    flow = loop()
    with capture_events(flow) as of_flow, capture_events("Talk#2") as of_path:
        loop().run({})
        flow.run({})
    check_events(of_flow)
    assert of_path == [event for event in of_path if event.node == "Talk#2"]
    assert {type(event) for event in of_path} == {NodeStart, Progress, Chunk, NodeEnd, Action}


def test_capturing_stops_where_the_block_fails() -> None:
    """An exception in the block leaves nothing connected."""
    with pytest.raises(KeyError), capture_events() as caught:
        raise KeyError
    loop().run({})
    assert caught == []
