"""Records of runs, as lists of events: the state of questions, retries, items, and nested flows."""

from __future__ import annotations

from typing import Any

from flowevents import events as ev
from flowevents.events import Event
from flowevents.testing import check_events

__all__ = ["Recorder", "agent"]


class Recorder:
    """Writes the events of one run down, numbered, a tenth of a second apart.

    Attributes:
        events: What was written so far.
    """

    def __init__(self, run_id: str = "run-1", flow: str = "agent") -> None:
        self.run_id = run_id
        self.events: list[Event] = []
        self.root = self.start(ev.FlowStart, "", 0, step=0, attempt=0, flow=flow)

    def add(self, kind: type[Event], span: int, node: str, /, **own: Any) -> Any:
        """Write an event of an open span down."""
        seq = len(self.events) + 1
        fields = {"step": 1, "attempt": 1, **own}
        event = kind(
            run_id=self.run_id,
            seq=seq,
            time=1_700_000_000.0 + seq / 10,
            span=span or seq,
            node=node,
            **fields,
        )
        self.events.append(event)
        return event

    def start(self, kind: type[Event], node: str, parent: int, /, **own: Any) -> int:
        """Begin a span; its number."""
        return int(self.add(kind, 0, node, parent=parent, **own).span)

    def step(self, node: str, *chunks: object, action: str | None = None, **own: Any) -> None:
        """A step that says something, ends well and goes to `target`."""
        target = own.pop("target", None)
        span = self.start(ev.NodeStart, node, own.pop("parent", self.root), **own)
        for chunk in chunks:
            self.add(ev.Chunk, span, node, data=chunk, **own)
        self.add(ev.NodeEnd, span, node, status="ok", duration=0.5, **own)
        self.add(ev.Action, span, node, action=action, target=target, **own)

    def end(self, status: Any = "ok", **own: Any) -> list[Event]:
        """End the run; its events, checked."""
        self.add(ev.FlowEnd, self.root, "", step=0, attempt=0, status=status, duration=3.0, **own)
        check_events(self.events)
        return self.events


def agent() -> list[Event]:
    """A loop, a nested flow with a batch, a retry, a question and its answer, and an error."""
    run = Recorder()
    run.step("Plan", "look ", "here", action="search", target="Research")
    flow = run.start(ev.FlowStart, "Research", run.root, attempt=0, flow="Research")
    batch = run.start(ev.NodeStart, "Research/Rank", flow)
    items = [run.start(ev.ItemStart, "Research/Rank", batch, items=(n,), total=3) for n in range(3)]
    for word in ("one ", "two ", "three"):
        for n, item in enumerate(items):
            run.add(ev.Chunk, item, "Research/Rank", items=(n,), data=f"{word}")
    for n, item in enumerate(items):
        own: dict[str, Any] = {"items": (n,), "status": "ok", "duration": 0.3}
        run.add(ev.ItemEnd, item, "Research/Rank", done=n + 1, total=3, **own)
    run.add(ev.NodeEnd, batch, "Research/Rank", status="ok", duration=2.0)
    run.add(ev.Action, batch, "Research/Rank", action=None)
    run.add(ev.FlowEnd, flow, "Research", attempt=0, status="ok", duration=2.1)
    run.add(ev.Action, flow, "Research", attempt=0, action=None, target="Plan")
    run.step("Plan", "enough", action="ask", target="Approve", step=2)
    asks = run.start(ev.NodeStart, "Approve", run.root)
    run.add(ev.Interrupt, asks, "Approve", id="q1", prompt="Ship it?", choices=["yes", "no"])
    run.add(ev.Reply, asks, "Approve", id="q1", value="yes")
    run.add(ev.NodeEnd, asks, "Approve", status="ok", duration=4.0)
    run.add(ev.Action, asks, "Approve", action="yes", target="Answer")
    span = run.start(ev.NodeStart, "Answer", run.root)
    run.add(ev.Chunk, span, "Answer", data="void text")
    run.add(ev.Retry, span, "Answer", error="TimeoutError: too slow", wait=1.0)
    second: dict[str, Any] = {"attempt": 2}
    run.add(ev.Progress, span, "Answer", done=1, total=4, label="pages", **second)
    run.add(ev.Chunk, span, "Answer", data={"cents": 3}, kind="cost", **second)
    run.add(ev.Chunk, span, "Answer", data="The answer\nis ", **second)
    run.add(ev.Chunk, span, "Answer", data="42", **second)
    error = "ValueError: no more"
    run.add(ev.NodeEnd, span, "Answer", status="error", error=error, duration=1.0, **second)
    return run.end("error", error=error)
