"""A record of a run in which everything happens, for what shows records."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from flowevents.events import (
    Action,
    Chunk,
    Event,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeEnd,
    NodeStart,
    Progress,
    Reply,
    Retry,
)

__all__ = ["full_record", "hostile_record"]

E = TypeVar("E", bound=Event)
LOST = "ValueError: no page"


class _Writer(list[Event]):
    """Writes down one event after the other, at seconds since the run began."""

    def write(self, kind: type[E], after: float, node: str = "", **own: Any) -> int:
        """Write an event; without a `span` it is a start. Gives its number."""
        seq = len(self) + 1
        common = {"run_id": "run", "seq": seq, "time": 100.0 + after, "span": seq, "node": node}
        self.append(kind(**{**common, "step": 1 if node else 0, **own}))
        return seq


def full_record() -> list[Event]:
    """A well-formed run of ten seconds with a retry, a question, parallel items and a nested flow.

    `Plan` streams, is tried twice and goes on to `Ask`, which waits four seconds for its answer.
    In `Team`, an item of `Read` fails and the other is cancelled.
    """
    record = _Writer()
    write = record.write
    run = write(FlowStart, 0, parent=0, flow="Main")

    plan = write(NodeStart, 0, "Plan", parent=run, attempt=1)
    write(Chunk, 0.5, "Plan", span=plan, attempt=1, data="half")
    write(Retry, 1, "Plan", span=plan, attempt=1, error="OSError: reset", wait=0.5)
    write(Chunk, 2, "Plan", span=plan, attempt=2, data="whole")
    write(NodeEnd, 3, "Plan", span=plan, attempt=2, status="ok", duration=3)
    write(Action, 3, "Plan", span=plan, attempt=2, action="ask", target="Ask")

    ask = write(NodeStart, 3, "Ask", parent=run, attempt=1)
    asked = {"span": ask, "attempt": 1, "id": "q"}
    write(Interrupt, 3.5, "Ask", **asked, prompt="Go on?", choices=["yes", "no"])
    write(Reply, 7.5, "Ask", **asked, value="yes")
    write(NodeEnd, 8, "Ask", span=ask, attempt=1, status="ok", duration=5)
    write(Action, 8, "Ask", span=ask, attempt=1, action=None, target="Team")

    team = write(FlowStart, 8, "Team", parent=run, flow="Team")
    read = write(NodeStart, 8, "Team/Read", parent=team, attempt=1)
    first = write(
        ItemStart, 8, "Team/Read", parent=read, attempt=1, items=(0,), total=2, label="a.pdf"
    )
    second = write(
        ItemStart, 8, "Team/Read", parent=read, attempt=1, items=(1,), total=2, label="b.pdf"
    )
    one = {"span": first, "attempt": 1, "items": (0,)}
    two = {"span": second, "attempt": 1, "items": (1,)}
    write(Progress, 8.5, "Team/Read", **one, done=1, label="pages")
    write(Chunk, 9, "Team/Read", **two, data="text")
    ended = {"duration": 1.5, "total": 2}
    write(ItemEnd, 9.5, "Team/Read", **one, **ended, status="error", error=LOST, done=1)
    write(ItemEnd, 9.5, "Team/Read", **two, **ended, status="cancelled", done=2)
    failed = {"status": "error", "error": LOST}
    write(NodeEnd, 9.5, "Team/Read", span=read, attempt=1, duration=1.5, **failed)
    write(FlowEnd, 9.5, "Team", span=team, duration=1.5, **failed)
    write(FlowEnd, 10, span=run, duration=10, **failed)
    return list(record)


def hostile_record(text: str) -> list[Event]:
    """The same with that text wherever there may be one, but for the path of the run's own flow."""
    return [
        msgspec.structs.replace(
            event,
            **{
                name: [text] if isinstance(value, list) else text
                for name in event.__struct_fields__
                if isinstance(value := getattr(event, name), (str, list))
                and value != ""
                and name not in ("kind", "status")
            },
        )
        for event in full_record()
    ]
