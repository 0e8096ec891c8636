"""A flow as a Mermaid picture: nodes, nested flows, actions, and where runs of it went.

It reads a graph as the engine does, so that every node has the name that its events have. That is
why it is no observer: those know events only.

Nothing of a graph or an event is written as Mermaid's own syntax. Boxes are called `n1`, `n2`,
`n3`; a label holds letters, digits and spaces, and every other character as an entity code such as
`#35;`. So no name can end a label, or be a link, a directive, markdown, an icon or HTML.

Mermaid draws 500 edges and 50,000 characters by default; beyond, set its `maxEdges` and
`maxTextSize` where the picture is shown.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from flowevents.engine.graph import Vertex, ways
from flowevents.engine.plan import Plan, plan_of
from flowevents.engine.shape import is_node, node_name, shape_of
from flowevents.errors import GraphError
from flowevents.escape import escape_controls
from flowevents.events import Event
from flowevents.observers.spans import Span, read_spans

__all__ = ["to_mermaid"]

LONGEST: Final = 100
"""The most characters of a name or an action that a label shows."""

STATES: Final[dict[str, str]] = {
    "error": "fill:#fbdcdc,stroke:#b3261e,color:#410e0b",
    "waiting": "fill:#fdefc3,stroke:#9a6700,color:#3d2b00",
    "running": "fill:#d6e6fb,stroke:#1f5fbf,color:#0a2a5c",
    "cancelled": "fill:#e4e4e7,stroke:#71717a,color:#27272a",
    "ok": "fill:#d7f2df,stroke:#2c7a47,color:#0d3b1e",
}
"""How the states of a node look. A node that was in several of them has the first of these."""

_MARK_LOOK: Final = "fill:none,stroke:#71717a,stroke-dasharray:3,color:#71717a"
_TAKEN_LOOK: Final = "stroke:#2c7a47,stroke-width:3px"
_NO_WORD: Final = re.compile(r"[^\w ]|(?<![^\W_])_|_(?![^\W_])")
"""What may be syntax: all but letters, digits, spaces, and an underscore between letters."""

_INTERNAL: Final = (("ﬂ", "fl"), ("¶ß", "¶ ß"), (":fa-", ":\u2060fa-"))
"""What Mermaid (12.3) takes for its own even as entity codes, and what to write instead.

The first two are how it writes such codes while it draws, the last is part of an icon's name; the
character that parts it is invisible (WORD JOINER).
"""


def to_mermaid(flow: Any, events: Iterable[Event] | None = None) -> str:
    """The flow as the text of a Mermaid flowchart.

    Nested flows are boxes around their nodes; a flow that runs itself (an overridden `_orch`, or
    one nested in itself) is a box without. Edges bear their actions, but `"default"`. A
    pill marks where each flow starts, and where an action leads to `None`.

    Args:
        flow: A flow or a single node, ours or pocketflow's. It is not run.
        events: Of runs of that flow, complete or not. Their nodes are coloured: an error comes
            before an open question, a step that has not ended, a cancelled one, an ok one. Labels
            count executions, batch items and retries, and the edges that were taken stand out.

    Raises `GraphError` where it, or something in the graph, is not a node.
    """
    if not is_node(flow):
        raise GraphError(f"to_mermaid draws a flow or a node, not {flow!r}.")
    name = node_name(flow)
    drawing = _Drawing(_Past(events) if events is not None else None)
    if shape_of(flow).nests:
        drawing.flow(plan_of(flow))
    else:
        drawing.box(Plan(flow, Vertex(flow, name, name, name)), 1)
    return drawing.text()


class _Past:
    """What the events say of each path."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._spans: defaultdict[str, list[Span]] = defaultdict(list)
        for run in read_spans(events):
            for span in run:
                self._spans[span.node].append(span)

    def state(self, path: str) -> str | None:
        """The state that the path is shown in, or `None` where it did not run."""
        spans = self._spans[path]
        states: set[str] = {span.status or "running" for span in spans if span.kind != "item"}
        if any(span.is_waiting for span in spans):
            states.add("waiting")
        return next((state for state in STATES if state in states), None)

    def counts(self, path: str) -> str:
        """What is written below its name."""
        spans = self._spans[path]
        items = sum(span.kind == "item" for span in spans)
        retries = sum(len(span.attempts) - 1 for span in spans)
        counted = (
            (f"×{len(spans) - items}", len(spans) - items),
            (f"{items} item{'s' * (items != 1)}", items),
            (f"{retries} {'retry' if retries == 1 else 'retries'}", retries),
        )
        return ", ".join(text for text, count in counted if count)

    def taken(self, path: str, action: str) -> int:
        """How often it was left by an action."""
        spans = self._spans[path]
        return sum(span.moved and (span.action or "default") == action for span in spans)


