"""A run's events as those of the AG-UI protocol, version 1.0: https://docs.ag-ui.com/spec/1.0.

The rules of this file:

* Each flow, step and item in the run is an AG-UI step. What an attempt says is a message; after a
  question it says another.
* What a request has opened is closed before its end. A request that goes on with the run opens the
  steps that are still open once more.
* A request ends with its run, or where nothing goes on without an answer: see waiting.py.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from flowevents import events
from flowevents.errors import MissingExtra
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
from flowevents.opened import End
from flowevents.web.telling import Telling, Told, text_of
from flowevents.web.waiting import Waiting

try:
    from ag_ui import core
    from ag_ui.encoder import EventEncoder
except ImportError as _missing:
    raise MissingExtra(
        "The AG-UI protocol needs the package ag-ui-protocol, which is not installed. Install the "
        "extra: pip install flowevents[agui]"
    ) from _missing

__all__ = ["AgUiEvents", "Part", "failure", "frames", "input_of", "snapshot"]

Part = core.BaseEvent

_encode: Final = EventEncoder().encode


def frames(parts: Iterable[Part]) -> bytes:
    """Events of the protocol as Server-Sent Events."""
    return "".join(map(_encode, parts)).encode()


def input_of(body: dict[str, Any]) -> core.RunAgentInput:
    """A request. Raises `ValueError` with the reason where it is none."""
    try:
        return core.RunAgentInput.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def snapshot(state: Any) -> core.StateSnapshotEvent:
    """The state of a run, which is its `shared` as plain values."""
    return core.StateSnapshotEvent(snapshot=state)


def failure(message: str, code: str) -> core.RunErrorEvent:
    """The end of a request that cannot go on."""
    return core.RunErrorEvent(message=message, code=code)


class AgUiEvents:
    """Translates the events of one run, as a journal gives them, for one request.

    Args:
        run_id: The run.
        thread_id: The conversation, as the request names it.
        request_id: What the request calls its run.
        answered: The ids of the questions that it answers.

    Attributes:
        has_ended: Whether the last event ended the request.
    """

    def __init__(
        self, run_id: str, thread_id: str, request_id: str, answered: Collection[str] = ()
    ) -> None:
        self._run_id = run_id
        self._ids: dict[str, Any] = {"thread_id": thread_id, "run_id": request_id}
        self._answered = answered
        self._telling = Telling()
        self._waiting = Waiting(self._telling, answered)
        self._names: dict[int, str] = {}  # of the open steps, by their spans
        self._taken: set[str] = set()  # by them
        self.has_ended: bool = False

    def begin(self, told: Iterable[Event] = ()) -> list[Part]:
        """The beginning of the request, which goes on after the events that were told before."""
        for event in told:
            self._translate(event)
        self._end_texts()
        began = core.RunStartedEvent(
            **self._ids, protocol_version=core.PROTOCOL_VERSION, metadata={"run": self._run_id}
        )
        return [began, *map(self._step_started, self._steps())]

    @property
    def may_have_ended(self) -> bool:
        """Whether the last event ended the request if none comes soon; then see `wait`."""
        return not self.has_ended and self._waiting.since is not None

    def translate(self, event: Event) -> list[Part]:
        """What the event says, in the protocol's events; the last one may end the request."""
        if self._waiting.ended_before(event):
            return self.wait()
        parts = self._translate(event)
        if not self.has_ended and self._waiting.ends_with(event):
            parts += self.wait()
        return parts

    def wait(self) -> list[Part]:
        """The end of the request at the questions that are open."""
        self.has_ended = True
        texts = self._end_texts()
        steps = [self._step_finished(each) for each in reversed(self._steps())]
        return [*texts, *steps, self._interrupted()]

    def _translate(self, event: Event) -> list[Part]:
        self._telling.ask(event)
        match event:
            case FlowStart() | NodeStart() | ItemStart():
                told = self._telling.begin(event)
                return [] if _is_run(told) else [self._step_started(told)]
            case FlowEnd() | NodeEnd() | ItemEnd():
                return self._end(event)
            case Chunk() if (text := text_of(event)) is not None:
                return self._say(event, text)
            case Chunk():
                return [_custom("chunk", event)]
            case Progress():
                return [_progress(event)]
            case Retry():
                ended = _text_end(self._telling.end_text(event))
                void = self._telling.retry(event)
                return [*ended, _custom("retry", event, messageIds=void)]
            case Interrupt():
                return [*_text_end(self._telling.end_text(event)), _custom("interrupt", event)]
            case Reply():
                return [_custom("reply", event)]
        return []

    def _say(self, event: Chunk, text: str) -> list[Part]:
        said = self._telling.say(event)
        if said is None:
            return []
        id, begins = said
        content = core.TextMessageContentEvent(message_id=id, delta=text, timestamp=_time(event))
        if not begins:
            return [content]
        start = core.TextMessageStartEvent(
            message_id=id, role="assistant", name=event.node or None, metadata=_place(event)
        )
        return [start, content]

    def _end(self, event: End) -> list[Part]:
        closed = self._telling.end(event)
        parts: list[Part] = []
        for each in closed:
            parts += _text_end(each.text)
            if not _is_run(each):
                parts.append(self._step_finished(each, event if each.span == event.span else None))
                self._taken.discard(self._names.pop(each.span))
        if isinstance(event, FlowEnd) and closed and _is_run(closed[-1]):
            self.has_ended = True
            parts.append(self._ended(event))
        return parts

    def _ended(self, event: FlowEnd) -> Part:
        if event.status == "error":
            return failure(event.error or "The run failed.", "failed")
        if event.status == "cancelled":
            cancelled = core.RunFinishedCancelledOutcome()
            return core.RunFinishedEvent(**self._ids, outcome=cancelled)
        success = core.RunFinishedSuccessOutcome()
        return core.RunFinishedEvent(**self._ids, outcome=success, result=event.action)

    def _interrupted(self) -> Part:
        asked = [
            _interrupt(each)
            for id, each in self._telling.questions.items()
            if id not in self._answered
        ]
        return core.RunFinishedEvent(
            **self._ids, outcome=core.RunFinishedInterruptOutcome(interrupts=asked)
        )

    def _step_started(self, told: Told) -> Part:
        start = told.event
        label = {"label": start.label} if isinstance(start, ItemStart) and start.label else {}
        return core.StepStartedEvent(
            step_name=self._name(told), timestamp=_time(start), metadata=_place(start) | label
        )

    def _step_finished(self, told: Told, end: End | None = None) -> Part:
        if end is None:  # that of the request only
            return core.StepFinishedEvent(step_name=self._name(told))
        how = {"status": end.status, "duration": end.duration, "error": end.error}
        return core.StepFinishedEvent(
            step_name=self._name(told), timestamp=_time(end), metadata=_place(end) | how
        )

    def _name(self, told: Told) -> str:
        """The name of an open step, which no other has."""
        if told.span not in self._names:
            name = _name_of(told.event)
            name = f"{name} {told.span}" if name in self._taken else name
            self._taken.add(name)
            self._names[told.span] = name
        return self._names[told.span]

    def _steps(self) -> list[Told]:
        return [each for each in self._telling.open.by_span.values() if not _is_run(each)]

    def _end_texts(self) -> list[Part]:
        parts: list[Part] = []
        for each in self._telling.open.by_span.values():
            parts += _text_end(each.text)
            each.text = None
        return parts


