"""What a run with a journal keeps beside its events: noted right before the event is made.

No code of the user's and no other event comes in between. Only this file writes the fields of
`Notes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, Final

import msgspec
from msgspec import Raw

from flowevents.engine.effects import CancelledBy
from flowevents.errors import JournalError
from flowevents.journal.codec import Codec
from flowevents.journal.kept import Kept, KeptCursor, KeptOptions
from flowevents.journal.shared import SharedLog
from flowevents.journal.standing import Asked, Tried, encoded

__all__ = ["Notes"]

_encode: Final = msgspec.json.Encoder().encode


class Notes:
    """What is kept with the next record; and, of a run that goes on, what its log knows.

    What cannot be kept cancels the run, with the `JournalError` that says so.

    Args:
        codec: How values are kept.
        transient: The top-level keys of `shared` that are not.
    """

    __slots__ = ("_asked", "_codec", "_kept", "_lost", "_shared", "_transient")

    def __init__(self, codec: Codec, transient: Collection[Any]) -> None:
        self._codec = codec
        self._transient = transient
        self._shared: SharedLog = SharedLog(None, codec, transient)
        self._kept: Kept | None = None
        self._lost: dict[int, Tried] = {}  # by the span of a step or an item that was open
        self._asked: dict[int, int] = {}  # how many questions each has asked in its attempt

    def begin(
        self,
        shared: Any,
        capture: bool,
        max_steps: int | None,
        name: str | None,
        metadata: dict[str, Any],
    ) -> None:
        """Keep, with the first record, the options and all of `shared`. Raises `JournalError`."""
        transient = [Raw(self._codec.encode(key, "transient")) for key in self._transient]
        options = KeptOptions(capture, max_steps, name, transient, metadata)
        self._shared = SharedLog(shared, self._codec, self._transient)
        self._kept = Kept(options=options, shared=self._shared.changes())

    def go_on(self, shared: Any) -> None:
        """Go on with a log, which has all of this `shared`."""
        self._shared = SharedLog(shared, self._codec, self._transient)
        self._shared.changes()

    def take(self) -> bytes | None:
        """Return what is kept with the record that is made now."""
        kept, self._kept = self._kept, None
        return None if kept is None else _encode(kept)

    def read(self, raw: Raw) -> Any:
        """Return a value that the log keeps."""
        return self._codec.decode(bytes(raw))

    def prep(self, span: int, prep_res: Any, path: str) -> None:
        """Keep what the `prep` of a flow returned, and what has changed in `shared`."""
        self._keep_shared()
        raw = self._written(prep_res, f"what prep of flow {path!r} returned")
        self._next().prep.append((span, raw))

    def cursor(self, cursor: KeptCursor) -> None:
        """Keep where something stands that begins again."""
        self._next().cursors.append(cursor)

    def action(self, action: Any, path: str) -> None:
        """Keep the action of a step that ends well, and what has changed in `shared`."""
        self._keep_shared()
        self._next().action = self._written(action, f"the action of {path!r}")

    def loses(self, span: int) -> None:
        """Keep that the attempt of this step did not fail which the next record ends."""
        self._asked.pop(span, None)
        self._next().lost = True

    def remember(self, lost: Tried) -> None:
        """Note what the log knows of a step or an item that was open."""
        self._lost[lost.span] = lost

    def lost(self, span: int) -> Tried | None:
        """Return what the log knows of this step or item, if it was open when the run was lost."""
        return self._lost.get(span)

    def given(self, argument: Any) -> None:
        """Keep the digest of what an item that begins is given."""
        self._next().digest = self.digest(argument)

    def result(self, result: Any) -> bool:
        """Keep an item's result; whether it can be kept."""
        try:
            self._next().result = Raw(self._codec.encode(result, "the result"))
        except JournalError:
            return False
        return True

    def excused(self) -> None:
        """Keep that an item has failed, which does not fail its batch."""
        self._next().excused = True

    def asks(self, span: int) -> int:
        """Count a question of this step; return how many it had asked before in its attempt."""
        asked = self._asked.get(span, 0)
        self._asked[span] = asked + 1
        return asked

    def asked_before(self, span: int, at: int, question: tuple[Any, ...]) -> Asked | None:
        """Return this question as the log has it, where its step was lost and asks the same again.

        Args:
            span: The step.
            at: How many it has asked before in this attempt.
            question: What it asks now: the prompt, the choices and the schema.
        """
        lost = self._lost.get(span)
        if lost is None or at >= len(lost.asked):
            return None
        before = lost.asked[at]
        event = before.event
        if encoded(question) == encoded((event.prompt, event.choices, event.schema)):
            return before
        del lost.asked[at:]  # nobody has answered what comes instead
        return None

    def asked(self, asked: int) -> None:
        """Keep how many questions its step has asked before the one that comes next."""
        self._next().asked = asked

    def fails(self, span: int) -> None:
        """Note that an attempt failed: what was answered in it is not known to the next."""
        self._asked.pop(span, None)
        if span in self._lost:
            self._lost[span].asked.clear()

    def answer(self, answer: Any, prompt: object) -> None:
        """Keep an answer as the node is given it."""
        self._next().answer = self._written(answer, f"the answer to {prompt!r}")

    def digest(self, argument: Any) -> str:
        """Return what is another one for another item; `""` where it cannot be told."""
        try:
            raw = self._codec.encode(argument, "the item")
        except JournalError:
            return ""
        return hashlib.blake2b(raw, digest_size=12).hexdigest()

    def _next(self) -> Kept:
        if self._kept is None:
            self._kept = Kept()
        return self._kept

    def _written(self, value: Any, what: str) -> Raw:
        try:
            return Raw(self._codec.encode(value, what))
        except JournalError as error:
            raise CancelledBy(error) from None

    def _keep_shared(self) -> None:
        try:
            changes = self._shared.changes()
        except JournalError as error:
            raise CancelledBy(error) from None
        if changes is not None:
            self._next().shared = changes