class _Drawing:
    """The lines of a picture, as they are made.

    A box belongs to the innermost flow that is open while its line is written. So edges come last.
    """

    def __init__(self, past: _Past | None) -> None:
        self._past = past
        self._lines = ["flowchart TD"]
        self._edges: list[str] = []
        self._taken: list[str] = []  # the numbers of the edges that were taken
        self._looks: defaultdict[str, list[str]] = defaultdict(list)  # who looks how
        self._count = 0

    def flow(self, plan: Plan, around: tuple[Plan, ...] = ()) -> None:
        """Draw the nodes of a flow, those of the flows in it, and their edges."""
        around = (*around, plan)
        start = plan.node.start_node
        mark = "" if start is None else self._box(len(around), "([start])", "mark")
        if start is not None:
            plan.child(start)  # it is a node
        boxes: dict[int, str] = {}
        for child in plan.children():
            if not child.shape.nests:
                box = self.box(child, len(around))
            elif child.node.start_node is None or any(child.node is each.node for each in around):
                box = self.box(child, len(around), "[[", "]]")
            else:
                box = self.box(child, len(around), "[", "]", before="subgraph ")
                self._write(len(around) + 1, "direction TB")
                self.flow(child, around)
                self._write(len(around), "end")
            if not boxes:
                self._edges.append(f"{mark} --> {box}")
            boxes[id(child.node)] = box
        for child in plan.children():
            for action, successor in ways(child.node):
                if successor is None:
                    target = self._box(len(around), "([stop])", "mark")
                else:
                    target = boxes[id(plan.child(successor).node)]
                self._edge(boxes[id(child.node)], target, child.path, action)

    def box(
        self, plan: Plan, depth: int, left: str = "[", right: str = "]", *, before: str = ""
    ) -> str:
        """Draw a node, or open the box of a flow. Gives what it is called."""
        text = label(plan.name)
        state = None
        if self._past is not None:
            state, counts = self._past.state(plan.path), self._past.counts(plan.path)
            text += (" " if before else "<br/>") + counts if counts else ""
        return self._box(depth, f'{left}"{text}"{right}', state, before)

    def text(self) -> str:
        """The whole picture."""
        for edge in self._edges:
            self._write(1, edge)
        for look, boxes in self._looks.items():
            self._write(1, f"classDef {look} {STATES.get(look, _MARK_LOOK)}")
            self._write(1, f"class {','.join(boxes)} {look}")
        if self._taken:
            self._write(1, f"linkStyle {','.join(self._taken)} {_TAKEN_LOOK}")
        return "\n".join(self._lines) + "\n"

    def _edge(self, begin: str, end: str, path: str, action: object) -> None:
        text = "" if action == "default" else label(_text(action))
        if self._past is not None and (times := self._past.taken(path, _text(action))):
            self._taken.append(str(len(self._edges)))
            text = f"{text} ×{times}".strip() if times > 1 else text
        self._edges.append(f'{begin} -->|"{text}"| {end}' if text else f"{begin} --> {end}")

    def _box(self, depth: int, text: str, look: str | None, before: str = "") -> str:
        self._count += 1
        name = f"n{self._count}"
        self._write(depth, f"{before}{name}{text}")
        if look is not None:
            self._looks[look].append(name)
        return name

    def _write(self, depth: int, line: str) -> None:
        self._lines.append("    " * depth + line)


def label(text: str) -> str:
    """A text as a label holds it between quotes: cut, and with entity codes for all but words."""
    text = escape_controls(text, one_line=True)
    for internal, shown in _INTERNAL:
        text = text.replace(internal, shown)
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return _NO_WORD.sub(lambda found: f"#{ord(found.group())};", text or '""')


def _text(action: object) -> str:
    """An action as its event has it; it is a string wherever the user does not surprise us."""
    return action if isinstance(action, str) else str(action)