# -- one event -------------------------------------------------------------------------------------


def _is_run(told: Told) -> bool:
    return told.parent is None and told.kind == "flow"


def _name_of(event: Event) -> str:
    """Its name as a step: no node can be called what comes after the last space."""
    items = "".join(f"[{index}]" for index in event.items)
    return f"{event.node} {event.step}{items}" if event.node else items


def _text_end(id: str | None) -> list[Part]:
    return [] if id is None else [core.TextMessageEndEvent(message_id=id)]


def _progress(event: Progress) -> Part:
    said = {"done": event.done, "total": event.total, "label": event.label}
    return core.ActivitySnapshotEvent(
        message_id=f"{event.run_id}:{event.span}:progress",
        activity_type="progress",
        content=_place(event) | said,
        timestamp=_time(event),
    )


def _custom(name: str, event: Event, **own: Any) -> Part:
    value = json.loads(events.encode(event))
    return core.CustomEvent(name=name, value=value | own, timestamp=_time(event))


def _interrupt(event: Interrupt) -> core.Interrupt:
    schema = event.schema
    if event.choices is not None:
        schema = {**(schema or {}), "enum": event.choices}
    prompt = event.prompt
    return core.Interrupt(
        id=f"{event.run_id}:{event.id}",
        reason="input_required",
        message=prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False),
        response_schema=schema,
        expires_at=None if event.expires is None else _iso(event.expires),
        metadata=_place(event) | {"prompt": prompt, "choices": event.choices},
    )


def _place(event: Event) -> dict[str, Any]:
    """Where it happened."""
    return {
        "node": event.node,
        "step": event.step,
        "items": list(event.items),
        "attempt": event.attempt,
    }


def _time(event: Event) -> int:
    return int(event.time * 1_000)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
