"""A stream written by hand, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from flowevents import Event, FlowStart, ItemEnd, ItemStart, NodeEnd, NodeStart
from flowevents.testing import check_events
from tests.checking.runs import CLOSING


class Script:
    """Builds a stream by hand: each call appends one event, numbered on, as it should be."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.starts: dict[int, Any] = {}

    def start(self, kind: type[Event], **fields: Any) -> int:
        seq = len(self.events) + 1
        given: dict[str, Any] = {"run_id": "r", "seq": seq, "time": 0.0, "span": seq}
        if kind is FlowStart and seq == 1:
            given |= {"node": "", "parent": 0, "flow": "F"}
        elif kind is ItemStart:
            above = self.starts[fields["parent"]]
            given |= {"node": above.node, "step": above.step}
            given |= {"attempt": 0 if isinstance(above, FlowStart) else 1, "total": 2}
            given["items"] = (*above.items, fields.pop("index", 0))
        else:
            given |= {"step": 1, "attempt": 1 if kind is NodeStart else 0}
        event: Any = kind(**given | fields)
        self.events.append(event)
        self.starts[seq] = event
        return seq

    def add(self, kind: type[Event], span: int, **fields: Any) -> None:
        start = self.starts.get(span, self.starts[1])
        given = {name: getattr(start, name) for name in ("node", "items", "step", "attempt")}
        given |= {"run_id": "r", "seq": len(self.events) + 1, "time": 0.0, "span": span}
        if kind in CLOSING:
            given |= {"status": "ok", "duration": 0.0}
        if kind is ItemEnd:
            given |= {"done": 1, "total": start.total}
        self.events.append(kind(**given | fields))

    def node(self, path: str, parent: int, **fields: Any) -> int:
        """A step that is ok."""
        seq = self.start(NodeStart, node=path, parent=parent, **fields)
        self.add(NodeEnd, seq)
        return seq


def flow() -> Script:
    """A run's own flow, open."""
    script = Script()
    script.start(FlowStart)
    return script


def names_the_first(script: Script, text: str, at: int | None = None) -> None:
    """Check that the last event, or the one with number `at`, is named, with this text."""
    event = script.events[-1 if at is None else at - 1]
    check_events(script.events[: event.seq - 1], complete=False)
    with pytest.raises(AssertionError) as caught:
        check_events(script.events, complete=at is not None)
    said = str(caught.value)
    assert said.startswith(f"seq {event.seq}: {type(event).__name__} of node {event.node!r}"), said
    assert text in said, said
