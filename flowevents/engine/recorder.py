"""How a run is stored: the engine's way to its journal.

The rules of this file:

* An event is stored before anybody gets it, and with it all that came before. Chunks and progress
  alone are delivered at once, and stored in groups.
* Between the end of a step, its `Action` and the start of the next one there is no code of the
  user's: they are stored in one commit, and nobody gets the first before the last is stored.
* Where an event cannot be stored the run stops like a cancel, with that error. From then on, and
  from when the run was let go, nothing is stored any more: what is open here ends, heard by its
  handlers, but in no log.

Only this file writes the fields of `Recorder`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from flowevents.engine.effects import CancelledBy
from flowevents.engine.notes import Notes
from flowevents.engine.questions import Questions
from flowevents.errors import JournalError, ReplyError
from flowevents.events import (
    Action,
    Chunk,
    Event,
    FlowEnd,
    NodeEnd,
    Progress,
    Reply,
    describe_error,
)
from flowevents.journal.codec import Codec
from flowevents.journal.kept import KeptOptions
from flowevents.signals import Handlers

if TYPE_CHECKING:
    from flowevents.journal.journal import Journal
    from flowevents.journal.lease import Lease
    from flowevents.journal.records import Message

__all__ = ["Held", "Recorder", "recorder_of"]

logger: Final = logging.getLogger("flowevents")

Held = tuple[Event, Handlers]
"""An event that is to be delivered, and to whom."""


class Recorder:
    """Stores the events of one run.

    Args:
        journal: Where.
        notes: What is kept beside its events.

    Attributes:
        journal: Where it is stored.
        last: The number of the last event that is stored, or about to be.
        lease: The right to write its log, once it has begun.
        lost: Why nothing can be stored any more.
        paused: The run is, and its lease given up.
        released: Nothing is to be stored: it has not begun, has ended, or was let go.
        together: What comes is held, to be stored in one commit.
    """

    __slots__ = (
        "_answers",
        "_entries",
        "_held",
        "journal",
        "last",
        "lease",
        "lost",
        "notes",
        "paused",
        "released",
        "together",
    )

    def __init__(self, journal: Journal, notes: Notes) -> None:
        self.notes: Notes = notes
        self.last: int = 0
        self.lease: Lease
        self.lost: JournalError | None = None
        self.paused: bool = False
        self.released: bool = True
        self.together: bool = False
        self.journal: Journal = journal
        self._entries: list[tuple[Event, bytes | None]] = []  # to be stored
        self._held: list[Held] = []  # to be delivered when that is done
        self._answers: dict[str, Message] = {}  # that were taken, by their question

    def begin(self, run_id: str, flow: str, shared: Any, options: KeptOptions) -> None:
        """Begin the log of a new run.

        Raises `JournalError` for what of `shared` cannot be kept, and `RunStateError` where the
        journal has a run of that id.
        """
        self.notes.begin(shared, options)
        self.lease = self.journal.begin(run_id, flow, options.metadata)
        self.released = False

    def go_on(self, lease: Lease, shared: Any) -> None:
        """Go on with a log, which has all of this `shared`."""
        self.notes.go_on(shared)
        self.lease, self.released = lease, False
        self.last = lease.seq

    # -- storing ----------------------------------------------------------------------------------

    def store(self, event: Event, handlers: Handlers) -> list[Held]:
        """Store an event, and return what is to be delivered, in order.

        Raises what cancels the run where it cannot be stored.
        """
        if self.lost is not None and self.last < event.span < event.seq:
            return self._due()  # nobody has heard of its start
        self._held.append((event, handlers))
        if self.released:
            return self._due()
        if self.lost is not None:
            self._give_up(self.lost)
            return self._due()
        kept, self.last = self.notes.take(), event.seq
        if type(event) in (Chunk, Progress):
            self._store()
            self._store_later(event)
            return self._due()
        self._entries.append((event, kept))
        followed = type(event) in _MAY_BE_FOLLOWED and _is_followed(event)
        return [] if followed or self.together else self.store_held()

    def later(self, event: Event) -> bool:
        """Have a chunk stored in a group, where nothing has to be stored before; whether it is."""
        if self._held or self.released or self.lost is not None:
            return False
        try:
            self.lease.later(event)
        except JournalError as error:
            self.lose(error)
            return False
        self.last = event.seq
        return True

    def _store_later(self, event: Event) -> None:
        try:
            self.lease.later(event)
        except JournalError as error:
            self._give_up(error)

    def hold(self) -> None:
        """Have all that comes held, until `store_held`."""
        self.together = True

    def store_held(self) -> list[Held]:
        """Store what is held, in one commit, and return what is to be delivered."""
        self.together = False
        self._store()
        return self._due()

    def _due(self) -> list[Held]:
        due, self._held = self._held, []
        return due

    def _store(self) -> None:
        if not self._entries:
            return
        entries, self._entries = self._entries, []
        event = entries[-1][0]
        taken = self._answers.get(event.id) if isinstance(event, Reply) else None
        try:
            if self.paused:
                self._take_again()
            self.lease.append(*entries, taken=taken)
            if taken is not None and taken.question is not None:
                del self._answers[taken.question]
        except JournalError as error:
            self._give_up(error)

    def _give_up(self, error: JournalError) -> None:
        """Stop: the last event cannot be stored. It is delivered all the same where it is the end
        of something that is stopped already."""
        self.lose(error)
        self.last = min(self.last, self._held[0][0].seq - 1)
        self._entries = []
        last = self._held.pop()
        self._held = [each for held in self._held for each in self._unstored(held, error)]
        if getattr(last[0], "status", "ok") == "ok":
            raise CancelledBy(error) from None
        self._held.append(last)
        self.release()

    def _unstored(self, held: Held, error: JournalError) -> Iterator[Held]:
        """What of an event that could not be stored is delivered: an end, by the error."""
        event, handlers = held
        if isinstance(event, (NodeEnd, FlowEnd)):
            text = describe_error(error)
            yield structs.replace(event, status="cancelled", error=text), handlers

    # -- pausing, and what comes from elsewhere ---------------------------------------------------

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

    def reply(self, value: Any, id: str | None, questions: Questions) -> None:
        """Answer a question by the journal, which decides who is the first. Raises `ReplyError`."""
        self.journal.reply(self.lease.run_id, value, id)
        self.look(questions)

    def cancel(self) -> None:
        """Cancel the run, which nobody drives, by the journal, which writes its ends."""
        self.release()
        self.journal.cancel(self.lease.run_id)

    def pause(self, questions: Questions) -> bool:
        """Give the lease up, because the run pauses, unless an answer has come meanwhile.

        Whether it is given up. Raises `JournalError`.
        """
        if self.released:
            return True
        messages = self.lease.pause()
        self.paused = True
        taken = [self.hear(each, questions) for each in messages]
        if any(taken):
            self.go_on_after_pause(questions)
            return False
        return True

    def go_on_after_pause(self, questions: Questions) -> None:
        """Take the lease again, and what has come meanwhile. Raises `JournalError`."""
        if self.paused and not self.released:
            for each in self._take_again():
                self.hear(each, questions)
        else:
            self.look(questions)

    def _take_again(self) -> list[Message]:
        messages = self.lease.take_again()
        self.paused = False
        return messages

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
        elif message.kind == "reply" and message.question is not None:
            id = message.question
            if id in questions.open:
                return self._take(message, id, questions)
            if id not in self._answers and not questions.may_take(id):
                self.lease.drop(message)  # its code was left meanwhile
        return False

    def _take(self, message: Message, id: str, questions: Questions) -> bool:
        """Take an answer, once; whether the node's own type does so, too."""
        with questions.lock:
            if id in self._answers:
                return False  # it was heard before
            self._answers[id] = message
        try:
            questions.reply(message.value, id)
        except ReplyError as refused:
            del self._answers[id]
            logger.warning("Run %s: an answer was refused. %s", self.lease.run_id, refused)
            self.lease.drop(message)
            return False
        return True

    # -- the end ----------------------------------------------------------------------------------

    def lose(self, error: JournalError) -> None:
        """Note that nothing can be stored any more; from any thread."""
        if self.lost is None:
            self.lost = error

    def release(self) -> None:
        """Give the run up here: it can be resumed at once; what ends now ends in no log.

        Where the store fails its lease runs out.
        """
        if not self.released:
            self.released = True
            try:
                self.lease.release()
            except JournalError as error:
                if self.lost is None:  # else that is raised already
                    logger.warning(
                        "Run %s was not given up in its journal: %s", self.lease.run_id, error
                    )


_MAY_BE_FOLLOWED: Final = frozenset({NodeEnd, FlowEnd, Action})


def _is_followed(event: Event) -> bool:
    """Whether another event follows it at once."""
    if isinstance(event, Action):
        return event.target is not None
    return isinstance(event, (NodeEnd, FlowEnd)) and event.status == "ok" and bool(event.node)


def recorder_of(journal: object, state_types: Iterable[type], transient: Iterable[Any]) -> Recorder:
    """Return what stores a run. Raises `ValueError` for what is no journal, and no set of keys."""
    from flowevents.journal.journal import Journal  # most runs have none

    if not isinstance(journal, Journal):
        raise ValueError(f"journal={journal!r}: a journal, as SQLiteJournal('runs.db'), or None.")
    if isinstance(transient, str):
        raise ValueError(f"transient={transient!r} is one text; give a set of keys of shared.")
    return Recorder(journal, Notes(Codec(state_types), frozenset(transient)))
