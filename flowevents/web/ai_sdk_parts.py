"""A run's events as the UI message stream of the Vercel AI SDK, version 1.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol. Only what the SDK knows since version 5 is sent.
A run is a message. Each flow, step and item in it is a part `data-node`, each question a part
`data-interrupt`, which are replaced where something new is known of them. What an attempt says is a
part of its own, named in its `providerMetadata`; after a question it says another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from flowevents.events import (
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
from flowevents.plain import encode
from flowevents.web.telling import Telling, text_of

__all__ = ["DONE", "UIMessageParts", "failure", "frames"]

Part = dict[str, Any]

DONE: Final = b"data: [DONE]\n\n"
"""What follows the last part."""

_STATUS: Final = {"ok": "done", "error": "failed", "cancelled": "cancelled"}


def frames(parts: Iterable[Part]) -> bytes:
    """Parts as Server-Sent Events."""
    return b"".join(b"data: " + encode(part) + b"\n\n" for part in parts)


def failure(text: str) -> Part:
    """What says that something failed."""
    return {"type": "error", "errorText": text}


class UIMessageParts:
    """Translates the events of one run, as a journal gives them, from its first on.

    Args:
        run_id: The run, whose id the message gets.

    Attributes:
        has_ended: Whether the run has.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._telling = Telling()
        self._nodes: dict[int, dict[str, Any]] = {}
        self._asked: dict[str, Interrupt] = {}
        self.has_ended: bool = False

    def begin(self) -> list[Part]:
        """The beginning of the message."""
        return [{"type": "start", "messageId": self._run_id, "messageMetadata": self._said()}]

    def translate(self, event: Event) -> list[Part]:
        """What the event says, in parts."""
        self._telling.ask(event)
        return [*self._translate(event), *self._closed_questions(event)]

    def _translate(self, event: Event) -> list[Part]:
        match event:
            case FlowStart() | NodeStart() | ItemStart():
                return self._start(event)
            case FlowEnd() | NodeEnd() | ItemEnd():
                return self._end(event)
            case Chunk() if (text := text_of(event)) is not None:
                return self._say(event, text)
            case Chunk():
                data = {**_place(event), "kind": event.kind, "data": event.data}
                return [{"type": "data-chunk", "data": data}]
            case Progress():
                progress = {"done": event.done, "total": event.total, "label": event.label}
                return self._node(event.span, progress=progress)
            case Retry():
                return self._retry(event)
            case Interrupt():
                self._asked[event.id] = event
                return [*_text_end(self._telling.end_text(event)), _question(event)]
        return []

    def _start(self, event: FlowStart | NodeStart | ItemStart) -> list[Part]:
        told = self._telling.begin(event)
        if told.parent is None and told.kind == "flow":
            return []
        self._nodes[event.span] = {**_place(event), "status": "running"}
        label = {"label": event.label} if isinstance(event, ItemStart) and event.label else {}
        return self._node(event.span, **label)

    def _node(self, span: int, **known: Any) -> list[Part]:
        node = self._nodes.get(span)
        if node is None:
            return []
        node.update(known)
        return [{"type": "data-node", "id": str(span), "data": dict(node)}]

    def _say(self, event: Chunk, text: str) -> list[Part]:
        said = self._telling.say(event)
        if said is None:
            return []
        id, begins = said
        delta = {"type": "text-delta", "id": id, "delta": text}
        if not begins:
            return [delta]
        whose = {"flowevents": {"id": id, **_place(event)}}
        return [{"type": "text-start", "id": id, "providerMetadata": whose}, delta]

    def _retry(self, event: Retry) -> list[Part]:
        ended = _text_end(self._telling.end_text(event))
        data = {
            **_place(event),
            "error": event.error,
            "wait": event.wait,
            "fallback": event.fallback,
            "texts": self._telling.retry(event),
        }
        return [
            *ended,
            {"type": "data-retry", "data": data},
            *self._node(event.span, attempt=event.attempt + 1),
        ]

    def _end(self, event: FlowEnd | NodeEnd | ItemEnd) -> list[Part]:
        parts: list[Part] = []
        closed = self._telling.end(event)
        for each in closed:
            parts += _text_end(each.text)
            how: dict[str, Any] = {"status": event.status, "duration": event.duration}
            if event.error is not None:
                how["error"] = event.error
            parts += self._node(each.span, **how)
            self._nodes.pop(each.span, None)
        if closed and isinstance(event, ItemEnd) and closed[-1].parent is not None:
            parts += self._node(closed[-1].parent.span, done=event.done, total=event.total)
        if isinstance(event, FlowEnd) and closed and closed[-1].parent is None:
            parts += self._ended(event)
        return parts

    def _ended(self, event: FlowEnd) -> list[Part]:
        self.has_ended = True
        said = self._said(status=_STATUS[event.status], action=event.action)
        finish = {"type": "finish", "messageMetadata": said}
        if event.status == "error":
            return [failure(event.error or "The run failed."), finish]
        if event.status == "cancelled":
            return [{"type": "abort"}, finish]
        return [finish]

    def _closed_questions(self, event: Event) -> list[Part]:
        """Those that nobody can answer any more."""
        parts = []
        for id in [id for id in self._asked if id not in self._telling.questions]:
            answer = {"value": event.value} if isinstance(event, Reply) and event.id == id else {}
            parts.append(_question(self._asked.pop(id), open=False, **answer))
        return parts

    def _said(self, **more: Any) -> dict[str, Any]:
        return {"run": self._run_id, **more}


def _question(event: Interrupt, **known: Any) -> Part:
    data = {
        **_place(event),
        "run": event.run_id,
        "id": event.id,
        "prompt": event.prompt,
        "choices": event.choices,
        "schema": event.schema,
        "expires": event.expires,
        "open": True,
        **known,
    }
    return {"type": "data-interrupt", "id": event.id, "data": data}


def _text_end(id: str | None) -> list[Part]:
    return [] if id is None else [{"type": "text-end", "id": id}]


def _place(event: Event) -> dict[str, Any]:
    """Where it happened."""
    return {
        "node": event.node,
        "step": event.step,
        "items": list(event.items),
        "attempt": event.attempt,
    }
