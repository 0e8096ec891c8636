"""How a run is stored: the engine's way to its journal.

The rules of this file:

* An event is stored before anybody gets it, and with it all that came before. Chunks and progress
  alone are delivered at once, and stored in groups.
* What is kept beside an event is noted right before the event is made; no code of the user's and no
  other event comes in between.
* Where an event cannot be stored the run stops like a cancel, with that error. From then on, and
  from when the run was let go, nothing is stored any more: what ends here ends in no log.

Only this file writes the fields of `Recorder`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw

from flowevents.engine.effects import CancelledBy
from flowevents.engine.questions import Questions
from flowevents.errors import JournalError, ReplyError
from flowevents.events import Chunk, Event, Progress, Reply
from flowevents.journal.codec import Codec
from flowevents.journal.kept import Kept, KeptCursor, KeptOptions
from flowevents.journal.journal import Journal
from flowevents.journal.lease import Lease
from flowevents.journal.records import Message
from flowevents.journal.shared import SharedLog

__all__ = ["Recorder", "recorder_of"]

logger: Final = logging.getLogger("flowevents")

_encode: Final = msgspec.json.Encoder().encode


class Recorder:
    """Stores the events of one run.

    Args:
        journal: Where.
        run_id: Of which run.
        codec: How values are kept.
        transient: The top-level keys of `shared` that are not.

    Attributes:
        lease: The right to write its log, once it has begun.
        lost: Why nothing can be stored any more.
        paused: The run is, and its lease given up.
        released: Nothing is to be stored any more.
    """

    __slots__ = (
        "_answers",
        "_codec",
        "_journal",
        "_kept",
        "_run_id",
        "_shared",
        "_transient",
        "lease",
        "lost",
        "paused",
        "released",
    )

    def __init__(
        self, journal: Journal, run_id: str, codec: Codec, transient: Collection[Any]
    ) -> None:
        self._journal = journal
        self._run_id = run_id
        self._codec = codec
        self._transient = transient
        self._shared: SharedLog = SharedLog(None, codec, transient)
        self._kept: Kept | None = None  # with the next record
        self.lease: Lease
        self._answers: dict[str, Message] = {}  # that are taken, by their question
        self.lost: JournalError | None = None
        self.paused: bool = False
        self.released: bool = True  # it has not begun

    def begin(self, flow: str, shared: Any, options: KeptOptions) -> None:
        """Begin the log of a new run.

        Raises `JournalError` for what of `shared` cannot be kept, and `RunStateError` where the
        journal has a run of that id.
        """
        self._shared = SharedLog(shared, self._codec, self._transient)
        self._kept = Kept(options=options, shared=self._shared.changes())
        self.lease = self._journal.begin(self._run_id, flow, options.metadata)
        self.released = False

    def transient(self) -> list[Raw]:
        """Return the keys of `shared` that are not kept."""
        return [self._written(key, "a key in transient") for key in self._transient]

    def go_on(self, lease: Lease, shared: Any) -> None:
        """Go on with a log, which has all of this `shared`."""
        self._shared = SharedLog(shared, self._codec, self._transient)
        self._shared.changes()
        self.lease, self.released = lease, False

    def read(self, raw: Raw) -> Any:
        """Return a value that the log keeps."""
        return self._codec.decode(bytes(raw))

    # -- what is kept with the next record --------------------------------------------------------

    def keep_prep(self, span: int, prep_res: Any, path: str) -> None:
        """Keep what the `prep` of a flow returned, and what has changed in `shared`."""
        self._keep_shared()
        raw = self._written(prep_res, f"what prep of flow {path!r} returned")
        self._next().prep.append((span, raw))

    def keep_cursor(self, cursor: KeptCursor) -> None:
        """Keep where something stands that begins again."""
        self._next().cursors.append(cursor)

    def keep_action(self, action: Any, path: str) -> None:
        """Keep the action of a step that ends well, and what has changed in `shared`."""
        self._keep_shared()
        self._next().action = self._written(action, f"the action of {path!r}")

    def keep_lost(self) -> None:
        """Keep that the attempt did not fail which the next record ends."""
        self._next().lost = True

    def keep_digest(self, argument: Any) -> None:
        """Keep the digest of what an item that begins is given."""
        self._next().digest = self.digest(argument)

    def keep_result(self, result: Any) -> bool:
        """Keep an item's result; whether it can be kept."""
        try:
            self._next().result = Raw(self._codec.encode(result, "the result"))
        except JournalError:
            return False
        return True

    def keep_asked(self, asked: int) -> None:
        """Keep how many questions its step has asked before the one that comes next."""
        self._next().asked = asked

    def keep_answer(self, answer: Any, prompt: object) -> None:
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

    # -- storing ----------------------------------------------------------------------------------

    def store(self, event: Event) -> None:
        """Store an event. Raises what cancels the run where that cannot be."""
        if self.released:
            return
        if self.lost is not None:
            raise CancelledBy(self.lost)
        if type(event) in (Chunk, Progress):
            self.lease.later(event)
            return
        kept, self._kept = self._kept, None
        taken = self._answers.pop(event.id, None) if type(event) is Reply else None
        try:
            self._take_again()
            self.lease.append((event, None if kept is None else _encode(kept)), taken=taken)
        except JournalError as error:
            self.lose(error)
            if getattr(event, "status", "ok") != "ok":  # it ends here, all the same
                self.release()
                return
            raise CancelledBy(error) from None

    def listen(
        self,
        questions: Questions,
        cancel: Callable[[], None],
        lose: Callable[[JournalError], None],
    ) -> None:
        """Have what comes from elsewhere taken: answers, a cancel, or that the lease is lost."""

        def hear(message: Message) -> None:
            if message.kind == "cancel":
                cancel()
            else:
                self.hear(message, questions)

        self.lease.listen(hear, lose)

    # -- pausing, and what comes from elsewhere ---------------------------------------------------

    def reply(self, value: Any, id: str | None, questions: Questions) -> None:
        """Answer a question by the journal, which decides who is the first. Raises `ReplyError`."""
        self._journal.reply(self._run_id, value, id)
        self.look(questions)

    def cancel(self) -> None:
        """Cancel the run, which nobody drives, by the journal, which writes its ends."""
        self.release()
        self._journal.cancel(self._run_id)

    def pause(self, questions: Questions) -> bool:
        """Give the lease up, because the run pauses, unless an answer has come meanwhile.

        Whether it is given up. Raises `JournalError`.
        """
        if self.released:
            return True
        messages = self.lease.pause()
        self.paused = True
        if any([self.hear(each, questions) for each in messages]):
            self._take_again()
            return False
        return True

    def go_on_after_pause(self, questions: Questions) -> None:
        """Take the lease again, and what has come meanwhile. Raises `JournalError`."""
        if not self.released:
            self._take_again()
            self.look(questions)

    def _take_again(self) -> None:
        if self.paused:
            self.lease.take_again()
            self.paused = False

    def look(self, questions: Questions) -> None:
        """Look into the inbox for answers to open questions."""
        if not self.released and self.lost is None:
            for each in self.lease.inbox():
                self.hear(each, questions)

    def hear(self, message: Message, questions: Questions) -> bool:
        """Take an answer, or a request to pause, that came from elsewhere; from any thread.

        Whether it is an answer that was taken.
        """
        if message.kind == "pause":
            questions.request_pause()
            self.lease.drop(message)
        elif message.kind == "reply" and message.question in questions.open:
            self._answers[message.question] = message
            try:
                questions.reply(message.value, message.question)
                return True
            except ReplyError as refused:
                if self._answers.pop(message.question, None) is message:
                    logger.warning("Run %s: an answer was refused. %s", self._run_id, refused)
                    self.lease.drop(message)
        return False

    # -- the end ----------------------------------------------------------------------------------

    def lose(self, error: JournalError) -> None:
        """Note that nothing can be stored any more; from any thread."""
        if self.lost is None:
            self.lost = error

    def release(self) -> None:
        """Give the run up here: it can be resumed at once; what ends now ends in no log."""
        if not self.released:
            self.released = True
            self.lease.release()


def recorder_of(
    journal: object, run_id: str, state_types: Iterable[type], transient: Iterable[Any]
) -> Recorder:
    """Return what stores a run. Raises `ValueError` for what is no journal, and no set of keys."""
    if not isinstance(journal, Journal):
        raise ValueError(f"journal={journal!r}: a journal, as SQLiteJournal('runs.db'), or None.")
    if isinstance(transient, str):
        raise ValueError(f"transient={transient!r} is one text; give a set of keys of shared.")
    return Recorder(journal, run_id, Codec(state_types), frozenset(transient))
