"""What the chat shows of a run: a fold over its events, which knows nothing of Gradio's code.

The rules of this file:

* The messages of a turn are in the order in which what they tell of began: a step, a nested flow, a
  reply, a question.
* What is open where a turn ends is shown again in the next one, with what it says from there. So
  nothing that was said in earlier turns is ever changed.
* An item of a batch node is a part of its text. An item of a batch flow is named in what is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from flowevents.escape import escape_controls
from flowevents.events import (
    Chunk,
    Event,
    FlowEnd,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeEnd,
    Progress,
    Retry,
    describe_error,
)
from flowevents.observers.questions import choices_of, hint, more_wait, wording
from flowevents.opened import Opened, OpenStarts, ends, starts

__all__ = ["Message", "Messages", "failure", "question_id"]

Message = dict[str, Any]
"""A message of the chat, with the fields of `gr.ChatMessage` (Gradio 6)."""

_LONGEST: Final = 200
"""The most characters that stand beside the name of a step."""

_MARKDOWN: Final = re.compile(r"[\\`*\[\]<>~$&]")
"""What is syntax in the name of a step, which Gradio shows as Markdown."""


def failure(error: BaseException) -> Message:
    """What is said of an error: its text as it is, whatever it holds."""
    lines = escape_controls(describe_error(error)).splitlines()
    code = "\n".join(f"    {line}" for line in lines)  # a block of code, in Markdown
    return {"role": "assistant", "content": f"**It failed.**\n\n{code}"}


def question_id(question: Interrupt) -> str:
    """What the message of a question is known by: no other run and no other question has it."""
    return f"{question.run_id}/{question.id}"


class _Part(Opened):
    """A flow, a step or an item, and what it has said in this turn.

    Attributes:
        pieces: Its text, in pieces.
        sections: Its items, where it is a batch.
        void: Whether what it said in earlier turns would be void with this attempt.
        log: What stands beside its name.
        end: How it ended.
    """

    __slots__ = ("end", "log", "pieces", "sections", "void")

    parent: _Part | None

    def __init__(self, event: Event, parent: _Part | None) -> None:
        super().__init__(event, parent)
        self.pieces: list[str] = []
        self.sections: list[_Part] = []
        self.void: bool = False
        self.log: str = ""
        self.end: NodeEnd | FlowEnd | None = None

    @property
    def label(self) -> str:
        """What an item is called."""
        label = self.event.label if isinstance(self.event, ItemStart) else ""
        return _plain(label or str(self.items[-1] + 1))

    def title(self) -> str:
        """Its name, with the items of the batches around it."""
        labels = [each.label for each in self.around() if each.kind == "item"]
        name = self.node.rpartition("/")[2]
        return " · ".join([_plain(name), *reversed(labels)])

    def around(self) -> Iterator[_Part]:
        """What encloses it, innermost first."""
        outer = self.parent
        while outer is not None:
            yield outer
            outer = outer.parent

    def text(self) -> str:
        """What it has said, its items one after the other."""
        own = "".join(self.pieces)
        items = ((each.label, each.text().strip()) for each in self.sections)
        said = [f"**{label}** {text}" for label, text in items if text]
        return "\n\n".join([own, *said] if own else said)


class Messages:
    """The messages of the assistant in one turn: a fold over the events of a run.

    Args:
        answer: The paths of the nodes whose chunks are the reply.
    """

    def __init__(self, answer: Iterable[str] = ()) -> None:
        self._answer = frozenset(answer)
        self._open: OpenStarts[_Part] = OpenStarts(_Part)
        self._shown: list[_Part | Message] = []
        self._waits = False

    def begin(self) -> None:
        """Begin a turn, with nothing."""
        self._shown = []

    def go_on(self) -> None:
        """The run goes on: show what is open, as it goes on from here."""
        self._waits = False
        for part in self._open.by_span.values():
            part.void = part.void or bool(part.pieces)
            part.pieces.clear()
            part.sections.clear()
            self._place(part)

    def add(self, message: Message) -> None:
        """Add a message that is no part of the run."""
        self._shown.append(message)

    def say(self, text: str, **fields: Any) -> None:
        """Add a text, with other fields of its message."""
        self.add({"role": "assistant", "content": escape_controls(text), **fields})

    def ask(self, question: Interrupt, more: int = 0) -> None:
        """Add a question, with buttons for its choices. `more` others wait for their turn.

        What is open waits from here on.
        """
        self._waits = True
        wanted, choices = hint(question), choices_of(question)
        if choices is None and wanted == "yes or no":
            choices = ["yes", "no"]
        remarks = [wanted] if wanted and choices is None else []
        remarks += [more_wait(more)] if more else []
        texts = [wording(question.prompt), *(f"*({each})*" for each in remarks)]
        fields: Message = {"metadata": {"id": question_id(question)}}
        if choices is not None:
            fields["options"] = [{"value": wording(each)} for each in choices]
        self.say("\n\n".join(texts), **fields)

    def take(self, event: Event) -> None:
        """Take the next event of the run."""
        if starts(event):
            self._place(self._open.begin(event))
            return
        part = self._open.of(event)
        if part is None:  # what is said of a step that has ended
            return
        if isinstance(event, Chunk):
            self._add(part, event)
        elif isinstance(event, Progress):
            part.log = _count(event.done, event.total, event.label)
        elif isinstance(event, Retry):
            part.pieces.clear()
            part.log = _short(f"again, after {event.error}")
            if part.void:
                part.void = False
                part.pieces.append("*(What it said before that is void.)*\n\n")
        elif ends(event):
            self._end(part, event)

    def shown(self) -> list[Message]:
        """The messages, in the order in which what they tell of began."""
        made = (each if isinstance(each, dict) else self._message(each) for each in self._shown)
        return [message for message in made if message is not None]

    def _place(self, part: _Part) -> None:
        """Have it shown: an item of a node in the node, any other item in what is in it."""
        if part.kind != "item":
            if part.node:  # not the run's own flow
                self._shown.append(part)
        elif part.parent is not None and part.parent.kind == "node":
            part.parent.sections.append(part)

    def _add(self, part: _Part, event: Chunk) -> None:
        if event.kind == "output" and isinstance(event.data, str):
            part.pieces.append(event.data)
        elif event.kind == "output":
            part.pieces.append(f"\n\n{wording(event.data)}\n\n")
        elif part.node not in self._answer:
            part.pieces.append(f"\n\n{event.kind}: {wording(event.data)}\n\n")

    def _end(self, part: _Part, event: Event) -> None:
        self._open.close(part)
        if isinstance(event, ItemEnd):
            if part.parent is not None:
                part.parent.log = _count(event.done, event.total)
        elif isinstance(event, (NodeEnd, FlowEnd)):
            part.end = event
            if event.status != "ok":
                part.log = _short(event.error or event.status)

    def _message(self, part: _Part) -> Message | None:
        text = escape_controls(part.text())
        if part.node in self._answer:
            return {"role": "assistant", "content": text} if text.strip() else None
        waits = part.end is None and self._waits
        metadata: Message = {
            "title": part.title(),
            "id": part.span,
            "status": "pending" if part.end is None and not waits else "done",
        }
        outer = next((each for each in part.around() if each.kind != "item" and each.node), None)
        if outer is not None:
            metadata["parent_id"] = outer.span
        if waits or part.log:
            metadata["log"] = "waits for an answer" if waits else part.log
        if part.end is not None:
            metadata["duration"] = round(part.end.duration, 2)
        return {"role": "assistant", "content": text, "metadata": metadata}


def _count(done: float, total: float | None, label: str = "") -> str:
    count = f"{done:g}" if total is None else f"{done:g}/{total:g}"
    return _short(f"{count} {label}".strip())


def _short(text: str) -> str:
    text = escape_controls(text, one_line=True)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _plain(text: str) -> str:
    """In one line of Markdown, as it is."""
    return _MARKDOWN.sub(r"\\\g<0>", escape_controls(text, one_line=True))
