"""What of a run a client was told and is still open: its steps, its texts, its questions.

The protocols stand on this fold: what they have opened they must close, what is void they must
name, and they must know when nothing goes on without an answer. It does nothing but remember.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from flowevents.events import (
    Chunk,
    Event,
    FlowEnd,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeEnd,
    Reply,
    Retry,
)
from flowevents.opened import End, Opened, OpenStarts, ends, starts

__all__ = ["Telling", "Told", "text_of"]


def text_of(event: Chunk) -> str | None:
    """The text of a chunk that is a piece of what its node says; `None` of another chunk."""
    return event.data if event.kind == "output" and isinstance(event.data, str) else None


class Told(Opened):
    """A flow, a step or an item that is open.

    Attributes:
        text: The id of its text that is open, if one is.
        texts: The ids of what a retry makes void: its texts since the last one, and those of the
            items that have ended in it.
        items_begun: How many of its items have begun.
    """

    __slots__ = ("items_begun", "text", "texts")

    def __init__(self, event: Event, parent: Told | None) -> None:
        super().__init__(event, parent)
        self.text: str | None = None
        self.texts: list[str] = []
        self.items_begun: int = 0

    def has_more_items(self) -> bool:
        """Of an item: whether others of its batch may begin."""
        total = self.event.total if isinstance(self.event, ItemStart) else None
        return total is None or self.parent is None or self.parent.items_begun < total


class Telling:
    """Folds the events of one run, in their order.

    Attributes:
        open: What is open.
        questions: The open questions by their ids, as they were asked.
    """

    def __init__(self) -> None:
        self.open: Final[OpenStarts[Told]] = OpenStarts(Told)
        self.questions: Final[dict[str, Interrupt]] = {}

    def fold(self, event: Event) -> None:
        """Fold in an event, whatever it is, of which nothing is told now."""
        self.ask(event)
        if starts(event):
            self.begin(event)
        elif isinstance(event, FlowEnd | NodeEnd | ItemEnd):
            self.end(event)
        elif isinstance(event, Retry):
            self.retry(event)

    def begin(self, event: Event) -> Told:
        """Something begins."""
        told = self.open.begin(event)
        if told.kind == "item" and told.parent is not None:
            told.parent.items_begun += 1
        return told

    def say(self, event: Chunk) -> tuple[str, bool] | None:
        """A piece of text: the id of its text, and whether that begins now.

        An attempt has one text, or more where it asks in between. `None` is given where the chunk
        belongs to nothing that is open.
        """
        told = self.open.of(event)
        if told is None:
            return None
        begins = told.text is None
        if told.text is None:
            told.text = f"{event.run_id}:{event.seq}"
            told.texts.append(told.text)
        return told.text, begins

    def end_text(self, event: Event) -> str | None:
        """End the text of what the event belongs to, if one is open: its id."""
        told = self.open.of(event)
        if told is None:
            return None
        text, told.text = told.text, None
        return text

    def retry(self, event: Retry) -> list[str]:
        """An attempt is void: the ids of all its texts."""
        told = self.open.of(event)
        if told is None:
            return []
        void, told.texts, told.items_begun = told.texts, [], 0
        return void

    def end(self, event: End) -> list[Told]:
        """Something ends, and what is open in it: innermost first, itself as the last."""
        told = self.open.of(event)
        if told is None:
            return []
        closed = self.open.close(told)
        if told.kind == "item" and told.parent is not None:
            told.parent.texts += told.texts
        self._forget({each.span for each in closed})
        return closed

    def ask(self, event: Event) -> None:
        """Fold in what the event says of questions; every event comes here first.

        A question is open until its answer. Whatever else comes of the step that asks says that it
        goes on without one.
        """
        if isinstance(event, Interrupt):
            self.questions[event.id] = event
        elif isinstance(event, Reply):
            self.questions.pop(event.id, None)
        elif self.questions and not starts(event) and not ends(event):
            self._forget({event.span})

    def waits(self, answered: Collection[str] = ()) -> bool:
        """Whether nothing goes on before a question is answered that is none of these."""
        if not self.questions:
            return False
        asking = {each.span for id, each in self.questions.items() if id not in answered}
        leaves = [each for each in self.open.by_span.values() if not each.inside]
        return bool(leaves) and all(each.span in asking for each in leaves)

    def may_begin(self) -> bool:
        """Whether a batch that is open may begin more items, at the same time as those."""
        open_now = self.open.by_span.values()
        return any(each.kind == "item" and each.has_more_items() for each in open_now)

    def _forget(self, spans: Collection[int]) -> None:
        for id in [id for id, each in self.questions.items() if each.span in spans]:
            del self.questions[id]
